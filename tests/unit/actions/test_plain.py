"""Tests of banguard.actions.plain: lists that several jails share."""

from __future__ import annotations

import pytest

from banguard.actions.base import Step
from banguard.actions.plain import PlainFirewall
from banguard.errors import ActionError
from banguard.model import Ban


class Lists:
    """Lists in memory, and what was done to them."""

    def __init__(self):
        self.lists = {}
        self.done = []
        self.broken = False

    def _use(self, *what):
        if self.broken:
            raise ActionError("no")
        self.done.append(what)

    def begin(self, spec):
        self._use("begin", spec)
        return set(self.lists.setdefault(spec, set()))

    def end(self, spec):
        self._use("end", spec)
        del self.lists[spec]

    def add(self, spec, bans, now):
        self._use("add", spec, *sorted(bans))
        self.lists[spec] |= set(bans)

    def remove(self, spec, addresses):
        self._use("remove", spec, *sorted(addresses))
        self.lists[spec] -= set(addresses)

    def held(self, spec):
        return self.lists.get(spec)

    def changed(self):
        return True


def ban(host, until=1600.0):
    return Ban("web", host, 1000.0, until)


@pytest.fixture
def lists():
    return Lists()


@pytest.fixture
def made(lists):
    return PlainFirewall(lists, lambda properties: properties["list"], (4, 6))


def join(made, member, *hosts, where="a"):
    made.join(member, {"list": where}, [ban(host) for host in hosts], 1000.0)


def step(made, member, *, ban_=None, unban=None):
    if ban_:
        made.apply([Step(member, ban_, None, ban(ban_))], 1000.0)
    else:
        made.apply([Step(member, unban, ban(unban), None)], 1000.0)


def test_an_address_leaves_with_its_last_ban(made, lists):
    """Two jails that ban the same address: it stays until both let it go."""
    join(made, "one", "192.0.2.1")
    join(made, "two", "192.0.2.1", "192.0.2.2")
    assert {"192.0.2.1", "192.0.2.2"} == lists.lists["a"]
    step(made, "two", unban="192.0.2.1")
    assert {"192.0.2.1", "192.0.2.2"} == lists.lists["a"]
    step(made, "one", unban="192.0.2.1")
    assert {"192.0.2.2"} == lists.lists["a"]
    made.leave("two")
    assert set() == lists.lists["a"]
    made.leave("one")
    assert {} == lists.lists


def test_other_lists_are_apart(made, lists):
    """Jails with other properties have lists of their own."""
    join(made, "one", "192.0.2.1")
    join(made, "two", "192.0.2.2", where="b")
    assert {"a": {"192.0.2.1"}, "b": {"192.0.2.2"}} == lists.lists


def test_a_member_that_moves(made, lists):
    """With other properties the member leaves its old list."""
    join(made, "one", "192.0.2.1")
    join(made, "one", "192.0.2.1", where="b")
    assert {"b": {"192.0.2.1"}} == lists.lists


def test_many_at_once(made, lists):
    """A batch is one call."""
    join(made, "one")
    lists.done.clear()
    made.apply([Step("one", f"192.0.2.{n}", None, ban(f"192.0.2.{n}")) for n in range(3)], 1000.0)
    assert [("add", "a", "192.0.2.0", "192.0.2.1", "192.0.2.2")] == lists.done


def test_a_failure_changes_nothing(made, lists):
    """What could not be done is not believed to be done: it is done the next time."""
    join(made, "one")
    lists.broken = True
    with pytest.raises(ActionError):
        step(made, "one", ban_="192.0.2.1")
    lists.broken = False
    step(made, "one", ban_="192.0.2.1")
    assert {"192.0.2.1"} == lists.lists["a"]


def test_longest_of_several_bans(made):
    """Of several bans of an address the one that ends last counts."""
    join(made, "one", "192.0.2.1")
    made.join("two", {"list": "a"}, [ban("192.0.2.1", None)], 1000.0)
    assert {"192.0.2.1": None} == made._union("a")


@pytest.mark.parametrize("lost", ["list", "address"])
def test_damage(made, lists, lost):
    """A list that is gone, or lacks an address, is found and made anew."""
    join(made, "one", "192.0.2.1")
    assert made.check()
    if lost == "list":
        lists.lists.clear()
    else:
        lists.lists["a"].clear()
    assert not made.check()
    made.rebuild({"one": [ban("192.0.2.1"), ban("192.0.2.9", 900.0)]}, 1000.0)
    assert made.check()
    assert {"192.0.2.1"} == lists.lists["a"]


def test_what_an_earlier_run_left_is_taken_over(made, lists):
    """Nobody who stays banned is let through for a moment; the others go once every jail has said what it wants."""
    lists.lists["a"] = {"192.0.2.1", "192.0.2.2", "192.0.2.3"}
    join(made, "one", "192.0.2.1", "192.0.2.4")
    join(made, "two", "192.0.2.2")
    assert {f"192.0.2.{n}" for n in (1, 2, 3, 4)} == lists.lists["a"]
    made.sweep()
    assert {f"192.0.2.{n}" for n in (1, 2, 4)} == lists.lists["a"]
    assert [("remove", "a", "192.0.2.3")] == [one for one in lists.done if one[0] == "remove"]
    lists.done.clear()
    made.sweep()
    assert [] == lists.done
