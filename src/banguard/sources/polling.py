"""Thread that stats files on a timer."""

from __future__ import annotations

import threading

from banguard.clock import Clock, ThreadWaker, Waker
from banguard.sources.base import LogStats, PrefilterFor, Publish, Subscription
from banguard.sources.front import Front
from banguard.sources.hub import Hub

_SHORTEST, _LONGEST, _GROWTH = 0.2, 1.0, 1.25
_DISCOVER_EVERY = 5.0


def check() -> None:
    """Do nothing: polling works everywhere."""


class PollingSource:
    """
    Looks at every log every 0.2 s, up to every second when nothing happens; for all jails in one thread.

    Size and inode decide whether something is new; the time of modification is only a hint, since network file systems
    keep it badly.
    """

    name = "polling"

    def __init__(
        self,
        *,
        clock: Clock,
        publish: Publish,
        prefilter_for: PrefilterFor | None = None,
        waker: Waker | None = None,
        hub: Hub | None = None,
    ) -> None:
        self._clock = clock
        self._hub = hub or Hub(clock=clock, publish=publish, prefilter_for=prefilter_for)
        self._waker = waker or ThreadWaker()
        self._front = Front(self._waker.wake)
        self._interval = _SHORTEST
        self._discover_at = 0.0

    def subscribe(self, subscription: Subscription) -> None:
        """Begin to read for a jail (see Source.subscribe)."""
        self._front.order(lambda: self._hub.subscribe(subscription))

    def unsubscribe(self, jail: str) -> None:
        """Hand out nothing more to *jail*."""
        self._front.order(lambda: self._hub.unsubscribe(jail), wait=True)

    def wake(self) -> None:
        """End the present wait."""
        self._waker.wake()

    def files(self, jail: str) -> tuple[str, ...]:
        """Return the logs that are read for *jail*."""
        return self._hub.files(jail)

    def snapshot(self) -> tuple[LogStats, ...]:
        """Return the numbers of every log."""
        return self._hub.snapshot()

    def run(self, stop: threading.Event) -> None:
        """Read until *stop* is set."""
        with self._front.serving():
            while not stop.is_set():
                delay = self.poll()
                if delay > 0:
                    self._waker.wait(delay)
        self._hub.close()

    def poll(self) -> float:
        """Look at everything once; return how many seconds to wait before the next time."""
        if self._front.carry_out():
            self._interval = _SHORTEST
        now = self._clock.monotonic()
        if now >= self._discover_at:
            if self._hub.has_globs:
                self._hub.discover()
            self._discover_at = now + _DISCOVER_EVERY
        blocks = self._hub.blocks
        due = self._hub.poll()
        if self._hub.blocks != blocks:
            self._interval = _SHORTEST
        else:
            self._interval = min(_LONGEST, self._interval * _GROWTH)
        return self._interval if due is None else min(due, self._interval)
