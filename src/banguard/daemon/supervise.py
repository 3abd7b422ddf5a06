"""Run a thread body, log its crash, restart it with backoff."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from banguard.clock import Clock
from banguard.model import Fact, ThreadCrashed

logger = logging.getLogger("banguard.server")

Body = Callable[[threading.Event], None]

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 60.0
CALM = 300.0
"""Seconds without a crash after which the pause is short again."""


class Supervised:
    """
    A named thread that is started again when its body raises, until it is told to stop.

    The body gets an event that is set when it should return; returning by itself ends the thread for good.
    """

    def __init__(self, name: str, body: Body, *, clock: Clock, publish: Callable[[Fact], None]) -> None:
        self.name = name
        self.crashes = 0
        self._body = body
        self._clock = clock
        self._publish = publish
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin; once."""
        self._thread.start()

    def tell_to_stop(self) -> None:
        """Ask the body to return; whoever made it wakes it from its own wait."""
        self._stop.set()

    def join(self, timeout: float) -> bool:
        """Wait up to *timeout* seconds for the end; return whether it has ended."""
        if self._thread.ident is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout)
        return not self._thread.is_alive()

    @property
    def alive(self) -> bool:
        """Whether the thread is running."""
        return self._thread.is_alive()

    def _run(self) -> None:
        pause = FIRST_PAUSE
        while not self._stop.is_set():
            began = self._clock.monotonic()
            try:
                self._body(self._stop)
            except Exception as error:  # the one place that survives what nobody foresaw
                self.crashes += 1
                if self._clock.monotonic() - began > CALM:
                    pause = FIRST_PAUSE
                logger.exception("Thread %s crashed, starts again in %.1f s", self.name, pause)
                self._publish(ThreadCrashed(self._clock.now(), self.name, repr(error)))
                self._stop.wait(pause)
                pause = min(pause * 2, LONGEST_PAUSE)
            else:
                return
