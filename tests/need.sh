#!/bin/sh
# need.sh compiler 'COMPILER FLAGS'
#   whether it makes a program at all: asked before anything is installed for it.
# need.sh doctest|libseccomp 'COMPILER FLAGS' [PLACE]
#   sees to it that the compiler finds the header. By root it is installed; a user who may not
#   install gets it unpacked in PLACE, where apt-get can fetch it.
#   doctest: the suite cannot be built without it, so this fails. libseccomp: its tests are skipped.
package=$1
compile=$2
place=${3-}

if [ "$package" = compiler ]; then
    made=$(mktemp -d) || exit 1
    trap 'rm -rf "$made"' EXIT
    # Also a header of its C++ library: a compiler may be there without one.
    printf '#include <string>\nint main() { return std::string().empty() ? 0 : 1; }\n' >"$made/a.cpp"
    # $compile is a command with its flags: split on purpose
    $compile "$made/a.cpp" -o "$made/a.out" >"$made/log" 2>&1 && exit 0
    head -n 3 "$made/log" >&2
    cat >&2 <<END_OF_TEXT
make: '${compile%% *}' compiles no program; what it said stands above. Set CXX, or install a compiler:
    Debian, Ubuntu: apt-get install g++ (or clang)    Fedora: dnf install gcc-c++
    Arch: pacman -S gcc    Alpine: apk add g++    macOS: xcode-select --install
END_OF_TEXT
    exit 1
fi

case $package in
doctest) header=doctest/doctest.h fedora=doctest-devel arch=doctest alpine=doctest-dev
    others='Homebrew: brew install doctest    FreeBSD: pkg install doctest' ;;
libseccomp) header=seccomp.h fedora=libseccomp-devel arch=libseccomp alpine=libseccomp-dev
    others='(Linux only)' ;;
*) echo "need.sh: unknown package '$package'" >&2; exit 2 ;;
esac

found() { # FLAGS...: $compile is a command with its flags: split on purpose
    echo "#include <$header>" | $compile "$@" -x c++ -E - >/dev/null 2>&1
}

found && exit 0

if [ "$(id -u)" = 0 ]; then as_root=
elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then as_root='sudo -n'
else as_root=no
fi
if [ "$as_root" != no ] && command -v apt-get >/dev/null; then
    echo "make test: installing $package-dev, for <$header>"
    # shellcheck disable=SC2086
    $as_root apt-get -q update && $as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get -q -y --no-install-recommends install "$package-dev"
    found && exit 0
elif [ -n "$place" ] && command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null; then
    echo "make test: unpacking $package-dev in $place, for <$header>; nothing is installed"
    mkdir -p "$place" &&
        (cd "$place" && apt-get -q download "$package-dev" && dpkg-deb -x "$package-dev"_*.deb .)
    found -isystem "$place/usr/include" && exit 0
    rm -rf "$place"
fi

cat >&2 <<END
make test: the compiler does not find <$header>. The package is called
    Debian, Ubuntu: apt-get install $package-dev    Fedora: dnf install $fedora
    Arch: pacman -S $arch    Alpine: apk add $alpine
    $others
END
[ "$package" = libseccomp ] || exit 1
echo 'make test: the tests that deny system calls are skipped' >&2
