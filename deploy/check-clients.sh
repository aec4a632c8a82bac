#!/usr/bin/env bash
# Unmodified RocketMQ clients against a real cluster of three replicas, one of which is killed while they work, and
# Java nameservers and brokers beside it. Arguments are handed to tests/clients/run.sh (suites; none = all).
set -euo pipefail
top=$(cd "$(dirname "$0")/.." && pwd)
cluster=("$top/deploy/cluster.sh")
args=(--groups 1 --nodes 3 --name check-clients)

export B=${B:-$top/build/release}/clients
export NAMESRV_ADDR=127.0.0.1:$((9876 + ${PORT_BASE:-0}))
export JAVA_PORT=$((9880 + ${PORT_BASE:-0}))
export EXTRA="namesrvAddr=$NAMESRV_ADDR;127.0.0.1:$JAVA_PORT;127.0.0.1:$((JAVA_PORT + 1))${EXTRA:+ $EXTRA}"
export EXPECT_BROKERS=3
export KILL_LEADER_CMD="env RESTART=1 $top/deploy/cluster.sh kill-leader ${args[*]}"

"${cluster[@]}" wipe "${args[@]}"
trap '"${cluster[@]}" stop "${args[@]}"' EXIT
"${cluster[@]}" start "${args[@]}"
"$top/tests/clients/run.sh" "$@"
