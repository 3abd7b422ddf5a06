"""Thread that owns all active bans."""

from __future__ import annotations

import logging
import math
import threading
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from banguard import netaddr
from banguard.bans.bantime import BanTimes
from banguard.bans.expiry import ExpiryHeap
from banguard.bans.neighbours import Neighbours
from banguard.bans.store import BanStore, Batch, Length, Offences, PastBan
from banguard.clock import Clock
from banguard.config.schema import BanPrefix, BantimeIncrement
from banguard.duration import format_duration
from banguard.errors import StoreError
from banguard.inbox import Inbox, Slot
from banguard.model import (
    NOTHING,
    Ban,
    BanChange,
    BanDecision,
    Banned,
    Change,
    Cursor,
    Fact,
    FailureState,
    JailReport,
    Origin,
    Unbanned,
)

logger = logging.getLogger("banguard.actions")
filter_logger = logging.getLogger("banguard.filter")
observer_logger = logging.getLogger("banguard.observer")
store_logger = logging.getLogger("banguard.database")

NOTICE = 25
"""The log level between INFO and WARNING at which bans are told."""

COMMIT_EVERY = 0.5
"""Seconds that positions and failure counts alone may wait to be written."""

LATE = 2.0
"""Seconds after its last failure in which a banned host may fail on: what was on its way, in log and firewall."""

_RETRY_EVERY = 5.0
_PURGE_EVERY = 3600.0
_FIRST_PURGE_AFTER = 60.0
_RECHECK_EVERY = 3.0
_ENDS_PER_TURN = 2000
_LONGEST_WAIT = 1.0
_IDLE_WAIT = 5.0
_MAX_WAITING_HISTORY = 100_000
_MAX_WAITING_FAILURES = 200_000
_MOST_OBSERVED = 1000
Ignored = Callable[[str], "str | bool | None"]
"""Tells why a jail's ignore rules spare a host; None (or False) when they do not."""

Key = tuple[str, str]
"""Jail and host."""


@dataclass(frozen=True, slots=True)
class Repeats:
    """A jail that bans whoever was banned *maxretry* times in other jails within *findtime* seconds."""

    maxretry: int
    findtime: float


@dataclass(frozen=True, slots=True)
class Reach:
    """
    How far the bans of a jail go: beyond single addresses (*prefix*, within *findtime* seconds), to *repeats*.

    With *observe* nobody is banned: it is only told who would be, and kept who that was.

    *spared_in* tells of a network why it cannot be banned as a whole, None (or False) when it can; like `ignored` it is
    asked in the registry's thread.
    """

    prefix: BanPrefix = field(default_factory=BanPrefix)
    findtime: float = 600.0
    observe: bool = False
    repeats: Repeats | None = None
    spared_in: Ignored | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class JailBans:
    """
    The bans of one jail at one moment.

    *bans* are ordered by their end, those for ever last, equal ends by host. *total* counts the bans since the jail
    was attached, restored ones included. *again* tells of hosts that had enough failures for another ban while they
    were banned: how many failures, the last at (epoch seconds). *observed* are the bans that there would be, were
    the jail not to observe only, in the order in which they would have begun.
    """

    bans: tuple[Ban, ...] = ()
    total: int = 0
    observed: tuple[Ban, ...] = ()
    again: Mapping[str, tuple[int, float]] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class Attached:
    """
    The reply to AttachJail: where the jail's sources and its failure counter go on.

    *bans* are the active bans of the jail: those restored now, or, for a jail that was attached already, all.
    """

    cursors: tuple[Cursor, ...]
    failures: tuple[FailureState, ...]
    bans: tuple[Ban, ...]


@dataclass(frozen=True, slots=True)
class AttachJail:
    """
    A jail begins: its ban times are set, its bans of an earlier run are restored.

    *ignored* tells whether the jail's ignore rules spare a host (`IgnoreRules.reason` of an instance of its own); it is
    asked, in the registry's thread, for restored bans and for those of the fleet. *take* gets all restored bans at
    once, in the registry's thread and so before any change of them is emitted; it must not block. Without it each is
    emitted as `BanChange(BAN, restored=True)`, and the jail's actions must be attached before.
    """

    jail: str
    bantime: float = 600
    increment: BantimeIncrement = field(default_factory=BantimeIncrement)
    ignored: Ignored | None = None
    take: Callable[[tuple[Ban, ...]], None] | None = None
    reach: Reach = field(default_factory=Reach)
    slot: Slot[Attached] = field(default_factory=Slot)


@dataclass(frozen=True, slots=True)
class ConfigureJail:
    """
    The ban times of a jail change. The reply is the number of bans whose end moved.

    Those are the bans whose length is that of the jail (not grown, extended, restored or asked for); each is emitted as
    EXTEND with its new end, which may also be an earlier one. *ignored* None keeps the present one, as does *reach*.
    """

    jail: str
    bantime: float
    increment: BantimeIncrement = field(default_factory=BantimeIncrement)
    ignored: Ignored | None = None
    reach: Reach | None = None
    slot: Slot[int] = field(default_factory=Slot)


@dataclass(frozen=True, slots=True)
class DetachJail:
    """
    A jail stops: its bans leave the registry and stay in the store. The reply is what was active.

    With *repeal* each is logged as `Repeal Ban`. No change is emitted: whoever stops the jail takes its actions down.
    """

    jail: str
    repeal: bool = True
    slot: Slot[tuple[Ban, ...]] = field(default_factory=Slot)


