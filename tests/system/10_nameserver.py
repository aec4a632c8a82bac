#!/usr/bin/env python3
"""The real mqnamesrv on loopback, spoken to in remoting frames: registration, routes, key-value settings across
kill -9, settings, and bad input that must cost nothing but its own connection."""

import json
import os
import random
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import urllib.request
import zlib

PROGRAM = os.path.join(os.environ["BIN"], "mqnamesrv")
PORT, HTTP_PORT, SECOND_PORT = 19510, 19511, 19512
WAIT_S = 20
IDLE_RSS_KIB = 8 * 1024
REGISTER, UNREGISTER, ROUTE, CLUSTER, ALL_TOPICS = 103, 104, 105, 106, 206
KV_PUT, KV_GET, KV_DELETE, KV_LIST = 100, 101, 102, 219
ONEWAY = 2


class Client:
    def __init__(self, port=PORT):
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=WAIT_S)
        self.opaque = 0

    def send(self, code, ext=None, body=b"", version=399, flag=0, language="JAVA"):
        self.opaque += 1
        header = {"code": code, "language": language, "version": version, "opaque": self.opaque, "flag": flag}
        if ext:
            header["extFields"] = {k: str(v) for k, v in ext.items()}
        header = json.dumps(header).encode()
        self.sock.sendall(struct.pack(">II", 4 + len(header) + len(body), len(header)) + header + body)

    def read(self, size):
        data = b""
        while len(data) < size:
            part = self.sock.recv(size - len(data))
            if not part:
                raise EOFError("connection closed")
            data += part
        return data

    def receive(self):
        frame = self.read(struct.unpack(">I", self.read(4))[0])
        length = struct.unpack(">I", frame[:4])[0] & 0xFFFFFF
        header = json.loads(frame[4 : 4 + length])
        assert header["flag"] & 1 and header["opaque"] == self.opaque, header
        return header, frame[4 + length :]

    def call(self, code, ext=None, body=b"", want=0, **kw):
        """The answer's body when there is one, else its fields."""
        self.send(code, ext, body, **kw)
        header, body = self.receive()
        assert header["code"] == want, (code, header)
        if want != 0:
            return header["remark"]
        return body or header.get("extFields", {})

    def close(self):
        self.sock.close()


def table(*topics, counter=1, term=0):
    configs = {
        t: {"topicName": t, "readQueueNums": 4, "writeQueueNums": 4, "perm": 6, "topicSysFlag": 0} for t in topics
    }
    version = {"counter": counter, "timestamp": 1000, "stateVersion": term}
    wrapper = {"topicConfigTable": configs, "dataVersion": version}
    return json.dumps({"topicConfigSerializeWrapper": wrapper, "filterServerList": []}).encode()


def register(client, port, broker_id, body, want=0, crc=None, compressed="false", **kw):
    ext = {
        "brokerName": "b",
        "brokerAddr": f"127.0.0.1:{port}",
        "clusterName": "c",
        "haServerAddr": f"127.0.0.1:{port + 1}",
        "brokerId": broker_id,
        "compressed": compressed,
        "bodyCrc32": zlib.crc32(body) & 0x7FFFFFFF if crc is None else crc,
    }
    return client.call(REGISTER, ext, body, want=want, **kw)


def route(client, topic="T1", **kw):
    return client.call(ROUTE, {"topic": topic}, **kw)


def until(fn, what):
    give_up = time.monotonic() + WAIT_S
    while not fn():
        assert time.monotonic() < give_up, f"not within {WAIT_S} s: {what}"
        time.sleep(0.01)


class Server:
    def __init__(self, directory, *settings):
        self.kv = os.path.join(directory, "kv", "kvConfig.json")
        args = [f"listenPort={PORT}", "listenHost=127.0.0.1", f"httpPort={HTTP_PORT}", "httpHost=127.0.0.1"]
        args += [f"kvConfigPath={self.kv}", *settings]
        self.log = open(os.path.join(directory, "log"), "ab")
        self.process = subprocess.Popen([PROGRAM] + [x for a in args for x in ("-D", a)], stderr=self.log)
        until(self.answers, "mqnamesrv answers")

    def answers(self):
        assert self.process.poll() is None, "mqnamesrv ended"
        try:
            Client().close()
            return True
        except OSError:
            return False

    def rss_kib(self):
        with open(f"/proc/{self.process.pid}/status") as f:
            return next(int(line.split()[1]) for line in f if line.startswith("VmRSS"))

    def stop(self, signo=signal.SIGTERM):
        self.process.send_signal(signo)
        rc = self.process.wait(WAIT_S)
        self.log.close()
        return rc


