"""The figures of a group of three on one machine: README.md says what each means and how it is taken.

Every result is one line of JSON in OUT/results.jsonl (section, name, value, unit, runs, ratio) and one of OUT/report.txt.
Load comes from mqperf; raw disk figures from rawdisk, taken anew for each section that is compared with them.
"""
import json
import math
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "deploy"))
from replicas import Cluster, programs  # noqa: E402

FULL = os.environ.get("FULL") == "1"
KILLS = int(os.environ.get("KILLS", "100" if FULL else "20"))
LOG_GIB = float(os.environ.get("LOG_GIB", "10" if FULL else "1"))
RUNS = int(os.environ.get("RUNS", "5" if FULL else "3"))
RUN_SECONDS = int(os.environ.get("RUN_SECONDS", "10"))
OUT = os.environ["OUT"]
MESSAGE_BYTES = 1024
PRODUCERS = 64             # closed loop
CONNECTIONS, WINDOW = 8, 64  # pipelined: 512 outstanding
IDLE_S = 12
READY_WITHIN_S = 60
NODES = 3
HEARD_S = 0.05             # after a kill, answers of the dead leader have been read


class Report:
    def __init__(self):
        os.makedirs(OUT, exist_ok=True)
        self.json = open(os.path.join(OUT, "results.jsonl"), "w")
        self.text = open(os.path.join(OUT, "report.txt"), "w")

    def say(self, line):
        print(line, flush=True)
        self.text.write(line + "\n")
        self.text.flush()

    def section(self, name):
        self.name = name
        self.say("\n%s   (load average %s)" % (name, open("/proc/loadavg").read().split()[0]))

    def figure(self, name, values, unit, **more):
        """Median of one value or several; more: further fields of the JSON line."""
        values = values if isinstance(values, list) else [values]
        value = statistics.median(values)
        row = {"section": self.name, "name": name, "value": value, "unit": unit}
        spread = ""
        if len(values) > 1:
            row["runs"] = values
            spread = "   (median of %d: %s)" % (len(values), " ".join("%.4g" % v for v in sorted(values)))
        row.update(more)
        self.json.write(json.dumps(row) + "\n")
        self.json.flush()
        extra = "".join("   %s %s" % (k, "%.3g" % v if isinstance(v, float) else v) for k, v in more.items())
        self.say("  %-44s %12s %-8s%s%s" % (name, "%.1f" % value if value < 1000 else "%.0f" % value, unit, spread, extra))


report = Report()


def cluster(name):
    return Cluster(os.path.join(OUT, "run-" + name))


def rawdisk(quiet=False):
    """{(streams, block bytes): row}, of this minute, in the directory where the logs lie."""
    lines = subprocess.run([os.path.join(programs(), "rawdisk"), "-d", OUT], check=True, stdout=subprocess.PIPE,
                           text=True).stdout.splitlines()
    rows = {(r["streams"], r["blockBytes"]): r for r in map(json.loads, lines)}
    for (streams, block), r in rows.items():
        if not quiet:
            report.figure("%d stream%s of %d KiB" % (streams, "s" if streams > 1 else "", block >> 10),
                          r["syncsPerSecond"], "syncs/s", mbPerSecond=r["mbPerSecond"], p50_ms=r["syncMsP50"],
                          p99_ms=r["syncMsP99"])
    return rows


def mqperf(c, mode, *options, check=True):
    done = subprocess.run([os.path.join(programs(), "mqperf"), mode, "-n", c.namesrv, "--json", "--quiet", *options],
                          stdout=subprocess.PIPE, text=True)
    if check and done.returncode != 0:
        raise RuntimeError("mqperf %s failed: %s" % (mode, done.stdout))
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def produce(c, connections, window, *options):
    return mqperf(c, "produce", "-t", "bench", "-s", str(MESSAGE_BYTES), "-d", str(RUN_SECONDS), "-c", str(connections),
                  "-w", str(window), *options)[0]


def wiped(name):
    c = cluster(name)
    c.script("wipe")
    c.script("start")
    return c


# ---- throughput ----------------------------------------------------------------------------------------------

