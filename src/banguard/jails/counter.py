"""Failure counter: maxretry within findtime, in bounded memory."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from banguard.model import NOTHING, FailureState

MAX_HOSTS = 50_000
MAX_TEXT = 16 * 1024 * 1024
"""Bytes, estimated, that all matched lines and captured data together may take."""

_LATE = 60.0
"""Seconds by which a line may come late, however short findtime is."""

_NEVER = float("-inf")

_STRING = 56
"""Bytes a string takes besides its characters, roughly."""

_MAPPING = 240
"""Bytes a small dict takes, roughly."""


@dataclass(frozen=True, slots=True)
class Reached:
    """
    A host had enough: *failures* of them within findtime, the last at *at*, with the newest *matches* and *data*.

    *times* are those that counted, *rules* the numbers of the rules that found the matches, one each.
    """

    host: str
    at: float
    failures: int
    matches: tuple[str, ...] = ()
    data: Mapping[str, str] = field(default_factory=lambda: NOTHING)
    times: tuple[float, ...] = ()
    rules: tuple[int, ...] = ()


class _Entry:
    """One host: *times* sorted; *extra* are those among them that stand for no failure but for a bad past."""

    __slots__ = ("data", "extra", "matches", "rules", "saved", "size", "times")

    def __init__(self) -> None:
        self.times: tuple[float, ...] = ()
        self.extra: tuple[float, ...] = ()
        self.matches: tuple[str, ...] = ()
        self.rules: tuple[int, ...] = ()
        self.data: Mapping[str, str] = NOTHING
        self.size = 0
        self.saved = False


class FailureCounter:
    """
    Count failures per host and say when a host has had enough.

    That is: maxretry failures of which the first and the last are at most findtime apart, in whatever order they come.
    The answer is exact while a failure is at most findtime older than the newest of its host (the time policy of a jail
    sees to that; with a findtime below a minute lines may be a minute late, and count as far as the kept times reach).
    Of a host at most twice maxretry times are kept, of all hosts at most *max_hosts*; beyond that those that did not
    fail for longest are dropped and counted. Matched lines and captured data of all hosts together stay below
    *max_text* bytes: beyond, the hosts that did not fail for longest lose theirs, never their count.

    Owned by one watcher thread; not thread-safe.
    """

    def __init__(
        self,
        *,
        maxretry: int,
        findtime: float,
        maxmatches: int = 5,
        max_hosts: int = MAX_HOSTS,
        max_text: int = MAX_TEXT,
    ) -> None:
        self._maxretry = max(1, maxretry)
        self._findtime = findtime
        self._maxmatches = max(0, maxmatches)
        self._max_hosts = max(1, max_hosts)
        self._max_text = max_text
        self._hosts: dict[str, _Entry] = {}  # in the order in which they last failed
        self._changed: dict[str, None] = {}
        self._gone: dict[str, None] = {}
        self._text = 0
        self.total = 0
        self.dropped = 0
        # How many hosts failed after *_floor*; right as long as none of them gets too old, at *_recount_at*.
        self._fresh = 0
        self._floor = _NEVER
        self._recount_at = _NEVER

    def __len__(self) -> int:
        return len(self._hosts)

    @property
    def text_size(self) -> int:
        """Bytes, estimated, that matched lines and captured data take."""
        return self._text

    def configure(self, *, maxretry: int, findtime: float, maxmatches: int) -> None:
        """Change the limits; they hold for what is added from now on."""
        self._maxretry = max(1, maxretry)
        self._findtime = findtime
        self._maxmatches = max(0, maxmatches)
        self._recount_at = _NEVER

    def add(
        self,
        host: str,
        at: float,
        matches: Sequence[str] = (),
        data: Mapping[str, str] = NOTHING,
        *,
        failures: int = 1,
        extra: int = 0,
        rule: int = 0,
    ) -> Reached | None:
        """
        Record *failures* of *host* at time *at* (epoch seconds) and return what it reached, None when not enough.

        *extra* more are counted for its bad past, but not told as failures. Captured *data* goes over what earlier
        failures captured. *rule* is the number of the rule that found it (0: none).
        Reaching the limit forgets the host: it has to fail afresh.
        """
        self.total += failures
        hosts = self._hosts
        entry = hosts.pop(host, None)
        if entry is None:
            entry = _Entry()
        else:
            self._text -= entry.size
            self._fresh -= entry.times[-1] > self._floor
        self._record(entry, at, failures + extra)
        if extra:
            entry.extra = (*entry.extra, *(at,) * extra)
        self._describe(entry, matches, data, rule)
        window = self._window(entry.times, at) if len(entry.times) >= self._maxretry else None
        if window is not None:
            self._forget(host, entry)
            first, last = window
            count = sum(first <= time <= last for time in entry.times)
            count -= sum(first <= time <= last for time in entry.extra)
            counted = tuple(time for time in entry.times if first <= time <= last)
            return Reached(host, last, max(failures, count), entry.matches, entry.data, counted, entry.rules)
        hosts[host] = entry
        newest = entry.times[-1]
        if newest > self._floor:
            self._fresh += 1
            self._recount_at = min(self._recount_at, newest + self._findtime)
        self._text += entry.size
        self._changed[host] = None
        self._gone.pop(host, None)
        if len(hosts) > self._max_hosts:
            self._drop_hosts()
        if self._text > self._max_text:
            self._drop_text()
        return None

    def _record(self, entry: _Entry, at: float, count: int) -> None:
        times = entry.times
        new = (at,) if count == 1 else (at,) * min(count, self._maxretry)
        if not times or at >= times[-1]:
            times = times + new
        else:
            index = bisect_right(times, at)
            times = times[:index] + new + times[index:]
        if times[0] != times[-1] and times[0] < (floor := times[-1] - self._reach()):
            times = times[bisect_left(times, floor) :]
        if len(times) > 2 * self._maxretry:
            times = times[-2 * self._maxretry :]
        entry.times = times
        if entry.extra:
            entry.extra = tuple(time for time in entry.extra if time >= times[0])

    def _reach(self) -> float:
        """Return how old a failure may be and still matter: one may come late, and reach back findtime from there."""
        return self._findtime + max(self._findtime, _LATE)

    def _describe(self, entry: _Entry, matches: Sequence[str], data: Mapping[str, str], rule: int) -> None:
        keep = self._maxmatches
        if matches and keep:
            entry.matches = (*entry.matches, *matches)[-keep:]
            entry.rules = (*entry.rules, *(rule,) * len(matches))[-keep:]
        elif len(entry.matches) > keep:
            entry.matches = entry.matches[-keep:] if keep else ()
            entry.rules = entry.rules[-keep:] if keep else ()
        if data:
            entry.data = {**entry.data, **data} if entry.data else data
        entry.size = sum(map(len, entry.matches)) + _STRING * len(entry.matches) if entry.matches else 0
        if entry.data:
            entry.size += _MAPPING + _STRING * len(entry.data) + sum(map(len, entry.data.values()))

    def _window(self, times: tuple[float, ...], at: float) -> tuple[float, float] | None:
        """Return first and last time of a full window that holds *at*, None when there is none in maxretry or more."""
        need, findtime = self._maxretry, self._findtime
        newest = times[-1]
        if at == newest:
            if newest - times[-need] > findtime:
                return None
            return (next(time for time in times if newest - time <= findtime), newest)
        index = bisect_right(times, at) - 1
        for first in range(max(0, index - need + 1), min(index, len(times) - need) + 1):
            if times[first + need - 1] - times[first] <= findtime:
                start = times[first]
                return (start, max(time for time in times if time - start <= findtime))
        return None

    def state(self, host: str) -> FailureState | None:
        """Return what is held of *host*, None when nothing is."""
        entry = self._hosts.get(host)
        return None if entry is None else FailureState(host, entry.times, entry.matches, entry.data)

    def failing(self, since: float) -> tuple[FailureState, ...]:
        """Return what is held of all hosts that failed at *since* (epoch seconds) or later."""
        return tuple(
            FailureState(host, entry.times, entry.matches, entry.data)
            for host, entry in self._hosts.items()
            if entry.times[-1] >= since
        )

    def foresee(self, host: str, at: float, extra: int = 0) -> Reached | None:
        """Return what `add` would, and count nothing."""
        twin = FailureCounter(maxretry=self._maxretry, findtime=self._findtime, maxmatches=self._maxmatches)
        state = self.state(host)
        twin.restore(() if state is None else (state,))
        return twin.add(host, at, extra=extra)

    def forget_rules(self) -> None:
        """Forget which rules found what is held: their numbers mean others now."""
        for entry in self._hosts.values():
            entry.rules = (0,) * len(entry.rules)

    def forget(self, host: str) -> bool:
        """Drop what is known of *host*; return whether there was something."""
        entry = self._hosts.pop(host, None)
        if entry is None:
            return False
        self._text -= entry.size
        self._fresh -= entry.times[-1] > self._floor
        self._forget(host, entry)
        return True

    def _forget(self, host: str, entry: _Entry) -> None:
        """Note that *host*, which is out of the table already, is gone."""
        self._changed.pop(host, None)
        if entry.saved:
            self._gone[host] = None

    def _drop_hosts(self) -> None:
        # Some at once: finding the oldest key of a dict from which many were taken is slow.
        surplus = len(self._hosts) - self._max_hosts + self._max_hosts // 64
        for host in list(islice(self._hosts, surplus)):
            self.forget(host)
            self.dropped += 1

    def _drop_text(self) -> None:
        goal = self._max_text - self._max_text // 8
        for host, entry in self._hosts.items():
            if self._text <= goal:
                return
            if entry.size:
                self._text -= entry.size
                entry.matches, entry.rules, entry.data, entry.size = (), (), NOTHING, 0
                self._changed[host] = None

    def expire(self, now: float) -> int:
        """Drop hosts whose failures can no longer matter as of *now*; return how many."""
        floor = now - self._reach()
        over = [host for host, entry in self._hosts.items() if entry.times[-1] < floor]
        for host in over:
            self.forget(host)
        return len(over)

    def count(self, now: float) -> int:
        """Return how many hosts failed within findtime before *now*."""
        if not self._floor + self._findtime <= now < self._recount_at:
            self._floor = floor = now - self._findtime
            fresh = [entry.times[-1] for entry in self._hosts.values() if entry.times[-1] > floor]
            self._fresh = len(fresh)
            self._recount_at = min(fresh, default=float("inf")) + self._findtime
        return self._fresh

    def changes(self) -> tuple[FailureState, ...]:
        """Return what changed since the last call; a state without times tells that the host is forgotten."""
        if not self._changed and not self._gone:
            return ()
        states = [FailureState(host, ()) for host in self._gone]
        for host in self._changed:
            entry = self._hosts[host]
            entry.saved = True
            states.append(FailureState(host, entry.times, entry.matches, entry.data))
        self._changed.clear()
        self._gone.clear()
        return tuple(states)

    def restore(self, states: Iterable[FailureState]) -> None:
        """Take over what `changes` told in an earlier run; the latest state of each host."""
        for state in states:
            if not state.times:
                continue
            self.forget(state.host)
            entry = _Entry()
            entry.times = tuple(sorted(state.times))[-2 * self._maxretry :]
            entry.saved = True
            self._describe(entry, state.matches, state.data, 0)
            self._hosts[state.host] = entry
            self._gone.pop(state.host, None)
            self._text += entry.size
            self._recount_at = _NEVER
        if len(self._hosts) > self._max_hosts:
            self._drop_hosts()
        if self._text > self._max_text:
            self._drop_text()
