# The checks that are Satchel's own: language level, warnings, sanitizers, llhttp.

AC_DEFUN([AX_CHECK_C17], [
  AC_LANG_PUSH([C])
  CFLAGS="$CFLAGS -std=gnu17"
  AC_COMPILE_IFELSE([AC_LANG_SOURCE([[_Static_assert(__STDC_VERSION__ >= 201710L, "C17");]])], [],
    [AC_MSG_ERROR([a C17 compiler is needed])])
  AC_LANG_POP([C])
])

# SATCHEL_TRY_FLAG(FLAG): adds FLAG to WARN_CFLAGS where the compiler knows it.
AC_DEFUN([SATCHEL_TRY_FLAG], [
  satchel_save_CFLAGS="$CFLAGS"
  CFLAGS="$CFLAGS -Werror $1"
  AC_COMPILE_IFELSE([AC_LANG_PROGRAM([], [])], [WARN_CFLAGS="$WARN_CFLAGS $1"], [])
  CFLAGS="$satchel_save_CFLAGS"
])

AC_DEFUN([SATCHEL_WARNINGS], [
  AC_ARG_ENABLE([werror], [AS_HELP_STRING([--enable-werror], [warnings are errors])], [], [enable_werror=no])
  WARN_CFLAGS=
  m4_foreach_w([satchel_flag], [-Wall -Wextra -Wshadow -Wformat=2 -Wstrict-prototypes -Wmissing-prototypes
    -Wold-style-definition -Wvla -Wundef -Wcast-qual -Wwrite-strings -Wimplicit-fallthrough -Wpointer-arith
    -Wnull-dereference -Wlogical-op -Wduplicated-cond -Wjump-misses-init -fno-common -fstack-protector-strong],
    [SATCHEL_TRY_FLAG(satchel_flag)])
  AS_IF([test "x$enable_werror" = xyes], [WARN_CFLAGS="$WARN_CFLAGS -Werror"])
  AC_SUBST([WARN_CFLAGS])
])

AC_DEFUN([SATCHEL_SANITIZERS], [
  AC_ARG_WITH([sanitizer], [AS_HELP_STRING([--with-sanitizer=address|thread], [build everything with a sanitizer])],
    [], [with_sanitizer=no])
  SAN_CFLAGS=
  AS_CASE([$with_sanitizer],
    [address], [SAN_CFLAGS="-fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer"],
    [thread], [SAN_CFLAGS="-fsanitize=thread -fno-omit-frame-pointer"],
    [no], [],
    [AC_MSG_ERROR([--with-sanitizer takes address or thread])])
  AC_SUBST([SAN_CFLAGS])
  AM_CONDITIONAL([SANITIZED], [test "x$with_sanitizer" != xno])
])

# llhttp: a library where the system has one (Debian 13), else the C sources that node-llhttp installs.
AC_DEFUN([SATCHEL_LLHTTP], [
  AC_ARG_WITH([llhttp-source], [AS_HELP_STRING([--with-llhttp-source=DIR],
    [compile llhttp from DIR (api.c http.c llhttp.c)])], [], [with_llhttp_source=auto])
  satchel_llhttp=
  AS_IF([test "x$with_llhttp_source" = xauto], [
    PKG_CHECK_MODULES([LLHTTP], [libllhttp], [satchel_llhttp=library], [:])
    AS_IF([test -z "$satchel_llhttp"], [with_llhttp_source=/usr/share/llhttp])])
  AS_IF([test -z "$satchel_llhttp"], [
    AS_IF([test -r "$with_llhttp_source/llhttp.c"], [
      satchel_llhttp=source
      LLHTTP_SOURCE="$with_llhttp_source"
      LLHTTP_CFLAGS="-I/usr/share/include/llhttp"
      LLHTTP_LIBS=
    ], [AC_MSG_ERROR([llhttp not found: install libllhttp-dev or node-llhttp])])])
  AC_SUBST([LLHTTP_SOURCE])
  AC_SUBST([LLHTTP_CFLAGS])
  AC_SUBST([LLHTTP_LIBS])
  AM_CONDITIONAL([LLHTTP_FROM_SOURCE], [test "x$satchel_llhttp" = xsource])
])
