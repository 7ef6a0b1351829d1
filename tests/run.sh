#!/bin/sh
# run.sh BUILD JOBS [TESTS [OPTIONS OF DOCTEST]]: runs BUILD/suite in JOBS processes at once and adds
# up what they say.
#
# The suite is cut into slices, more than there are processes, so that one slice of slow tests does
# not keep the others waiting. A slice that ends without its RESULT line (a crash, the time limit)
# is one failure; its tests are counted as nothing else. Ends with "N passed, N failed, N skipped".
build=$1
jobs=$2
tests=${3-}
suite=$build/suite
results=$build/results

DAEMONIZE_BUILD=$build
export DAEMONIZE_BUILD
# What make was called with is nothing that the programs under test should find in theirs.
unset MAKEFLAGS MFLAGS MAKEOVERRIDES MAKELEVEL CPPFLAGS CXXFLAGS LDFLAGS LDLIBS CXX BUILD TESTS
rm -rf "$results"
mkdir -p "$results" || exit 1

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
    while [ "$slice" -lt "$slices" ]; do
        first=$((slice * count / slices + 1))
        last=$(((slice + 1) * count / slices))
        $limit "$suite" --no-colors --first=$first --last=$last "$@" \
            >"$results/$slice.log" 2>&1 </dev/null
        echo $? >"$results/$slice.status"
        slice=$((slice + jobs))
    done
}

echo "$count tests in $slices slices, $jobs at once, with the programs of $build/"
number=0
while [ "$number" -lt "$jobs" ]; do
    worker "$number" "$@" &
    number=$((number + 1))
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
    grep '^SKIP' "$log"
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
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
