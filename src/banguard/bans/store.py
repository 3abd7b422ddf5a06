"""BanStore contract, and the in-memory store."""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from banguard.model import Ban, Cursor, FailureState


@dataclass(frozen=True, slots=True)
class StoredBan:
    """An active ban as it is kept; *follows* says that its end moves with the jail's ban time."""

    ban: Ban
    follows: bool = False


@dataclass(frozen=True, slots=True)
class Offences:
    """
    What is remembered of the earlier bans of a host.

    *count* bans so far, the last of them beginning at *last* (epoch seconds).
    """

    count: int
    last: float


@dataclass(frozen=True, slots=True)
class History:
    """The bans of a host taken together: their number, all their failures, the newest of their matched lines."""

    bans: int = 0
    failures: int = 0
    matches: tuple[str, ...] = ()


@dataclass(slots=True)
class Batch:
    """
    What is written in one transaction; the order of the fields is the order of the steps.

    *forgotten* are (jail, host) whose past is wiped: active ban, history and ban count. *ended* are (jail, host) whose
    active ban is over. *kept* are active bans to be put in or replaced. *history* are new bans, to be remembered even
    when they are over. *cursors* and *failures* are keyed so that the newest of each stands; a failure state without
    times is removed.
    """

    forgotten: list[tuple[str, str]] = field(default_factory=list)
    ended: list[tuple[str, str]] = field(default_factory=list)
    kept: list[StoredBan] = field(default_factory=list)
    history: list[Ban] = field(default_factory=list)
    cursors: dict[tuple[str, str], Cursor] = field(default_factory=dict)
    failures: dict[tuple[str, str], FailureState] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(
            self.forgotten or self.ended or self.kept or self.history or self.cursors or self.failures,
        )


class BanStore(Protocol):
    """
    Where bans, positions in logs and failure counts survive a restart.

    Owned by the registry's thread, which alone writes; only `history` and `offences` may be called by any thread.
    Every method raises StoreError when the store cannot be read or written; a write that failed changed nothing.
    """

    max_matches: int
    """How many matched lines are kept of a ban (`dbmaxmatches`)."""

    purge_age: float
    """Seconds after which what is over may be forgotten (`dbpurgeage`)."""

    def write(self, batch: Batch) -> None:
        """Carry out all of *batch*, or nothing."""
        ...

    def replace(self, jails: Collection[str], bans: Sequence[StoredBan], rest: Batch) -> None:
        """Make *bans* the only active bans of *jails*, and carry out *rest*, in one transaction."""
        ...

    def active(self, jail: str) -> list[StoredBan]:
        """Return the bans of *jail* that were not ended, also those whose time is over by now."""
        ...

    def cursors(self, jail: str) -> list[Cursor]:
        """Return the positions up to which the logs of *jail* are dealt with."""
        ...

    def failures(self, jail: str) -> list[FailureState]:
        """Return what the failure counter of *jail* held."""
        ...

    def offences(self, jail: str | None, hosts: Sequence[str]) -> Mapping[str, Offences]:
        """Return the earlier bans of *hosts* in *jail* (None: in all jails taken together); unknown hosts are left out."""
        ...

    def history(self, host: str, jail: str | None = None) -> History:
        """Return the bans of *host* in *jail* (None: in all jails), as far as they are remembered."""
        ...

    def purge(self, now: float, jails: Collection[str]) -> int:
        """
        Forget what is older than `purge_age` and return the number of bans forgotten.

        A ban count stays until three times its ban time is over as well. Positions and failure counts of *jails* (those
        that run) stay.
        """
        ...

    def reopen(self) -> None:
        """Open afresh after an error; a store that is damaged is set aside and a new one begun."""
        ...

    def close(self) -> None:
        """Write what waits and let go of files."""
        ...
