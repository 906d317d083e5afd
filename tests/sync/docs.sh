#!/bin/sh
# The tables and what is written about them say the same: settings, command-line options, verbs.
set -eu
build=$(pwd)
cd "${srcdir:-.}"
failed=0
complain() {
    echo "$*"
    failed=1
}

options=$(sed -nE 's/^OPTION\(([a-z_]+),.*/\1/p' daemon/config/options.def)
[ "$(printf '%s\n' "$options" | wc -l)" -gt 20 ] || complain "options.def was not understood"
for option in $options; do
    grep -qE "^#?$option *=" docs/satcheld.conf.sample || complain "docs/satcheld.conf.sample lacks $option"
    grep -qE "^\.It Ic $option\$" docs/man/satcheld.conf.5 || complain "docs/man/satcheld.conf.5 lacks $option"
done
for option in $(sed -nE 's/^\.It Ic ([a-z_]+)$/\1/p' docs/man/satcheld.conf.5); do
    grep -qE "^OPTION\($option,|[{ ]\.name = \"$option\"" daemon/config/options.def daemon/config/*.c ||
        complain "docs/man/satcheld.conf.5 describes $option, which does not exist"
done
# The sample shows the defaults: what it says must be what the table says.
for option in $options; do
    standard=$(sed -nE "s/^OPTION\($option, [A-Z]+, [a-z_]+, (NULL|\"([^\"]*)\"),.*/\2/p" daemon/config/options.def)
    [ -z "$standard" ] || grep -E "^#?$option *=" docs/satcheld.conf.sample | grep -qF "$standard" ||
        complain "docs/satcheld.conf.sample shows another default of $option than $standard"
done
for setting in $(sed -nE 's/.*\{\.name = "([a-z_]+)".*/\1/p' daemon/config/*section*.c); do
    grep -qE "^\.It Ic $setting\$" docs/man/satcheld.conf.5 || complain "docs/man/satcheld.conf.5 lacks $setting"
done
grep -oE '\{\.name = "[a-z_]+"' daemon/config/*section*.c | sed 's/^[^:]*://' | sed 's/.*"\(.*\)"/\1/' | sort -u |
    while read -r setting; do
        grep -qw "$setting" docs/man/satcheld.conf.5 || echo "docs/man/satcheld.conf.5 lacks $setting"
    done | grep . && failed=1

arguments="config check print-config version help $(sed -nE \
    's/^OPTION\(([a-z_]+), [^"]*("[^"]*"|NULL)?.*", (check_[a-z_]+|NULL), "[A-Z]+", (true|false),$/\1/p' \
    daemon/config/options.def | tr _ -)"
for argument in $arguments; do
    grep -qE "^\.It Fl Fl $argument( |\$)" docs/man/satcheld.8 || complain "docs/man/satcheld.8 lacks --$argument"
done
case $arguments in
*listen*data-dir*store*workers*) ;;
*) complain "the command-line options of options.def were not understood: $arguments" ;;
esac

# The verbs and options of satchel: in its manual, and in the help of the program that was built.
verbs=$(sed -nE 's/^VERB\(([a-z]+),.*/\1/p' client/cli/verbs.def)
[ "$(printf '%s\n' "$verbs" | wc -l)" -ge 8 ] || complain "verbs.def was not understood"
helps=$("$build/client/satchel" --help)
for verb in $verbs; do
    grep -qE "^\.Ss $verb( |\$)" docs/man/satchel.1 || complain "docs/man/satchel.1 lacks the verb $verb"
    printf '%s\n' "$helps" | grep -qE "^  $verb " || complain "satchel --help lacks the verb $verb"
    helps="$helps
$("$build/client/satchel" "$verb" --help)"
done
names=$(sed -nE 's/^OPTION\([A-Z_]+, "([a-z-]+)".*/\1/p' client/cli/options.def | sort -u)
[ "$(printf '%s\n' "$names" | wc -l)" -ge 30 ] || complain "options.def of satchel was not understood"
for name in $names; do
    grep -qE "^\.It (Fl [a-zA-Z] , )?Fl Fl $name( |\$)" docs/man/satchel.1 || complain "docs/man/satchel.1 lacks --$name"
    printf '%s\n' "$helps" | grep -qE "^  .* *--$name(=| |\$)" || complain "satchel --help lacks --$name"
done
for name in $(sed -nE 's/^\.It (Fl [a-zA-Z] , )?Fl Fl ([a-z-]+).*/\2/p' docs/man/satchel.1); do
    printf '%s\n' "$names" | grep -qx -- "$name" || complain "docs/man/satchel.1 describes --$name, which does not exist"
done

# A quote at the beginning of a macro's argument is the manual's own and not shown; \(dq is.
quoted=$(grep -nE '^\.(Dl|Ql) .* "' docs/man/*.[1-8]) && complain "a quote is lost in: $quoted"

if command -v mandoc >/dev/null 2>&1; then
    for page in docs/man/*.[1-8]; do
        mandoc -T lint -W warning "$page" || complain "$page has faults"
    done
fi
exit "$failed"
