#!/bin/sh
# What can be proven by cross compilers: the header under every thread model, width and choice of
# macros, without a warning; and that it asks for the kernel and the C runtime alone.
# build.sh BUILD WARNINGS JOBS. Ends with "N passed, N failed, N skipped".
set -u
build=$1 jobs=$3
warnings=$2
work=$build/units
mkdir -p "$work"
rm -f "$work"/*.log "$work"/*.exe

unit() { # NAME LINES...
    file=$work/$1.cpp
    shift
    printf '%s\n' "$@" >"$file"
}
implementation='#define DAEMONIZE_IMPLEMENTATION'
header='#include "daemonize.hpp"'
unit twice "$implementation" "$header" "$header"
unit late "$header" '#include <windows.h>' "$implementation" "$header"
unit before '#include <windows.h>' "$implementation" "$header"
unit after "$implementation" "$header" '#include <windows.h>' '#ifdef WIN32_LEAN_AND_MEAN' \
    '#error "left behind"' '#endif'
unit nominmax '#define NOMINMAX' '#define WIN32_LEAN_AND_MEAN' "$implementation" "$header" \
    '#if !defined(NOMINMAX) || !defined(WIN32_LEAN_AND_MEAN)' '#error "taken away"' '#endif'
# The macros that windows.h makes without NOMINMAX; some C++ libraries forbid them to it.
unit minmax '#include <windows.h>' '#include <algorithm>' '#include <functional>' \
    '#include <string>' '#include <vector>' '#include <chrono>' '#include <system_error>' \
    '#include <atomic>' '#define min(a, b) ((a) < (b) ? (a) : (b))' \
    '#define max(a, b) ((a) > (b) ? (a) : (b))' "$implementation" "$header"
unit declarations "$header" '#ifdef _WINDOWS_' '#error "windows.h among the declarations"' '#endif'

rows=$work/rows
: >"$rows"
skipped=0
compile() { # COMPILER FLAGS UNITS...
    with="$1 $2"
    shift 2
    for each; do echo "$with -I. -c $work/$each.cpp -o /dev/null" >>"$rows"; done
}
for machine in x86_64 i686; do
    there=no
    for compiler in $machine-w64-mingw32-g++-win32 $machine-w64-mingw32-g++-posix \
        $machine-w64-mingw32-g++; do
        [ $there$compiler != yes$machine-w64-mingw32-g++ ] || continue
        command -v "$compiler" >/dev/null || continue
        there=yes
        compile "$compiler" '-std=c++11 -O1' twice
        compile "$compiler" '-std=c++11' late after nominmax declarations
        compile "$compiler" '-std=c++11 -DUNICODE -D_UNICODE' before minmax
        compile "$compiler" '-std=c++20 -D_WIN32_WINNT=0x0A00' before
        compile "$compiler" '-std=c++17 -fno-exceptions -fno-rtti' twice
        echo "$compiler -std=c++11 -I. -static tests/support/subject.cpp -o $work/$compiler.exe" \
            >>"$rows"
    done
    if [ $there = no ]; then
        skipped=$((skipped + 1))
        echo "SKIP $machine-w64-mingw32-g++: not installed (package g++-mingw-w64)"
    fi
done

sh tests/rows.sh "$work" "$warnings" "$jobs"

for program in "$work"/*.exe; do
    [ -e "$program" ] || continue
    objdump=$(basename "$program" | sed 's/-g++.*/-objdump/')
    foreign=$("$objdump" -p "$program" | sed -n 's/^.*DLL Name: //p' |
        grep -viE '^(kernel32|msvcrt|ucrtbase|api-ms-win-crt-[a-z0-9-]*)\.dll$')
    if [ -z "$foreign" ]; then
        echo "PASS imports of $program" >>"$work/results"
    else
        echo "FAIL imports of $program: $foreign" >>"$work/results"
    fi
    rm -f "$program"
done
sed '/^PASS/s/ -I\. -c//; /^PASS/s, -o /dev/null,,' "$work/results"
passed=$(grep -c '^PASS' "$work/results")
failed=$(grep -c '^FAIL' "$work/results")
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
