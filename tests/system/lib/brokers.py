"""What the system tests of mqbroker share: a client that speaks remoting, and replicas as processes."""

import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import traceback
import urllib.error
import urllib.request

PROGRAM = os.path.join(os.environ["BIN"], "mqbroker")
WAIT_S = 30
ONEWAY = 2
SEND, PULL, OFFSET_GET, OFFSET_PUT, MAX_OFFSET, HEARTBEAT = 310, 11, 14, 15, 30, 34
RUNTIME_INFO, RAFT_STATUS, RAFT_TRANSFER = 28, 30001, 30002
SUSPEND, SUBSCRIPTION = 2, 4
PROCESSES = []  # all that were started, so that a failed test leaves none behind


def until(fn, what, wait_s=WAIT_S):
    """The first true answer of fn."""
    give_up = time.monotonic() + wait_s
    while True:
        value = fn()
        if value:
            return value
        assert time.monotonic() < give_up, f"not within {wait_s} s: {what}"
        time.sleep(0.01)


def frame(header, body=b""):
    head = json.dumps(header).encode()
    return struct.pack(">II", 4 + len(head) + len(body), len(head)) + head + body


class Refused(Exception):
    """An answer with a code other than 0."""

    def __init__(self, code, remark):
        super().__init__(f"{code}: {remark}")
        self.code, self.remark = code, remark


class Client:
    def __init__(self, port, wait_s=WAIT_S):
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=wait_s)
        self.opaque = 0

    def send(self, code, ext=None, body=b"", flag=0):
        self.opaque += 1
        header = {"code": code, "language": "JAVA", "version": 399, "opaque": self.opaque, "flag": flag}
        header["extFields"] = {k: str(v) for k, v in (ext or {}).items()}
        self.sock.sendall(frame(header, body))

    def read(self, size):
        data = bytearray()
        while len(data) < size:
            part = self.sock.recv(size - len(data))
            if not part:
                raise ConnectionError("closed by the broker")
            data += part
        return bytes(data)

    def receive(self):
        data = self.read(struct.unpack(">I", self.read(4))[0])
        length = struct.unpack(">I", data[:4])[0] & 0xFFFFFF
        header = json.loads(data[4 : 4 + length])
        return header, data[4 + length :]

    def call(self, code, ext=None, body=b""):
        """(fields, body) of the answer; Refused when its code is not 0."""
        self.send(code, ext, body)
        while True:
            header, body = self.receive()
            if header["flag"] & 1:
                break
        assert header["opaque"] == self.opaque, header
        if header["code"] != 0:
            raise Refused(header["code"], header.get("remark", ""))
        return header.get("extFields") or {}, body

    def put(self, topic, body, queue=0, properties="", queues=4):
        """Send one message; its queue offset."""
        ext = {"a": "producers", "b": topic, "c": "TBW102", "d": queues, "e": queue, "f": 0, "g": 1000, "h": 0}
        ext |= {"i": properties, "j": 0, "k": "false"}
        return int(self.call(SEND, ext, body)[0]["queueOffset"])

    def pull(self, topic, queue, offset, count=32, suspend_ms=0, group="readers", tags="*"):
        flags = SUBSCRIPTION | (SUSPEND if suspend_ms else 0)
        ext = {"consumerGroup": group, "topic": topic, "queueId": queue, "queueOffset": offset}
        ext |= {"maxMsgNums": count, "sysFlag": flags, "commitOffset": 0, "suspendTimeoutMillis": suspend_ms}
        ext |= {"subscription": tags, "subVersion": 0, "expressionType": "TAG"}
        return self.call(PULL, ext)

    def read_all(self, topic, queue=0):
        """The bodies of a whole queue, in order; offsets and magic are checked."""
        bodies, offset = [], 0
        end = int(self.call(MAX_OFFSET, {"topic": topic, "queueId": queue})[0]["offset"])
        while offset < end:
            fields, data = self.pull(topic, queue, offset)
            for message in messages(data):
                assert message["offset"] == offset, (message, offset)
                bodies.append(message["body"])
                offset += 1
            assert int(fields["nextBeginOffset"]) == offset
        return bodies

    def close(self):
        self.sock.close()


def messages(data):
    """Stored messages, one after another (MessageDecoder.java)."""
    at = 0
    while at < len(data):
        size, magic = struct.unpack_from(">II", data, at)
        assert magic == 0xDAA320A7, hex(magic)
        offset, position = struct.unpack_from(">QQ", data, at + 20)
        length = struct.unpack_from(">I", data, at + 84)[0]
        yield {"offset": offset, "position": position, "body": data[at + 88 : at + 88 + length]}
        at += size
    assert at == len(data)


