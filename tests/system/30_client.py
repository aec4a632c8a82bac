#!/usr/bin/env python3
"""The C client against a nameserver and three replicas: what was acknowledged can be read, in order, whole and once,
also when the leader is killed meanwhile; consumer groups; clear errors."""

import json
import os
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "lib"))
import brokers  # noqa: E402

MQPERF = os.path.join(os.environ["BIN"], "mqperf")
MQNAMESRV = os.path.join(os.environ["BIN"], "mqnamesrv")
NAMESRV_PORT, PORT, PEER_PORT = 19490, 19400, 32450
NAMESRV = f"127.0.0.1:{NAMESRV_PORT}"
WAIT_S = 120


def start_nameserver(root):
    args = ["-D", f"listenPort={NAMESRV_PORT}", "-D", "listenHost=127.0.0.1", "-D", f"kvConfigPath={root}/kv.json"]
    with open(os.path.join(root, "namesrv.log"), "ab") as log:
        process = subprocess.Popen([MQNAMESRV, *args], stderr=log, stdout=log)
    brokers.PROCESSES.append(process)
    return process


def start(root):
    nameserver = start_nameserver(root)
    group = brokers.Group(root, 3, port=PORT, peer_port=PEER_PORT, namesrvAddr=NAMESRV)
    group.start()
    perf("produce", "-m", "1", "-t", "first")  # registered, routable
    return nameserver, group


def perf(*args, want=0):
    """The JSON values that mqperf printed, by what they are about."""
    done = subprocess.run(
        [MQPERF, *args, "-n", NAMESRV, "--json", "--quiet"], capture_output=True, text=True, timeout=WAIT_S
    )
    assert done.returncode == want, (args, done.returncode, done.stdout, done.stderr)
    return {v["what"]: v for v in map(json.loads, done.stdout.splitlines())}


def check(verdict):
    assert verdict["good"], verdict
    for what in ("lost", "phantom", "damaged", "offsetGaps", "twoAcks", "orderRealTime", "orderProducer"):
        assert verdict[what] == 0, verdict


def test_produce_then_consume_then_verify(root):
    start(root)
    acks = os.path.join(root, "acks")
    made = perf("produce", "-t", "T", "-q", "3", "-c", "4", "-w", "8", "-m", "5000", "--acks", acks)["produce"]
    assert made["messages"] == 5000 and made["failed"] == 0, made
    assert perf("consume", "-t", "T", "-m", "5000")["consume"]["messages"] >= 5000
    verdict = perf("verify", "-t", "T", "--acks", acks)["verify"]
    check(verdict)
    assert verdict["acked"] == verdict["delivered"] == 5000 and verdict["duplicates"] == 0, verdict


def test_verify_sees_a_lost_message(root):
    start(root)
    acks = os.path.join(root, "acks")
    perf("produce", "-t", "T", "-q", "1", "-m", "100", "--acks", acks)
    with open(acks) as f:
        lines = f.readlines()
    parts = lines[50].split()
    parts[2] = str(int(parts[2]) + 1000)
    lines[50] = " ".join(parts) + "\n"
    with open(acks, "w") as f:
        f.writelines(lines)
    verdict = perf("verify", "-t", "T", "--acks", acks, want=1)["verify"]
    assert verdict["lost"] == 1 and not verdict["good"], verdict


def test_batches_and_large_messages(root):
    start(root)
    verdict = perf("run", "-t", "T", "-b", "16", "-m", "1600", "-c", "2")["verify"]
    check(verdict)
    assert verdict["acked"] == 1600, verdict
    check(perf("run", "-t", "L", "-s", "3000000", "-m", "10", "-w", "4")["verify"])


def kill_leaders(group, times, stopped):
    for _ in range(times):
        leader = group.leader()
        while leader is None and not stopped.is_set():
            time.sleep(0.02)
            leader = group.leader()
        if stopped.is_set():
            return
        leader.kill()
        time.sleep(1)
        leader.start()
        brokers.until(group.leader, "a leader that all know")


