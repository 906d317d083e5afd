#!/bin/sh
# The context library from other languages: a C++ program, and Python's foreign-function interface.  What is not
# installed is skipped; a sanitized library cannot be loaded into Python.
set -eu
build=$(pwd)
library=$build/.libs/libsatchel.so
source=${srcdir:-.}
cxx=${CXX:-c++}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
ran=0
[ -f "$library" ] || {
    echo "$library is not built"
    exit 99
}
sanitized=$(nm -D "$library" | grep -cE '__(a|t)san_init' || true)

# shellcheck disable=SC2086 # CXX may be two words
if [ "$sanitized" = 0 ] && $cxx --version >/dev/null 2>&1; then
    for standard in c++11 c++17 c++20; do
        $cxx -std=$standard -Wall -Wextra -Werror -I"$source/proto" -o "$work/cxx" "$source/tests/languages/cxx.cc" \
            -L"$build/.libs" -lsatchel -pthread
        LD_LIBRARY_PATH=$build/.libs "$work/cxx"
        ran=$((ran + 1))
    done
fi
if [ "$sanitized" = 0 ] && command -v python3 >/dev/null 2>&1; then
    python3 "$source/tests/languages/ffi.py" "$library"
    ran=$((ran + 1))
fi
[ "$ran" -gt 0 ] || exit 77
