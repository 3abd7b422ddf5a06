"""Find and read the date of a line; remember the last second and the last template."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Final

from banguard.errors import PatternError
from banguard.matching.datepattern import MONTHS, WEEKDAYS, DatePattern, compile_datepattern, limited_years
from banguard.matching.reach import Reach
from banguard.matching.zones import EPOCH_WALL, LOCAL, Zone, offset_of, parse_zone

if TYPE_CHECKING:
    import re
    from collections.abc import Callable

_FOR_EVER: Final = float("inf")
_FAR: Final = 0x7FFFFFFF  # a column beyond any line
_DAY: Final = 86_400
_UNUSED_AFTER: Final = 300.0  # seconds after which the place of a template may be taken by any other
_NEVER: Final = "\n"  # a beginning that no line has
_WITHIN: Final = 2048  # characters of a line in which one of the defaults is looked for
_SECONDS: Final = {text: int(text) for number in range(60) for text in (str(number), f"{number:02}")}


class FoundDate:
    """
    A date in a line.

    *start* and *end* delimit what is cut out of the line. *text* is the date as written. *time* is in seconds since
    the epoch; None in two cases, and nothing is cut (*start* equals *end*) in either of them:

    - *optional* is true: the pattern says that a date may be missing here, and it is. The line's time is that of the
      last date seen if it is fresh, else now.
    - *optional* is false: *text* is no possible date, such as 31 February. To be logged as an error; the line counts
      as one without a date.

    *template* is the name of the template that won.
    """

    __slots__ = ("end", "optional", "start", "template", "text", "time")

    def __init__(  # noqa: PLR0917 - made for every line, and positional arguments are cheaper
        self, start: int, end: int, text: str, time: float | None, template: str, optional: bool
    ) -> None:
        self.start = start
        self.end = end
        self.text = text
        self.time = time
        self.template = template
        self.optional = optional


class DateTemplate:
    """
    One template of a detector with what became of it there; for reading only.

    *hits* counts the lines that it won, *distance* is the column at which it last did.
    """

    __slots__ = ("_reach", "_years", "anchored", "distance", "factor", "find", "hits", "last_used", "pattern", "reader")

    def __init__(self, pattern: DatePattern, factor: float) -> None:
        self.pattern = pattern
        self.anchored = pattern.anchored
        self.factor = factor
        self.hits = 0
        self.distance = _FAR
        self.last_used = 0.0
        self._years = ""
        self._reach: Reach | None = None
        self.reader: Reader | None = None
        self.find: Callable[[str], re.Match[str] | None] = self._compile_and_find

    @property
    def name(self) -> str:
        """What the tester prints for it, such as `Year-Month-Day 24hour:Minute:Second`."""
        return self.pattern.name

    @property
    def regex(self) -> str:
        """The regular expression."""
        return self.pattern.regex(self._years)

    @property
    def weight(self) -> float:
        """What decides about its place: how often it won, and how far to the left."""
        return self.hits * self.factor / (self.distance or 1)

    def reach(self, line: str) -> int:
        """Return how many first characters of *line* decide whether and where it matches there; 0 when unknown."""
        if not self.pattern.at_start:
            return 0
        if self._reach is None:
            regex = self.pattern.compile(self._years).regex
            self._reach = Reach(regex.pattern, regex.flags)
        return self._reach.of(line)

    def set_years(self, years: str) -> None:
        """Let a limited year be what regex *years* says."""
        if years != self._years:
            self._years = years
            self._reach = None
            self.reader = None
            self.find = self._compile_and_find

    def groups(self) -> dict[str, int]:
        """Return the numbers of the groups that tell the time."""
        return self.pattern.compile(self._years).groups

    def find_between(self, line: str, start: int, end: int) -> re.Match[str] | None:
        """Find it in *line* as if that ended at *end*, from *start* on."""
        return self.pattern.compile(self._years).regex.search(line, start, end)

    def _compile_and_find(self, line: str) -> re.Match[str] | None:
        self.find = self.pattern.compile(self._years).find
        return self.find(line)


class DateDetector:
    """
    Finds the date of each line of one log; keeps the order and the last winner of its templates.

    *datepattern* is the text of the option (None: all defaults), *timezone* the zone of dates that name none (see
    `zones.parse_zone`; None: the local time of the system), *any_year* lets years from 1900 to 2099 pass where else
    only those from 2000 to the end of the decade of now plus three years do, as the filter tester wants it.
    Raises PatternError for a pattern or zone that cannot be used. Not thread-safe.

    The choice among templates is that of fail2ban, with its state: which one won last and where, and an order that
    changes with their hits. A line with two dates, or one that fits two templates, is thus read the same way there
    and here.
    """

    def __init__(self, datepattern: str | None = None, *, timezone: str | None = None, any_year: bool = False) -> None:
        weighted = compile_datepattern(datepattern)
        try:
            self._zone = parse_zone(timezone)
        except ValueError as error:
            raise PatternError(str(error), pattern=timezone or "") from None
        self._any_year = any_year
        # Many templates are tried on each line then.
        self._is_some_default = datepattern is None or ("{DATE}" in datepattern.upper() and "$" not in datepattern)
        self._years_until = -_FOR_EVER
        self._templates = [DateTemplate(each.pattern, each.weight) for each in weighted]
        self._first_unused = 0
        # The last winner: its place in the list, its line, and where it stood there.
        self._last = -1
        self._last_line = ""
        self._last_start = 1
        self._last_end = 0
        # How lines begin that have the same date as the last one, and from when until when that holds.
        self._again = _NEVER
        self._again_from = self._again_until = 0.0
        self._again_template = self._templates[0]
        self._again_found = FoundDate(0, 0, "", None, "", True)

    @property
    def templates(self) -> list[DateTemplate]:
        """The templates, in the order in which they are tried at present."""
        return list(self._templates)

    @property
    def description(self) -> str:
        """What the patterns are called as a whole: the name of the only one, or `Default Detectors`."""
        return self._templates[0].name if len(self._templates) == 1 else "Default Detectors"

    def find(self, line: str, now: float) -> FoundDate | None:
        """Return the date of *line* (without newline), read as of *now* (epoch seconds); None when there is none."""
        if line.startswith(self._again) and self._again_from <= now < self._again_until:
            # The template that won last matches here as it did there.
            template = self._again_template
            template.hits += 1
            template.last_used = now
            return self._again_found
        if self._is_some_default and len(line) > _WITHIN:
            line = line[:_WITHIN]
        if now >= self._years_until:
            self._set_years(now)
        last = self._last
        if last < 0:
            return self._walk(line, now, -1, None)
        template = self._templates[last]
        if template.anchored:
            match = template.find(line)
            if match is None:
                return self._walk(line, now, last, None)
            return self._won(last, match, line, now)
        start, end = self._last_start, self._last_end
        if self._looks_alike(line, start, end):
            # Only there; should it be missing, the template is tried again with all others.
            match = template.find_between(line, start, end)
            skip = -1
        else:
            match = template.find(line)
            skip = last
        if match is None:
            return self._walk(line, now, skip, None)
        if len(self._templates) == 1 or match.span() == (start, end):
            return self._won(last, match, line, now)
        return self._walk(line, now, skip, match)

    def _looks_alike(self, line: str, start: int, end: int) -> bool:
        """Whether the neighbours of the last date's borders are the same in *line*; inside, letters do not count."""
        known = self._last_line
        inside = known[start : start + 1]
        if line[start - 1 : start] != known[start - 1 : start] and (
            inside.isalnum() or line[start : start + 1] != inside
        ):
            return False
        if line[end : end + 1] == known[end : end + 1]:
            return True
        inside = known[end - 1 : end]
        return end > 0 and not inside.isalnum() and line[end - 1 : end] == inside

    def _walk(self, line: str, now: float, skip: int, candidate: re.Match[str] | None) -> FoundDate | None:
        """Try the templates in order but *skip*; *candidate* is a match of the last winner at another place."""
        templates = self._templates
        best, best_at = candidate, self._last
        best_start = _FAR if candidate is None else candidate.start()
        final = len(templates) - 1
        has: dict[Callable[[str], object], bool] = {}
        for at, template in enumerate(templates):
            if at == skip:
                continue
            needs = template.pattern.needs
            if needs is not None:
                if needs not in has:
                    has[needs] = needs(line) is not None
                if not has[needs]:
                    continue
            match = template.find(line)
            if match is None:
                continue
            start = match.start()
            if (
                at == final
                or template.anchored
                or (start == 0 and template.hits and not templates[at + 1].hits)
                or (start <= template.distance and start <= self._last_start)
            ):
                return self._won(at, match, line, now)
            if start < best_start:
                best, best_at, best_start = match, at, start
        return None if best is None else self._won(best_at, best, line, now)

    def _won(self, at: int, match: re.Match[str], line: str, now: float) -> FoundDate:
        """Count the hit of the template *at* that place and read its date."""
        template = self._templates[at]
        start, end = match.span()
        self._again = _NEVER
        template.hits += 1
        template.last_used = now
        template.distance = start
        self._last_line = line
        self._last_start = start
        self._last_end = end
        if at == self._last:
            pass
        elif at == 0:
            self._last = 0
        else:
            self._last = self._bubble(at, now)
        reader = template.reader
        if reader is None:
            reader = template.reader = Reader(template.groups(), self._zone)
        start, end = match.span(1)
        if start == end:
            start = max(start, 0)
            return FoundDate(start, start, "", None, template.pattern.name, True)
        time = reader.read(match, now)
        found = FoundDate(start, start if time is None else end, line[start:end], time, template.pattern.name, False)
        if reader.valid_from <= now < reader.valid_until:
            reach = template.reach(line)
            if reach:
                self._again = line[:reach]
                self._again_from = reader.valid_from
                self._again_until = min(reader.valid_until, self._years_until)
                self._again_found, self._again_template = found, template
        return found

    def again(self, count: int, now: float) -> None:
        """Count the hits of *count* more lines that begin as `decides` said, without looking at them."""
        template = self._templates[self._last]
        template.hits += count
        template.last_used = now

    def decides(self, beginning: str) -> bool:
        """Tell whether any line that begins so has a date by the template that won last."""
        if self._last < 0:
            return False
        template = self._templates[self._last]
        reach = template.reach(beginning)
        return 0 < reach <= len(beginning) and template.find(beginning) is not None

    def reach(self, line: str) -> int:
        """Return how many first characters of *line* decide about a date by the template that won last; 0: unknown."""
        return self._templates[self._last].reach(line) if self._last >= 0 else 0

    def _bubble(self, at: int, now: float) -> int:
        """Move the template *at* that place up as far as its weight allows; return its new place."""
        templates = self._templates
        while self._first_unused < len(templates) and templates[self._first_unused].hits:
            self._first_unused += 1
        target = self._first_unused if self._first_unused < at else at // 2
        template = templates[at]
        for place in (target, at - 1):
            other = templates[place]
            if template.weight > other.weight or now - other.last_used > _UNUSED_AFTER:
                del templates[at]
                templates.insert(place, template)
                return place
        return at

    def _set_years(self, now: float) -> None:
        years, self._years_until = limited_years(now, any_year=self._any_year)
        self._again = _NEVER
        for template in self._templates:
            template.set_years(years)


