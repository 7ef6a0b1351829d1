#!/bin/sh
# valgrind.sh BUILD: start, status, reload, stop, a refused start and one that fails before it is
# ready, all of BUILD/subject and all under memcheck, which goes along over both forks. A process
# leaves by _exit or is killed as it likes, so each of them has a log of its own to be judged by.
# Ends with "N passed, N failed, N skipped".
subject=$1/subject
logs=$1/valgrind
command -v valgrind >/dev/null || {
    echo 'SKIP valgrind: it is not installed'
    echo '0 passed, 0 failed, 1 skipped'
    exit 0
}
rm -rf "$logs"
mkdir -p "$logs" || exit 1
place=$(mktemp -d) || exit 1
pidfile=$place/pid
passed=0 failed=0

# Whatever happens, the daemon that the file names is ended, by its number.
clean_up() {
    if read -r left 2>/dev/null <"$pidfile" && [ "${left:-0}" -gt 1 ]; then kill -9 "$left"; fi
    rm -rf "$place"
}
trap clean_up EXIT
trap 'exit 130' INT TERM HUP

# try NAME WORD...: the subject with these words.
try() {
    name=$1
    shift
    timeout -k 5 120 valgrind -v --trace-children=yes --error-exitcode=99 --leak-check=full \
        --show-leak-kinds=definite --errors-for-leak-kinds=definite \
        --log-file="$logs/$name.%p.log" "$subject" "$@" --pidfile "$pidfile" --stdout "$place/log" \
        >"$logs/$name.out" 2>&1
    echo $? >"$logs/$name.status"
}

# judge NAME STATUS PROCESSES: it has ended with STATUS, and at least so many processes have told
# their own end without an error; what was killed tells nothing.
judge() {
    status=$(cat "$logs/$1.status")
    told=$(cat "$logs/$1".*.log | grep -c 'ERROR SUMMARY: 0 errors')
    bad=$(cat "$logs/$1".*.log | grep -cE 'ERROR SUMMARY: [1-9]')
    if [ "$status" -eq "$2" ] && [ "$bad" -eq 0 ] && [ "$told" -ge "$3" ]; then
        passed=$((passed + 1))
        echo "PASS valgrind: $1, $told processes without an error"
    else
        failed=$((failed + 1))
        echo "FAIL valgrind: $1: status $status instead of $2, $told processes without an error" \
            "of at least $3, $bad with errors"
        cat "$logs/$1.out" "$logs/$1".*.log | grep -v '^--[0-9]*-- ' | head -n 200
    fi
}

try start start
try refused start
try status status
try reload reload
try restart restart
try stop stop
try failing start --fail-init 'no database'
try exiting start --exit-init 7
try late start --ready-delay-ms 60000 --ready-timeout 3

# Not before the end: a daemon tells its own when it is stopped.
judge start 0 3
judge refused 1 1
judge status 0 1
judge reload 0 1
judge restart 0 3
judge stop 0 1
judge failing 1 1
judge exiting 7 1
judge late 124 1

echo "$passed passed, $failed failed, 0 skipped"
[ "$failed" -eq 0 ]
