#!/usr/bin/env python3
"""Real mqbroker processes: what was acknowledged is there after any kill, hand-over costs nobody an error."""

import os
import shutil
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
from brokers import MAX_OFFSET, OFFSET_GET, OFFSET_PUT, RAFT_TRANSFER, RUNTIME_INFO  # noqa: E402
from brokers import Client, Group, Refused, Replica, messages, run, until  # noqa: E402

SENDERS = 4
EVERY_SENDER = []  # so that those of a failed test do not reach into the next
LIVE_METRICS = ["ledgermq_messages_in_total", "ledgermq_connections", "ledgermq_term", "ledgermq_fsyncs_total"]
LIVE_METRICS += ["process_resident_memory_bytes"]


class Sender(threading.Thread):
    """Sends numbered messages to one queue until told to stop; keeps what was acknowledged, and every error."""

    def __init__(self, port, topic, queue):
        super().__init__(daemon=True)
        self.port, self.topic, self.queue = port, topic, queue
        self.acked, self.errors, self.halt = [], [], False
        EVERY_SENDER.append(self)

    def run(self):
        client, number = Client(self.port), 0
        while not self.halt:
            body = f"{self.queue}-{number}".encode()
            number += 1
            try:
                client.put(self.topic, body, self.queue)
                self.acked.append(body)
            except (Refused, OSError) as error:
                self.errors.append(f"{body.decode()}: {error}")
                if isinstance(error, OSError):
                    client = self.reconnect()

    def reconnect(self):
        while True:
            try:
                return Client(self.port)
            except OSError:
                if self.halt:
                    return None
                time.sleep(0.02)

    def wait_for(self, count):
        until(lambda: len(self.acked) >= count, f"{count} messages acknowledged in queue {self.queue}")

    def finish(self):
        self.halt = True
        self.join()
        EVERY_SENDER.remove(self)


def load(group, topic, ports):
    senders = [Sender(ports[i % len(ports)], topic, i) for i in range(SENDERS)]
    for s in senders:
        s.start()
    return senders


def check_all(client, senders):
    """Every acknowledged message is there, in order of sending, whatever else is."""
    for s in senders:
        stored = client.read_all(s.topic, s.queue)
        seen = {body: at for at, body in enumerate(stored)}
        lost = [x for x in s.acked if x not in seen]
        assert not lost, f"{len(lost)} of {len(s.acked)} lost, first {lost[0]}"
        order = [seen[x] for x in s.acked]
        assert order == sorted(order), "order"


def single(root):
    """One replica: send, read, hold, offsets, HTTP, SIGTERM and kill -9 with everything still there."""
    r = Replica(root, fastPortEnable="true").start()
    until(r.ready, "ready")
    client = r.client()
    bodies = [f"m{i}".encode() for i in range(500)]
    assert [client.put("T", b) for b in bodies] == list(range(500))
    assert client.read_all("T") == bodies
    client.call(OFFSET_PUT, {"consumerGroup": "g", "topic": "T", "queueId": 0, "commitOffset": 77})

    waiting = r.client()
    result = []
    pull = threading.Thread(target=lambda: result.append(waiting.pull("T", 0, 500, suspend_ms=20000)))
    pull.start()
    until(lambda: r.metrics()["ledgermq_pulls_held"] == 1, "the pull is held")
    client.put("T", b"late")
    pull.join()
    assert [m["body"] for m in messages(result[0][1])] == [b"late"]

    fast = Client(r.port - 2)
    fast.call(MAX_OFFSET, {"topic": "T", "queueId": 0})
    assert r.get("/livez") == (200, "ok\n")
    metrics = r.metrics()
    for name in LIVE_METRICS:
        assert metrics[name] > 0, name
    assert metrics["ledgermq_messages_in_total"] == 501 and metrics["ledgermq_serving"] == 1
    assert metrics["ledgermq_connections"] == 3, "client, waiting, fast"
    fast.close()
    until(lambda: r.metrics()["ledgermq_connections"] == 2, "one less")
    assert r.get("/nothing")[0] == 404
    table = client.call(RUNTIME_INFO)[1].decode()
    assert '"getTransferedTps"' in table and '"getTransferredTps"' in table

    for end in (r.stop, r.kill):
        end()
        r.start()
        until(r.ready, "ready again")
        client = r.client()
        assert client.read_all("T") == bodies + [b"late"]
        assert client.call(OFFSET_GET, {"consumerGroup": "g", "topic": "T", "queueId": 0})[0]["offset"] == "77"
    r.stop()
    dump = subprocess.run([os.path.join(os.environ["BIN"], "logdump"), r.dir], capture_output=True, text=True, check=True).stdout
    assert " replica=n0 " in dump and " vote=n0 " in dump and dump.endswith("verdict=good\n"), dump


