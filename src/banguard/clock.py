"""Clock and Waker protocols, and the system versions of both."""

from __future__ import annotations

import threading
import time
from typing import Protocol


class Clock(Protocol):
    """Gives the time; tests pass one that stands still."""

    def now(self) -> float:
        """Wall clock, seconds since the epoch."""
        ...

    def monotonic(self) -> float:
        """Seconds that only grow; for durations."""
        ...


class Waker(Protocol):
    """Something a thread waits on until it is woken, told to stop, or the time is over."""

    def wait(self, timeout: float | None) -> bool:
        """Wait for at most *timeout* seconds (None: for ever); return whether woken. A wake is consumed."""
        ...

    def wake(self) -> None:
        """End the present wait, or the next one; any thread may call it."""
        ...


class SystemClock:
    """The clocks of the machine, in seconds: `now` since the epoch, `monotonic` only grows."""

    # Not wrapped: some are asked for each line of a log.
    now = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)


class ThreadWaker:
    """A Waker on a threading.Event."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def wait(self, timeout: float | None) -> bool:
        """Wait until woken or *timeout* seconds are over; return whether woken."""
        woken = self._event.wait(timeout)
        self._event.clear()
        return woken

    def wake(self) -> None:
        """End the present wait, or the next one."""
        self._event.set()
