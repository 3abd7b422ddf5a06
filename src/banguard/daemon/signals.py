"""
Turn signals into commands.

TERM and INT stop the server in order, HUP reloads, USR1 reopens the log. A handler does nothing but put a wish into a
queue; the main thread takes it out and acts, outside of any handler.
"""

from __future__ import annotations

import enum
import queue
import signal
from collections.abc import Callable, Mapping
from types import FrameType


class Wish(enum.Enum):
    """What a signal, or somebody within the server, wants the main thread to do."""

    STOP = "stop"
    RELOAD = "reload"
    REOPEN_LOG = "reopen log"


_SIGNALS: Mapping[signal.Signals, Wish] = {
    signal.SIGTERM: Wish.STOP,
    signal.SIGINT: Wish.STOP,
    signal.SIGHUP: Wish.RELOAD,
    signal.SIGUSR1: Wish.REOPEN_LOG,
}

_Previous = Callable[[int, FrameType | None], object] | int | signal.Handlers | None


class Wishes:
    """
    The main thread's list of things to do.

    `request` may be called by any thread and by signal handlers (`SimpleQueue.put` is reentrant). Once STOP is wished,
    nothing else is handed out any more.
    """

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Wish] = queue.SimpleQueue()
        self._stopping = False
        self._previous: dict[signal.Signals, _Previous] = {}

    @property
    def stopping(self) -> bool:
        """Whether STOP was wished."""
        return self._stopping

    def request(self, wish: Wish) -> None:
        """Wish something of the main thread; returns at once."""
        if wish is Wish.STOP:
            self._stopping = True
        self._queue.put(wish)

    def install(self) -> None:
        """Handle the signals from now on; only the main thread may do so."""
        for number in _SIGNALS:
            self._previous[number] = signal.signal(number, self._handle)

    def restore(self) -> None:
        """Put back what handled the signals before `install`."""
        for number, previous in self._previous.items():
            signal.signal(number, previous if previous is not None else signal.SIG_DFL)
        self._previous.clear()

    def wait(self, timeout: float | None) -> Wish | None:
        """Return the next wish, None when none came within *timeout* seconds (None: wait for ever)."""
        if self._stopping:
            return Wish.STOP
        try:
            wish = self._queue.get(timeout=timeout)
        except queue.Empty:
            return Wish.STOP if self._stopping else None
        return Wish.STOP if self._stopping else wish

    def run(self, do: Mapping[Wish, Callable[[], None]], *, every: float, tick: Callable[[], None]) -> None:
        """
        Act on wishes until STOP; call *tick* at least each *every* seconds in between.

        *do* names what to call for each wish; that for STOP is called last, once, when it is there.
        """
        while True:
            wish = self.wait(every)
            if wish is not None and wish in do:
                do[wish]()
            if wish is Wish.STOP:
                return
            tick()

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        self.request(_SIGNALS[signal.Signals(number)])
