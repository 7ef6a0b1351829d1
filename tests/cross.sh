#!/bin/sh
# The header for the systems that this machine is not, without a warning: one clang with the headers
# and libraries of them all (see zig.sh). The header is compiled by itself, in two dialects, and the
# subject is compiled and LINKED; nothing runs (see foreign/run.sh for what can). And 32 bit under
# g++, where that has the headers.
# cross.sh BUILD WARNINGS JOBS. Ends with "N passed, N failed, N skipped".
set -u
build=$1/cross jobs=$3
warnings=$2
# The first link for a system builds its libc++: 40 s of processor time, once; without -s more.
linked='x86_64-freebsd aarch64-freebsd x86_64-netbsd x86_64-openbsd x86_64-macos aarch64-macos
    x86_64-linux-musl x86_64-linux-gnu.2.17'
compiled='aarch64-netbsd aarch64-openbsd aarch64-linux-musl arm-linux-musleabihf riscv64-linux-musl'
mkdir -p "$build"
skipped=0
rows=$build/rows
: >"$rows"
number=0

row() { # COMMAND...: into a file of its own
    number=$((number + 1))
    echo "$* -o $build/$number.out" >>"$rows"
}

skip() {
    skipped=$((skipped + 1))
    echo "SKIP $1: $2"
}

printf '#define DAEMONIZE_IMPLEMENTATION\n#include "daemonize.hpp"\n' >"$build/alone.cpp"
if zig=$(sh tests/zig.sh "$1/zig"); then
    # The slow ones first.
    for target in $linked; do
        row "$zig c++ -target $target -O1 -s -I. -std=c++11 tests/support/subject.cpp"
    done
    for target in $linked $compiled; do
        with="$zig c++ -target $target -I. -c"
        case " $(echo $linked) " in
        *" $target "*) row "$with -std=c++11 -DDAEMONIZE_GENERIC_POSIX $build/alone.cpp" ;;
        *) row "$with -std=c++11 tests/support/subject.cpp" ;;
        esac
        row "$with -std=c++20 -fno-exceptions -fno-rtti $build/alone.cpp"
    done
else
    skip 'FreeBSD, NetBSD, OpenBSD, macOS, musl, old glibc' "$zig"
fi

# -m32 without the library's headers (g++-multilib) is no compiler.
for flags in '-m32' '-m32 -D_FILE_OFFSET_BITS=64 -D_TIME_BITS=64'; do
    set -- g++ $flags -isystem "/usr/include/$(uname -m)-linux-gnu"
    if echo '#include <string>' | "$@" -x c++ -fsyntax-only - 2>/dev/null; then
        row "$* -std=c++11 -O2 -I. -c tests/support/subject.cpp"
    else
        skip "g++ $flags" 'it has no 32-bit C++ library (package g++-N-multilib)'
    fi
done

sh tests/rows.sh "$build" "$warnings" "$jobs"
rm -f "$build"/*.out
sed "s,${zig:-zig},zig,g; s,$build/,,g; s, -I\.,,; s, -o [0-9]*\.out,," "$build/results"
passed=$(grep -c '^PASS' "$build/results")
failed=$(grep -c '^FAIL' "$build/results")
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
