"""Tests of banguard.config.server."""

from __future__ import annotations

from pathlib import Path

import pytest

from banguard.config import load_server
from banguard.config.server import is_fail2ban
from banguard.errors import ConfigError


def test_banguard_conf_is_taken_as_it_is(tmp_path: Path) -> None:
    """Values of the files, those of the command line over them."""
    (tmp_path / "banguard.conf").write_text("[Definition]\nloglevel = debug\ndbfile = /x/db\ndbpurgeage = 2d\n")
    (tmp_path / "banguard.local").write_text("[Definition]\nlogtarget = /x/log\n")
    server = load_server(str(tmp_path), overrides={"socket": "/x/sock"})
    assert ("DEBUG", "/x/db", 172800, "/x/log", "/x/sock") == (
        server.loglevel.upper(),
        server.dbfile,
        server.dbpurgeage,
        server.logtarget,
        server.socket,
    )
    assert not server.stands_for


def test_of_fail2ban_conf_no_file_is_shared(tmp_path: Path) -> None:
    """Levels and limits are taken over; socket, pid file, log and database are never those of fail2ban."""
    theirs = {"socket": "/run/f/s", "pidfile": "/run/f/p", "logtarget": "/var/log/f.log", "dbfile": "/var/lib/f/db"}
    lines = "".join(f"{name} = {path}\n" for name, path in theirs.items())
    (tmp_path / "fail2ban.conf").write_text(f"[Definition]\n{lines}loglevel = WARNING\ndbmaxmatches = 3\n")
    server = load_server(str(tmp_path))
    assert is_fail2ban(str(tmp_path))
    assert ("WARNING", 3) == (server.loglevel, server.dbmaxmatches)
    for name, path in theirs.items():
        assert path != getattr(server, name)
    assert "/var/log/f.log" == server.stands_for


def test_places_that_the_service_manager_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """RUNTIME_DIRECTORY, STATE_DIRECTORY and BANGUARD_SOCKET decide the defaults."""
    monkeypatch.setenv("RUNTIME_DIRECTORY", "/run/r:/run/other")
    monkeypatch.setenv("STATE_DIRECTORY", "/var/s")
    monkeypatch.delenv("BANGUARD_SOCKET", raising=False)
    server = load_server(str(tmp_path))
    assert ("/run/r/banguard.sock", "/run/r/banguard.pid", "/var/s/banguard.sqlite3") == (
        server.socket,
        server.pidfile,
        server.dbfile,
    )
    monkeypatch.setenv("BANGUARD_SOCKET", "/x/s")
    assert "/x/s" == load_server(str(tmp_path)).socket


def test_a_directory_that_is_not_there() -> None:
    """Is an error that names it."""
    with pytest.raises(ConfigError, match="nowhere"):
        load_server("/nowhere/at/all")
