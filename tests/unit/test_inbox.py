"""Tests of banguard.inbox."""

from __future__ import annotations

import threading

from banguard.inbox import Inbox


def test_first_in_first_out() -> None:
    """Items come out in the order in which they went in."""
    inbox: Inbox[int] = Inbox(limit=4)
    for number in range(3):
        assert inbox.put(number)
    assert [0, 1, 2] == [inbox.get(), inbox.get(), inbox.get()]


def test_a_full_inbox_makes_the_sender_wait_and_loses_nothing() -> None:
    """A sender of many items through a small inbox is held back, and every item arrives."""
    inbox: Inbox[int] = Inbox(limit=2)
    sender = threading.Thread(target=lambda: [inbox.put(number) for number in range(500)])
    sender.start()
    received = [inbox.get(timeout=5) for _ in range(500)]
    sender.join(timeout=5)
    assert list(range(500)) == received


def test_a_full_inbox_refuses_after_the_timeout_and_counts_the_wait() -> None:
    """A sender that may wait only so long is told that the item was not taken."""
    inbox: Inbox[int] = Inbox(limit=1)
    assert inbox.put(1)
    assert not inbox.put(2, timeout=0.01)
    assert inbox.wait_seconds > 0
    assert [1] == inbox.get_all()


def test_the_front_is_open_even_when_full() -> None:
    """An operator's word is taken first, however much waits."""
    inbox: Inbox[str] = Inbox(limit=1)
    inbox.put("flood")
    inbox.put_front("word")
    assert ["word", "flood"] == inbox.get_all()


def test_closing_wakes_receiver_and_sender() -> None:
    """After close nothing goes in, what is inside comes out, and nobody waits any more."""
    inbox: Inbox[int] = Inbox(limit=1)
    inbox.put(1)
    refused: list[bool] = []
    sender = threading.Thread(target=lambda: refused.append(inbox.put(2)))
    sender.start()
    inbox.close()
    sender.join(timeout=5)
    assert [False] == refused
    assert inbox.closed
    assert 1 == inbox.get()
    assert inbox.get() is None
    assert [] == inbox.get_all()


def test_an_empty_inbox_gives_nothing_in_time() -> None:
    """A receiver that may wait only so long gets nothing."""
    inbox: Inbox[int] = Inbox()
    assert inbox.get(timeout=0.01) is None
    assert [] == inbox.get_all(timeout=0.01)
    assert 0 == len(inbox)
