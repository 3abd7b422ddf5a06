"""Hand orders of other threads to the thread of a source."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Iterator

from banguard.inbox import Slot

_PATIENCE = 5.0


class Front:
    """
    Orders are carried out in their order, by the thread that calls `carry_out`.

    The deque is the only thing shared; appending to it and taking from it are atomic.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._orders: deque[tuple[Callable[[], None], Slot[None]]] = deque()
        self._thread: int | None = None

    def order(self, function: Callable[[], None], *, wait: bool = False) -> None:
        """Have *function* called; with *wait* until that was done, if the source runs (at most some seconds)."""
        slot: Slot[None] = Slot()
        self._orders.append((function, slot))
        self._wake()
        if wait and self._thread not in {None, threading.get_ident()}:
            with contextlib.suppress(TimeoutError):
                slot.wait(_PATIENCE)

    @contextlib.contextmanager
    def serving(self) -> Iterator[None]:
        """Mark the calling thread as the one that carries out orders."""
        self._thread = threading.get_ident()
        try:
            yield
        finally:
            self._thread = None

    def carry_out(self) -> bool:
        """Carry out what was ordered; return whether there was anything."""
        any_order = False
        while self._orders:
            function, slot = self._orders.popleft()
            any_order = True
            try:
                function()
            finally:
                slot.put(None)
        return any_order
