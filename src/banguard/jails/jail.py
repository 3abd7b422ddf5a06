"""One jail: rules, ignore list, failure counter. No thread."""

from __future__ import annotations

import codecs
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from banguard import netaddr
from banguard.clock import Clock
from banguard.config.schema import JailConfig
from banguard.jails.counter import FailureCounter, Reached
from banguard.jails.ignore import IgnoreRules
from banguard.jails.resolver import Resolver
from banguard.jails.timepolicy import OnceADay, TimePolicy, clock_text
from banguard.model import (
    BanDecision,
    Candidates,
    Cursor,
    Fact,
    FailureFound,
    FailureState,
    Grounds,
    JailReport,
    JailStats,
    LoginFound,
)

if TYPE_CHECKING:
    from banguard.matching import DatedLine, FilterRules, Match

logger = logging.getLogger("banguard.filter")
observer_logger = logging.getLogger("banguard.observer")

Offender = Callable[[str], tuple[int, float] | None]
"""Tells how often a host was banned here before and when last (epoch seconds); None when never."""


@dataclass(frozen=True, slots=True)
class Foreseen:
    """
    What one more failure would do: *times* are those of *host* that count now, *extra* the failures added for its past.

    *reached* tells whether that makes a ban.
    """

    host: str
    times: tuple[float, ...]
    extra: int
    reached: bool


_MOST_TEXTS = 1000
_GO_ON_EVERY = 0.25
_EXPIRE_EVERY = 10.0
_WHOLE_SECONDS = 60.0
_MOST_WHOLE = 10_000
_TRACEBACK_EVERY = 60.0
_LOOK_BACK_LINES = 64
_LOOK_BACK_BYTES = 8192
# Codecs of which each line can be decoded together with others.
_PLAIN = frozenset({"utf-8", "ascii", "iso8859-1"})


def printable(text: str) -> str:
    """Return *text* fit for one line of a log: control characters (from a hostile log) are written as escapes."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def texts_of(rules: Iterable[int], config: JailConfig) -> tuple[tuple[int, str, str], ...]:
    """Return number, regex and place of each of *rules* that is a failregex of *config*."""
    regexes, places = config.filter.failregex, config.filter.places
    texts = []
    for number in rules:
        if 0 < number <= len(regexes):
            place = places.get(f"failregex[{number - 1}]") or config.places.get("failregex")
            where = f"{place.path}:{place.line}" if place is not None else ""
            texts.append((number, regexes[number - 1], where))
    return tuple(texts)


def hosts_of(name: str, usedns: str, resolver: Resolver) -> tuple[str, ...]:
    """Return the hosts that *name*, as it stands in a log, means under the option *usedns*; may wait for the DNS."""
    address = netaddr.canonical(name)
    if address is not None:
        return (address,)
    if usedns == "raw":
        return (name,)
    return resolver.addresses(name) if usedns in {"yes", "warn"} else ()


def identity_of(match: Match) -> tuple[str, dict[str, str]]:
    """Return who failed, and the data of the failure: what was captured, and the address of an id that is none."""
    data = {key: value for key, value in match.groups.items() if value is not None}
    if match.kind == "id" and "ip" not in data:
        address = netaddr.canonical(match.host)
        if address is not None and address != match.id:
            data["ip"] = address
    return match.id, data


def failure_tags(
    jail: str, host: str, at: float, matches: Sequence[str], data: Mapping[str, str], *, total: int
) -> dict[str, str]:
    """Return the tags of one failure for `ignorecommand`; *total* counts the failures of the jail so far."""
    address = data.get("ip", host)
    family = netaddr.family(address)
    tags = {f"F-{key.upper()}": value for key, value in data.items()}
    tags.update(
        {
            "ip": address,
            "fid": host,
            "family": "None" if family is None else f"inet{family}",
            "ip-rev": netaddr.reverse(address),
            "failures": "1",
            "time": str(int(at)),
            "matches": "\n".join(matches),
            "jail.name": jail,
            "jail.found_total": str(total),
        }
    )
    return tags


class _Decoder:
    """Bytes of one line to text in the log's encoding; `auto` is UTF-8."""

    def __init__(self, encoding: str) -> None:
        self.encoding = "utf-8" if encoding.lower() == "auto" else encoding
        codecs.lookup(self.encoding)
        # In UTF-16 and UTF-32 a newline byte can be half of another character; a source then gives spans of all lines.
        self.is_wide = "\n".encode(self.encoding) != b"\n"
        # Whole lines may then be decoded together: none of them says how the next one is to be read.
        self._is_plain = codecs.lookup(self.encoding).name in _PLAIN

    def texts(self, block: bytes, spans: Sequence[tuple[int, int]] | None) -> list[str] | None:
        """Return what `text` does for each line of a block; None where they have to be decoded one by one."""
        if not self._is_plain:
            return None
        try:
            if spans is None:
                text = block.decode(self.encoding)
            else:
                text = b"\n".join([block[start:end] for start, end in spans]).decode(self.encoding)
        except UnicodeError:
            return None
        lines = text.split("\n")
        if not (lines[-1] or spans):
            lines.pop()
        if spans is not None and len(lines) != len(spans):
            return None
        return [line.rstrip("\r") for line in lines] if "\r" in text else lines

    def text(self, line: bytes) -> tuple[str, bool]:
        """Return the text without its line end, and whether all of it could be decoded."""
        try:
            return line.decode(self.encoding).rstrip("\r\n"), True
        except UnicodeError:
            return line.decode(self.encoding, "replace").rstrip("\r\n"), False


