"""CPU per line of the filter tester, beside fail2ban-regex with its own sshd filter."""

from __future__ import annotations

import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from typing import IO

import logs

# Attack lines cost more, so that fewer will do.
QUIET, ATTACK = 500_000, 50_000
PARSER = "/usr/libexec/sshguard/sshg-parser"
ROUNDS = 3
BIN = os.path.dirname(sys.executable)


def run():
    peer = shutil.which("fail2ban-regex")
    with tempfile.TemporaryDirectory() as directory:
        empty = os.path.join(directory, "empty.log")
        with open(empty, "w") as file:
            file.write("x\n")
        for what, lines, failures, logins in (
            ("sshd filter, quiet log (1 % failures, 3 % logins)", QUIET, 0.01, 0.03),
            ("sshd filter, attack lines only", ATTACK, 1.0, 0.0),
        ):
            log = os.path.join(directory, "auth.log")
            with open(log, "w") as file:
                file.writelines(logs.sshd(lines, failures=failures, logins=logins))
            ours = [os.path.join(BIN, "banguard-regex"), "--usedns", "raw"]
            row = {"what": what, "unit": "µs/line CPU"}
            mine, theirs = [], []
            config = ["-c", "/etc/fail2ban"] if peer else ["-c", os.path.join(os.path.dirname(BIN), "..", "config")]
            for command in ([*ours, *config], [peer, "--usedns", "raw"] if peer else []):
                # Once in vain: the first run of a program compiles its modules.
                if command:
                    cpu([*command, log, "sshd"])
            for _ in range(ROUNDS):
                mine.append(per_line([*ours, *config], log, empty, lines))
                if peer:
                    theirs.append(per_line([peer, "--usedns", "raw"], log, empty, lines))
            row["ours"] = statistics.median(mine)
            if theirs:
                ratios = [their / own for own, their in zip(mine, theirs, strict=True)]
                row |= {
                    "peer": "fail2ban-regex",
                    "theirs": statistics.median(theirs),
                    "ratio": statistics.median(ratios),
                }
            else:
                row["note"] = "fail2ban is not installed"
            yield row
            if os.access(PARSER, os.X_OK):
                theirs = statistics.median(parser(log, empty, lines) for _ in range(ROUNDS))
                beside = {"peer": "sshg-parser", "theirs": theirs, "ratio": theirs / row["ours"]}
                yield {"what": f"{what}, beside SSHGuard", "ours": row["ours"], "unit": "µs/line CPU", **beside}


def parser(log: str, empty: str, lines: int) -> float:
    """Return the same of SSHGuard's parser, which reads its standard input."""
    used = []
    for path in (log, empty):
        with open(path, "rb") as file:
            used.append(cpu([PARSER], file))
    return (used[0] - used[1]) / lines * 1e6


def per_line(command: list[str], log: str, empty: str, lines: int) -> float:
    """Return microseconds of CPU per line, the start of the program taken off."""
    return (cpu([*command, log, "sshd"]) - cpu([*command, empty, "sshd"])) / lines * 1e6


def cpu(command: list[str], stdin: IO[bytes] | int = subprocess.DEVNULL) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, stdin=stdin, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
