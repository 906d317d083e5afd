#!/bin/sh
# The real satchel against the real daemon: verbs, exit codes, errors in words, the environment's context, Ctrl-C, and a
# command task that makes a sub-task.
set -u
build=$(pwd)
work=$(mktemp -d)
failed=0
daemon=
trap 'test -z "$daemon" || { kill "$daemon"; wait "$daemon"; } 2>/dev/null; rm -rf "$work"' EXIT
for name in $(env | sed -nE 's/^(SATCHEL_[A-Z_]*|X_[A-Z_]*|TRACEPARENT|TRACESTATE|BAGGAGE)=.*/\1/p'); do
    unset "$name"
done

satchel() {
    "$build/client/satchel" "$@" >"$work/out" 2>"$work/err"
    code=$?
}
wrong() {
    echo "FAILED: $*"
    sed 's/^/  out: /' "$work/out"
    sed 's/^/  err: /' "$work/err"
    failed=1
}
expect() { # exit code, command line after "satchel"
    wanted=$1
    shift
    satchel "$@"
    [ "$code" = "$wanted" ] || wrong "satchel $*: exit code $code instead of $wanted"
}
has() { # out|err, text
    grep -qF -- "$2" "$work/$1" || wrong "std$1 lacks: $2"
}
has_not() {
    ! grep -qF -- "$2" "$work/$1" || wrong "std$1 has: $2"
}

cat >"$work/conf" <<END
header "X-Region" { var = "region" }
task "seven" { command = {"/bin/sh", "-c", "echo no >&2; exit 7"} }
task "parent" { command = {"/bin/sh", "-c", "exec $build/client/satchel run --json satchel.context"} }
END
"$build/daemon/satcheld" --config "$work/conf" --listen 127.0.0.1:0 --data-dir "$work/data" 2>"$work/log" &
daemon=$!
tries=0
until url=$(sed -nE 's/^satcheld: listening on (.*)/\1/p' "$work/log") && [ -n "$url" ]; do
    tries=$((tries + 1))
    [ $tries -lt 300 ] || { cat "$work/log"; exit 1; }
    sleep 0.1
done
export SATCHEL_URL="$url"
trace=0af7651916cd43dd8448eb211c80319c

expect 0 run satchel.echo '{"a":[1,"x"]}'
has out '{"a":[1,"x"]}'
expect 0 run --raw satchel.echo '"text"'
[ "$(cat "$work/out")" = text ] || wrong "--raw keeps the quotes"
expect 0 run satchel.echo --arg n=1 --arg s=two
has out '{"n":1,"s":"two"}'
expect 7 run seven
has err '(exit)'
expect 1 run satchel.fail
expect 64 run
expect 64 nonsense
expect 64 get --nonsense x
expect 65 submit satchel.echo '{'
expect 65 submit nope
has err '/task: there is no task named "nope"'
expect 65 submit --idempotency-key '' satchel.noop
has err 'idempotency key'
expect 65 get x
expect 65 get 0192f0c4-1111-7111-8111-111111111111
expect 69 get --url http://127.0.0.1:1 0192f0c4-1111-7111-8111-111111111111
has err 'http://127.0.0.1:1'
expect 69 wait --url http://127.0.0.1:1 0192f0c4-1111-7111-8111-111111111111
expect 78 list --token-file "$work/none"
expect 64 list --url nonsense
expect 124 run --timeout 200ms satchel.sleep '{"seconds":60}'
SATCHEL_TENANT='a b' satchel submit satchel.noop
[ "$code" = 65 ] || wrong "a bad SATCHEL_TENANT is not refused"

expect 0 submit satchel.sleep '{"seconds":60}'
id=$(cat "$work/out")
expect 75 result "$id"
expect 0 cancel "$id"
expect 1 wait "$id"
expect 65 cancel "$id"
expect 0 get --json "$id"
has out '"state":"canceled"'
expect 0 list --json --state canceled
has out "$id"
expect 0 list -n 1
[ "$(wc -l <"$work/out")" = 1 ] || wrong "list -n 1 shows another number of tasks"

# An explicit header replaces the captured one, whose tracestate goes with it.
TRACEPARENT=00-11111111111111111111111111111111-2222222222222222-01 TRACESTATE=v=1 \
    satchel run -H "traceparent: 00-$trace-b7ad6b7169203331-01" satchel.context
