"""What the lints share: the list of files that belong to the project, and how a verdict is given."""

import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def files(*suffixes):
    """Files of the project relative to its root: tracked or about to be; without git, all but build output."""
    try:
        out = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, check=True,
                             stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
        names = out.decode().split("\0")[:-1]
    except (OSError, subprocess.CalledProcessError):
        skip = {".git", "build", "autom4te.cache", "node_modules", "target", "__pycache__"}
        names = []
        for top, dirs, found in os.walk(ROOT):
            dirs[:] = [d for d in dirs if d not in skip]
            names += [os.path.relpath(os.path.join(top, f), ROOT) for f in found]
    names = sorted(n for n in names if os.path.isfile(os.path.join(ROOT, n)))
    return [n for n in names if n.endswith(suffixes)] if suffixes else names


def lines(name):
    """(number, line) of a text file; nothing for a binary one."""
    with open(os.path.join(ROOT, name), "rb") as f:
        data = f.read()
    if b"\0" in data:
        return []
    return enumerate(data.decode("utf-8", "replace").splitlines(), 1)


def verdict(complaints):
    """Prints the complaints and ends the program."""
    for c in complaints:
        print(c)
    sys.exit(1 if complaints else 0)
