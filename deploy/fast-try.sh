#!/usr/bin/env bash
# The quick start: one nameserver (9876) and one group of three (brokers 30911, 30921, 30931; replicas 40911-40913), the ports
# of RocketMQ's own dledger/fast-try.sh.
#
#   deploy/fast-try.sh start|stop|status|kill-leader
set -euo pipefail
case ${1:-} in
start | stop | status | kill-leader | wipe | leader | restart-dead) ;;
*)
    echo "usage: fast-try.sh start|stop|status|kill-leader" >&2
    exit 2
    ;;
esac
export REPLICA_PORT=${REPLICA_PORT:-40911}
exec "$(dirname "$0")/cluster.sh" "$1" --groups 1 --nodes 3 --name fast-try
