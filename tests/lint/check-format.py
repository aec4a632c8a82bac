#!/usr/bin/env python3
"""All C is as clang-format would write it (`make format`)."""

import subprocess

import tree

sources = tree.files(".c", ".h")
complaints = []
if sources:
    done = subprocess.run(["clang-format", "--dry-run", "-Werror", *sources], cwd=tree.ROOT,
                          stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        named = sorted({line.split(":")[0] for line in done.stderr.splitlines() if ": error:" in line})
        complaints = [f"{n}: not formatted; run `make format`" for n in named] or [done.stderr[:2000]]
tree.verdict(complaints)
