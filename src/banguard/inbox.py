"""Bounded queue between two threads; every hand-off uses it."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class Inbox(Generic[T]):
    """
    First in, first out, with a limit: a full inbox makes the sender wait, so nothing is ever dropped.

    The lock is needed because sender and receiver are different threads. Messages are batches (a block of lines,
    a report), never single lines. `wait_seconds` counts how long senders stood waiting.
    """

    def __init__(self, limit: int = 64) -> None:
        self._limit = limit
        self._items: deque[T] = deque()
        self._lock = threading.Lock()
        self._filled = threading.Condition(self._lock)
        self._emptied = threading.Condition(self._lock)
        self._closed = False
        self._refused_at: float | None = None
        self.wait_seconds = 0.0

    def __len__(self) -> int:
        return len(self._items)

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def put(self, item: T, timeout: float | None = None) -> bool:
        """Add *item*, waiting while full; return False when closed or when *timeout* seconds were not enough."""
        with self._lock:
            if len(self._items) >= self._limit and not self._closed:
                began = time.monotonic()  # noqa: TID251  a lock's own waiting time, not a decision about time
                self._emptied.wait_for(lambda: len(self._items) < self._limit or self._closed, timeout)
                self.wait_seconds += time.monotonic() - began  # noqa: TID251
            if self._closed or len(self._items) >= self._limit:
                return False
            self._items.append(item)
            self._filled.notify()
            return True

    def offer(self, item: T, limit: int | None = None) -> bool:
        """
        Add *item* if there is room (fewer than *limit* items, where that is given); return whether it was taken.

        For a sender that serves others meanwhile and comes again: the time from a refusal to the next success counts
        as waiting.
        """
        with self._lock:
            if self._closed or len(self._items) >= min(self._limit, limit or self._limit):
                if self._refused_at is None:
                    self._refused_at = time.monotonic()  # noqa: TID251  as in put
                return False
            if self._refused_at is not None:
                self.wait_seconds += time.monotonic() - self._refused_at  # noqa: TID251
                self._refused_at = None
            self._items.append(item)
            self._filled.notify()
            return True

    def put_front(self, item: T) -> None:
        """Add *item* before all others, even when full: an operator's word must not wait for a flood."""
        with self._lock:
            if not self._closed:
                self._items.appendleft(item)
                self._filled.notify()

    def get(self, timeout: float | None = None) -> T | None:
        """Take the oldest item, waiting up to *timeout* seconds (None: for ever); None when time is over or closed."""
        with self._lock:
            if not self._items:
                self._filled.wait_for(lambda: self._items or self._closed, timeout)
            if not self._items:
                return None
            item = self._items.popleft()
            self._emptied.notify()
            return item

    def get_all(self, timeout: float | None = None) -> list[T]:
        """Take all that waits, waiting up to *timeout* seconds for the first; an empty list when nothing came."""
        with self._lock:
            if not self._items:
                self._filled.wait_for(lambda: self._items or self._closed, timeout)
            items = list(self._items)
            self._items.clear()
            self._emptied.notify_all()
            return items

    def close(self) -> None:
        """Refuse further items and wake everybody; what is inside can still be taken."""
        with self._lock:
            self._closed = True
            self._filled.notify_all()
            self._emptied.notify_all()


class Slot(Generic[T]):
    """
    The place for the reply to one message: the sender waits on it, the receiver fills it once.

    A receiver that cannot carry the message out puts the error in, which is then raised where the sender waits.
    """

    __slots__ = ("_done", "_error", "_value")

    def __init__(self) -> None:
        self._done = threading.Event()
        self._value: T | None = None
        self._error: Exception | None = None

    def put(self, value: T) -> None:
        """Fill the slot and wake the sender."""
        self._value = value
        self._done.set()

    def fail(self, error: Exception) -> None:
        """Let `wait` raise *error*; of no effect on a slot that is filled."""
        if not self._done.is_set():
            self._error = error
            self._done.set()

    @property
    def filled(self) -> bool:
        """Whether there is a reply."""
        return self._done.is_set()

    def wait(self, timeout: float | None = None) -> T:
        """Return the reply; TimeoutError when none came within *timeout* seconds, or the receiver's own error."""
        if not self._done.wait(timeout):
            raise TimeoutError("no reply in time")
        if self._error is not None:
            raise self._error
        return self._value  # type: ignore[return-value]  # put() gave a T