def check_routes(server):
    admin, leader, follower = Client(), Client(), Client()
    assert "T1" in route(admin, want=17)
    ext = register(leader, 10911, 0, table("T1", "T2", term=1))
    assert ext == b'{"table":{}}', ext
    leader.send(REGISTER, {"brokerName": "b"}, flag=ONEWAY)  # refused, and not answered
    follower.call(
        REGISTER,
        {"brokerName": "b", "brokerAddr": "127.0.0.1:10921", "clusterName": "c", "brokerId": 2, "haServerAddr": ""},
        table(term=1),
    )
    old = route(admin, version=399).decode()
    assert '"brokerAddrs":{0:"127.0.0.1:10911",2:"127.0.0.1:10921"}' in old, old
    new = json.loads(route(admin, version=401))
    assert new["brokerDatas"][0]["brokerAddrs"] == {"0": "127.0.0.1:10911", "2": "127.0.0.1:10921"}
    assert new["queueDatas"][0]["writeQueueNums"] == 4
    standard = admin.call(ROUTE, {"topic": "T1", "acceptStandardJsonOnly": "true"}, version=0)
    assert json.loads(standard) == new
    assert b'{0:"127.0.0.1:10911"' in admin.call(CLUSTER, version=479)
    assert json.loads(admin.call(ALL_TOPICS)) == {"topicList": ["T1", "T2"]}

    # the follower becomes leader; the old one may not come back as one
    register(follower, 10921, 0, table("T1", "T2", term=2))
    assert "term" in register(leader, 10911, 0, table("T1", "T2", term=1, counter=9), want=1)
    register(leader, 10911, 1, table("T1", "T2", term=2))
    assert b'{0:"127.0.0.1:10921",1:"127.0.0.1:10911"}' in route(admin)

    assert admin.call(205, {"brokerName": "b"}) == {"wipeTopicCount": "2"}
    assert b'"perm":4' in route(admin)
    assert admin.call(327, {"brokerName": "b"}) == {"addTopicCount": "2"}
    assert b'"perm":6' in route(admin)
    admin.call(216, {"topic": "T2"})
    route(admin, "T2", want=17)

    # a broker lives as long as its connection
    follower.close()
    until(lambda: b'{1:"127.0.0.1:10911"}' in route(admin), "dead leader leaves the route")
    leader.call(UNREGISTER, {"brokerName": "b", "brokerAddr": "127.0.0.1:10911", "clusterName": "c", "brokerId": 1})
    route(admin, want=17)
    leader.close()
    admin.close()


def packed(*topics):
    def text(s):
        return struct.pack(">I", len(s)) + s.encode()

    body = text('{"counter":5,"timestamp":9}') + struct.pack(">I", len(topics))
    return zlib.compress(body + b"".join(text(f"{t} 3 2 6 SINGLE_TAG") for t in topics) + text("[]"))


def check_packed():
    broker = Client()
    body = packed("P1", "P2")
    assert "crc32" in register(broker, 10911, 0, body, want=1, crc=12345)
    assert "zlib" in register(broker, 10911, 0, body[:-6], want=1)
    for compressed in ("true", "false"):  # 5.x says false whatever it sends
        register(broker, 10911, 0, body, compressed=compressed)
    data = json.loads(route(broker, "P2", version=450))["queueDatas"][0]
    assert (data["readQueueNums"], data["writeQueueNums"]) == (3, 2), data
    broker.close()


def check_kv(server, directory):
    admin = Client()
    at = {"namespace": "ORDER_TOPIC_CONFIG", "key": "T1"}
    admin.call(KV_GET, at, want=22)
    admin.call(KV_LIST, at, want=22)
    admin.call(KV_PUT, {**at, "value": "b:4"})
    admin.call(KV_PUT, {**at, "key": "T2", "value": "b:8"})
    admin.call(KV_PUT, {**at, "key": "T3", "value": "b:9"})
    admin.call(KV_DELETE, {**at, "key": "T3"})
    assert server.stop(signal.SIGKILL) == -signal.SIGKILL
    admin.close()

    server = Server(directory)
    admin = Client()
    assert admin.call(KV_GET, at) == {"value": "b:4"}
    assert json.loads(admin.call(KV_LIST, at)) == {"table": {"T1": "b:4", "T2": "b:8"}}
    with open(server.kv) as f:
        assert json.load(f) == {"configTable": {"ORDER_TOPIC_CONFIG": {"T1": "b:4", "T2": "b:8"}}}
    answer = register(admin, 10911, 0, table("T1", "T2"))
    assert json.loads(answer)["table"]["T1"] == "b:4"
    assert b"orderTopicConf" not in route(admin)

    # settings by request: all or nothing
    assert "orderMessageEnable" in admin.call(318, body=b"enableTopicList=false\norderMessageEnable=perhaps\n", want=1)
    assert b"enableTopicList=true" in admin.call(319)
    admin.call(318, body=b"orderMessageEnable=true\n")
    assert b"orderMessageEnable=true" in admin.call(319)
    assert b'"orderTopicConf":"b:4"' in route(admin)
    for key in ("kvConfigPath", "configBlackList", "listenPort"):
        assert key in admin.call(318, body=f"{key}=1\n".encode(), want=16)
    assert "nonsense" in admin.call(318, body=b"nonsense=1\n", want=1)
    admin.close()
    return server