has out "00-$trace-"
has_not out tracestate
SATCHEL_TENANT=one satchel run --tenant two satchel.context
has out '"tenant":"two"'
SATCHEL_VAR_SHARD=9 BAGGAGE=k=v SATCHEL_REQUEST_ID=r1 satchel run satchel.context
has out '"shard":"9"'
has out '"baggage":"k=v"'
has out '"request_id":"r1"'

# Tasks that wait for others, groups, unique keys, trees.
expect 0 submit --delay 300ms satchel.echo '"first"' --group g
first=$(cat "$work/out")
expect 0 submit --after "$first" satchel.noop
second=$(cat "$work/out")
expect 0 submit --after "$first" --after "$second" --json satchel.noop
has out "\"after\":[\"$first\",\"$second\"]"
expect 0 run --after-group g satchel.noop
expect 0 wait "$first" "$second"
expect 65 submit --after 01995a2e-7c3b-7d21-9f0e-4b8f6d1c2a35 satchel.noop
has err '/after/0: this tenant has no task of this id'
expect 0 submit satchel.fail
failing=$(cat "$work/out")
expect 1 run --after "$failing" satchel.noop
has err 'dependency'
expect 0 submit --unique one --unique-for 1h --unique-until finished --delay 1h satchel.noop
holder=$(cat "$work/out")
expect 65 submit --unique one satchel.noop
has err "$holder"
expect 0 cancel "$holder"
expect 0 submit --unique one satchel.noop
expect 64 submit --unique-for 1h satchel.noop
expect 64 submit --after '' satchel.noop
expect 0 run --json satchel.spawn '{"task":"satchel.spawn","args":{"task":"satchel.sleep","args":{"seconds":600},"count":2},"count":2}'
top=$(sed -nE 's/.*"id":"([^"]*)","task":"satchel.spawn".*/\1/p' "$work/out")
tries=0
until satchel tree "$top" && [ "$(grep -c satchel.sleep "$work/out")" = 4 ]; do
    tries=$((tries + 1))
    [ $tries -lt 300 ] || { wrong "the tree does not have four leaves"; break; }
    sleep 0.1
done
has out "├─ "
has out "│  └─ "
expect 0 tree --json "$top"
has out '"children":['
expect 65 cancel "$top"
expect 0 cancel --cascade "$top"
satchel tree "$top"
has_not out '  queued  '
expect 65 tree 01995a2e-7c3b-7d21-9f0e-4b8f6d1c2a35
expect 64 tree

# Many at once: batches, and actions by filter.
export SATCHEL_TENANT=many
for i in 1 2 3 4 5; do echo '{"task":"satchel.noop","delay":600,"labels":{"n":"'$i'"}}'; done >"$work/batch"
expect 0 submit --batch "$work/batch"
[ "$(wc -l <"$work/out")" = 5 ] || wrong "a batch of five is not answered by five lines"
echo '{"task":"nope"}' >>"$work/batch"
"$build/client/satchel" submit --json --batch - -c shard=7 <"$work/batch" >"$work/out" 2>"$work/err"
code=$?
[ "$code" = 65 ] || wrong "a refused line: exit code $code instead of 65"
[ "$(grep -c '"state":"scheduled"' "$work/out")" = 5 ] || wrong "a bad line harms others"
[ "$(grep -c '"shard":"7"' "$work/out")" = 5 ] || wrong "a batch does not carry the caller's variables"
has out 'urn:satchel:problem:unknown-task'
expect 65 submit --batch "$work/nowhere"
expect 64 submit --batch "$work/batch" satchel.noop
expect 64 submit --batch "$work/batch" --delay 5s
expect 65 submit --json --batch "$work/batch" -t whole --group 'whole & batch'
[ "$(grep -c '"group":"whole & batch"' "$work/out")" = 5 ] || wrong "a batch is not a group"
expect 64 cancel
expect 64 cancel --state scheduled 01995a2e-7c3b-7d21-9f0e-4b8f6d1c2a35
expect 65 cancel --state succeeded
expect 0 cancel --dry-run --label n:3
has out '2 tasks would be canceled'
expect 0 cancel --label n:3
has out '2 tasks canceled'
expect 0 cancel --json --all
has out '"changed":8'
expect 0 list --state canceled --created-after 2020-01-01T00:00:00Z --limit 3
[ "$(wc -l <"$work/out")" = 3 ] || wrong "list with a time does not find what was canceled"
expect 0 retry --state canceled --label n:1
has out '2 tasks run again'
expect 0 cancel --all
expect 0 delete --state canceled --finished-before 2099-01-01T00:00:00Z
has out ' tasks deleted'
unset SATCHEL_TENANT

