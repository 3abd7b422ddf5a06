"""Host names to addresses, with cache and timeout (usedns)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from banguard.clock import Clock


class Resolver:
    """Looks names and addresses up without ever holding its caller longer than the deadline. Any thread may ask."""

    def __init__(
        self,
        clock: Clock,
        *,
        forward: Callable[[str], Sequence[str]] | None = None,
        backward: Callable[[str], str] | None = None,
        own: Callable[[], frozenset[str]] | None = None,
        timeout: float = 5.0,
        ttl: float = 300.0,
        negative_ttl: float = 60.0,
        max_entries: int = 10_000,
    ) -> None:
        """The three callables do the real look-ups (by default the system's) and may be replaced in tests."""
        raise NotImplementedError

    def addresses(self, name: str) -> tuple[str, ...]:
        """Return the canonical addresses of *name*, sorted; none when it has none or no answer came in time."""
        raise NotImplementedError

    def name(self, address: str) -> str | None:
        """Return the host name of *address*; None when it has none or no answer came in time."""
        raise NotImplementedError

    def own_addresses(self) -> frozenset[str]:
        """Return the addresses of this host, at most five minutes old."""
        raise NotImplementedError
