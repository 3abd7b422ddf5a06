"""Tests of banguard.control.events."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import pytest

from banguard.control.events import LINE_LIMIT, EventQueue, Watch, event_of
from banguard.model import (
    ActionFailed,
    Ban,
    Banned,
    ConfigReloaded,
    Fact,
    FailureFound,
    FirewallLost,
    FirewallMended,
    Origin,
    SourceMended,
    SourceRotated,
    SourceTrouble,
    ThreadCrashed,
    Unbanned,
)
from support.memory_server import MemoryServer

BAN = Ban("sshd", "192.0.2.1", 10.0, 610.5, count=2, failures=5)
TOLD = {
    "jail": "sshd",
    "id": "192.0.2.1",
    "since": 10,
    "until": 610.5,
    "count": 2,
    "failures": 5,
    "origin": "local",
}


@pytest.mark.parametrize(
    ("expected", "fact"),
    [
        (
            {"event": "found", "jail": "sshd", "id": "192.0.2.1", "line": "x"},
            FailureFound(7.0, "sshd", "192.0.2.1", "x"),
        ),
        ({"event": "ban", **TOLD}, Banned(7.0, BAN)),
        (
            {"event": "restored", **TOLD, "origin": "restored"},
            Banned(7.0, Ban("sshd", "192.0.2.1", 10.0, 610.5, count=2, failures=5, origin=Origin.RESTORED)),
        ),
        ({"event": "unban", **TOLD, "reason": "expired"}, Unbanned(7.0, BAN, "expired")),
        (
            {"event": "not_enforced", "jail": "sshd", "action": "nft", "ids": ["192.0.2.1"], "message": "no"},
            ActionFailed(7.0, "sshd", "nft", "no", ("192.0.2.1",)),
        ),
        (
            {"event": "action_failed", "jail": "sshd", "action": "nft", "ids": [], "message": "no"},
            ActionFailed(7.0, "sshd", "nft", "no"),
        ),
        ({"event": "firewall_lost", "firewall": "nft", "jails": ["sshd"]}, FirewallLost(7.0, "nft", ("sshd",))),
        ({"event": "firewall_mended", "firewall": "nft", "jails": ["sshd"]}, FirewallMended(7.0, "nft", ("sshd",))),
        ({"event": "log_lost", "log": "/a", "message": "gone"}, SourceTrouble(7.0, "/a", "gone")),
        ({"event": "log_mended", "log": "/a"}, SourceMended(7.0, "/a")),
        ({"event": "log_rotated", "log": "/a"}, SourceRotated(7.0, "/a")),
        ({"event": "crashed", "thread": "bg/x", "message": "E"}, ThreadCrashed(7.0, "bg/x", "E")),
        ({"event": "reload", "added": ["a"], "changed": [], "removed": ["b"]}, ConfigReloaded(7.0, ("a",), (), ("b",))),
    ],
)
def test_each_fact_is_an_event(expected, fact):
    """The name first, then when, then what."""
    event = event_of(fact)
    assert {**expected, "at": 7} == event
    assert ["event", "at"] == list(event)[:2]


@dataclass(frozen=True, slots=True)
class SomethingNew(Fact):
    """A kind of fact that nobody has described."""

    ban: Ban
    words: tuple[str, ...]
    reason: str


def test_a_fact_without_a_row_is_told_all_the_same():
    """By the name of its kind and its plain fields, those of its ban among them."""
    expected = {"event": "something_new", "at": 7, **TOLD, "words": ["a"], "reason": "b"}
    assert expected == event_of(SomethingNew(7.0, BAN, ("a",), "b"))


def names(queue):
    return [event["event"] for event in queue.take(0) or ()]


def test_a_full_queue_counts_what_it_leaves_out():
    """The first are kept; how many were lost stands behind them, once."""
    queue = EventQueue(limit=2)
    for log in "abcde":
        queue(SourceRotated(1.0, log))
    first, second, lost = queue.take(0)
    assert ("a", "b", {"event": "lost", "count": 3}) == (first["log"], second["log"], lost)
    queue(SourceRotated(1.0, "f"))
    assert ["log_rotated"] == names(queue)


def test_no_loss_goes_uncounted():
    """With several publishers every event is kept or counted."""
    queue = EventQueue(limit=10)
    threads = [threading.Thread(target=lambda: [queue(SourceRotated(1.0, "a")) for _ in range(500)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    *kept, lost = queue.take(0)
    assert 2000 == len(kept) + lost["count"]


@pytest.mark.parametrize(
    ("kept", "fact"),
    [
        (True, Banned(1.0, BAN)),
        (False, Banned(1.0, Ban("web", "192.0.2.1", 1.0, None))),
        (False, FailureFound(1.0, "web", "192.0.2.1", "x")),
        (True, FirewallLost(1.0, "nft", ("sshd", "web"))),
        (False, FirewallLost(1.0, "nft", ("web",))),
        (True, SourceTrouble(1.0, "/a", "gone")),
        (True, ConfigReloaded(1.0)),
    ],
)
def test_only_what_concerns_the_jails_is_kept(kept, fact):
    """What is about no jail concerns all."""
    queue = EventQueue(["sshd"])
    queue(fact)
    assert kept == bool(names(queue))


def test_long_lines_are_cut():
    """A queue full of the longest lines stays small."""
    queue = EventQueue()
    queue(FailureFound(1.0, "sshd", "192.0.2.1", "x" * 100_000))
    assert LINE_LIMIT == len(queue.take(0)[0]["line"])


def test_the_end_is_told():
    """What is there still comes, then `stopped`, then None."""
    queue = EventQueue()
    queue(SourceRotated(1.0, "a"))
    queue.close()
    queue(SourceRotated(1.0, "b"))
    assert ["log_rotated"] == names(queue)
    assert ["stopped"] == names(queue)
    assert queue.take(0) is None


def test_who_no_longer_watches_is_told_nothing():
    """Closing ends the subscription; doing so twice does no harm."""
    api = MemoryServer()
    watch = Watch(api, ())
    api.bus.publish(SourceRotated(1.0, "a"))
    watch.close()
    watch.close()
    assert () == api.bus._observers
    assert "log_rotated" == watch.take(0)[0]["event"]
