#!/usr/bin/env python3
"""Hostile bytes and wrong surroundings: each costs its own connection or ends the start with a message that names
the thing; what was stored before is there afterwards."""

import json
import os
import random
import shutil
import socket
import struct
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
from brokers import HEARTBEAT, MAX_OFFSET, OFFSET_GET, OFFSET_PUT, PULL, RAFT_TRANSFER, SEND  # noqa: E402
from brokers import WAIT_S, Client, Group, Refused, Replica, frame, run, until  # noqa: E402

SEED = int(os.environ.get("SEED", "20240611"))
BODIES = [b"before %d" % i for i in range(20)]
HEAD_BYTES, HEAD_CRC_AT = 4096, 4092


def started(root, **settings):
    r = Replica(root, **settings).start()
    until(r.ready, "ready")
    client = r.client()
    for body in BODIES:
        client.put("T", body)
    return r


def unharmed(r):
    """The process lives, a new client is served, nothing is lost."""
    r.alive()
    client = r.client()
    assert client.read_all("T") == BODIES
    client.close()
    assert r.get("/livez")[0] == 200


def closed(port, data, shut=True):
    """Send bytes; True when the other side then closes or resets without an answer being awaited."""
    sock = socket.create_connection(("127.0.0.1", port), timeout=WAIT_S)
    try:
        sock.sendall(data)
        if shut:
            sock.shutdown(socket.SHUT_WR)
        while sock.recv(65536):
            pass
        return True
    except TimeoutError:
        return False
    except OSError:
        return True  # reset
    finally:
        sock.close()


def random_frames(rng, count):
    for _ in range(count):
        body = rng.randbytes(rng.randrange(1, 400))
        yield struct.pack(">I", len(body)) + body
    good = frame({"code": SEND, "opaque": 1, "flag": 0, "extFields": {"b": "T", "e": "0"}}, b"x")
    for _ in range(count):
        bad = bytearray(good)
        for _ in range(rng.randrange(1, 6)):
            bad[rng.randrange(4, len(bad))] = rng.randrange(256)
        yield bytes(bad)


BAD_FRAMES = {
    "oversized": struct.pack(">I", 17 << 20),
    "negative length": struct.pack(">i", -1),
    "least length": struct.pack(">i", -(1 << 31)),
    "length 0": struct.pack(">I", 0),
    "header longer than frame": struct.pack(">II", 100, 5000) + b"{" * 96,
    "unknown form": struct.pack(">II", 10, (7 << 24) | 2) + b"{}{}{}",
    "no JSON": struct.pack(">II", 9, 5) + b"hello",
    "JSON array": struct.pack(">II", 6, 2) + b"[]",
    "deep JSON": struct.pack(">II", 20004, 20000) + b"[" * 20000,
    "code as object": frame({"code": {}, "opaque": 1}),
    "HTTP": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
}


def client_port(root):
    """Bad frames on the port for clients: the connection ends, nothing else does."""
    r = started(root)
    bystander = r.client()
    for what, data in BAD_FRAMES.items():
        assert closed(r.port, data, shut=what == "HTTP"), what
        assert bystander.call(MAX_OFFSET, {"topic": "T", "queueId": 0})[0]["offset"] == "20", what
    sent = frame({"code": SEND, "opaque": 1, "flag": 0, "extFields": {"b": "T", "e": "0"}}, b"cut short")
    for size in range(1, len(sent), 7):
        assert closed(r.port, sent[:size])
    rng = random.Random(SEED)
    for data in random_frames(rng, 300):
        sock = socket.create_connection(("127.0.0.1", r.port), timeout=WAIT_S)
        try:
            sock.sendall(data)
        except ConnectionError:
            pass
        sock.close()
    r.alive()
    stored = r.client().read_all("T")
    assert stored[: len(BODIES)] == BODIES, SEED  # a flipped bit may have left a good send
    assert bystander.call(MAX_OFFSET, {"topic": "T", "queueId": 0})
    assert r.metrics()["ledgermq_requests_malformed_total"] > 0
    r.stop()


