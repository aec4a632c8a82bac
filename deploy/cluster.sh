#!/usr/bin/env bash
# A LedgerMQ cluster on this machine: one nameserver and GROUPS x NODES brokers, each its own process.
#
#   deploy/cluster.sh start [--groups G] [--nodes N] [--name NAME]   start what is not running, wait until all is ready
#   deploy/cluster.sh stop|status|kill-leader|restart-dead|wipe [...] see usage below
#
# Ports: nameserver 9876; broker 30911 + 10 * node + 100 * group; replicas REPLICA_PORT + node + 10 * group; HTTP 25911 + node +
# 10 * group. PORT_BASE is added to all of them. RocketMQ's replica ports (40911...) lie among those the kernel lends to outgoing
# connections, which may hold one for a minute: REPLICA_PORT is 20911 unless given; fast-try.sh asks for RocketMQ's.
# Group g is called RaftNode0g and prefers replica g % N as its leader, so that leaders are spread.
set -euo pipefail
export LC_ALL=C

usage() {
    cat <<'TXT'
usage: cluster.sh COMMAND [--groups G] [--nodes N] [--name NAME]
  start          start what is not running; returns when every group has a leader that the nameserver knows
  stop           SIGTERM to all, wait until they have gone
  status         one line per process: role, term, log, memory
  kill-leader    kill -9 the leader of group GROUP (environment, default 0); with RESTART=1 start it again at once
  leader         print the replica that leads group GROUP
  restart-dead   start again what has died
  wipe           stop and remove all data
Defaults: one group, three nodes, name "cluster". Environment: BIN (directory of the programs), RUN_DIR (data, logs, pids),
PORT_BASE, REPLICA_PORT, EXTRA (more broker settings, "key=value key=value"); HOSTS and NAMESRV_HOST (addresses of the nodes and of
the nameserver, all 127.0.0.1), NETNS (files of network namespaces, one per node, in which its brokers run).
TXT
}

top=$(cd "$(dirname "$0")/.." && pwd)
command=${1:-}
[ $# -gt 0 ] && shift
groups=1 nodes=3 name=cluster
while [ $# -gt 0 ]; do
    case $1 in
    --groups) groups=$2; shift 2 ;;
    --nodes) nodes=$2; shift 2 ;;
    --name) name=$2; shift 2 ;;
    *) echo "cluster.sh: unknown argument \"$1\"" >&2; usage >&2; exit 2 ;;
    esac
done

if [ -z "${BIN:-}" ]; then
    BIN=$top/build/release/bin
    [ -x "$BIN/mqbroker" ] || BIN=$(dirname "$(command -v mqbroker || echo "$BIN/mqbroker")")
fi
RUN_DIR=${RUN_DIR:-$top/build/run/$name}
PORT_BASE=${PORT_BASE:-0}
REPLICA_PORT=${REPLICA_PORT:-20911}
GROUP=${GROUP:-0}
ready_s=20
stop_s=15
answer_s=2
lent_s=65 # the kernel keeps a closed connection's port for 60 s
read -r -a hosts <<<"${HOSTS:-}"
read -r -a netns <<<"${NETNS:-}"
namesrv_host=${NAMESRV_HOST:-127.0.0.1}

namesrv_port=$((9876 + PORT_BASE))
broker_port() { echo $((30911 + 10 * $2 + 100 * $1 + PORT_BASE)); }
replica_port() { echo $((REPLICA_PORT + $2 + 10 * $1 + PORT_BASE)); }
http_port() { echo $((25911 + $2 + 10 * $1 + PORT_BASE)); }
host() { echo "${hosts[$1]:-127.0.0.1}"; }
group_name() { printf 'RaftNode%02d' "$1"; }

fail() {
    echo "cluster.sh: $*" >&2
    exit 1
}

# alive FILE: the process whose id is in FILE runs, and is one of ours.
alive() {
    local pid
    pid=$(cat "$1" 2>/dev/null) || return 1
    grep -qa "^$BIN/mq" "/proc/$pid/cmdline" 2>/dev/null
}

