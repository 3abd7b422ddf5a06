"""Tests of banguard.clock."""

from __future__ import annotations

from banguard.clock import SystemClock, ThreadWaker


def test_monotonic_never_goes_back() -> None:
    """Two looks at the clock for durations never differ by less than nothing."""
    clock = SystemClock()
    first = clock.monotonic()
    assert first <= clock.monotonic()
    assert clock.now() > 1_700_000_000


def test_a_wake_before_the_wait_is_not_lost() -> None:
    """A wake that comes first ends the next wait, once."""
    waker = ThreadWaker()
    waker.wake()
    assert waker.wait(60)
    assert not waker.wait(0.001)
