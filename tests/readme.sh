#!/bin/sh
# readme.sh BUILD CXX: everything that README.md and the header's manual show is tried.
#
# What stands behind the fence of a block says how:
#     cpp name=X             a program: compiled with -Wall -Wextra -Werror, linked; if it uses control()
#                            it is also started, asked and stopped
#     cpp fragment           compiled inside a function; `fragment top`: outside
#     cpp windows name=X     compiled and linked by mingw, run by wine
#     console                each line "$ command" is run, what follows is its output, numbers apart
#     sh                     sh -n
#     cmake, meson, cpp module: vendoring.sh
#     ANY file=PATH          the block is that file, byte for byte
#     text explain           what explain() returns
#     text, ini name=X       written to a file X, and checked by the program that reads such files
# A word needs=HEADER or os=linux: where it fits; link=FLAG: for the linker.
# One row PASS, FAIL or SKIP for each; ends with "N passed, N failed, N skipped".
set -u
build=$1
cxx=$2
LC_ALL=C
export LC_ALL
unset MAKEFLAGS MFLAGS MAKELEVEL NOTIFY_SOCKET PIDFILE
rm -rf "$build"
mkdir -p "$build/bin" "$build/units" "$build/windows" || exit 1
top=$(pwd)
build=$(cd "$build" && pwd)
flags="-std=c++11 -Wall -Wextra -Werror -O0 -pthread -I$top"
passed=0 failed=0 skipped=0

pass() {
    passed=$((passed + 1))
    echo "PASS $1"
}
fail() { # NAME [LOG]
    failed=$((failed + 1))
    echo "FAIL $1"
    [ $# -lt 2 ] || head -n 40 "$2"
}
skip() {
    skipped=$((skipped + 1))
    echo "SKIP $1: $2"
}
row() { # NAME COMMAND...
    name=$1
    shift
    if "$@" >"$build/log" 2>&1; then pass "$name"; else fail "$name" "$build/log"; fi
}
has() { command -v "$1" >/dev/null 2>&1; }
compile() { # shellcheck disable=SC2086
    $cxx $flags "$@"
}
has_header() {
    # shellcheck disable=SC2086
    echo "#include <$1>" | $cxx $flags -x c++ -E - >/dev/null 2>&1
}

if ! echo 'int main() {}' | $cxx -x c++ - -o "$build/log" 2>/dev/null; then
    fail "the compiler '$cxx' does not work"
    echo "0 passed, 1 failed, 0 skipped"
    exit 1
fi

# ---- Blocks -------------------------------------------------------------------------------------

awk -v to="$build" -f tests/blocks.awk README.md >"$build/index" || exit 1

before_fragment='
#include "daemonize.hpp"
#include <csignal>
void bind_port(daemonize::DaemonContext&);
void import_everything();
void print_statistics();
void read_configuration();
void work();
void fragment(daemonize::DaemonContext&);
void fragment(daemonize::DaemonContext& context) {
    (void)context;
    {
'

word() { # KEY of "key=value" among $words, or nothing
    for w in $words; do
        case $w in "$1="*) echo "${w#*=}" ;; esac
    done
}
says() { # whether a word without a value is there
    case " $words " in *" $1 "*) return 0 ;; esac
    return 1
}

cpp_block() {
    says module && return # vendoring.sh
    name=$(word name)
    source=$build/${name:-block-$number}.cpp
    needs=$(word needs)
    os=$(word os)
    if [ -n "$needs" ] && ! has_header "$needs"; then
        skip "$where: $name" "the compiler does not find <$needs>"
    elif [ "$os" = linux ] && [ "$(uname -s)" != Linux ]; then
        skip "$where: $name" 'for Linux only'
    elif says windows; then
        mingw=
        for candidate in x86_64-w64-mingw32-g++-win32 x86_64-w64-mingw32-g++; do
            [ -n "$mingw" ] || ! has $candidate || mingw=$candidate
        done
        if [ -z "$mingw" ]; then
            skip "$where: $name" 'there is no mingw'
        else
            cp "$body" "$source"
            row "$where: $name for Windows" $mingw -std=c++11 -Wall -Wextra -Werror -static "-I$top" \
                "$source" -o "$build/windows/$name.exe"
        fi
    elif says top; then
        cp "$body" "$source"
        row "$where: a fragment" compile -fsyntax-only "$source"
    elif says fragment; then
        { echo "$before_fragment" && cat "$body" && printf '    }\n}\n'; } >"$source"
        row "$where: a fragment" compile -c "$source" -o "$build/fragment.o"
    elif [ -z "$name" ]; then
        fail "$where: a program without name="
    else
        cp "$body" "$source"
        # shellcheck disable=SC2046
        row "$where: $name" compile "$source" -o "$build/bin/$name" $(word link)
    fi
}

named_block() { # text, ini: a file for another program
    name=$(word name)
    cp "$body" "$build/units/$name"
    case $name in
    *.service)
        if ! has systemd-analyze; then
            skip "$where: $name" 'there is no systemd-analyze'
        else # it wants the programs that the unit names
            sed "s,/usr/local/bin/,$build/bin/," "$body" >"$build/units/checked-$name"
            systemd-analyze verify "$build/units/checked-$name" >"$build/log" 2>&1
            if grep -q "checked-$name" "$build/log"; then
                fail "$where: $name" "$build/log"
            else
                pass "$where: $name, systemd-analyze verify"
            fi
        fi
        ;;
    *.logrotate)
        if ! has logrotate; then
            skip "$where: $name" 'there is no logrotate'
        else
            row "$where: $name, logrotate --debug" \
                logrotate --debug --state "$build/state" "$build/units/$name"
        fi
        ;;
    *) fail "$where: nothing is known about $name" ;;
    esac
}

