#!/usr/bin/env bash
# Real processes under load while they are killed, stopped, restarted and cut off from each other: see chaos.py.
#
#   CHAOS_SECONDS=60 SEED=n deploy/chaos.sh
#
# Where this machine allows it, everything runs in network namespaces of its own, which end with it: nothing outside is touched.
set -euo pipefail
top=$(cd "$(dirname "$0")" && pwd)
export PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
command=(python3 "$top/chaos.py" "$@")

own_net=()
if [ "${CHAOS_NET:-1}" = 1 ]; then
    for try in "unshare --net" "unshare --map-root-user --net"; do
        if $try sh -c 'ip link add try0 type veth peer name try1 && ip link add try2 type bridge && nft add table inet try3' 2>/dev/null; then
            read -r -a own_net <<<"$try"
            break
        fi
    done
fi
if [ ${#own_net[@]} -gt 0 ]; then
    exec "${own_net[@]}" "${command[@]}" --own-net
else
    echo "chaos: no network namespaces here (or CHAOS_NET=0): the partitions of the schedule are left out"
    exec "${command[@]}"
fi
