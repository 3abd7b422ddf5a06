"""Tests of banguard.control.commands_explain."""

from __future__ import annotations

import pytest

from banguard.control import commands
from banguard.control.table import Context
from banguard.errors import ControlError
from support.memory_server import MemoryServer


@pytest.fixture
def context(clock):
    return Context(MemoryServer(clock).with_jail("sshd").with_jail("other"), lambda _: None)


def test_a_line_is_explained_by_one_jail_or_by_all(context):
    """One explanation per jail, as plain values."""
    reply = commands.execute(context, ["explain", "bad 192.0.2.1", "sshd"])
    assert ["sshd"] == [jail["jail"] for jail in reply.value["jails"]]
    assert "failure" == reply.value["jails"][0]["verdict"]
    assert "192.0.2.1" == reply.value["jails"][0]["hosts"][0]["id"]
    reply = commands.execute(context, ["explain", "bad 192.0.2.1"])
    assert {"sshd", "other"} == {jail["jail"] for jail in reply.value["jails"]}


def test_an_unknown_jail_is_refused(context):
    """As by every other command."""
    with pytest.raises(ControlError, match="does not exist"):
        commands.execute(context, ["explain", "bad 192.0.2.1", "nope"])


def test_the_history_of_a_host_tells_each_ban(context):
    """With jail, times, count, failures, and whether it is in force."""
    context.api.put_ban("sshd", "192.0.2.1", failures=4, count=2)
    (ban,) = commands.execute(context, ["history", "192.0.2.1"]).value["bans"]
    assert ("sshd", 4, 2, True, None) == (ban["jail"], ban["failures"], ban["count"], ban["active"], ban["ended"])
    assert [] == commands.execute(context, ["history", "192.0.2.2"]).value["bans"]


def test_why_takes_one_address_and_how_long_to_look(context):
    """In canonical form; other words are refused."""
    asked = []
    context.api.why = lambda host, watch: asked.append((host, watch)) or {"host": host}
    assert "why" == commands.execute(context, ["why", "::ffff:192.0.2.1"]).kind
    commands.execute(context, ["why", "--watch", "5s", "192.0.2.1"])
    assert [("192.0.2.1", 2.0), ("192.0.2.1", 5.0)] == asked
    for words in (["why", "--watch"], ["why", "a", "b"], ["why", "--watch", "5"]):
        with pytest.raises(ControlError):
            commands.execute(context, words)


def test_a_self_test_is_of_one_jail(context):
    """With a line of one's own if need be; other words are refused."""
    reply = commands.execute(context, ["self-test", "--line", "x y", "--write-log", "sshd"])
    assert ("self_test", "x y", True) == (reply.kind, reply.value["line"], reply.value["passed"])
    for words in (["self-test", "--line"], ["self-test", "sshd", "other"], ["self-test", "nope"]):
        with pytest.raises(ControlError):
            commands.execute(context, words)