def refused(client, code, ext, want, part, body=b""):
    try:
        answer = client.call(code, ext, body)
        raise AssertionError(f"{code} {ext} was taken: {answer}")
    except Refused as error:
        assert error.code == want and part in error.remark, (code, ext, error)


def wrong_requests(root):
    """Well-formed frames that ask for what cannot be: an answer with a code and words, on the same connection."""
    r = started(root, maxMessageSize=65536)
    c = r.client()
    pull = {"consumerGroup": "g", "topic": "T", "queueId": 0, "queueOffset": 0, "maxMsgNums": 32, "sysFlag": 4}
    pull |= {"commitOffset": 0, "suspendTimeoutMillis": 0, "subscription": "*", "subVersion": 0}
    send = {"a": "p", "b": "T", "c": "TBW102", "d": 4, "e": 0, "f": 0, "g": 1, "h": 0, "i": "", "j": 0}
    huge = 1 << 63
    refused(c, 999, {}, 3, "999")
    refused(c, -5, {}, 3, "-5")
    refused(c, 2147483647, {}, 3, "2147483647")
    refused(c, 36, {}, 3, "dead-letter")
    refused(c, 200050, {}, 3, "POP")
    refused(c, SEND, send | {"e": 4}, 29, "queue 4")
    refused(c, SEND, send | {"e": "x"}, 29, "number")
    refused(c, SEND, send | {"e": huge}, 29, "number")
    refused(c, SEND, send | {"b": ""}, 29, "topic")
    refused(c, SEND, send | {"b": "no spaces"}, 29, "no spaces")
    refused(c, SEND, send | {"b": "n" * 128}, 29, "127")
    refused(c, SEND, send | {"b": "SELF_TEST_TOPIC"}, 16, "SELF_TEST_TOPIC")
    refused(c, SEND, send | {"b": "New", "c": "T"}, 17, "template")
    refused(c, SEND, send | {"b": "New", "d": -1}, 17, "queues")
    refused(c, SEND, send, 13, "maxMessageSize", b"x" * 65537)
    refused(c, SEND, send | {"i": "k\x01" + "v" * 32768 + "\x02"}, 13, "properties")
    refused(c, SEND, send | {"i": "DELAY\x013\x02"}, 3, "delayed")
    refused(c, SEND, send | {"i": "TRAN_MSG\x01true\x02"}, 3, "transaction")
    refused(c, 320, send | {"m": "true"}, 13, "malformed", b"\xff" * 40)
    refused(c, 320, send | {"m": "true"}, 13, "empty")
    refused(c, PULL, pull | {"queueId": -1}, 29, "queue -1")
    refused(c, PULL, pull | {"queueId": 8}, 29, "queue 8")
    refused(c, PULL, pull | {"queueOffset": huge}, 29, "number")
    refused(c, PULL, pull | {"queueOffset": 1 << 62}, 21, "BADLY")
    refused(c, PULL, pull | {"topic": "None"}, 17, "None")
    refused(c, PULL, pull | {"consumerGroup": "a b"}, 29, "a b")
    refused(c, PULL, pull | {"sysFlag": 8}, 24, "subscription")
    refused(c, PULL, pull | {"expressionType": "SQL92"}, 1, "SQL92")
    refused(c, PULL, pull, 29, "body", b"x" * 4097)
    refused(c, PULL, pull | {"subscription": "||".join(f"t{i}" for i in range(100))}, 23, "tags")
    assert len(c.call(PULL, pull | {"queueOffset": -5, "maxMsgNums": -1})[1]) > 0
    assert len(c.call(PULL, pull | {"maxMsgNums": 2147483647})[1]) > 0
    refused(c, OFFSET_GET, {"consumerGroup": "g", "topic": "T", "queueId": -7}, 22, "no offset")
    refused(c, OFFSET_PUT, {"consumerGroup": "g", "topic": "T", "queueId": 0, "commitOffset": huge}, 29, "number")
    c.call(OFFSET_PUT, {"consumerGroup": "g", "topic": "T", "queueId": 0, "commitOffset": -1})
    refused(c, OFFSET_PUT, {"consumerGroup": "g", "topic": "None", "queueId": 0, "commitOffset": 1}, 17, "None")
    for data in (b"", b"{", b'{"clientID":', b"\x00" * 50, b"[" * 5000, b'{"clientID":"' + b"c" * 300 + b'"}'):
        try:
            c.call(HEARTBEAT, {}, data)
            raise AssertionError(data)
        except Refused:
            pass
    c.call(HEARTBEAT, {}, b'{"clientID":"c","consumerDataSet":{"a":1},"producerDataSet":7}')
    for code in (41, 42, 200, 18, 225):
        try:
            c.call(code, {}, b'{"consumerGroup":')
            raise AssertionError(code)
        except Refused as error:
            assert error.remark, code
    refused(c, 17, {"topic": "Q", "readQueueNums": 70000, "writeQueueNums": 1, "perm": 6}, 1, "65536")
    refused(c, 17, {"topic": "Q", "readQueueNums": -1, "writeQueueNums": 1, "perm": 6}, 1, "65536")
    refused(c, 17, {"topic": "TBW102", "readQueueNums": 1, "writeQueueNums": 1, "perm": 6}, 1, "system")
    refused(c, 33, {"offset": -1}, 29, "offset")
    refused(c, 33, {"offset": (1 << 63) - 1}, 1, "no message")
    refused(c, 33, {"offset": 5}, 1, "no message")
    refused(c, RAFT_TRANSFER, {"to": 9}, 29, "n9")
    refused(c, RAFT_TRANSFER, {"to": -9}, 29, "-9")
    unharmed(r)
    r.stop()