@dataclass(frozen=True, slots=True)
class BanRequest:
    """
    An operator or a peer wants hosts banned now. The reply is the number of those that were not banned before.

    *bantime* None means that of the jail (grown for hosts that come back), negative for ever. *since* None means now.
    Hosts are canonical addresses or networks, or other ids. Bans of the fleet are checked against the jail's ignore
    rules, manual ones are not. KeyError when the jail is not attached.
    """

    jail: str
    hosts: tuple[str, ...]
    bantime: float | None = None
    origin: Origin = Origin.MANUAL
    since: float | None = None
    data: Mapping[str, str] = field(default_factory=lambda: NOTHING)
    slot: Slot[int] = field(default_factory=Slot)


@dataclass(frozen=True, slots=True)
class ImportBans:
    """
    Bans that another program had, complete with begin, end and count. The reply is the number of those put in force.

    Hosts that are banned already keep their ban; of bans that are over only the count is remembered. KeyError when the
    jail is not attached.
    """

    jail: str
    bans: tuple[Ban, ...]
    slot: Slot[int] = field(default_factory=Slot)


@dataclass(frozen=True, slots=True)
class UnbanRequest:
    """
    End bans by hand in *jail* (None: in all jails), and forget the hosts' past in the store.

    A network stands for itself and, unless *exact*, for all that is banned inside it. The reply gives for each host
    that was banned the number of jails it was banned in. *reason* goes into the fact.
    """

    jail: str | None
    hosts: tuple[str, ...]
    exact: bool = False
    reason: str = "manual"
    slot: Slot[Mapping[str, int]] = field(default_factory=Slot)


@dataclass(frozen=True, slots=True)
class UnbanAll:
    """End all bans of *jail* (None: of all jails) and forget its hosts in the store; the reply is their number."""

    jail: str | None
    slot: Slot[int] = field(default_factory=Slot)


@dataclass(frozen=True, slots=True)
class StillSending:
    """
    A firewall heard from banned hosts of *jail*: *hosts* gives the time of the last packet of each.

    Their bans are made longer as `bantime.quiet` says; it is to be sent at every reading, also when nobody sent. The
    reply is the number of bans whose end moved.
    """

    jail: str
    hosts: Mapping[str, float]
    slot: Slot[int] = field(default_factory=Slot)


@dataclass(frozen=True, slots=True)
class Call:
    """Have a function called with the registry in its thread; the reply is what it returned."""

    function: Callable[[Registry], object]
    slot: Slot[object] = field(default_factory=Slot)


Request = (
    AttachJail | ConfigureJail | DetachJail | BanRequest | ImportBans | UnbanRequest | UnbanAll | StillSending | Call
)
Message = JailReport | Request


class RegistryStoppedError(RuntimeError):
    """The registry ended before it came to the request."""


class _Jail:
    """
    What the registry knows of one attached jail.

    *ordered* holds the bans by their end, *order* the same as (end, host), so that neither a change nor a snapshot has
    to sort.
    """

    __slots__ = (
        "again",
        "bans",
        "dirty",
        "heard",
        "ignored",
        "lengths",
        "name",
        "neighbours",
        "observed",
        "order",
        "ordered",
        "reach",
        "rechecked_at",
        "times",
        "total",
        "unrestored",
    )

    def __init__(self, name: str, times: BanTimes, ignored: Ignored | None, reach: Reach) -> None:
        self.name = name
        self.times = times
        self.ignored = ignored
        self.observed: dict[str, Ban] = {}
        self.again: dict[str, tuple[int, float]] = {}
        self.go_as_far_as(reach)
        self.bans: dict[str, Ban] = {}
        self.lengths: dict[str, Length] = {}
        self.heard: dict[str, float] = {}  # host → last packet, where that makes its ban longer one day
        self.order: list[tuple[float, str]] = []
        self.ordered: list[Ban] = []
        self.total = 0
        self.dirty = True
        self.rechecked_at = -math.inf
        self.unrestored = False

    def go_as_far_as(self, reach: Reach) -> None:
        """Put *reach* in force; who was banned so far is forgotten as a neighbour."""
        self.reach = reach
        self.neighbours = Neighbours(reach.prefix, reach.findtime)
        if not reach.observe:
            self.observed.clear()
        self.dirty = True

    def put(self, ban: Ban, length: Length) -> None:
        """Add *ban*, or put it in the place of the one of the same host."""
        if ban.host in self.bans:
            self.take(ban.host)
        place = (_end_of(ban), ban.host)
        index = bisect_left(self.order, place)
        self.order.insert(index, place)
        self.ordered.insert(index, ban)
        self.bans[ban.host] = ban
        self.lengths[ban.host] = length
        self.dirty = True

    def take(self, host: str) -> Ban:
        """Take the ban of *host* out."""
        ban = self.bans.pop(host)
        del self.lengths[host]
        self.heard.pop(host, None)
        index = bisect_left(self.order, (_end_of(ban), host))
        del self.order[index]
        del self.ordered[index]
        self.dirty = True
        return ban

    def take_all(self) -> Sequence[Ban]:
        """Take all bans out and return them in the order in which they were put in; one by one is slow for many."""
        bans = list(self.bans.values())
        for kept in (self.bans, self.lengths, self.heard, self.order, self.ordered):
            kept.clear()
        self.dirty = True
        return bans


@dataclass(frozen=True, slots=True)
class _New:
    """A ban that was decided on, to be told once it is stored; *grown* from the length of a first ban."""

    ban: Ban
    grown_from: float | None = None
    last: float = 0.0


