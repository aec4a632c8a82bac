#!/bin/sh
# Runs test programs one after another and counts them.
#
#   run.sh GROUP COMMAND...    each argument is one command line; prints PASS or FAIL for each, shows the end of
#                              what a failed one printed, and adds the verdicts to $RESULTS
#   run.sh --total             prints "N passed, N failed" over $RESULTS; status 1 if any failed or none ran
#
# From the environment: RESULTS (a file), B (build directory, for the logs), TEST_TIMEOUT_S (default 900).
# Each unit test program has a TMPDIR of its own, which goes with it: a test that fails removes nothing itself.
# A program passes by status 0. Lines of its own that begin with PASS, FAIL or SKIP are shown indented.
set -u
: "${RESULTS:?}" "${B:?}"

if [ "$1" = --total ]; then
    passed=$(grep -c '^PASS' "$RESULTS" 2>/dev/null)
    failed=$(grep -c '^FAIL' "$RESULTS" 2>/dev/null)
    grep '^FAIL' "$RESULTS" 2>/dev/null
    echo "${passed:-0} passed, ${failed:-0} failed"
    [ "${failed:-0}" -eq 0 ] && [ "${passed:-0}" -gt 0 ]
    exit
fi

group=$1
shift
# timeout gives each program a process group of its own, which Ctrl-C does not reach.
pid= scratch=
trap '[ -z "$pid" ] || kill "$pid"; [ -z "$scratch" ] || rm -rf "$scratch"; exit 130' INT TERM
mkdir -p "$B/logs"
status=0

# Check's own limit of 4 s per test is no match for a sanitizer on a busy machine.
export CK_DEFAULT_TIMEOUT="${CK_DEFAULT_TIMEOUT:-120}"
export ASAN_OPTIONS="${ASAN_OPTIONS:-detect_leaks=1:detect_stack_use_after_return=1:strict_string_checks=1}"
export UBSAN_OPTIONS="${UBSAN_OPTIONS:-print_stacktrace=1}"
export TSAN_OPTIONS="${TSAN_OPTIONS:-second_deadlock_stack=1}"
# GCC 12's ThreadSanitizer cannot live with the address randomisation of newer kernels.
wrap=
[ "${FLAVOUR:-}" = tsan ] && command -v setarch >/dev/null && setarch -R true 2>/dev/null && wrap="setarch -R"

for cmd; do
    name="$group ${cmd#"$B"/}"
    log=$B/logs/$(printf '%s' "$name" | tr -c 'A-Za-z0-9._\n-' '_' | cut -c1-150).log
    begun=$(date +%s.%N)
    [ "$group" != unit ] || scratch=$(mktemp -d "${TMPDIR:-/tmp}/ledgermq-unit.XXXXXX")
    # shellcheck disable=SC2086  # a command line, meant to be split
    TMPDIR=${scratch:-${TMPDIR:-/tmp}} timeout -k 10 "${TEST_TIMEOUT_S:-900}" $wrap $cmd >"$log" 2>&1 </dev/null &
    pid=$!
    wait $pid
    rc=$?
    [ -z "$scratch" ] || rm -rf "$scratch"
    took=$(echo "$begun $(date +%s.%N)" | awk '{ printf "%.2f", $2 - $1 }')
    if [ $rc -eq 0 ]; then
        verdict=PASS
    else
        verdict=FAIL
        status=1
    fi
    echo "$verdict $name" >>"$RESULTS"
    printf '%s %s (%s s)\n' "$verdict" "$name" "$took"
    if [ $rc -eq 0 ]; then
        grep -E '^(PASS|FAIL|SKIP)\b' "$log" | sed 's/^/    /'
    else
        [ $rc -eq 124 ] && echo "    stopped after ${TEST_TIMEOUT_S:-900} s"
        echo "    status $rc; the end of $log:"
        tail -n 60 "$log" | sed 's/^/    /'
    fi
done
exit $status
