"""Heap of ban ends."""

from __future__ import annotations

import heapq

Key = tuple[str, str]
"""Jail and host."""


class ExpiryHeap:
    """
    Knows which bans end next, without looking at all of them.

    Moved and removed ends stay in the heap as dead entries until their time comes or they outnumber the living.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[float, Key]] = []
        self._ends: dict[Key, float] = {}

    def __len__(self) -> int:
        return len(self._ends)

    def set(self, key: Key, until: float | None) -> None:
        """Let *key* end at *until* (epoch seconds); None: never. An earlier end of the same key is void."""
        if until is None:
            self._ends.pop(key, None)
            return
        if self._ends.get(key) == until:
            return
        self._ends[key] = until
        heapq.heappush(self._heap, (until, key))
        if len(self._heap) > 2 * len(self._ends) + 64:
            self._heap = [(end, known) for known, end in self._ends.items()]
            heapq.heapify(self._heap)

    def discard(self, key: Key) -> None:
        """Forget the end of *key*, if it has one."""
        self._ends.pop(key, None)

    def next(self) -> float | None:
        """Return the next end, None when there is none."""
        while self._heap:
            until, key = self._heap[0]
            if self._ends.get(key) == until:
                return until
            heapq.heappop(self._heap)
        return None

    def due(self, now: float, limit: int | None = None) -> list[Key]:
        """Take out, in the order of their ends, the keys that end at *now* or before; at most *limit* of them."""
        keys: list[Key] = []
        while limit is None or len(keys) < limit:
            until = self.next()
            if until is None or until > now:
                break
            _, key = heapq.heappop(self._heap)
            del self._ends[key]
            keys.append(key)
        return keys
