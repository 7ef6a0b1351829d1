#!/bin/sh
# stress.sh BUILD JOBS ROUNDS [TESTS]: the suite again and again beside eight programs that never
# wait, by root also as nobody. A test that is red once in so many is a defect, of the test or of the
# header. What a round said is kept in BUILD/stress. Ends with "N passed, N failed, N skipped".
build=$1 jobs=$2 rounds=$3 tests=$4
logs=$build/stress
rm -rf "$logs"
mkdir -p "$logs" || exit 1
scratch=$(mktemp -d) || exit 1
chmod 755 "$scratch"
busy=

# shellcheck disable=SC2086
clean_up() {
    [ -z "$busy" ] || kill -9 $busy 2>/dev/null
    rm -rf "$scratch"
}
trap clean_up EXIT
trap 'exit 130' INT TERM HUP

passed=0 failed=0 skipped=0
# round NAME COMMAND...: adds up what the suite counted itself.
round() {
    name=$1
    shift
    "$@" >"$logs/$name.log" 2>&1
    status=$?
    # shellcheck disable=SC2046
    set -- $(sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed, \([0-9]*\) skipped$/\1 \2 \3/p' \
        "$logs/$name.log" | tail -n 1)
    if [ $# -ne 3 ]; then set -- 0 1 0; fi
    if [ "$status" -ne 0 ] && [ "$2" -eq 0 ]; then set -- "$1" 1 "$3"; fi
    passed=$((passed + $1)) failed=$((failed + $2)) skipped=$((skipped + $3))
    if [ "$2" -eq 0 ]; then
        echo "PASS $name: $1 passed, $3 skipped"
    else
        echo "FAIL $name: $2 failed, see $logs/$name.log"
        sed -n '/^---- slice/,$p' "$logs/$name.log" | tail -n 60
    fi
}

nobody=no
if [ "$(id -u)" != 0 ]; then
    echo 'SKIP the rounds as nobody: only root can become nobody'
elif ! command -v setpriv >/dev/null; then
    echo 'SKIP the rounds as nobody: there is no setpriv'
else
    nobody=yes
    sh tests/nobody.sh copy "$scratch" "$build" || exit 1
fi
[ $nobody = yes ] || skipped=$((skipped + 1))

for _ in 1 2 3 4 5 6 7 8; do
    # Until we have left, should we be killed.
    sh -c 'while kill -0 "$0" 2>/dev/null; do :; done' $$ </dev/null &
    busy="$busy $!"
done
number=1
while [ "$number" -le "$rounds" ]; do
    round "round-$number-as-$(id -un)" sh tests/run.sh "$build" "$jobs" "$tests"
    if [ $nobody = yes ]; then
        round "round-$number-as-nobody" \
            sh tests/nobody.sh run "$scratch" sh tests/run.sh build "$jobs" "$tests"
    fi
    number=$((number + 1))
done

echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
