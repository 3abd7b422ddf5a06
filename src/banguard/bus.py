"""Publish facts to observers; never blocks, never raises."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable

from banguard.model import Fact

logger = logging.getLogger("banguard.bus")

Observer = Callable[[Fact], None]


class Bus:
    """
    Tells every observer of every fact, in the thread that publishes; an observer only puts it into its queue.

    The lock is for those who come and go, from threads of clients; whoever publishes never waits for it.
    """

    def __init__(self) -> None:
        self._observers: tuple[Observer, ...] = ()
        self._lock = threading.Lock()
        self.published: Counter[str] = Counter()

    def subscribe(self, observer: Observer) -> None:
        """Add *observer*; it must neither block nor raise."""
        with self._lock:
            self._observers = (*self._observers, observer)

    def unsubscribe(self, observer: Observer) -> None:
        """Forget *observer*."""
        with self._lock:
            self._observers = tuple(known for known in self._observers if known != observer)

    def publish(self, fact: Fact) -> None:
        """Tell all observers of *fact*; one that raises is logged and the others still hear it."""
        self.published[type(fact).__name__] += 1
        for observer in self._observers:
            try:
                observer(fact)
            except Exception:  # an observer must never harm the stage that publishes
                logger.exception("An observer failed on %s", type(fact).__name__)
