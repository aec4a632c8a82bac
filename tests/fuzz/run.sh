#!/bin/sh
# Runs fuzz targets, two at a time: run.sh SECONDS TARGET...   (`make fuzz` calls it)
#
# Inputs worth keeping are collected under $B/corpus/<target> from run to run; tests/fuzz/corpus/<target>, if there,
# seeds it. An input that breaks something is left in $B/crashes; give it to the target as an argument to see it again.
set -u
: "${B:?}"
seconds=$1
shift

one='
    seconds=$0
    target=$1
    name=$(basename "$target")
    log=$B/logs/$name.log
    mkdir -p "$B/corpus/$name"
    seeds=
    [ -d "tests/fuzz/corpus/$name" ] && seeds=tests/fuzz/corpus/$name
    if timeout -k 10 $((seconds + 120)) "$target" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=2048 \
        -max_len=65536 -artifact_prefix="$B/crashes/$name-" -print_final_stats=1 "$B/corpus/$name" $seeds \
        >"$log" 2>&1 </dev/null; then
        echo "PASS $name ($(sed -n "s/^stat::number_of_executed_units: *//p" "$log") inputs)"
    else
        echo "FAIL $name; the end of $log:"
        tail -n 60 "$log" | sed "s/^/    /"
        exit 1
    fi'

export B
mkdir -p "$B/logs" "$B/crashes"
printf '%s\0' "$@" | xargs -0 -r -n 1 -P "${FUZZ_JOBS:-2}" sh -c "$one" "$seconds" >"$B/fuzz.out"
cat "$B/fuzz.out"
passed=$(grep -c '^PASS' "$B/fuzz.out")
failed=$(($# - passed))
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
