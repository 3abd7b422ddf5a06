"""
The real server under attack, killed and reloaded again and again: no ban, no failure and no thread is lost.

Short here; in full with BANGUARD_KILLS=200, BANGUARD_RELOADS=500 and BANGUARD_FLOOD=5000000 in the environment.
"""

from __future__ import annotations

import glob
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter

import pytest

from support.machine import dying, eventually

KILLS = int(os.environ.get("BANGUARD_KILLS", "5"))
RELOADS = int(os.environ.get("BANGUARD_RELOADS", "12"))
FLOOD = int(os.environ.get("BANGUARD_FLOOD", "60000"))
SEED = int(os.environ.get("BANGUARD_TORTURE_SEED", "0"))
BIN = os.path.dirname(sys.executable)
HOUR = 3600.0
FAKETIME = next(iter(glob.glob("/usr/lib/*/faketime/libfaketime.so.1")), "")

pytestmark = pytest.mark.timeout(120 + 4 * KILLS + 3 * RELOADS + FLOOD // 4000)


def address(number: int) -> str:
    return f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


class Site:
    """A configuration, logs, and the server on them; no firewall, for what is kept is what is asked about."""

    def __init__(self, directory) -> None:
        self.directory = directory
        self.config = directory / "config"
        self.short = tempfile.mkdtemp(prefix="bg-", dir="/tmp")
        self.socket = os.path.join(self.short, "s")
        self.server_log = directory / "banguard.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.shift = 0.0
        for folder in ("filter.d", "action.d"):
            (self.config / folder).mkdir(parents=True)
        (self.config / "banguard.conf").write_text(
            f"[Definition]\ndbfile = {directory}/bans.sqlite3\nlogtarget = {self.server_log}\n"
        )
        (self.config / "filter.d" / "app.conf").write_text("[Definition]\nfailregex = ^ failed <ADDR>$\n")
        (self.config / "action.d" / "none.conf").write_text("[Definition]\nnative = null\n")
        self.jails({"app": 3})

    def log(self, jail: str) -> str:
        return str(self.directory / f"{jail}.log")

    def jails(self, maxretry: dict[str, int], more: str = "") -> None:
        """Write the jails, each with its log and its maxretry."""
        parts = [
            "[DEFAULT]\nfilter = app\naction = none\nbantime = 1w\nfindtime = 1d\nenabled = true\nbackend = inotify"
        ]
        for name, retries in maxretry.items():
            with open(self.log(name), "a", encoding="ascii"):
                pass
            parts.append(f"[{name}]\nlogpath = {self.log(name)}\nmaxretry = {retries}\n{more}")
        path = self.config / "jail.conf"
        path.with_suffix(".new").write_text("\n".join(parts) + "\n")
        path.with_suffix(".new").rename(path)

    def start(self, shift: float = 0.0) -> None:
        """Start the server with its clock set *shift* seconds ahead."""
        self.shift = shift
        environ = dict(os.environ)
        if shift:
            environ.update(LD_PRELOAD=FAKETIME, FAKETIME=f"{shift:+.0f}s", DONT_FAKE_MONOTONIC="1")
        argv = [os.path.join(BIN, "banguard-server"), "-c", str(self.config), "-s", self.socket]
        argv += ["-p", str(self.directory / "pid"), "-f", "start"]
        with open(self.directory / "output", "ab") as output:
            self.process = subprocess.Popen(
                dying(*argv), stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environ
            )

        def is_ready() -> bool:
            status = self.ask("status", check=False)
            return status is not None and "app" in status["jails"]

        eventually(is_ready, what="the server runs its jails", within=30)

    def ask(self, *words: str, check: bool = True):
        """Ask the server and return the reply as data."""
        assert self.process is not None
        assert self.process.poll() is None, (self.directory / "output").read_text()[-2000:]
        argv = [os.path.join(BIN, "banguard-client"), "--json", "-s", self.socket, *words]
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if done.returncode and not check:
            return None
        assert done.returncode == 0, (words, done.stdout, done.stderr)
        return json.loads(done.stdout)

    def fail(self, jail: str, hosts: list[str]) -> None:
        """Write a failure of each of *hosts*, stamped with the time the server believes it is."""
        now = time.time() + self.shift
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1000):03d}+00:00"
        with open(self.log(jail), "a", encoding="ascii") as file:
            file.write("".join(f"{stamp} failed {host}\n" for host in hosts))

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            assert self.process.wait(30) == 0

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.kill()
        shutil.rmtree(self.short, ignore_errors=True)

    def bans_logged(self, jail: str) -> list[str]:
        text = self.server_log.read_text(errors="replace") if self.server_log.exists() else ""
        return re.findall(rf"NOTICE +\[{jail}\] Ban (\S+)", text)

    def banned(self, jail: str) -> set[str]:
        return {ban["id"] for ban in self.ask("status", jail)["actions"]["banned"]}


