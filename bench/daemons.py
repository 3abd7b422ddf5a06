"""Run banguard's server, and fail2ban's, in private directories, and see what they cost."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

BIN = os.path.dirname(sys.executable)
CHECKOUT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TICK = os.sysconf("SC_CLK_TCK")
PEER = shutil.which("fail2ban-server")
# fail2ban's filters where they are installed, so that both do the same work.
FILTERS = "/etc/fail2ban" if PEER else os.path.join(CHECKOUT, "config")


def site(
    directory: str,
    jails: dict[str, str],
    *,
    action: str = "",
    maxretry: int = 1_000_000,
    backend: str = "auto",
    database: str = "None",
) -> str:
    """Make a configuration directory: *jails* maps names to the text of their options. Return its path."""
    path = os.path.join(directory, "site")
    os.makedirs(path)
    for part in ("filter.d", "action.d"):
        os.symlink(os.path.join(FILTERS, part), os.path.join(path, part))
    with open(os.path.join(path, "fail2ban.conf"), "w") as file:
        dbfile = database if database == "None" else os.path.join(directory, database)
        settings = f"loglevel = ERROR\ndbfile = {dbfile}\ndbpurgeage = 1d\ndbmaxmatches = 10\n"
        file.write(f"[DEFAULT]\n{settings}[Definition]\n{settings}")
    with open(os.path.join(path, "jail.conf"), "w") as file:
        file.write(
            f"[DEFAULT]\nenabled = true\nbackend = {backend}\nusedns = no\nignoreself = false\nmaxretry = {maxretry}\n"
            f"findtime = 1h\nbantime = 1h\nmaxmatches = 0\n{action}\n"
        )
        file.writelines(f"[{name}]\n{options}\n" for name, options in jails.items())
    return path


@contextlib.contextmanager
def server(directory: str, config: str, *, peer: bool = False, around: tuple[str, ...] = ()) -> Iterator[int]:
    """Run a server with *config*; yields its process id once it is ready. *around* is put before the command line."""
    name = "peer" if peer else "ours"
    names = {each: os.path.join(directory, f"{name}.{each}") for each in ("sock", "pid", "out", "state")}
    program = PEER if peer else os.path.join(BIN, "banguard-server")
    command = [program, "-c", config, "-s", names["sock"], "-p", names["pid"], "--logtarget", names["out"], "-f"]
    if peer:
        command += ["-x", "start"]
    environment = {**os.environ, "STATE_DIRECTORY": names["state"]}
    process = subprocess.Popen(
        [*around, *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.STDOUT,
        env=environment,
    )
    try:
        deadline = time.monotonic() + 60
        while not os.path.exists(names["pid"]) or not os.path.exists(names["sock"]):
            assert process.poll() is None, f"{program} ended"
            assert time.monotonic() < deadline, f"{program} does not start"
            time.sleep(0.05)
        with open(names["pid"]) as file:
            pid = int(file.read())
        settle(pid)
        yield pid
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def cpu(pid: int) -> float:
    """Return the seconds of processor time that a process has used."""
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def resident(pid: int) -> float:
    """Return the resident memory of a process, in MB."""
    with open(f"/proc/{pid}/status") as file:
        return int(re.search(r"VmRSS:\s+(\d+)", file.read())[1]) / 1024


def settle(pid: int, quiet: float = 1.5) -> float:
    """Wait until a process has used no time for *quiet* seconds (but a tick or two); return its time."""
    used, since = cpu(pid), time.monotonic()
    while time.monotonic() - since < quiet:
        time.sleep(0.1)
        now = cpu(pid)
        if now > used + 2.5 / TICK:
            used, since = now, time.monotonic()
    return cpu(pid)


def cost(pid: int, log: str, text: bytes) -> float:
    """Append *text* to *log* in pieces, as programs do, and return the processor time that a server needs for it."""
    before = settle(pid)
    with open(log, "ab", buffering=0) as file:
        file.writelines(text[at : at + (1 << 20)] for at in range(0, len(text), 1 << 20))
    return settle(pid) - before
