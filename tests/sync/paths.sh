#!/bin/sh
# Every way on which the code takes a context, and every variable that it knows, has its row in tests/context/paths.def
# and variables.def; and the rows speak of nothing that the code has not.
set -eu
cd "${srcdir:-.}"
paths=tests/context/paths.def
failed=0
complain() {
    echo "$*"
    failed=1
}

# What the rows stand for, one a line.
rows=$(sed -nE 's/^PATH\([A-Z_]+, *"([^"]*)".*/\1/p; s/^NOT_A_PATH\("([^"]*)".*/\1/p' "$paths" | tr ' ' '\n' | sort -u)
[ "$(printf '%s\n' "$rows" | grep -c .)" -gt 15 ] || complain "$paths was not understood"

# $1: kind of source, $2: file it is listed in, $3: the code's list, $4: how many it has at least
compare() {
    [ "$(printf '%s\n' "$3" | grep -c .)" -ge "$4" ] || complain "$2 was not understood"
    for source in $3; do
        printf '%s\n' "$rows" | grep -qxF "$1:$source" ||
            complain "$2 has $source: give it a row in $paths, \"$1:$source\""
    done
    for row in $(printf '%s\n' "$rows" | sed -n "s/^$1://p"); do
        printf '%s\n' "$3" | grep -qxF "$row" || complain "$paths has a row for $1:$row, which $2 has not"
    done
}

# Every event that makes a task wait for an attempt, or start one.
compare event proto/task_states.def \
    "$(sed -nE 's/^TASK_MOVE\([A-Z]+, ([A-Z_]+), (QUEUED|SCHEDULED|RUNNING)\).*/\1/p' proto/task_states.def | sort -u)" 5
compare executor daemon/executor \
    "$(sed -nE 's/.*struct executor [a-z_]+ = \{"([a-z]+)".*/\1/p' daemon/executor/*.c | sort -u)" 4
compare sent "daemon/executor (attempt_sent)" \
    "$(sed -nE 's/.*attempt_sent\([a-z_]+, "([a-z]+)".*/\1/p' daemon/executor/*.c | sort -u)" 2
others=$(grep -rnE 'attempt_sent\([a-z_>-]+, [^"]' daemon --include='*.c' | grep -v 'struct attempt' || true)
[ -z "$others" ] || complain "$others: the kind of destination must be a literal, so that $paths can be held to it"
compare route daemon/api/routes.c \
    "$(sed -nE 's/.*ROUTE\([A-Z]+, "\/v1\/tasks[^"]*", "([A-Za-z]+)".*/\1/p' daemon/api/routes.c | sort -u)" 8

# What a row may say besides.
for row in $rows; do
    case $row in
    event:* | executor:* | sent:* | route:* | hop:* | first) ;;
    *) complain "$paths: $row is no kind of source" ;;
    esac
done

# Every well-known variable is a column, and every column of the table's heading is one.
known=$(sed -nE '/^typedef enum satchel_known/,/^\}/s/^ *(SATCHEL_[A-Z_]+)[,=].*/\1/p' proto/satchel/context.h)
[ "$(printf '%s\n' "$known" | grep -c .)" -ge 9 ] || complain "enum satchel_known was not understood"
for variable in $known; do
    grep -qE "^VARIABLE\([A-Z_]+, $variable," tests/context/variables.def ||
        complain "$variable has no row in tests/context/variables.def"
done

# Every row is walked once.
for path in $(sed -nE 's/^PATH\(([A-Z_]+),.*/\1/p' "$paths"); do
    [ "$(grep -hE "^void look_$path\(" tests/context/paths_*.c | wc -l)" = 1 ] || complain "look_$path is not there once"
done
exit "$failed"