@dataclass(frozen=True, slots=True)
class _Again:
    """A decision on a host that is banned already; *longer* is its ban with a later end, if that moved."""

    ban: Ban
    at: float
    longer: Ban | None


class Registry:
    """
    Knows who is banned until when, decides how long, keeps the store, tells the actions.

    A ban is computed in full (its length included), committed to the store together with the cursors and failures of
    the same reports, then logged, then emitted. A store that cannot be written never keeps a ban back: that is told
    once, everything goes on in memory, and the store is rebuilt from there as soon as it can be written again.

    Ends are wall-clock times: when the clock is set forward, bans end early; when it is set back, they last longer by
    as much. Nothing else depends on the wall clock.
    """

    def __init__(
        self,
        store: BanStore,
        emit: Callable[[BanChange], None],
        clock: Clock,
        publish: Callable[[Fact], None],
        *,
        protected: Callable[[str], bool] | None = None,
        recheck: Callable[[str], None] | None = None,
        random: Callable[[], float] | None = None,
        forget_on_unban: bool = True,
        inbox_limit: int = 64,
    ) -> None:
        """
        Begin without jails; nothing is opened before `run` or `turn`.

        *emit* must not block. *protected* tells of hosts that are never banned, whoever asks. *recheck* is called with
        a jail's name (at most every 3 s) when a host fails there more than 3 s after it was banned: its actions may
        have lost it. *random* gives floats from 0 to below 1 for `bantime.rndtime`. With *forget_on_unban* an unban by
        hand also wipes the host's ban count.
        """
        self.inbox: Inbox[Message] = Inbox(inbox_limit)
        self._store = store
        self._emit = emit
        self._clock = clock
        self._publish = publish
        self._protected = protected
        self._recheck = recheck
        self._random = random or _system_random
        self._forget_on_unban = forget_on_unban
        self._jails: dict[str, _Jail] = {}
        self._expiry = ExpiryHeap()
        self._todo: deque[Message] = deque()
        self._waiting = Batch()
        self._opened = False
        self._store_works = False
        self._store_error = ""
        self._failures_lost = False
        self._retry_at = -math.inf
        self._committed_at = -math.inf
        self._purge_at = clock.monotonic() + _FIRST_PURGE_AFTER
        self._snapshot: Mapping[str, JailBans] = MappingProxyType({})

    # ---- for other threads

    def snapshot(self) -> Mapping[str, JailBans]:
        """Return the bans of every jail that is attached; any thread may ask."""
        return self._snapshot

    @property
    def store_error(self) -> str:
        """What is wrong with the store, empty when nothing is; any thread may ask."""
        return self._store_error

    def offender(self, jail: str) -> Callable[[str], tuple[int, float] | None]:
        """Return a function that tells how often a host was banned in *jail*, and when last; any thread may call it."""

        def known(host: str) -> tuple[int, float] | None:
            try:
                offences = self._store.offences(jail, (host,)).get(host)
            except StoreError:
                return None
            return None if offences is None else (offences.count, offences.last)

        return known

    def history(self, host: str, jail: str | None) -> tuple[Sequence[str], int]:
        """
        Return matched lines and number of failures of *host*, as remembered, in *jail* (None: in all jails).

        Any thread may ask; it takes a moment.
        """
        try:
            past = self._store.history(host, jail)
        except StoreError:
            return (), 0
        return past.matches, past.failures

    def past(self, host: str) -> Sequence[PastBan]:
        """Return the bans of *host* and of networks that it is in, those in force among them; newest first."""
        try:
            return self._store.past(host)
        except StoreError:
            return ()

    # ---- the thread

    def run(self, stop: threading.Event) -> None:
        """Thread body: work until *stop* is set (and the inbox closed, which wakes it), then commit what waits."""
        while not stop.is_set():
            if self.inbox.closed and not len(self.inbox):
                stop.wait(_LONGEST_WAIT)
            self.turn(self._patience())
        self.finish()

    def finish(self) -> None:
        """Work off what is in the inbox, write it, let go of the store."""
        self.turn(0)
        self._commit(at_once=True)
        for message in self.inbox.get_all(0):
            if not isinstance(message, JailReport):
                message.slot.fail(RegistryStoppedError("the registry has stopped"))
        self._store.close()

    def turn(self, timeout: float = 0.0) -> None:
        """Do what is due: wait up to *timeout* seconds for messages, obey them, end bans, write, publish a snapshot."""
        if not self._opened:
            self._opened = True
            self._recover()
        self._todo.extend(self.inbox.get_all(timeout))
        self._obey_all()
        self._end_due()
        self._commit()
        self._purge()
        self._publish_snapshot()

    def _patience(self) -> float:
        if self._todo:
            return 0.0
        patience = _LONGEST_WAIT if self._expiry or self._waiting or not self._store_works else _IDLE_WAIT
        end = self._expiry.next()
        if end is not None:
            patience = min(patience, max(0.0, end - self._clock.now()))
        if self._waiting and self._store_works:
            patience = min(patience, max(0.0, self._committed_at + COMMIT_EVERY - self._clock.monotonic()))
        return patience

    def _obey_all(self) -> None:
        while self._todo:
            reports: list[JailReport] = []
            while self._todo and isinstance(self._todo[0], JailReport):
                report = self._todo.popleft()
                assert isinstance(report, JailReport)  # noqa: S101  for the type checker
                reports.append(report)
            if reports:
                self._take(reports)
            if self._todo:
                request = self._todo.popleft()
                assert not isinstance(request, JailReport)  # noqa: S101  for the type checker
                self._obey(request)

    def _obey(self, request: Request) -> None:
        try:
            if isinstance(request, AttachJail):
                reply: object = self._attach(request)
            elif isinstance(request, ConfigureJail):
                reply = self._configure(request)
            elif isinstance(request, DetachJail):
                reply = self._detach(request)
            elif isinstance(request, BanRequest):
                reply = self._ban(request)
            elif isinstance(request, ImportBans):
                reply = self._import(request)
            elif isinstance(request, UnbanRequest):
                reply = self._unban(request)
            elif isinstance(request, UnbanAll):
                reply = self._unban_all(request)
            elif isinstance(request, StillSending):
                reply = self._still_sending(request)
            else:
                reply = request.function(self)
        except Exception as error:  # noqa: BLE001  it belongs to the sender, who waits for it
            request.slot.fail(error)
            return
        self._publish_snapshot()
        request.slot.put(reply)  # type: ignore[arg-type]  # each branch above gives what its slot takes

    # ---- bans begin

    def _take(self, reports: Sequence[JailReport]) -> None:
        """Store what *reports* say in one transaction, then tell of the bans that came of it."""
        now = self._clock.now()
        waiting = self._waiting
        offences = self._offences(reports)
        outcome: list[_New | _Again] = []
        rearmed: list[Ban] = []
        for report in reports:
            for cursor in report.cursors:
                waiting.cursors[report.jail, cursor.log] = cursor
            for state in report.failures:
                waiting.failures[report.jail, state.host] = state
            jail = self._jails.get(report.jail)
            if jail is not None:
                rearmed += self._rearm(jail, report.hits)
            if not report.decisions:
                continue
            if jail is None:
                logger.warning("[%s] %d hosts are not banned: the jail is stopped", report.jail, len(report.decisions))
                continue
            for decision in report.decisions:
                ban = jail.bans.get(decision.host)
                if ban is not None:
                    if decision.at > ban.since + LATE:
                        jail.again[ban.host] = (jail.again.get(ban.host, (0, 0.0))[0] + decision.failures, decision.at)
                        jail.dirty = True
                    longer = self._extend(jail, ban, decision.at, jail.times.at_least(jail.times.first))
                    outcome.append(_Again(ban, decision.at, longer))
                    continue
                past = offences.get((jail.name, decision.host))
                if jail.reach.observe:
                    self._observe(jail, decision, past, now)
                    continue
                begun = self._begin(jail, decision, past, now)
                if begun is not None:
                    outcome.append(begun)
                    outcome += self._widen(jail, begun.ban, now)
        self._commit(at_once=bool(outcome or rearmed))
        outcome += self._repeated([event.ban for event in outcome if isinstance(event, _New)], now)
        for ban in rearmed:
            logger.debug("[%s] Rearm Ban %s", ban.jail, _printable(ban.host))
            self._emit(BanChange(Change.EXTEND, ban))
        for event in outcome:
            if isinstance(event, _New):
                self._tell(event)
            else:
                self._tell_again(event)

    def _observe(self, jail: _Jail, decision: BanDecision, past: Offences | None, now: float) -> None:
        """Tell of a ban that there would be; once for as long as it would last."""
        known = jail.observed.get(decision.host)
        if known is not None and (known.until is None or decision.at < known.until):
            return
        made = self._make(jail, decision, past, now)
        if made is None:
            return
        ban, _ = made
        jail.observed.pop(decision.host, None)
        if len(jail.observed) >= _MOST_OBSERVED:
            del jail.observed[next(iter(jail.observed))]
        jail.observed[decision.host] = ban
        jail.dirty = True
        logger.log(NOTICE, "[%s] Would ban %s", jail.name, _printable(ban.host))

    def _rearm(self, jail: _Jail, hits: Mapping[str, float]) -> list[Ban]:
        """Let the bans of hosts that go on failing begin anew; return those whose end moved."""
        moved: list[Ban] = []
        for host, at in hits.items():
            ban = jail.bans.get(host)
            if ban is None or at <= ban.since:
                continue
            length = jail.times.length(ban.count - 1) if jail.times.increment.enabled else jail.times.first
            longer = self._extend(jail, ban, at, jail.times.at_least(length))
            if longer is not None:
                moved.append(longer)
        return moved

    def _still_sending(self, request: StillSending) -> int:
        """
        Make bans longer whose hosts still send.

        That is done when a ban is about to end, or would end much too early should we die: not at every reading, which
        may tell of thousands.
        """
        jail = self._jails.get(request.jail)
        if jail is None or not jail.times.increment.quiet:
            return 0
        increment, now = jail.times.increment, self._clock.now()
        for host, at in request.hosts.items():
            if host in jail.bans and jail.lengths[host] is not Length.GIVEN:
                jail.heard[host] = max(min(at, now), jail.heard.get(host, 0.0))
        soon = now + 2 * increment.listen_every
        ending = jail.ordered[: bisect_left(jail.order, (soon, ""))]
        hosts = dict.fromkeys([*(ban.host for ban in ending if ban.host in jail.heard), *request.hosts])
        moved: list[Ban] = []
        for host in hosts:
            ban, last = jail.bans.get(host), jail.heard.get(host)
            if ban is None or last is None or ban.until is None:
                continue
            if ban.until > soon and last + increment.hold - ban.until < increment.hold / 8:
                continue
            longer = self._extend(jail, ban, last, increment.hold)
            if longer is not None:
                moved.append(longer)
        if moved:
            self._commit(at_once=True)
        for longer in moved:
            logger.debug("[%s] %s still sends; its ban lasts on", jail.name, _printable(longer.host))
            self._emit(BanChange(Change.EXTEND, longer))
        return len(moved)

    def _widen(self, jail: _Jail, ban: Ban, now: float) -> list[_New]:
        """Ban the network around *ban*, if that makes enough offenders there and nobody in it is spared."""
        network = jail.neighbours.add(ban.host, ban.since)
        if network is None or network in jail.bans or self._is_spared_in(jail, network):
            return []
        members = jail.neighbours.members(network)
        data = {"members": " ".join(members)}
        past = self._past(jail, [network]).get(network)
        decision = BanDecision(jail.name, network, ban.since, len(members), ban.matches, data)
        begun = self._begin(jail, decision, past, now)
        return [] if begun is None else [begun]

    def _is_spared_in(self, jail: _Jail, network: str) -> bool:
        spared_in = jail.reach.spared_in
        reason = spared_in(network) if spared_in is not None else None
        if not reason:
            return False
        filter_logger.info("[%s] The network %s is not banned as a whole: %s in it", jail.name, network, reason)
        return True

    def _repeated(self, bans: Sequence[Ban], now: float) -> list[_New]:
        """Ban the hosts of *bans*, which are stored by now, in the jails for those who were banned often elsewhere."""
        begun: list[_New] = []
        for jail in self._jails.values():
            repeats = jail.reach.repeats
            if repeats is None:
                continue
            for ban in bans:
                if ban.jail == jail.name or ban.host in jail.bans or self._is_ignored(jail, ban.host):
                    continue
                number = self._bans_since(ban, ban.since - repeats.findtime, jail.name)
                if number < repeats.maxretry:
                    continue
                decision = BanDecision(jail.name, ban.host, ban.since, number, ban.matches, ban.data)
                past = self._past(jail, [ban.host]).get(ban.host)
                if jail.reach.observe:
                    self._observe(jail, decision, past, now)
                    continue
                new = self._begin(jail, decision, past, now)
                if new is not None:
                    begun.append(new)
        if begun:
            self._commit(at_once=True)
        return begun

    def _bans_since(self, ban: Ban, since: float, but: str) -> int:
        number = 0
        try:
            number = self._store.bans_since(ban.host, since, but)
        except StoreError as error:
            self._store_failed(error)
        if not self._store_works:
            waiting = self._waiting.history
            number += sum(one.host == ban.host and one.since > since and one.jail != but for one in waiting)
        return number

    def _offences(self, reports: Sequence[JailReport]) -> Mapping[Key, Offences]:
        """Look up the past of all hosts that *reports* want banned, one query per jail."""
        wanted: dict[str, list[str]] = {}
        for report in reports:
            jail = self._jails.get(report.jail)
            if jail is not None and report.decisions:
                hosts = [decision.host for decision in report.decisions if decision.host not in jail.bans]
                wanted.setdefault(report.jail, []).extend(hosts)
        found: dict[Key, Offences] = {}
        for name, hosts in wanted.items():
            for host, past in self._past(self._jails[name], hosts).items():
                found[name, host] = past
        return found

    def _past(self, jail: _Jail, hosts: Sequence[str]) -> Mapping[str, Offences]:
        found: dict[str, Offences] = {}
        everywhere = jail.times.increment.enabled and jail.times.increment.overalljails
        try:
            found.update(self._store.offences(None if everywhere else jail.name, hosts))
        except StoreError as error:
            self._store_failed(error)
        if not self._store_works:
            wanted = set(hosts)
            for ban in self._waiting.history:
                if ban.host in wanted and (everywhere or ban.jail == jail.name):
                    found[ban.host] = Offences(ban.count, ban.since)
        return found

    def _begin(
        self,
        jail: _Jail,
        decision: BanDecision,
        past: Offences | None,
        now: float,
        *,
        origin: Origin = Origin.LOCAL,
        given: float | None = None,
    ) -> _New | None:
        """Put a ban into the books; return it, None when the host is spared or its time is over already."""
        made = self._make(jail, decision, past, now, origin=origin, given=given)
        if made is None:
            return None
        ban, kind = made
        self._keep(jail, ban, kind)
        jail.total += 1
        if past is None or ban.since > past.last:
            self._waiting.history.append(ban)
        first = jail.times.first
        return _New(ban, first if kind is Length.OWN else None, 0.0 if past is None else past.last)

    def _make(
        self,
        jail: _Jail,
        decision: BanDecision,
        past: Offences | None,
        now: float,
        *,
        origin: Origin = Origin.LOCAL,
        given: float | None = None,
    ) -> tuple[Ban, Length] | None:
        """Return the ban that *decision* comes to; None when the host is spared or its time is over already."""
        host, since = decision.host, decision.at
        if self._is_protected(jail, host, decision.data.get("ip", host)):
            return None
        count = 0 if past is None else past.count
        again = past is not None and since <= past.last  # old lines, read again: that ban is counted already
        if again:
            count -= 1
        elif past is not None:
            count = jail.times.increment.decayed(count, since - past.last)
        first = jail.times.first
        kind = Length.JAIL
        if given is not None:
            length, kind = (None if given < 0 else given), Length.GIVEN
        else:
            length = jail.times.length(count)
            if length != first:
                kind = Length.OWN
        held = length if kind is Length.GIVEN else jail.times.at_least(length)
        until = None if held is None else since + held
        if until is not None and until <= now:
            logger.info("[%s] Ignore %s, expired bantime", jail.name, _printable(host))
            return None
        ban = Ban(
            jail=jail.name,
            host=host,
            since=since,
            until=until,
            count=max(0, count) + 1,
            origin=origin,
            failures=decision.failures,
            matches=decision.matches,
            data=decision.data,
            grounds=decision.grounds,
        )
        return ban, kind

    def _is_protected(self, jail: _Jail, host: str, address: str) -> bool:
        if self._protected is None or not (self._protected(host) or self._protected(address)):
            return False
        logger.warning("[%s] %s is protected and not banned", jail.name, _printable(host))
        return True

    def _keep(self, jail: _Jail, ban: Ban, kind: Length) -> None:
        jail.put(ban, kind)
        self._expiry.set((jail.name, ban.host), ban.until)
        self._waiting.keep(ban, kind)

    def _extend(
        self, jail: _Jail, ban: Ban, since: float, length: float | None, kind: Length = Length.OWN
    ) -> Ban | None:
        """Let *ban* end *length* seconds (None: never) after *since*, if that is later; return the longer ban."""
        if ban.until is None:
            return None
        until = None if length is None else since + length
        if until is not None and until <= ban.until:
            return None
        longer = replace(ban, until=until)
        self._keep(jail, longer, kind)
        return longer

    def _tell(self, begun: _New, *, restored: bool = False) -> None:
        ban = begun.ban
        logger.log(NOTICE, "[%s] %s %s", ban.jail, "Restore Ban" if restored else "Ban", _printable(ban.host))
        if begun.grown_from is not None:
            self._tell_grown(begun, begun.grown_from)
        self._emit(BanChange(Change.BAN, ban, restored=restored))
        self._publish(Banned(self._clock.now(), ban))

    def _tell_grown(self, begun: _New, first: float) -> None:
        ban, host = begun.ban, _printable(begun.ban.host)
        length = "infinite" if ban.until is None else format_duration(ban.until - ban.since)
        observer_logger.info(
            "[%s] IP %s is bad: %d # last %s - incr %s to %s",
            ban.jail,
            host,
            ban.count - 1,
            _clock_text(begun.last),
            format_duration(first),
            length,
        )
        observer_logger.log(
            NOTICE,
            "[%s] Increase Ban %s (%d # %s -> %s)",
            ban.jail,
            host,
            ban.count,
            "permanent" if ban.until is None else length,
            "infinite" if ban.until is None else _clock_text(ban.until),
        )

    def _tell_again(self, again: _Again) -> None:
        ban = again.ban
        age = again.at - ban.since
        if age < 3:
            level = logging.DEBUG
        else:
            level = NOTICE if age < 60 else logging.WARNING
        logger.log(level, "[%s] %s already banned", ban.jail, _printable(ban.host))
        if again.longer is not None:
            self._emit(BanChange(Change.EXTEND, again.longer))
        jail = self._jails[ban.jail]
        now = self._clock.monotonic()
        if self._recheck is not None and age >= 3 and now >= jail.rechecked_at + _RECHECK_EVERY:
            jail.rechecked_at = now
            self._recheck(jail.name)

    def _ban(self, request: BanRequest) -> int:
        jail = self._jails[request.jail]
        now = self._clock.now()
        since = now if request.since is None else min(request.since, now)
        hosts = list(dict.fromkeys(netaddr.canonical(host) or host for host in request.hosts if host))
        past = self._past(jail, [host for host in hosts if host not in jail.bans])
        new: list[_New] = []
        extended: list[Ban] = []
        for host in hosts:
            if request.origin is Origin.FLEET and (jail.reach.observe or self._is_ignored(jail, host)):
                continue
            ban = jail.bans.get(host)
            if ban is None:
                decision = BanDecision(jail.name, host, since, 0, data=request.data)
                begun = self._begin(jail, decision, past.get(host), now, origin=request.origin, given=request.bantime)
                if begun is not None:
                    new.append(begun)
                continue
            if request.bantime is None:
                longer = self._extend(jail, ban, since, jail.times.at_least(jail.times.first))
            else:
                wanted = None if request.bantime < 0 else request.bantime
                longer = self._extend(jail, ban, since, wanted, Length.GIVEN)
            if longer is not None:
                extended.append(longer)
        self._commit(at_once=True)
        if request.origin is not Origin.MANUAL:
            new += self._repeated([begun.ban for begun in new], now)
        for longer in extended:
            self._emit(BanChange(Change.EXTEND, longer))
        for begun in new:
            self._tell(begun)
        return len(new)

    def _import(self, request: ImportBans) -> int:
        jail = self._jails[request.jail]
        now = self._clock.now()
        new: list[_New] = []
        for ban in request.bans:
            if (
                ban.host in jail.bans
                or self._is_ignored(jail, ban.host)
                or self._is_protected(jail, ban.host, ban.host)
            ):
                continue
            self._waiting.history.append(ban)
            if ban.until is not None and ban.until <= now:
                continue
            self._keep(jail, ban, Length.GIVEN)
            jail.total += 1
            new.append(_New(ban, None, 0.0))
        self._commit(at_once=True)
        for begun in new:
            self._tell(begun, restored=True)
        return len(new)

    def _is_ignored(self, jail: _Jail, host: str) -> bool:
        reason = jail.ignored(host) if jail.ignored is not None else None
        if not reason:
            return False
        filter_logger.info(
            "[%s] Ignore %s by %s", jail.name, _printable(host), reason if isinstance(reason, str) else "ignore rules"
        )
        return True

    # ---- bans end

    def _end_due(self) -> None:
        for name, host in self._expiry.due(self._clock.now(), _ENDS_PER_TURN):
            self._end(self._jails[name], host, "expired")

    def _end(self, jail: _Jail, host: str, reason: str) -> None:
        self._ended(jail, jail.take(host), reason)

    def _ended(self, jail: _Jail, ban: Ban, reason: str) -> None:
        """Forget what else is known of a ban that was taken out, and tell of its end."""
        host = ban.host
        jail.again.pop(host, None)
        self._expiry.discard((jail.name, host))
        now = self._clock.now()
        self._waiting.end(jail.name, host)
        self._waiting.ended.append(PastBan(ban, now, reason))
        logger.log(NOTICE, "[%s] Unban %s", jail.name, _printable(host))
        self._emit(BanChange(Change.UNBAN, ban))
        self._publish(Unbanned(now, ban, reason))

    def _unban(self, request: UnbanRequest) -> Mapping[str, int]:
        jails = list(self._jails.values()) if request.jail is None else [self._jails[request.jail]]
        wanted = list(dict.fromkeys(netaddr.canonical(host) or host for host in request.hosts))
        networks = netaddr.AddressSet(() if request.exact else [host for host in wanted if netaddr.is_network(host)])
        ended: dict[str, int] = {}
        for jail in jails:
            inside = [host for host in jail.bans if host in networks] if len(networks) else []
            for host in dict.fromkeys((*wanted, *inside, *_formed_around(jail, wanted))):
                jail.neighbours.forget(host)
                if host in jail.bans:
                    self._end(jail, host, request.reason)
                    ended[host] = ended.get(host, 0) + 1
        if self._forget_on_unban:
            self._waiting.forget(request.jail, dict.fromkeys((*wanted, *ended)))
        self._commit(at_once=True)
        return ended

    def _unban_all(self, request: UnbanAll) -> int:
        jails = list(self._jails.values()) if request.jail is None else [self._jails[request.jail]]
        number = 0
        for jail in jails:
            for ban in jail.take_all():
                self._ended(jail, ban, "manual")
                number += 1
            jail.go_as_far_as(jail.reach)
        self._waiting.wipe(request.jail)
        self._commit(at_once=True)
        return number

    # ---- jails

    def attached(self) -> Collection[str]:
        """Return the names of the jails that are attached; for `Call` functions."""
        return tuple(self._jails)

    @property
    def store(self) -> BanStore:
        """The store; for `Call` functions, such as those that change `max_matches` or `purge_age`."""
        return self._store

    def forget(self, jail: str) -> None:
        """Forget all that is known of *jail*, which must not be attached; for `Call` functions."""
        self._commit(at_once=True)
        if self._store_works:
            self._store.drop(jail)

    def _attach(self, request: AttachJail) -> Attached:
        name = request.jail
        if name in self._jails:
            self._change(self._jails[name], request.bantime, request.increment, request.ignored, request.reach)
            return Attached((), (), tuple(self._jails[name].ordered))
        times = BanTimes(request.bantime, request.increment, jail=name, random=self._random)
        jail = self._jails[name] = _Jail(name, times, request.ignored, request.reach)
        self._commit(at_once=True)  # what was reported before the jail stopped is what it goes on from
        cursors: tuple[Cursor, ...] = ()
        failures: tuple[FailureState, ...] = ()
        jail.unrestored = True
        if self._store_works:
            try:
                cursors = tuple(self._store.cursors(name))
                failures = tuple(self._store.failures(name))
                self._restore(jail, announce=request.take is None)
            except StoreError as error:
                self._store_failed(error)
        if request.take is not None:
            request.take(tuple(jail.ordered))
        return Attached(cursors, failures, tuple(jail.ordered))

    def _restore(self, jail: _Jail, *, announce: bool) -> None:
        """Take the bans of an earlier run over, as far as they still last under the present settings."""
        now = self._clock.now()
        stored_bans = self._store.active(jail.name)
        jail.unrestored = False
        restored: list[_New] = []
        for stored in sorted(stored_bans, key=lambda one: (_end_of(one.ban), one.ban.host)):
            ban = stored.ban
            if ban.host in jail.bans:
                continue
            length = None if ban.until is None else ban.until - ban.since
            kept = length if stored.length is Length.GIVEN else jail.times.cut(length, now - ban.since)
            until = ban.until if kept == length else None if kept is None else ban.since + kept
            if until is not None and until <= now:
                self._waiting.end(jail.name, ban.host)
                continue
            spared = self._is_ignored(jail, ban.host) or self._is_protected(jail, ban.host, ban.address)
            if spared:
                self._waiting.end(jail.name, ban.host)
                continue
            kind = stored.length if stored.length is Length.GIVEN else Length.OWN
            ban = replace(ban, until=until, origin=Origin.RESTORED)
            self._keep(jail, ban, kind)
            if until == stored.ban.until:
                del self._waiting.bans[jail.name, ban.host]  # it stands in the store as it is
            jail.total += 1
            jail.neighbours.add(ban.host, ban.since)
            restored.append(_New(ban))
        for begun in restored:
            if announce:
                self._tell(begun, restored=True)
            else:
                logger.log(NOTICE, "[%s] Restore Ban %s", jail.name, _printable(begun.ban.host))
                self._publish(Banned(now, begun.ban))

    def _configure(self, request: ConfigureJail) -> int:
        jail = self._jails[request.jail]
        return self._change(jail, request.bantime, request.increment, request.ignored, request.reach)

    def _change(
        self, jail: _Jail, bantime: float, increment: BantimeIncrement, ignored: Ignored | None, reach: Reach | None
    ) -> int:
        if ignored is not None:
            jail.ignored = ignored
        if reach is not None:
            jail.go_as_far_as(reach)
            for ban in jail.ordered:
                jail.neighbours.add(ban.host, ban.since)
        before = jail.times.first
        jail.times = BanTimes(bantime, increment, jail=jail.name, random=self._random)
        first = jail.times.first
        if first == before:
            return 0
        moved: list[Ban] = []
        for host, kind in list(jail.lengths.items()):
            if kind is Length.JAIL:
                ban = jail.bans[host]
                length = jail.times.at_least(first)
                ban = replace(ban, until=None if length is None else ban.since + length)
                self._keep(jail, ban, kind)
                moved.append(ban)
        self._commit(at_once=True)
        now = self._clock.now()
        for ban in moved:
            if ban.until is None or ban.until > now:  # those that are over now are ended in this turn
                self._emit(BanChange(Change.EXTEND, ban))
        return len(moved)

    def _detach(self, request: DetachJail) -> tuple[Ban, ...]:
        jail = self._jails.pop(request.jail, None)
        if jail is None:
            return ()
        bans = tuple(jail.ordered)
        now = self._clock.now()
        for ban in bans:
            self._expiry.discard((jail.name, ban.host))
            if request.repeal:
                logger.log(NOTICE, "[%s] Repeal Ban %s", jail.name, _printable(ban.host))
                self._publish(Unbanned(now, ban, "stopped"))
        self._commit(at_once=True)
        return bans

    # ---- the store

    def _commit(self, *, at_once: bool = False) -> None:
        now = self._clock.monotonic()
        if not self._store_works:
            self._limit_waiting()
            if now >= self._retry_at:
                self._recover()
            return
        if not self._waiting:
            return
        if not at_once and now < self._committed_at + COMMIT_EVERY:
            return
        self._committed_at = now
        try:
            self._store.write(self._waiting)
        except StoreError as error:
            self._store_failed(error)
        else:
            self._waiting = Batch()

    def _store_failed(self, error: StoreError) -> None:
        self._retry_at = self._clock.monotonic() + _RETRY_EVERY
        self._store_works = False
        if not self._store_error:
            store_logger.error(
                "The ban store cannot be used: %s. Bans go on in memory, and are written once it can.", error
            )
        self._store_error = str(error) or "unknown"

    def _recover(self) -> None:
        """Open the store (again) and write into it what is known here."""
        try:
            self._store.reopen()
            self._store_works = True
            for jail in self._jails.values():
                if jail.unrestored:
                    self._restore(jail, announce=True)
            if self._failures_lost:
                self._store.drop_failures(tuple(self._jails))
                self._failures_lost = False
            batch = self._waiting
            for jail in self._jails.values():
                for host, ban in jail.bans.items():
                    batch.keep(ban, jail.lengths[host])
            if batch:
                self._store.replace(tuple(self._jails), batch)
        except StoreError as error:
            self._store_failed(error)
            return
        self._waiting = Batch()
        self._committed_at = self._clock.monotonic()
        if self._store_error:
            self._store_error = ""
            store_logger.log(NOTICE, "The ban store can be used again")

    def _limit_waiting(self) -> None:
        """Keep what waits for a broken store from growing without end."""
        waiting = self._waiting
        if len(waiting.history) > _MAX_WAITING_HISTORY:
            del waiting.history[: len(waiting.history) - _MAX_WAITING_HISTORY]
        del waiting.ended[: max(0, len(waiting.ended) - _MAX_WAITING_HISTORY)]
        if len(waiting.failures) > _MAX_WAITING_FAILURES:
            waiting.failures.clear()
            self._failures_lost = True
        if len(waiting.bans) > _MAX_WAITING_HISTORY:
            # They are rebuilt from the jails; only ends in jails that are gone would get lost, and those are over.
            waiting.bans.clear()

    def _purge(self) -> None:
        now = self._clock.monotonic()
        if now < self._purge_at or not self._store_works:
            return
        self._purge_at = now + _PURGE_EVERY
        try:
            self._store.purge(self._clock.now(), tuple(self._jails))
        except StoreError as error:
            self._store_failed(error)

    # ---- the snapshot

    def _publish_snapshot(self) -> None:
        """Replace the snapshot if anything changed."""
        if len(self._snapshot) == len(self._jails) and not any(jail.dirty for jail in self._jails.values()):
            return
        views: dict[str, JailBans] = {}
        for name, jail in self._jails.items():
            view = self._snapshot.get(name)
            if view is None or jail.dirty:
                again = MappingProxyType(dict(jail.again))
                view = JailBans(tuple(jail.ordered), jail.total, tuple(jail.observed.values()), again)
                jail.dirty = False
            views[name] = view
        self._snapshot = MappingProxyType(views)


def _formed_around(jail: _Jail, hosts: Sequence[str]) -> list[str]:
    """Return the banned networks that nobody asked for by name (`banprefix`) and that one of *hosts* is in."""
    formed = [host for host, ban in jail.bans.items() if "/" in host and ban.data.keys() & {"member", "members"}]
    return [network for network in formed if any(host in netaddr.AddressSet((network,)) for host in hosts)]


def _end_of(ban: Ban) -> float:
    return math.inf if ban.until is None else ban.until


def _clock_text(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))


def _printable(text: str) -> str:
    """Return *text* fit for one line of a log: control characters (from a hostile log) are written as escapes."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def _system_random() -> float:
    import random  # noqa: PLC0415  few configurations have a random part

    return random.SystemRandom().random()