while read -r number line language words; do
    where="README.md:$line"
    body=$build/$number.body
    file=$(word file)
    if [ -n "$file" ]; then
        row "$where: is $file" cmp "$body" "$file"
        continue
    fi
    case $language in
    cpp) cpp_block ;;
    console) ;; # below
    sh) row "$where: sh -n" sh -n "$body" ;;
    cmake | meson) ;; # vendoring.sh
    yaml) skip "$where: Kubernetes" 'there is no cluster here' ;;
    text | ini) if says explain; then cp "$body" "$build/explain.text"; else named_block; fi ;;
    *) fail "$where: a block of the unknown kind '$language'" ;;
    esac
done <"$build/index"

row 'the first program is examples/minimal.cpp' cmp "$build/minimal.cpp" examples/minimal.cpp

# The quick start of the header's manual: the lines that are indented by four more.
{
    echo 'static void tick();'
    sed -n '/^\/\/ QUICK START/,/^\/\/ [A-Z]\{3\}.*$/{/^\/\/     /s,^//     ,,p;}' daemonize.hpp
    echo 'static void tick() {}'
} >"$build/quick_start.cpp"
row "the header's quick start compiles" compile "$build/quick_start.cpp" -o "$build/bin/quick_start"

# The program whose explain() README.md shows.
cat >"$build/explain.cpp" <<'END'
#define DAEMONIZE_IMPLEMENTATION
#include "daemonize.hpp"
#include <cstdio>
int main() {
    daemonize::DaemonContext context;
    context.pidfile = "/run/ticker.pid";
    context.standard_output = context.standard_error = "/var/log/ticker.log";
    context.detach_process = daemonize::Detach::automatic;
    context.open();
    std::fputs(context.explain().c_str(), stdout);
}
END
row 'the program of explain() compiles' compile "$build/explain.cpp" -o "$build/bin/explain"

# ---- What is run: as root, among files and processes of its own -----------------------------------

cat >"$build/session.sh" <<'SESSION'
# Process 1 of a PID namespace: whatever was started here ends with it.
for place in /run /var/log /usr/local/bin; do mount -t tmpfs -o mode=755 none $place || exit 1; done
cd "$build/session" || exit 1
PATH=$build/tools:$build/bin:/usr/local/bin:$PATH
unset NOTIFY_SOCKET PIDFILE INVOCATION_ID
say() { # RESULT NAME [LOG]
    echo "$1 $2" >>"$build/rows"
    [ $# -lt 3 ] || head -n 40 "$3" >>"$build/rows"
}
plain() { sed -E 's/[0-9]+(\.[0-9]+)?/N/g; s/N (us|ms|s|min|h)( |$)/N T\2/' "$1"; }
try() { # NAME COMMAND...
    what=$1
    shift
    if timeout 60 "$@" >log 2>&1; then say PASS "$what"; else say FAIL "$what" log; fi
}
while read -r number line language words; do
    [ "$language" = console ] || continue
    # Command and output in turns; the whole is compared at once.
    : >is
    sed -n 's/^\$ //p' "$build/$number.body" >commands
    while IFS= read -r command <&3; do
        printf '$ %s\n' "$command" >>is
        timeout 60 sh -c "$command" >>is 2>&1 </dev/null 3<&-
    done 3<commands
    plain is >is.plain
    plain "$build/$number.body" >expected.plain
    if diff -u expected.plain is.plain >log; then
        say PASS "README.md:$line: the console's output"
    else
        say FAIL "README.md:$line: the console's output" log
    fi
done <"$build/index"

for program in "$build"/bin/*; do
    name=${program##*/}
    grep -q 'daemonize::control' "$build/$name.cpp" || continue
    try "$name: start" "$program" start
    try "$name: status" "$program" status
    try "$name: stop" "$program" stop