def test_killed_leaders_lose_nothing(root):
    _, group = start(root)
    stopped = threading.Event()
    killer = threading.Thread(target=kill_leaders, args=(group, 2, stopped))
    killer.start()
    try:
        out = perf("run", "-t", "T", "-c", "8", "-d", "8")
    finally:
        stopped.set()
        killer.join()
    check(out["verify"])
    assert out["produce"]["failed"] == 0 and out["produce"]["messages"] > 100, out["produce"]


def test_consumer_group(root):
    start(root)
    perf("produce", "-t", "T", "-q", "4", "-c", "4", "-m", "2000")
    for group, more in (("concurrent", []), ("orderly", ["--orderly"])):
        out = perf("subscribe", "-t", "T", "-g", group, "-m", "2000", "-d", "60", *more)["subscribe"]
        assert out["messages"] == 2000 and out["duplicates"] == 0 and out["outOfOrder"] == 0, out
        again = perf("subscribe", "-t", "T", "-g", group, "-d", "1", *more)["subscribe"]
        assert again["messages"] == 0, again  # the offsets were committed


def test_killed_leaders_keep_the_order(root):
    _, group = start(root)
    perf("produce", "-t", "T", "-q", "4", "-m", "4")
    args = [MQPERF, "subscribe", "-t", "T", "-g", "orderly", "--orderly", "-d", "14", "-n", NAMESRV, "--json"]
    member = subprocess.Popen(args, stdout=subprocess.PIPE, text=True)
    brokers.PROCESSES.append(member)
    stopped = threading.Event()
    killer = threading.Thread(target=kill_leaders, args=(group, 2, stopped))
    killer.start()
    try:
        made = perf("produce", "-t", "T", "-c", "4", "-d", "7")["produce"]
    finally:
        stopped.set()
        killer.join()
    out = json.loads(member.communicate(timeout=WAIT_S)[0].splitlines()[-1])
    assert out["outOfOrder"] == 0 and out["messages"] - out["duplicates"] >= made["messages"] + 4, (out, made)


def test_two_members_share_the_queues(root):
    start(root)
    perf("produce", "-t", "T", "-q", "4", "-m", "1")
    args = [MQPERF, "subscribe", "-t", "T", "-g", "pair", "-d", "10", "-n", NAMESRV, "--json"]
    members = [subprocess.Popen(args, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    brokers.PROCESSES.extend(members)
    for _ in range(50):
        perf("produce", "-t", "T", "-c", "4", "-m", "40")
        time.sleep(0.1)
    outs = [json.loads(m.communicate(timeout=WAIT_S)[0].splitlines()[-1]) for m in members]
    assert sum(o["messages"] for o in outs) >= 2001, outs
    assert all(o["messages"] > 0 for o in outs), outs


def test_without_nameserver(root):
    nameserver, group = start(root)
    perf("produce", "-t", "T", "-m", "10")
    nameserver.kill()
    nameserver.wait()
    done = subprocess.run(
        [MQPERF, "run", "-t", "T", "-m", "500", "--json", "--brokers", ",".join(f"127.0.0.1:{r.port}" for r in group.replicas)],
        capture_output=True, text=True, timeout=WAIT_S,
    )
    assert done.returncode == 0, (done.stdout, done.stderr)


def test_errors_name_their_cause(root):
    done = subprocess.run([MQPERF, "produce", "-n", "127.0.0.1:1"], capture_output=True, text=True, timeout=WAIT_S)
    assert done.returncode == 1 and "127.0.0.1:1" in done.stderr, done
    for args, word in ((["produce", "-s", "1"], "--size"), (["fly"], "fly"), (["produce", "--wings"], "--wings")):
        done = subprocess.run([MQPERF, *args, "-n", NAMESRV], capture_output=True, text=True, timeout=WAIT_S)
        assert done.returncode == 2 and word in done.stderr, done


if __name__ == "__main__":
    sys.exit(brokers.run([(n[5:], f) for n, f in list(globals().items()) if n.startswith("test_")]))
