from __future__ import annotations

import os
import threading

import pytest

from banguard.config.schema import LogPath
from banguard.inbox import Inbox
from banguard.sources.base import Subscription
from banguard.sources.polling import PollingSource, check


class CountingWaker:
    """A waker that never waits; it moves the clock, and ends the run after some waits."""

    def __init__(self, clock, stop, rounds) -> None:
        self.clock, self.stop, self.rounds = clock, stop, rounds
        self.waits: list[float] = []
        self.woken = 0

    def wait(self, timeout):
        self.waits.append(timeout)
        self.clock.advance(timeout)
        if len(self.waits) >= self.rounds:
            self.stop.set()
        return False

    def wake(self):
        self.woken += 1


@pytest.fixture
def path(tmp_path):
    (tmp_path / "a.log").write_bytes(b"one\n")
    return tmp_path / "a.log"


def subscription(path, inbox, jail="j"):
    return Subscription(jail, inbox, (LogPath(str(path)),), encoding="utf-8")


def append(path, data):
    with open(path, "ab") as file:
        file.write(data)


def test_polling_works_everywhere():
    """There is nothing that could be missing."""
    check()


def test_wake_ups_become_rare(clock, path):
    """At rest the distance grows from 0.2 s to a second."""
    stop = threading.Event()
    waker = CountingWaker(clock, stop, 40)
    source = PollingSource(clock=clock, publish=lambda _fact: None, waker=waker)
    source.subscribe(subscription(path, Inbox()))
    source.run(stop)
    assert 0.2 <= waker.waits[0] <= 0.3
    assert [1.0] * 20 == waker.waits[-20:]


def test_lines_make_it_look_often(clock, path):
    """After a line the next look is soon."""
    source = PollingSource(clock=clock, publish=lambda _fact: None)
    inbox = Inbox()
    source.subscribe(subscription(path, inbox))
    for _ in range(20):
        delay = source.poll()
        clock.advance(delay)
    assert 1.0 == delay
    append(path, b"two\n")
    assert 0.2 == source.poll()
    assert [b"one\n", b"two\n"] == [each.block for each in inbox.get_all(0) if each.block]
    source.unsubscribe("j")
    source.poll()


def test_time_of_modification_is_only_a_hint(clock, path):
    """A file that grows without a new time, as on some network file systems, is read."""
    source = PollingSource(clock=clock, publish=lambda _fact: None)
    inbox = Inbox()
    source.subscribe(subscription(path, inbox))
    source.poll()
    status = os.stat(path)
    append(path, b"two\n")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    source.poll()
    assert [b"one\n", b"two\n"] == [each.block for each in inbox.get_all(0) if each.block]
    source.unsubscribe("j")
    source.poll()


def test_globs_are_expanded_every_few_seconds(clock, tmp_path, path):
    """A new file of a glob is found within five seconds."""
    source = PollingSource(clock=clock, publish=lambda _fact: None)
    inbox = Inbox()
    source.subscribe(subscription(tmp_path / "*.log", inbox))
    source.poll()
    append(tmp_path / "b.log", b"new\n")
    clock.advance(5)
    source.poll()
    assert [b"one\n", b"new\n"] == [each.block for each in inbox.get_all(0) if each.block]
    assert (str(path), str(tmp_path / "b.log")) == source.files("j")
    assert 2 == len(source.snapshot())
    source.unsubscribe("j")
    source.poll()
    assert () == source.files("j")


def test_run_can_be_called_again(clock, path):
    """After an error the thread body goes on where it was."""
    stop = threading.Event()

    class Failing(CountingWaker):
        def wait(self, timeout):
            if len(self.waits) == 3:
                self.waits.append(timeout)
                raise RuntimeError
            return super().wait(timeout)

    waker = Failing(clock, stop, 10)
    source = PollingSource(clock=clock, publish=lambda _fact: None, waker=waker)
    inbox = Inbox()
    source.subscribe(subscription(path, inbox))
    with pytest.raises(RuntimeError):
        source.run(stop)
    append(path, b"two\n")
    source.run(stop)
    assert [b"one\n", b"two\n"] == [each.block for each in inbox.get_all(0) if each.block]


def test_wake_reaches_the_waker(clock):
    """Whoever stops the source ends its wait."""
    waker = CountingWaker(clock, threading.Event(), 1)
    PollingSource(clock=clock, publish=lambda _fact: None, waker=waker).wake()
    assert 1 == waker.woken
