#!/bin/sh
# run.sh BUILD JOBS [TESTS [OPTIONS OF DOCTEST]]: runs BUILD/suite in JOBS processes at once and adds
# up what they say.
#
# The suite is cut into slices, more than there are processes, so that one slice of slow tests does
# not keep the others waiting. A slice that ends without its RESULT line (a crash, the time limit)
# is one failure; its tests are counted as nothing else. Every 15 seconds one line says how far it
# is. Ends with the skipped tests by their reason, and with "N passed, N failed, N skipped".
build=$1
jobs=$2
tests=${3-}
suite=$build/suite
results=$build/results

# What make was called with is nothing that the programs under test should find in theirs.
unset MAKEFLAGS MFLAGS MAKEOVERRIDES MAKELEVEL CPPFLAGS CXXFLAGS LDFLAGS LDLIBS CXX BUILD TESTS
rm -rf "$results"
mkdir -p "$results" || exit 1

# Root's tests start programs as other users too, who may have no way to where root has built them
# (a clone in /root, a umask of 077): those programs are run from a place that is open to all.
open_to_all() { # DIRECTORY: all that are above it, too
    at=$(cd "$1" && pwd -P) || return 1
    while [ "$at" != / ]; do
        [ -n "$(find "$at" -prune -perm -001)" ] || return 1
        at=$(dirname "$at")
    done
}
place=
clean_up() { [ -z "$place" ] || rm -rf "$place"; }
trap clean_up EXIT
trap ': >"$results/stop"; exit 130' INT TERM HUP
DAEMONIZE_BUILD=$build
if [ "$(id -u)" = 0 ]; then
    if ! open_to_all "${TMPDIR:-/tmp}"; then # each test has its own directory in there
        TMPDIR=/tmp
        export TMPDIR
    fi
    if ! open_to_all "$build" ||
        [ -n "$(find "$build" -type f -perm -100 ! -perm -005 | head -n 1)" ]; then
        place=$(mktemp -d "${TMPDIR:-/tmp}/daemonize-programs.XXXXXX") || exit 1
        for program in "$build"/* "$build"/bin/*; do
            [ -f "$program" ] && [ -x "$program" ] || continue
            case $program in
            "$build"/bin/*) mkdir -p "$place/bin" && cp "$program" "$place/bin/" ;;
            *) cp "$program" "$place/" ;;
            esac || exit 1
        done
        chmod -R a+rX "$place"
        DAEMONIZE_BUILD=$place
        echo "the programs are run from $place: other users may not enter $build/"
    fi
fi
export DAEMONIZE_BUILD

shift $(($# < 3 ? $# : 3))
[ -z "$tests" ] || set -- "$@" "--test-case=$tests"
if command -v timeout >/dev/null; then limit='timeout -k 5 900'; else limit=; fi

count=$("$suite" --count --no-colors "$@" | sed -n 's/.*passing the current filters: //p')
case $count in
'' | *[!0-9]* | 0) echo "run.sh: '$suite' has no tests to run" >&2; exit 1 ;;
esac
slices=$((jobs * 8))
[ "$slices" -le "$count" ] || slices=$count

worker() {
    slice=$1
    shift
    while [ "$slice" -lt "$slices" ] && [ ! -e "$results/stop" ]; do
        first=$((slice * count / slices + 1))
        last=$(((slice + 1) * count / slices))
        DAEMONIZE_PROGRESS=$results/$slice.progress $limit "$suite" --no-colors --first=$first --last=$last "$@" \
            >"$results/$slice.log" 2>&1 </dev/null
        echo $? >"$results/$slice.status"
        slice=$((slice + jobs))
    done
}

echo "$count tests in $slices slices, $jobs at once, with the programs of $build/"
number=0
workers=
while [ "$number" -lt "$jobs" ]; do
    worker "$number" "$@" &
    workers="$workers $!"
    number=$((number + 1))
done
working() {
    for worker in $workers; do
        if kill -0 "$worker" 2>/dev/null; then return 0; fi
    done
    return 1
}
began=$(date +%s)
said=0
while working; do
    sleep 0.1 2>/dev/null || sleep 1
    seconds=$(($(date +%s) - began))
    if [ $((seconds - said)) -ge 15 ]; then
        said=$seconds
        over=$(cat "$results"/*.progress 2>/dev/null | wc -c)
        echo "  $((over)) of $count tests are over after $seconds s"
    fi
done
wait

slice=0
passed=0 failed=0 skipped=0
while [ "$slice" -lt "$slices" ]; do
    log=$results/$slice.log
    status=$(cat "$results/$slice.status")
    result=$(sed -n 's/^RESULT passed=\([0-9]*\) failed=\([0-9]*\) skipped=\([0-9]*\).*/\1 \2 \3/p' \
        "$log" | tail -n 1)
    # shellcheck disable=SC2086
    set -- $result
    if [ $# -eq 3 ]; then
        passed=$((passed + $1)) failed=$((failed + $2)) skipped=$((skipped + $3))
        [ "$2" -eq 0 ] && [ "$status" -ne 0 ] && failed=$((failed + 1))
    else
        failed=$((failed + 1))
    fi
    if [ "$status" -ne 0 ] || [ $# -ne 3 ]; then
        echo "---- slice $slice, status $status, in $log:"
        cat "$log"
    fi
    slice=$((slice + 1))
done
# By reason: "SKIP, N tests: REASON", and the names below it.
cat "$results"/*.log | sed -n 's/^SKIP: //p' | sort -u | awk -F '\t' '
    { names[$1] = names[$1] "    " $2 "\n"; ++tests[$1] }
    END {
        for (reason in tests)
            printf "SKIP, %d test%s: %s\n%s", tests[reason], tests[reason] == 1 ? "" : "s", reason,
                names[reason]
    }'
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
