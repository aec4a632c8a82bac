# Java nameservers and brokers of RocketMQ for the interop suite; sourced by run.sh, which has set B and here.
# All listen on and register at 127.0.0.1; their data and logs are in $B/servers/run, wiped at each start.

readonly servers=$B/servers
readonly server_boot_s=90
declare -A server_pid=()

build_servers() { # profile
    local known=$servers/$1/.built-from
    cmp -s "$here/servers/pom.xml" "$known" && return
    (cd "$here/servers" && mvn -q -B "-P$1" "-Dbuild.dir=$servers/$1" package)
    cp "$here/servers/pom.xml" "$known"
}

server_wipe() {
    local conf=$servers/run/home/conf file
    rm -rf "$servers/run"
    mkdir -p "$conf"
    for file in broker namesrv; do cp "$here/java/mqadmin-home/conf/logback_tools.xml" "$conf/logback_$file.xml"; done
}

server_start() { # name, profile, main class; its settings are read from standard input
    local run=$servers/run
    cat >"$run/$1.conf"
    java -Xmx256m -XX:MaxDirectMemorySize=256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 \
        --add-opens=java.base/java.nio=ALL-UNNAMED --add-opens=java.base/sun.nio.ch=ALL-UNNAMED \
        "-Duser.home=$run/home" "-Drocketmq.home.dir=$run/home" -cp "$servers/$2/lib/*" "$3" -c "$run/$1.conf" \
        </dev/null >"$run/$1.log" 2>&1 &
    server_pid[$1]=$!
}

java_nameserver() { # name, profile, port
    server_start "$1" "$2" org.apache.rocketmq.namesrv.NamesrvStartup <<END
listenPort=$3
kvConfigPath=$servers/run/$1.json
configStorePath=$servers/run/$1.stored
END
}

java_broker() { # name, profile, port, cluster, more settings; registers at NAMESRV_ADDR
    server_start "$1" "$2" org.apache.rocketmq.broker.BrokerStartup <<END
brokerClusterName=$4
brokerName=$1
brokerId=0
brokerIP1=127.0.0.1
listenPort=$3
namesrvAddr=$NAMESRV_ADDR
storePathRootDir=$servers/run/$1
storePathCommitLog=$servers/run/$1/commitlog
mappedFileSizeCommitLog=16777216
mapedFileSizeCommitLog=16777216
timerWheelEnable=false
$(printf '%s\n' "${@:5}")
END
}

server_booted() { # name
    local until=$((SECONDS + server_boot_s))
    until grep -q "boot success" "$servers/run/$1.log"; do
        [[ -d /proc/${server_pid[$1]} ]] && ((SECONDS < until)) || return
        sleep 0.1
    done
}

server_stop() { # names; waits until they have gone
    local name
    for name in "$@"; do kill "${server_pid[$name]}" 2>/dev/null || true; done
    for name in "$@"; do
        wait "${server_pid[$name]}" 2>/dev/null || true
        unset "server_pid[$name]"
    done
}
