"""Tests of banguard.actions.iptables: what is written for which step; the real programs are tried in tests/contracts."""

from __future__ import annotations

import pytest

from banguard.actions.base import Step
from banguard.actions.iptables import IptablesAction
from banguard.errors import ActionError
from banguard.model import Ban
from banguard.run import Finished


def ban(host, until=1600.0):
    return Ban("web", host, 1000.0, until)


@pytest.fixture
def made():
    scripts = []

    def runner(argv, *, stdin, timeout, keep):
        if argv[0].endswith("-restore"):
            scripts.append((argv[0], stdin.decode().splitlines()[1:-1]))
        return Finished(1 if "-C" in argv or argv[-2:] == ["bg-web", "1"] else 0, b"(legacy)")

    action = IptablesAction({}, runner=runner)
    action.join("m", {"name": "web", "port": "80"}, [ban("192.0.2.1"), ban("192.0.2.9", 900.0)], 1000.0)
    joined = [line for _, lines in scripts for line in lines]
    assert sum("-s 192.0.2.1 " in line for line in joined) == 1
    assert not any("192.0.2.9" in line for line in joined)
    scripts.clear()
    return action, scripts


def test_steps(made):
    """A ban is a rule at the head, an unban takes it out, in one transaction per family; a later end needs nothing."""
    action, scripts = made
    action.apply(
        [
            Step("m", "192.0.2.2", None, ban("192.0.2.2")),
            Step("m", "2001:db8::/64", None, ban("2001:db8::/64")),
            Step("m", "192.0.2.1", ban("192.0.2.1"), None),
        ],
        1000.0,
    )
    assert [
        ("iptables-restore", ["-I bg-web 1 -s 192.0.2.2 -j REJECT", "-D bg-web -s 192.0.2.1 -j REJECT"]),
        ("ip6tables-restore", ["-I bg-web 1 -s 2001:db8::/64 -j REJECT"]),
    ] == scripts
    scripts.clear()
    action.apply([Step("m", "192.0.2.2", ban("192.0.2.2"), ban("192.0.2.2", 9999.0))], 1000.0)
    action.apply([Step("m", "192.0.2.7", ban("192.0.2.7"), None)], 1000.0)
    assert [] == scripts


def test_hostile_text_is_no_rule(made):
    """Only canonical addresses get into a rule."""
    action, scripts = made
    with pytest.raises(ActionError, match="no address"):
        action.apply([Step("m", "192.0.2.1 -j ACCEPT", None, ban("192.0.2.1 -j ACCEPT"))], 1000.0)
    assert [] == scripts
