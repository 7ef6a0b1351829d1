#!/bin/sh
# The header for the systems that this machine is not, without a warning: one clang with the headers
# and libraries of them all (see zig.sh). Each compiles the header by itself and the subject, and for
# the first of them the subject is LINKED; nothing runs here (what can: foreign/run.sh). And 32 bit
# under g++, where that has the headers.
# cross.sh BUILD WARNINGS JOBS. Ends with "N passed, N failed, N skipped".
set -u
build=$1/cross jobs=$3
warnings=$2
# The first link for a system builds its libc++: 40 s of processor time, once; more without -s.
linked='x86_64-freebsd aarch64-freebsd x86_64-netbsd x86_64-openbsd x86_64-macos aarch64-macos
    x86_64-linux-musl x86_64-linux-gnu.2.17'
compiled='aarch64-netbsd aarch64-openbsd aarch64-linux-musl arm-linux-musleabihf riscv64-linux-musl'
mkdir -p "$build"
skipped=0
rows=$build/rows
: >"$rows"
number=0

compile() { # OBJECT COMMAND...
    object=$build/$1
    shift
    echo "$* -c -o $object" >>"$rows"
}

skip() {
    skipped=$((skipped + 1))
    echo "SKIP $1: $2"
}

printf '#define DAEMONIZE_IMPLEMENTATION\n#include "daemonize.hpp"\n' >"$build/alone.cpp"
rm -f "$build"/*.o
if zig=$(sh tests/zig.sh "$1/zig"); then
    for target in $linked $compiled; do
        with="$zig c++ -target $target -O1 -I."
        compile "subject-$target.o" "$with -std=c++11 tests/support/subject.cpp"
        compile "alone-$target.o" "$with -std=c++20 -fno-exceptions -fno-rtti $build/alone.cpp"
    done
    for target in $linked; do
        compile "generic-$target.o" "$zig c++ -target $target -O1 -I." -std=c++11 \
            -DDAEMONIZE_GENERIC_POSIX "$build/alone.cpp"
    done
else
    skip 'FreeBSD, NetBSD, OpenBSD, macOS, musl, old glibc' "$zig"
    linked=
fi

# -m32 without the library's headers (g++-multilib) is no compiler.
for flags in '-m32' '-m32 -D_FILE_OFFSET_BITS=64 -D_TIME_BITS=64'; do
    set -- g++ $flags -isystem "/usr/include/$(uname -m)-linux-gnu"
    if echo '#include <string>' | "$@" -x c++ -fsyntax-only - 2>/dev/null; then
        number=$((number + 1))
        compile "32-$number.o" "$@" -std=c++11 -O2 -I. tests/support/subject.cpp
    else
        skip "g++ $flags" 'it has no 32-bit C++ library (package g++-N-multilib)'
    fi
done

sh tests/rows.sh "$build" "$warnings" "$jobs"
cp "$build/results" "$build/compiled"
: >"$rows"
for target in $linked; do
    object=$build/subject-$target.o
    [ ! -s "$object" ] || # what does not compile has failed already
        echo "$zig c++ -target $target -O1 -s $object -o $build/subject-$target" >>"$rows"
done
sh tests/rows.sh "$build" '' "$jobs"
cat "$build/compiled" "$build/results" >"$build/all"
sed "s,${zig:-zig},zig,g; s,$build/,,g; s, -I\.,,; s, -c -o [^ ]*\.o,," "$build/all"
passed=$(grep -c '^PASS' "$build/all")
failed=$(grep -c '^FAIL' "$build/all")
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
