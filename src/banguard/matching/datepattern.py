"""Compile one datepattern."""

from __future__ import annotations

import re
import time
import warnings
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

from banguard.errors import PatternError
from banguard.message import tell, why

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

_MONTHS = [
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
]
_WEEKDAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]

MONTHS: Final = {name[:cut].lower(): number for number, name in enumerate(_MONTHS, 1) for cut in (3, None)}
"""Number of each month by its English name and abbreviation, in lower case."""

WEEKDAYS: Final = {name[:cut].lower(): number for number, name in enumerate(_WEEKDAYS) for cut in (3, None)}
"""Number of each weekday (Monday 0) by its English name and abbreviation, in lower case."""

ANY_YEAR: Final = r"(?:19|20)\d\d"
"""Regex of the years that the filter tester takes."""

_YEARS = "\0"  # stands for the regex of limited years until that is known
_SOME_YEARS = r"20[0-2]\d"  # to see whether a pattern compiles at all; what is in use at present, so no work is lost
_OFFSET = r"[+-][01]\d(?::?\d\d)?"


class _Token(NamedTuple):
    group: str  # name of the regex group; tokens that say the same thing share it
    regex: str
    word: str  # as the tester prints it


def _any_of(names: list[str], length: int | None) -> str:
    return "|".join(name[:length] for name in names)


# The order of alternatives counts where nothing separates a number from what follows: `%H%M` reads 2330 as 2:33.
_TOKENS: Final = {
    "Y": _Token("Y", r"\d{4}", "Year"),
    "ExY": _Token("Y", _YEARS, "ExYear"),
    "G": _Token("G", r"\d{4}", "%G"),
    "y": _Token("y", r"\d\d", "Year2"),
    "Exy": _Token("y", r"\d\d", "ExYear2"),
    "m": _Token("m", r"0?[1-9]|1[0-2]", "Month"),
    "Exm": _Token("m", r"1[0-2]|0[1-9]", "ExMonth"),
    "d": _Token("d", r"[12]\d|[ 0]?[1-9]|3[01]", "Day"),
    "Exd": _Token("d", r"3[01]|[12]\d|0[1-9]", "ExDay"),
    "H": _Token("H", r"[01]?\d|2[0-3]", "24hour"),
    "ExH": _Token("H", r"2[0-3]|[01]\d", "Ex24hour"),
    "k": _Token("H", r"[0-2]?\d", "%k"),
    "Exk": _Token("H", r"[01]?\d|2[0-3]", "Ex%k"),
    "I": _Token("I", r"1[0-2]|0?[1-9]", "12hour"),
    "l": _Token("I", r"1?\d", "%l"),
    "Exl": _Token("I", r"1[0-2]|\d", "Ex%l"),
    "M": _Token("M", r"[0-5]?\d", "Minute"),
    "ExM": _Token("M", r"[0-5]\d", "ExMinute"),
    "S": _Token("S", r"[0-5]?\d|6[01]", "Second"),
    "ExS": _Token("S", r"6[01]|[0-5]\d", "ExSecond"),
    "f": _Token("f", r"[0-9]{1,6}", "Microseconds"),
    "p": _Token("p", r"am|pm", "AMPM"),
    "a": _Token("a", _any_of(_WEEKDAYS, 3), "DAY"),
    "A": _Token("A", _any_of(_WEEKDAYS, None), "DAYNAME"),
    "b": _Token("b", _any_of(_MONTHS, 3), "MON"),
    "B": _Token("B", _any_of(_MONTHS, None), "MONTH"),
    "j": _Token("j", r"36[0-6]|3[0-5]\d|[12]\d\d|0[1-9]\d|00[1-9]|[1-9]\d|0[1-9]|[1-9]", "Yearday"),
    "U": _Token("U", r"5[0-3]|[0-4]?\d", "Yearweek"),
    "W": _Token("W", r"5[0-3]|[0-4]?\d", "Yearweek"),
    "V": _Token("V", r"5[0-3]|0[1-9]|[1-4]\d|\d", "%V"),
    "w": _Token("w", r"[0-6]", "Weekday"),
    "u": _Token("u", r"[1-7]", "%u"),
    "z": _Token("z", rf"Z|UTC|GMT|{_OFFSET}", "Zone offset"),
    "Exz": _Token("z", rf"(?:[A-Z]{{3,5}}|[A-Z])(?:{_OFFSET})?|{_OFFSET}", "ExZone offset"),
    "Z": _Token("Z", r"[A-Z]{3,5}|Z", "Zone name"),
    "ExZ": _Token("Z", r"[A-Z]{3,5}|[A-Z]", "ExZone name"),
}
_BLANK_BEFORE = {"k": " ?", "Exk": " ?", "l": " ?", "Exl": " ?"}  # optional padding, not part of the group
_COMPOSED = {"c": r"%a\s+%b\s+%d\s+%H:%M:%S\s+%Y", "x": "%m/%d/%y", "X": "%H:%M:%S"}  # as the C locale has them
_IGNORE_CASE = re.compile("%[aAbBpc]")
_TOKEN = re.compile("%(Ex[A-Za-z]|.?)", re.DOTALL)