def heartbeat(client, client_id, group, topic, expression="*"):
    sub = {"topic": topic, "subString": expression, "subVersion": 1}
    consumer = {"groupName": group, "subscriptionDataSet": [sub]}
    client.call(HEARTBEAT, {}, json.dumps({"clientID": client_id, "consumerDataSet": [consumer]}).encode())


def resident_mib(r):
    with open(f"/proc/{r.process.pid}/status") as f:
        return next(int(line.split()[1]) / 1024 for line in f if line.startswith("VmRSS"))


def hostile_names(root):
    """A NUL within a name, a number no client can read: refused or left out, and nobody dies of it."""
    r = started(root)
    c = r.client()
    refused_id = '{"clientID":"x\\u0000@1","producerDataSet":[{"groupName":"g"}]}'
    refused(c, HEARTBEAT, {}, 29, "NUL", refused_id.encode())
    heartbeat(c, "c", "g", "a\0b")
    heartbeat(c, "c", "g\0", "T")
    for topic in ("a\0b", "a b", "\0"):
        c.call(208, {"consumerGroup": "g", "topic": topic})
    topic = {"topic": "bad", "readQueueNums": 1, "writeQueueNums": 1, "perm": 6}
    for flag in (-1, 1 << 31):
        refused(c, 17, topic | {"topicSysFlag": flag}, 1, "topicSysFlag")
    unharmed(r)
    r.stop()


def hostile_amounts(root):
    """What one client can make the broker keep is bounded by what it sent, or by a named limit."""
    r = started(root)
    c = r.client()
    for i in range(20):
        heartbeat(c, "c", f"g{i}", "T", "x" * 4_000_000)
    # Full tables are for who is new: a member that is known stays one, with what it subscribes to.
    old = r.client()
    heartbeat(old, "old", "known", "T")
    for i, size in enumerate([32768] * 2100 + [1 << bit for bit in range(14, -1, -1) for _ in range(2)]):
        heartbeat(c, "c", f"h{i}", "T", "x" * size)
    heartbeat(old, "old", "known", "T")
    fields = {"consumerGroup": "known", "topic": "T", "queueId": 0, "queueOffset": 0, "maxMsgNums": 1, "sysFlag": 0}
    old.call(PULL, fields | {"commitOffset": 0, "suspendTimeoutMillis": 0, "subVersion": 1})
    many, waits = r.client(), 5000
    lock = json.dumps({"consumerGroup": "g", "clientId": "c", "mqSet": []}).encode()
    for _ in range(waits):
        many.send(41, {}, lock)
    for _ in range(waits):
        assert many.receive()[0]["code"] == 0
    assert resident_mib(r) < 200, resident_mib(r)
    unharmed(r)
    r.stop()


