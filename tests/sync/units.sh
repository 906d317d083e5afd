#!/bin/sh
# The units are well-formed, the strict profile and the one for command tasks stay as closed as they are meant to be,
# and the sample configuration is one.
set -eu
build=$(pwd)
command -v systemd-analyze >/dev/null 2>&1 || exit 77
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0
sed "s|^ExecStart=[^ ]*|ExecStart=$build/daemon/satcheld|" "$build/systemd/satcheld.service" >"$work/satcheld.service"
cp "${srcdir:-.}/systemd/satcheld.socket" "$work/"

check() {
    said=$(systemd-analyze verify --man=no "$work/satcheld.service" "$work/satcheld.socket" 2>&1) || failed=1
    if printf '%s\n' "$said" | grep -F "$work"; then
        echo "(systemd-analyze verify, $1)"
        failed=1
    fi
    systemd-analyze security --offline=true --threshold="$2" "$work/satcheld.service" >"$work/said" 2>&1 || {
        tail -n 3 "$work/said"
        echo "the exposure of satcheld.service ($1) is above $2/10"
        failed=1
    }
}
check "strict" 15
mkdir "$work/satcheld.service.d"
cp "${srcdir:-.}/systemd/commands.conf" "$work/satcheld.service.d/"
check "with commands.conf" 25
cp "${srcdir:-.}/systemd/users.conf" "$work/satcheld.service.d/"
check "with commands.conf and users.conf" 35
exit "$failed"
