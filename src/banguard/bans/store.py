"""BanStore contract, and the in-memory store."""

from __future__ import annotations

import enum
import threading
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from banguard import netaddr
from banguard.model import Ban, Cursor, FailureState

MAX_MATCH_BYTES = 16_384
"""Characters of matched lines that are kept of one ban or host."""

MAX_VALUE = 2048
"""Characters of one captured value that are kept."""


MOST_PAST = 100
"""Past bans of one host that are told."""


class Length(enum.Enum):
    """Where the length of a ban comes from: it follows the jail's ban time, was computed once, or was asked for."""

    JAIL = "jail"
    OWN = "own"
    GIVEN = "given"


@dataclass(frozen=True, slots=True)
class StoredBan:
    """An active ban as it is kept, and where its length comes from."""

    ban: Ban
    length: Length = Length.JAIL


@dataclass(frozen=True, slots=True)
class Offences:
    """What is remembered of the earlier bans of a host: their *count*, and when (epoch seconds) the *last* began."""

    count: int
    last: float


@dataclass(frozen=True, slots=True)
class History:
    """The bans of a host taken together: their number, all their failures, the newest of their matched lines."""

    bans: int = 0
    failures: int = 0
    matches: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PastBan:
    """
    A ban as it is remembered: when it *ended* (epoch seconds; None: it did not, or nobody was there to see) and why.

    *reason* is `expired`, `manual` or `stopped`; *ban* has the end that it had last.
    """

    ban: Ban
    ended: float | None = None
    reason: str = ""


@dataclass(slots=True)
class Batch:
    """
    What is written in one transaction. Of steps that concern the same thing, the last one stands.

    The store carries them out in this order: *wiped* (jails of which all bans, past and present, are forgotten; None
    for all jails), *forgotten* ((jail or None for all, host): the same for one host), *bans* ((jail, host) → active
    ban, None when it ended), *history* (new bans, to be remembered when they are over), *cursors* ((jail, log)) and
    *failures* ((jail, host); a state without times is removed), *ended* (bans that are over). What is forgotten no
    longer counts, but is still shown as past until it is purged.
    """

    wiped: dict[str | None, None] = field(default_factory=dict)
    forgotten: dict[tuple[str | None, str], None] = field(default_factory=dict)
    bans: dict[tuple[str, str], StoredBan | None] = field(default_factory=dict)
    history: list[Ban] = field(default_factory=list)
    cursors: dict[tuple[str, str], Cursor] = field(default_factory=dict)
    failures: dict[tuple[str, str], FailureState] = field(default_factory=dict)
    ended: list[PastBan] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(
            self.bans or self.cursors or self.failures or self.history or self.forgotten or self.wiped or self.ended
        )

    def keep(self, ban: Ban, length: Length) -> None:
        """Put an active ban in, or in the place of the one that is there."""
        self.bans[ban.jail, ban.host] = StoredBan(ban, length)

    def end(self, jail: str, host: str) -> None:
        """Take an active ban out."""
        self.bans[jail, host] = None

    def forget(self, jail: str | None, hosts: Collection[str]) -> None:
        """Forget *hosts* in *jail* (None: in all), bans of this batch included."""
        known = set(hosts)
        self.history = [ban for ban in self.history if ban.host not in known or jail not in {None, ban.jail}]
        for key in [key for key in self.bans if key[1] in known and jail in {None, key[0]}]:
            del self.bans[key]
        self.forgotten.update(((jail, host), None) for host in hosts)

    def wipe(self, jail: str | None) -> None:
        """Forget all hosts of *jail* (None: of all), bans of this batch included."""
        self.history = [ban for ban in self.history if jail not in {None, ban.jail}]
        for key in [key for key in self.bans if jail in {None, key[0]}]:
            del self.bans[key]
        self.wiped[jail] = None


