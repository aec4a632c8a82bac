#!/usr/bin/env python3
"""docs/configuration.md says what the programs say (`-p`). With --write it is made anew. Bad options show the whole usage."""

import os
import re
import subprocess
import sys

PAGE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "docs", "configuration.md")
PROGRAMS = ("mqbroker", "mqnamesrv")
SETTING = re.compile(
    r"^(?P<key>\w+)=.*?  # default (?P<default>[^,]*), "
    r"(?P<allowed>text up to \d+ bytes(?:: \w+)?|-?\d+\.\.-?\d+(?: bytes, k m g allowed| \w+)?|[\w|]+), (?P<meaning>.*)$"
)
IGNORED = re.compile(r"^# (?P<key>\w+) is accepted without effect: (?P<meaning>.*)$")
HEAD = """# Configuration

Made from the tables in the programs by `BIN=build/release/bin tests/system/22_configuration.py --write`; `make check-system`
compares. Files have the syntax and the spellings of RocketMQ's `broker.conf` and `namesrv.conf` (`-c FILE`); `-n` comes before
their `namesrvAddr`, and `-D key=value` before everything. `NAMESRV_ADDR` in the environment counts when nothing else names
nameservers. A bad value ends the start with a message that names file, line, key and what is allowed; an unknown key is a
warning that names the nearest known one. `PROGRAM -p` prints the settings in force.
"""


def cell(text):
    return text.replace("|", "\\|")


def call(program, *args):
    env = {k: v for k, v in os.environ.items() if k != "NAMESRV_ADDR"}
    return subprocess.run([os.path.join(os.environ["BIN"], program), *args], env=env, capture_output=True, text=True)


def check_options(program):
    usage = call(program, "-h").stdout
    assert usage.endswith("--version\n") and call(program, "--help").stdout == usage, usage
    for args, said in (["-x"], '"-x"'), (["-xp"], '"-x"'), (["--wings"], '"--wings"'), (["-c"], '"-c"'), (["fly"], '"fly"'):
        done = call(program, *args)
        assert done.returncode == 2 and done.stdout == "" and said in done.stderr.splitlines()[0], done
        assert done.stderr.endswith(usage), done.stderr
    assert call(program, "--version").stdout == call(program, "-v").stdout != ""


def describe(program):
    done = call(program, "-p")
    assert done.returncode == 0, done.stderr
    settings, ignored = [], []
    for line in done.stdout.splitlines():
        setting, without = SETTING.match(line), IGNORED.match(line)
        assert setting or without, f"{program} -p: {line}"
        if setting:
            allowed = "text" if setting["allowed"].startswith("text") else setting["allowed"]
            row = f"`{setting['key']}`", setting["default"], allowed, setting["meaning"]
            settings.append("| " + " | ".join(cell(x) for x in row) + " |")
        else:
            ignored.append(f"| `{without['key']}` | {cell(without['meaning'])} |")
    page = f"\n## {program}\n\n| setting | default | allowed | meaning |\n|---|---|---|---|\n" + "\n".join(settings) + "\n"
    if ignored:
        page += "\nAccepted without effect, so that RocketMQ's files can be used as they are:\n\n| setting | why |\n|---|---|\n"
        page += "\n".join(ignored) + "\n"
    return page


for p in PROGRAMS:
    check_options(p)
page = HEAD + "".join(describe(p) for p in PROGRAMS)
if "--write" in sys.argv:
    with open(PAGE, "w", encoding="utf-8") as f:
        f.write(page)
else:
    with open(PAGE, encoding="utf-8") as f:
        if f.read() != page:
            sys.exit("docs/configuration.md is stale: run tests/system/22_configuration.py --write")
    print("PASS configuration")
