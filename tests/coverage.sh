#!/bin/sh
# coverage.sh BUILD JOBS TESTS COMMAND...: which lines of the header the suite runs. By the whole
# suite (TESTS is empty) it has to be COVERAGE_LEAST percent of the Unix part, or this fails: what is
# left stands in the list.
#
# COMMAND builds the suite and its programs into BUILD, to count into BUILD/prof as they go: what
# leaves by _exit, or is killed, has counted too. Ends with the report, with the lines that no
# program has run (the Windows half is no part of it), and with "N passed, N failed, N skipped" of
# the suite and of the percentage.
build=$1
jobs=$2
tests=$3
shift 3

skip() {
    echo "SKIP coverage: $1"
    echo '0 passed, 0 failed, 1 skipped'
    exit 0
}
command -v clang++ >/dev/null || skip 'there is no clang++'
version=$(clang++ -dumpversion | cut -d . -f 1)
tool() { command -v "$1-$version" || command -v "$1"; }
profdata=$(tool llvm-profdata) || skip 'there is no llvm-profdata'
cov=$(tool llvm-cov) || skip 'there is no llvm-cov'

# Whoever runs a program, nobody too, counts into the one file that all of its processes share.
rm -rf "$build/prof"
mkdir -p "$build/prof" && chmod 777 "$build/prof" || exit 1
"$@" || exit 1
umask 0
objects=
for program in "$build"/*; do
    case $program in *.[do] | */deny) continue ;; esac
    [ -f "$program" ] && [ -x "$program" ] || continue
    # Once without a fork, whatever it does with such a word: the file is there before anyone is.
    if [ -x "$build/deny" ]; then
        "$build/deny" fork:EPERM vfork:EPERM clone:EPERM clone3:EPERM -- \
            "$program" no-such-word >/dev/null 2>&1 </dev/null
    else
        "$program" no-such-word >/dev/null 2>&1 </dev/null
    fi
    objects="$objects -object $program"
done
umask 022

sh tests/run.sh "$build" "$jobs" "$tests" >"$build/run.log" 2>&1
status=$?
grep '^SKIP' "$build/run.log"
[ "$status" -eq 0 ] || sed -n '/^---- slice/,$p' "$build/run.log" | tail -n 200
"$profdata" merge -sparse "$build"/prof/*.profraw -o "$build/coverage.profdata" || exit 1
# What one program has run is run: `llvm-cov report` would take the best program for each function.
# shellcheck disable=SC2086
"$cov" export -format=lcov -instr-profile="$build/coverage.profdata" "$build/suite" $objects \
    daemonize.hpp >"$build/coverage.lcov" || exit 1
sed -n 's/^DA:\([0-9]*\),0$/\1/p' "$build/coverage.lcov" | sort -n -u |
    awk 'NR == FNR { never[$1] = 1; next } FNR in never { printf "%5d %s\n", FNR, $0 }' \
        - daemonize.hpp >"$build/never-run.txt"
all=$(sed -n 's/^DA:\([0-9]*\),.*/\1/p' "$build/coverage.lcov" | sort -u | wc -l)
never=$(wc -l <"$build/never-run.txt")
echo "lines never run, in $build/never-run.txt:"
cat "$build/never-run.txt"
least=${COVERAGE_LEAST:-95}
[ -z "$tests" ] || least=0
verdict=$(awk -v all="$all" -v never="$never" -v least="$least" 'BEGIN {
    percent = all > 0 ? 100 * (all - never) / all : 0
    printf "%d of %d lines of the Unix part of daemonize.hpp are run, %.1f %%", all - never, all,
        percent
    if (least > 0) printf ", at least %s %% are wanted: %s", least, (percent >= least ? "PASS" : "FAIL")
}')
echo "$verdict"
# shellcheck disable=SC2046
set -- $(sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed, \([0-9]*\) skipped$/\1 \2 \3/p' \
    "$build/run.log" | tail -n 1)
[ $# -eq 3 ] || set -- 0 1 0
passed=$1 failed=$2
case $verdict in
*PASS) passed=$((passed + 1)) ;;
*FAIL | '') failed=$((failed + 1)) ;;
esac
echo "$passed passed, $failed failed, $3 skipped"
[ "$status" -eq 0 ] && [ "$failed" -eq 0 ]
