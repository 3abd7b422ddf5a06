"""Rules on the fields of JSON logs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, cast

from banguard.errors import PatternError
from banguard.matching.bounded import GiveUpError
from banguard.matching.dates import FoundDate
from banguard.matching.hazard import ENDLESS
from banguard.matching.literals import Required, cost, required
from banguard.matching.patterns import ID_GROUPS, Pattern, compile_pattern
from banguard.matching.record import Path, Record, bad_name, parse_path, read_record
from banguard.matching.rules import MISSED, DatedLine, FilterRules, LineResult, no_address
from banguard.message import tell

Fields = Sequence[tuple[str, Sequence[str]]]
"""Name of an option such as `field.status` or `ignorefield2.user`, and its regexes, of which one must match."""

_OPTION = re.compile(r"(?P<kind>(?:ignore)?field)(?P<number>\d*)\.(?P<path>.+)")
_ESCAPED = re.compile(r'["\\/\x00-\x1f\x7f]')
_NUMBER = re.compile(r"(\d{9,19})(\.\d{1,9})?")

# Where services write the time, the likelier first.
_TIMES = tuple(
    parse_path(name)
    for name in (
        "time", "ts", "timestamp", "@timestamp", "StartUTC", "requestReceivedTimestamp", "t", "date", "datetime",
        "time_iso8601", "msec", "time_local", "eventTime", "StartLocal", "asctime", "written_at", "_timestamp",
    )
)  # fmt: skip


class Condition:
    """
    One field that has to match: *path*, and the regexes of which one must match its whole text.

    *option* is what it is called in the configuration.
    """

    __slots__ = ("option", "path", "patterns")

    def __init__(self, option: str, path: Path, texts: Sequence[str], *, names: bool) -> None:
        self.option = option
        self.path = path
        self.patterns = tuple(_whole(text, names=names) for text in texts)

    @property
    def groups(self) -> frozenset[str]:
        """The names of the groups."""
        return frozenset[str]().union(*(pattern.groups for pattern in self.patterns))

    def find(self, record: Record) -> dict[str, object] | None:
        """Return the groups of the first regex that matches; None when none does."""
        text = record.text(self.path)
        if text is None:
            return None
        for pattern in self.patterns:
            found = pattern.find_long(text)
            if found is not None:
                return pattern.data(found)
        return None


def _whole(text: str, *, names: bool) -> Pattern:
    """Compile *text* so that it matches whole texts only; raise PatternError."""
    compile_pattern(text, names=names)
    try:
        pattern = compile_pattern(rf"\A(?:{text})\Z", names=names)
    except PatternError as error:
        raise PatternError(error.message, pattern=text) from None
    pattern.text = text
    return pattern


def _required(condition: Condition) -> Required | None:
    """Return a part of the value that stands in each line that meets *condition*."""
    texts: set[str] = set()
    folded: frozenset[str] = frozenset()
    for pattern in condition.patterns:
        found = required(pattern.regex, pattern.flags, cut="")
        if found is None:
            return None
        # What JSON has to escape, or may, stands otherwise in the line.
        texts.update(max(_ESCAPED.split(text), key=len) for text in found.texts)
        folded |= found.folded
    return Required(frozenset(texts), folded) if all(len(text) > 1 for text in texts) else None


def _required_name(condition: Condition) -> Required | None:
    """Return the last name on the path to the field."""
    name = max(_ESCAPED.split(condition.path[-1]), key=len)
    return Required(frozenset({name})) if len(name) > 1 and name.isascii() and not name.isdecimal() else None


class FieldRule:
    """
    Conditions that a line must meet together.

    Has what the others need of a `Pattern`: in lines without an object it finds nothing.
    """

    is_anchored = True
    explodes = unbounded = has_compounds = matches_every_line = False
    merges = ()
    flags = 0
    limit = ENDLESS

    __slots__ = ("conditions", "groups", "hits", "regex", "text")

    def __init__(self, conditions: Sequence[Condition]) -> None:
        """Raise PatternError when two conditions fill the same group."""
        self.conditions = conditions
        self.hits = 0
        self.text = "; ".join(
            f"{each.option} = {' | '.join(pattern.text for pattern in each.patterns)}" for each in conditions
        )
        self.regex = self.text
        seen: set[str] = set()
        for each in conditions:
            twice = seen & each.groups
            if twice:
                message = tell(
                    "{option} names {groups}, as another field of the same rule does",
                    code="field-twice",
                    option=each.option,
                    groups=", ".join(sorted(twice)),
                )
                raise PatternError(message, pattern=each.patterns[0].text)
            seen |= each.groups
        self.groups = frozenset(seen)

    def required(self) -> Required | None:
        """Return texts of which one stands in each line that matches, as JSON writes it without escapes."""
        values = [found for found in map(_required, self.conditions) if found is not None]
        # The name of a field says little, since all lines of a service have the same.
        choices = values or [found for found in map(_required_name, self.conditions) if found is not None]
        return min(choices, key=lambda each: cost(each.texts), default=None)

    def match(self, record: Record) -> dict[str, object] | None:
        """Return the groups when all conditions are met, else None. Raise GiveUpError."""
        data: dict[str, object] = {}
        for condition in self.conditions:
            found = condition.find(record)
            if found is None:
                return None
            for name, value in found.items():
                if value or name not in data:
                    data[name] = value
        return data

    def find(self, _subject: str) -> None:
        """Find nothing: the text of a line has no fields."""

    find_long = find


class _JsonLine(DatedLine):
    """A line that holds an object."""

    __slots__ = ("record",)

    def __init__(self, line: str, time: float | None, now: float, found: FoundDate | None, record: Record) -> None:
        super().__init__(line, line, time, now, found)
        self.record = record


class JsonRules(FilterRules):
    """
    The rules of a jail whose log holds JSON objects, one in a line.

    *fields* are the conditions: all those of one number (`field.a` and `field.b`, `field2.a` …) make one rule. A line
    that meets those of an `ignorefield` does not count. The time is that of *datefield*, else of the first of the usual
    fields that is there: seconds, milliseconds, microseconds or nanoseconds since 1970, or a date by *datepattern*.
    Lines without an object are treated as by `FilterRules`, with its options. Numbers of rules go on behind those of
    *failregex*. Raise PatternError as that does, and when a rule names nobody.
    """

    looks_into_objects = True

    def __init__(self, *, fields: Fields, datefield: str = "", **options: Any) -> None:
        """*options* are those of `FilterRules`."""
        super().__init__(**options)
        if self.maxlines > 1:
            message = tell("maxlines above 1 does not go with logformat = json", code="value-bad")
            raise PatternError(message, pattern="")
        names = options.get("usedns") != "no"
        self.regexes = self.failures
        self.field_rules = _rules(fields, "field", names=names)
        self.ignore_rules = _rules(fields, "ignorefield", names=names)
        for rule in self.field_rules:
            if not ID_GROUPS & rule.groups:
                raise PatternError(
                    tell("No failure-id group in {text!r}", code="regex-no-host", text=rule.text),
                    pattern=rule.conditions[0].patterns[0].text,
                )
        self.failures = (*self.regexes, *cast("tuple[Pattern, ...]", self.field_rules))  # as far as anybody asks
        self._quiet = tuple(
            LineResult("nofail", rule=number, rules=(number,)) for number in range(1, len(self.failures) + 1)
        )
        self._has_compounds = self._has_compounds or any(
            pattern.has_compounds for rule in self.field_rules for each in rule.conditions for pattern in each.patterns
        )
        self._times = (parse_path(datefield),) if datefield else _TIMES
        self._is_told = bool(options.get("datepattern"))

    @property
    def patterns(self) -> Iterator[tuple[str, Pattern]]:
        """All compiled regexes, by what they are called in the configuration: `failregex[0]`, `field.user[0]`."""
        yield from ((name, pattern) for name, pattern in super().patterns if isinstance(pattern, Pattern))
        for rule in (*self.field_rules, *self.ignore_rules):
            for condition in rule.conditions:
                for number, pattern in enumerate(condition.patterns):
                    yield f"{condition.option}[{number}]", pattern

    def date(self, line: str, now: float, given_time: float | None = None) -> DatedLine:
        """Find the object of *line*, and its date; of a line without one do as `FilterRules`."""
        record = read_record(line)
        if record is None:
            return super().date(line, now, given_time)
        found = None
        time = given_time
        if time is None and not self._journal:
            found = self._date_of(record, now)
            time = None if found is None else found.time
        if time is not None:
            self.last_time = time
        return _JsonLine(line, time, now, found, record)

    def _date_of(self, record: Record, now: float) -> FoundDate | None:
        text = record.first(self._times)
        if text is None and record.outer is not None:
            text = record.outer.first(self._times)
        if text is None:
            return self.detector.find(record.before, now) if record.before else None
        found = self.detector.find(text, now) if self._is_told else None
        if found is not None and found.time is not None:
            return found
        number = _NUMBER.fullmatch(text)
        if number is None:
            return found or self.detector.find(text, now)
        # Seconds have ten digits from 2001 to 2286, and finer units three more each.
        digits = len(number[1])
        unit = 1 if digits < 12 else 1000 if digits < 15 else 1_000_000 if digits < 18 else 1_000_000_000
        return FoundDate(0, 0, text, float(text) / unit, "Epoch", False)

    def match(
        self, dated: DatedLine, at: float | None, *, check_all: bool = False, is_brief: bool = False
    ) -> LineResult:
        """Try the rules on the fields of a line that has an object; else do as `FilterRules`."""
        if not isinstance(dated, _JsonLine):
            return super().match(dated, at, check_all=check_all, is_brief=is_brief)
        try:
            return self._match_fields(dated, at, check_all=check_all)
        except GiveUpError:
            self.given_up += 1
            return MISSED

    def _match_fields(self, dated: _JsonLine, at: float | None, *, check_all: bool) -> LineResult:
        record = dated.record
        rejected = ""
        for number, rule in enumerate(self.field_rules, len(self.regexes) + 1):
            data = rule.match(record)
            if data is None:
                continue
            if self._is_ignored(dated.line + "\n") or self._is_ignored_record(record):
                return LineResult("ignored")
            wrong = no_address(data)
            if wrong:
                rejected = rejected or wrong
                continue
            result = self._conclude(data, (dated.line,), at, number)
            return self._others(result, record) if check_all and result.rule else result
        return LineResult("missed", rejected=rejected)

    def _is_ignored_record(self, record: Record) -> bool:
        for rule in self.ignore_rules:
            if rule.match(record) is not None:
                rule.hits += 1
                return True
        return False

    def _others(self, result: LineResult, record: Record) -> LineResult:
        """Let the rules behind the one that decided count their hits as well."""
        rules = result.rules
        for number, rule in enumerate(self.field_rules, len(self.regexes) + 1):
            if number > result.rule and rule.match(record) is not None:
                rule.hits += 1
                rules = (*rules, number)
        return result if rules is result.rules else result._replace(rules=rules)


def _rules(fields: Fields, kind: str, *, names: bool) -> tuple[FieldRule, ...]:
    rules: dict[str, list[Condition]] = {}
    for option, texts in fields:
        found = _OPTION.fullmatch(option)
        if found is None:
            raise PatternError(bad_name(option), pattern=option)
        if found["kind"] == kind and texts:
            condition = Condition(option, parse_path(found["path"]), texts, names=names)
            rules.setdefault(found["number"].lstrip("0"), []).append(condition)
    return tuple(FieldRule(conditions) for conditions in rules.values())
