#!/bin/sh
# Who may use which library: libevent in base/, http/, sys/ alone; SQLite in store/sqlite* alone; libConfuse in config/
# alone; libcurl is loaded at first use and never linked.  And nobody starts a thread but the one wrapper in proto/.
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
only_in 'curl/' 'client/|daemon/executor/|daemon/telemetry/'
only_in 'libpq' 'daemon/store/postgres'
only_in 'evhttp' 'nowhere'

found=$(grep -rnE '\<(pthread_create|thrd_create) *\(' --include='*.c' --include='*.h' proto client daemon examples |
    grep -vE ':[ 	]*(/?\*|//)' || true)
starters=$(printf '%s\n' "$found" | grep -E 'pthread_create|thrd_create' | cut -d: -f1 | sort -u)
case $(printf '%s' "$starters" | grep -c . || true) in
1) case $starters in proto/*) ;; *) echo "threads are started in $starters; that belongs to proto/" && failed=1 ;; esac ;;
0) echo "no thread-starting wrapper was found in proto/" && failed=1 ;;
*) printf '%s\n' "$found" "(threads are started with satchel_thread_create alone)" && failed=1 ;;
esac
for binary in daemon/satcheld client/satchel libsatchel.so; do
    file=$build/$(dirname "$binary")/.libs/$(basename "$binary")
    [ -f "$file" ] || file=$build/$binary
    [ -f "$file" ] || continue
    if readelf -d "$file" 2>/dev/null | grep -E 'NEEDED.*libcurl'; then
        echo "$binary is linked with libcurl, which costs 6 MB of memory; it is loaded at first use (client/curl_loader)"
        failed=1
    fi
done
exit "$failed"
