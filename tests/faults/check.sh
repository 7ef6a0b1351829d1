#!/bin/sh
# check.sh ENGINE SLOPPY JOBS: whether the engine finds each kind of defect in a daemon that has
# them all. Each verdict is one test. Ends with "N passed, N failed, N skipped".
engine=$1 sloppy=$2 jobs=$3
log=$sloppy.log
# One case at least for each verdict; with all of them a sweep takes minutes, for it hangs often.
"$engine" "$sloppy" --jobs "$jobs" --faults 'start:?:*:kill,start:1:*:E[IA]*,start:2:*:E[INA]*,stop:0:*:E*,again:1:*:ENOLCK' \
    >"$log" 2>&1
if grep '^SKIP faults: ' "$log"; then
    echo '0 passed, 0 failed, 1 skipped'
    exit 0
fi
passed=0 failed=0
for verdict in lie degraded silent leftover hang blocked stranger twins crash 'stale file'; do
    count=$(sed -n "s/^$verdict  .* \([0-9]*\)\$/\1/p" "$log")
    if [ "${count:-0}" -gt 0 ]; then
        passed=$((passed + 1))
        echo "PASS the engine finds '$verdict': $count"
    else
        failed=$((failed + 1))
        echo "FAIL the engine finds no '$verdict' where there is one"
    fi
done
if grep 'without a fault' "$log"; then failed=$((failed + 1)); fi
[ "$failed" -eq 0 ] || tail -n 60 "$log"
echo "$passed passed, $failed failed, 0 skipped"
[ "$failed" -eq 0 ]