done

# What explain() says goes to the log; the start has ended by then, the daemon a moment later.
rm -f /var/log/ticker.log
explained() {
    explain && for round in 1 2 3 4 5 6 7 8 9 10; do
        [ -s /run/ticker.pid ] || break
        sleep 0.3
    done
    diff -u "$build/explain.text" /var/log/ticker.log
}
if explained >log 2>&1; then say PASS "README.md's text of explain()"; else
    say FAIL "README.md's text of explain()" log
fi

# The whole of the first recipe, as its logrotate would do it: the daemon is nobody by then.
if [ -x "$build/bin/greeter" ] && command -v logrotate >/dev/null; then
    cp "$build/bin/greeter" /usr/local/bin/
    mkdir /run/state
    cp "$build/units/greeter.logrotate" /run/state/greeter
    chmod 644 /run/state/greeter
    rotated() {
        greeter start && echo first >>/var/log/greeter.log &&
            logrotate --force --state /run/state/state /run/state/greeter &&
            grep -q first /var/log/greeter.log.1 && pid=$(cat /run/greeter.pid) || return 1
        for round in 1 2 3 4 5 6 7 8 9 10; do
            [ "$(readlink "/proc/$pid/fd/1")" = /var/log/greeter.log ] && break
            sleep 0.3
        done
        readlink "/proc/$pid/fd/1" | grep -qx /var/log/greeter.log &&
            grep -q '^Uid:.65534' "/proc/$pid/status" && greeter stop
    }
    if rotated >log 2>&1; then say PASS 'logrotate and a dropped daemon'; else
        ls -l /var/log /run >>log
        say FAIL 'logrotate and a dropped daemon' log
    fi
fi
SESSION

in_namespaces() {
    unshare --mount --pid --fork --mount-proc --kill-child "$@"
}
if [ "$(id -u)" != 0 ]; then
    skip 'what the console blocks run' 'needs root'
elif ! has unshare || ! in_namespaces true 2>/dev/null; then
    skip 'what the console blocks run' 'there are no namespaces to be had'
elif ! has timeout; then
    skip 'what the console blocks run' 'there is no timeout(1)'