class BanStore(Protocol):
    """
    Where bans, positions in logs and failure counts survive a restart.

    Owned by the registry's thread, which alone writes; any thread may call `history`, `offences` and `past`.
    Every method raises StoreError when the store cannot be read or written; a write that failed changed nothing.
    Nothing is opened before `reopen` is called for the first time.
    """

    max_matches: int
    """How many matched lines are kept of a ban (`dbmaxmatches`)."""

    purge_age: float
    """Seconds after which what is over may be forgotten (`dbpurgeage`)."""

    def reopen(self) -> None:
        """Open, or open afresh after an error; a store that is damaged is set aside and a new one begun."""
        ...

    def write(self, batch: Batch) -> None:
        """Carry out all of *batch*, or nothing."""
        ...

    def replace(self, jails: Collection[str], batch: Batch) -> None:
        """Make the bans in *batch* the only active ones of *jails*, and carry out the rest of it, or nothing."""
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

    def drop_failures(self, jails: Collection[str]) -> None:
        """Forget the failure states of *jails*."""
        ...

    def drop(self, jail: str) -> None:
        """Forget all that is known of *jail*: bans, past ones too, positions and failures."""
        ...

    def offences(self, jail: str | None, hosts: Sequence[str]) -> Mapping[str, Offences]:
        """Return the earlier bans of *hosts* in *jail* (None: in all jails, summed up); unknown hosts are left out."""
        ...

    def history(self, host: str, jail: str | None = None) -> History:
        """Return the bans of *host* in *jail* (None: in all jails), as far as they are remembered."""
        ...

    def past(self, host: str) -> list[PastBan]:
        """Return the bans of *host* and of networks that it is in, newest first, `MOST_PAST` at most; any thread."""
        ...

    def bans_since(self, host: str, since: float, but: str) -> int:
        """Return how many bans of *host* began after *since* (epoch seconds) in other jails than *but*."""
        ...

    def purge(self, now: float, jails: Collection[str]) -> int:
        """
        Forget what is older than `purge_age` as of *now* and return the number of bans forgotten.

        How often a host was banned is remembered until three times its last ban time is over as well. Positions and
        failure counts of *jails* (those that run) stay.
        """
        ...

    def close(self) -> None:
        """Let go of files."""
        ...


def newest_matches(matches: Sequence[str], limit: int, size: int = MAX_MATCH_BYTES) -> tuple[str, ...]:
    """Return the newest of *matches*: at most *limit* of them, at most *size* characters together."""
    kept: list[str] = []
    for line in reversed(matches[-limit:] if limit > 0 else ()):
        if len(line) > size:
            if not kept:
                kept.append(line[:size])
            break
        size -= len(line)
        kept.append(line)
    return tuple(reversed(kept))


def short_data(data: Mapping[str, str]) -> Mapping[str, str]:
    """Return *data* with overlong values cut."""
    if all(len(value) <= MAX_VALUE for value in data.values()):
        return data
    return {key: value[:MAX_VALUE] for key, value in data.items()}


def is_over(since: float, until: float | None, oldest: float, now: float) -> bool:
    """Tell whether a past ban may be forgotten: begun before *oldest*, and three times its length is over."""
    return until is not None and since < oldest and since + 3 * (until - since) < now


