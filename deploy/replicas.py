"""One group of replicas as deploy/cluster.sh runs it, for programs that disturb or measure it.

Processes are started and stopped by cluster.sh only; this module looks at them and sends signals, and only to those whose
ids cluster.sh wrote down and whose command line is one of our programs.
"""
import os
import re
import signal
import subprocess
import time
import urllib.error
import urllib.request

DEPLOY = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(DEPLOY)
POLL_S = 0.01


def programs():
    """Directory of the programs, as cluster.sh finds it."""
    return os.environ.get("BIN") or os.path.join(TOP, "build", "release", "bin")


class Cluster:
    """hosts: address per replica; netns: file of a network namespace per replica, or none."""

    def __init__(self, run_dir, hosts=None, namesrv_host="127.0.0.1", netns=None, nodes=3, extra=""):
        self.nodes = nodes
        self.run_dir = run_dir
        self.hosts = hosts or ["127.0.0.1"] * nodes
        self.base = int(os.environ.get("PORT_BASE", "0"))
        self.namesrv = "%s:%d" % (namesrv_host, 9876 + self.base)
        self.bin = programs()
        # Loopback and private addresses need no proxy, whatever the environment says.
        self.web = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        self.env = dict(os.environ, RUN_DIR=run_dir, BIN=self.bin, HOSTS=" ".join(self.hosts), NAMESRV_HOST=namesrv_host,
                        NETNS=" ".join(netns or []), EXTRA=extra)

    def script(self, *args, check=True):
        done = subprocess.run([os.path.join(DEPLOY, "cluster.sh"), *args, "--nodes", str(self.nodes)], env=self.env,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if check and done.returncode != 0:
            raise RuntimeError("cluster.sh %s: %s" % (" ".join(args), done.stdout.strip()))
        return done.stdout

    def http(self, n, path, timeout_s=1.0):
        """What replica n answers, None when it does not."""
        url = "http://%s:%d%s" % (self.hosts[n], 25911 + n + self.base, path)
        try:
            with self.web.open(url, timeout=timeout_s) as answer:
                return answer.read().decode()
        except urllib.error.HTTPError as refused:
            return refused.read().decode()
        except OSError:
            return None

    def metrics(self, n, timeout_s=1.0):
        """Figures of replica n by name (buckets left out); empty when it does not answer."""
        text = self.http(n, "/metrics", timeout_s) or ""
        return {m[1]: float(m[2]) for m in re.finditer(r"^(\w+)\{(?![^}]*le=)[^}]*\} (\S+)$", text, re.M)}

    def leader(self, timeout_s=0.3):
        """The serving replica of the highest term, or None."""
        best = None
        for n in range(self.nodes):
            m = self.metrics(n, timeout_s)
            if m.get("ledgermq_serving") == 1 and (best is None or m["ledgermq_term"] > best[0]):
                best = (m["ledgermq_term"], n)
        return best[1] if best else None

    def wait_leader(self, within_s):
        until = time.monotonic() + within_s
        while time.monotonic() < until:
            n = self.leader()
            if n is not None:
                return n
            time.sleep(POLL_S)
        return None

    def pid(self, name):
        """Process id of "g0-n1" or "namesrv", None when it does not run (it may be dying)."""
        try:
            with open(os.path.join(self.run_dir, name + ".pid")) as f:
                pid = int(f.read())
            with open("/proc/%d/cmdline" % pid, "rb") as f:
                ours = f.read().startswith(os.path.join(self.bin, "mq").encode())
            return pid if ours else None
        except (OSError, ValueError):
            return None

    def signal(self, name, number):
        """False when there is no such process."""
        pid = self.pid(name)
        if pid is None:
            return False
        os.kill(pid, number)
        return True

    def kill(self, name):
        """kill -9; returns when it is gone: monotonic time of the kill in seconds, None when it did not run."""
        pid = self.pid(name)
        if pid is None:
            return None
        at = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        while self.pid(name) == pid:
            time.sleep(0.001)
        return at

    def converged(self, within_s):
        """True once all replicas have applied the same index, all of the leader's log."""
        until = time.monotonic() + within_s
        while time.monotonic() < until:
            all_of = [self.metrics(n) for n in range(self.nodes)]
            marks = {m.get(k) for m in all_of for k in ("ledgermq_log_end_index", "ledgermq_log_applied_index")}
            if len(marks) == 1 and None not in marks:
                return True
            time.sleep(0.1)
        return False