def throughput(name, connections, window, ceiling_of):
    """Raw disk and cluster in turns, so that both have seen the same neighbours."""
    report.section(name)
    c = wiped(name)
    rows, ceilings = [], []
    try:
        produce(c, connections, window)
        for _ in range(RUNS):
            ceilings.append(ceiling_of(rawdisk(quiet=True)))
            rows.append(produce(c, connections, window))
    finally:
        c.script("wipe")
    rates = [r["messagesPerSecond"] for r in rows]
    ceiling = statistics.median(ceilings)
    report.figure("messages", rates, "msg/s", ratioToDisk=statistics.median(rates) / ceiling)
    report.figure("raw disk ceiling", ceilings, "msg/s")
    for q in ("p50", "p99", "p999"):
        report.figure("latency " + q, [r["latencyMs"][q] for r in rows], "ms")
    return statistics.median(rates)


def closed_ceiling(disk):
    """All producers wait for one sync: three replicas sync a block of 64 messages each in the same time."""
    return disk[3, 65536]["syncsPerSecond"] / 3 * PRODUCERS


def pipelined_ceiling(disk):
    """Blocks of 256 KiB on three replicas at a time, nothing but message bodies in them."""
    return disk[3, 262144]["mbPerSecond"] * 1e6 / 3 / MESSAGE_BYTES


def closed():
    return throughput("closed loop, %d producers" % PRODUCERS, PRODUCERS, 1, closed_ceiling)


def pipelined():
    return throughput("pipelined, %d outstanding" % (CONNECTIONS * WINDOW), CONNECTIONS, WINDOW, pipelined_ceiling)


def half():
    """Latency when the cluster is not saturated: the number of closed-loop producers that gives half the full rate."""
    report.section("half load")
    c = wiped("half")
    try:
        full = produce(c, PRODUCERS, 1)["messagesPerSecond"]
        tried = {}
        for producers in (1, 2, 4, 8, 16, 32):
            tried[producers] = produce(c, producers, 1)["messagesPerSecond"]
            if tried[producers] > full:
                break
        best = min(tried, key=lambda p: abs(tried[p] - full / 2))
        rows = [produce(c, best, 1) for _ in range(RUNS)]
    finally:
        c.script("wipe")
    report.figure("rate with %d producers" % best, [r["messagesPerSecond"] for r in rows], "msg/s",
                  ofFull=statistics.median(r["messagesPerSecond"] for r in rows) / full)
    for q in ("p50", "p99", "p999"):
        report.figure("latency " + q, [r["latencyMs"][q] for r in rows], "ms")


# ---- failover ------------------------------------------------------------------------------------------------

def wait_ready(c, within_s=READY_WITHIN_S):
    until = time.monotonic() + within_s
    while time.monotonic() < until:
        if all((c.http(n, "/readyz") or "").strip() == "ok" for n in range(NODES)):
            return
        time.sleep(0.01)
    raise RuntimeError("not ready after %d s: %s" % (within_s, [c.http(n, "/readyz") for n in range(NODES)]))


def level(c):
    """Followers have what the leader has, so that any of them may be elected: a kill meets a healthy group."""
    until = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < until:
        ends = [c.metrics(n).get("ledgermq_log_persisted_index", 0) for n in range(NODES)]
        if min(ends) > 0 and max(ends) - min(ends) < 1000:
            return
        time.sleep(0.02)


def acked_times(path):
    """Times of all acknowledgements in seconds, in order."""
    with open(path) as f:
        return sorted(int(line.split()[-1]) / 1e6 for line in f if line.startswith("RaftNode"))


