#!/usr/bin/env python3
"""All C is as clang-format would write it (`make format`), and no comment, which it leaves alone, is much wider."""

import subprocess

import tree

# clang-format keeps code within 110; drawings and tables in comments may need a little more.
WIDTH_MAX = 120

sources = tree.files(".c", ".h")
complaints = []
if sources:
    done = subprocess.run(["clang-format", "--dry-run", "-Werror", *sources], cwd=tree.ROOT,
                          stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        named = sorted({line.split(":")[0] for line in done.stderr.splitlines() if ": error:" in line})
        complaints = [f"{n}: not formatted; run `make format`" for n in named] or [done.stderr[:2000]]
complaints += [f"{name}:{number}: wider than {WIDTH_MAX} columns" for name in sources
               for number, line in tree.lines(name) if len(line) > WIDTH_MAX]
tree.verdict(complaints)
