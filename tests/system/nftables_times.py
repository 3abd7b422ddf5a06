"""
Measure the nftables action in the network it is run in; prints one JSON object of seconds.

The whole way is measured, from `Dispatcher.emit` until the worker has nothing left to do and the kernel has the bans.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time

from banguard.actions import Dispatcher
from banguard.clock import SystemClock
from banguard.config.schema import ActionConfig, ActionKind
from banguard.model import Ban, BanChange, Change

CLOCK = SystemClock()


def bans(number: int, base: int) -> list[Ban]:
    now = CLOCK.now()
    return [Ban("sshd", f"{base}.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}", now, now + 3600) for n in range(number)]


def finish(dispatcher: Dispatcher, number: int) -> None:
    assert dispatcher.wait(60)
    assert number == len(dispatcher.stats("sshd")["nft"].applied)


def main() -> None:
    config = ActionConfig(
        "nft", "nftables", kind=ActionKind.NATIVE, native="nftables", properties={"name": "sshd", "port": "ssh"}
    )
    found: dict[str, float] = {}

    def timed(name: str, work, number: int) -> None:
        began = time.perf_counter()
        work()
        finish(dispatcher, number)
        found[name] = round(time.perf_counter() - began, 4)

    dispatcher = Dispatcher(clock=CLOCK, check_every=None)
    timed("restore_20000", lambda: dispatcher.attach("sshd", [config], bans(20_000, 10)), 20_000)
    changes = [BanChange(Change.BAN, ban) for ban in bans(10_000, 11)]
    timed("ban_10000", lambda: [dispatcher.emit(change) for change in changes], 30_000)
    changes = [BanChange(Change.BAN, ban) for ban in bans(20_000, 12)]
    timed("ban_20000", lambda: [dispatcher.emit(change) for change in changes], 50_000)
    singles = []
    for number, ban in enumerate(bans(20, 13), 1):
        began = time.perf_counter()
        dispatcher.emit(BanChange(Change.BAN, ban))
        while not dispatcher.is_enforced(ban):
            time.sleep(0.0002)
        singles.append(time.perf_counter() - began)
        finish(dispatcher, 50_000 + number)
    found["single_of_50000"] = round(sorted(singles)[10], 4)
    subprocess.run(["nft", "flush", "ruleset"], check=True)
    dispatcher.check()
    began = time.perf_counter()
    while subprocess.run(["nft", "-c", "flush chain inet banguard ban-sshd"], capture_output=True).returncode:
        time.sleep(0.001)
    found["rebuild_50020"] = round(time.perf_counter() - began, 4)
    dispatcher.wait(20)
    began = time.perf_counter()
    dispatcher.check()
    dispatcher.wait(20)
    found["check_with_50020"] = round(time.perf_counter() - began, 4)
    began = time.perf_counter()
    assert dispatcher.stop()
    found["stop_with_50020"] = round(time.perf_counter() - began, 4)
    dispatcher = Dispatcher(clock=CLOCK, check_every=None)
    dispatcher.attach("sshd", [config])
    dispatcher.wait(10)
    singles = []
    for ban in bans(20, 14):
        began = time.perf_counter()
        dispatcher.emit(BanChange(Change.BAN, ban))
        while not dispatcher.is_enforced(ban):
            time.sleep(0.0002)
        singles.append(time.perf_counter() - began)
    found["single"] = round(sorted(singles)[10], 4)
    assert dispatcher.stop()
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