_NUMBERS = {
    # Seconds, with a fraction from milliseconds to microseconds.
    "EPOCH": r"\d{10,11}(?:\.\d{3,6})?\b",
    # Seconds, milliseconds (with a fraction), or microseconds.
    "LEPOCH": r"\d{10,11}(?:\d{3}(?:\.\d{1,6}|\d{3})?)?\b",
}
_WORDS = {"EPOCH": "Epoch", "LEPOCH": "LongEpoch", "TAI64N": "TAI64N"}
_LABEL = "@[0-9a-f]{24}"

# Not inside of a word: at most one of the two neighbours is a word character.
_BOUNDARY = r"(?!\B\w)"
_LINE_START = r"^\W{0,2}"

_INLINE_FLAGS = re.compile(r"\(\?[imsxau]+\)")
_OWN_START = re.compile(r"(\(?\(?|\(\?:)\^(\|?)")
_PLAIN_GROUP = re.compile(r"(?<!\\)\((?!\?)")
_DATE = re.compile(r"\{DATE\}")
_DATE_ANY_CASE = re.compile(r"\{DATE\}", re.IGNORECASE)
_EMBEDDED = re.compile(r"\{(L?EPOCH)\}")
_EMBEDDED_ANY_CASE = re.compile(r"\{(L?EPOCH)\}", re.IGNORECASE)
_KEYWORD = re.compile(r"(\{\^LN-BEG\}|\^)?(L?EPOCH|TAI64N)")
_ISO8601 = re.compile(r"(\{\^LN-BEG\}|\^)?ISO8601")
_LN_BEG = "{^LN-BEG}"
_UNBOUND = "{UNB}"

_SYSLOG = r"(?:%a )?%b %d %k:%M:%S(?:\.%f)?(?: %ExY)?"
_DEFAULTS: Final = (
    r"%ExY(?P<_sep>[-/.])%m(?P=_sep)%d(?:T|  ?)?%H:%M:%S(?:[.,]%f)?(?:\s*%z)?",
    _SYSLOG,
    r"(?:%a )?%b %d %ExY %k:%M:%S(?:\.%f)?",
    r"%d(?P<_sep>[-/])%m(?P=_sep)(?:%ExY|%Exy) %k:%M:%S",
    r"%d(?P<_sep>[-/])%b(?P=_sep)%ExY[ :]?%H:%M:%S(?:\.%f)?(?: %z)?",
    r"%m/%d/%ExY:%H:%M:%S",
    r"%m-%d-%ExY %k:%M:%S(?:\.%f)?",
    "Epoch",
    r"{^LN-BEG}%H:%M:%S",
    r"^<%m/%d/%Exy@%H:%M:%S>",
    r"%Exy%Exm%Exd  ?%H:%M:%S",
    r"%b %d, %ExY %I:%M:%S %p",
    r"^%b-%d-%Exy %k:%M:%S",
    r"%ExY%Exm%Exd(?:-|T|  ?)?%ExH:?%ExM:?%ExS(?:[.,]%f)?(?:\s*%z)?",
    "(?:%Z )?" + _SYSLOG,
    "(?:%z )?" + _SYSLOG,
    "TAI64N",
)
_ANCHORED_WEIGHT = 100.0

