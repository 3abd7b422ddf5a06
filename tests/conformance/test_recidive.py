"""A stock recidive jail, run from fail2ban's own files, finds the bans in banguard's log."""

from __future__ import annotations

import os
import shutil

import pytest

from banguard.clock import SystemClock
from banguard.config import load
from banguard.daemon.app import App
from banguard.daemon.logsetup import LogSetup
from support.machine import eventually

INSTALLED = "/etc/fail2ban"

pytestmark = pytest.mark.skipif(
    not os.path.exists(f"{INSTALLED}/filter.d/recidive.conf"),
    reason="fail2ban is not installed: no files of its to run",
)


def test_hosts_that_come_back_are_banned_by_the_stock_jail(tmp_path):
    """Bans by one jail are counted by `recidive`, whose logpath still says fail2ban.log."""
    directory = tmp_path / "fail2ban"
    shutil.copytree(INSTALLED, directory)
    shutil.rmtree(directory / "jail.d")
    (directory / "action.d" / "nothing.conf").write_text("[Definition]\nactionban = true\nactionunban = true\n")
    (directory / "jail.local").write_text(
        "[DEFAULT]\naction = nothing\nbackend = polling\nignoreself = no\n"
        "[manual]\nenabled = true\nfilter =\n"
        "[recidive]\nenabled = true\nmaxretry = 2\n"
    )
    overrides = {"dbfile": "None", "logtarget": str(tmp_path / "banguard.log")}
    config = load(str(directory), overrides=overrides)
    log = LogSetup("fail2ban")
    log.change("INFO", str(tmp_path / "banguard.log"))
    app = App(config, clock=SystemClock(), log=log, on_stop=lambda: None, overrides=overrides)
    try:
        assert () == app.start()
        for _ in range(2):
            app.ban("manual", ["192.0.2.1"])
            app.unban("manual", ["192.0.2.1"])
        eventually(lambda: [held.ban.host for held in app.jail("recidive").bans] == ["192.0.2.1"])
    finally:
        app.shut_down()
        log.close()
