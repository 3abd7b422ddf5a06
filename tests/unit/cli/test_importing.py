"""Tests of banguard.cli.importing."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import pytest

from banguard.cli.importing import import_bans
from banguard.control.protocol import Reply


@pytest.fixture
def path(tmp_path: Path) -> str:
    connection = sqlite3.connect(tmp_path / "f")
    connection.execute("CREATE TABLE bips(ip, jail, timeofban, bantime, bancount, data)")
    rows = [(f"198.51.{number // 250}.{number % 250}", "sshd", 1000, -1, 1, None) for number in range(1200)]
    connection.executemany("INSERT INTO bips VALUES(?, ?, ?, ?, ?, ?)", [*rows, ("192.0.2.1", "old", 1, 1, 1, "{}")])
    connection.commit()
    connection.close()
    return str(tmp_path / "f")


def test_bans_go_to_their_jails_in_portions(path: str) -> None:
    """Every ban is sent once, to the jail of its name; the numbers add up."""
    sent: dict[str, list[str]] = {}

    def ask(words: Sequence[str], patience: float) -> Reply:
        rows = json.loads(words[3])
        sent.setdefault(words[1], []).extend(row["host"] for row in rows)
        return Reply(len(rows))

    reply = import_bans(path, ask, 5.0)
    assert {"jails": {"old": {"found": 1, "in_force": 1}, "sshd": {"found": 1200, "in_force": 1200}}} == reply.value
    assert 1200 == len(set(sent["sshd"]))


def test_a_jail_that_does_not_run_is_named_and_the_others_are_done(path: str) -> None:
    """The refusal says which jail is missing, how many bans it had, and what was taken over."""

    def ask(words: Sequence[str], patience: float) -> Reply:
        return Reply(error="no such jail", status=1) if words[1] == "old" else Reply(len(json.loads(words[3])))

    reply = import_bans(path, ask, 5.0)
    assert 1 == reply.status
    assert "old: 1 bans not taken over: no such jail" in reply.error
    assert "sshd 1200" in reply.error
