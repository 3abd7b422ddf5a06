"""FilterRules: prefregex, failregex, ignoreregex on one line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from socket import AF_INET, inet_pton
from typing import TYPE_CHECKING, Literal, NamedTuple, cast

from banguard.errors import PatternError
from banguard.matching.bounded import GiveUpError
from banguard.matching.dates import DateDetector, FoundDate
from banguard.matching.multiline import LineWindow, Sessions
from banguard.matching.patterns import ID_GROUPS, SHORT, Finder, Found, Pattern, compile_pattern
from banguard.message import tell
from banguard.netaddr import canonical as _canonical

if TYPE_CHECKING:
    from banguard.matching.chooser import Chooser
    from banguard.matching.shapes import Plan, Shapes

Status = Literal["matched", "nofail", "ignored", "missed"]
Kind = Literal["address", "name", "id"]

# A line without a date is of the time of the dated line before it, when that is not older than this.
FRESH_SECONDS = 60.0


class DatedLine:
    """
    A line whose date was found and cut out.

    *line* is the whole line, *text* what the regexes see. *time* is the date in epoch seconds, None when there is none
    or it is impossible. *now* is the wall clock when it was read.
    """

    __slots__ = ("_found", "line", "now", "text", "time")

    def __init__(self, line: str, text: str, time: float | None, now: float, found: FoundDate | None = None) -> None:
        self.line = line
        self.text = text
        self.time = time
        self.now = now
        self._found = found

    @property
    def found(self) -> FoundDate | None:
        """What the date detector found, None when nothing."""
        return self._found

    @property
    def template(self) -> str:
        """The name of the date template that found the date; empty when none did."""
        return "" if self._found is None else self._found.template

    @property
    def optional(self) -> bool:
        """Whether this kind of line has no date, as its date pattern says."""
        return self._found is not None and self._found.optional


class Match(NamedTuple):
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


class LineResult(NamedTuple):
    """
    What became of a line.

    `matched`: it is a failure (*matches*); `nofail`: a failregex matched, but it only feeds its session; `ignored`: an
    ignoreregex matched; `missed`: nothing matched. *rule* is the number (from 1) of the failregex that decided, 0 when
    none; *rules* are the numbers of all that matched, more than one only with `check_all`. *rejected* is the text that
    stood where an address must, when it was none: such a match does not count. *success* is who gained access by this
    line, with status `nofail`, where the rules were made to tell that.
    """

    status: Status
    matches: tuple[Match, ...] = ()
    rule: int = 0
    rules: tuple[int, ...] = ()
    rejected: str = ""
    success: Match | None = None


# The same attackers come again and again; an address is read in 60 ns then, instead of 2 µs.
canonical = lru_cache(maxsize=1024)(_canonical)

# So many lines make it worth to learn how they look.
_LEARN_AFTER = 32

MISSED = LineResult("missed")
_IGNORED = LineResult("ignored")


class FilterRules:
    """
    The rules of one jail, and what they remember from line to line.

    Sessions, the window of multi-line rules, the order of date templates and the last date are state: one instance per
    jail, lines in order, not thread-safe. *usedns* `no` makes <HOST> match addresses only, `raw` leaves hosts as they
    stand; other values make names `Match`es of kind `name`. *successregex* are regexes of lines that tell that access
    was gained; unless it is None, that is told (`LineResult.success`), also by sessions (`mlfgained`). *maxlines* above
    1 matches over the last lines together. *timezone* is that of dates that name none (None: local time). *any_year*
    lets dates from 1900 on pass, for the tester. *journal* says that lines come with their time: `date` then never
    looks for one in the text. Raise PatternError when a regex or the date pattern cannot be used; its `pattern` is the
    text as the user wrote it.

    `prefix`, `failures`, `ignores` and `successes` are the compiled regexes with their hits, `detector` is the date
    detector with its templates, `shapes` those of lines that were learned (None before that), `sessions` has the number
    of sessions lost, `given_up` counts the lines that were made to keep the matcher busy: they are missed.
    """

    looks_into_objects = False
    """Whether these are `fields.JsonRules`."""

    def __init__(
        self,
        *,
        failregex: Sequence[str],
        ignoreregex: Sequence[str] = (),
        successregex: Sequence[str] | None = None,
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
        self.successes = tuple(compile_pattern(text, names=names) for text in successregex or ())
        self._tells_success = successregex is not None
        before = self.prefix.groups if self.prefix is not None else frozenset()
        for pattern in (*self.failures, *self.successes):
            if not ID_GROUPS & (pattern.groups | before):
                raise PatternError(
                    tell("No failure-id group in {text!r}", code="regex-no-host", text=pattern.text),
                    pattern=pattern.text,
                )
        self.detector = DateDetector(datepattern, timezone=timezone, any_year=any_year)
        self._find_date = self.detector.find
        self.maxlines = maxlines
        self.sessions = Sessions()
        self.last_time: float | None = None
        self._journal = journal
        self._usedns = usedns
        self._window = LineWindow(maxlines) if several else None
        self._has_content = "content" in before
        # Few ignoreregexes go before many failregexes, as in fail2ban; over a window they would ignore lines long gone.
        self._ignore_first = bool(self.ignores) and not several and len(self.ignores) < len(self.failures) - 2
        self._finders = tuple((number, pattern.find_long) for number, pattern in enumerate(self.failures, 1))
        self._quiet = tuple(LineResult("nofail", rule=number, rules=(number,)) for number, _ in self._finders)
        self._brief = tuple(LineResult("matched", (), number, (number,)) for number, _ in self._finders)
        self.given_up = 0
        self._chooser: Chooser | None = None
        self.shapes: Shapes | None = None
        self._learn_in = 0 if several else _LEARN_AFTER
        self._has_compounds = any(
            pattern.has_compounds for pattern in (*self.failures, *([] if self.prefix is None else [self.prefix]))
        )
        # The groups of the prefregex that lie below those of a failregex, when nothing has to be merged.
        self._before: tuple[str, ...] | None = None
        if self.prefix is not None and not self.prefix.merges:
            self._before = tuple(name for name in self.prefix.names if name != "content")

    @property
    def patterns(self) -> Iterator[tuple[str, Pattern]]:
        """All compiled regexes, by what they are called in the configuration: `failregex[0]`."""
        if self.prefix is not None:
            yield "prefregex", self.prefix
        yield from ((f"failregex[{number}]", pattern) for number, pattern in enumerate(self.failures))
        yield from ((f"ignoreregex[{number}]", pattern) for number, pattern in enumerate(self.ignores))
        yield from ((f"successregex[{number}]", pattern) for number, pattern in enumerate(self.successes))

    @property
    def ignores_first(self) -> bool:
        """Whether the ignoreregexes are asked before the failregexes, and so also of lines that none of these match."""
        return self._ignore_first

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
            return DatedLine(line, line, given_time, now)
        found = self._find_date(line, now)
        if found is None:
            return DatedLine(line, line, None, now)
        time = found.time
        start = found.start
        if time is None:
            # An impossible date is cut out all the same: the line is a failure, whatever its clock says.
            return DatedLine(line, line[:start] + line[start + len(found.text) :], None, now, found)
        self.last_time = time
        text = line[:start] + line[found.end :] if start else line[found.end :]
        return DatedLine(line, text, time, now, found)

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

    def match(
        self, dated: DatedLine, at: float | None, *, check_all: bool = False, is_brief: bool = False
    ) -> LineResult:
        """
        Try prefregex, failregex, ignoreregex, then the sessions; *at* (epoch seconds) is the time of the failure.

        The first failregex that matches decides. With *check_all* the others are tried as well, for their hits and
        `LineResult.rules`; the verdict is the same. With *is_brief* the matches of a failure may be left out.
        """
        window = self._window
        try:
            if window is not None:
                return self._match_window(window, dated, at, check_all=check_all)
            shapes = self.shapes
            if shapes is not None:
                known = shapes.find(dated.text)
                if known is not None:
                    plan = shapes.plans[known.lastindex]
                    result = self._recall(plan, plan.take(known), dated.line, at, is_brief=is_brief)
                    if result is not None:
                        return result
            return self._match_line(dated.text + "\n", dated, at, check_all=check_all)
        except GiveUpError:
            self.given_up += 1
            return MISSED

    def subject(self, dated: DatedLine) -> str:
        """Return the text that the prefregex, or without one the failregexes, would see if *dated* came next."""
        return dated.text + "\n" if self._window is None else self._window.subject(dated.text, dated.line)

    def session_of(self, rule: int, found: Found, opening: Found | None) -> str:
        """Return the session that a match of failregex number *rule* belongs to; empty when to none."""
        session = self._data(rule, found, opening).get("mlfid")
        return session if isinstance(session, str) else ""

    def learn(self, other: FilterRules, session: str = "") -> None:
        """Take over what *other*, rules of the same filter, remember of a *session* and of the lines before."""
        self.last_time = other.last_time
        if self._window is not None and other._window is not None:
            self._window = other._window.copy()
        if session:
            self.sessions.learn(other.sessions, session)

    def _recall(
        self, plan: Plan, values: tuple[str, ...], line: str, at: float | None, *, is_brief: bool
    ) -> LineResult | None:
        """Conclude from what is known of lines of this shape; None when the address is none."""
        rule = plan.rule
        if plan.address >= 0:
            host = values[plan.address]
            try:
                inet_pton(AF_INET, host)
                is_host = plan.is_host and not (plan.quiet and self._tells_success)
            except OSError:
                if canonical(host) is None:
                    return None
                is_host = False
            if is_host:
                if plan.session >= 0 and not (
                    at is not None and self.sessions.begin(values[plan.session], plan, values, line, at)
                ):
                    return self._conclude(self._counted(plan, values), (line,), at, rule)
                if self.prefix is not None:
                    self.prefix.hits += 1
                self.failures[rule - 1].hits += 1
                if plan.session >= 0 and plan.quiet:
                    return self._quiet[rule - 1]
                if is_brief:
                    return self._brief[rule - 1]
                groups = plan.data(values)
                if plan.session >= 0:
                    groups.pop("mlfforget", None)
                return LineResult("matched", (Match("address", host, host, at, groups, (line,), rule),), rule, (rule,))
        return self._conclude(self._counted(plan, values), (line,), at, rule)

    def _counted(self, plan: Plan, values: tuple[str, ...]) -> dict[str, object]:
        """Count a match of the prefregex and return the groups of a line."""
        if self.prefix is not None:
            self.prefix.hits += 1
        return {**plan.data(values)}

    def _match_line(self, whole: str, dated: DatedLine, at: float | None, *, check_all: bool) -> LineResult:
        """Do as `match` for one line."""
        if self._ignore_first and self._is_ignored(whole):
            return _IGNORED
        subject = whole
        opening = None
        prefix = self.prefix
        if prefix is not None:
            opening = prefix.find_long(whole)
            if opening is None:
                return MISSED
            prefix.hits += 1
            if self._has_content:
                content = opening["content"]
                if content:
                    subject = content + "\n"
        chooser = self._chooser
        if chooser is None and len(subject) > SHORT and len(self._finders) > 1:
            # To find out whether a regex could take long on such a text costs more than to see which can match it.
            chooser = self._choose()
        if self._learn_in:
            self._count_down()
        if chooser is not None:
            finders = chooser.short.get(subject[:4])
            if finders is None:
                finders = chooser(subject)
        else:
            finders = self._finders
        rejected = ""
        for number, find in finders:
            found = find(subject)
            if found is None:
                continue
            if self.ignores and self._is_ignored_match(whole, subject):
                return _IGNORED
            data = self._data(number, found, opening)
            address = data.get("ip4") or data.get("ip6")
            if address and canonical(address) is None:
                rejected = rejected or str(address)
                continue
            if self.shapes is not None:
                self.shapes.learn(dated.text, opening, found, number)
            result = self._conclude(data, (dated.line,), at, number)
            return self._check_others(result, subject, finders) if check_all and result.rule else result
        if self.successes:
            return self._succeed(subject, opening, dated, at, rejected)
        return LineResult("missed", rejected=rejected) if rejected else MISSED

    def _match_window(self, window: LineWindow, dated: DatedLine, at: float | None, *, check_all: bool) -> LineResult:
        """Do as `match` for several lines as one; those that match, even if ignored, leave the window."""
        whole = window.add(dated.text, dated.line)
        if self._ignore_first and self._is_ignored(whole):
            return _IGNORED
        subject = whole
        opening = None
        prefix = self.prefix
        if prefix is not None:
            opening = prefix.find_long(whole)
            if opening is None:
                return MISSED
            prefix.hits += 1
            if self._has_content and opening["content"]:
                subject = f"{opening['content']}\n"
        rejected = ""
        for number, find in self._finders:
            found = find(subject)
            if found is None:
                continue
            taken = window.matched(found if opening is None or subject is whole else opening)
            looked_at = window.texts(taken)
            if self.ignores and self._is_ignored_match(looked_at, looked_at if subject is whole else subject):
                window.take(taken)
                return _IGNORED
            data = self._data(number, found, opening)
            wrong = no_address(data)
            if wrong:
                rejected = rejected or wrong
                continue
            result = self._conclude(data, window.take(taken), at, number)
            return self._check_others(result, subject, self._finders) if check_all and result.rule else result
        return self._succeed(subject, opening, dated, at, rejected)

    def _succeed(
        self, subject: str, opening: Found | None, dated: DatedLine, at: float | None, rejected: str
    ) -> LineResult:
        """Say of a line that is no failure whether somebody gained access."""
        for pattern in self.successes:
            found = pattern.find_long(subject)
            if found is not None:
                identity = self._identify(data := self._over(pattern, found, opening))
                if identity is not None and not no_address(data):
                    pattern.hits += 1
                    return LineResult("nofail", success=Match(*identity, at, _texts(data), (dated.line,), 0))
        return LineResult("missed", rejected=rejected) if rejected else MISSED

    def _data(self, number: int, found: Found, opening: Found | None) -> dict[str, object]:
        return self._over(self.failures[number - 1], found, opening)

    def _over(self, pattern: Pattern, found: Found, opening: Found | None) -> dict[str, object]:
        """Return the groups of a match laid over those of the prefregex, also where they caught nothing."""
        data: dict[str, object] = pattern.data(found) if pattern.merges else found.groupdict()  # type: ignore[assignment]
        if opening is None or self.prefix is None:
            return data
        if self._before is not None:
            before: dict[str, object] = {name: opening[name] for name in self._before}
        else:
            before = self.prefix.data(opening)
            before.pop("content", None)
        before.update(data)
        return before

    def _count_down(self) -> None:
        self._learn_in -= 1
        if not self._learn_in:
            self.prepare()

    def _choose(self) -> Chooser:
        """Begin to try only regexes that can match a text that begins as it does."""
        from banguard.matching.chooser import Chooser  # noqa: PLC0415  not for filters of one regex

        if self._chooser is None:
            self._chooser = Chooser(self.failures)
        return self._chooser

    def prepare(self, learn_every: int | None = None) -> None:
        """
        Begin to learn the shapes of lines; verdicts do not change, only their cost.

        Done of itself once some lines came. One of *learn_every* lines that show another shape is learned (None: as it
        pays; 0: never).
        """
        self._learn_in = 0
        if self._window is None and not self.looks_into_objects and learn_every != 0:
            from banguard.matching.shapes import EVERY, Shapes  # noqa: PLC0415  not for a line or two

            every = EVERY if learn_every is None else learn_every
            possible = self._choose().numbers
            self.shapes = Shapes(self.prefix, self.failures, self.ignores, possible, every=every)

    def _is_ignored(self, text: str) -> bool:
        for pattern in self.ignores:
            if pattern.find_long(text) is not None:
                pattern.hits += 1
                return True
        return False

    def _is_ignored_match(self, whole: str, subject: str) -> bool:
        """Try the ignoreregexes on what the failregex saw, and on the line from which the prefregex cut that."""
        if subject is not whole and self._is_ignored(subject):
            return True
        return not self._ignore_first and self._is_ignored(whole)

    def _conclude(self, data: dict[str, object], lines: tuple[str, ...], at: float | None, rule: int) -> LineResult:
        session = data.get("mlfid")
        if isinstance(session, str):
            failure = self.sessions.add(session, data, lines[0] if len(lines) == 1 else "\n".join(lines), at)
            if failure is None:
                self.failures[rule - 1].hits += 1
                quiet = self._quiet[rule - 1]
                if self._tells_success and data.get("mlfgained"):
                    identity = self._identify(data)
                    if identity is not None:
                        return quiet._replace(success=Match(*identity, at, _texts(data), lines, 0))
                return quiet
            data, lines = failure
        elif data.get("nofail"):  # there is no session that it could help
            self.failures[rule - 1].hits += 1
            return self._quiet[rule - 1]
        identity = self._identify(data)
        if identity is None:
            return LineResult("missed", rejected=str(data.get("dns") or ""))
        self.failures[rule - 1].hits += 1
        kind, host_id, host = identity
        if self._has_compounds:
            data = {name: value if value is None else str(value) for name, value in data.items()}
        groups = cast("dict[str, str | None]", data)
        match = Match(kind, host_id, host, at, groups, lines, rule)
        return LineResult("matched", (match,), rule, (rule,))

    def _identify(self, data: dict[str, object]) -> tuple[Kind, str, str] | None:
        """Say who it was: kind, id, and the host as it stands in the line. None: nobody, or a name that counts not."""
        own = data.get("fid") or None
        address = data.get("ip4") or data.get("ip6")
        if address and own is None and canonical(address) == address and not data.get("cidr"):
            return "address", str(address), str(address)
        own_id = None if own is None else str(own)
        raw = self._usedns == "raw"
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
        if not host:
            return None
        if name and own_id and own_id != host:
            data["ip"] = host
        identity = own_id or host
        if not raw:
            identity = canonical(identity) or identity
        return "address" if canonical(identity) == identity else "id", identity, host

    def _check_others(self, result: LineResult, subject: str, finders: Sequence[tuple[int, Finder]]) -> LineResult:
        rules = result.rules
        for number, find in finders:
            if number > result.rule and find(subject) is not None:
                self.failures[number - 1].hits += 1
                rules = (*rules, number)
        return result if rules is result.rules else result._replace(rules=rules)


def _texts(data: Mapping[str, object]) -> dict[str, str | None]:
    """Return groups as texts; compound ones are values of their own until here."""
    return {name: None if value is None else str(value) for name, value in data.items()}


def no_address(data: Mapping[str, object]) -> str:
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