# What a line must contain for one of the defaults to be in it: searching for that once is much cheaper than for each.
_CLOCK = re.compile(r"\d:[0-5]?\d:[0-6]?\d").search
_DIGITS = re.compile(r"\d{8}").search
_AT = re.compile("@").search


class Matcher(NamedTuple):
    """A compiled date pattern: how to find it, and which groups say what."""

    regex: re.Pattern[str]
    find: Callable[[str], re.Match[str] | None]
    """Find it in a whole line."""
    groups: dict[str, int]
    """Number of the group of each token (`Y`, `m`, …) or kind of number (`EPOCH`, `LEPOCH`, `TAI64N`)."""


class DatePattern:
    """
    One template: what the dates of a line look like.

    Group 1 of its regex is what is cut out of the line. *text* is what the user would write for it, *name* what the
    tester prints. *anchored* says that it matches only at the line's start, or only at its end; *at_start* that it is
    tried nowhere else than at the start. *needs*, when there is
    one, finds something in every line in which the pattern matches. Shared between detectors; its regex is compiled
    when first asked for.
    """

    __slots__ = ("_compiled", "_ignore_case", "_source", "anchored", "at_start", "name", "needs", "text")

    def __init__(
        self, text: str, name: str, source: str, *, anchored: bool, at_start: bool, ignore_case: bool = False
    ) -> None:
        self.text = text
        self.name = name
        self.anchored = anchored
        self.needs: Callable[[str], object] | None = None
        self._source = source
        self.at_start = at_start
        self._ignore_case = ignore_case
        self._compiled: dict[str, Matcher] = {}

    def regex(self, years: str) -> str:
        """Return the regex, in which *years* (see `limited_years`) is what a limited year may be."""
        return self._source.replace(_YEARS, years)

    def compile(self, years: str) -> Matcher:
        """Return the compiled pattern; raises PatternError when it is no regular expression."""
        key = years if _YEARS in self._source else ""
        matcher = self._compiled.get(key)
        if matcher is None:
            matcher = self._compiled[key] = self._compile(years)
        return matcher

    def _compile(self, years: str) -> Matcher:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of the kind "possible nested set": the author of a filter meant it
                regex = re.compile(self.regex(years), re.IGNORECASE if self._ignore_case else 0)
        except (re.error, RecursionError, OverflowError) as error:
            raise PatternError(
                tell("not a date pattern: {reason}", code="date-broken", reason=why(error)), pattern=self.text
            ) from None
        # `search` would try a regex that starts with ^ at every position; `match` gives up at the first.
        find = regex.match if self.at_start else regex.search
        return Matcher(regex, find, dict(regex.groupindex))


class Weighted(NamedTuple):
    """A template and how much its hits count when templates are reordered."""

    pattern: DatePattern
    weight: float


def limited_years(now: float, *, any_year: bool = False) -> tuple[str, float]:
    """
    Return the regex of what a limited year may be at epoch time *now*, and until when that holds.

    These are the years from 2000 to the end of the decade of *now* plus three years; 1900 to 2099 with *any_year*.
    """
    if any_year:
        return ANY_YEAR, float("inf")
    decade = max(time.localtime(now).tm_year + 3, 2000) // 10
    until = time.mktime((decade * 10 + 7, 1, 1, 0, 0, 0, 0, 0, -1))
    if decade < 210:
        return rf"20[0-{decade % 10}]\d", until
    return rf"(?:{'|'.join(str(each) for each in range(200, decade + 1))})\d", until