def check_bad_input(server):
    watcher = Client()
    register(watcher, 10911, 0, table("T1", "T2"))
    header = b'{"code":105,"flag":0,"opaque":1,"extFields":{"topic":"T1"}}'
    frames = [
        b"\xff\xff\xff\xff",
        b"\x7f\xff\xff\xff" + b"x" * 100,
        struct.pack(">II", 4, 100),
        struct.pack(">II", 4 + len(header), 0x7FFFFFFF) + header,
        struct.pack(">II", 14, 10) + b"not json!!",
        struct.pack(">II", 10, 0x01000006) + b"\xff" * 6,
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ]
    seed = random.randrange(1 << 32)
    print(f"random frames of seed {seed}")
    rng = random.Random(seed)
    frames += [struct.pack(">I", 40) + rng.randbytes(40) for _ in range(200)]
    for frame in frames:
        sock = socket.create_connection(("127.0.0.1", PORT), timeout=WAIT_S)
        try:
            sock.sendall(frame)
            sock.shutdown(socket.SHUT_WR)
            while sock.recv(65536):
                pass
        except ConnectionError:
            pass
        sock.close()
    assert "999" in watcher.call(999, want=3)
    for ext in ({}, {"brokerName": "b"}, {"brokerId": "x"}):
        watcher.call(REGISTER, ext, b"{}", want=1)
    bomb = zlib.compress(bytes(40 << 20))
    assert "more than" in register(watcher, 10911, 0, bomb, want=1)
    assert b"127.0.0.1:10911" in route(watcher), "the connection that was polite is still registered"
    watcher.close()


def check_size(server):
    idle = server.rss_kib()
    if os.environ.get("FLAVOUR", "release") == "release":
        assert idle <= IDLE_RSS_KIB, f"{idle} KiB resident when idle"
    broker = Client()
    register(broker, 10911, 0, table(*(f"topic-{i}" for i in range(50000))))
    assert len(json.loads(broker.call(ALL_TOPICS))["topicList"]) == 50000
    print(f"resident: {idle} KiB idle, {server.rss_kib()} KiB with 50,000 topics")
    broker.close()


def check_http():
    base = f"http://127.0.0.1:{HTTP_PORT}"
    assert urllib.request.urlopen(f"{base}/livez", timeout=WAIT_S).status == 200
    metrics = urllib.request.urlopen(f"{base}/metrics", timeout=WAIT_S).read().decode()
    assert "ledgermq_nameserver_topics 0" in metrics, metrics


def check_refusals(directory):
    """Wrong starts end with a text that names the thing."""

    def ends(*args):
        done = subprocess.run([PROGRAM, *args], capture_output=True, text=True, timeout=WAIT_S)
        assert done.returncode != 0, args
        return done.stderr

    bad = os.path.join(directory, "bad.json")
    with open(bad, "w") as f:
        f.write("{broken")
    assert str(PORT) in ends("-D", f"listenPort={PORT}", "-D", "listenHost=127.0.0.1")
    assert bad in ends("-D", f"kvConfigPath={bad}", "-D", f"listenPort={SECOND_PORT}")
    assert "listenPort" in ends("-D", "listenPort=70000")
    assert "/no/such" in ends("-c", "/no/such/file")
    listing = subprocess.run([PROGRAM, "-p"], capture_output=True, text=True, timeout=WAIT_S)
    assert listing.returncode == 0 and "listenPort=9876" in listing.stdout


def main():
    directory = tempfile.mkdtemp()
    server = Server(directory)
    try:
        check_size(server)
        until(lambda: b'"brokerAddrTable":{}' in Client().call(CLUSTER), "closed connection unregisters")
        check_http()
        check_routes(server)
        check_packed()
        server = check_kv(server, directory)
        check_bad_input(server)
        check_refusals(directory)
        assert server.stop() == 0
    except BaseException:
        if server.process.poll() is None:
            server.process.kill()
            server.process.wait()
        with open(os.path.join(directory, "log")) as f:
            sys.stderr.write(f.read()[-5000:])
        raise
    finally:
        shutil.rmtree(directory)


main()
