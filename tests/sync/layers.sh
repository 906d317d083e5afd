#!/bin/sh
# Arrows point one way: each folder's may_include lists the folders (or files) of ours that its files may include.
# With quotes, or <satchel/...>; system headers are looked at by libraries.sh.
set -eu
cd "${srcdir:-.}"
failed=0
for folder in $(find proto client daemon -type d); do
    files=$(find "$folder" -maxdepth 1 \( -name '*.c' -o -name '*.h' \))
    [ -n "$files" ] || continue
    case $folder in
    proto/satchel) rules=proto/may_include ;; # public headers: held to the same
    *) rules=$folder/may_include ;;
    esac
    if [ ! -f "$rules" ]; then
        echo "$folder has no may_include: list there what its files may include"
        failed=1
        continue
    fi
    # shellcheck disable=SC2086 # our names have no spaces
    grep -HnE '^#[ ]*include ("|<satchel/)' $files >/tmp/satchel-layers.$$ || true
    while IFS= read -r line; do
        included=$(printf '%s\n' "$line" | sed -E 's/^[^"<]*["<]([^">]*)[">].*/\1/')
        allowed=no
        [ "$included" = config.h ] && allowed=yes # autoconf's
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