def compile_datepattern(text: str | None) -> list[Weighted]:
    """
    Return the templates of option `datepattern`: one for each line, several for `{DATE}`, `{^LN-BEG}`, `{DEFAULT}`.

    `ISO8601` stands for two, with and without separators. None, or no line at all, stands for all defaults. Raises
    PatternError for an unknown token, for something that is no regular expression, and for the same template twice.
    """
    lines = [line.strip() for line in (text or "").split("\n")]
    templates: dict[str, Weighted] = {}
    for line in filter(None, lines):
        keyword = line if "%" in line else line.upper()
        if keyword == "{DEFAULT}":
            _add_missing(templates, _all_defaults())
        elif keyword == _LN_BEG:
            _add_missing(templates, [default for default in _all_defaults() if default.pattern.anchored])
        elif keyword == "{NONE}":
            _add(templates, _template(_UNBOUND + "^"), line)
        elif "{DATE}" in keyword:
            _add_missing(templates, _with_dates(line))
        elif (iso := _ISO8601.fullmatch(keyword)) is not None:
            _add_missing(templates, [Weighted(_template((iso[1] or "") + _DEFAULTS[at]), 1.0) for at in (0, 13)])
        else:
            _add(templates, _checked(line), line)
    return list(templates.values()) or list(_all_defaults())


def _add(templates: dict[str, Weighted], pattern: DatePattern, line: str) -> None:
    if pattern.name in templates:
        raise PatternError(
            tell("date pattern {name!r} stands twice", code="date-broken", name=pattern.name), pattern=line
        )
    templates[pattern.name] = Weighted(pattern, 1.0)


def _add_missing(templates: dict[str, Weighted], more: Iterable[Weighted]) -> None:
    for each in more:
        known = templates.get(each.pattern.name)
        if known is None or known.weight < each.weight:
            templates[each.pattern.name] = each


@lru_cache(maxsize=1)
def _all_defaults() -> tuple[Weighted, ...]:
    """Return the defaults, before them a copy bound to the line's start of each that is not anyway."""
    originals = [_template(text) for text in _DEFAULTS]
    for each in originals:
        if not each.anchored:
            each.needs = _AT if each.text == "TAI64N" else _CLOCK if ":%M:%S" in each.text else _DIGITS
    bound = [_template(_LN_BEG + text) for text, each in zip(_DEFAULTS, originals, strict=True) if not each.anchored]
    return (*(Weighted(each, _ANCHORED_WEIGHT) for each in bound), *(Weighted(each, 1.0) for each in originals))


def _with_dates(line: str) -> Iterator[Weighted]:
    """Put each default in place of `{DATE}`; the prefix of *line* replaces that of the default."""
    around = (_DATE if "%" in line else _DATE_ANY_CASE).split(line)
    texts = [text.removeprefix(_LN_BEG).join(around) for text in _DEFAULTS]
    # All differ in the default only: the first shows whether the rest of the line is sound, unless it has groups or
    # tokens that could meet those of other defaults.
    for text in texts if "%" in line or "(?P" in line else texts[:1]:
        _checked(text, line)
    whole_line = line == _LN_BEG + "{DATE}"
    for text, default in zip(texts, _DEFAULTS, strict=True):
        weight = _ANCHORED_WEIGHT if whole_line and not default.startswith((_LN_BEG, "^")) else 1.0
        yield Weighted(_template(text), weight)


def _checked(text: str, line: str | None = None) -> DatePattern:
    """Return the template of *text*, compiled once to see that it can be; *line* is what the user wrote."""
    try:
        pattern = _template(text)
        pattern.compile(_SOME_YEARS)
    except PatternError as error:
        raise PatternError(error.message, pattern=line or text) from None
    return pattern


@lru_cache(maxsize=1024)
def _template(text: str) -> DatePattern:
    """Return one template: a keyword, or a regex with tokens."""
    keyword = _KEYWORD.fullmatch(text if "%" in text else text.upper())
    if keyword is not None:
        return _number_template(text, keyword[2], anchored=keyword[1] is not None)
    unbound = text.startswith(_UNBOUND)
    shown = text.removeprefix(_UNBOUND)
    body = shown.removeprefix(_LN_BEG)
    flags = _INLINE_FLAGS.match(body)
    inline = flags[0] if flags is not None else ""
    body = body.removeprefix(inline)
    grouped = _PLAIN_GROUP.search(body) is not None
    line_start = shown.startswith(_LN_BEG)
    start, body, begins = _split_start(body, _LINE_START if line_start else "" if unbound else _BOUNDARY, grouped)
    body, end, ends = _split_end(body, "" if unbound else _BOUNDARY, grouped)
    if line_start and start != _LINE_START:
        shown = shown.removeprefix(_LN_BEG)
    body, embedded = _embed_numbers(body, any_case="%" not in text)
    whole = embedded or not grouped
    body = _translate(body, text)
    return DatePattern(
        text,
        _TOKEN.sub(_word_of, shown),
        f"{inline}{start}({body}){end}" if whole else f"{inline}{start}{body}{end}",
        anchored=begins or ends,
        at_start=begins and ((whole and start != "") or "|" not in body),
        ignore_case=_IGNORE_CASE.search(text) is not None,
    )


