#!/bin/sh
# The suite's programs as other machines run them; the runner, and what it judges by, are of this
# machine. run.sh BUILD JOBS TESTS MAKE; BUILD/suite and its helpers are built already.
#
#   i386              32 bit, by g++ -m32; runs by itself on x86-64
#   musl              static, another C library, by zig c++; runs by itself
#   arm aarch64 s390x static, by a cross compiler, under qemu-user: 32 bit, 64 bit, big endian
#
# Prints SKIP for a machine that cannot be had here, and for each kind of test that cannot hold
# under an emulator. Ends with "N passed, N failed, N skipped".
set -u
build=$1 jobs=$2 tests=$3
make=$4 compile=$5
machines=${MACHINES:-i386 musl arm aarch64 s390x}
passed=0 failed=0 skipped=0
unset MAKEFLAGS MFLAGS MAKEOVERRIDES MAKELEVEL

# From outside (both), and where sizes, byte order and system calls differ most. An emulator takes
# its time: there fewer.
sample='*both_test*,*pidfile_test*,*signals_test*,*start_test*'
larger_sample=$sample,'*steps_test*,*control_test*'

skip() {
    skipped=$((skipped + 1))
    echo "SKIP $1: $2"
}

# What cannot hold while an emulator is a part of every process.
#   no PATTERN REASON: tests of that name are left out, and counted
no() {
    excluded=${excluded:+$excluded,}$1
    skip "$machine: $1" "$2"
}
left_out() {
    excluded=
    [ -n "$emulator" ] || return 0
    no 'S2 a daemon that ends before ready*' 'the emulator says a line of its own about an abort'
    no 'S2 a daemon that is killed*' 'the emulator says a line of its own about a crash'
    no 'S2 without a subreaper*' 'the emulator says a line of its own about an abort'
    no 'P3 a file that was replaced*' 'a race that an emulator on a busy machine comes too late for'
    no 'G1 what is assigned counts*' 'the emulator catches every signal, as /proc shows it'
    no 'G2 callbacks run in*' 'the emulator has a thread of its own'
}

# A program for it, run as it will be: bits / 4 + 1 where the first byte is the lowest.
probe='int main() { int one = 1; return int(sizeof(void*)) * 2 + *reinterpret_cast<char*>(&one); }'
is_there() { # EXPECTED
    mkdir -p "$directory/bin" || return 1
    echo "$probe" >"$directory/probe.cpp"
    # shellcheck disable=SC2086
    $compiler $link "$directory/probe.cpp" -o "$directory/bin/probe" >"$directory/probe.log" 2>&1 ||
        { skip "$machine" "no compiler for it: '$compiler' (see $directory/probe.log)"; return 1; }
    ${emulator:+"$emulator"} "$directory/bin/probe"
    status=$?
    [ "$status" -eq "$1" ] && return 0
    skip "$machine" "its programs do not run here (status $status, not $1)"
    return 1
}

# Native tools of the suite, which act upon the programs.
helpers='suite deny biglimit ticker minimal'

# The programs into bin/; where they do not run by themselves, one that runs them beside it.
prepare() {
    rm -f "$directory"/bin/*  # zig c++ does not write down what a program depends on
    $make -j "$jobs" BUILD="$directory/bin" CXX="$compiler" CXXFLAGS="$optimize" LDFLAGS="$link" \
        "$directory/bin/victim" "$directory/bin/subject" "$directory/bin/watcher" \
        >"$directory/make.log" 2>&1 || { tail -n 30 "$directory/make.log"; return 1; }
    if [ -n "$emulator" ]; then
        ln -sf "$emulator" "$directory/emulator"
        $compile tests/foreign/emulate.cpp -o "$directory/emulate" || return 1
    fi
    for name in victim subject watcher; do
        if [ -n "$emulator" ]; then
            cp "$directory/emulate" "$directory/$name" || return 1
        else
            ln -sf "bin/$name" "$directory/$name"
        fi
    done
    for name in $helpers; do
        [ ! -x "$build/$name" ] || ln -sf "$build/$name" "$directory/$name"
    done
}

build=$(cd "$build" && pwd)
for machine in $machines; do
    directory=$build/foreign/$machine emulator="" link=-static optimize=-O0 bits_and_order=9
    case $machine in
    i386)
        link="" compiler="g++ -m32 -isystem /usr/include/$(uname -m)-linux-gnu" ;;
    musl)
        bits_and_order=17
        zig=$(sh tests/zig.sh "$build/zig") || { skip "$machine" "$zig"; continue; }
        # With the flags of cross.sh: of another kind zig would build a second libc++.
        compiler="$zig c++ -target x86_64-linux-musl" optimize='-O1 -s' ;;
    arm) compiler=arm-linux-gnueabihf-g++ ;;
    aarch64) compiler=aarch64-linux-gnu-g++ bits_and_order=17 ;;
    s390x) compiler=s390x-linux-gnu-g++ bits_and_order=16 ;;
    *) echo "run.sh: unknown machine '$machine'" >&2; exit 2 ;;
    esac
    case $machine in
    i386 | musl) ;;
    *)
        if ! emulator=$(command -v "qemu-$machine-static"); then
            skip "$machine" "there is no qemu-$machine-static (package qemu-user-static)"
            continue
        fi ;;
    esac
    is_there "$bits_and_order" || continue
    if ! prepare; then
        failed=$((failed + 1))
        echo "FAIL $machine: its programs were not built"
        continue
    fi
    left_out
    files=$larger_sample
    [ -z "$emulator" ] || files=$sample
    sh tests/run.sh "$directory" "$jobs" "$tests" "--source-file=$files" \
        ${excluded:+"--test-case-exclude=$excluded"} >"$directory/log" 2>&1
    status=$?
    rm -f qemu_victim_*.core qemu_subject_*.core qemu_watcher_*.core  # by an emulator, of a byte each
    count=$(sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed, \([0-9]*\) skipped$/\1 \2 \3/p' \
        "$directory/log" | tail -n 1)
    # shellcheck disable=SC2086
    set -- ${count:-0 1 0}
    passed=$((passed + $1)) failed=$((failed + $2)) skipped=$((skipped + $3))
    grep '^SKIP' "$directory/log" | sed "s/^SKIP/SKIP $machine/"
    if [ "$status" -eq 0 ]; then
        echo "PASS $machine: $1 passed, $3 skipped"
    else
        echo "FAIL $machine: $1 passed, $2 failed, $3 skipped; from $directory/log:"
        sed -n '/^---- slice/,$p' "$directory/log" | tail -n 100
    fi
done
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
