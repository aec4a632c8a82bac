#!/usr/bin/env bash
# Unmodified RocketMQ clients against a real cluster of three replicas, one of which is killed while they work.
# Arguments are handed to tests/clients/run.sh (suites; none = all).
set -euo pipefail
top=$(cd "$(dirname "$0")/.." && pwd)
cluster=("$top/deploy/cluster.sh")
args=(--groups 1 --nodes 3 --name check-clients)

"${cluster[@]}" wipe "${args[@]}"
trap '"${cluster[@]}" stop "${args[@]}"' EXIT
"${cluster[@]}" start "${args[@]}"
export NAMESRV_ADDR=127.0.0.1:$((9876 + ${PORT_BASE:-0}))
export KILL_LEADER_CMD="env RESTART=1 $top/deploy/cluster.sh kill-leader ${args[*]}"
"$top/tests/clients/run.sh" "$@"
