"""Tests of banguard.bans.foreign."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from banguard.bans.foreign import read_bans
from banguard.errors import StoreError
from banguard.model import Ban, Origin


def database(path: Path, *rows: tuple[object, ...]) -> str:
    """Make a database of the documented shape."""
    connection = sqlite3.connect(path)
    connection.execute(
        "CREATE TABLE bips(ip TEXT NOT NULL, jail TEXT NOT NULL, timeofban INTEGER NOT NULL, bantime INTEGER NOT NULL,"
        " bancount INTEGER NOT NULL DEFAULT 1, data JSON, PRIMARY KEY(ip, jail))"
    )
    connection.executemany("INSERT INTO bips VALUES(?, ?, ?, ?, ?, ?)", rows)
    connection.commit()
    connection.close()
    return str(path)


def test_a_row_becomes_a_ban(tmp_path: Path) -> None:
    """Address, jail, begin, end, count, failures and lines are taken over; a negative length means for ever."""
    data = json.dumps({"failures": 7, "matches": ["one", ["Nov 20 ", "22:27:27", " two"]], "ip4": "192.0.2.1"})
    path = database(
        tmp_path / "f.sqlite3",
        ("192.0.2.1", "sshd", 1000, 600, 3, data),
        ("2001:DB8:0::1", "sshd", 1000, -1, 1, None),
    )
    first, second = read_bans(path)
    assert Ban("sshd", "192.0.2.1", 1000.0, 1600.0, 3, Origin.RESTORED, 7, ("one", "Nov 20 22:27:27 two")) == first
    assert ("2001:db8::1", None) == (second.host, second.until)


@pytest.mark.parametrize("data", ["{broken", "[]", "7", '{"matches": 3, "failures": "x"}', b"\xff"])
def test_odd_data_does_not_lose_the_ban(tmp_path: Path, data: object) -> None:
    """The ban counts even when what is remembered beside it cannot be read."""
    path = database(tmp_path / "f.sqlite3", ("192.0.2.1", "sshd", 1000, 600, 1, data))
    assert [("192.0.2.1", 0, ())] == [(ban.host, ban.failures, ban.matches) for ban in read_bans(path)]


def test_rows_that_make_no_sense_are_left_out(tmp_path: Path) -> None:
    """A row without a time or an address is no ban."""
    path = database(tmp_path / "f.sqlite3", ("", "sshd", 1, 1, 1, None), ("192.0.2.1", "sshd", "soon", 1, 1, None))
    assert [] == read_bans(path)


def test_another_file_is_refused(tmp_path: Path) -> None:
    """The error names the file, whether it is missing, no database, or another database; nothing is made."""
    with pytest.raises(StoreError, match="none.sqlite3"):
        read_bans(str(tmp_path / "none.sqlite3"))
    assert not (tmp_path / "none.sqlite3").exists()
    (tmp_path / "text").write_text("no database\n" * 100)
    with pytest.raises(StoreError, match="text"):
        read_bans(str(tmp_path / "text"))
    sqlite3.connect(tmp_path / "other").close()
    with pytest.raises(StoreError, match="other"):
        read_bans(str(tmp_path / "other"))