class Reader:
    """
    Reads the time from matches of one pattern; remembers the last minute.

    Lines of the same minute differ in the second only, so that nothing else of them has to be read again. Where the
    reading depends on *now* (no year, no day), it is remembered for as long as no other now could change it.
    """

    __slots__ = ("_base", "_key", "_names", "_numbers", "_second", "_zone", "read", "valid_from", "valid_until")

    def __init__(self, groups: dict[str, int], zone: Zone) -> None:
        self._zone = zone
        named = sorted((number, name) for name, number in groups.items() if len(name) == 1 and name not in "Sf")
        self._names = [name for _, name in named]
        self._numbers = [number for number, _ in named]
        self._second = groups.get("S", 0)
        self._key: object = None
        self._base: float | None = None
        self.valid_from = self.valid_until = 0.0
        self.read: Callable[[re.Match[str], float], float | None] = self._read_tokens
        for kind, read in _NUMBER_READERS.items():
            if kind in groups:
                self.read = read
                self.valid_from, self.valid_until = -_FOR_EVER, _FOR_EVER

    def _read_tokens(self, match: re.Match[str], now: float) -> float | None:
        """Return the time of *match* as of *now*, or None for an impossible date."""
        text = match[self._second] if self._second else None
        second = 0 if text is None else _SECONDS.get(text)
        if second is None:
            # Digits of another script are read all the same; a leap second is no time at all.
            second = int(text or "")
            if second > 59:
                return None
        key = match.group(*self._numbers) if self._numbers else ()
        if key != self._key or not self.valid_from <= now < self.valid_until:
            self._key = key
            self.valid_from, self.valid_until = -_FOR_EVER, _FOR_EVER
            texts = key if isinstance(key, tuple) else (key,)
            self._base = self._minute(dict(zip(self._names, texts, strict=True)), second, now)
        return None if self._base is None else self._base + second

    def _minute(self, texts: dict[str, str | None], second: int, now: float) -> float | None:
        """Return the time of the minute that *texts* name, and set from and until which now that holds."""
        zone = self._zone
        fields = _Fields()
        try:
            for name, text in texts.items():
                if text is not None:
                    fields.read(name, text, texts)
            offset = zone.offset if fields.offset is None else fields.offset
            if fields.year is None or fields.month is None or fields.day is None:
                wall = self._complete(fields, offset, second, now)
            else:
                wall = _wall(fields.year, fields.month, fields.day, fields.hour, fields.minute) - (offset or 0)
            if offset is not None:
                return float(wall - EPOCH_WALL)
            self.valid_from = now
            time, until = zone.epoch(wall, now)
        except (ValueError, OverflowError, OSError):
            return None
        self.valid_until = min(self.valid_until, until)
        return time

    def _complete(self, fields: _Fields, offset: int | None, second: int, now: float) -> int:
        """
        Return the wall-clock seconds (UTC when *offset* is known) of a date that lacks year or day.

        These are today's and this year's, unless that lay in the future (the year: more than a day in the future);
        then they are yesterday's and last year's. Raises ValueError when there is no such date.
        """
        clock = (self._zone if offset is None else LOCAL).wall(now)
        # Whatever the local clock does, it does between minutes.
        self.valid_from, self.valid_until = now, now - now % 60 + 60
        today = date.fromordinal(int(clock // _DAY))
        year = today.year if fields.year is None else fields.year
        month, day = fields.month, fields.day
        this_day = False
        if month is None or day is None:
            named = fields.day_of(year)
            if named is None and (month is not None or day is not None):
                raise ValueError("a month without a day, or the reverse")
            this_day = named is None
            named = named or today.replace(day=1)
            year, month, day = (year, today.month, today.day) if this_day else (named.year, named.month, named.day)
        wall = _wall(year, month, day, fields.hour, fields.minute) - (offset or 0)
        if this_day and self._is_after(wall, second, clock, now):
            wall -= _DAY
        if fields.year is None and self._is_after(wall, second, clock + _DAY, now):
            wall = _wall(year - 1, month, day, 0, 0) + wall % _DAY
        return wall

    def _is_after(self, wall: int, second: int, limit: float, now: float) -> bool:
        """Whether that *second* of minute *wall* is after *limit*, which moves with *now*; note how long that holds."""
        if wall + second > limit:
            self.valid_until = min(self.valid_until, now + (wall - limit) if wall > limit else now)
            return True
        if wall + 59 > limit:
            self.valid_until = now
        return False


class _Fields:
    """The parts of a date, as numbers; None for what it lacks."""

    __slots__ = ("day", "hour", "julian", "minute", "monday_first", "month", "offset", "week", "weekday", "year")

    def __init__(self) -> None:
        self.year: int | None = None
        self.month: int | None = None
        self.day: int | None = None
        self.julian: int | None = None
        self.week: int | None = None
        self.weekday: int | None = None
        self.offset: int | None = None
        self.monday_first = False
        self.hour = 0
        self.minute = 0

    def read(self, name: str, text: str, texts: dict[str, str | None]) -> None:
        """Take in the token *name* that stands as *text*, one of *texts*; raises ValueError for an unknown zone."""
        if name == "Y":
            self.year = int(text)
        elif name == "y":
            self.year = 2000 + int(text)
        elif name == "m":
            self.month = int(text)
        elif name in "bB":
            # A name that only ignoring case makes one (with a long s) is none.
            self.month = _number_of(text, MONTHS)
        elif name == "d":
            self.day = int(text)
        elif name == "H":
            self.hour = int(text)
        elif name == "I":
            hour = int(text)
            afternoon = (texts.get("p") or "").lower() == "pm"
            self.hour = (0 if hour == 12 else hour) + (12 if afternoon else 0)
        elif name == "M":
            self.minute = int(text)
        elif name in "zZ":
            self.offset = offset_of(text)
        elif name == "j":
            self.julian = int(text)
        elif name in "UW":
            self.week = int(text)
            self.monday_first = name == "W"
        elif name in "aA":
            self.weekday = _number_of(text, WEEKDAYS)
        elif name == "w":
            self.weekday = (int(text) - 1) % 7

    def day_of(self, year: int) -> date | None:
        """Return the day of *year* that its number, or week and weekday, name; None without these."""
        first = date(year, 1, 1)
        if self.julian is not None:
            return date.fromordinal(first.toordinal() + self.julian - 1)
        if self.week is None or self.weekday is None:
            return None
        # Week 1 starts at the first Sunday (or Monday) of the year, week 0 is what lies before.
        shift = 0 if self.monday_first else 1
        before = (7 - (first.weekday() + shift) % 7) % 7
        days = before + 7 * (self.week - 1) + (self.weekday + shift) % 7
        if self.week == 0 and before == 0:
            days += 7
        return date.fromordinal(first.toordinal() + days)


def _number_of(text: str, table: dict[str, int]) -> int:
    number = table.get(text.lower())
    if number is None:
        raise ValueError(f"no name: {text!r}")
    return number


def _wall(year: int, month: int, day: int, hour: int, minute: int) -> int:
    """Return wall-clock seconds since 0001-01-01 00:00; raises ValueError when there is no such time."""
    if hour > 23:
        raise ValueError(f"no hour: {hour}")
    return date(year, month, day).toordinal() * _DAY + hour * 3600 + minute * 60


def _read_epoch(match: re.Match[str], now: float) -> float | None:  # noqa: ARG001 - as all readers
    return float(match["EPOCH"])


def _read_long_epoch(match: re.Match[str], now: float) -> float | None:  # noqa: ARG001 - as all readers
    text = match["LEPOCH"]
    digits = len(text.partition(".")[0])
    return float(text) / (1 if digits < 13 else 1000 if digits < 16 else 1_000_000)


def _read_tai64n(match: re.Match[str], now: float) -> float | None:  # noqa: ARG001 - as all readers
    # `@4`, the seconds since 1970 in 15 hex digits, then nanoseconds. Leap seconds are not subtracted.
    return float(int(match["TAI64N"][2:17], 16))


_NUMBER_READERS: Final = {"EPOCH": _read_epoch, "LEPOCH": _read_long_epoch, "TAI64N": _read_tai64n}
