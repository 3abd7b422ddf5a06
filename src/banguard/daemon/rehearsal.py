"""
Rehearse a jail on logs of the past: who would have been banned, when, and what would have been kept out.

The jail, its failure counter, the registry and its ban times are those of the server; only the clock is another: it
shows the time of the line that is read. What a banned host did during its ban would not have come, and counts as kept
out. Host names are not looked up and `ignorecommand` is not run: both would tell of today.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from banguard import netaddr
from banguard.bans.registry import AttachJail, Reach, Registry
from banguard.bans.store import MemoryStore
from banguard.clock import Clock
from banguard.config.schema import JailConfig
from banguard.daemon.parts import make_rules
from banguard.jails.ignore import IgnoreRules
from banguard.jails.jail import Jail
from banguard.jails.resolver import Resolver
from banguard.matching.prefilter import build_scanner, wanted
from banguard.model import Ban, BanChange, Candidates, Change, Cursor, Fact, FailureFound, LoginFound

Spans = Sequence[tuple[int, int]]


class LogClock:
    """The time of the line that is read; it never goes back."""

    def __init__(self) -> None:
        self._now = 0.0

    def now(self) -> float:
        """Seconds since the epoch."""
        return self._now

    def monotonic(self) -> float:
        """Seconds since the epoch, too."""
        return self._now

    def reach(self, at: float) -> None:
        """Go on to *at*, unless that is past."""
        self._now = max(self._now, at)


@dataclass(slots=True)
class WouldBan:
    """A ban that there would have been; *kept_out* failures of it would not have come, *logins* neither."""

    ban: Ban
    kept_out: int = 0
    logins: int = 0


@dataclass(frozen=True, slots=True)
class Login:
    """Logins of a host: how many, the first and the last (epoch seconds)."""

    count: int
    first: float
    last: float


class _BehindBans(IgnoreRules):
    """The ignore rules of the jail, and before them the bans: who is banned cannot fail."""

    def __init__(self, rehearsal: Rehearsal, config: JailConfig, clock: Clock, resolver: Resolver) -> None:
        super().__init__(
            config.name, clock=clock, resolver=resolver, ignoreip=config.ignoreip, ignoreself=config.ignoreself
        )
        self._rehearsal = rehearsal

    def reason(
        self, host: str, tags: Callable[[], Mapping[str, str]] | None = None, *, command: bool = True
    ) -> str | None:
        """Return why *host* is spared: it is banned, or a rule of the jail says so."""
        del tags, command
        return "ban" if self._rehearsal.keeps_out(host) else super().reason(host, command=False)


class Rehearsal:
    """One jail, and the logs that it is fed with in the order of their dates."""

    def __init__(self, config: JailConfig, *, clock: Clock, begin: float | None, end: float | None) -> None:
        """
        *clock* tells the real time, which completes dates without a year; only lines from *begin* to *end* count.

        Raise ConfigError when the jail cannot work.
        """
        self.config = config = replace(config, usedns="raw" if config.usedns == "raw" else "no", ignorecommand="")
        telling = replace(config, success_forgets=True)
        rules = make_rules(telling, journal=False)
        self._real = clock
        self._dates = make_rules(telling, journal=False)
        self._clock = LogClock()
        self._begin, self._end = begin, end
        what = wanted(rules, config.logencoding)
        self._scan = None if what is None else build_scanner([what])
        self._store = MemoryStore()
        self._registry = Registry(self._store, self._changed, self._clock, lambda _: None, random=lambda: 0.0)
        resolver = Resolver(self._clock)
        ignore = _BehindBans(self, config, self._clock, resolver)
        self._jail = Jail(
            config,
            rules,
            clock=self._clock,
            ignore=ignore,
            resolver=resolver,
            publish=self._told,
            offender=self._offender if config.increment.enabled else None,
        )
        reach = Reach(config.prefix, config.findtime, spared_in=ignore.reason_within)
        attach = AttachJail(config.name, config.bantime, config.increment, reach=reach)
        self._registry.inbox.put(attach)
        self._registry.turn()
        attach.slot.wait(0)
        self._active: dict[str, WouldBan] = {}
        self._networks = netaddr.AddressSet()
        self._next_end = float("inf")
        self.bans: list[WouldBan] = []
        self.logins: dict[str, Login] = {}
        self.lines = 0
        self.failures = 0
        self.first: float | None = None
        self.last: float | None = None

    # ---- lines

    def feed(self, log: str, block: bytes, spans: Spans | None = None) -> None:
        """Take whole lines of *log*; *spans* are where they are when a newline is not the byte 10."""
        self.lines += block.count(b"\n") if spans is None else len(spans)
        if spans is None:
            found: Iterable[tuple[int, int]] = self._scan(block)[0] if self._scan is not None else _lines(block)
        else:
            found = spans
        cursor = Cursor(log)
        for span in found:
            date = self._dates.date(self._jail.text(block[span[0] : span[1]]), self._real.now()).time
            if date is not None:
                if (self._begin is not None and date < self._begin) or (self._end is not None and date > self._end):
                    continue
                self._clock.reach(date)
                self.first = date if self.first is None else min(self.first, date)
                self.last = date if self.last is None else max(self.last, date)
            if self._clock.now() >= self._next_end:
                self._turn()
            self._jail.feed(Candidates(log, block, cursor, self._clock.now(), (span,)))
            if self._jail.has_decisions:
                report = self._jail.urgent_report()
                if report is not None:
                    self._registry.inbox.put(report)
                self._turn()

    def finish(self) -> None:
        """Count what is left."""
        report = self._jail.report()
        if report is not None:
            self._registry.inbox.put(report)
        self._turn()

    def first_date(self, block: bytes, spans: Spans | None) -> float | None:
        """Return the date of the first dated line of a block."""
        for start, end in spans if spans is not None else _lines(block):
            date = self._dates.date(self._jail.text(block[start:end]), self._real.now()).time
            if date is not None:
                return date
        return None

    # ---- what comes of them

    def keeps_out(self, host: str) -> bool:
        """Tell whether *host* is banned now, and count that it was kept out if so."""
        held = self._held(host)
        if held is not None:
            held.kept_out += 1
        return held is not None

    def _held(self, host: str) -> WouldBan | None:
        found = self._active.get(host)
        if found is None and len(self._networks) and host in self._networks:
            found = next((one for key, one in self._active.items() if host in netaddr.AddressSet((key,))), None)
        return found

    def _turn(self) -> None:
        self._registry.turn()
        ends = [one.ban.until for one in self._active.values() if one.ban.until is not None]
        self._next_end = min(ends, default=float("inf"))
        self._networks = netaddr.AddressSet(host for host in self._active if netaddr.is_network(host))

    def _changed(self, change: BanChange) -> None:
        host = change.ban.host
        if change.kind is Change.BAN:
            self._active[host] = WouldBan(change.ban)
            self.bans.append(self._active[host])
        elif change.kind is Change.EXTEND and host in self._active:
            self._active[host].ban = change.ban
        elif change.kind is Change.UNBAN:
            self._active.pop(host, None)

    def _told(self, fact: Fact) -> None:
        if isinstance(fact, FailureFound):
            self.failures += 1
        elif isinstance(fact, LoginFound):
            known = self.logins.get(fact.host)
            self.logins[fact.host] = Login(
                1 if known is None else known.count + 1, fact.at if known is None else known.first, fact.at
            )
            held = self._held(fact.host)
            if held is not None:
                held.logins += 1

    def _offender(self, host: str) -> tuple[int, float] | None:
        where = None if self.config.increment.overalljails else self.config.name
        past = self._store.offences(where, (host,)).get(host)
        return None if past is None else (past.count, past.last)


@contextmanager
def silent() -> Iterator[None]:
    """Keep the stages from logging: what they would say is told as the result."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


def _lines(block: bytes) -> Iterator[tuple[int, int]]:
    start = 0
    while (end := block.find(b"\n", start)) >= 0:
        yield start, end
        start = end + 1
