#!/bin/sh
# The context library from other languages: its header alone, pedantically, in C99 to C++17 by every compiler that is
# there; a C++ program; Python's ctypes, which knows nothing but names and layouts.  77: neither C++ nor Python is here.
set -eu
libs=$(pwd)/.libs
src=${srcdir:-.}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0
ran=0
[ -f "$libs/libsatchel.so" ] || {
    echo "$libs/libsatchel.so is not built"
    exit 99
}
printf '#include <satchel/context.h>\nint main(void) { return 0; }\n' >"$work/one.c"
cp "$work/one.c" "$work/one.cc"
for try in "gcc c99 c" "gcc c17 c" "clang c99 c" "clang c17 c" "g++ c++11 cc" "g++ c++17 cc" "clang++ c++17 cc"; do
    # shellcheck disable=SC2086 # three words
    set -- $try
    command -v "$1" >/dev/null 2>&1 || continue
    "$1" -std="$2" -Wall -Wextra -pedantic -Werror -I"$src/proto" -c -o "$work/one.o" "$work/one.$3" || {
        echo "<satchel/context.h> is refused by $1 as $2"
        failed=1
    }
done

# A library with a sanitizer needs one in the program that loads it.
if nm -D "$libs/libsatchel.so" | grep -qE ' (__asan|__tsan|__ubsan)'; then
    exit "$failed"
fi
for cxx in g++ clang++; do
    command -v "$cxx" >/dev/null 2>&1 || continue
    ran=1
    "$cxx" -std=c++17 -Wall -Wextra -Werror -I"$src/proto" -o "$work/use" "$src/tests/context/use.cc" \
        -L"$libs" -lsatchel -Wl,-rpath,"$libs" -pthread && "$work/use" || {
        echo "(tests/context/use.cc, $cxx)"
        failed=1
    }
done
if command -v python3 >/dev/null 2>&1 && python3 -c 'import ctypes' 2>/dev/null; then
    ran=1
    python3 "$src/tests/context/ffi.py" "$libs/libsatchel.so" || failed=1
fi
[ "$failed" = 0 ] && [ "$ran" = 0 ] && exit 77
exit "$failed"