def failover():
    report.section("failover: kill -9 of the leader, %d times" % KILLS)
    c = wiped("failover")
    acks = os.path.join(c.run_dir, "acks")
    out = open(os.path.join(c.run_dir, "load.json"), "w+")
    seconds = int(KILLS * 3 + 10)
    load = subprocess.Popen([os.path.join(c.bin, "mqperf"), "run", "-n", c.namesrv, "-t", "failover", "-c", "8", "-w", "1",
                             "-s", "256", "-d", str(seconds), "--acks", acks, "--json", "--quiet"], stdout=out)
    kills = []
    try:
        begin = time.monotonic()
        time.sleep(2)
        for k in range(KILLS):
            n = c.wait_leader(READY_WITHIN_S)
            if n is None:
                raise RuntimeError("no leader after kill %d" % k)
            kills.append(c.kill("g0-n%d" % n))
            time.sleep(0.5)
            c.script("restart-dead")
            wait_ready(c)
            level(c)
            time.sleep(max(0.3, begin + 2 + 2.8 * (k + 1) - time.monotonic()))
            if load.poll() is not None:
                break
        load.wait(timeout=seconds + 120)
        out.seek(0)
        rows = {r["what"]: r for r in map(json.loads, (x for x in out if x.startswith("{")))}
        times = acked_times(acks)
    finally:
        if load.poll() is None:
            load.kill()
        c.script("wipe")

    # Answers that had left the dead leader are still read after the kill: the new leader's first one is what ends the
    # longest silence among those that began before the client can have heard of it all.
    next_ack, gaps = [], []
    for at in kills:
        around = [t for t in times if at - 0.2 <= t <= at + 5]
        pairs = [(b - a, b) for a, b in zip(around, around[1:]) if b > at and a < at + HEARD_S]
        if not pairs:
            continue
        gap, end = max(pairs)
        gaps.append(gap * 1e3)
        next_ack.append((end - at) * 1e3)
    v, p = rows["verify"], rows["produce"]
    report.figure("kills under load", len(next_ack), "kills")
    for name, values in (("kill to next ack", sorted(next_ack)), ("longest gap between acks", sorted(gaps))):
        for q, label in ((0.5, "p50"), (0.99, "p99"), (1.0, "max")):
            report.figure("%s, %s" % (name, label), values[max(0, math.ceil(q * len(values)) - 1)], "ms")
    report.figure("acknowledged", v["acked"], "messages", perSecond=p["messagesPerSecond"])
    report.figure("acknowledged and lost", v["lost"] + v["twoAcks"] + v["offsetGaps"], "messages")
    report.figure("order violations", v["orderRealTime"] + v["orderProducer"], "messages")
    report.figure("duplicates (sent again after a kill)", v["duplicates"], "messages", sentAgain=p["retried"])
    report.figure("sends failed", p["failed"], "messages")


# ---- idle and start ------------------------------------------------------------------------------------------

