#!/usr/bin/env bash
# Measures a cluster of three replicas on this machine; see README.md for what and how.
#
#   bench/run.sh [disk|closed|pipelined|half|failover|idle|ready ...]     none: all
#
# Environment: FULL=1 (100 kills, 10 GiB of log), KILLS, LOG_GIB, RUNS, RUN_SECONDS, OUT (build/bench), PORT_BASE, BIN.
set -euo pipefail
top=$(cd "$(dirname "$0")/.." && pwd)
command -v python3 >/dev/null || "$top/deploy/install-deps.sh" check
export BIN=${BIN:-$top/build/release/bin} OUT=${OUT:-$top/build/bench}
exec python3 "$top/bench/run.py" "$@"
