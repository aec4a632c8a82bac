#!/usr/bin/env bash
# Runs unmodified RocketMQ clients against a live cluster and says what held.
#
#   tests/clients/run.sh [java49|java5|go|node|mqadmin|interop]...     (default: all)
#
# Environment:
#   NAMESRV_ADDR     nameservers of the cluster, host:port;host:port      (127.0.0.1:9876)
#   KILL_LEADER_CMD  shell command that kills a leader and sees to it that the cluster can take another kill later;
#                    when not set the LeaderKill jobs are left out and said so
#   EXPECT_BROKERS   how many rows mqadmin clusterList must show          (not checked)
#   JAVA_PORT        first of 24 free ports for the Java servers of the interop suite. The cluster's brokers must register
#                    at 127.0.0.1:JAVA_PORT and JAVA_PORT + 1, too; nothing need listen there before. When not set the
#                    suite is left out and said so
#   B                where everything is built and logged                 (build/clients)
#
# Prints a line for each job and last "N passed, N failed"; the exit status is 1 when one failed.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
mkdir -p "${B:=$here/../../build/clients}"
B=$(cd "$B" && pwd)
export NAMESRV_ADDR=${NAMESRV_ADDR:-127.0.0.1:9876}
RUN_ID=$(date +%s)-$$
export RUN_ID
# shellcheck source=tests/clients/servers/servers.sh
source "$here/servers/servers.sh"

readonly suite_limit_s=600
readonly all_suites=(java49 java5 go node mqadmin interop)
readonly java_jobs=(OrderlyPush ConcurrentPushClustering SyncAsyncOnewaySend AutoCreateTopic Broadcasting LitePull
    TagFilter Offsets ViewMessageById LeaderKill)
readonly go_jobs=(OrderlyPush ConcurrentPushClustering SyncAsyncOnewaySend Broadcasting PullConsumer TagFilter
    LeaderKill)
readonly node_jobs=(PushClustering Broadcasting TagFilter ShardingKeyOrder LeaderKill)
readonly admin_jobs=(clusterList updateTopic topicRoute topicStatus consumerProgress queryMsgById)
# Clients are 5.x, which are done with a killed leader soonest.
readonly java_namesrv_jobs=(SyncAsyncOnewaySend clusterList topicRoute LeaderKill)
readonly java_broker_jobs=(SyncAsyncOnewaySend ConcurrentPushClustering clusterList updateTopic topicRoute)

passed=0
failed=0

die() {
    echo "run.sh: $*" >&2
    exit 2
}

need() { # program, Debian package
    command -v "$1" >/dev/null || die "$1 is not installed (Debian package $2)"
}

check_tools() {
    case $1 in
    java49 | java5 | mqadmin | interop)
        need java default-jdk-headless
        need javac default-jdk-headless
        need mvn maven
        local version
        version=$(javac -version 2>&1 | sed -E 's/javac ([0-9]+).*/\1/')
        ((version >= 17)) || die "javac is version $version, 17 is needed (Debian package default-jdk-headless)"
        ;;
    go)
        need go golang
        local want have
        want=$(sed -n 's/^go //p' "$here/go/go.mod")
        have=$(go env GOVERSION | sed 's/^go//')
        printf '%s\n' "$want" "$have" | sort -V -C || die "go is version $have, $want is needed (go.mod of the tests)"
        ;;
    node)
        need node nodejs
        need npm npm
        ;;
    *)
        die "no suite $1, there are: ${all_suites[*]}"
        ;;
    esac
}

# Each build_* is quiet when it works.
declare -A java_built=()
build_java() { # profile; two suites may want the same
    [[ -v java_built[$1] ]] && return
    (cd "$here/java" && mvn -q -B "-P$1" "-Dbuild.dir=$B/$1" process-classes) && java_built[$1]=1
}

build_go() {
    (cd "$here/go" && go build -o "$B/check-go" .)
}

