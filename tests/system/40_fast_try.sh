#!/usr/bin/env bash
# The quick start as a user types it: start, status, kill-leader, status, stop; data survives; a second start finds it.
set -euo pipefail
top=$(cd "$(dirname "$0")/../.." && pwd)
# Ports of its own, none of them among those that other tests' connections may hold.
export PORT_BASE=${PORT_BASE:-1000} REPLICA_PORT=20911
RUN_DIR=$(mktemp -d "${TMPDIR:-/tmp}/fast-try.XXXXXX")
export RUN_DIR
trap '"$top/deploy/fast-try.sh" stop; rm -rf "$RUN_DIR"' EXIT
leader_s=10

try() { "$top/deploy/fast-try.sh" "$@"; }

wrong() {
    echo "FAIL $*"
    exit 1
}

# expect WHAT PATTERN COUNT TEXT: PATTERN is in exactly COUNT lines of TEXT.
expect() {
    local found
    found=$(grep -c -- "$2" <<<"$4" || true)
    [ "$found" = "$3" ] || wrong "$1: \"$2\" in $found lines, not $3, of: $4"
}

wait_leader() {
    local until=$((SECONDS + leader_s))
    until try leader >/dev/null 2>&1; do
        [ $SECONDS -lt $until ] || wrong "no leader after $leader_s s: $(try status)"
        sleep 0.05
    done
}

# committed: the highest committed index among the replicas.
committed() { try status | sed -n 's/.*committed \([0-9]*\).*/\1/p' | sort -n | tail -n 1; }

rc=0
try nonsense >/dev/null 2>&1 || rc=$?
[ $rc = 2 ] || wrong "an unknown command gives status $rc, not 2"

said=$(try start)
expect start "is ready: nameserver 127.0.0.1:$((9876 + PORT_BASE)), 1 group(s) of 3" 1 "$said"
said=$(try status)
expect status '^nameserver .*127.0.0.1:' 1 "$said"
expect status '^RaftNode00 .* leader ' 1 "$said"
expect status '^RaftNode00 .* follower ' 2 "$said"
for port in 30911 30921 30931; do expect "status, port" "127.0.0.1:$((port + PORT_BASE))\$" 1 "$said"; done
leader=$(try leader)
# Our own settings are all of use; a conf that warns teaches to overlook warnings.
! grep 'setting without effect\|unknown setting' "$RUN_DIR"/*.log || wrong "settings are warned about"
for n in 0 1 2; do
    said=$("${BIN:-$top/build/release/bin}/mqbroker" -c "$top/deploy/conf/broker-n$n.conf" -p 2>&1 >/dev/null)
    expect "conf/broker-n$n.conf" . 0 "$said"
done
echo "PASS started, leader n$leader"

said=$(try kill-leader)
expect kill-leader "killed the leader of RaftNode00, n$leader" 1 "$said"
wait_leader
[ "$(try leader)" != "$leader" ] || wrong "n$leader is dead and still leads"
said=$(try status)
expect "status after the kill" '^RaftNode00 .* leader ' 1 "$said"
expect "status after the kill" "n$leader .* down" 1 "$said"
echo "PASS another leads after the kill"

try start >/dev/null
said=$(try status)
expect "status after the restart" '^RaftNode00 .* leader ' 1 "$said"
expect "status after the restart" '^RaftNode00 .* follower ' 2 "$said"
echo "PASS the dead one is back"

before=$(committed)
pids=$(cat "$RUN_DIR"/*.pid)
try stop
for pid in $pids; do
    ! grep -qa mq "/proc/$pid/cmdline" 2>/dev/null || wrong "process $pid runs after stop"
done
said=$(try status)
expect "status after stop" ' down' 4 "$said"
echo "PASS stopped"

try start >/dev/null
[ "$(committed)" -ge "$before" ] || wrong "committed index went from $before to $(committed) over a restart"
try wipe
[ ! -e "$RUN_DIR" ] || wrong "$RUN_DIR is there after wipe"
echo "PASS data survives a stop and ends with wipe"