@pytest.fixture
def site(tmp_path):
    made = Site(tmp_path)
    yield made
    made.close()


def test_kill_9(site, capsys):
    """Killed at any moment of an attack of 100 bans a second, whatever the clock says, the server forgets and doubles nothing."""
    chance = random.Random(SEED)
    shifts = [0.0, 0.0, HOUR, -HOUR] if FAKETIME else [0.0]
    next_host = 0
    expected: list[str] = []
    spared: list[str] = []
    site.start()
    for _ in range(KILLS):
        until = time.monotonic() + chance.uniform(0.05, 0.6)
        while time.monotonic() < until:  # about a hundred bans a second
            three = [address(next_host + index) for index in range(5)]
            two = address(next_host + 5)
            next_host += 6
            lines = three * 3 + [two] * 2
            chance.shuffle(lines)
            half = len(lines) // 2
            site.fail("app", lines[:half])
            time.sleep(chance.uniform(0.0, 0.04))
            site.fail("app", lines[half:])
            time.sleep(0.01)
            expected += three
            spared.append(two)
        site.kill()
        site.start(chance.choice(shifts))
        assert set(site.bans_logged("app")) <= site.banned("app"), "a ban that was logged is gone"
    eventually(
        lambda: set(expected) <= site.banned("app"), within=30, what="everybody who failed three times is banned"
    )
    assert set(expected) == site.banned("app"), "somebody was counted twice"
    twice = {host: number for host, number in Counter(site.bans_logged("app")).items() if number > 1}
    assert {} == twice, "a ban was begun twice"
    assert not site.banned("app") & set(spared)
    site.fail("app", spared)  # the third failure of each: their two of before still count
    eventually(lambda: set(spared) <= site.banned("app"), within=30, what="failures of before the kills count")
    with capsys.disabled():
        print(f"\n{KILLS} kills, {len(expected) + len(spared)} bans, clock steps: {bool(FAKETIME)}")


def test_reload_under_load(site, capsys):
    """While jails come, go and change at random, no line of those that stay is lost, no ban, and no thread is left over."""
    chance = random.Random(SEED)
    jails = {"app": 3, "other": 3}
    site.jails(jails)
    site.start()
    stop = threading.Event()
    written: list[str] = []

    def attack() -> None:
        number = 0
        while not stop.is_set():
            hosts = [address(number + index) for index in range(5)]
            number += 5
            for _ in range(3):
                site.fail("app", hosts)
            written.extend(hosts)
            stop.wait(0.02)

    def threads() -> int:
        assert site.process is not None
        return len(os.listdir(f"/proc/{site.process.pid}/task"))

    site.ask("ping")
    before = threads()
    thread = threading.Thread(target=attack)
    thread.start()
    try:
        for _ in range(RELOADS):
            changed = dict(jails)
            for name in ("red", "green", "blue"):
                if chance.random() < 0.5:
                    changed[name] = chance.randint(1, 9)
            changed["other"] = chance.randint(1, 9)
            site.jails(changed, more=chance.choice(["", "usedns = no", "bantime.increment = true", "maxmatches = 2"]))
            site.ask("reload")
            assert set(changed) == set(site.ask("status")["jails"])
    finally:
        stop.set()
        thread.join()
    site.jails(jails)
    site.ask("reload")
    eventually(
        lambda: set(written) <= site.banned("app"), within=60, what="every host that failed three times is banned"
    )
    assert sorted(written) == sorted(site.bans_logged("app"))
    eventually(lambda: threads() <= before, what="no thread is left of jails that are gone")
    site.stop()
    assert "Traceback" not in site.server_log.read_text()
    with capsys.disabled():
        print(f"\n{RELOADS} reloads, {len(written)} bans")


def test_flood_of_addresses(site, capsys):
    """However many addresses fail once each, memory stays bounded, and the one that goes on failing is banned."""
    site.start()
    assert site.process is not None
    attacker = "192.0.2.66"
    for first in range(0, FLOOD, 50_000):
        count = min(50_000, FLOOD - first)
        hosts = [address(first + index) for index in range(count)]
        for share in (0, count // 4, count // 2):
            if first == 0:
                hosts.insert(share, attacker)
        site.fail("app", hosts)
        eventually(
            lambda total=first + count: site.ask("status", "app")["filter"]["total_failed"] >= total,
            within=120, what="the flood is counted",
        )  # fmt: skip
    assert attacker in site.banned("app")
    with open(f"/proc/{site.process.pid}/status", encoding="ascii") as file:
        peak = int(re.search(r"VmHWM:\s+(\d+) kB", file.read())[1]) // 1024
    with capsys.disabled():
        print(f"\n{FLOOD} addresses: at most {peak} MB")
    assert peak < 150
