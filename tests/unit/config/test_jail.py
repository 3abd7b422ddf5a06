"""Tests of banguard.config.jail beyond those of whole directories in test_build."""

from __future__ import annotations

from pathlib import Path

import pytest

from banguard.config import load
from banguard.config.schema import JailConfig


@pytest.fixture
def jail(tmp_path: Path):
    (tmp_path / "banguard.conf").touch()
    (tmp_path / "filter.d").mkdir()
    (tmp_path / "filter.d/x.conf").write_text("[Definition]\nfailregex = ^<HOST>$\n")

    def read(text: str) -> JailConfig:
        (tmp_path / "jail.conf").write_text(f"[x]\nenabled = true\nfilter = x\nlogpath = /x\n{text}\n")
        config = load(str(tmp_path))
        assert () == config.errors
        return config.jails["x"]

    return read


@pytest.mark.parametrize(
    ("text", "field", "expected"),
    [
        ("", "maxretry", 3),
        ("", "findtime", 600.0),
        ("FINDTIME = 1d 12h", "findtime", 129600.0),
        ("bantime = -1", "bantime", -1),
        ("bantime = 0.5h", "bantime", 1800),
        ("usedns = raw", "usedns", "raw"),
        ("ignorecommand = /bin/x <ip>", "ignorecommand", "/bin/x <ip>"),
        ("logtimezone = UTC+0200", "logtimezone", "UTC+0200"),
        ("backend = systemd[journalflags=1]", "backend", "systemd"),
        ("maxmatches = %(maxretry)s\nmaxretry = 7", "maxmatches", 7),
        ("ignoreip = %(fail2ban_confpath)s", "ignoreip", None),
    ],
)
def test_options(jail, tmp_path: Path, text: str, field: str, expected: object) -> None:
    """Each option reaches its field; what no file names has its default."""
    assert (expected if expected is not None else (str(tmp_path),)) == getattr(jail(text), field)


def test_growing_ban_times(jail) -> None:
    """The options `bantime.…` are gathered."""
    found = jail(
        "bantime.increment = true\nbantime.factor = 2.0 / 4\nbantime.multipliers = 1 2 4\nbantime.maxtime = 5w\n"
        "bantime.rndtime = 10m\nbantime.overalljails = no"
    ).increment
    assert (True, 0.5, (1, 2, 4), 3024000, 600, False) == (
        found.enabled,
        found.factor,
        found.multipliers,
        found.maxtime,
        found.rndtime,
        found.overalljails,
    )


def test_options_of_the_backend(jail) -> None:
    """What stands in brackets behind the backend is kept for the source."""
    assert {"journalflags": "1"} == dict(jail("backend = systemd[journalflags=1]").backend_options)


def test_a_jail_without_a_filter(jail) -> None:
    """Is there for bans by hand."""
    assert () == jail("[y]\nenabled = true\nfilter =").filter.ignoreregex
