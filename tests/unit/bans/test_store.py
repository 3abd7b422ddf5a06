"""BanStore contract, and the in-memory store. What all stores do is in tests/contracts/test_stores.py."""

from __future__ import annotations

import pytest

from banguard.bans.store import Batch, History, Length, MemoryStore, is_over, merged, newest_matches, short_data
from banguard.model import Ban

T = 1_800_000_000.0


def ban(host="h", jail="j"):
    return Ban(jail, host, T, T + 60)


@pytest.mark.parametrize(
    ("lines", "limit", "size", "expected"),
    [
        (("a", "b", "c"), 2, 100, ("b", "c")),
        (("a", "b", "c"), 0, 100, ()),
        (("a", "b", "c"), 9, 2, ("b", "c")),
        (("aaaa", "bb", "c"), 9, 4, ("bb", "c")),
        (("aaaa", "bbbbbb"), 9, 4, ("bbbb",)),
        ((), 9, 4, ()),
    ],
)
def test_newest_matches(lines, limit, size, expected):
    """The newest whole lines that fit; of one that is too long itself, its beginning."""
    assert expected == newest_matches(lines, limit, size)


def test_short_data_cuts_only_what_is_too_long():
    """Captured text is bounded; ordinary data is not even copied."""
    data = {"user": "root"}
    assert data is short_data(data)
    assert {"user": "x" * 2048, "port": "22"} == short_data({"user": "x" * 5000, "port": "22"})


@pytest.mark.parametrize(
    ("since", "until", "expected"),
    [(0, 100, True), (0, None, False), (60, 70, False), (0, 400, False), (49, 366, True)],
)
def test_is_over(since, until, expected):
    """Old enough, and three times its length over; never when it lasts for ever."""
    assert expected == is_over(since, until, oldest=50, now=1000.5)


def test_merged_takes_bans_newest_first():
    """Lines come out oldest first, the newest are kept."""
    assert History(2, 5, ("b", "c", "d")) == merged([(2, ("c", "d")), (3, ("a", "b"))]).limited(3)


def test_an_empty_batch_is_false_and_any_step_makes_it_true():
    """The registry writes only what there is to write."""
    assert not Batch()
    steps = [
        lambda batch: batch.keep(ban(), Length.JAIL),
        lambda batch: batch.end("j", "h"),
        lambda batch: batch.forget(None, ["h"]),
        lambda batch: batch.wipe("j"),
        lambda batch: batch.history.append(ban()),
    ]
    for step in steps:
        batch = Batch()
        step(batch)
        assert batch


def test_of_the_steps_of_a_batch_the_last_stands():
    """Ban, end, ban again: one ban; ban, forget: none, and no history."""
    batch = Batch()
    batch.keep(ban(), Length.JAIL)
    batch.end("j", "h")
    assert {("j", "h"): None} == batch.bans
    batch.keep(ban(), Length.OWN)
    assert Length.OWN is batch.bans["j", "h"].length
    batch.history.extend([ban(), ban(jail="other"), ban("other")])
    batch.forget("j", ["h"])
    assert ({}, ["other", "h"]) == (batch.bans, sorted((one.host for one in batch.history), reverse=True))
    batch.forget(None, ["h"])
    assert ["other"] == [one.host for one in batch.history]
    batch.keep(ban("x", "k"), Length.JAIL)
    batch.wipe("k")
    assert ({}, ["other"]) == (batch.bans, [one.host for one in batch.history])
    batch.wipe(None)
    assert [] == batch.history


def test_memory_survives_reopen():
    """Opening again, as after an error of a file, loses nothing here."""
    store = MemoryStore()
    batch = Batch()
    batch.keep(ban(), Length.JAIL)
    store.write(batch)
    store.reopen()
    store.close()
    assert 1 == len(store.active("j"))
