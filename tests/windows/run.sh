#!/bin/sh
# The Windows suite under wine, in a prefix of its own that ends with the run. run.sh BUILD [TESTS].
# Ends with "N passed, N failed, N skipped".
set -u
build=$1 tests=${2:-}
passed=0 failed=0 skipped=0

if [ ! -x "$build/suite.exe" ] && [ ! -e "$build/suite.exe" ]; then
    echo 'SKIP the Windows suite: there is no mingw (package g++-mingw-w64-x86-64)'
    echo '0 passed, 0 failed, 1 skipped'
    exit 0
fi
if ! command -v wine >/dev/null; then
    echo 'SKIP the Windows suite: there is no wine (packages wine, wine64)'
    echo '0 passed, 0 failed, 1 skipped'
    exit 0
fi

# Next to the programs; never the user's own.
WINEPREFIX=$(cd "$build" && pwd)/../wine
WINEDEBUG=-all
WINEDLLOVERRIDES='mscoree,mshtml='
# wine can only make files whose names the locale can spell; some of ours are not ASCII.
LC_ALL=C.UTF-8
export WINEPREFIX WINEDEBUG WINEDLLOVERRIDES LC_ALL
mkdir -p "$WINEPREFIX"
WINEPREFIX=$(cd "$WINEPREFIX" && pwd)
# One run at a time: a test ends whatever victims of its own it finds there, and the end of a run is
# the end of the prefix's server.
exec 9>"$WINEPREFIX.lock"
if command -v flock >/dev/null; then flock 9; fi
work=$(mktemp -d)
# wine's server now and then loses a process that was killed when it was very young: it lives on, and
# is known by the prefix in its environment.
clean_up() {
    wineserver -k 2>/dev/null
    for process in /proc/[0-9]*; do
        [ "${process#/proc/}" != $$ ] || continue
        grep -qzxF "WINEPREFIX=$WINEPREFIX" "$process/environ" 2>/dev/null || continue
        kill -9 "${process#/proc/}" 2>/dev/null
    done
    rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT TERM HUP

# Standard error always goes to a file: a wine daemon keeps the Unix descriptor of its starter, so
# that a pipe there would never end.
under_wine() { # SECONDS LOG PROGRAM...
    limit=$1 log=$2
    shift 2
    timeout "$limit" wine "$@" </dev/null >"$log" 2>"$log.err" 9>&-
}

if [ ! -e "$WINEPREFIX/system.reg" ]; then
    timeout 120 wine wineboot -i </dev/null >"$work/boot" 2>&1 9>&- || echo 'wineboot failed'
fi

doctest() { # NAME SECONDS PROGRAM [OPTIONS]
    name=$1 limit=$2
    shift 2
    under_wine "$limit" "$work/$name" "$@" -nc=1
    status=$?
    counts=$(sed -n 's/^\[doctest\] test cases: *[0-9]* | *\([0-9]*\) passed | *\([0-9]*\) failed .*/\1 \2/p' \
        "$work/$name" | tail -n 1)
    echo "$name: status $status, ${counts:-nothing counted} (passed, failed)"
    # shellcheck disable=SC2086
    set -- $counts
    if [ $# -eq 2 ]; then
        passed=$((passed + $1)) failed=$((failed + $2))
        [ "$status" -eq 0 ] || [ "$2" -gt 0 ] || failed=$((failed + 1))
    else
        failed=$((failed + 1))
    fi
    [ "$status" -eq 0 ] || cat "$work/$name" "$work/$name.err"
}

check() { # NAME: by the status of the last command
    if [ $? -eq 0 ]; then
        passed=$((passed + 1))
        echo "PASS $1"
    else
        failed=$((failed + 1))
        echo "FAIL $1"
    fi
}

# Ctrl-C as a terminal gives it: SIGINT for wine's Unix process is CTRL_C_EVENT for the program.
interrupt() {
    pidfile=$work/foreground.pid
    timeout 60 wine "$build/subject.exe" run --pidfile "$pidfile" </dev/null >"$work/run" \
        2>"$work/run.err" 9>&- &
    starter=$!
    for _ in $(seq 100); do
        [ -s "$pidfile" ] && break
        sleep 0.1
    done
    program=$(pgrep -P "$starter" | head -n 1)
    [ -n "$program" ] && kill -INT "$program"
    wait "$starter"
    [ $? -eq 0 ] && [ ! -e "$pidfile" ]
}

doctest rules 60 "$build/pure.exe"
if [ -n "$tests" ]; then
    doctest suite 600 "$build/suite.exe" "-tc=$tests"
else
    doctest suite 600 "$build/suite.exe"
    interrupt
    check 'R20 V2 Ctrl-C ends a program in the foreground, and its PID file goes'
fi
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
