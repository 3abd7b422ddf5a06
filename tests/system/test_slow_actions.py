"""Actions that sleep or hang: bans go on beside them, what hangs is ended at its deadline, and a stop is in order."""

from __future__ import annotations

import os
import time

from support.machine import eventually

HANG = """\
import time

class Action:
    deadline = 2

    def __init__(self, jail, name):
        pass

    def ban(self, info):
        time.sleep(600)
"""


def sleeping(number):
    """Return the processes that sleep so long."""
    found = []
    for entry in filter(str.isdecimal, os.listdir("/proc")):
        try:
            with open(f"/proc/{entry}/cmdline", "rb") as file:
                if file.read() == f"sleep\0{number}\0".encode():
                    found.append(entry)
        except OSError:
            continue
    return found


def test_bans_beside_actions_that_sleep_600_seconds(machine, banguard, tmp_path):
    """In the same jail and in another; command and Python; the whole group of a command is killed."""
    number = f"600.{os.getpid()}"
    server = banguard(machine)
    log = tmp_path / "app.log"
    log.touch()
    server.write("action.d/nap.conf", f"[Definition]\nactionban = sleep {number} & sleep {number}; wait\n")
    server.write("action.d/hang.py", HANG)
    server.write(
        "jail.local",
        f"""[DEFAULT]
filter =
failregex = ^ bad <HOST>$
logpath = {log}
maxretry = 1
[slow]
enabled = true
action = nap[timeout=4]
         hang.py
         nftables[type=allports]
[other]
enabled = true
action = nftables[type=allports]
""",
    )
    server.start(jails=["slow", "other"])

    def bad(host):
        with open(log, "a", encoding="ascii") as file:
            file.write(time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime()) + f" bad {host}\n")

    for last in (1, 2, 3):
        bad(f"192.0.2.{last}")
        for jail in ("slow", "other"):
            server.await_ban(jail, f"192.0.2.{last}", within=3)
    assert 2 == len(sleeping(number))  # the first is still at it
    server.await_log("timed out after 4")
    server.await_log("Failed to execute ban jail 'slow' action 'hang' info '192.0.2.1': ban: no end within 2 s")
    eventually(lambda: len(sleeping(number)) <= 2, what="what hung is gone, the next has begun")
    bad("192.0.2.4")
    server.await_ban("slow", "192.0.2.4", within=3)
    began = time.monotonic()
    server.stop()
    assert time.monotonic() - began < 12
    eventually(lambda: not sleeping(number), what="nothing sleeps on")
    assert "" == machine.run("nft", "list", "tables").stdout
    assert "Exiting banguard" in server.read_log()
    assert "Traceback" not in server.read_log()
