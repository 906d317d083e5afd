#!/bin/sh
# Arrows point one way: each folder's may_include lists the folders (or files) of ours that its files may include.
# With quotes, or <satchel/...>; system headers are looked at by libraries.sh.
set -eu
cd "${srcdir:-.}"
failed=0
for folder in $(find proto client daemon -type d); do
    files=$(find "$folder" -maxdepth 1 \( -name '*.c' -o -name '*.h' \))
    [ -n "$files" ] || continue
    rules=$folder/may_include
    while [ ! -f "$rules" ] && [ "$(dirname "$(dirname "$rules")")" != . ]; do # else the folder's above counts
        rules=$(dirname "$(dirname "$rules")")/may_include
    done
    if [ ! -f "$rules" ] || [ "$rules" = daemon/may_include ] && [ "$folder" != daemon ]; then
        echo "$folder has no may_include: list there what its files may include"
        failed=1
        continue
    fi
    # shellcheck disable=SC2086 # our names have no spaces
    grep -HnE '^#[ ]*include ("|<satchel/)' $files >/tmp/satchel-layers.$$ || true
    while IFS= read -r line; do
        included=$(printf '%s\n' "$line" | sed -E 's/^[^"<]*["<]([^">]*)[">].*/\1/')
        allowed=no
        case $included in
        config.h) allowed=yes ;;    # autoconf's
        */*) ;;
        *.inc) allowed=yes ;;       # made at build time, of its own folder
        esac
        while IFS= read -r prefix; do
            case $included in
            "$prefix"*) allowed=yes ;;
            esac
        done <"$rules"
        if [ "$allowed" = no ]; then
            echo "$line: $rules does not allow it"
            failed=1
        fi
    done </tmp/satchel-layers.$$
    rm -f /tmp/satchel-layers.$$
done
exit "$failed"