# dying FILE: it has no command line any more, yet some thread of it is left, and with it locks and ports.
dying() {
    local pid stat
    pid=$(cat "$1" 2>/dev/null) || return 1
    [ -z "$(tr -d '\0' <"/proc/$pid/cmdline")" ] || return 1
    stat=$(cat "/proc/$pid/stat") || return 1
    stat=${stat##*) }
    [ "${stat%% *}" != Z ] || [ "$(echo "/proc/$pid/task/"* | wc -w)" -gt 1 ]
} 2>/dev/null

# ended FILE: returns when it has gone for good.
ended() { while alive "$1" || dying "$1"; do sleep 0.005; done; }

start_namesrv() {
    alive "$RUN_DIR/namesrv.pid" && return
    ended "$RUN_DIR/namesrv.pid"
    mkdir -p "$RUN_DIR/namesrv"
    "$BIN/mqnamesrv" -D listenPort=$namesrv_port -D listenHost="$namesrv_host" -D "kvConfigPath=$RUN_DIR/namesrv/kvConfig.json" \
        </dev/null >>"$RUN_DIR/namesrv.log" 2>&1 &
    echo $! >"$RUN_DIR/namesrv.pid"
}

# listens PORT: somebody does, on this machine (the fourth field of a row is its state, 0A is LISTEN).
listens() { awk -v port="$(printf ':%04X' "$1")" '$2 ~ port "$" && $4 == "0A" { found = 1 } END { exit !found }' /proc/net/tcp; }

# launch ID COMMAND...: returns when it listens or has ended. A port which is in use though nobody listens on it is held by a
# connection: it is tried again until that has let go.
launch() {
    local id=$1 log=$RUN_DIR/$1.log from until=$((SECONDS + lent_s)) port told=""
    shift
    while :; do
        touch "$log"
        from=$(($(stat -c %s "$log") + 1))
        "$@" </dev/null >>"$log" 2>&1 &
        echo $! >"$RUN_DIR/$id.pid"
        until tail -c "+$from" "$log" | grep -q 'broker started' || ! kill -0 $! 2>/dev/null; do sleep 0.005; done
        port=$(tail -c "+$from" "$log" | sed -n 's/.*port \([0-9]*\) is in use.*/\1/p')
        [ -n "$port" ] && ! listens "$port" && [ $SECONDS -lt $until ] || return 0
        [ -n "$told" ] || echo "cluster.sh: port $port is held by an outgoing connection; $id is started when that has let go" >&2
        told=yes
        sleep 1
    done
}

start_broker() {
    local g=$1 n=$2 id="g$1-n$2" peers="" enter=() i
    alive "$RUN_DIR/$id.pid" && return
    ended "$RUN_DIR/$id.pid"
    for ((i = 0; i < nodes; i++)); do peers+="n$i-$(host $i):$(replica_port "$g" $i);"; done
    [ -n "${netns[$n]:-}" ] && enter=(nsenter "--net=${netns[$n]}")
    mkdir -p "$RUN_DIR/$id"
    {
        echo "brokerClusterName=RaftCluster"
        echo "brokerName=$(group_name "$g")"
        echo "brokerIP1=$(host "$n")"
        echo "listenHost=$(host "$n")"
        echo "listenPort=$(broker_port "$g" "$n")"
        echo "fastPortEnable=false"
        echo "namesrvAddr=$namesrv_host:$namesrv_port"
        echo "storePathRootDir=$RUN_DIR/$id"
        echo "httpHost=$(host "$n")"
        echo "httpPort=$(http_port "$g" "$n")"
        echo "dLegerGroup=$(group_name "$g")"
        echo "dLegerPeers=${peers%;}"
        echo "dLegerSelfId=n$n"
        [ "$groups" -gt 1 ] && echo "preferredLeaderId=n$((g % nodes))"
        tr ' ' '\n' <<<"${EXTRA:-}"
    } >"$RUN_DIR/$id.conf"
    launch "$id" "${enter[@]}" "$BIN/mqbroker" -c "$RUN_DIR/$id.conf"
}

# fetch GROUP NODE PATH: what its HTTP port says; empty when it does not answer. Called as $(fetch ...) only.
# Bash alone does it, so that the demo needs nothing but what the build needs.
fetch() {
    local fd answer=""
    trap '' PIPE
    {
        exec {fd}<>"/dev/tcp/$(host "$2")/$(http_port "$1" "$2")" || return 0
        printf 'GET %s HTTP/1.0\r\n\r\n' "$3" >&"$fd" || return 0
        IFS= read -r -t $answer_s -d '' answer <&"$fd" || true
    } 2>/dev/null
    printf '%s' "${answer#*$'\r\n\r\n'}"
}

# figure TEXT NAME: the value of a metric.
figure() { sed -n "s/^$2{[^}]*} //p" <<<"$1" | head -n 1; }

each_broker() {
    local g n
    for ((g = 0; g < groups; g++)); do
        for ((n = 0; n < nodes; n++)); do "$1" "$g" "$n"; done
    done
}

leader_of() {
    local n
    for ((n = 0; n < nodes; n++)); do
        if [ "$(figure "$(fetch "$1" $n /metrics)" ledgermq_serving)" = 1 ]; then
            echo $n
            return
        fi
    done
    return 1
}

wait_ready() {
    local g n until=$((SECONDS + ready_s)) waiting
    while :; do
        waiting=""
        [ -d "/proc/$(cat "$RUN_DIR/namesrv.pid")" ] || fail "the nameserver has ended: $(tail -n 2 "$RUN_DIR/namesrv.log")"
        for ((g = 0; g < groups; g++)); do
            leader_of $g >/dev/null || waiting="$(group_name $g) has no leader"
            for ((n = 0; n < nodes; n++)); do
                [ "$(fetch $g $n /readyz)" = ok ] || waiting="$(group_name $g) n$n: $(fetch $g $n /readyz)"
                [ -d "/proc/$(cat "$RUN_DIR/g$g-n$n.pid")" ] || fail "$(group_name $g) n$n has ended: $(tail -n 2 "$RUN_DIR/g$g-n$n.log")"
            done
        done
        [ -z "$waiting" ] && return
        [ $SECONDS -lt $until ] || fail "not ready after $ready_s s: $waiting"
        sleep 0.05
    done
}

show_broker() {
    local text pid state
    pid=$(cat "$RUN_DIR/g$1-n$2.pid" 2>/dev/null || echo -)
    text=$(fetch "$1" "$2" /metrics)
    if [ -z "$text" ]; then
        state="down"
    else
        case $(figure "$text" ledgermq_role)$(figure "$text" ledgermq_serving) in
        31) state=leader ;;
        0?) state=follower ;;
        *) state=electing ;;
        esac
    fi
    printf '%-12s n%d  pid %-7s %-9s' "$(group_name "$1")" "$2" "$pid" "$state"
    [ -n "$text" ] && printf ' term %-4s log end %-9s committed %-9s %5.1f MiB' "$(figure "$text" ledgermq_term)" \
        "$(figure "$text" ledgermq_log_end_index)" "$(figure "$text" ledgermq_log_committed_index)" \
        "$(awk "BEGIN { print $(figure "$text" process_resident_memory_bytes) / 1048576 }")"
    printf '  %s:%s\n' "$(host "$2")" "$(broker_port "$1" "$2")"
}

