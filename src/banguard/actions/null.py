"""Records changes; for tests and dry runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from banguard.actions.base import Step
from banguard.model import Ban


class NullAction:
    """A firewall that is only a dictionary: member → address → end of the ban (None for ever)."""

    look_every = 60.0

    def __init__(self, properties: Mapping[str, str] | None = None) -> None:
        self.properties = dict(properties or {})
        self.chunk = int(self.properties.get("chunk") or 2000)
        self.members: dict[str, dict[str, float | None]] = {}
        self.transactions = 0
        self.intact = True

    @classmethod
    def place(cls, properties: Mapping[str, str]) -> str:
        """Name the place: all members share one."""
        return f"null {properties.get('table', '')}".strip()

    @classmethod
    def verify(cls, properties: Mapping[str, str]) -> None:
        """Every property will do."""
        del properties

    def join(self, member: str, properties: Mapping[str, str], bans: Sequence[Ban], now: float) -> None:
        """Add or replace *member*."""
        del properties
        self.transactions += 1
        self.members[member] = {ban.address: ban.until for ban in bans if _is_ahead(ban, now)}

    def sweep(self) -> None:
        """Nothing is left by an earlier run."""

    def leave(self, member: str) -> None:
        """Remove *member*."""
        self.transactions += 1
        self.members.pop(member, None)

    def changed(self) -> bool:
        """Tell that a look is worth it: it costs nothing."""
        return True

    def forget(self, member: str) -> None:
        """Nothing outlives a dictionary."""
        self.members.pop(member, None)

    def apply(self, steps: Sequence[Step], now: float) -> None:
        """Carry out *steps*."""
        self.transactions += 1
        for step in steps:
            held = self.members[step.member]
            if step.new is not None and _is_ahead(step.new, now):
                held[step.key] = step.new.until
            else:
                held.pop(step.key, None)

    def rebuild(self, bans: Mapping[str, Sequence[Ban]], now: float) -> None:
        """Start afresh with *bans*."""
        self.transactions += 1
        self.intact = True
        self.members = {
            member: {ban.address: ban.until for ban in some if _is_ahead(ban, now)} for member, some in bans.items()
        }

    def check(self) -> bool:
        """Return `intact`, which a test may set to False."""
        return self.intact


def _is_ahead(ban: Ban, now: float) -> bool:
    """Tell whether the end of *ban* is still to come."""
    return ban.until is None or ban.until > now
