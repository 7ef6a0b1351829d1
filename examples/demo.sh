#!/bin/sh
# demo.sh TICKER: a real daemon from its start to its end, looked at from outside. Needs a POSIX
# shell, coreutils and /proc (without it: ps). Fails if anything is not as expected; leaves nothing.
ticker=$1
dir=$(mktemp -d "${TMPDIR:-/tmp}/ticker-demo.XXXXXX") || exit 1
pidfile=$dir/ticker.pid
log=$dir/ticker.log
pid=

clean_up() { # by PID, and only while that number is still our program
    [ -n "$pid" ] || [ ! -s "$pidfile" ] || pid=$(cat "$pidfile")
    if [ -n "$pid" ] && runs_here "$pid"; then
        kill -KILL "$pid"
    fi
    rm -rf "$dir"
}
trap clean_up EXIT
trap 'exit 130' INT TERM HUP

runs_here() {
    if [ -e /proc/self/cmdline ]; then
        { tr '\0' ' ' <"/proc/$1/cmdline"; } 2>/dev/null | grep -qF "$pidfile"
    else
        ps -o args= -p "$1" | grep -qF "$pidfile"
    fi
}

title() { printf '\n== %s\n' "$1"; }
say() { printf '   %s\n' "$*"; }
shown() { sed 's/^/   /'; }
fail() {
    say "NOT AS EXPECTED: $*" >&2
    exit 1
}

# wait_until SECONDS COMMAND...: true as soon as the command is, false when the time is over.
wait_until() {
    end=$(($(date +%s) + $1 + 1))
    shift
    until "$@"; do
        [ "$(date +%s)" -lt "$end" ] || return 1
        sleep 0.05
    done
}

# Runs ticker with the word $1, prints what it says, sets $status.
run() {
    say "$ ticker $1"
    "$ticker" "$1" --pidfile "$pidfile" --log "$log" >"$dir/output" 2>&1
    status=$?
    shown <"$dir/output"
    say "exit status $status"
}

lines() {
    count=0
    [ ! -e "$1" ] || count=$(wc -l <"$1")
    echo $((count))
}
has_lines() { [ "$(lines "$1")" -ge "$2" ]; }
is_gone() { ! runs_here "$pid"; }
field() { # of /proc/PID/stat, counted from 1 behind the name, which may hold blanks
    sed 's/.*) //' "/proc/$1/stat" | cut -d ' ' -f "$2"
}

title 'start: returns when the daemon is ready, with a status that is true'
run start
[ "$status" -eq 0 ] || fail 'the start failed'
pid=$(cat "$pidfile") || fail 'there is no PID file'
runs_here "$pid" || fail "process $pid is not the daemon"
say "its PID file says $pid"

title 'who it is, as the system shows it'
if [ -e /proc/self/stat ]; then
    say "process $pid, parent $(field "$pid" 2), process group $(field "$pid" 3)"
    say "session $(field "$pid" 4), this shell's is $(field $$ 4)"
    [ "$(field "$pid" 4)" != "$(field $$ 4)" ] || fail 'it is in the session of this shell'
    [ "$(field "$pid" 4)" != "$pid" ] || fail 'it leads its session and could get a terminal'
    [ "$(field "$pid" 5)" = 0 ] || fail 'it has a terminal'
    say "terminal none, umask $(sed -n 's/^Umask:[[:space:]]*//p' "/proc/$pid/status")"
    if readlink "/proc/$pid/cwd" >/dev/null; then
        say "directory $(readlink "/proc/$pid/cwd")"
        [ "$(readlink "/proc/$pid/cwd")" = / ] || fail 'it keeps a directory busy'
        for fd in "/proc/$pid/fd"/*; do
            say "descriptor ${fd##*/} -> $(readlink "$fd")"
            case $(readlink "$fd") in
            # The directory of the PID file: it is removed from there whatever becomes of the path.
            /dev/null | "$log" | "$pidfile" | "$dir" | pipe:* | anon_inode:* | socket:*) ;;
            *) fail 'that one is not its own' ;;
            esac
        done
    else
        say 'directory and descriptors are shown to root alone: it leaves no core (prevent_core)'
        [ "$(id -u)" != 0 ] || fail 'but this is root'
    fi
else
    ps -o pid,ppid,pgid,tty,args -p "$pid" | shown
fi

title 'its log grows'
wait_until 4 has_lines "$log" 2 || fail 'no second line'
shown <"$log"

title 'rotation: the log is renamed, SIGHUP makes it go on in a new one'
say "$ mv ticker.log ticker.log.1; kill -HUP $pid"
mv "$log" "$log.1"
kill -HUP "$pid" || fail 'it is gone'
wait_until 4 has_lines "$log" 1 || fail 'no new log'
say "ticker.log.1: $(lines "$log.1") lines, the last: $(tail -n 1 "$log.1")"
say "ticker.log:   $(lines "$log") line, the first: $(head -n 1 "$log")"

title 'a second start is refused, and says why'
run start
[ "$status" -eq 1 ] || fail 'status 1 was expected'
grep -qF "$pid" "$dir/output" || fail 'the line does not name the process that is in the way'
[ "$(cat "$pidfile")" = "$pid" ] || fail 'the refused start has changed the PID file'

title 'stop: returns when it is really gone'
run status
[ "$status" -eq 0 ] || fail 'status 0 was expected'
run stop
[ "$status" -eq 0 ] || fail 'the stop failed'
is_gone || fail "process $pid is still there"

title 'what is left'
[ ! -e "$pidfile" ] || fail 'the PID file'
run status
[ "$status" -eq 3 ] || fail 'status 3 was expected'
say 'no process, no PID file; the two logs:'
rm -f "$dir/output"
left=$(ls "$dir")
echo "$left" | shown
[ "$left" = "ticker.log
ticker.log.1" ] || fail 'more than the two logs'
printf '\nAll as expected.\n'
