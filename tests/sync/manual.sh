#!/bin/sh
# docs/man/libsatchel.3 names every function that libsatchel.so exports and no other, every status and every variable
# of the environment that the library reads; and its examples compile, and one runs.
set -eu
build=$(pwd)
library=$build/.libs/libsatchel.so
cd "${srcdir:-.}"
page=docs/man/libsatchel.3
cc=${CC:-cc}
failed=0
complain() {
    echo "$*"
    failed=1
}
[ -f "$library" ] || {
    echo "$library is not built"
    exit 99
}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

nm -D --defined-only "$library" | awk '{print $3}' | sed 's/@.*//' | grep '^satchel_' | sort -u >"$work/exports"
grep -h 'defined by' proto/satchel/plugin.h | grep -oE 'satchel_plugin_[a-z]+' | sort -u >"$work/plugins"
grep -oE '(Fn|Vt) satchel_[a-z0-9_]+' "$page" | sed 's/.* //' | sort -u >"$work/named"
[ "$(wc -l <"$work/exports")" -gt 100 ] || complain "the exports were not understood"
for function in $(comm -23 "$work/exports" "$work/named"); do
    complain "$page does not name $function"
done
sort -u "$work/exports" "$work/plugins" >"$work/there"
for function in $(comm -13 "$work/there" "$work/named"); do
    grep -q "} $function;" proto/satchel/*.h || complain "$page names $function, which does not exist"
done

statuses=$(sed -nE 's/^ *(SATCHEL_(E[A-Z]+|UNSET|PENDING|OK)) += .*/\1/p' proto/satchel/context.h proto/satchel/client.h)
[ "$(printf '%s\n' "$statuses" | wc -l)" -ge 24 ] || complain "the statuses were not understood: $statuses"
for status in $statuses; do
    grep -qE "Dv $status( |\$)" "$page" || complain "$page does not name $status"
done
variables=$(sed -nE 's/.*getenv\("([A-Z_]+)"\).*/\1/p; s/.*, "(SATCHEL_[A-Z_]+)"\).*/\1/p' client/*.c)
[ "$(printf '%s\n' "$variables" | wc -l)" -ge 5 ] || complain "the variables were not understood: $variables"
for variable in $variables; do
    grep -qE "Ev $variable( |\$)" "$page" || complain "$page does not name $variable"
done

# The examples, as they are shown.
awk -v out="$work/example" '/^\.Bd -literal/ {n++; on = 1; next} /^\.Ed/ {on = 0} on {print > (out n ".c")}' "$page"
for example in "$work"/example*.c; do
    sed -i 's/\\e/\\/g' "$example"
    # shellcheck disable=SC2086 # CC may be two words
    $cc -std=c11 -Wall -Wextra -Werror -Iproto -c -o "${example%.c}.o" "$example" || complain "an example does not compile"
done
[ -f "$work/example2.o" ] || complain "the examples were not found"
if [ "$failed" = 0 ] && ! nm -D "$library" | grep -qE '__(a|t)san_init'; then # which want flags of their own
    # shellcheck disable=SC2086
    $cc -o "$work/threads" "$work/example2.o" -L"$build/.libs" -lsatchel -lpthread
    said=$(LD_LIBRARY_PATH=$build/.libs "$work/threads")
    [ "$said" = "for acme" ] || complain "the example of threads says: $said"
fi
exit "$failed"
