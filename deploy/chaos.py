#!/usr/bin/env python3
"""Faults for real processes under load, from one seed; the verdict comes from the client's history.

    chaos.py [--own-net]        CHAOS_SECONDS (60), SEED (random), RUN_DIR from the environment

The schedule - when, what, to whom, for how long - follows from seed and seconds alone; roles in it ("leader", "follower 1")
are looked up when the time has come. mqperf sends, consumes and judges meanwhile. Afterwards everything is healed and
started, and the replicas must agree. Prints a line per fault, one PASS or FAIL per check, a JSON summary (also in
RUN_DIR/summary.json) and at last "N passed, N failed".

With --own-net this process is alone in a network namespace (chaos.sh sees to that): each replica then gets a namespace of its
own behind a bridge, and partitions are made by nftables in there.
"""
import argparse
import json
import os
import random
import signal
import subprocess
import sys
import time

from replicas import Cluster, TOP

NODES = 3
GROUP = "g0"
BRIDGE_HOST = "10.91.0.1"
HOSTS = ["10.91.0.%d" % (10 + n) for n in range(NODES)]
CONNECTIONS = 8            # producers, each in a closed loop: their order can be checked
SEND_TIMEOUT_MS = 20000    # longer than any fault, so that sends outlive it
QUIET_S = 2.0              # at begin and end of the schedule
HOLD_S = (0.2, 3.0)        # how long a fault lasts
PAUSE_S = (0.5, 2.5)       # between faults
CONVERGE_S = 30
LEADER_S = 10
VERIFY_S = 90              # what mqperf may need after its last send


# ---- the network ---------------------------------------------------------------------------------------------

def sh(*args):
    subprocess.run(args, check=True, stdout=subprocess.DEVNULL)


class Net:
    """A namespace per replica, each with one wire to a bridge in ours. They end with the processes that hold them, and
    those with us."""

    def __init__(self):
        self.holders = []
        self.files = []
        sh("ip", "link", "set", "lo", "up")
        sh("ip", "link", "add", "hub", "type", "bridge")
        sh("ip", "addr", "add", BRIDGE_HOST + "/24", "dev", "hub")
        sh("ip", "link", "set", "hub", "up")
        for n in range(NODES):
            holder = subprocess.Popen(["unshare", "--net", "setpriv", "--pdeathsig", "KILL", "sleep", "infinity"])
            self.holders.append(holder)
            self.files.append("/proc/%d/ns/net" % holder.pid)
            own = os.readlink("/proc/self/ns/net")
            while os.readlink(self.files[n]) == own:
                time.sleep(0.005)
            sh("ip", "link", "add", "wire%d" % n, "type", "veth", "peer", "name", "wire", "netns", str(holder.pid))
            sh("ip", "link", "set", "wire%d" % n, "master", "hub", "up")
            self.within(n, "ip", "link", "set", "lo", "up")
            self.within(n, "ip", "addr", "add", HOSTS[n] + "/24", "dev", "wire")
            self.within(n, "ip", "link", "set", "wire", "up")
            self.within(n, "nft", "add table inet chaos; add chain inet chaos in { type filter hook input priority 0; }")

    def within(self, n, *args):
        sh("nsenter", "--net=" + self.files[n], *args)

    def deafen(self, n, *sources):
        """Replica n does not hear these addresses any more."""
        self.within(n, "nft", "add rule inet chaos in ip saddr { %s } drop" % ", ".join(sources))

    def heal(self):
        for n in range(NODES):
            self.within(n, "nft", "flush chain inet chaos in")

    def close(self):
        for holder in self.holders:
            holder.kill()
            holder.wait()


# ---- the faults: each has begin(run, fault) and end(run, fault) ----------------------------------------------

class Fault:
    def __init__(self, at, kind, hold, pick):
        self.at, self.kind, self.hold, self.pick = at, kind, hold, pick

    def row(self):
        return {"at": round(self.at, 2), "kind": self.kind, "hold": round(self.hold, 2), "pick": self.pick}


def others(n):
    return [i for i in range(NODES) if i != n]


def name(n):
    return "%s-n%d" % (GROUP, n)


def kill(run, targets):
    for n in targets:
        run.cluster.kill(name(n))


def restart(run, targets):
    run.cluster.script("restart-dead")


def stop(run, targets):
    for n in targets:
        run.cluster.signal(name(n), signal.SIGSTOP)


def go_on(run, targets):
    for n in targets:
        run.cluster.signal(name(n), signal.SIGCONT)