class Replica:
    """One mqbroker process; restarts keep its directory."""

    def __init__(self, root, number=0, count=1, port=19300, peer_port=32300, **settings):
        self.number, self.port, self.http = number, port + 10 * number, port + 50 + number
        self.peer_port = peer_port + number
        self.dir = os.path.join(root, f"n{number}")
        self.log = os.path.join(root, f"n{number}.log")
        self.settings = {
            "brokerName": "broker-s",
            "listenPort": self.port,
            "listenHost": "127.0.0.1",
            "brokerIP1": "127.0.0.1",
            "fastPortEnable": "false",
            "httpPort": self.http,
            "httpHost": "127.0.0.1",
            "storePathRootDir": self.dir,
            "dLegerSelfId": f"n{number}",
            "mappedFileSizeCommitLog": "1m",
        }
        if count > 1:
            peers = ";".join(f"n{i}-127.0.0.1:{peer_port + i}" for i in range(count))
            self.settings["dLegerPeers"] = peers
        self.settings |= settings
        self.process = None

    def spawn(self, under=(), **overrides):
        """The process; `under` is a command that ends in becoming it."""
        args = [x for k, v in (self.settings | overrides).items() for x in ("-D", f"{k}={v}")]
        env = {k: v for k, v in os.environ.items() if k != "NAMESRV_ADDR"}
        with open(self.log, "ab") as log:
            process = subprocess.Popen([*under, PROGRAM, *args], stderr=log, stdout=log, env=env)
        PROCESSES.append(process)
        return process

    def start(self):
        assert self.process is None
        self.process = self.spawn()
        return self

    def alive(self):
        assert self.process.poll() is None, f"n{self.number} ended with {self.process.returncode}, see {self.log}"

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process = None

    def stop(self):
        """SIGTERM, and wait."""
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(timeout=WAIT_S)
        self.process = None
        assert status == 0, f"n{self.number} ended with {status}, see {self.log}"

    def client(self):
        return Client(self.port)

    def get(self, path):
        """(status, text) of the HTTP port; (0, cause) when it cannot be reached."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.http}{path}", timeout=WAIT_S) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError as error:
            return 0, str(error)

    def ready(self):
        self.alive()
        return self.get("/readyz")[0] == 200

    def status(self):
        client = self.client()
        try:
            return json.loads(client.call(RAFT_STATUS)[1])
        finally:
            client.close()

    def metrics(self):
        lines = self.get("/metrics")[1].splitlines()
        return {x.split("{")[0]: float(x.split()[-1]) for x in lines if x and x[0] != "#" and "le=" not in x}


class Group:
    """Replicas of one group."""

    def __init__(self, root, count, **settings):
        self.replicas = [Replica(root, i, count, **settings) for i in range(count)]

    def start(self):
        for r in self.replicas:
            if r.process is None:
                r.start()
        return self.wait()

    def running(self):
        return [r for r in self.replicas if r.process is not None]

    def leader(self):
        """The replica that serves and that all running ones follow, or None."""
        try:
            states = [r.status() for r in self.running()]
        except OSError:
            return None
        serving = [s["self"] for s in states if s["serving"]]
        if len(serving) != 1 or any(s["leader"] != serving[0] for s in states):
            return None
        return self.replicas[int(serving[0][1:])]

    def wait(self):
        for r in self.running():
            until(r.ready, f"n{r.number} is ready")
        return until(self.leader, "one leader, known to all")

    def end(self):
        for r in self.running():
            r.kill()


def run(tests):
    """Run named functions, each with an empty directory; 0 or 1 as exit status."""
    failed = 0
    wanted = sys.argv[1:]
    for name, test in tests:
        if wanted and name not in wanted:
            continue
        root = tempfile.mkdtemp(prefix="mqbroker-")
        begun = time.monotonic()
        try:
            test(root)
            print(f"PASS {name} ({time.monotonic() - begun:.2f} s)", flush=True)
            shutil.rmtree(root)
        except Exception:
            failed = 1
            print(f"FAIL {name}, files in {root}", flush=True)
            traceback.print_exc(file=sys.stdout)
            for log in sorted(x for x in os.listdir(root) if x.endswith(".log")):
                print(f"-- {log}")
                with open(os.path.join(root, log), errors="replace") as f:
                    print("".join(f.readlines()[-15:]), flush=True)
        finally:
            while PROCESSES:
                process = PROCESSES.pop()
                if process.poll() is None:
                    process.kill()
                    process.wait()
    return failed