class _Places:
    """Where the candidate lines of a block are; found out when it is first asked."""

    __slots__ = ("_block", "_spans")

    def __init__(self, candidates: Candidates) -> None:
        self._block = candidates.block
        self._spans: Sequence[tuple[int, int]] | None = candidates.spans

    def before(self, index: int) -> bytes:
        """Return the end of what stands before a line, the one of that number among the candidates."""
        if self._spans is None:
            self._spans = tuple(_line_spans(self._block))
        start, _ = self._spans[index]
        return self._block[max(0, start - _LOOK_BACK_BYTES) : start]


class Jail:
    """
    Turns candidate lines into failures and ban decisions. Used by one thread.

    Per line: decode, find the date, decide at which time the line counts (see `timepolicy`), match, resolve host names
    (`usedns`), ask the ignore rules, count. A line that makes any of this fail is logged, counted and passed over.

    With `bantime.increment` a failure of a host that was banned c times before counts as 2 ** (min(c, 20) - 1) + 1
    failures (2, 3, 5, 9, …), at most maxretry; not so when the line is older than the last ban, being read again.
    """

    def __init__(
        self,
        config: JailConfig,
        rules: FilterRules,
        *,
        clock: Clock,
        ignore: IgnoreRules,
        resolver: Resolver,
        publish: Callable[[Fact], None],
        offender: Offender | None = None,
    ) -> None:
        """
        *offender* is asked for each failure when `bantime.increment` is on: known offenders count more.

        Raises LookupError for an unknown `logencoding`.
        """
        self._config = config
        self._rules = rules
        self._given_up = rules.given_up
        self._clock = clock
        self._ignore = ignore
        self._resolver = resolver
        self._publish = publish
        self._offender = offender
        self._decoder = _Decoder(config.logencoding)
        self._journal_decoder = _Decoder("utf-8")
        self._policy = TimePolicy(config.name, config.findtime)
        self._counter = FailureCounter(maxretry=config.maxretry, findtime=config.findtime, maxmatches=config.maxmatches)
        self._once = OnceADay()
        self._cursors: dict[str, Cursor] = {}
        self._moved: dict[str, None] = {}
        self._decisions: list[BanDecision] = []
        self._hits: dict[str, float] = {}
        self._texts: dict[tuple[int, ...], tuple[tuple[int, str, str], ...]] = {}
        self._whole: dict[str, bool] = {}
        self._whole_until = float("-inf")
        self._last_date: dict[str, float] = {}
        self._tails: dict[str, bytes] = {}
        self._lines = 0
        self._matched = 0
        self._ignored = 0
        self._errors = 0
        self._traceback_at = float("-inf")
        self._expired_at = float("-inf")

    # ---- the settings

    @property
    def name(self) -> str:
        """The jail's name."""
        return self._config.name

    @property
    def config(self) -> JailConfig:
        """The configuration in force."""
        return self._config

    @property
    def rules(self) -> FilterRules:
        """The rules in force."""
        return self._rules

    @property
    def ignore(self) -> IgnoreRules:
        """The ignore rules in force."""
        return self._ignore

    @property
    def dropped_hosts(self) -> int:
        """How many hosts the failure counter dropped because there were too many."""
        return self._counter.dropped

    def reconfigure(
        self, config: JailConfig, rules: FilterRules | None = None, ignore: IgnoreRules | None = None
    ) -> None:
        """Put a new configuration in force; counts and positions stay. Raises LookupError for an unknown encoding."""
        decoder = _Decoder(config.logencoding)
        self._decoder = decoder
        self._config = config
        self._texts.clear()
        self._policy.findtime = config.findtime
        self._counter.configure(maxretry=config.maxretry, findtime=config.findtime, maxmatches=config.maxmatches)
        if rules is not None:
            self._rules = rules
            self._given_up = rules.given_up
            self._counter.forget_rules()
        self._whole.clear()
        if ignore is not None:
            self._ignore = ignore

    # ---- lines

    def feed(self, candidates: Candidates, go_on: Callable[[], bool] | None = None) -> bool:
        """
        Count the failures in *candidates*.

        A block that takes long (host names, `ignorecommand`) calls *go_on* between lines about four times a second;
        when that says False the block is given up and False is returned: no further report must then be made.
        """
        log = candidates.log
        monotonic = self._clock.monotonic
        ask_at = monotonic() + _GO_ON_EVERY
        times = _times(candidates)
        places = _Places(candidates)
        for index, line in enumerate(self._decoded(candidates)):
            if go_on is not None and monotonic() >= ask_at:
                if not go_on():
                    return False
                ask_at = monotonic() + _GO_ON_EVERY
            self._lines += 1
            try:
                self._line(line, None if times is None else times[index], log, places, index, live=candidates.live)
            except Exception as error:  # noqa: BLE001  one line must not cost the others
                self._trouble(log, error)
        if candidates.spans is not None and candidates.times is None:
            self._tails[log] = candidates.block[-_LOOK_BACK_BYTES:]
        self._cursors[log] = candidates.cursor
        self._moved[log] = None
        if self._rules.given_up != self._given_up:
            self._given_up = self._rules.given_up
            logger.warning(
                "[%s] Lines that keep the regexes busy are passed over, %d so far, the last one in %s",
                self.name,
                self._given_up,
                log,
            )
        return True

    def text(self, line: bytes) -> str:
        """Return a line of the log as text, in the log's encoding; what cannot be decoded is replaced."""
        return self._decoder.text(line)[0]

    def _decoded(self, candidates: Candidates) -> Iterable[str]:
        """Return the text of each candidate line."""
        block = candidates.block
        decoder = self._decoder if candidates.times is None else self._journal_decoder
        texts = decoder.texts(block, candidates.spans)
        if texts is not None:
            return texts
        spans = _line_spans(block) if candidates.spans is None else candidates.spans
        return (self._decode(block[start:end], candidates.log, decoder) for start, end in spans)

    def _decode(self, line: bytes, log: str, decoder: _Decoder) -> str:
        text, whole = decoder.text(line)
        if not whole and self._once.may(f"encoding {log}", self._clock.now()):
            logger.warning(
                "[%s] A line of %s is not %s text; what cannot be decoded is replaced. Check logencoding. The line: %r",
                self.name,
                log,
                decoder.encoding,
                line[:200],
            )
        return text

    def _line(self, line: str, given_time: float | None, log: str, places: _Places, index: int, *, live: bool) -> None:
        now = self._clock.now()
        dated = self._rules.date(line, now, given_time)
        at: float | None
        if dated.time is not None:
            at = self._policy.dated(dated.time, now, live=live)
            self._last_date[log] = dated.time
            if at is None:
                return
        else:
            at = self._policy.undated(self._last_date.get(log), now, live=live or dated.optional)
        result = self._rules.match(dated, at)
        if result.status == "matched":
            self._matched += 1
            if dated.time is None and not dated.optional:
                at = self._undated(log, places.before(index), now, live=live)
            if at is not None:
                for match in result.matches:
                    self._failure(match, at, now, dated)
        elif result.status == "ignored":
            self._ignored += 1
        elif result.success is not None:
            self._succeeded(result.success, now if at is None else min(at, now))

    def _undated(self, log: str, before: bytes, now: float, *, live: bool) -> float | None:
        """Return the time of a matching line without a date; *before* is what stands before it in its block."""
        last = self._look_back(before, now)
        if last is None and log in self._tails:
            last = self._look_back(self._tails[log], now)
        if last is None:
            last = self._last_date.get(log)
        at = self._policy.undated(last, now, live=live)
        if at is None or last is None or at != min(last, now):
            self._policy.warn_undated(now, counted=at is not None)
        return at

    def _look_back(self, piece: bytes, now: float) -> float | None:
        """Return the date of the last dated line of *piece*, whose lines the prefilter may have kept from here."""
        if self._decoder.is_wide:
            return None
        for line in reversed(piece.split(b"\n")[-_LOOK_BACK_LINES:]):
            if line:
                date = self._rules.date(self._decoder.text(line)[0], now).time
                if date is not None:
                    return date
        return None

    def _trouble(self, log: str, error: Exception) -> None:
        self._errors += 1
        now = self._clock.monotonic()
        with_traceback = now >= self._traceback_at + _TRACEBACK_EVERY
        if with_traceback:
            self._traceback_at = now
        logger.error(
            "[%s] A line of %s could not be processed and is passed over: %r",
            self.name,
            log,
            error,
            exc_info=error if with_traceback else None,
        )

    # ---- failures

    def _failure(self, match: Match, at: float, now: float, dated: DatedLine) -> None:
        found, data = identity_of(match)
        for host in self._resolve(found) if match.kind == "name" else (found,):
            self._found(host, min(at, now), match, data, dated.line)

    def _succeeded(self, success: Match, at: float) -> None:
        """Tell of a host that gained access, and forget its failures (`success.forgets`)."""
        for host in self._resolve(success.id) if success.kind == "name" else (success.id,):
            self._publish(LoginFound(at, self.name, host))
            if not self._config.success_forgets:
                continue
            counted, _ = self._by_prefix(host, {})
            if self._counter.forget(counted):
                logger.info("[%s] Forget failures of %s: a login succeeded", self.name, printable(counted))

    def _resolve(self, name: str) -> tuple[str, ...]:
        usedns = self._config.usedns
        hosts = hosts_of(name, usedns, self._resolver)
        if usedns == "warn" and hosts and hosts != (netaddr.canonical(name),):
            logger.warning(
                "[%s] Determined IP using DNS Lookup: %s = {%s}",
                self.name,
                printable(name),
                ", ".join(f"'{host}'" for host in hosts),
            )
        return hosts

    def _found(self, host: str, at: float, match: Match, data: Mapping[str, str], line: str) -> None:
        if self._is_ignored(host, at, match.lines, data):
            return
        if logger.isEnabledFor(logging.INFO):
            logger.info("[%s] Found %s - %s", self.name, printable(host), clock_text(at))
        host, data = self._by_prefix(host, data)
        self._count(host, at, match.lines, data, rule=match.rule)
        self._publish(FailureFound(at, self.name, host, line))

    def _by_prefix(self, host: str, data: Mapping[str, str]) -> tuple[str, Mapping[str, str]]:
        """Return the network that is counted in the place of *host* (`banprefix`), and *data* with the host in it."""
        prefix = self._config.prefix
        if prefix.is_single:
            return host, data
        family = netaddr.family(host)
        bits = {4: prefix.ipv4, 6: prefix.ipv6}.get(family or 0)
        if bits is None:
            return host, data
        network = netaddr.network_of(host, bits)
        if network == host or not self._may_ban_whole(network):
            return host, data
        return network, {**data, "member": host}

    def _may_ban_whole(self, network: str) -> bool:
        """Tell whether nobody in *network* is spared; the answer is remembered for a while."""
        now = self._clock.monotonic()
        if now >= self._whole_until or len(self._whole) >= _MOST_WHOLE:
            self._whole.clear()
            self._whole_until = now + _WHOLE_SECONDS
        known = self._whole.get(network)
        if known is None:
            known = self._whole[network] = self._ignore.reason_within(network) is None
        return known

    def _count(
        self,
        host: str,
        at: float,
        matches: Sequence[str],
        data: Mapping[str, str],
        *,
        failures: int = 1,
        rule: int = 0,
    ) -> None:
        if self._config.increment.rearm:
            self._hits[host] = max(at, self._hits.get(host, at))
        extra = self._extra(host, at)
        reached = self._counter.add(host, at, matches, data, failures=failures, extra=extra, rule=rule)
        if reached is not None:
            self._decisions.append(
                BanDecision(
                    self.name,
                    host,
                    reached.at,
                    reached.failures,
                    reached.matches,
                    reached.data,
                    self._grounds(reached),
                )
            )

    def _grounds(self, reached: Reached) -> Grounds:
        rules = tuple(dict.fromkeys(reached.rules))
        texts = self._texts.get(rules)
        if texts is None:
            # Few rules find nearly all; their bans share the texts.
            if len(self._texts) >= _MOST_TEXTS:
                self._texts.clear()
            texts = self._texts[rules] = texts_of(rules, self._config)
        return Grounds(reached.times, reached.rules, texts, self._config.maxretry, self._config.findtime)

    def foresee(self, host: str, at: float) -> Foreseen:
        """Return what a failure of *host* at time *at* (epoch seconds) would do to the counter; it counts nothing."""
        host, _ = self._by_prefix(host, {})
        state = self._counter.state(host)
        floor = at - self._config.findtime
        times = () if state is None else tuple(time for time in state.times if time > floor)
        extra = max(0, self._weight(host, at)[1] - 1)
        return Foreseen(host, times, extra, self._counter.foresee(host, at, extra) is not None)

    def counted(self, host: str) -> FailureState | None:
        """Return what the failure counter holds of *host*, or of the network that is counted in its place."""
        return self._counter.state(self._by_prefix(host, {})[0])

    def failing(self, since: float) -> tuple[FailureState, ...]:
        """Return what the failure counter holds of hosts that failed at that time (epoch seconds) or later."""
        return self._counter.failing(since)

    def _weight(self, host: str, at: float) -> tuple[int, int]:
        """Return how many earlier bans of *host* count, and for how many failures one then stands."""
        if self._offender is None or not self._config.increment.enabled:
            return 0, 1
        known = self._offender(host)
        if known is None or known[0] < 1 or at <= known[1]:
            return 0, 1
        count = self._config.increment.decayed(known[0], at - known[1])
        return count, 1 if count < 1 else min((1 << min(count, 20) - 1) + 1, self._config.maxretry)

    def _extra(self, host: str, at: float) -> int:
        """Return by how much more than one a failure of *host* counts."""
        count, weight = self._weight(host, at)
        if count < 1:
            return 0
        maxretry = self._config.maxretry
        observer_logger.info(
            "[%s] Found %s, bad - %s, %d # -> %d%s",
            self.name,
            printable(host),
            clock_text(at),
            count,
            weight,
            ", Ban" if weight >= maxretry else "",
        )
        return max(0, weight - 1)

    def _is_ignored(self, host: str, at: float, matches: Sequence[str], data: Mapping[str, str]) -> bool:
        reason = self._ignore.reason(
            host, lambda: failure_tags(self.name, host, at, matches, data, total=self._counter.total)
        )
        if reason is None:
            return False
        logger.info("[%s] Ignore %s by %s", self.name, printable(host), reason)
        self._ignored += 1
        return True

    def attempt(self, host: str, lines: Sequence[str] = ()) -> int:
        """Count one failure of *host* per line, at least one; return 1, or 0 when the ignore rules spare it."""
        now = self._clock.now()
        host = netaddr.canonical(host) or host
        matches = tuple(lines)
        if self._is_ignored(host, now, matches, {}):
            return 0
        logger.info("[%s] Attempt %s - %s", self.name, printable(host), clock_text(now))
        host, data = self._by_prefix(host, {})
        self._count(host, now, matches, data, failures=max(1, len(matches)))
        self._publish(FailureFound(now, self.name, host, matches[-1] if matches else ""))
        return 1

    # ---- what came of it

    @property
    def has_decisions(self) -> bool:
        """Whether a report made now would hold decisions."""
        return bool(self._decisions)

    def urgent_report(self) -> JailReport | None:
        """
        Return the decisions alone, for use in the middle of a block; None when there are none.

        Positions and counts follow with the block's own report. Should they never come, the block is read again, and
        the same decisions then find their hosts banned.
        """
        if not self._decisions:
            return None
        report = JailReport(self.name, decisions=tuple(self._decisions))
        self._decisions.clear()
        return report

    def report(self) -> JailReport | None:
        """Return what came of everything fed since the last report; None when nothing did."""
        self._expire()
        failures = self._counter.changes()
        if not (self._moved or failures or self._decisions or self._hits):
            return None
        report = JailReport(
            self.name,
            cursors=tuple(self._cursors[log] for log in self._moved),
            failures=failures,
            decisions=tuple(self._decisions),
            hits=self._hits,
        )
        self._hits = {}
        self._moved.clear()
        self._decisions.clear()
        return report

    def _expire(self) -> None:
        now = self._clock.monotonic()
        if now >= self._expired_at + _EXPIRE_EVERY:
            self._expired_at = now
            self._counter.expire(self._clock.now())

    def restore(self, states: Sequence[FailureState], cursors: Sequence[Cursor] = ()) -> None:
        """Take over what the failure counter held, and where the logs stood, at the last report of an earlier run."""
        self._cursors.update((cursor.log, cursor) for cursor in cursors)
        self._counter.restore(states)
        self._counter.expire(self._clock.now())

    def cursors(self) -> tuple[Cursor, ...]:
        """Return the positions behind the last lines counted, one per log."""
        return tuple(self._cursors.values())

    def forget_log(self, log: str) -> None:
        """Forget what is kept of a log that is no longer read."""
        for kept in (self._cursors, self._moved, self._last_date, self._tails):
            kept.pop(log, None)

    def stats(self) -> JailStats:
        """Return the jail's numbers as of now."""
        return JailStats(
            currently_failed=self._counter.count(self._clock.now()),
            total_failed=self._counter.total,
            lines=self._lines,
            matched=self._matched,
            ignored=self._ignored,
            errors=self._errors,
        )


def _times(candidates: Candidates) -> Sequence[float] | None:
    """Return the given time of each candidate line; None when there are none."""
    spans, times = candidates.spans, candidates.times
    if times is None or spans is None or len(times) == len(spans):
        return times
    return [times[number] for number in _line_numbers(candidates.block, spans)]


def _line_spans(block: bytes) -> Iterator[tuple[int, int]]:
    start = 0
    while start < len(block):
        end = block.find(b"\n", start)
        if end < 0:
            end = len(block)
        yield start, end
        start = end + 1


def _line_numbers(block: bytes, spans: Sequence[tuple[int, int]]) -> list[int]:
    """Return for each span the number (from 0) of its line in *block*."""
    numbers, line, position = [], 0, 0
    for start, _ in spans:
        line += block.count(b"\n", position, start)
        position = start
        numbers.append(line)
    return numbers
