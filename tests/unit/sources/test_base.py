from __future__ import annotations

import sys

import pytest

from banguard.errors import SourceError
from banguard.sources import SOURCES, open_source, resolve, source_name
from banguard.sources.base import no_date


@pytest.mark.parametrize(
    "word, expected",
    [
        ("polling", "polling"),
        ("PyInotify", "inotify"),
        ("inotify", "inotify"),
        (" systemd ", "journald"),
        ("journald", "journald"),
    ],
)
def test_names_of_backends(word, expected):
    """The words of the `backend` option, in any case, are names of the table."""
    assert expected == source_name(word)


def test_unknown_backend_is_refused():
    """An unknown word is refused, and the known ones are said."""
    with pytest.raises(SourceError, match="unknown backend 'gamin'; known are auto, polling"):
        resolve("gamin")


def test_auto_prefers_inotify():
    """`auto` is inotify where that works."""
    assert "inotify" == resolve("auto")
    assert "inotify" == resolve("auto", has_files=False)
    assert "inotify" == resolve("auto", has_files=True, has_journalmatch=True)


def test_auto_without_files_is_the_journal():
    """`auto` is the journal when there is no log file but a journalmatch."""
    pytest.importorskip("systemd.journal")
    assert "journald" == resolve("AUTO", has_files=False, has_journalmatch=True)


@pytest.fixture
def without(monkeypatch):
    """Make importing a module fail, as where its package is missing."""

    def hide(*names):
        for name in names:
            monkeypatch.setitem(sys.modules, name, None)

    return hide


def test_auto_without_pyinotify_is_polling(without):
    """`auto` falls back to polling, a backend that was asked for does not."""
    without("pyinotify")
    assert "polling" == resolve("auto")
    with pytest.raises(SourceError, match="apt-get install python3-pyinotify"):
        resolve("pyinotify")


def test_missing_journal_binding_is_named(without, monkeypatch):
    """Without the journal binding the message names the package and the extra."""
    without("systemd", "systemd.journal")
    monkeypatch.setattr("banguard.sources.journald._SYSTEM_PACKAGES", "/nonexistent")
    with pytest.raises(SourceError, match=r"apt-get install python3-systemd, or pip install 'banguard\[journal\]'"):
        resolve("systemd")
    with pytest.raises(SourceError, match="python3-systemd"):
        resolve("auto", has_files=False, has_journalmatch=True)


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_table_is_right(name, clock):
    """Every entry of the table is a source of that name."""
    if name == "journald":
        pytest.importorskip("systemd.journal")
    source = open_source(name, clock=clock, publish=lambda _fact: None)
    assert name == source.name
    assert () == source.files("nobody")
    assert () == source.snapshot()


def test_no_date_knows_none():
    """Without a date function no line has a date."""
    assert no_date("2026-11-20 10:00:00 anything") is None
