"""Which lines of a block go to which jail."""

from __future__ import annotations

import pytest

from banguard.inbox import Inbox
from banguard.matching.prefilter import Wanted, build_scanner
from banguard.sources.base import Subscription
from banguard.sources.screen import Screen, prefilter_for

FIRST = b"first\n" * 100
REFUSED = Wanted(frozenset({b"refused"}))
DENIED = Wanted(frozenset({b"denied"}))
BLOCK = b"ok\nrefused\nok\ndenied\nok\n"


def screen(**wanted: Wanted | None) -> tuple[Screen, dict[str, Wanted | None], list[int]]:
    """Return a screen for jails by name, what each wants (to be changed), and the sizes of the scanners built."""
    now = dict(wanted)
    built: list[int] = []

    def build(all_of_it):
        built.append(len(all_of_it))
        return build_scanner(all_of_it, "find")

    subscriptions = [Subscription(name, Inbox(1), wanted=lambda name=name: now[name]) for name in wanted]
    return Screen("/log", subscriptions, build), now, built


def test_each_jail_gets_its_candidates():
    """A jail is told its lines; one that wants every line is not named."""
    made, _, built = screen(a=REFUSED, b=DENIED, c=None, d=REFUSED)
    made(FIRST)
    assert {"a": ((3, 10),), "b": ((14, 20),), "d": ((3, 10),)} == made(BLOCK)
    assert [2] == built


def test_the_first_lines_of_a_log_go_to_all():
    """Date detectors come to know a log by its first lines."""
    made, _, built = screen(a=REFUSED)
    assert {} == made(FIRST[:-6])
    assert {"a": ((0, 2), (3, 10))} == made(BLOCK)
    assert {"a": ((3, 10),)} == made(BLOCK)
    assert [1] == built


def test_changed_rules_hold_for_the_next_block():
    """What is wanted is asked before each block."""
    made, now, _ = screen(a=REFUSED)
    made(FIRST)
    assert {"a": ((3, 10),)} == made(BLOCK)
    now["a"] = DENIED
    assert {"a": ((14, 20),)} == made(BLOCK)
    now["a"] = None
    assert {} == made(BLOCK)


def test_a_jail_that_wants_most_lines_gets_all_for_a_while():
    """Looking for candidates rests where it does not pay, and is tried again; others go on."""
    made, _, built = screen(a=REFUSED, b=DENIED)
    made(FIRST)
    flood = b"refused\n" * 600 + b"ok\n" * 400
    assert {"a", "b"} == set(made(flood))
    for _ in range(20):
        assert {"b": ()} == made(b"refused\n" * 1000)
    assert {"a", "b"} == set(made(BLOCK))
    assert [2, 1, 2] == built


@pytest.mark.parametrize("head", [b"x" * 9000 + b"\n", b"x\n" * 4096])
def test_lines_are_counted_where_it_matters(head):
    """The beginning of a block, by which its lines are estimated, may be unlike the rest."""
    made, _, built = screen(a=REFUSED)
    made(FIRST)
    for _ in range(20):
        made(head + b"refused\n" * 400 + b"ok\n" * 600)
    assert [1] == built
    made(head + b"refused\n" * 9000 + b"ok\n" * 600)
    assert {} == made(BLOCK)


def test_nothing_is_built_where_all_want_every_line():
    """A log whose jails want every line costs nothing."""
    made, _, built = screen(a=None)
    assert {} == made(FIRST)
    assert {} == made(BLOCK)
    assert [] == built


def test_the_first_lines_of_a_block():
    """Only as many lines as it takes go to all, the rest of their block is looked at."""
    made, _, _ = screen(a=REFUSED)
    assert {} == made(FIRST[:-12])
    assert {"a": ((0, 3), (4, 7), (14, 21))} == made(b"one\ntwo\nthree\nrefused\n")


def test_the_one_that_sources_get():
    """The engine is the fastest installed."""
    made = prefilter_for("/log", [Subscription("a", Inbox(1), wanted=lambda: REFUSED)])
    assert {} == made(FIRST)
    assert {"a": ((3, 10),)} == made(BLOCK)