# Schedules.
expect 0 schedule put nightly '{"cron":"0 3 * * *","timezone":"Europe/Berlin","task":"satchel.noop"}'
has out 'nightly'
echo '{"cron":"@hourly","task":"satchel.echo","args":1}' >"$work/definition"
"$build/client/satchel" schedule put --json hourly - <"$work/definition" >"$work/out" 2>"$work/err" || wrong "put - fails"
has out '"cron":"@hourly"'
expect 0 schedule
[ "$(wc -l <"$work/out")" = 2 ] || wrong "the list does not have two schedules"
expect 0 schedule next hourly
[ "$(wc -l <"$work/out")" = 10 ] || wrong "there are not ten next times"
expect 0 schedule next nightly 3
[ "$(grep -c ':00:00.000000Z$' "$work/out")" = 3 ] || wrong "there are not three next times"
expect 64 schedule next nightly 0
expect 64 schedule next nightly 3x
expect 65 schedule next nowhere
expect 0 schedule pause hourly
expect 0 schedule get hourly
has out 'paused'
expect 0 schedule resume hourly
expect 0 schedule run hourly
expect 0 wait "$(cat "$work/out")"
expect 0 schedule delete nightly
expect 65 schedule get nightly
expect 65 schedule put bad '{"cron":"x","task":"satchel.noop"}'
has err '/cron'
expect 64 schedule put bad
expect 64 schedule frobnicate

# Administrators.
expect 0 run -t acme satchel.noop
expect 0 admin
has out 'daemon: -  scheduled:'
expect 0 admin pause tenant acme
has out 'tenant acme: paused'
expect 0 tenants acme
has out 'paused'
expect 0 admin drain task satchel.echo
has out 'task satchel.echo: draining'
expect 75 submit satchel.echo
expect 0 admin resume task satchel.echo
expect 0 admin resume tenant acme --json
has out '"holds":[]'
expect 0 tenants
has out 'TENANT'
has out 'acme'
expect 0 tenants --json
has out '"tenants":['
expect 65 tenants nobody-here
expect 64 admin pause tenant
expect 64 admin frobnicate

# A command task's child makes a sub-task: parent, tenant, trace, baggage, variables, deadline, the operator's header.
TRACEPARENT=00-$trace-b7ad6b7169203331-01 BAGGAGE=k=v satchel run --json -t acme -c shard.x=7 \
    -H 'X-Region: eu' --deadline 2099-01-01T00:00:00Z parent
[ "$code" = 0 ] || wrong "the task that submits failed"
has out '"parent_id":"'
has out "\"tenant\":\"acme\",\"traceparent\":\"00-$trace-"
has out '"baggage":"k=v"'
has out '"shard.x":"7"'
has out '"region":"eu"'
has out '"deadline":"2099-01-01T00:00:00.000000Z"'

start=$(date +%s)
timeout -s INT 6 "$build/client/satchel" run --cancel-on-interrupt satchel.sleep '{"seconds":60}' >"$work/out" 2>"$work/err"
code=$?
[ $(($(date +%s) - start)) -lt 20 ] || wrong "Ctrl-C did not end the wait"
has err 'is canceled'
id=$(sed -nE 's/.*task ([0-9a-f-]{36}) is canceled.*/\1/p' "$work/err")
expect 1 wait --timeout 30s "$id"
has out canceled
timeout --preserve-status -s INT 6 "$build/client/satchel" run satchel.sleep '{"seconds":60}' >"$work/out" 2>"$work/err"
code=$?
[ "$code" = 130 ] || wrong "interrupted: exit code $code instead of 130"
exit "$failed"
