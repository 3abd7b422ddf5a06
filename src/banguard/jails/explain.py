"""
Explain how each stage of a jail treats a line, counting nothing.

The stages are those of `Jail`, asked one by one: date, time policy, prefregex, failregex, ignoreregex, session, host,
ignore rules, failure counter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from banguard.clock import Clock
from banguard.config.schema import JailConfig
from banguard.jails.ignore import IgnoreRules
from banguard.jails.jail import Foreseen, failure_tags, hosts_of, identity_of
from banguard.jails.resolver import Resolver
from banguard.jails.timepolicy import NEAR, judged
from banguard.matching.bounded import GiveUpError
from banguard.matching.fields import JsonRules
from banguard.matching.nearmiss import NearMisses

if TYPE_CHECKING:
    from banguard.matching import DatedLine, FilterRules, LineResult
    from banguard.matching.fields import FieldRule
    from banguard.matching.nearmiss import NearMiss
    from banguard.matching.patterns import Found, Pattern
    from banguard.matching.record import Record

Verdict = Literal["failure", "login", "too old", "no failure", "ignored", "spared", "no host", "missed"]

LONGEST = 100_000
"""Characters of a line that are looked at."""


@dataclass(frozen=True, slots=True)
class DateView:
    """
    The date stage: *text* as it stands, the *template* that found it, what time (epoch seconds) it means in *zone*.

    *age* is in seconds; *counts_at* is when the line counts, None when it is skipped; *remark* says why that is so.
    """

    found: bool
    text: str = ""
    template: str = ""
    time: float | None = None
    zone: str = ""
    age: float | None = None
    counts_at: float | None = None
    remark: str = ""


@dataclass(frozen=True, slots=True)
class RegexView:
    """One regex: its *number* from 1, where it stands, whether it *matches*; else how far it does (see `NearMiss`)."""

    number: int
    regex: str
    place: str
    matches: bool
    gave_up: bool = False
    taken: str = ""
    wanted: str = ""
    share: float = 0.0
    text_taken: str = ""
    text_left: str = ""


@dataclass(frozen=True, slots=True)
class SessionView:
    """The session of a line: what `<F-MLFID>` caught, how many lines of it were known, what the line is in it."""

    id: str
    lines: tuple[str, ...]
    role: str


@dataclass(frozen=True, slots=True)
class CounterView:
    """The failure counter: the host (or network) counted, how many failures count now, what this one would make."""

    host: str
    before: int
    extra: int
    after: int
    maxretry: int
    findtime: float
    reached: bool


@dataclass(frozen=True, slots=True)
class HostView:
    """Who failed: as *written*, the canonical *id*, how that was found (*kind*), and what becomes of it."""

    written: str
    id: str
    kind: str
    spared: str
    protected: bool
    banned_until: float | None
    is_banned: bool
    counter: CounterView | None


@dataclass(frozen=True, slots=True)
class Sequel:
    """What follows when the counter is full: a ban of *bantime* seconds (None: for ever) by *actions*."""

    bantime: float | None
    count: int
    actions: tuple[str, ...]
    observe: bool


@dataclass(frozen=True, slots=True)
class Explanation:
    """
    How a jail treats a line, stage by stage; stages that the line does not reach are empty.

    *rejected* stood where an address must and is none; *login* is the host that gained access by the line.
    """

    jail: str
    filter: str
    line: str
    running: bool
    verdict: Verdict
    rule: int
    date: DateView
    prefregex: RegexView | None
    left: str
    failregex: tuple[RegexView, ...]
    ignoreregex: tuple[RegexView, ...]
    rejected: str
    login: str
    session: SessionView | None
    hosts: tuple[HostView, ...]
    sequel: Sequel | None


@dataclass(frozen=True, slots=True)
class Surroundings:
    """
    What is known around the line, each from its owner; the defaults are those of a jail that does not run.

    *learn* makes rules know what the jail's own remember of a session, *foresee* asks its counter, *banned* gives the
    end of a host's ban (False: it is not banned), *protected* tells of hosts that are never banned, *sequel* what a ban
    of a host would be.
    """

    foresee: Callable[[str, float], Foreseen]
    learn: Callable[[FilterRules, str], None] = lambda _rules, _session: None
    banned: Callable[[str], float | Literal[False] | None] = lambda _: False
    protected: Callable[[str], bool] = lambda _: False
    sequel: Callable[[str, float], Sequel | None] = lambda _host, _at: None


def explain(
    line: str,
    config: JailConfig,
    rules: FilterRules,
    *,
    clock: Clock,
    ignore: IgnoreRules,
    resolver: Resolver,
    around: Surroundings,
    running: bool,
) -> Explanation:
    """
    Return how the jail of *config* treats *line*, taken for one that is written now.

    *rules* and *ignore* are instances made for this; runs `ignorecommand` and may wait for the DNS.
    """
    line = line[:LONGEST].rstrip("\r\n")
    now = clock.now()
    around.learn(rules, "")
    last = rules.last_time
    dated = rules.date(line, now)
    date = _date(dated, config, now, last)
    whole = rules.subject(dated)
    stage = _Regexes(config, rules, whole, getattr(dated, "record", None))
    if stage.session:
        around.learn(rules, stage.session)
    known = rules.sessions.lines(stage.session) if stage.session else ()
    at = date.counts_at if date.counts_at is not None else now
    result = rules.match(dated, at)
    session = None if not stage.session else SessionView(stage.session, known, _role(result))
    hosts = _hosts(result, at, config, ignore=ignore, resolver=resolver, around=around)
    verdict = _verdict(result, date, hosts)
    counts = verdict == "failure"
    return Explanation(
        jail=config.name,
        filter=config.filter.name,
        line=line,
        running=running,
        verdict=verdict,
        rule=result.rule,
        date=date,
        prefregex=stage.prefregex,
        left=stage.subject.rstrip("\n") if stage.asked else "",
        failregex=stage.failregex,
        ignoreregex=stage.ignoreregex,
        rejected=result.rejected,
        login="" if result.success is None else result.success.id,
        session=session,
        hosts=hosts,
        sequel=around.sequel(hosts[0].id, at) if counts else None,
    )


def _date(dated: DatedLine, config: JailConfig, now: float, last: float | None) -> DateView:
    zone = config.logtimezone or "local time"
    found = dated.found
    if found is None or (found.optional and dated.time is None):
        if last is not None and last >= now - NEAR:
            return DateView(
                found=False, counts_at=min(last, now), remark="it counts at the time of the last dated line"
            )
        return DateView(found=False, counts_at=now, remark="it counts as of now")
    if dated.time is None:
        return DateView(
            found=True, text=found.text, template=found.template, counts_at=now, remark="an impossible date"
        )
    at, subject, consequence = judged(dated.time, now, config.findtime, live=True)
    return DateView(
        found=True,
        text=found.text,
        template=found.template,
        time=dated.time,
        zone=zone,
        age=now - dated.time,
        counts_at=at,
        remark=consequence if subject else "it counts at its own time",
    )


class _Regexes:
    """Asks each regex of a filter by itself."""

    def __init__(self, config: JailConfig, rules: FilterRules, whole: str, record: Record | None) -> None:
        """*record* is the object that the line holds, for rules that look into it."""
        self._config = config
        names = config.usedns != "no"
        self.subject = whole
        self.asked = True
        self.session = ""
        self.prefregex: RegexView | None = None
        self.ignoreregex: tuple[RegexView, ...] = ()
        opening: Found | None = None
        if record is not None and isinstance(rules, JsonRules):
            first = len(rules.regexes) + 1
            self.failregex = tuple(
                _of_fields(rule, number, record) for number, rule in enumerate(rules.field_rules, first)
            )
            self.ignoreregex = tuple(
                _of_fields(rule, number, record) for number, rule in enumerate(rules.ignore_rules, 1)
            )
            return
        if rules.prefix is not None:
            opening, gave_up = _find(rules.prefix, whole)
            near = None if opening is not None or gave_up else NearMisses(whole, names=names).of(rules.prefix.text)
            self.prefregex = self._view("prefregex", 1, rules.prefix, whole, found=opening, near=near, gave_up=gave_up)
            self.asked = opening is not None
            if opening is not None and "content" in rules.prefix.groups and opening["content"]:
                self.subject = f"{opening['content']}\n"
        misses = NearMisses(self.subject, names=names)
        views: list[RegexView] = []
        for number, pattern in enumerate(rules.failures if self.asked else (), 1):
            found, gave_up = _find(pattern, self.subject)
            if found is not None and not self.session:
                self.session = rules.session_of(number, found, opening)
            near = None if found is not None or gave_up or rules.maxlines > 1 else misses.of(pattern.text)
            views.append(
                self._view(
                    f"failregex[{number - 1}]", number, pattern, self.subject, found=found, near=near, gave_up=gave_up
                )
            )
        self.failregex = tuple(views)
        ignoring = []
        for number, pattern in enumerate(rules.ignores, 1):
            found, gave_up = _find(pattern, self.subject)
            if found is None and self.subject is not whole:
                found, gave_up = _find(pattern, whole)
            ignoring.append(
                self._view(
                    f"ignoreregex[{number - 1}]", number, pattern, whole, found=found, near=None, gave_up=gave_up
                )
            )
        self.ignoreregex = tuple(ignoring)

    def _view(
        self,
        option: str,
        number: int,
        pattern: Pattern,
        subject: str,
        *,
        found: Found | None,
        near: NearMiss | None,
        gave_up: bool,
    ) -> RegexView:
        place = self._config.filter.places.get(option) or self._config.places.get(option.partition("[")[0])
        where = f"{place.path}:{place.line}" if place is not None else ""
        if near is None:
            return RegexView(number, pattern.text, where, found is not None, gave_up)
        return RegexView(
            number,
            pattern.text,
            where,
            matches=False,
            taken=near.taken,
            wanted=near.wanted,
            share=round(near.share, 3),
            text_taken=subject[: near.at].rstrip("\n"),
            text_left=subject[near.at :].rstrip("\n"),
        )


def _of_fields(rule: FieldRule, number: int, record: Record) -> RegexView:
    """Return how far a rule about fields of an object gets: the conditions that are met, and the first that is not."""
    met: list[str] = []
    for condition in rule.conditions:
        text = f"{condition.option} = {' | '.join(pattern.text for pattern in condition.patterns)}"
        try:
            found = condition.find(record)
        except GiveUpError:
            return RegexView(number, rule.text, "", matches=False, gave_up=True)
        if found is None:
            value = record.text(condition.path)
            return RegexView(
                number,
                rule.text,
                "",
                matches=False,
                taken="; ".join(met) or "no field yet",
                wanted=text,
                share=round(len(met) / len(rule.conditions), 3),
                text_taken="",
                text_left="there is no such field" if value is None else value,
            )
        met.append(text)
    return RegexView(number, rule.text, "", matches=True)


def _find(pattern: Pattern, subject: str) -> tuple[Found | None, bool]:
    try:
        return pattern.find_long(subject), False
    except GiveUpError:
        return None, True


def _role(result: LineResult) -> str:
    if result.status == "nofail":
        return "it makes no failure by itself; what it says is kept for the other lines of the session"
    if result.status == "matched":
        return "together with what is known of the session it makes a failure"
    return "it makes no failure yet"


def _hosts(
    result: LineResult,
    at: float,
    config: JailConfig,
    *,
    ignore: IgnoreRules,
    resolver: Resolver,
    around: Surroundings,
) -> tuple[HostView, ...]:
    views = []
    for match in result.matches:
        found, data = identity_of(match)
        addresses: Sequence[str] = hosts_of(found, config.usedns, resolver) if match.kind == "name" else (found,)
        for host in addresses:
            tags = failure_tags(config.name, host, at, match.lines, data, total=0)
            spared = ignore.reason(host, lambda tags=tags: tags) or ""  # type: ignore[misc]  # bound at once
            counter = None
            if not spared:
                seen = around.foresee(host, at)
                after = len(seen.times) + 1 + seen.extra
                counter = CounterView(
                    seen.host, len(seen.times), seen.extra, after, config.maxretry, config.findtime, seen.reached
                )
            end = around.banned(host)
            kind = "looked up in the DNS" if match.kind == "name" else match.kind
            views.append(
                HostView(
                    match.host,
                    host,
                    kind,
                    spared,
                    around.protected(data.get("ip", host)),
                    None if end is False else end,
                    end is not False,
                    counter,
                )
            )
        if not addresses:
            views.append(HostView(match.host, "", match.kind, "", False, None, False, None))
    return tuple(views)


def _verdict(result: LineResult, date: DateView, hosts: Sequence[HostView]) -> Verdict:
    if result.status == "ignored":
        return "ignored"
    if result.success is not None:
        return "login"
    if result.status == "missed":
        return "missed"
    if date.counts_at is None:
        return "too old"
    if result.status == "nofail":
        return "no failure"
    if not any(host.id for host in hosts):
        return "no host"
    return "spared" if all(host.spared for host in hosts if host.id) else "failure"
