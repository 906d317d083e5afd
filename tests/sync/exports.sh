#!/bin/sh
# libsatchel.so exports satchel_* and nothing else; every function of a public header is there; and every public header
# can be included first, alone, from C and from C++.
set -eu
library=$(pwd)/.libs/libsatchel.so
headers=${srcdir:-.}/proto/satchel
cc=${CC:-cc}
cxx=${CXX:-c++}
failed=0
[ -f "$library" ] || {
    echo "$library is not built"
    exit 99
}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

nm -D --defined-only "$library" | awk '{print $3}' | sed 's/@.*//' | sort -u >"$work/exports"
if grep -vE '^(satchel_[a-z0-9_]*|SATCHEL_[0-9]+)$' "$work/exports"; then
    echo "(exported, but not named satchel_*)"
    failed=1
fi

for header in "$headers"/*.h; do
    name=satchel/$(basename "$header")
    printf '#include <%s>\nint main(void) { return 0; }\n' "$name" >"$work/one.c"
    cp "$work/one.c" "$work/one.cc"
    # shellcheck disable=SC2086 # CC may be two words
    $cc -std=c17 -Wall -Wextra -pedantic -Werror -I"${srcdir:-.}/proto" -c -o "$work/one.o" "$work/one.c" || {
        echo "<$name> cannot be included alone"
        failed=1
    }
    # shellcheck disable=SC2086
    if $cxx --version >/dev/null 2>&1; then
        $cxx -std=c++17 -Wall -Wextra -Werror -I"${srcdir:-.}/proto" -c -o "$work/one.o" "$work/one.cc" || {
            echo "<$name> cannot be included from C++"
            failed=1
        }
    fi
    # Declarations, macros expanded.  Functions that the other side defines say "defined by" on their line.
    grep -v 'defined by' "$header" >"$work/header.h"
    # shellcheck disable=SC2086
    $cc -E -P -I"${srcdir:-.}/proto" "$work/header.h" | tr '\n' ' ' |
        sed -E 's/\{[^{}]*\}//g; s/\{[^{}]*\}//g; s/\{[^{}]*\}//g; s/;/;\n/g' |
        grep -E '^[^=]*\<satchel_[a-z0-9_]+ *\(' | grep -vE '\<(static|typedef)\>' |
        sed -E 's/^[^(]*\<(satchel_[a-z0-9_]+) *\(.*/\1/' | sort -u >"$work/declared"
    if [ "$name" = satchel/context.h ] && [ "$(wc -l <"$work/declared")" -lt 40 ]; then
        echo "<$name> was not understood"
        failed=1
    fi
    for function in $(comm -23 "$work/declared" "$work/exports"); do
        echo "<$name> declares $function, which libsatchel.so does not export"
        failed=1
    done
done
exit "$failed"