def replay(root):
    """A checkpoint, then entries behind it that only the log has: killed, all of it is there."""
    r = Replica(root, checkpointMs=600000).start()
    until(r.ready, "ready")
    client = r.client()
    first = [f"a{i}".encode() for i in range(300)]
    for body in first:
        client.put("T", body)
    r.stop()  # checkpoints
    r.start()
    until(r.ready, "ready again")
    client = r.client()
    second = [f"b{i}".encode() for i in range(300)]
    for body in second:
        client.put("T", body)
    status = r.status()
    assert status["checkpointedIndex"] < status["appliedIndex"], status
    r.kill()
    r.start()
    until(r.ready, "ready after replay")
    assert r.client().read_all("T") == first + second
    r.stop()


def damage(root):
    """The derived state is lost, or damaged: it is made anew from the log, once, and that is said."""
    r = Replica(root).start()
    until(r.ready, "ready")
    client = r.client()
    bodies = [b"m%d" % i for i in range(500)]
    for body in bodies:
        client.put("T", body)
    client.call(OFFSET_PUT, {"consumerGroup": "g", "topic": "T", "queueId": 0, "commitOffset": 77})
    state, aside = os.path.join(r.dir, "state"), os.path.join(r.dir, "state.damaged")

    def check():
        r.start()
        until(r.ready, "ready again")
        client = r.client()
        assert client.read_all("T") == bodies
        assert client.call(OFFSET_GET, {"consumerGroup": "g", "topic": "T", "queueId": 0})[0]["offset"] == "77"

    r.stop()
    shutil.rmtree(state)
    check()
    r.stop()
    assert not os.path.exists(aside)
    overwrite(os.path.join(state, "data.mdb"))
    check()
    r.stop()
    with open(r.log, encoding="utf-8", errors="replace") as log:
        assert f"kept={aside}" in log.read()
    overwrite(os.path.join(state, "data.mdb"))
    with open(r.log, "ab") as log:
        begin = log.tell()
    assert r.spawn().wait(timeout=30) == 1
    with open(r.log, encoding="utf-8", errors="replace") as log:
        log.seek(begin)
        assert aside in log.read()


def overwrite(path):
    """One byte in every 64 is another."""
    with open(path, "r+b") as f:
        data = bytearray(f.read())
        for at in range(0, len(data), 64):
            data[at] ^= 0x55
        f.seek(0)
        f.write(data)


def kill_leader(root):
    """kill -9 of the leader under load, several times, then of all at once: every acknowledged message is there."""
    group = Group(root, 3)
    try:
        leader = group.start()
        leader.client().put("T", b"first", 3)
        senders = load(group, "T", [r.port for r in group.replicas])
        for round_number in range(1, 4):
            for s in senders:
                s.wait_for(20 * round_number)
            victim = until(group.leader, "a leader to kill")
            victim.kill()
            leader = until(group.leader, "a new leader")
            assert leader is not victim
            victim.start()
            group.wait()
        have = [len(s.acked) for s in senders]
        for s, n in zip(senders, have):
            s.wait_for(n + 20)
        for s in senders:
            s.finish()
        for r in group.replicas:
            r.kill()
        leader = group.start()
        check_all(leader.client(), senders)
        follower = next(r for r in group.replicas if r is not leader)
        check_all(follower.client(), senders)
        digest_ends = {r.status()["ledgerEndIndex"] for r in group.replicas}
        assert len(digest_ends) == 1 or until(lambda: len({r.status()["appliedIndex"] for r in group.replicas}) == 1, "equal")
        for r in group.replicas:
            r.stop()
    finally:
        group.end()
        for s in list(EVERY_SENDER):
            s.finish()


