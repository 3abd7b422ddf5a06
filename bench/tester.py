"""CPU per line of the filter tester, beside fail2ban-regex with its own sshd filter."""

from __future__ import annotations

import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile

import logs

LINES = 60_000
ROUNDS = 3
BIN = os.path.dirname(sys.executable)


def run():
    peer = shutil.which("fail2ban-regex")
    with tempfile.TemporaryDirectory() as directory:
        empty = os.path.join(directory, "empty.log")
        with open(empty, "w") as file:
            file.write("x\n")
        for what, failures, logins in (
            ("sshd filter, quiet log (1 % failures, 3 % logins)", 0.01, 0.03),
            ("sshd filter, attack lines only", 1.0, 0.0),
        ):
            log = os.path.join(directory, "auth.log")
            with open(log, "w") as file:
                file.writelines(logs.sshd(LINES, failures=failures, logins=logins))
            ours = [os.path.join(BIN, "banguard-regex"), "--usedns", "raw"]
            row = {"what": what, "unit": "µs/line CPU"}
            mine, theirs = [], []
            config = ["-c", "/etc/fail2ban"] if peer else ["-c", os.path.join(os.path.dirname(BIN), "..", "config")]
            for _ in range(ROUNDS):
                mine.append(per_line([*ours, *config], log, empty))
                if peer:
                    theirs.append(per_line([peer, "--usedns", "raw"], log, empty))
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


def per_line(command: list[str], log: str, empty: str) -> float:
    """Return microseconds of CPU per line, the start of the program taken off."""
    return (cpu([*command, log, "sshd"]) - cpu([*command, empty, "sshd"])) / LINES * 1e6


def cpu(command: list[str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
