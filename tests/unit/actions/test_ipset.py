"""Tests of banguard.actions.ipset: what is written for which step; the real programs are tried in tests/contracts."""

from __future__ import annotations

import pytest

from banguard.actions.base import Step
from banguard.actions.ipset import LONGEST, IpsetAction, sets_of
from banguard.actions.xtables import Spec
from banguard.errors import ActionError
from banguard.model import Ban
from banguard.run import Finished


def ban(host, until=1600.0):
    return Ban("web", host, 1000.0, until)


@pytest.fixture
def made():
    scripts = []

    def runner(argv, *, stdin, timeout, keep):
        if argv[-1] == "restore":
            scripts.append(stdin.decode().splitlines())
        return Finished(1 if "-C" in argv else 0, b"(legacy)")

    action = IpsetAction({}, runner=runner)
    action.join("m", {"name": "web", "port": "80", "maxelem": "10"}, [ban("192.0.2.1")], 1000.0)
    (script,) = scripts
    assert "create bg-web-a4 hash:ip family inet timeout 0 maxelem 10" in script
    assert "create bg-web-n6 hash:net family inet6 timeout 0 maxelem 10" in script
    assert "add bg-web-a4 192.0.2.1 timeout 600" in script
    scripts.clear()
    return action, scripts


@pytest.mark.parametrize(
    ("expected", "host", "until"),
    [
        ("add bg-web-a4 192.0.2.2 timeout 600", "192.0.2.2", 1600.0),
        ("add bg-web-a4 192.0.2.2 timeout 1", "192.0.2.2", 1000.2),
        ("add bg-web-a4 192.0.2.2 timeout 0", "192.0.2.2", None),
        (f"add bg-web-a4 192.0.2.2 timeout {LONGEST}", "192.0.2.2", 1000.0 + LONGEST),
        ("add bg-web-a4 192.0.2.2 timeout 0", "192.0.2.2", 1001.0 + LONGEST),
        ("add bg-web-n6 2001:db8::/64 timeout 600", "2001:db8::/64", 1600.0),
        ("add bg-web-n4 128.0.0.0/1 timeout 600", "0.0.0.0/0", 1600.0),
    ],
)
def test_bans(made, expected, host, until):
    """A ban is a member with the time that is left; one longer than ipset knows stays until it is taken out."""
    action, scripts = made
    action.apply([Step("m", host, None, ban(host, until))], 1000.0)
    assert expected == scripts[0][-1]


def test_unbans_and_new_ends(made):
    """An unban takes the member out; a new end takes it out and puts it in again, in one go."""
    action, scripts = made
    action.apply([Step("m", "192.0.2.1", ban("192.0.2.1"), None)], 1000.0)
    action.apply([Step("m", "192.0.2.1", ban("192.0.2.1"), ban("192.0.2.1", 2000.0))], 1000.0)
    assert [
        ["del bg-web-a4 192.0.2.1"],
        ["del bg-web-a4 192.0.2.1", "add bg-web-a4 192.0.2.1 timeout 1000"],
    ] == scripts


@pytest.mark.parametrize("text", ["0", "-1", "many", "99999999999", "1; x"])
def test_sizes(text):
    """`maxelem` is a number that a set can have."""
    with pytest.raises(ActionError, match="maxelem"):
        IpsetAction.verify({"name": "web", "port": "80", "maxelem": text})


def test_hostile_text_is_no_member(made):
    """Only canonical addresses get into a set."""
    action, scripts = made
    with pytest.raises(ActionError, match="no address"):
        action.apply([Step("m", "1.2.3.4\nflush x", None, ban("1.2.3.4\nflush x"))], 1000.0)
    assert [] == scripts


def test_sets_that_are_there_are_replaced_in_one_step():
    """The new content is put together beside the old, also when the sets were made with other options."""
    scripts = []

    def runner(argv, *, stdin, timeout, keep):
        if argv[-1] == "restore":
            scripts.append(stdin.decode().splitlines())
        if argv == ["ipset", "list", "-n"]:
            return Finished(0, b"bg-web-a4\nbg-web-a4-new\nbg-gone-a4\nbg-gone-n6\nother\n")
        if argv[-1] == "-S":
            return Finished(
                0, b"-N bg-gone\n-A bg-gone -m set --match-set bg-gone-a4 src -j DROP\n-A bg-gone -j RETURN\n"
            )
        return Finished(1 if argv[-2:] == ["bg-web", "1"] else 0, b"(legacy)")

    action = IpsetAction({}, runner=runner)
    action.join("m", {"name": "web", "port": "80"}, [ban("192.0.2.1"), ban("2001:db8::1")], 1000.0)
    assert [
        "destroy bg-web-a4-new",
        "create bg-web-a4-new hash:ip family inet timeout 0 maxelem 65536",
        "create bg-web-n4 hash:net family inet timeout 0 maxelem 65536",
        "create bg-web-a6 hash:ip family inet6 timeout 0 maxelem 65536",
        "create bg-web-n6 hash:net family inet6 timeout 0 maxelem 65536",
        "del bg-web-a4-new 192.0.2.1",
        "add bg-web-a4-new 192.0.2.1 timeout 600",
        "del bg-web-a6 2001:db8::1",
        "add bg-web-a6 2001:db8::1 timeout 600",
        "swap bg-web-a4-new bg-web-a4",
        "destroy bg-web-a4-new",
    ] == scripts.pop()
    action.sweep()
    assert [["destroy bg-gone-a4", "destroy bg-gone-n6"]] == scripts
    scripts.clear()
    action.sweep()
    assert [] == scripts


def test_a_name_for_a_new_set_is_never_too_long():
    """ipset takes 31 characters."""
    spec = Spec.of({"name": "x" * 60, "port": "80"})
    assert all(len(f"{name}-new") <= 31 for family in (4, 6) for name in sets_of(spec, family))