def hand_over(root):
    """SIGTERM to the leader, and transferLeader: who sends through another replica sees no error and no gap."""
    group = Group(root, 3)
    try:
        leader = group.start()
        leader.client().put("T", b"first", 3)
        for _ in range(3):
            leader = group.wait()
            others = [r for r in group.replicas if r is not leader]
            senders = load(group, "T", [r.port for r in others])
            for s in senders:
                s.wait_for(30)
            leader.stop()
            until(group.leader, "another leader")
            have = [len(s.acked) for s in senders]
            for s, n in zip(senders, have):
                s.wait_for(n + 30)
            for s in senders:
                s.finish()
            errors = [e for s in senders for e in s.errors]
            assert not errors, errors
            leader.start()
        leader = group.wait()
        other = next(r for r in group.replicas if r is not leader)
        senders = load(group, "T2", [r.port for r in group.replicas])
        for s in senders:
            s.wait_for(10)
        other.client().call(RAFT_TRANSFER, {"to": other.number})
        until(lambda: group.leader() is other, "the leader asked for")
        for s in senders:
            s.wait_for(len(s.acked) + 10)
        for s in senders:
            s.finish()
        errors = [e for s in senders for e in s.errors]
        assert not errors, errors
        check_all(other.client(), senders)
        for r in group.replicas:
            r.stop()
    finally:
        group.end()
        for s in list(EVERY_SENDER):
            s.finish()


def followers(root):
    """Any replica answers for the group; probes tell a group without a majority from one with."""
    group = Group(root, 3)
    try:
        leader = group.start()
        others = [r for r in group.replicas if r is not leader]
        client = others[0].client()
        offsets = [client.put("T", b"x%d" % i) for i in range(50)]
        assert offsets == list(range(50)), offsets
        assert others[1].client().read_all("T") == [b"x%d" % i for i in range(50)]
        held = others[1].client()
        result = []
        pull = threading.Thread(target=lambda: result.append(held.pull("T", 0, 50, suspend_ms=15000)))
        pull.start()
        until(lambda: leader.metrics()["ledgermq_pulls_held"] == 1, "the pull is held by the leader")
        leader.kill()  # a held pull finds the next leader
        until(group.leader, "a new leader")
        client.put("T", b"after")
        pull.join()
        assert [m["body"] for m in messages(result[0][1])] == [b"after"], result
        group.leader().kill()
        last = group.running()[0]
        until(lambda: last.get("/readyz")[0] == 503, "unready without a majority")
        assert "no leader" in last.get("/readyz")[1] and last.get("/livez")[0] == 200
        begun = time.monotonic()
        try:
            last.client().put("T", b"nobody takes this")
            raise AssertionError("acknowledged without a majority")
        except Refused as error:
            assert error.code == 14 and "no leader" in error.remark, error
        assert time.monotonic() - begun < 15
        leader = group.start()
        assert leader.client().read_all("T") == [b"x%d" % i for i in range(50)] + [b"after"]
        ext = {"topic": "T", "queueId": 0}
        assert leader.client().call(MAX_OFFSET, ext)[0]["offset"] == "51"
        for r in group.replicas:
            r.stop()
    finally:
        group.end()
        for s in list(EVERY_SENDER):
            s.finish()


def lost_directory(root):
    """A disk is gone: its replica has no part in majorities until it has everything again."""
    group = Group(root, 3)
    try:
        a = group.start()
        c, b = [r for r in group.replicas if r is not a]
        a.client().put("T", b"all have this")
        c.kill()
        for i in range(5):
            a.client().put("T", b"a and b have this %d" % i)
        b.kill()
        a.kill()
        shutil.rmtree(b.dir)
        b.start()
        c.start()
        until(lambda: b.get("/livez")[0] == c.get("/livez")[0] == 200, "both run")
        try:
            c.client().put("T", b"b and c are no majority")
            raise AssertionError("acknowledged by one that lags and one that is new")
        except Refused as error:
            assert error.code == 14 and "no leader" in error.remark, error
        assert not b.status()["joined"] and b.get("/readyz")[0] == 503 and "store is new" in b.get("/readyz")[1]
        a.start()
        leader = group.wait()
        bodies = [b"all have this"] + [b"a and b have this %d" % i for i in range(5)]
        assert leader.client().read_all("T") == bodies
        until(lambda: b.status()["joined"], "b is caught up and counts again")
        a.kill()
        until(group.leader, "b and c are a majority")
        assert b.client().read_all("T") == bodies
        # A majority of disks is gone: nobody can tell what is true but an operator.
        for r in (b, c):
            r.kill()
            shutil.rmtree(r.dir)
        b.settings["trustEmptyStore"] = "true"  # one: with a it is a majority, with c it is none
        for r in (b, c, a):
            r.start()
        assert group.wait().client().read_all("T") == bodies
        for r in group.replicas:
            r.stop()
    finally:
        group.end()


TESTS = [("single", single), ("replay", replay), ("damage", damage), ("kill_leader", kill_leader), ("hand_over", hand_over)]
TESTS += [("followers", followers), ("lost_directory", lost_directory)]
sys.exit(run(TESTS))