build_node() {
    mkdir -p "$B/node"
    local known=$B/node/node_modules/.built-from.json
    cp -r "$here"/node/*.js* "$here/node/jobs" "$B/node"
    cmp -s "$B/node/package-lock.json" "$known" && return
    (cd "$B/node" && npm ci --no-audit --no-fund --loglevel=error)
    cp "$B/node/package-lock.json" "$known"
}

build() { # suite
    case $1 in
    java49 | java5) build_java "$1" ;;
    mqadmin) build_java java49 && build_java java5 ;;
    interop) build_java java5 && build_servers java49 && build_servers java5 ;;
    go) build_go ;;
    node) build_node ;;
    esac
}

java_run() { # profile, then the arguments of the runner
    local profile=$1 quiet=$here/java/mqadmin-home
    shift
    timeout -k 5 $suite_limit_s java -Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 \
        "-Duser.home=$B/home" "-Drocketmq.home.dir=$quiet" "-Dlogback.configurationFile=$quiet/conf/logback_tools.xml" \
        -cp "$B/$profile/classes:$B/$profile/lib/*" clients.Main "$@"
}

run_jobs() { # suite, log directory, jobs: runs them; the runner's lines come out as they are printed
    local suite=$1 logs=$2
    shift 2
    case $suite in
    java49 | mqadmin49) java_run java49 "$suite" "$logs" "$@" ;;
    java5 | mqadmin5 | interop-*) java_run java5 "$suite" "$logs" "$@" ;;
    go) HOME=$B/home timeout -k 5 $suite_limit_s "$B/check-go" "$logs" "$@" ;;
    node) HOME=$B/home timeout -k 5 $suite_limit_s node "$B/node/main.js" "$logs" "$@" ;;
    esac
}

failure() { # line, log file
    failed=$((failed + 1))
    echo "$1"
    if [[ -s $2 ]]; then
        echo "    the end of $2:"
        tail -n 25 "$2" | cut -c 1-400 | sed 's/^/    | /'
    fi
}

run_suite() { # suite, jobs
    local suite=$1 logs=$B/logs/$1 line word job
    shift
    local -A owed=()
    local -a jobs=()
    for job in "$@"; do
        if [[ $job == LeaderKill && -z ${KILL_LEADER_CMD:-} ]]; then
            echo "SKIP $suite LeaderKill: KILL_LEADER_CMD is not set"
            continue
        fi
        owed[$job]=1
        jobs+=("$job")
    done
    rm -rf "$logs"
    mkdir -p "$logs" "$B/home"
    while read -r line; do
        read -r word _ job _ <<<"$line"
        [[ -v owed[$job] ]] || continue
        unset "owed[$job]"
        if [[ $word == PASS ]]; then
            passed=$((passed + 1))
            echo "$line"
        else
            failure "$line" "$logs/$job.log"
        fi
    done < <(run_jobs "$suite" "$logs" "${jobs[@]}" 2>&1 | tee "$logs/output" |
        grep --line-buffered -E "^(PASS|FAIL) $suite [A-Za-z]+ ")
    for job in "${jobs[@]}"; do
        if [[ -v owed[$job] ]]; then
            failure "FAIL $suite $job: no report" "$logs/output"
        fi
    done
}

interop_booted() { # server
    server_booted "$1" || {
        failure "FAIL interop: $1 does not start" "$servers/run/$1.log"
        return 1
    }
}

# The cluster at Java nameservers; then Java brokers beside it at its own nameserver, and without them again.
run_interop() {
    local own=${EXPECT_BROKERS:-} at=127.0.0.1:$JAVA_PORT at5=127.0.0.1:$((JAVA_PORT + 1)) cluster
    server_wipe
    java_nameserver namesrv49 java49 "$JAVA_PORT"
    java_nameserver namesrv5 java5 $((JAVA_PORT + 1))
    interop_booted namesrv49 && interop_booted namesrv5 || return 0
    NAMESRV_ADDR=$at run_suite interop-namesrv49 "${java_namesrv_jobs[@]}"
    cluster=$(awk '/^#Cluster Name/ { getline; print $1; exit }' "$B/logs/interop-namesrv49/clusterList.log")
    java_broker broker49 java49 $((JAVA_PORT + 10)) "$cluster"
    # Its table comes packed and in pieces.
    java_broker broker5 java5 $((JAVA_PORT + 20)) "$cluster" compressedRegister=true enableSplitRegistration=true \
        splitRegistrationSize=2
    NAMESRV_ADDR=$at5 run_suite interop-namesrv5 "${java_namesrv_jobs[@]}"
    interop_booted broker49 && interop_booted broker5 || return 0
    EXPECT_BROKERS=${own:+$((own + 2))} run_suite interop-brokers "${java_broker_jobs[@]}"
    server_stop broker49 broker5
    EXPECT_BROKERS=$own run_suite interop-gone clusterList
}

suites=("$@")
((${#suites[@]})) || suites=("${all_suites[@]}")
for suite in "${suites[@]}"; do
    check_tools "$suite"
done
trap 'server_stop "${!server_pid[@]}"' EXIT
for suite in "${suites[@]}"; do
    if [[ $suite == interop && -z ${JAVA_PORT:-} ]]; then
        echo "SKIP interop: JAVA_PORT is not set"
        continue
    fi
    if ! build "$suite" >"$B/build-$suite.log" 2>&1; then
        failure "FAIL $suite build" "$B/build-$suite.log"
        continue
    fi
    case $suite in
    java49 | java5) run_suite "$suite" "${java_jobs[@]}" ;;
    go) run_suite go "${go_jobs[@]}" ;;
    node) run_suite node "${node_jobs[@]}" ;;
    mqadmin)
        run_suite mqadmin49 "${admin_jobs[@]}"
        run_suite mqadmin5 "${admin_jobs[@]}"
        ;;
    interop) run_interop ;;
    esac
done
echo "$passed passed, $failed failed"
((failed == 0))
