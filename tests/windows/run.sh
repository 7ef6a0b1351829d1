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
    # Its set-up goes on when it has returned: a service that is made meanwhile is forgotten.
    timeout 60 wineserver -w || echo 'the set-up of the prefix has not ended in 60 s'
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

# A service of the system's: what is typed is what an administrator types. Each query is tried again,
# for what the service manager says follows what it does.
sc() { # LOG ARGUMENTS...
    log=$work/$1
    shift
    under_wine 60 "$log" sc "$@"
}
service_is() { # STATE: within ten seconds
    for _ in $(seq 50); do
        sc query query daemonize-suite
        grep -q "STATE.*$1" "$work/query" && return 0
        sleep 0.2
    done
    cat "$work/query"
    return 1
}
service() { # BEHAVIOUR...: of the subject
    windows=$(winepath -w "$work" 2>/dev/null)
    program=$(winepath -w "$build/subject.exe" 2>/dev/null)
    sc created create daemonize-suite binPath= \
        "\"$program\" run --pidfile \"$windows\\service.pid\" $*" start= demand
}

# RUNNING is said at ready(), and not before; a stop is SIGTERM, and STOPPED its end.
service_lives() {
    service --ready-delay-ms 1500 --term-delay-ms 1500 || return 1
    sc started start daemonize-suite || return 1
    service_is START_PENDING || return 1
    service_is RUNNING || return 1
    under_wine 60 "$work/status" "$build/subject.exe" status --pidfile "$work/service.pid" ||
        return 1
    sc stopped stop daemonize-suite || return 1
    service_is STOP_PENDING || return 1
    service_is STOPPED || return 1
    [ ! -e "$work/service.pid" ] && grep -q 'WIN32_EXIT_CODE *: *0 ' "$work/query"
}
service_fails() {
    service --fail-init no-port || return 1
    sc started start daemonize-suite
    service_is STOPPED && grep -q 'SERVICE_EXIT_CODE *: *[1-9]' "$work/query" &&
        [ ! -e "$work/service.pid" ]
}
service_is_stopped_early() {
    service --ready-delay-ms 3000 || return 1
    sc started start daemonize-suite || return 1
    service_is START_PENDING || return 1
    sc stopped stop daemonize-suite
    service_is STOPPED && [ ! -e "$work/service.pid" ]
}
forget_service() {
    sc deleted delete daemonize-suite
    for _ in $(seq 50); do
        sc query query daemonize-suite
        grep -q 'STATE' "$work/query" || return 0
        sleep 0.2
    done
}

narrow_lives() {
    options="--pidfile $work/narrow.pid --stdout $work/narrow.log"
    # shellcheck disable=SC2086
    for each in 'start 0' 'status 0' 'reload 0' 'start 1' 'stop 0' 'status 3'; do
        under_wine 60 "$work/narrow" "$build/subject32.exe" ${each% *} $options
        [ $? -eq "${each#* }" ] || return 1
    done
    grep -q hup "$work/narrow.log" && [ ! -e "$work/narrow.pid" ]
}

doctest rules 60 "$build/pure.exe"
if [ -n "$tests" ]; then
    doctest suite 600 "$build/suite.exe" "-tc=$tests"
else
    doctest suite 600 "$build/suite.exe"
    interrupt
    check 'R20 V2 Ctrl-C ends a program in the foreground, and its PID file goes'
    service_lives
    check 'V1 a service: RUNNING at ready(), a stop is SIGTERM, STOPPED at the end'
    forget_service
    service_fails
    check 'V1 a service that cannot start: STOPPED, with the exit code'
    forget_service
    service_is_stopped_early
    check 'V1 a service that is stopped while it starts'
    forget_service
    # By what it prints: wine's status is 0 as well where it cannot run such a program.
    [ ! -e "$build/subject32.exe" ] || under_wine 60 "$work/32" "$build/subject32.exe" features
    if grep -q features "$work/32" 2>/dev/null; then
        narrow_lives
        check 'W8 a program of 32 bits: start, signals, stop'
    else
        skipped=$((skipped + 1))
        echo 'SKIP W8 a program of 32 bits: no i686 mingw, or no wine32 (i386 packages)'
    fi
fi
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
