"""FilterRules: prefregex, failregex, ignoreregex on one line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from banguard.errors import PatternError
from banguard.matching.dates import DateDetector
from banguard.matching.multiline import LineWindow, Sessions
from banguard.matching.patterns import ID_GROUPS, Pattern, compile_pattern
from banguard.netaddr import canonical

Status = Literal["matched", "nofail", "ignored", "missed"]
Kind = Literal["address", "name", "id"]

# A line without a date is of the time of the dated line before it, when that is not older than this.
FRESH_SECONDS = 60.0


class DatedLine:
    """
    A line whose date was found and cut out.

    *line* is the whole line, *text* what the regexes see. *time* is the date in epoch seconds, None when there is none
    or it is impossible; *optional* is true when the date pattern says that this kind of line has none. *template* is
    the name of the date template, empty when none was found. *now* is the wall clock when it was read.
    """

    __slots__ = ("line", "now", "optional", "template", "text", "time")

    def __init__(
        self, line: str, text: str, *, time: float | None, now: float, template: str = "", optional: bool = False
    ) -> None:
        self.line = line
        self.text = text
        self.time = time
        self.template = template
        self.optional = optional
        self.now = now


@dataclass(frozen=True, slots=True)
class Match:
    """
    One failure that a line stands for.

    *kind* is `address` (*id* is canonical), `name` (*id* is a host name that has to be looked up) or `id` (any other
    text; with `usedns=raw` names are among them, and addresses that are not written canonically, as they stand).
    *host* is the address or name as it stands in the line. *groups* are the captured groups, those of earlier lines of
    the session included, with `ip` when the id is not the address. *lines* are the original lines that belong to it,
    *time* the epoch seconds given to `match`, *rule* the number of the failregex, from 1.
    """

    kind: Kind
    id: str
    host: str
    time: float | None
    groups: Mapping[str, str | None]
    lines: tuple[str, ...]
    rule: int

    @property
    def user(self) -> str | None:
        """The user name caught; None when there is none."""
        return self.groups.get("user") or None


@dataclass(frozen=True, slots=True)
class LineResult:
    """
    What became of a line.

    `matched`: it is a failure (*matches*); `nofail`: a failregex matched, but it only feeds its session; `ignored`: an
    ignoreregex matched; `missed`: nothing matched. *rule* is the number (from 1) of the failregex that decided, 0 when
    none; *rules* are the numbers of all that matched, more than one only with `check_all`. *rejected* is the text that
    stood where an address must, when it was none: such a match does not count.
    """

    status: Status
    matches: tuple[Match, ...] = ()
    rule: int = 0
    rules: tuple[int, ...] = ()
    rejected: str = ""


_MISSED = LineResult("missed")
_IGNORED = LineResult("ignored")


class FilterRules:
    """
    The rules of one jail, and what they remember from line to line.

    Sessions, the window of multi-line rules, the order of date templates and the last date are state: one instance per
    jail, lines in order, not thread-safe. *usedns* `no` makes <HOST> match addresses only, `raw` leaves hosts as they
    stand; other values make names `Match`es of kind `name`. *maxlines* above 1 matches over the last lines together.
    *timezone* is that of dates that name none (None: local time). *any_year* lets dates from 1900 on pass, for the
    tester. *journal* says that lines come with their time: `date` then never looks for one in the text. Raise
    PatternError when a regex or the date pattern cannot be used; its `pattern` is the text as the user wrote it.

    `prefix`, `failures` and `ignores` are the compiled regexes with their hits, `detector` is the date detector with
    its templates, `sessions` has the number of sessions lost.
    """

    def __init__(
        self,
        *,
        failregex: Sequence[str],
        ignoreregex: Sequence[str] = (),
        prefregex: str = "",
        maxlines: int = 1,
        datepattern: str | None = None,
        usedns: str = "warn",
        timezone: str | None = None,
        journal: bool = False,
        any_year: bool = False,
    ) -> None:
        names = usedns != "no"
        several = maxlines > 1
        self.prefix: Pattern | None = compile_pattern(prefregex, names=names) if prefregex else None
        self.failures = tuple(compile_pattern(text, names=names, multiline=several) for text in failregex)
        self.ignores = tuple(compile_pattern(text, names=names) for text in ignoreregex)
        before = self.prefix.groups if self.prefix is not None else frozenset()
        for pattern in self.failures:
            if not ID_GROUPS & (pattern.groups | before):
                raise PatternError(f"No failure-id group in {pattern.text!r}", pattern=pattern.text)
        self.detector = DateDetector(datepattern, timezone=timezone, any_year=any_year)
        self.maxlines = maxlines
        self.sessions = Sessions()
        self.last_time: float | None = None
        self._journal = journal
        self._usedns = usedns
        self._window = LineWindow(maxlines) if several else None
        self._has_content = "content" in before
        # Few ignoreregexes go before many failregexes, as in fail2ban; over a window they would ignore lines long gone.
        self._ignore_first = bool(self.ignores) and not several and len(self.ignores) < len(self.failures) - 2
        self._finders = tuple((number, pattern.find) for number, pattern in enumerate(self.failures, 1))

    # ---- date

    def date(self, line: str, now: float, given_time: float | None = None) -> DatedLine:
        """
        Find, parse and cut out the date of *line* (which has no newline).

        *now* (epoch seconds) completes dates without year or day. *given_time* is the time of a journal entry: no date
        is then looked for in the text.
        """
        if given_time is not None or self._journal:
            if given_time is not None:
                self.last_time = given_time
            return DatedLine(line, line, time=given_time, now=now)
        found = self.detector.find(line, now)
        if found is None:
            return DatedLine(line, line, time=None, now=now)
        time = found.time
        if time is not None:
            self.last_time = time
        text = line[: found.start] + line[found.end :]
        return DatedLine(line, text, time=time, now=now, template=found.template, optional=found.optional)

    def time_of(self, dated: DatedLine) -> float | None:
        """
        Return the time that a failure on this line has, when no stricter policy holds.

        Its own; else that of the last line that had one, when that is fresh; else now when its kind of line has no
        date, and None when it should have had one. To be asked before the next line is dated.
        """
        if dated.time is not None:
            return dated.time
        if self.last_time is not None and self.last_time > dated.now - FRESH_SECONDS:
            return self.last_time
        return dated.now if dated.optional else None

    # ---- match

    def match(self, dated: DatedLine, at: float | None, *, check_all: bool = False) -> LineResult:
        """
        Try prefregex, failregex, ignoreregex, then the sessions; *at* (epoch seconds) is the time of the failure.

        The first failregex that matches decides. With *check_all* the others are tried as well, for their hits and
        `LineResult.rules`; the verdict is the same.
        """
        window = self._window
        whole = dated.text + "\n" if window is None else window.add(dated.text, dated.line)
        if self._ignore_first and self._is_ignored(whole):
            return _IGNORED
        subject = whole
        prefix = self.prefix
        opening = None
        if prefix is not None:
            opening = prefix.find(whole)
            if opening is None:
                return _MISSED
            prefix.hits += 1
            if self._has_content:
                content = opening["content"]
                if content:
                    subject = content + "\n"
        rejected = ""
        for number, find in self._finders:
            found = find(subject)
            if found is None:
                continue
            taken = () if window is None else window.matched(found if subject is whole else opening or found)
            if self.ignores and self._is_ignored_match(whole, subject, taken):
                if window is not None:
                    window.take(taken)
                return _IGNORED
            pattern = self.failures[number - 1]
            data = prefix.data(opening) if prefix is not None and opening is not None else {}
            data.pop("content", None)
            data.update(pattern.data(found))
            wrong = _no_address(data)
            if wrong:
                rejected = rejected or wrong
                continue
            if not any(data.get(name) for name in ID_GROUPS):
                return _MISSED
            pattern.hits += 1
            lines = (dated.line,) if window is None else window.take(taken)
            result = self._conclude(data, lines, at, dated.now, number)
            return self._check_others(result, subject) if check_all else result
        return LineResult("missed", rejected=rejected) if rejected else _MISSED

    def _is_ignored(self, text: str) -> bool:
        for pattern in self.ignores:
            if pattern.find(text) is not None:
                pattern.hits += 1
                return True
        return False

    def _is_ignored_match(self, whole: str, subject: str, taken: tuple[int, ...]) -> bool:
        """Try the ignoreregexes on what the failregex saw, and on the line without its prefix cut off."""
        if self._window is not None:
            whole = self._window.texts(taken)
            return self._is_ignored(whole) or (subject.count("\n") == 1 and self._is_ignored(subject))
        if subject is not whole and self._is_ignored(subject):
            return True
        return not self._ignore_first and self._is_ignored(whole)

    def _conclude(
        self, data: dict[str, object], lines: tuple[str, ...], at: float | None, now: float, rule: int
    ) -> LineResult:
        session = data.get("mlfid")
        if isinstance(session, str):
            failure = self.sessions.add(session, data, "\n".join(lines), now)
            if failure is None:
                return LineResult("nofail", rule=rule, rules=(rule,))
            data, lines = failure
        identity = self._identify(data)
        if identity is None:
            return LineResult("missed", rejected=str(data.get("dns") or ""))
        kind, host_id, host = identity
        groups = {name: value if value is None else str(value) for name, value in data.items()}
        match = Match(kind, host_id, host, at, groups, lines, rule)
        return LineResult("matched", (match,), rule, (rule,))

    def _identify(self, data: dict[str, object]) -> tuple[Kind, str, str] | None:
        """Say who it was: kind, id, and the host as it stands in the line. None: a name, and names do not count."""
        own = data.get("fid")
        own_id = None if own is None else str(own)
        raw = self._usedns == "raw"
        address = data.get("ip4") or data.get("ip6")
        if address:
            host = str(address)
            kind, host_id = _address_id(host, data.get("cidr"), raw=raw)
            if own_id is None or own_id == host:
                return kind, host_id, host
            own_id = own_id if raw else canonical(own_id) or own_id
            if own_id == host_id:
                return kind, host_id, host
            data["ip"] = host_id
            return "address" if canonical(own_id) == own_id else "id", own_id, host
        name = data.get("dns")
        if name and not raw:
            host = str(name)
            host_id = canonical(host) or host
            if host_id != host or canonical(host) is not None:
                return "address", host_id, host
            return None if self._usedns == "no" else ("name", host, host)
        host = str(name or own_id or "")
        if name and own_id and own_id != host:
            data["ip"] = host
        identity = own_id or host
        if not raw:
            identity = canonical(identity) or identity
        return "address" if canonical(identity) == identity else "id", identity, host

    def _check_others(self, result: LineResult, subject: str) -> LineResult:
        rules = list(result.rules)
        for number, find in self._finders[result.rule :]:
            if find(subject) is not None:
                self.failures[number - 1].hits += 1
                rules.append(number)
        if len(rules) == len(result.rules):
            return result
        return LineResult(result.status, result.matches, result.rule, tuple(rules), result.rejected)


def _no_address(data: Mapping[str, object]) -> str:
    """Return the text that stands where an address must and is none, such as 999.1.1.1 or 11:59:50; else nothing."""
    text = data.get("ip4") or data.get("ip6")
    return str(text) if text and canonical(str(text)) is None else ""


def _address_id(host: str, prefix: object, *, raw: bool) -> tuple[Kind, str]:
    """Return kind and id of an address; a prefix length that cannot be is passed over."""
    single = canonical(host) or host
    if prefix:
        return "address", canonical(f"{host}/{prefix}") or single
    if raw and ":" not in host and single != host:
        return "id", host
    return "address", single