stop_all() {
    local f pid until=$((SECONDS + stop_s))
    for f in "$RUN_DIR"/*.pid; do
        [ -e "$f" ] && alive "$f" && kill "$(cat "$f")"
    done
    for f in "$RUN_DIR"/*.pid; do
        [ -e "$f" ] || continue
        while alive "$f"; do
            if [ $SECONDS -ge $until ]; then
                pid=$(cat "$f")
                echo "cluster.sh: process $pid does not stop; killed" >&2
                kill -9 "$pid"
            fi
            sleep 0.02
        done
        ended "$f"
        rm -f "$f"
    done
}

case $command in
start)
    [ -x "$BIN/mqbroker" ] || fail "no mqbroker in $BIN: run make first, or set BIN"
    mkdir -p "$RUN_DIR"
    start_namesrv
    each_broker start_broker
    wait_ready
    echo "cluster $name is ready: nameserver $namesrv_host:$namesrv_port, $groups group(s) of $nodes"
    ;;
stop)
    stop_all
    ;;
status)
    if alive "$RUN_DIR/namesrv.pid"; then
        printf '%-12s     pid %-7s %s\n' nameserver "$(cat "$RUN_DIR/namesrv.pid")" "$namesrv_host:$namesrv_port"
    else
        printf '%-12s     down\n' nameserver
    fi
    each_broker show_broker
    ;;
leader)
    leader_of "$GROUP" || fail "$(group_name "$GROUP") has no leader"
    ;;
kill-leader)
    n=$(leader_of "$GROUP") || fail "$(group_name "$GROUP") has no leader"
    alive "$RUN_DIR/g$GROUP-n$n.pid" || fail "$(group_name "$GROUP") is led by a process that is not in $RUN_DIR"
    kill -9 "$(cat "$RUN_DIR/g$GROUP-n$n.pid")"
    echo "killed the leader of $(group_name "$GROUP"), n$n"
    if [ "${RESTART:-0}" = 1 ]; then
        ended "$RUN_DIR/g$GROUP-n$n.pid"
        start_broker "$GROUP" "$n"
    fi
    ;;
restart-dead)
    start_namesrv
    each_broker start_broker
    ;;
wipe)
    stop_all
    rm -rf "$RUN_DIR"
    ;;
*)
    usage >&2
    exit 2
    ;;
esac
