#!/usr/bin/env python3
"""Nothing half done and nothing of somebody's machine is in the tree."""

import re

import tree

LATER = re.compile(r"\b(TODO|FIXME|XXX)\b")
CODE = (".c", ".h", ".proto", ".sh", ".py", ".mk", ".ac", ".java", ".go", ".js", "Makefile")

MACHINE = [
    (re.compile(r"(?<![\w.$}~-])/(home|root|Users|work)/[\w.]"), "a path of one machine"),
    (re.compile(r"https?://(10\.|192\.168\.|172\.(1[6-9]|2\d|3[01])\.)"), "a private address"),
    (re.compile(r"https?://[\w.-]+\.(internal|local|lan|corp|intranet)\b"), "a host of one network"),
    (re.compile(r"\b(index-url|extra-index-url)\b|<mirror>|\bGOPROXY="), "a package mirror"),
    (re.compile(r'"resolved": "https?://(?!registry\.npmjs\.org/)'), "a package mirror"),
]
# The text of the licence is not ours, and this file spells out what it looks for.
EXEMPT = {"LICENSE", "tests/lint/check-text.py"}

complaints = []
for name in tree.files():
    if name in EXEMPT:
        continue
    for number, line in tree.lines(name):
        if name.endswith(CODE) and LATER.search(line):
            complaints.append(f"{name}:{number}: {LATER.search(line)[1]}: do it or make it an issue")
        complaints += [f"{name}:{number}: {what}: {line.strip()[:100]}" for pattern, what in MACHINE
                       if pattern.search(line)]
tree.verdict(complaints)
