#!/bin/sh
# Who may use which library: libevent in base/, http/, sys/ alone; SQLite in store/sqlite* alone; libConfuse in config/
# alone; libcurl, libsystemd and OpenSSL are loaded at first use and never linked.  And nobody starts a thread but the
# one wrapper in proto/.
set -eu
build=$(pwd)
cd "${srcdir:-.}"
failed=0

# $1: what is looked for (in #include lines), $2: where it is allowed (extended regular expression on the path)
only_in() {
    found=$(grep -rnE "^#[ ]*include <$1" --include='*.c' --include='*.h' proto client daemon examples bench 2>/dev/null |
        grep -vE "^($2)" || true)
    if [ -n "$found" ]; then
        printf '%s\n' "$found" "(<$1...> belongs to $2)"
        failed=1
    fi
}
only_in 'event2?/' 'daemon/(base|http|sys)/'
only_in 'event\.h' 'nowhere'
only_in 'sqlite3' 'daemon/store/sqlite'
only_in 'confuse' 'daemon/config/'
only_in 'curl/' 'proto/curl_loader|client/|daemon/executor/http|daemon/telemetry/'
only_in 'libpq' 'daemon/store/postgres'
only_in 'evhttp' 'nowhere'
only_in 'openssl/(ssl|x509|pem|err|bio)' 'daemon/http/(tls|transport_tls|certificate)|proto/openssl_loader'

# Every way that C has to a new thread, called or taken the address of; a line's comment does not count.
starters=$(find proto client daemon examples tests bench \( -name '*.c' -o -name '*.h' -o -name '*.cc' \) -exec \
    awk '{ gsub(/\/\*.*\*\//, ""); sub(/\/\*.*/, ""); sub(/\/\/.*/, "") }
        /^[ \t]*\*/ { next } /^#include/ { next } { gsub(/"[^"]*"/, "") }
        $0 ~ "(pthread_create|thrd_create|SIGEV_THREAD|[^_a-z]clone3? *\\(|aio_read|aio_write|lio_listio|getaddrinfo_a)" {
            print FILENAME ":" FNR ": " $0 }' {} + || true)
others=$(printf '%s\n' "$starters" | grep -v '^proto/context/thread\.c:' | grep . || true)
if [ -n "$others" ]; then
    printf '%s\n' "$others" "(threads are started with satchel_thread_create alone: it carries the context)"
    failed=1
fi
if ! printf '%s\n' "$starters" | grep -q '^proto/context/thread\.c:.*pthread_create'; then
    echo "the wrapper was not found in proto/context/thread.c: this check looks for the wrong thing"
    failed=1
fi
# The daemon's own threads begin in an empty context and are looked at from inside (base/thread.h).
own=$(grep -rnE 'satchel_thread_create *\(' daemon --include='*.c' | grep -v '^daemon/base/thread\.c:' || true)
if [ -n "$own" ] || ! grep -q 'satchel_thread_create(' daemon/base/thread.c; then
    printf '%s\n' "$own" "(the daemon starts its threads with thread_start, base/thread.h, alone)"
    failed=1
fi
for binary in daemon/satcheld client/satchel libsatchel.so; do
    file=$build/$(dirname "$binary")/.libs/$(basename "$binary")
    [ -f "$file" ] || file=$build/$binary
    [ -f "$file" ] || continue
    if readelf -d "$file" 2>/dev/null | grep -E 'NEEDED.*lib(curl|systemd|ssl|crypto)'; then
        echo "$binary is linked with libcurl, libsystemd or OpenSSL, which cost 6 MB, 1 MB and 1.6 MB of memory; they are"
        echo "loaded where they are used (proto/curl_loader, base/systemd_loader, proto/openssl_loader)"
        failed=1
    fi
done
exit "$failed"
