"""A configuration directory, and the parts of a server in this process."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from banguard.clock import SystemClock
from banguard.config import load
from banguard.daemon.app import App
from banguard.daemon.logsetup import LogSetup

RECORD = """
[Definition]
actionstart = echo start >> <out>
actionban = echo ban <ip> <bancount> >> <out>
actionunban = echo unban <ip> >> <out>
actionflush = echo flush >> <out>
actionstop = echo stop >> <out>
[Init]
out = {directory}/record
"""

PROBE = """
[Definition]
failregex = ^\\s*bad <HOST>$
datepattern = {EPOCH}
"""

JAIL = """
[DEFAULT]
backend = polling
filter = probe
action = record
maxretry = 2
ignoreself = false
[web]
enabled = true
logpath = %(fail2ban_confpath)s/web.log
"""


class Site:
    """A directory with a jail `web` that reads web.log, and the server in it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.stopped = threading.Event()
        self.write("action.d/record.conf", RECORD.format(directory=directory))
        self.write("filter.d/probe.conf", PROBE)
        self.write("jail.conf", JAIL)
        self.write("web.log", "")
        self.app: App | None = None

    def write(self, name: str, text: str) -> None:
        path = self.directory / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)

    def fail(self, host: str, times: int = 1, *, log: str = "web.log") -> None:
        now = SystemClock().now()
        with open(self.directory / log, "a") as file:
            file.write(f"{now:.0f} bad {host}\n" * times)

    def start(self) -> tuple[str, ...]:
        config = load(str(self.directory), overrides={"dbfile": str(self.directory / "db")})
        server = config.server
        assert str(self.directory / "db") == server.dbfile
        self.app = App(
            config,
            clock=SystemClock(),
            log=LogSetup(),
            on_stop=self.stopped.set,
            overrides={"dbfile": str(self.directory / "db")},
        )
        return self.app.start()

    def stop(self) -> None:
        if self.app is not None:
            self.app.shut_down()
            self.app = None

    def record(self) -> list[str]:
        path = self.directory / "record"
        return path.read_text().splitlines() if path.exists() else []

    def banned(self, jail: str = "web") -> list[str]:
        return [held.ban.host for held in self.app.jail(jail).bans]


@pytest.fixture
def site(tmp_path: Path):
    made = Site(tmp_path)
    yield made
    made.stop()


@pytest.fixture
def await_() -> Callable[..., None]:
    """Wait until something is so; fail when it does not come."""

    def wait(check: Callable[[], object], within: float = 15.0) -> None:
        clock, pause = SystemClock(), threading.Event()
        end = clock.monotonic() + within
        while not check():
            assert clock.monotonic() < end, "it did not come about"
            pause.wait(0.02)

    return wait


assert os.path.exists("/bin/sh")