def usage(pid):
    """(resident MiB, CPU seconds)"""
    with open("/proc/%d/status" % pid) as f:
        resident = next(int(line.split()[1]) / 1024 for line in f if line.startswith("VmRSS"))
    with open("/proc/%d/stat" % pid) as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return resident, (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def idle():
    report.section("idle")
    c = wiped("idle")
    try:
        for state in ("empty", "after 100,000 messages"):
            if state != "empty":
                mqperf(c, "produce", "-t", "idle", "-c", "8", "-w", "8", "-m", "100000")
            time.sleep(IDLE_S)
            names = ["namesrv"] + ["g0-n%d" % n for n in range(NODES)]
            before = {n: usage(c.pid(n)) for n in names}
            begin = time.monotonic()
            time.sleep(IDLE_S)
            took = time.monotonic() - begin
            after = {n: usage(c.pid(n)) for n in names}
            for who, of in (("nameserver", names[:1]), ("broker, the largest of three", names[1:])):
                report.figure("%s: %s" % (state, who), max(after[n][0] for n in of), "MiB",
                              cpuPercentOfOneCore=max(after[n][1] - before[n][1] for n in of) / took * 100)
    finally:
        c.script("wipe")


def start_brokers(c):
    """Start all brokers at once with the settings cluster.sh wrote; (processes, ms until each said it is ready)."""
    begin = time.monotonic()
    brokers = [subprocess.Popen([os.path.join(c.bin, "mqbroker"), "-c", os.path.join(c.run_dir, "g0-n%d.conf" % n)],
                                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
               for n in range(NODES)]
    ready = {}
    try:
        while len(ready) < NODES:
            for n in range(NODES):
                if n not in ready and (c.http(n, "/readyz", 0.5) or "").strip() == "ok":
                    ready[n] = (time.monotonic() - begin) * 1e3
            if time.monotonic() - begin > READY_WITHIN_S:
                raise RuntimeError("brokers are not ready after %d s" % READY_WITHIN_S)
            time.sleep(0.001)
    except BaseException:
        end(brokers, signal.SIGKILL)
        raise
    return brokers, list(ready.values())


def end(processes, number):
    for p in processes:
        p.send_signal(number)
    for p in processes:
        p.wait()


def start_namesrv(c):
    """(process, ms until it accepts connections)"""
    host, port = c.namesrv.split(":")
    begin = time.monotonic()
    p = subprocess.Popen([os.path.join(c.bin, "mqnamesrv"), "-D", "listenPort=" + port, "-D", "listenHost=" + host, "-D",
                          "kvConfigPath=" + os.path.join(c.run_dir, "kvConfig.json")],
                         stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while time.monotonic() < begin + READY_WITHIN_S:
        try:
            socket.create_connection((host, int(port)), 1).close()
            break
        except OSError:
            time.sleep(0.0005)
    return p, (time.monotonic() - begin) * 1e3


def ready():
    report.section("start")
    c = wiped("ready")
    namesrv = None
    brokers = []
    try:
        c.script("stop")
        names, first, all_of = [], [], []
        for _ in range(RUNS):
            namesrv, ms = start_namesrv(c)
            names.append(ms)
            for n in range(NODES):
                shutil.rmtree(os.path.join(c.run_dir, "g0-n%d" % n))
            brokers, times = start_brokers(c)
            first.append(min(times))
            all_of.append(max(times))
            end(brokers + [namesrv], signal.SIGTERM)
        report.figure("nameserver accepts", names, "ms")
        report.figure("empty directories: first replica ready", first, "ms")
        report.figure("empty directories: all replicas ready", all_of, "ms")

        namesrv, _ = start_namesrv(c)
        brokers, _ = start_brokers(c)
        body = 16384
        mqperf(c, "produce", "-t", "fill", "-s", str(body), "-c", "8", "-w", "8", "--timeout", "60000", "-m",
               str(int(LOG_GIB * (1 << 30) / (body + 300)) + 1))
        one, group = [], []
        for _ in range(RUNS):
            end(brokers[:1], signal.SIGKILL)
            begin = time.monotonic()
            brokers[0] = subprocess.Popen([os.path.join(c.bin, "mqbroker"), "-c", os.path.join(c.run_dir, "g0-n0.conf")],
                                          stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            while (c.http(0, "/readyz", 0.5) or "").strip() != "ok" and time.monotonic() < begin + READY_WITHIN_S:
                time.sleep(0.001)
            one.append((time.monotonic() - begin) * 1e3)
            time.sleep(1)
        for _ in range(RUNS):
            end(brokers, signal.SIGKILL)
            brokers, times = start_brokers(c)
            group.append(max(times))
            time.sleep(1)
        gib = max(c.metrics(n).get("ledgermq_log_bytes", 0) for n in range(NODES)) / (1 << 30)
        report.figure("kill -9 of one with %.1f GiB of log: ready" % gib, one, "ms")
        report.figure("kill -9 of all with %.1f GiB of log: all ready" % gib, group, "ms")
    finally:
        end([p for p in brokers + ([namesrv] if namesrv else []) if p.poll() is None], signal.SIGKILL)
        c.script("wipe")


SECTIONS = {"disk": lambda: (report.section("raw disk, write + fdatasync"), rawdisk()), "closed": closed,
            "pipelined": pipelined, "half": half, "failover": failover, "idle": idle, "ready": ready}


def main():
    wanted = sys.argv[1:] or list(SECTIONS)
    for name in wanted:
        if name not in SECTIONS:
            sys.exit("bench: no section \"%s\"; there are: %s" % (name, " ".join(SECTIONS)))
    cpu = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "?")
    report.say("%s, %d cores, %s, kernel %s" % (time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()), os.cpu_count(), cpu,
                                                os.uname().release))
    for name in wanted:
        SECTIONS[name]()
    report.say("\nas JSON: %s" % os.path.join(OUT, "results.jsonl"))


if __name__ == "__main__":
    main()
