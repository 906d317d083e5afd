#!/bin/sh
# The example programs against the real daemon; and compiled as somebody would who has only what is installed.
set -u
build=$(pwd)
source=${srcdir:-.}
work=$(mktemp -d)
daemon=
trap 'test -z "$daemon" || { kill "$daemon"; wait "$daemon"; } 2>/dev/null; rm -rf "$work"' EXIT
unset SATCHEL_TOKEN SATCHEL_TENANT SATCHEL_CONTEXT TRACEPARENT TRACESTATE BAGGAGE
die() {
    echo "FAILED: $*"
    exit 1
}

"$build/daemon/satcheld" --config /dev/null --listen 127.0.0.1:0 --data-dir "$work/data" 2>"$work/log" &
daemon=$!
tries=0
until url=$(sed -nE 's/^satcheld: listening on (.*)/\1/p' "$work/log") && [ -n "$url" ]; do
    tries=$((tries + 1))
    [ $tries -lt 300 ] || { cat "$work/log"; exit 1; }
    sleep 0.1
done
export SATCHEL_URL="$url"

check_submit() { # the program
    out=$("$1") || die "client_submit: exit code $?"
    for part in '"tenant":"acme"' '"baggage":"user=alice"' '"shop":"north"' '"traceparent":"00-'; do
        case $out in
        *"$part"*) ;;
        *) die "the handler did not see $part: $out" ;;
        esac
    done
}
check_submit "$build/examples/client_submit"
[ "$("$build/examples/client_submit" satchel.echo '[1]')" = '[1]' ] || die "the result of satchel.echo"
"$build/examples/client_submit" nothing.there >"$work/out" 2>&1 && die "an unknown task was taken"
grep -q 'nothing.there' "$work/out" || die "what the server said is not told: $(cat "$work/out")"
"$build/examples/client_submit" satchel.fail '{"message":"broken"}' >"$work/out" 2>&1 && die "a failed task is no error"
grep -q 'broken' "$work/out" || die "the task's error is not told: $(cat "$work/out")"

"$build/examples/client_async" 20 >"$work/out" || die "client_async: exit code $?"
[ "$(grep -c '^succeeded {"number":' "$work/out")" = 20 ] || die "client_async: $(cat "$work/out")"
[ "$(tail -n 1 "$work/out")" = canceled ] || die "client_async: $(tail -n 1 "$work/out")"

# Installed, and found through pkg-config; a sanitized library wants flags of its own.
if [ -f "$build/.libs/libsatchel.so" ] && ! nm -D "$build/.libs/libsatchel.so" | grep -qE '__(a|t)san_init' &&
    command -v pkg-config >/dev/null 2>&1; then
    make -s -C "$build" install DESTDIR="$work/root" >"$work/install.log" 2>&1 || die "$(tail -n 5 "$work/install.log")"
    pc=$(find "$work/root" -name satchel.pc)
    [ -n "$pc" ] || die "satchel.pc was not installed"
    export PKG_CONFIG_PATH="${pc%/*}" PKG_CONFIG_SYSROOT_DIR="$work/root"
    # shellcheck disable=SC2046,SC2086 # flags are words
    ${CC:-cc} -std=c11 -Wall -Wextra -Werror -o "$work/client_submit" "$source/examples/client_submit.c" \
        $(pkg-config --cflags --libs satchel) || die "does not compile through pkg-config"
    LD_LIBRARY_PATH=$(dirname "$(find "$work/root" -name 'libsatchel.so.0')") check_submit "$work/client_submit"
fi
"$build/examples/client_submit" >/dev/null || die "the daemon is gone"
