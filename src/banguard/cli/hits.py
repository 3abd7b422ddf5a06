"""Try the rules of jails on a log, and count: hits per rule, hosts, lines that are failures in two jails."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from banguard.cli.regex_lines import blocks_of
from banguard.config.schema import JailConfig, Problem, Severity
from banguard.daemon.parts import make_rules
from banguard.jails.counter import FailureCounter
from banguard.matching import FilterRules
from banguard.matching.prefilter import Scanner, build_scanner, wanted
from banguard.message import tell

Spans = Sequence[tuple[int, int]]

_FIRST = 100
_SHOWN = 100


@dataclass(slots=True)
class JailHits:
    """
    What one jail finds in a log.

    *rules* counts the hits of each rule of *texts* in order; *hosts* the failures by host, *banned* are those that
    reached maxretry within findtime; *ignored* counts lines that an ignoreregex takes out, *undated* failures without
    a date, *rejected* those in which no address stands where one belongs, with an example.
    """

    jail: JailConfig
    texts: tuple[str, ...]
    rules: list[int]
    hosts: Counter[str] = field(default_factory=Counter)
    banned: set[str] = field(default_factory=set)
    ignored: int = 0
    undated: int = 0
    rejected: int = 0
    example: str = ""


@dataclass(slots=True)
class Hits:
    """What all jails find: *shared* counts the lines that are failures in two jails, with the first such line."""

    lines: int = 0
    jails: list[JailHits] = field(default_factory=list)
    shared: dict[tuple[str, str], tuple[int, int, str]] = field(default_factory=dict)


class _Trial:
    """One jail being tried."""

    def __init__(self, jail: JailConfig, now: float) -> None:
        self.rules: FilterRules = make_rules(jail, journal=False)
        self.hits = JailHits(jail, tuple(rule.text for rule in self.rules.failures), [0] * len(self.rules.failures))
        self._counter = FailureCounter(maxretry=jail.maxretry, findtime=jail.findtime)
        self._now = now

    def line(self, text: str) -> bool:
        """Try a line; return whether it is a failure."""
        dated = self.rules.date(text, self._now)
        at = self.rules.time_of(dated)
        result = self.rules.match(dated, at, check_all=True)
        for number in result.rules or ((result.rule,) if result.rule else ()):
            self.hits.rules[number - 1] += 1
        if result.status == "ignored":
            self.hits.ignored += 1
        if result.rejected:
            self.hits.rejected += 1
            self.hits.example = self.hits.example or result.rejected[:_SHOWN]
        for match in result.matches:
            self.hits.hosts[match.id] += 1
            self.hits.undated += match.time is None
            if match.time is not None and self._counter.add(match.id, match.time) is not None:
                self.hits.banned.add(match.id)
        return bool(result.matches)


def try_log(path: str, jails: Sequence[JailConfig], now: float) -> Hits:
    """
    Try the rules of *jails* on the lines of the log *path*, read as of *now*, through the prefilter as the server does.

    Raise SourceError when it cannot be read, ConfigError when rules cannot be used.
    """
    hits = Hits()
    encodings: dict[str, list[_Trial]] = {}
    for jail in jails:
        encoding = "utf-8" if jail.logencoding.lower() == "auto" else jail.logencoding
        encodings.setdefault(encoding, []).append(_Trial(jail, now))
    for encoding, trials in encodings.items():
        hits.lines = max(hits.lines, _try(path, encoding, trials, hits))
        hits.jails += [trial.hits for trial in trials]
    return hits


def _try(path: str, encoding: str, trials: Sequence[_Trial], hits: Hits) -> int:
    wishes = [wanted(trial.rules, encoding) for trial in trials]
    scanner: Scanner | None = None
    if any(wish is not None for wish in wishes):
        scanner = build_scanner([wish for wish in wishes if wish is not None])
    total = 0
    for data, wide, _ in blocks_of(path, encoding):
        every = wide if wide is not None else _all_lines(data)
        found: dict[int, list[str]] = {}
        # The first lines go to every jail, so that its date detector comes to know the log.
        passed = iter(scanner(data) if scanner is not None and wide is None and total >= _FIRST else ())
        screened = total >= _FIRST and wide is None
        for trial, wish in zip(trials, wishes, strict=True):
            spans: Spans = next(passed) if screened and wish is not None else every
            for start, end in spans:
                if trial.line(data[start:end].decode(encoding, "replace").rstrip("\r")):
                    found.setdefault(start, []).append(trial.hits.jail.name)
        for start, names in found.items():
            if len(names) > 1:
                number = total + 1 + sum(1 for begin, _ in every if begin < start)
                _share(hits, names, number, data[start : start + _SHOWN].decode(encoding, "replace").partition("\n")[0])
        total += len(every)
    return total


def _share(hits: Hits, names: Sequence[str], number: int, text: str) -> None:
    for pair in pairwise(names):
        count, first, example = hits.shared.get(pair, (0, number, text))
        hits.shared[pair] = (count + 1, first, example)


def _all_lines(data: bytes) -> Spans:
    spans = []
    at = 0
    while (end := data.find(b"\n", at)) >= 0:
        spans.append((at, end))
        at = end + 1
    return spans


def remarks(hits: Hits) -> list[Problem]:
    """Return what the counts say of the jails: rules that never hit, catch no address, ban nobody, hit twice."""
    found = []
    for each in hits.jails:
        jail = each.jail
        place = jail.places.get("filter")
        idle = [number for number, count in enumerate(each.rules, 1) if not count]
        if idle and any(each.rules):
            numbers = ", ".join(map(str, idle))
            message = tell("in this log these rules never hit: {numbers}", code="rules-idle", numbers=numbers)
            found.append(Problem(Severity.NOTE, message, jail.name, place))
        elif idle:
            message = tell("in this log no rule ever hits", code="rules-idle")
            found.append(Problem(Severity.NOTE, message, jail.name, place))
        if each.rejected:
            message = tell(
                "{count} lines match, but where the address belongs stands {text!r}",
                code="rule-no-address",
                count=each.rejected,
                text=each.example,
            )
            found.append(Problem(Severity.WARNING, message, jail.name, place))
        if each.undated:
            message = tell(
                "{count} failures have no date that can be read, and do not count in old lines",
                code="date-unread",
                count=each.undated,
            )
            found.append(Problem(Severity.WARNING, message, jail.name, jail.places.get("datepattern") or place))
        if each.hosts and not each.banned:
            host, most = each.hosts.most_common(1)[0]
            message = tell(
                "{count} hosts fail, but none {maxretry} times within {findtime:g} seconds; "
                "most often {host}, {most} times in all",
                code="jail-no-ban",
                count=len(each.hosts),
                maxretry=jail.maxretry,
                findtime=jail.findtime,
                host=host,
                most=most,
            )
            found.append(Problem(Severity.NOTE, message, jail.name, jail.places.get("maxretry")))
    for (first, second), (count, number, text) in hits.shared.items():
        message = tell(
            "{count} lines are failures in [{other}] too, such as line {number}: {text!r}",
            code="jails-overlap",
            count=count,
            other=first,
            number=number,
            text=text,
        )
        found.append(Problem(Severity.NOTE, message, second))
    return found