def http_port(root):
    """Bad requests on the HTTP port."""
    r = started(root)
    rng = random.Random(SEED)
    for data in (b"\x00" * 100, b"GET", b"GET / HTTP/9.9\r\n\r\n", b"POST /livez HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
                 b"GET /" + b"a" * 100000 + b" HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 20000,
                 rng.randbytes(2000)):
        assert closed(r.http, data), data[:40]
    waiting = [socket.create_connection(("127.0.0.1", r.http)) for _ in range(20)]
    unharmed(r)
    for sock in waiting:
        sock.close()
    r.stop()


def replica_port(root):
    """Bad bytes on the port for replicas of a group that works."""
    group = Group(root, 3)
    try:
        leader = group.start()
        client = leader.client()
        for body in BODIES:
            client.put("T", body)
        rng = random.Random(SEED)
        for r in group.replicas:
            for data in list(BAD_FRAMES.values()) + list(random_frames(rng, 100)):
                assert closed(r.peer_port, data)
        for r in group.replicas:
            unharmed(r)
        assert group.wait() is leader, "hostile bytes moved the leader"
        for r in group.replicas:
            r.stop()
    finally:
        group.end()


def fails(r, *parts, under=(), **overrides):
    """The start ends by itself, not well, with a message that names all the parts and is no crash."""
    with open(r.log, "ab") as log:
        begin = log.tell()
    process = r.spawn(under, **overrides)
    try:
        status = process.wait(timeout=WAIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise AssertionError(f"it runs although it must not: {overrides}") from None
    with open(r.log, errors="replace") as log:
        log.seek(begin)
        text = log.read()
    assert status in (1, 2), (overrides, status, text)
    for part in parts:
        assert part in text, (overrides, part, text)


def settings(root):
    """Values that cannot be."""
    r = Replica(root)
    two = "n0-127.0.0.1:32300;n1-127.0.0.1:32301"
    fails(r, "listenPort", "70000", listenPort=70000)
    fails(r, "listenPort", "abc", listenPort="abc")
    fails(r, "brokerIP1", "nowhere", brokerIP1="nowhere")
    fails(r, "brokerName", "a b", brokerName="a b")
    fails(r, "brokerClusterName", brokerClusterName="x" * 128)
    fails(r, "storePathRootDir", storePathRootDir="/" + "d" * 600)
    fails(r, "dLegerHeartbeatMs", dLegerHeartbeatMs=290)
    fails(r, "dLegerElectionMaxMs", dLegerElectionMaxMs=200)
    fails(r, "flushDiskType", "SOMETIMES", flushDiskType="SOMETIMES")
    for peers, part in (("n0:127.0.0.1", "n0:127.0.0.1"), ("n0-127.0.0.1", "n0-127.0.0.1"), ("x", '"x"'),
                        ("n0-127.0.0.1:0;n1-127.0.0.1:1", "n0-127.0.0.1:0"), ("n0-h:99999;n1-h:1", "n0-h:99999"),
                        (two + ";n1-127.0.0.1:32302", "n1 stands there twice"),
                        (two + ";n2-127.0.0.1:32301", "127.0.0.1:32301 stands there twice"),
                        ("n1-127.0.0.1:1;n2-127.0.0.1:2", "dLegerSelfId"),
                        (";".join(f"n{i}-127.0.0.1:{32300 + i}" for i in range(40)), "more than")):
        fails(r, "dLeger", part, dLegerPeers=peers)
    fails(r, "dLegerSelfId", "zero", dLegerSelfId="zero", dLegerPeers=two)
    fails(r, "preferredLeaderId", "n7", preferredLeaderId="n7", dLegerPeers=two)
    assert not os.path.exists(r.dir), "a refused start made a directory"
    fails(r, "namesrvAddr", "here", namesrvAddr="here")


def read_only(directory):
    """(command, cause): what is started under the command sees the directory read-only and fails for that cause: a mount
    of its own, or where none may be made, rights that are missing."""
    remount = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"'
    for mounts in (["unshare", "--mount"], ["unshare", "--mount", "--map-root-user"]):
        under = [*mounts, "sh", "-c", remount, directory]
        if subprocess.run([*under, "true"], stderr=subprocess.DEVNULL).returncode == 0:
            return under, "Read-only file system"
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    return nobody if os.geteuid() == 0 else [], "Permission denied"


def surroundings(root):
    """Directories and ports that are not ours to use."""
    r = started(root)
    # two processes on one directory, and on one port
    fails(r, r.dir, "another process", listenPort=19391, httpPort=0)
    other = os.path.join(root, "other")
    fails(r, "19300", "in use", storePathRootDir=other, httpPort=0)
    fails(r, str(r.http), "in use", storePathRootDir=other, listenPort=19391)
    unharmed(r)
    r.stop()
    # of another group, of another replica
    fails(r, r.dir, "group", brokerName="broker-z")
    fails(r, r.dir, "n1", dLegerSelfId="n1")
    # a file where the directory should be, and no place to make one
    blocked = os.path.join(root, "file")
    with open(blocked, "w") as f:
        f.write("not a directory")
    fails(r, blocked, storePathRootDir=blocked)
    fails(r, blocked, storePathRootDir=os.path.join(blocked, "below"))
    fails(r, "/proc/none", storePathRootDir="/proc/none")
    # read-only: a new one, and one that is in use
    empty = os.path.join(root, "empty")
    os.mkdir(empty)
    for directory in (empty, r.dir):
        mode = os.stat(directory).st_mode
        os.chmod(directory, 0o555)
        under, cause = read_only(directory)
        fails(r, directory, cause, under=under, storePathRootDir=directory)
        os.chmod(directory, mode)
    # formats of the future: the version follows the magic
    saved = os.path.join(root, "saved")
    shutil.copytree(r.dir, saved)
    for name in sorted(os.listdir(os.path.join(r.dir, "log"))):
        path = os.path.join(r.dir, "log", name)
        if name.endswith(".seg"):
            raise_version(path)
    fails(r, ".seg", "format 999")
    shutil.rmtree(r.dir)
    os.rename(saved, r.dir)
    r.start()
    until(r.ready, "ready after all of it")
    unharmed(r)
    r.stop()


def other_peers(root):
    """Lists of peers that are not the group's: refused where a store tells, and by the others where none does."""
    group = Group(root, 3)
    try:
        leader = group.start()
        leader.client().put("T", b"acknowledged")
        r = next(x for x in group.replicas if x is not leader)
        r.stop()
        right = r.settings["dLegerPeers"]
        fails(r, r.dir, "n0,n1,n2", f"names n{r.number}", dLegerPeers="")
        fails(r, r.dir, "n0,n1,n2", "names n0,n1,n2,n3", dLegerPeers=right + ";n3-127.0.0.1:32309")
        saved = r.dir + ".saved"
        os.rename(r.dir, saved)
        stranger = r.spawn(dLegerPeers=right + ";n3-127.0.0.1:32309")
        until(lambda: "another list of peers" in open(leader.log).read(), "the leader refuses it")
        assert leader.client().read_all("T") == [b"acknowledged"]
        stranger.kill()
        stranger.wait()
        shutil.rmtree(r.dir)
        os.rename(saved, r.dir)
        r.start()
        group.wait()
        assert r.client().read_all("T") == [b"acknowledged"]
        for x in group.replicas:
            x.stop()
    finally:
        group.end()


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def raise_version(path):
    """A segment's head of a later format (docs/formats/log.md): version 999, with a good checksum."""
    with open(path, "r+b") as f:
        head = bytearray(f.read(HEAD_BYTES))
        struct.pack_into("<I", head, 8, 999)
        struct.pack_into("<I", head, HEAD_CRC_AT, crc32c(head[:HEAD_CRC_AT]))
        f.seek(0)
        f.write(head)


TESTS = [("client_port", client_port), ("wrong_requests", wrong_requests), ("http_port", http_port)]
TESTS += [("hostile_names", hostile_names), ("hostile_amounts", hostile_amounts)]
TESTS += [("replica_port", replica_port), ("settings", settings), ("surroundings", surroundings)]
TESTS += [("other_peers", other_peers)]
sys.exit(run(TESTS))
