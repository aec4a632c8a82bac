#!/usr/bin/env bash
# The demo: a fresh cluster of three, one producer and one consumer, and the leader killed three times while they work.
#
#   deploy/demo.sh         environment: DEMO_SECONDS (20), KILLS (3), and that of cluster.sh (BIN, RUN_DIR, PORT_BASE)
#
# What is counted comes from mqperf, which notes every acknowledgement, reads every message back and compares. Status 0: nothing
# was lost, doubled, damaged or out of order, and every kill was survived.
set -euo pipefail
export LC_ALL=C
top=$(cd "$(dirname "$0")/.." && pwd)
seconds=${DEMO_SECONDS:-20}
kills=${KILLS:-3}
connections=4
settle_s=20
first_kill_s=3

export BIN=${BIN:-$top/build/release/bin} RUN_DIR=${RUN_DIR:-$top/build/run/demo}
namesrv=127.0.0.1:$((9876 + ${PORT_BASE:-0}))
cluster() { "$top/deploy/cluster.sh" "$@" --name demo; }

out=""
load_pid=""
finish() {
    [ -z "$load_pid" ] || kill "$load_pid" 2>/dev/null || true
    cluster stop
}
trap finish EXIT
trap 'exit 130' INT TERM

say() { printf '%s\n' "$*"; }
now_ms() { echo $((${EPOCHREALTIME/[.,]/} / 1000)); }
# field JSON KEY: a number or word of one line of JSON.
field() { sed -n "s/.*\"$2\":\"\{0,1\}\([^,\"}]*\).*/\1/p" <<<"$1"; }
# whole NUMBER: without its decimals.
whole() { printf '%.0f' "$1"; }

# longest_gap FROM_MS TO_MS: the longest time without an acknowledgement that began between these.
longest_gap() {
    grep -o '{"at":[0-9.]*,"length":[0-9.]*}' <<<"$produced" | tr -d '{}"' | awk -F'[:,]' -v from="$1" -v to="$2" '
        $2 >= from && $2 <= to && $4 > max { max = $4 }
        END { if (max > 0) printf "%.0f ms", max; else print "under 5 ms" }'
}

wait_followers() {
    local until=$((SECONDS + settle_s))
    while [ "$(cluster status | grep -cE ' (leader|follower) ')" -lt 3 ]; do
        [ $SECONDS -lt $until ] || { say "demo: the cluster is not whole after $settle_s s"; cluster status; exit 1; }
        sleep 0.1
    done
}

cluster wipe
begin=$(now_ms)
cluster start
say "three replicas started and elected a leader in $(($(now_ms) - begin)) ms; every message is on the disks of two before it is acknowledged"
cluster status
say ""

out=$RUN_DIR/load.json
"$BIN/mqperf" run -n "$namesrv" -t demo -c $connections -d "$seconds" --gap-ms 5 --json >"$out" 2>"$RUN_DIR/load.progress" &
load_pid=$!
load_begin=$(now_ms)
say "a producer of $connections connections and a consumer run for $seconds s"

kill_at=()
step=$(((seconds - first_kill_s - 2) / kills))
for ((k = 0; k < kills; k++)); do
    until=$((load_begin + (first_kill_s + k * step) * 1000))
    while [ "$(now_ms)" -lt $until ] && [ -d /proc/$load_pid ]; do sleep 0.05; done
    [ -d /proc/$load_pid ] || break
    tail -n 1 "$RUN_DIR/load.progress"
    kill_at+=("$(($(now_ms) - load_begin))")
    say "    $(cluster kill-leader) (kill -9)"
    sleep 1
    cluster restart-dead
    wait_followers
    say "    started again; now $(cluster status | sed -n 's/^RaftNode00 *\(n[0-9]\).* \(leader\|follower\|electing\) .*/\1 \2/p' | paste -sd, | sed 's/,/, /g')"
done
rc=0
wait $load_pid || rc=$?
load_pid=""
tail -n 1 "$RUN_DIR/load.progress"
say ""

produced=$(grep '"what":"produce"' "$out" || true)
verdict=$(grep '"what":"verify"' "$out" || true)
if [ -z "$produced" ] || [ -z "$verdict" ]; then
    say "demo: the load ended early (status $rc):"
    cat "$out" "$RUN_DIR/load.progress"
    exit 1
fi

acked=$(field "$verdict" acked)
order=$(($(field "$verdict" orderRealTime) + $(field "$verdict" orderProducer)))
printf '%-28s %10s\n' "sent" "$((acked + $(field "$verdict" unknown)))" "acknowledged" "$acked" \
    "consumed" "$(field "$verdict" delivered)" \
    "lost" "$(($(field "$verdict" lost) + $(field "$verdict" twoAcks) + $(field "$verdict" offsetGaps)))" \
    "duplicated" "$(field "$verdict" duplicates)" "out of order" "$order" \
    "damaged or never sent" "$(($(field "$verdict" damaged) + $(field "$verdict" phantom)))" \
    "sends failed" "$(field "$produced" failed | sed 's/\..*//')" \
    "messages per second" "$(whole "$(field "$produced" messagesPerSecond)")"
say ""
say "failover: longest time without an acknowledgement around each kill"
for ((k = 0; k < ${#kill_at[@]}; k++)); do
    printf '  kill %d at %5.1f s %16s\n' $((k + 1)) "$((kill_at[k] / 100))e-1" \
        "$(longest_gap $((kill_at[k] - 300)) $((kill_at[k] + 2000)))"
done
say ""
say "memory"
for f in "$RUN_DIR"/*.pid; do
    name=$(basename "$f" .pid)
    printf '  %-10s %6.1f MiB\n' "$name" "$(awk '/^VmRSS/ { print $2 / 1024 }' "/proc/$(cat "$f")/status")"
done
say ""

if [ $rc -ne 0 ] || [ "$(field "$verdict" good)" != true ]; then
    say "demo: WRONG (status $rc): $(field "$verdict" first) $(tail -n 1 "$RUN_DIR/load.progress")"
    exit 1
fi
if [ ${#kill_at[@]} -ne "$kills" ]; then
    say "demo: only ${#kill_at[@]} of $kills kills were done before the load ended"
    exit 1
fi
say "demo: all held: every acknowledged message is there, once the leader was killed $kills times"
