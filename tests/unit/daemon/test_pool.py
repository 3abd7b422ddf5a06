"""Tests of banguard.daemon.pool."""

from __future__ import annotations

from pathlib import Path

import pytest

from banguard.clock import SystemClock
from banguard.config import load
from banguard.config.schema import FilterConfig, JailConfig, LogPath
from banguard.daemon.pool import SourcePool, choose_name, has_files, with_journal_where_no_log
from banguard.errors import SourceError


@pytest.fixture
def pool():
    made = SourcePool(SystemClock(), lambda fact: None)
    yield made
    made.stop()


@pytest.fixture
def log(tmp_path: Path) -> LogPath:
    (tmp_path / "a.log").touch()
    return LogPath(str(tmp_path / "*.log"))


def test_jails_with_the_same_backend_share_a_source(pool: SourcePool, log: LogPath) -> None:
    """Two polling jails are served by one thread."""
    first = pool.choose(JailConfig("a", backend="polling", logpath=(log,)))
    second = pool.choose(JailConfig("b", backend="Polling", logpath=(log,)))
    assert "polling" == first[0]
    assert first == second


def test_a_jail_without_anything_to_read_has_no_source(pool: SourcePool) -> None:
    """A jail for bans by hand needs no log."""
    assert ("", None) == pool.choose(JailConfig("manual"))


def test_an_unknown_backend_is_refused(log: LogPath) -> None:
    """The error names the word and those that are known."""
    with pytest.raises(SourceError, match=r"gamin.*polling"):
        choose_name(JailConfig("a", backend="gamin", logpath=(log,)))


def test_a_glob_has_files_when_one_matches(log: LogPath, tmp_path: Path) -> None:
    """What is asked is whether there is anything to read now."""
    assert has_files(JailConfig("a", logpath=(LogPath(str(tmp_path / "x")), log)))
    assert not has_files(JailConfig("a", logpath=(LogPath(str(tmp_path / "x")),)))


@pytest.mark.parametrize(
    ("exists", "option", "backend", "logtype"),
    [
        (True, "", "auto", "file"),
        (False, "", "systemd", "journal"),
        (False, "systemd_if_nologs = false", "auto", "file"),
    ],
)
def test_the_journal_stands_in_for_a_log_that_is_not_there(
    tmp_path: Path, exists: bool, option: str, backend: str, logtype: str
) -> None:
    """With `auto`, a filter that knows the journal is read for the journal when there is no file."""
    pytest.importorskip("systemd.journal", reason="systemd-python is not installed")
    (tmp_path / "filter.d").mkdir()
    (tmp_path / "filter.d/x.conf").write_text("[Definition]\nfailregex = ^<HOST>$\njournalmatch = _COMM=x\n")
    (tmp_path / "jail.conf").write_text(f"[x]\nenabled = true\nfilter = x\nlogpath = {tmp_path}/x.log\n{option}\n")
    if exists:
        (tmp_path / "x.log").touch()
    config = with_journal_where_no_log(load(str(tmp_path)))
    assert (backend, logtype) == (config.jails["x"].backend, config.jails["x"].filter.logtype)


def test_a_filter_without_journalmatch_stays_with_its_file(tmp_path: Path) -> None:
    """Where nothing says what to look for in the journal, the log is waited for."""
    config = JailConfig("a", logpath=(LogPath(str(tmp_path / "x")),), filter=FilterConfig(failregex=("<HOST>",)))
    assert choose_name(config) in {"inotify", "polling"}
