#!/usr/bin/env python3
"""What the built libraries call: the core calls for memory only, and nobody but common/ reads time or chance."""

import os
import re
import subprocess

import tree

LIB = os.path.join(tree.ROOT, os.environ.get("B", "build/release"), "lib")
NM = os.environ.get("NM", "nm")

# Memory, and the end of the process when there is none or an invariant is broken.
CORE_MAY_CALL = {"memcpy", "memmove", "memset", "memcmp", "calloc", "malloc", "realloc", "free", "ensure_failed", "fatal"}
# Put there by the compiler: hardening, sanitizers, position-independent code.
COMPILER = re.compile(r"__stack_chk_fail|_GLOBAL_OFFSET_TABLE_|__mem\w+_chk|__(asan|ubsan|tsan|sanitizer)_\w+")
# Simulated and replayed rooms are given the time and a seed.
TIME_AND_CHANCE = {"time", "gettimeofday", "clock_gettime", "clock", "timespec_get", "rand", "random", "rand_r",
                   "drand48", "getrandom", "getentropy", "arc4random"}


def undefined(archive):
    """(object, symbol) pairs which the archive's objects leave to others."""
    path = os.path.join(LIB, archive)
    if not os.path.isfile(path):
        return []
    run = lambda *args: subprocess.run([NM, *args, path], check=True, text=True, stdout=subprocess.PIPE,
                                       stderr=subprocess.DEVNULL).stdout.splitlines()
    own = {line.split()[-1] for line in run("--defined-only", "-g") if len(line.split()) == 3}
    pairs, member = [], "?"
    for line in run("-u"):
        if line.endswith(":"):
            member = line[:-1]
        elif line.strip():
            symbol = line.split()[-1].split("@")[0]
            if symbol not in own and not COMPILER.fullmatch(symbol):
                pairs.append((member, symbol))
    return pairs


complaints = [f"libdlcore.a({o}): calls {s}; the core may only call {', '.join(sorted(CORE_MAY_CALL))}"
              for o, s in undefined("libdlcore.a") if s not in CORE_MAY_CALL]
for lib in ("libdlstore.a", "libdlnet.a", "libdledger.a", "libmqstate.a", "libmqfront.a", "libmqnamesrv.a"):
    complaints += [f"{lib}({o}): calls {s}; ask common/clock.h or common/rng.h"
                   for o, s in undefined(lib) if s in TIME_AND_CHANCE]
tree.verdict(complaints)
