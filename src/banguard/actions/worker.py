"""
What the workers have in common: a thread that comes and goes, orders, rounds.

A worker's thread starts when there is something to do and ends when there has been nothing for a while. What it does is
`round()`: the orders that wait (join, leave, check, …), then one batch; the thread is a short loop around it.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence

from banguard.actions.base import Step
from banguard.clock import Clock
from banguard.errors import ActionError
from banguard.model import ActionFailed, Fact

logger = logging.getLogger("banguard.actions")

LINGER = 5.0
"""Seconds an idle thread stays before it ends."""

StartThread = Callable[[str, Callable[[], None]], threading.Thread]


def start_thread(name: str, body: Callable[[], None]) -> threading.Thread:
    """Run *body* in a new daemon thread."""
    thread = threading.Thread(target=body, name=name, daemon=True)
    thread.start()
    return thread


class Worker:
    """
    Orders, a thread, and the numbers; what a round does with the changes is up to the two kinds of them.

    The lock is needed because changes come from the registry's thread while the worker's own is at work; it is never
    held while an action runs.
    """

    def __init__(
        self, name: str, *, clock: Clock, publish: Callable[[Fact], None], start_thread: StartThread = start_thread
    ) -> None:
        self.name = name
        self.finished = threading.Event()
        self._clock = clock
        self._publish = publish
        self._start_thread = start_thread
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._orders: deque[Callable[[], None]] = deque()
        self._thread: threading.Thread | None = None
        self._busy = False
        self._closing = False
        self._abandoned = False

    # ---- from other threads

    def order(self, order: Callable[[], None]) -> None:
        """Have *order* run in the worker's thread, after those before it and before any further change."""
        with self._lock:
            self._orders.append(order)
            self._wake()

    def ask(self, question: Callable[[], object], timeout: float) -> object:
        """Run *question* in the worker's thread and return its answer; ActionError after *timeout* seconds without."""
        answered = threading.Event()
        answers: list[object] = []
        errors: list[ActionError] = []

        def put() -> None:
            try:
                answers.append(question())
            except ActionError as error:
                errors.append(error)
            finally:
                answered.set()

        self.order(put)
        if not answered.wait(timeout):
            raise ActionError(f"{self.name} is busy; no answer within {timeout:g} s")
        if errors:
            raise errors[0]
        return answers[0] if answers else None

    def close(self) -> None:
        """End the thread once all orders are done; `finished` is set then."""
        with self._lock:
            self._closing = True
            self._wake()

    def abandon(self) -> None:
        """Leave undone what is not begun: the time to stop is over."""
        self._abandoned = True

    def is_idle(self) -> bool:
        """Tell whether there is nothing to do at present; what waits for a retry counts as something to do."""
        with self._lock:
            return not (self._busy or self._orders or self._waiting() or self._delay() == 0.0)

    def join(self, timeout: float) -> bool:
        """Wait for the end of a closing worker; return whether it came within *timeout* seconds."""
        return self.finished.wait(timeout)

    def _wake(self) -> None:
        """Start the thread, or wake it; with the lock."""
        if self._thread is None:
            self._thread = self._start_thread(self.name, self.run)
        else:
            self._changed.notify_all()

    def _gone(self) -> None:
        """Note that the thread ends; with the lock."""
        self._thread = None
        if self._closing:
            self.finished.set()

    # ---- in the worker's thread

    def run(self) -> None:
        """Body of the thread: rounds, with waiting in between, until there is nothing to do."""
        try:
            while True:
                self.round()
                with self._lock:
                    delay = self._delay()
                    if self._orders or (delay == 0.0 and not self._closing):
                        continue
                    if not self._closing:
                        woken = self._changed.wait(LINGER if delay is None else delay)
                        if woken or delay is not None or self._orders:
                            continue
                    self._gone()
                    return
        except BaseException:
            with self._lock:
                self._gone()  # the next change starts another thread
            raise

    def round(self) -> float | None:
        """Do all orders, then one batch. Return the seconds until there is more to do, None when nothing waits."""
        self._busy = True
        try:
            while True:
                with self._lock:
                    order = self._orders.popleft() if self._orders else None
                if order is None:
                    break
                order()
            if not self._closing:
                self._work()
        finally:
            self._busy = False
        with self._lock:
            return self._delay()

    def _work(self) -> None:
        raise NotImplementedError

    def _delay(self) -> float | None:
        """Seconds until there is something to do; with the lock."""
        raise NotImplementedError

    def _waiting(self) -> int:
        """How many changes are not carried out; with the lock."""
        raise NotImplementedError

    def _report(self, jail: str, action: str, what: str, steps: Sequence[Step], message: str) -> None:
        """Tell operators and observers that *what* failed for *steps* (none: start, stop, …)."""
        hosts = tuple(step.ban.host for step in steps)
        if not hosts:
            logger.error("Failed to %s jail '%s' action '%s': %s", what, jail, action, message)
        elif len(hosts) == 1:
            logger.error(
                "Failed to execute %s jail '%s' action '%s' info '%s': %s", what, jail, action, hosts[0], message
            )
        else:
            shown = ", ".join(hosts[:3]) + (", …" if len(hosts) > 3 else "")
            logger.error(
                "Failed to execute %s jail '%s' action '%s' info %d hosts (%s): %s",
                what, jail, action, len(hosts), shown, message,
            )  # fmt: skip
        self._publish(ActionFailed(self._clock.now(), jail, action, message, hosts))
