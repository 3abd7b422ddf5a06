"""Merge changes so that each address appears once; cut into chunks."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import MappingProxyType

from banguard.actions.base import Step
from banguard.model import Ban, BanChange, Change, Origin

FIRST_DELAY = 1.0
LONGEST_DELAY = 300.0
UNBAN_ATTEMPTS = 5
"""After so many failures an unban is given up: most likely the ban is not there any more."""

_UNKNOWN = object()


def backoff(attempts: int) -> float:
    """Return the seconds to wait after the *attempts*-th failure in a row (from 1): 1, 2, 4, … 300."""
    return min(LONGEST_DELAY, FIRST_DELAY * 2.0 ** min(attempts - 1, 30))


@dataclass(slots=True)
class Failure:
    """What went wrong with a key: the ban it was about, why, how often, and when to try again (monotonic seconds)."""

    ban: Ban
    message: str
    attempts: int
    due: float


def by_address(ban: Ban) -> str:
    """Key of actions that block addresses: bans of several ids with the same address are one."""
    return ban.address


def by_host(ban: Ban) -> str:
    """Key of actions that are told of each id."""
    return ban.host


class DesiredState:
    """
    What one action of one jail should hold, what it holds, and so what remains to be done.

    A change only alters what is wanted, so a ban and an unban that both wait come to nothing, and each key appears once
    however often it changed. Differences are taken, carried out, and reported as done or failed; meanwhile further
    changes may come in. Not thread-safe: its worker has a lock.
    """

    keeps_state = True

    def __init__(self, member: str, key: Callable[[Ban], str] = by_host) -> None:
        self._member = member
        self._key = key
        self._applied: dict[str, Ban] = {}
        # Only keys that differ from what is applied. They go from the front, where a dict keeps a gap to pass over.
        self._wanted: OrderedDict[str, Ban | None] = OrderedDict()
        self._flying: set[str] = set()  # taken and not yet reported
        self._again: set[str] = set()
        self._restored: set[str] = set()
        self._holders: dict[str, dict[str, Ban]] = {}  # keys that bans of several hosts share: host → ban
        self._failures: dict[str, Failure] = {}

    # ---- changes come in

    def put(self, change: BanChange) -> None:
        """Note a change."""
        key = self._key(change.ban)
        if change.kind is Change.UNBAN:
            self._want(key, self._without(key, change.ban))
            return
        if change.restored and change.ban.origin is not Origin.RESTORED:
            self._restored.add(key)
        self._want(key, self._with(key, change.ban))

    def restore(self, bans: Iterable[Ban]) -> None:
        """Note the *bans* of an earlier run."""
        for ban in bans:
            self.put(BanChange(Change.BAN, ban, restored=True))

    def want_nothing(self) -> None:
        """Note that all bans ended."""
        self._holders.clear()
        for key in [*self._wanted, *self._applied, *self._failures]:
            self._want(key, None)

    def lose(self, which: Callable[[Ban], bool] | None = None) -> int:
        """Note that the action lost its bans, or those that *which* names; return how many."""
        lost = [key for key, ban in self._applied.items() if which is None or which(ban)]
        for key in lost:
            ban = self._applied.pop(key)
            if self._wanted.setdefault(key, ban) is None:
                del self._wanted[key]
            else:
                self._again.add(key)
        return len(lost)

    def _want(self, key: str, ban: Ban | None) -> None:
        if key in self._flying:
            self._wanted[key] = ban
        elif ban is not None:
            if self._applied.get(key) == ban:
                self._wanted.pop(key, None)
                self._failures.pop(key, None)
            else:
                self._wanted[key] = ban
        elif key in self._applied or key in self._failures:
            # An attempt that failed may have had its effect nevertheless (a time-out behind a slow API).
            self._wanted[key] = None
        else:
            self._wanted.pop(key, None)
            self._restored.discard(key)
        failure = self._failures.get(key)
        if failure is not None:
            failure.due = 0.0  # a fresh change is tried at once

    def _current(self, key: str) -> Ban | None:
        return self._wanted[key] if key in self._wanted else self._applied.get(key)

    def _with(self, key: str, ban: Ban) -> Ban:
        holders = self._holders.get(key)
        if holders is None:
            current = self._current(key)
            if current is None or current.host == ban.host:
                return ban
            holders = self._holders[key] = {current.host: current}
        holders[ban.host] = ban
        return _longest(holders)

    def _without(self, key: str, ban: Ban) -> Ban | None:
        holders = self._holders.get(key)
        if holders is None:
            return None
        holders.pop(ban.host, None)
        if not holders:
            del self._holders[key]
            return None
        return _longest(holders)

    # ---- differences go out

    def take(self, limit: int, now: float) -> list[Step]:
        """Take at most *limit* differences that are due at monotonic time *now*, oldest first."""
        steps: list[Step] = []
        for key, new in self._wanted.items():
            if len(steps) >= limit:
                break
            failure = self._failures.get(key)
            if key in self._flying or (failure is not None and failure.due > now):
                continue
            old = self._applied.get(key)
            if new is None and old is None and failure is not None:
                old = failure.ban
            steps.append(self._step(key, old, new))
        self._flying.update(step.key for step in steps)
        return steps

    def take_all(self) -> list[Step]:
        """Take everything that is wanted, as if nothing were applied: for building anew."""
        keys = dict.fromkeys([*self._applied, *self._wanted])
        steps = [self._step(key, None, ban) for key in keys if (ban := self._current(key)) is not None]
        for key in [key for key, ban in self._wanted.items() if ban is None and key not in self._flying]:
            del self._wanted[key]
            self._failures.pop(key, None)
        self._applied.clear()
        self._flying.update(step.key for step in steps)
        for step in steps:
            self._wanted.setdefault(step.key, step.new)
        return steps

    def _step(self, key: str, old: Ban | None, new: Ban | None) -> Step:
        ban = new or old
        restored = key in self._restored or (ban is not None and ban.origin is Origin.RESTORED)
        return Step(self._member, key, old, new, again=key in self._again, restored=restored)

    # ---- results come back

    def done(self, steps: Iterable[Step]) -> list[tuple[Step, int]]:
        """Note that *steps* were carried out; return those that had failed before, and how often."""
        recovered = []
        for step in steps:
            key = step.key
            self._flying.discard(key)
            self._again.discard(key)
            failure = self._failures.pop(key, None)
            if failure is not None and step.new is not None:
                recovered.append((step, failure.attempts))
            if step.new is None:
                self._applied.pop(key, None)
            else:
                self._applied[key] = step.new
            self._reconcile(key)
        return recovered

    def put_back(self, steps: Iterable[Step]) -> None:
        """Note that *steps* were not tried after all."""
        for step in steps:
            self._flying.discard(step.key)
            self._reconcile(step.key)

    def failed(self, steps: Iterable[Step], message: str, now: float, *, final: bool = False) -> list[Step]:
        """
        Note that *steps* could not be carried out and plan the next attempt.

        Return those whose failure is news: the first, or one with another *message*. *final*: an unban is not to be
        tried again. The same holds after `UNBAN_ATTEMPTS`.
        """
        news = []
        for step in steps:
            key = step.key
            self._flying.discard(key)
            failure = self._failures.get(key)
            if failure is None:
                failure = self._failures[key] = Failure(step.ban, message, 0, 0.0)
            if failure.attempts == 0 or failure.message != message:
                news.append(step)
            failure.message = message
            failure.attempts += 1
            failure.due = now + backoff(failure.attempts)
            if step.new is None and (final or key not in self._applied or failure.attempts >= UNBAN_ATTEMPTS):
                del self._failures[key]
                self._applied.pop(key, None)
            elif step.new is not None:
                failure.ban = step.new
            self._reconcile(key)
        return news

    def _reconcile(self, key: str) -> None:
        """Drop what is wanted when it is so already."""
        wanted = self._wanted.get(key, _UNKNOWN)
        if wanted is _UNKNOWN:
            return
        if wanted == self._applied.get(key) and (wanted is not None or key not in self._failures):
            del self._wanted[key]
            if wanted is None:
                self._restored.discard(key)
                self._again.discard(key)

    # ---- looking

    def __len__(self) -> int:
        """Return how many differences there are."""
        return len(self._wanted)

    @property
    def applied(self) -> int:
        """How many keys the action holds."""
        return len(self._applied)

    def next_due(self, now: float) -> float | None:
        """Return the seconds until something can be taken (0: now), None when nothing waits."""
        best: float | None = None
        for key in self._wanted:
            if key in self._flying:
                continue
            failure = self._failures.get(key)
            wait = 0.0 if failure is None else max(0.0, failure.due - now)
            if wait == 0.0:
                return 0.0
            best = wait if best is None else min(best, wait)
        return best

    def ends_everything(self) -> bool:
        """Tell whether all that waits is unbans, and nothing would be left after them."""
        return (
            not self._flying
            and bool(self._applied)
            and len(self._wanted) >= len(self._applied)
            and all(ban is None for ban in self._wanted.values())
            and all(key in self._wanted for key in self._applied)
        )

    def holds(self, ban: Ban) -> bool:
        """Tell whether the action holds *ban*'s key."""
        return self._key(ban) in self._applied

    def lacks(self, bans: Iterable[Ban]) -> frozenset[str]:
        """Return the hosts of those *bans* whose keys the action does not hold."""
        key, applied = self._key, self._applied
        return frozenset(ban.host for ban in bans if key(ban) not in applied)

    def hosts(self) -> frozenset[str]:
        """Return the hosts whose bans the action holds."""
        hosts: set[str] = set()
        for key, ban in self._applied.items():
            holders = self._holders.get(key)
            hosts.update(holders if holders is not None else (ban.host,))
        return frozenset(hosts)

    def hosts_of(self, key: str) -> tuple[str, ...]:
        """Return the hosts whose bans the action holds under *key*."""
        ban = self._applied.get(key)
        return () if ban is None else tuple(self._holders.get(key, (ban.host,)))

    def failures(self) -> MappingProxyType[str, str]:
        """Return host → message for what failed and is not yet done."""
        return MappingProxyType({failure.ban.host: failure.message for failure in self._failures.values()})


