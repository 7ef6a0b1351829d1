#!/bin/sh
# need.sh doctest|libseccomp 'COMPILER FLAGS': sees to it that the compiler finds the header.
# doctest: the suite cannot be built without it, so this fails. libseccomp: its tests are skipped.
package=$1
compile=$2

case $package in
doctest) header=doctest/doctest.h fedora=doctest-devel arch=doctest alpine=doctest-dev
    others='Homebrew: brew install doctest    FreeBSD: pkg install doctest' ;;
libseccomp) header=seccomp.h fedora=libseccomp-devel arch=libseccomp alpine=libseccomp-dev
    others='(Linux only)' ;;
*) echo "need.sh: unknown package '$package'" >&2; exit 2 ;;
esac

found() { # $compile is a command with its flags: split on purpose
    echo "#include <$header>" | $compile -x c++ -E - >/dev/null 2>&1
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
fi

cat >&2 <<END
make test: the compiler does not find <$header>. The package is called
    Debian, Ubuntu: apt-get install $package-dev    Fedora: dnf install $fedora
    Arch: pacman -S $arch    Alpine: apk add $alpine
    $others
END
[ "$package" = libseccomp ] || exit 1
echo 'make test: the tests that deny system calls are skipped' >&2
