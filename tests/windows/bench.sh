#!/bin/sh
# bench.exe under wine. bench.sh BUILD.
set -u
if [ ! -e "$1/bench.exe" ]; then
    echo 'SKIP bench-windows: there is no mingw (package g++-mingw-w64-x86-64)'
    exit 0
fi
if ! command -v wine >/dev/null; then
    echo 'SKIP bench-windows: there is no wine (packages wine, wine64)'
    exit 0
fi
mkdir -p "$1/../wine"
WINEPREFIX=$(cd "$1/../wine" && pwd)
export WINEPREFIX WINEDEBUG=-all WINEDLLOVERRIDES='mscoree,mshtml='
exec 9>"$WINEPREFIX.lock"  # one run at a time
if command -v flock >/dev/null; then flock 9; fi
work=$(mktemp -d)
trap 'wineserver -k 2>/dev/null; rm -rf "$work"' EXIT
trap 'exit 130' INT TERM HUP
[ -e "$WINEPREFIX/system.reg" ] || timeout 120 wine wineboot -i </dev/null >"$work/boot" 2>&1 9>&-
timeout 300 wine "$1/bench.exe" "$work/bench.pid" </dev/null >"$work/out" 2>"$work/err" 9>&-
status=$?
cat "$work/out" "$work/err"
exit $status
