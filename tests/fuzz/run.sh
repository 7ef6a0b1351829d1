#!/bin/sh
# run.sh FUZZER SECONDS: libFuzzer for so long; what it finds stays beside FUZZER.
# Ends with "N passed, N failed, N skipped".
fuzzer=$1 seconds=$2
mkdir -p "$fuzzer.corpus"
if "$fuzzer" -max_total_time="$seconds" -max_len=512 -verbosity=0 -print_final_stats=1 \
    -artifact_prefix="$fuzzer.found-" "$fuzzer.corpus" >"$fuzzer.log" 2>&1; then
    grep -a 'number_of_executed_units' "$fuzzer.log"
    echo '1 passed, 0 failed, 0 skipped'
else
    tail -n 40 "$fuzzer.log"
    echo '0 passed, 1 failed, 0 skipped'
    exit 1
fi
