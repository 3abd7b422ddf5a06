"""From a line written to a log until the jail has the failure, with inotify and with polling."""

from __future__ import annotations

import os
import statistics
import tempfile
import threading
import time

import site_of_jails

from banguard.clock import SystemClock
from banguard.config import load
from banguard.daemon.app import App
from banguard.daemon.logsetup import LogSetup
from banguard.model import Fact, FailureFound

LINES = 200


def run():
    for backend in ("pyinotify", "polling"):
        times = sorted(measure(backend))
        yield {
            "what": f"line in the log until the jail has the failure, {backend}",
            "ours": statistics.median(times) * 1000,
            "unit": "ms median",
            "note": f"99th percentile {times[int(len(times) * 0.99)] * 1000:.1f} ms",
        }


def measure(backend: str) -> list[float]:
    with tempfile.TemporaryDirectory() as directory:
        site_of_jails.make(directory, jails=1, backend=backend)
        found = threading.Event()
        log = LogSetup()
        log.change("CRITICAL", "STDERR")
        overrides = {"dbfile": os.path.join(directory, "db")}
        app = App(load(directory, overrides=overrides), clock=SystemClock(), log=log, on_stop=found.set)

        def hear(fact: Fact) -> None:
            if isinstance(fact, FailureFound):
                found.set()

        app.bus.subscribe(hear)
        app.start()
        time.sleep(1.0)
        times = []
        with open(os.path.join(directory, "log0"), "ab", buffering=0) as file:
            for number in range(LINES):
                found.clear()
                line = f"{time.time():.3f} bad 198.51.{number // 250}.{number % 250 + 1}\n".encode()
                began = time.perf_counter()
                file.write(line)
                assert found.wait(10), "the line was not found"
                times.append(time.perf_counter() - began)
                time.sleep(0.02)
        app.shut_down()
        log.close()
        return times
