#!/usr/bin/env python3
"""Includes point the way rooms.txt allows, and start from the root of the tree."""

import fnmatch
import os
import re

import tree

INCLUDE = re.compile(r'\s*#\s*include\s*([<"])([^>"]+)[>"]')
GENERATED = re.compile(r"proto/\w+\.pb-c\.h$")

rooms, system, only = {}, {}, {}
for number, line in tree.lines("tests/lint/rooms.txt"):
    line = line.split("#")[0].strip()
    if not line:
        continue
    left, colon, right = line.partition(":")
    left, right = left.strip(), right.split()
    if not colon:
        tree.verdict([f"tests/lint/rooms.txt:{number}: no colon"])
    if left.startswith("only "):
        only[left.split()[1]] = {w.strip("<>") for w in right}
    elif left.startswith("<"):
        system[left.strip("<>")] = right
    else:
        rooms[left] = right


def room_of(path):
    """The longest directory of the table that holds the path."""
    fits = [r for r in rooms if path.startswith(r + "/")]
    return max(fits, key=len) if fits else None


def wrong_system(path, room, header):
    for pattern, allowed in system.items():
        if fnmatch.fnmatchcase(header, pattern) and room not in allowed:
            return f"{room} may not include <{header}>"
    if room in only and header not in only[room]:
        return f"{room} sees no system header but those listed for it, and <{header}> is not one"
    return None


def wrong_own(path, room, header):
    exists = os.path.isfile(os.path.join(tree.ROOT, header)) or GENERATED.match(header)
    if not exists:
        return f'"{header}" is not a path from the root of the tree'
    target = room_of(header)
    if "*" in rooms[room] or target == room or header in rooms[room]:
        return None
    # A header of proto/ is allowed by its own name only.
    if target is not None and target in rooms[room]:
        return None
    return f'{room} may not include "{header}"'


complaints = []
for name in tree.files(".c", ".h"):
    own_room = room_of(name)
    if own_room is None:
        complaints.append(f"{name}: in no room of tests/lint/rooms.txt")
        continue
    for number, line in tree.lines(name):
        found = INCLUDE.match(line)
        if found:
            judge = wrong_system if found[1] == "<" else wrong_own
            wrong = judge(name, own_room, found[2])
            if wrong:
                complaints.append(f"{name}:{number}: {wrong}")
tree.verdict(complaints)