class Notices:
    """
    The bans a notification is still to be told of; the same face as `DesiredState`.

    An unban takes nothing back, a failed notice is not repeated (who reports to somebody else must not do so twice),
    and of several changes of one host the last of each kind remains.
    """

    keeps_state = False

    def __init__(self, member: str) -> None:
        self._member = member
        self._waiting: dict[tuple[str, Change], Step] = {}
        self._flying = 0

    def put(self, change: BanChange) -> None:
        """Note a change."""
        if change.kind is Change.UNBAN:
            return
        ban = change.ban
        old = ban if change.kind is Change.EXTEND else None
        restored = change.restored or ban.origin is Origin.RESTORED
        self._waiting[ban.host, change.kind] = Step(self._member, ban.host, old, ban, restored=restored)

    def restore(self, bans: Iterable[Ban]) -> None:
        """Note the *bans* of an earlier run."""
        for ban in bans:
            self.put(BanChange(Change.BAN, ban, restored=True))

    def want_nothing(self) -> None:
        """Nothing to take back."""

    def lose(self, which: Callable[[Ban], bool] | None = None) -> int:
        """Nothing to lose."""
        del which
        return 0

    def take(self, limit: int, now: float) -> list[Step]:
        """Take at most *limit* notices, oldest first."""
        del now
        keys = list(self._waiting)[:limit]
        self._flying += len(keys)
        return [self._waiting.pop(key) for key in keys]

    def done(self, steps: Iterable[Step]) -> list[tuple[Step, int]]:
        """Note that *steps* were told."""
        self._flying -= len(list(steps))
        return []

    def put_back(self, steps: Iterable[Step]) -> None:
        """Note that *steps* were not tried after all."""
        for step in steps:
            self._flying -= 1
            self._waiting.setdefault((step.key, step.kind), step)

    def failed(self, steps: Iterable[Step], message: str, now: float, *, final: bool = False) -> list[Step]:
        """Note that *steps* could not be told; all of them are news and none is tried again."""
        del message, now, final
        news = list(steps)
        self._flying -= len(news)
        return news

    def __len__(self) -> int:
        """Return how many notices are not told yet."""
        return len(self._waiting) + self._flying

    @property
    def applied(self) -> int:
        """A notification holds nothing."""
        return 0

    def next_due(self, now: float) -> float | None:
        """Return 0 when something waits, else None."""
        del now
        return 0.0 if self._waiting else None

    def ends_everything(self) -> bool:
        """Never so: nothing is held."""
        return False

    def holds(self, ban: Ban) -> bool:
        """Never so."""
        del ban
        return False

    def lacks(self, bans: Iterable[Ban]) -> frozenset[str]:
        """Return all of them: nothing is held."""
        return frozenset(ban.host for ban in bans)

    def hosts(self) -> frozenset[str]:
        """Return nothing: a notification holds no bans."""
        return frozenset()

    def failures(self) -> MappingProxyType[str, str]:
        """Return nothing: failures are not kept."""
        return MappingProxyType({})


def _longest(holders: dict[str, Ban]) -> Ban:
    """Return the ban that ends last."""
    return max(holders.values(), key=lambda ban: float("inf") if ban.until is None else ban.until)
