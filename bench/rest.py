"""What a server costs that has nothing to do: wake-ups per second with 20 jails, and memory with one."""

from __future__ import annotations

import glob
import os
import re
import subprocess
import sys
import tempfile
import time

import site_of_jails

SECONDS = 20.0
BIN = os.path.dirname(sys.executable)


def run():
    for backend in ("pyinotify", "polling"):
        switches, _ = measure(20, backend)
        yield {"what": f"20 jails at rest, {backend}", "ours": switches, "unit": "wake-ups/s"}
    _, resident = measure(1, "pyinotify", seconds=3.0)
    yield {"what": "one jail at rest, resident memory", "ours": resident, "unit": "MB"}


def measure(jails: int, backend: str, seconds: float = SECONDS) -> tuple[float, float]:
    with tempfile.TemporaryDirectory() as directory:
        site_of_jails.make(directory, jails=jails, backend=backend)
        names = {name: os.path.join(directory, name) for name in ("sock", "pid", "out", "state")}
        command = [os.path.join(BIN, "banguard-server"), "-c", directory, "-s", names["sock"], "-p", names["pid"]]
        environment = {**os.environ, "STATE_DIRECTORY": names["state"]}
        server = subprocess.Popen(
            [*command, "--logtarget", names["out"], "-f"], stdin=subprocess.DEVNULL, env=environment
        )
        try:
            while "Server ready" not in read(names["out"]):
                assert server.poll() is None
                time.sleep(0.1)
            time.sleep(3.0)
            before, began = switches(server.pid), time.perf_counter()
            time.sleep(seconds)
            rate = (switches(server.pid) - before) / (time.perf_counter() - began)
            with open(f"/proc/{server.pid}/status") as file:
                resident = int(re.search(r"VmRSS:\s+(\d+)", file.read())[1]) / 1024
        finally:
            server.terminate()
            server.wait(30)
        return rate, resident


def read(path: str) -> str:
    try:
        with open(path) as file:
            return file.read()
    except FileNotFoundError:
        return ""


def switches(pid: int) -> int:
    """Return how often the threads of a process went to sleep or were put aside, all told."""
    total = 0
    for path in glob.glob(f"/proc/{pid}/task/*/status"):
        with open(path) as file:
            total += sum(int(number) for number in re.findall(r"ctxt_switches:\s+(\d+)", file.read()))
    return total
