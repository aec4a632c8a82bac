#!/usr/bin/env python3
"""Every folder says what it is for, and every relative link in a document leads somewhere."""

import os
import re
import urllib.parse

import tree

LINK = re.compile(r"\[[^\]]*\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)")
SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:")


def anchors(name):
    """The anchors of a document's headings, as GitHub makes them."""
    found, fenced = set(), False
    for _, line in tree.lines(name):
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif not fenced and line.startswith("#"):
            text = re.sub(r"[`*\[\]]|\([^)]*\)" if "](" in line else r"[`*]", "", line.lstrip("#").strip())
            base = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
            same = sum(1 for a in found if re.fullmatch(re.escape(base) + r"(-\d+)?", a))
            found.add(f"{base}-{same}" if same else base)
    return found


def broken_links(name):
    fenced = False
    for number, line in tree.lines(name):
        if line.lstrip().startswith("```"):
            fenced = not fenced
        if fenced:
            continue
        for target in LINK.findall(re.sub(r"`[^`]*`", "", line)):
            if SCHEME.match(target):
                continue
            path, _, anchor = urllib.parse.unquote(target).partition("#")
            full = os.path.normpath(os.path.join(os.path.dirname(name), path)) if path else name
            if not os.path.exists(os.path.join(tree.ROOT, full)):
                yield f"{name}:{number}: link to {target}: there is no {full}"
            elif anchor and full.endswith(".md") and anchor not in anchors(full):
                yield f"{name}:{number}: link to {target}: {full} has no such heading"


everything = tree.files()
# Top-level folders, and all that hold C or a schema. The folders of tests/unit mirror rooms and need no words.
folders = {n.split("/")[0] for n in everything if "/" in n}
folders |= {os.path.dirname(n) for n in everything if n.endswith((".c", ".h", ".proto"))}
folders = {f for f in folders if f and not f.startswith((".", "tests/unit/"))}

complaints = [f"{f}/: no README.md saying what lives here" for f in sorted(folders) if f + "/README.md" not in everything]
for document in everything:
    if document.endswith(".md"):
        complaints += broken_links(document)
tree.verdict(complaints)