def end_politely(run, targets):
    for n in targets:
        run.cluster.signal(name(n), signal.SIGTERM)


def wait_and_restart(run, targets):
    until = time.monotonic() + LEADER_S
    for n in targets:
        while run.cluster.pid(name(n)) is not None and time.monotonic() < until:
            time.sleep(0.01)
        if run.cluster.pid(name(n)) is not None:
            run.wrong.append("n%d did not end on SIGTERM within %d s" % (n, LEADER_S))
    run.cluster.script("restart-dead")


def transfer(run, targets):
    to = others(targets[0])[run.fault.pick % 2]
    run.say("transferLeader to n%d: %s" % (to, run.admin("transferLeader", "-g", "RaftNode00", "-t", "n%d" % to)))


def kill_namesrv(run, targets):
    run.cluster.kill("namesrv")


def isolate(run, targets):
    """From the other replicas; clients still reach it."""
    for n in targets:
        for other in others(n):
            run.net.deafen(n, HOSTS[other])
            run.net.deafen(other, HOSTS[n])


def isolate_from_all(run, targets):
    isolate(run, targets)
    for n in targets:
        run.net.deafen(n, BRIDGE_HOST)


def cut_pair(run, targets):
    n, other = targets[0], others(targets[0])[run.fault.pick % 2]
    run.net.deafen(n, HOSTS[other])
    run.net.deafen(other, HOSTS[n])


def unheard(run, targets):
    """It hears the others, they do not hear it."""
    for other in others(targets[0]):
        run.net.deafen(other, HOSTS[targets[0]])


def deaf(run, targets):
    """The others hear it, it does not hear them."""
    run.net.deafen(targets[0], *[HOSTS[i] for i in others(targets[0])])


def heal(run, targets):
    run.net.heal()


def nothing(run, targets):
    pass


# kind: weight, who, begin, end, whether it needs the namespaces
KINDS = {
    "kill -9 leader": (6, "leader", kill, restart, False),
    "kill -9 follower": (3, "follower", kill, restart, False),
    "kill -9 all": (2, "all", kill, restart, False),
    "kill -9 majority": (2, "two", kill, restart, False),
    "SIGSTOP leader": (3, "leader", stop, go_on, False),
    "SIGSTOP follower": (2, "follower", stop, go_on, False),
    "SIGSTOP majority": (1, "two", stop, go_on, False),
    "SIGTERM leader": (2, "leader", end_politely, wait_and_restart, False),
    "transferLeader": (2, "leader", transfer, nothing, False),
    "kill -9 nameserver": (1, "none", kill_namesrv, restart, False),
    "isolate leader": (3, "leader", isolate, heal, True),
    "isolate leader, clients too": (2, "leader", isolate_from_all, heal, True),
    "isolate follower": (2, "follower", isolate, heal, True),
    "isolate all": (1, "all", isolate, heal, True),
    "cut leader from one": (2, "leader", cut_pair, heal, True),
    "leader unheard": (2, "leader", unheard, heal, True),
    "leader deaf": (2, "leader", deaf, heal, True),
    "follower unheard": (1, "follower", unheard, heal, True),
    "follower deaf": (1, "follower", deaf, heal, True),
}


def schedule(seed, seconds):
    """The same for the same seed and seconds, whatever this machine can do."""
    rng = random.Random(seed)
    kinds = list(KINDS)
    weights = [KINDS[k][0] for k in kinds]
    faults, at = [], QUIET_S
    while True:
        fault = Fault(at, rng.choices(kinds, weights)[0], rng.uniform(*HOLD_S), rng.randrange(1 << 16))
        if fault.at + fault.hold > seconds - QUIET_S:
            return faults
        faults.append(fault)
        at += fault.hold + rng.uniform(*PAUSE_S)


# ---- the run -------------------------------------------------------------------------------------------------

