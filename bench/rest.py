"""What a server costs that has nothing to do: wake-ups per second with 20 jails, and memory with one."""

from __future__ import annotations

import glob
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time

import daemons
import site_of_jails

SECONDS = 20.0
BIN = os.path.dirname(sys.executable)


def run():
    for backend in ("pyinotify", "polling"):
        switches, _ = measure(20, backend)
        yield {"what": f"20 jails at rest, {backend}", "ours": switches, "unit": "wake-ups/s"}
    yield from at_rest()


def at_rest():
    """Yield the memory of a server with one sshd jail and a database, and how long the client takes."""
    with tempfile.TemporaryDirectory() as directory:
        log = os.path.join(directory, "auth.log")
        open(log, "w").close()
        config = daemons.site(directory, {"sshd": f"filter = sshd\nlogpath = {log}"}, database="db.sqlite3")
        with daemons.server(directory, config) as pid:
            row = {"what": "one sshd jail at rest, resident memory", "ours": daemons.resident(pid), "unit": "MB"}
            times = []
            for _ in range(9):
                began = time.perf_counter()
                client = [os.path.join(BIN, "banguard-client"), "-s", os.path.join(directory, "ours.sock"), "ping"]
                subprocess.run(client, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True)
                times.append((time.perf_counter() - began) * 1000)
        if daemons.PEER:
            with daemons.server(directory, config, peer=True) as pid:
                row |= {"peer": "fail2ban-server", "theirs": daemons.resident(pid)}
                row["ratio"] = row["theirs"] / row["ours"]
        yield row
        yield {"what": "banguard-client ping, start to end", "ours": statistics.median(times), "unit": "ms"}


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
