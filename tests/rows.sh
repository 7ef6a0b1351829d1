#!/bin/sh
# rows.sh DIRECTORY WARNINGS JOBS: runs each line of DIRECTORY/rows, a compiler's command, with the
# warnings, JOBS at once. "PASS command", or "FAIL command" and what it said, into DIRECTORY/results.
export work="$1" warnings="$2"
xargs -P "$3" -I ROW sh -c '
    log=$(mktemp "$work/XXXXXX.log")
    row="ROW"
    if $row $warnings >"$log" 2>&1; then echo "PASS $row"; else
        echo "FAIL $row"
        # The errors, where there are many lines before them.
        grep -A 3 "error:" "$log" | head -n 30 | grep . || head -n 30 "$log"
    fi
    rm -f "$log"' <"$work/rows" >"$work/results"