class Run:
    def __init__(self, cluster, net):
        self.cluster, self.net = cluster, net
        self.fault = None
        self.done = []      # kinds, in order
        self.skipped = 0
        self.wrong = []     # what the faults themselves found wrong
        self.checks = []    # (name, good, words)

    def say(self, words):
        print("%6.2f  %s" % (time.monotonic() - self.begin, words), flush=True)

    def admin(self, *args):
        """Last line of what mqadmin says."""
        done = subprocess.run([os.path.join(self.cluster.bin, "mqadmin"), args[0], "-n", self.cluster.namesrv, *args[1:]],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        return (done.stdout.splitlines() or ["status %d" % done.returncode])[-1]

    def targets(self, who, pick):
        """Replicas; roles as they are now. No leader: any replica stands for it."""
        if who == "none":
            return []
        if who == "all":
            return list(range(NODES))
        leader = self.cluster.leader()
        leader = pick % NODES if leader is None else leader
        followers = others(leader)
        return {"leader": [leader], "follower": [followers[pick % 2]], "two": [leader, followers[pick % 2]]}[who]

    def sleep_until(self, at):
        time.sleep(max(0.0, self.begin + at - time.monotonic()))

    def carry_out(self, faults):
        for fault in faults:
            _, who, begin, end, needs_net = KINDS[fault.kind]
            if needs_net and self.net is None:
                self.skipped += 1
                continue
            self.sleep_until(fault.at)
            self.fault = fault
            targets = self.targets(who, fault.pick)
            self.say("%s %s for %.1f s" % (fault.kind, " ".join("n%d" % n for n in targets), fault.hold))
            self.note_deaths(expected=[])
            begin(self, targets)
            time.sleep(fault.hold)
            self.note_deaths(expected=targets if "kill" in fault.kind or "TERM" in fault.kind else [],
                             namesrv="nameserver" not in fault.kind)
            end(self, targets)
            self.done.append(fault.kind)

    def note_deaths(self, expected, namesrv=True):
        """A process that ended without being told to."""
        for n in range(NODES):
            if n not in expected and self.cluster.pid(name(n)) is None:
                self.wrong.append("n%d ended by itself: %s" % (n, self.last_line(name(n))))
                self.cluster.script("restart-dead")
        if namesrv and self.cluster.pid("namesrv") is None:
            self.wrong.append("the nameserver ended by itself: " + self.last_line("namesrv"))
            self.cluster.script("restart-dead")

    def last_line(self, process):
        with open(os.path.join(self.cluster.run_dir, process + ".log"), errors="replace") as f:
            return (f.read().splitlines() or [""])[-1]

    def check(self, what, good, words=""):
        self.checks.append({"check": what, "good": bool(good), "words": str(words)})
        print("%s chaos: %s%s" % ("PASS" if good else "FAIL", what, ": %s" % words if words != "" else ""), flush=True)


def start_load(cluster, seconds):
    out = open(os.path.join(cluster.run_dir, "load.json"), "w+")
    log = open(os.path.join(cluster.run_dir, "load.progress"), "w+")
    load = subprocess.Popen([os.path.join(cluster.bin, "mqperf"), "run", "-n", cluster.namesrv, "-t", "chaos", "-c",
                             str(CONNECTIONS), "-w", "1", "-d", str(int(seconds)), "--timeout", str(SEND_TIMEOUT_MS),
                             "--gap-ms", "100", "--json"], stdout=out, stderr=log)
    return load, out, log


def same_logs(cluster, applied):
    """What logdump says of each replica after the cluster has been stopped: whole, the same records up to the index that all
    had applied, and behind it no two records of one index and term that differ. There the ends may differ: a leader that
    is stopped hands over, and its successor's first entry reaches only who is still there."""
    said, behind, at_odds = set(), {}, []
    for n in range(NODES):
        dump = subprocess.run([os.path.join(cluster.bin, "logdump"), "--records",
                               os.path.join(cluster.run_dir, name(n))], stdout=subprocess.PIPE, text=True)
        records = [line for line in dump.stdout.splitlines() if line.startswith("record ")]
        said.add((dump.returncode, len(records[:applied]), hash("\n".join(records[:applied]))))
        for line in records[applied:]:
            place = tuple(w for w in line.split() if w.startswith(("index=", "term=")))
            if behind.setdefault(place, line) != line:
                at_odds.append("%s, but n%d: %s" % (behind[place], n, line))
    good = len(said) == 1 and next(iter(said))[:2] == (0, applied) and not at_odds
    return good, sorted(said) + at_odds


def judge(run, load, out, log, faults_end):
    cluster = run.cluster
    if run.net is not None:
        run.net.heal()
    for n in range(NODES):
        cluster.signal(name(n), signal.SIGCONT)
    cluster.script("restart-dead")
    try:
        status = load.wait(timeout=VERIFY_S)
    except subprocess.TimeoutExpired:
        load.kill()
        status = "killed after %d s" % VERIFY_S
    out.seek(0)
    log.seek(0)
    rows = {r["what"]: r for r in map(json.loads, (line for line in out if line.startswith("{")))}
    v, p = rows.get("verify", {}), rows.get("produce", {})
    last_words = (log.read().splitlines() or [""])[-1]

    run.check("the load ran to its end", "good" in v, "%s %s" % (status, last_words))
    run.check("sends given up", p.get("failed") == 0, p.get("firstFailure", "%d" % p.get("failed", -1)))
    run.check("acknowledged messages lost", v.get("lost") == 0, v.get("lost"))
    run.check("two acknowledgements for one place", v.get("twoAcks") == 0, v.get("twoAcks"))
    run.check("out of order", v.get("orderRealTime") == 0 and v.get("orderProducer") == 0,
              "%s by time, %s by producer" % (v.get("orderRealTime"), v.get("orderProducer")))
    run.check("damaged", v.get("damaged") == 0, v.get("damaged"))
    run.check("never sent, yet read", v.get("phantom") == 0, v.get("phantom"))
    run.check("gaps between queue offsets", v.get("offsetGaps") == 0, v.get("offsetGaps"))
    # Each attempt of a repeated send may have been stored; mqperf counts messages, not attempts.
    repeated = p.get("retried", 0) + p.get("failed", 0)
    run.check("duplicates only of sends that were repeated", v.get("duplicates") == 0 or repeated > 0,
              "%s of %d" % (v.get("duplicates"), repeated))
    late = [g for g in p.get("gapsMs", []) if g["at"] + g["length"] > faults_end * 1000 + LEADER_S * 1000]
    run.check("sends go on after the last fault", p.get("messages", 0) > 0 and not late, "%d acknowledged" % p.get("messages", 0))
    run.check("nobody ended by itself", not run.wrong, "; ".join(run.wrong))
    converged = cluster.converged(CONVERGE_S)
    applied = [int(cluster.metrics(n).get("ledgermq_log_applied_index", -1)) for n in range(NODES)]
    run.check("replicas agree on the applied index", converged and len(set(applied)) == 1, applied)
    cluster.script("stop")
    equal, said = same_logs(cluster, min(applied))
    run.check("logs are whole and equal", equal, "" if equal else said)
    return v, p


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--own-net", action="store_true", help="this process is alone in a network namespace")
    options = options.parse_args()
    seconds = float(os.environ.get("CHAOS_SECONDS", "60"))
    seed = int(os.environ.get("SEED") or random.SystemRandom().randrange(1 << 31))
    run_dir = os.environ.get("RUN_DIR") or os.path.join(TOP, "build", "run", "chaos")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))

    net = load = None
    cluster = Cluster(run_dir)
    try:
        if options.own_net:
            net = Net()
            cluster = Cluster(run_dir, HOSTS, BRIDGE_HOST, net.files)
        faults = schedule(seed, seconds)
        print("chaos: seed %d, %d s, %d faults, network namespaces: %s" % (seed, seconds, len(faults),
                                                                        "yes" if net else "no"), flush=True)
        cluster.script("wipe")
        cluster.script("start")
        load, out, log = start_load(cluster, seconds)
        run = Run(cluster, net)
        run.begin = time.monotonic()
        run.carry_out(faults)
        v, p = judge(run, load, out, log, max([f.at + f.hold for f in faults], default=0))
    finally:
        if load is not None and load.poll() is None:
            load.kill()
        if net is not None:
            net.heal()
        for n in range(NODES):
            cluster.signal(name(n), signal.SIGCONT)
        cluster.script("stop", check=False)
        if net is not None:
            net.close()

    failed = sum(not c["good"] for c in run.checks)
    gaps = sorted((g["length"] for g in p.get("gapsMs", [])), reverse=True)
    summary = {"seed": seed, "seconds": seconds, "ownNet": net is not None, "faults": [f.row() for f in faults],
               "faultsDone": len(run.done), "faultsLeftOut": run.skipped, "verify": v,
               "produce": {k: x for k, x in p.items() if k != "gapsMs"}, "longestGapsMs": gaps[:5], "checks": run.checks}
    with open(os.path.join(run_dir, "summary.json"), "w") as f:
        json.dump(summary, f, indent=1)
    print(json.dumps({k: summary[k] for k in ("seed", "seconds", "ownNet", "faultsDone", "faultsLeftOut", "verify",
                                             "longestGapsMs")}))
    print("again: SEED=%d CHAOS_SECONDS=%d deploy/chaos.sh; everything: %s" % (seed, seconds, run_dir))
    print("%d passed, %d failed" % (len(run.checks) - failed, failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