else
    mkdir -p "$build/session" "$build/tools"
    cp "$build"/*.cpp "$build/session/"
    printf '#!/bin/sh\nexec "$@"\n' >"$build/tools/sudo"
    # By its path: by its name a compiler that is called c++ would be this script again.
    rest=${cxx#"${cxx%% *}"}
    printf '#!/bin/sh\nexec %s -I%s "$@"\n' "$(command -v "${cxx%% *}")$rest" "$top" \
        >"$build/tools/c++"
    chmod 755 "$build/tools/sudo" "$build/tools/c++"
    : >"$build/rows"
    build=$build in_namespaces sh "$build/session.sh" >"$build/session.log" 2>&1 </dev/null ||
        fail 'the session of the console blocks' "$build/session.log"
    cat "$build/rows"
    passed=$((passed + $(grep -c '^PASS' "$build/rows")))
    failed=$((failed + $(grep -c '^FAIL' "$build/rows")))
    [ -s "$build/rows" ] || fail 'the console blocks: none was run' "$build/session.log"
fi

# ---- The programs for Windows, under wine ----------------------------------------------------------

wine_rows() (
    WINEPREFIX=$build/wine WINEDEBUG=-all WINEDLLOVERRIDES='mscoree,mshtml='
    export WINEPREFIX WINEDEBUG WINEDLLOVERRIDES
    trap 'wineserver -k 2>/dev/null' EXIT
    cd "$build/windows" || exit 1
    # Files, not pipes: a daemon under wine keeps the Unix descriptors of its starter.
    under_wine() { timeout 120 wine "$@" </dev/null >out 2>err; }
    tried() { # NAME WORD COMMAND...: status 0, and WORD among what it says
        what=$1 word=$2
        shift 2
        if under_wine "$@" && grep -q "$word" out; then echo "PASS $what"; else
            echo "FAIL $what"
            head -n 20 out err
        fi
    }
    under_wine wineboot -i
    tried 'winticker.exe start, under wine' 'started as' winticker.exe start
    tried 'winticker.exe status, under wine' 'running as' winticker.exe status
    tried 'winticker.exe stop, under wine' 'ended after' winticker.exe stop
    under_wine sc create winservice binPath= "$(winepath -w "$build/windows/winservice.exe")"
    # wine's service manager opens a service that is as old as itself, not one made meanwhile.
    wineserver -k
    for round in 1 2 3 4 5 6 7 8 9 10; do # it may still be starting
        under_wine sc query winservice && grep -q STOPPED out && break
        sleep 0.5
    done
    tried 'winservice.exe as a service, net start' started net start winservice
    tried 'winservice.exe as a service, net stop' stopped net stop winservice
)
if [ ! -e "$build/windows/winticker.exe" ] || [ ! -e "$build/windows/winservice.exe" ]; then
    skip 'the programs for Windows' 'they were not built'
elif ! has wine || ! has timeout; then
    skip 'the programs for Windows' 'there is no wine'
else
    wine_rows >"$build/wine-rows" 2>/dev/null
    cat "$build/wine-rows"
    passed=$((passed + $(grep -c '^PASS' "$build/wine-rows")))
    failed=$((failed + $(grep -c '^FAIL' "$build/wine-rows")))
fi

# ---- What the text says ---------------------------------------------------------------------------

section() { sed -n "/^## $1\$/,/^## /p" README.md; }

# Both lists of options are one list.
sed -n '/^struct DaemonOptions {/,/^};/p' daemonize.hpp | sed '1d; s,//.*,,; s/<.*>//g; s/=.*//' |
    tr ',;' '\n\n' | sed -n 's/^.*[ ]\([a-z_]\{3,\}\) *$/\1/p' | sort >"$build/fields"
section 'All options' | sed -n 's/^| `\([a-z_]*\)` |.*/\1/p' | sort >"$build/rows-of-options"
row "the table of options is the header's" diff -u "$build/fields" "$build/rows-of-options"

# Each literal piece of a message is in the header, where adjacent string literals are one.
awk 'BEGIN { RS = "\001" } { gsub(/"[ \n]*\n[ ]*"/, ""); print }' daemonize.hpp >"$build/literals"
section 'Error messages' | sed -n 's/^| \([^|]*`[^|]*\) |.*/\1/p' | tr '`' '\n' | awk 'NR % 2 == 0 ||
    /^[a-z ]/' | sed "s,'[^']*',\n,g; s/: /\n/g" | sed 's/^ *//; s/ *$//' |
    grep -E '^[a-z][a-z0-9_() ,;]{7,}$' | sort -u >"$build/pieces"
while IFS= read -r piece; do
    # The object may be put in there: "cannot start" and "process 4711".
    grep -qF -e "$piece" -e "${piece% *}\"" -e "${piece% *} %" "$build/literals" ||
        echo "not in daemonize.hpp: '$piece'"
done <"$build/pieces" >"$build/log"
missing=$(wc -l <"$build/log")
if [ "$missing" -eq 0 ] && [ -s "$build/pieces" ]; then
    pass "the messages are the header's ($(wc -l <"$build/pieces") pieces)"
else
    fail "the messages are the header's" "$build/log"
fi

# Links: files that are there, headings that are there.
sed -n 's/^##* //p' README.md | tr 'A-Z' 'a-z' | sed "s/[^a-z0-9 _-]//g; s/ /-/g" >"$build/anchors"
awk '/^```/ { inside = !inside; next } !inside' README.md | sed 's/`[^`]*`//g' |
    grep -o '](\(#[^)]*\|[a-zA-Z][^):]*\))' | sed 's/^](//; s/)$//' | sort -u |
    while IFS= read -r link; do
        case $link in
        '#'*) grep -qx -- "${link#?}" "$build/anchors" || echo "no heading: $link" ;;
        *) [ -e "$link" ] || echo "no file: $link" ;;
        esac
    done >"$build/log"
if [ ! -s "$build/log" ]; then pass 'links lead somewhere'; else fail 'links' "$build/log"; fi

open=$(grep -c 'FILL' README.md)
[ "$open" -eq 0 ] || skip 'figures' "$open lines of README.md are marked FILL"

echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