class MemoryStore:
    """Keeps everything until the process ends. The lock is needed because actions ask for history meanwhile."""

    def __init__(self, *, max_matches: int = 10, purge_age: float = 86400.0) -> None:
        self.max_matches = max_matches
        self.purge_age = purge_age
        self._lock = threading.Lock()
        self._active: dict[str, dict[str, StoredBan]] = {}
        self._history: dict[str, list[Ban]] = {}
        self._offenders: dict[str, dict[str, Ban]] = {}
        self._past: dict[str, list[PastBan]] = {}
        self._cursors: dict[str, dict[str, Cursor]] = {}
        self._failures: dict[str, dict[str, FailureState]] = {}

    def reopen(self) -> None:
        """Nothing to open."""

    def close(self) -> None:
        """Nothing to close."""

    def write(self, batch: Batch) -> None:
        """Carry out *batch*."""
        with self._lock:
            for wiped in batch.wiped:
                self._wipe(wiped)
            for jail, host in batch.forgotten:
                self._forget(jail, host)
            for (jail_name, host), stored in batch.bans.items():
                if stored is None:
                    self._active.get(jail_name, {}).pop(host, None)
                else:
                    self._active.setdefault(jail_name, {})[host] = replace(stored, ban=self._short(stored.ban))
            for ban in batch.history:
                short = self._short(ban)
                self._history.setdefault(ban.host, []).append(short)
                self._offenders.setdefault(ban.host, {})[ban.jail] = replace(short, matches=())
                past = self._past.setdefault(ban.host, [])
                past.append(PastBan(short))
                del past[:-MOST_PAST]
            for over in batch.ended:
                self._past[over.ban.host] = [
                    replace(over, ban=replace(known.ban, until=over.ban.until))
                    if (known.ban.jail, known.ban.since) == (over.ban.jail, over.ban.since)
                    else known
                    for known in self._past.get(over.ban.host, ())
                ]
            for (jail_name, log), cursor in batch.cursors.items():
                self._cursors.setdefault(jail_name, {})[log] = cursor
            for (jail_name, host), state in batch.failures.items():
                if state.times:
                    self._failures.setdefault(jail_name, {})[host] = state
                else:
                    self._failures.get(jail_name, {}).pop(host, None)

    def _short(self, ban: Ban) -> Ban:
        return replace(ban, matches=newest_matches(ban.matches, self.max_matches), data=short_data(ban.data))

    def _forget(self, jail: str | None, host: str) -> None:
        for name, bans in self._active.items():
            if jail in {None, name}:
                bans.pop(host, None)
        self._history[host] = [ban for ban in self._history.get(host, ()) if jail not in {None, ban.jail}]
        if not self._history[host]:
            del self._history[host]
        known = self._offenders.get(host, {})
        for name in [name for name in known if jail in {None, name}]:
            del known[name]

    def _wipe(self, jail: str | None) -> None:
        hosts = {*self._history, *self._offenders}
        for name, bans in self._active.items():
            if jail in {None, name}:
                hosts.update(bans)
        for host in hosts:
            self._forget(jail, host)

    def replace(self, jails: Collection[str], batch: Batch) -> None:
        """Carry out *batch* with the active bans of *jails* emptied."""
        with self._lock:
            for jail in jails:
                self._active.pop(jail, None)
        self.write(batch)

    def active(self, jail: str) -> list[StoredBan]:
        """Return the bans of *jail* that were not ended."""
        return list(self._active.get(jail, {}).values())

    def cursors(self, jail: str) -> list[Cursor]:
        """Return the positions in the logs of *jail*."""
        return list(self._cursors.get(jail, {}).values())

    def failures(self, jail: str) -> list[FailureState]:
        """Return what the failure counter of *jail* held."""
        return list(self._failures.get(jail, {}).values())

    def drop_failures(self, jails: Collection[str]) -> None:
        """Forget the failure states of *jails*."""
        for jail in jails:
            self._failures.pop(jail, None)

    def drop(self, jail: str) -> None:
        """Forget all that is known of *jail*."""
        with self._lock:
            self._wipe(jail)
            for table in (self._active, self._cursors, self._failures):
                table.pop(jail, None)
            for host in list(self._past):
                self._past[host] = [past for past in self._past[host] if past.ban.jail != jail]

    def offences(self, jail: str | None, hosts: Sequence[str]) -> Mapping[str, Offences]:
        """Return the earlier bans of *hosts*."""
        with self._lock:
            found = {}
            for host in hosts:
                known = self._offenders.get(host, {})
                last = list(known.values()) if jail is None else [known[jail]] if jail in known else []
                if last:
                    found[host] = Offences(sum(ban.count for ban in last), max(ban.since for ban in last))
            return found

    def history(self, host: str, jail: str | None = None) -> History:
        """Return the bans of *host*."""
        with self._lock:
            bans = [ban for ban in self._history.get(host, ()) if jail in {None, ban.jail}]
        return merged((ban.failures, ban.matches) for ban in bans[::-1]).limited(self.max_matches)

    def past(self, host: str) -> list[PastBan]:
        """Return the bans of *host* and of networks around it."""
        with self._lock:
            found = [past for name in around(host) for past in self._past.get(name, ())]
        return sorted(found, key=lambda past: -past.ban.since)[:MOST_PAST]

    def bans_since(self, host: str, since: float, but: str) -> int:
        """Return how many bans of *host* began after *since* in other jails than *but*."""
        with self._lock:
            return sum(ban.since > since and ban.jail != but for ban in self._history.get(host, ()))

    def purge(self, now: float, jails: Collection[str]) -> int:
        """Forget what is old."""
        oldest = now - self.purge_age
        forgotten = 0
        with self._lock:
            for host in list(self._history):
                bans = [ban for ban in self._history[host] if ban.since >= oldest]
                forgotten += len(self._history[host]) - len(bans)
                if bans:
                    self._history[host] = bans
                else:
                    del self._history[host]
            for host in list(self._past):
                self._past[host] = [past for past in self._past[host] if past.ban.since >= oldest]
                if not self._past[host]:
                    del self._past[host]
            for host in list(self._offenders):
                known = self._offenders[host]
                for jail in list(known):
                    ban = known[jail]
                    if host not in self._active.get(jail, {}) and is_over(ban.since, ban.until, oldest, now):
                        del known[jail]
                if not known:
                    del self._offenders[host]
            for jail in [jail for jail in self._failures if jail not in jails]:
                states = self._failures[jail]
                self._failures[jail] = {host: kept for host, kept in states.items() if kept.times[-1] >= oldest}
        return forgotten


def around(host: str) -> list[str]:
    """Return *host* and, for an address or network, the networks that it is in."""
    family = netaddr.family(host)
    if family is None:
        return [host]
    address, _, bits = host.partition("/")
    longest = int(bits or (32 if family == 4 else 128))
    return list(dict.fromkeys((host, *(netaddr.network_of(address, length) for length in range(longest - 1, 7, -1)))))


class Merged:
    """Bans of one host, newest first, being taken together."""

    def __init__(self) -> None:
        self.bans = 0
        self.failures = 0
        self.matches: list[str] = []

    def limited(self, limit: int) -> History:
        """Return the sum, with at most *limit* lines, oldest first."""
        return History(self.bans, self.failures, newest_matches(self.matches[::-1], limit))


def merged(bans: Iterable[tuple[int, Sequence[str]]]) -> Merged:
    """Take bans together, given newest first as failures and matched lines."""
    sums = Merged()
    for failures, matches in bans:
        sums.bans += 1
        sums.failures += failures
        sums.matches.extend(reversed(matches))
    return sums