def _number_template(text: str, kind: str, *, anchored: bool) -> DatePattern:
    """Return the template of a keyword that stands alone."""
    number = _LABEL + _BOUNDARY if kind == "TAI64N" else _NUMBERS[kind]
    if anchored:
        start = _LINE_START
    else:
        start = "" if kind == "TAI64N" else r"(?:^|(?<=^\[)|(?<=\baudit\())"
    name = (_LN_BEG if anchored else "") + _WORDS[kind]
    return DatePattern(text, name, f"{start}(?P<{kind}>{number})", anchored=anchored, at_start=anchored)


def _split_start(body: str, default: str, grouped: bool) -> tuple[str, str, bool]:
    """
    Split *body* into the test of its start and the rest, and say whether it is bound to the line's start.

    *default* is the test when the body has none of its own, *grouped* whether the body has a plain group.
    """
    if body.startswith("**"):
        return "", body[2:], False
    own = _OWN_START.match(body)
    if own is None:
        return default, body, default == _LINE_START
    if own[1] == "":
        return "^", body[1:], True
    return "", body, own[2] == "" and (own[1] == "(" or (own[1] == "(?:" and grouped))


def _split_end(body: str, default: str, grouped: bool) -> tuple[str, str, bool]:
    """Split *body* into the rest and the test of its end, and say whether it is bound to the line's end."""
    if body.endswith("**"):
        return body[:-2], "", False
    if body.endswith("$") and not _is_escaped(body, len(body) - 1):
        return body[:-1], "$", True
    if body.endswith(("$)", "\\b", "\\s")) and not _is_escaped(body, len(body) - 2):
        return body, "", grouped and body.endswith("$)") and not body.endswith("|$)")
    return body, default, False


def _is_escaped(text: str, at: int) -> bool:
    """Whether an odd number of backslashes stands before position *at*."""
    return (at - len(text[:at].rstrip("\\"))) % 2 == 1


def _embed_numbers(body: str, *, any_case: bool) -> tuple[str, bool]:
    """Replace `{EPOCH}` and `{LEPOCH}`; the first is the time. Return whether there were any."""
    found = 0

    def number(match: re.Match[str]) -> str:
        nonlocal found
        found += 1
        kind = match[1].upper()
        return f"(?P<{kind}>{_NUMBERS[kind]})" if found == 1 else f"(?:{_NUMBERS[kind]})"

    return (_EMBEDDED_ANY_CASE if any_case else _EMBEDDED).sub(number, body), found > 0


def _translate(body: str, text: str) -> str:
    """Return regex *body* with its tokens replaced; raises PatternError for an unknown one in *text*."""

    def regex_of(found: re.Match[str]) -> str:
        name = found[1]
        if name == "%":
            return "%"
        if name in _COMPOSED:
            return _TOKEN.sub(regex_of, _COMPOSED[name])
        if name not in _TOKENS:
            raise PatternError(
                tell("unknown token {found!r}; a percent sign is written %%", code="date-broken", found=found[0]),
                pattern=text,
            )
        group, regex, _ = _TOKENS[name]
        return f"{_BLANK_BEFORE.get(name, '')}(?P<{group}>{regex})"

    return _TOKEN.sub(regex_of, body)


def _word_of(found: re.Match[str]) -> str:
    name = found[1]
    return _TOKENS[name].word if name in _TOKENS else "%" if name == "%" else found[0]
