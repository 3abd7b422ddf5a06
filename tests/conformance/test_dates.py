"""Dates are found, cut and read as an installed fail2ban does it, and the choice among templates is the same."""

from __future__ import annotations

import configparser
import glob
import itertools
import random
import re
import time
from datetime import UTC, datetime, timedelta

import pytest

from banguard.errors import PatternError
from banguard.matching.dates import DateDetector, FoundDate
from conformance.date_oracle import Oracle, missing

NOW = 1_795_222_800.0  # 2026-11-21 01:00:00 UTC
MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
DAYS = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]

PATTERNS = [
    None,
    "{^LN-BEG}",
    "{DATE}",
    "^{DATE}",
    "{^LN-BEG}{DATE}",
    "{UNB}{DATE}",
    "**{DATE}**",
    r"^[^\[]*\[({DATE})",
    "^[^\\[]*\\[({DATE})\n{^LN-BEG}",
    "^[^\\[]*(\\[{DATE}\\s*\\])\n{^LN-BEG}",
    "^<W>{DATE}",
    "^host {DATE}",
    "({DATE}) x",
    "EPOCH",
    "^EPOCH",
    "{^LN-BEG}EPOCH",
    "LEPOCH",
    "^LEPOCH",
    "{^LN-BEG}LEPOCH",
    "t={EPOCH}",
    "t={LEPOCH}",
    r"^\[?{LEPOCH}",
    "{^LN-BEG}Epoch\n{^LN-BEG}",
    "TAI64N",
    "^TAI64N",
    "{^LN-BEG}TAI64N\n{^LN-BEG}",
    "{NONE}",
    "%Y-%m-%d %H:%M:%S\n{NONE}",
    "^WARNING:()**\n{^LN-BEG}",
    "^%b %d, %ExY %I:%M:%S %p\n^WARNING:()**\n{^LN-BEG}",
    "%Y-%m-%d %H:%M:%S",
    "^%Y-%m-%d %H:%M:%S$",
    "%Y-%m-%d %H:%M:%S$",
    "**%Y-%m-%d %H:%M:%S**",
    "{UNB}%Y-%m-%d %H:%M:%S",
    "{UNB}^%Y-%m-%d %H:%M:%S",
    "(%Y-%m-%d) (%H:%M:%S)",
    r"\[%d/%b/%Y:%H:%M:%S %z\]",
    r"%d/%b[^/]*/%Y:%H:%M:%S %z",
    "%Y-%m-%dT%H:%M:%S%z",
    "%Y-%m-%d %H:%M:%S %Z",
    "%Y-%m-%d %H:%M:%S %ExZ",
    "%Y-%m-%d %H:%M:%S ?%Exz",
    "%A %B %d %H:%M:%S %Y",
    "%a %b %d %I:%M:%S %p",
    "%H:%M:%S",
    "^%H:%M:%S.%f",
    "%b %d %H:%M:%S",
    "%b %d %k:%M:%S %z",
    "%m/%d %H:%M",
    "%c",
    "%x %X",
    "%Y %j %H:%M:%S",
    "%j %H:%M",
    "%Y %U %w",
    "%Y %W %a %H",
    "%y%m%d %H%M%S",
    "%Exy%Exm%Exd%ExH%ExM%ExS",
    "%l:%M:%S %p %d %b %Y",
    "%Exl:%M %p",
    "at %Exk:%M:%S",
    "%Y-%m-%d %H:%M:%S\n%d/%m/%Y %H:%M:%S\n%H:%M:%S",
    "%H:%M:%S\n%Y-%m-%d %H:%M:%S\n%b %d %H:%M:%S\n%Y",
    "%Y-%m-%d %H:%M:%S$\n%H:%M:%S\n%Y-%m-%d",
    "%ExY(?P<_sep>[-/.])%m(?P=_sep)%d[T ]%H:%M:%S(?:[.,]%f)?(?:\\s*%z)?\n^[^\\[]*\\[({DATE})\n{^LN-BEG}",
    r"(?:^|\s)%H:%M:%S",
    r"\s%H:%M:%S\s",
    r"(?i)at %H:%M:%S",
    "100%% %H:%M:%S",
]
ZONES = [None, None, None, "UTC", "UTC+0200", "GMT-0100", "Z", "CET", "+02:00", "-0930", "EST", "CST+0530"]


def installed_patterns() -> list[str]:
    """The date patterns of the filters that the installed fail2ban has, where they need no expansion."""
    found = set()
    for path in glob.glob("/etc/fail2ban/filter.d/*.conf"):
        parser = configparser.RawConfigParser(strict=False, allow_no_value=True, comment_prefixes=("#", ";"))
        try:
            parser.read(path, encoding="utf-8")
        except configparser.Error:
            continue
        for section in parser.sections():
            text = parser.get(section, "datepattern", fallback="") or ""
            if text and "<lt_" not in text and "<L_" not in text and "%(" not in text:
                found.add(text.replace("%%", "%"))
    return sorted(found)


# ---- what lines look like


def moments(rng: random.Random, now: float) -> datetime:
    """A moment: mostly of the last days, sometimes any, sometimes just around the limits of guessing."""
    kind = rng.random()
    if kind < 0.5:
        at = now - rng.randrange(7200)
    elif kind < 0.6:
        at = now + rng.randrange(-90_000, 90_000)
    elif kind < 0.7:
        at = now + rng.choice([-86_400, 0, 86_400]) + rng.randrange(-3, 4)
    elif kind < 0.9:
        at = now - rng.randrange(400 * 86_400)
    else:
        at = rng.randrange(631_200_000, 1_893_400_000)  # 1990 to 2029
    return datetime.fromtimestamp(at, UTC) + timedelta(seconds=round(-time.timezone))


def pad(rng: random.Random, value: int) -> str:
    return rng.choice([f"{value:02}", f"{value:02}", f"{value:02}", f"{value:2}", str(value)])


def clock(rng: random.Random, at: datetime) -> str:
    hour = rng.choice([f"{at.hour:02}"] * 6 + [pad(rng, at.hour), "24", "29"])
    second = rng.choice([f"{at.second:02}"] * 12 + [pad(rng, at.second), "60", "61"])
    return f"{hour}:{at.minute:02}:{second}"


def fraction(rng: random.Random) -> str:
    digits = "".join(rng.choices("0123456789", k=rng.choice([1, 2, 3, 3, 3, 6, 6, 7, 9])))
    return rng.choice(["", "", "", f".{digits}", f",{digits}"])


def offset(rng: random.Random) -> str:
    named = ["Z", "UTC", "GMT", "CET", "CEST", "EST", "A", "Y", "MSK", "NST", "ABC", "XYZZY", "utc", "z", "IST", "ACDT"]
    shift = rng.choice("+-") + rng.choice(["00", "01", "02", "05", "09", "14", "19", "20", "2", "99"])
    shift += rng.choice(["", "00", ":00", "30", ":30", "45", ":45", "99", ":"])
    return rng.choice([*named, shift, shift, shift, shift, rng.choice(named) + shift])


def zone_tail(rng: random.Random) -> str:
    return rng.choice(["", "", "", " " + offset(rng), offset(rng), "  " + offset(rng)])


def dates(rng: random.Random, shape: int, now: float) -> str:
    """The text of a date of that shape."""
    at = moments(rng, now)
    year = rng.choice([f"{at.year}"] * 9 + [f"{at.year % 100:02}"])
    day, month = pad(rng, at.day), pad(rng, at.month)
    if rng.random() < 0.02:
        day = rng.choice(["31", "30", "29", "0", "32"])
    if rng.random() < 0.02:
        month = rng.choice(["02", "2", "13", "0", "00"])
    name, weekday = MONTHS[at.month - 1], DAYS[at.weekday()]
    if rng.random() < 0.03:
        name = rng.choice([name.upper(), name.lower(), "Feb", "Sept"])
    separator = rng.choice("-/.")
    other = separator if rng.random() < 0.9 else rng.choice("-/.")
    time_of_day = clock(rng, at)
    blank = rng.choice([" ", " ", " ", "  ", "T"])
    epoch = str(int(at.timestamp()))
    shapes = [
        lambda: f"{year}{separator}{month}{other}{day}{blank}{time_of_day}{fraction(rng)}{zone_tail(rng)}",
        lambda: f"{name} {day} {time_of_day}{fraction(rng)}",
        lambda: f"{weekday} {name} {day} {time_of_day}{fraction(rng)} {year}",
        lambda: f"{weekday} {name} {day} {year} {time_of_day}{fraction(rng)}",
        lambda: f"{day}{separator}{month}{other}{year} {time_of_day}",
        lambda: f"{day}{separator}{name}{other}{year}{rng.choice(' ::')}{time_of_day}{fraction(rng)}{zone_tail(rng)}",
        lambda: f"{month}/{day}/{year}:{time_of_day}",
        lambda: f"{month}-{day}-{year} {time_of_day}{fraction(rng)}",
        lambda: epoch + rng.choice(["", ".123", ".1234", ".123456", ".1234567", "123", "123.5", "123456", "x", "12"]),
        lambda: rng.choice(["[", "audit(", "audit("]) + epoch + rng.choice(["", ".123", ".456:12)", ":5)", "]"]),
        lambda: time_of_day + rng.choice(["", ".", ".5"]),
        lambda: f"<{month}/{day}/{at.year % 100:02}@{time_of_day}>",
        lambda: f"{at.year % 100:02}{at.month:02}{at.day:02}{rng.choice(['', ' '])} {time_of_day}",
        lambda: (
            f"{name} {day}, {year} {1 + at.hour % 12:02}:{at.minute:02}:{at.second:02} {rng.choice(['AM', 'PM', 'am', ''])}"
        ),
        lambda: f"{name}-{day}-{at.year % 100:02} {time_of_day}",
        lambda: (
            f"{at.year}{at.month:02}{at.day:02}{blank}{at.hour:02}{at.minute:02}{at.second:02}{fraction(rng)}{zone_tail(rng)}"
        ),
        lambda: f"{rng.choice([offset(rng), 'INFO', 'host', 'CET'])} {weekday} {name} {day} {time_of_day} {year}",
        lambda: f"{offset(rng)} {name} {day} {time_of_day}",
        lambda: (
            "@"
            + rng.choice(["4", "8"])
            + f"{int(at.timestamp()):015x}"
            + rng.choice(["12345678", "1234567", "123456789"])
        ),
        lambda: f"{day}/{name}{rng.choice(['', 'tember', 'x'])}/{year}:{time_of_day} {offset(rng)}",
        lambda: f"{at:%A %B} {day} {time_of_day} {year}",
        lambda: f"{month}/{day} {at.hour:02}:{at.minute:02}",
        lambda: f"{at:%Y %j %H:%M:%S}",
        lambda: f"{at:%j %H:%M}",
        lambda: f"{at:%Y %U %w}",
        lambda: f"{at:%Y %W %a %H}",
        lambda: f"{at:%y%m%d %H%M%S}",
        lambda: f"{at:%y%m%d%H%M%S}",
        lambda: f"{at:%I:%M:%S %p %d %b %Y}",
        lambda: f"{at:%I:%M %p}",
        lambda: f"{at:%m/%d/%y %H:%M:%S}",
        lambda: f"{weekday} {name} {day} {at:%I:%M:%S %p}",
        lambda: f"{year}-{month}-{day}",
        lambda: f"L {day}/{month}/{year} - {time_of_day}",
        lambda: f"{year}:{month}:{day}-{time_of_day}",
        lambda: f"{month}-{day}{blank}{time_of_day}",
        lambda: f"t={year}-{month}-{day}T{time_of_day}{offset(rng)}",
        lambda: f"at {time_of_day}",
        lambda: f"100% {time_of_day}",
        lambda: year,
    ]
    return shapes[shape % len(shapes)]()


SHAPES = 40
PREFIXES = [
    "", "", "", "", "", "", " ", "[", "[[", "<", "((", "[(<", "host ", "x", "_", "é", "- ", "1.2.3.4 - - [", "<W>", "<14>1 ",
    "[Sun ", "WARNING: ", "I(", "foo [bar] ", "t=", "at ", "user=", "2001:db8::1 ", "[error] [", "a/", "100% ", "2005 ", "12:", "🙂 ",
]  # fmt: skip
SUFFIXES = [
    "", " ", "]", "] x", " host sshd[1]: Failed", ": x", ">", ")", "x", "_", ".", ".5", ",1", " 2005", " 12:00:00", "Z", "é", "-", " [",
    "] [error] y", ' +0200] "GET', ":12)", "\t", "/x", " pm", "🙂",
]  # fmt: skip
MUTANTS = "0123456789:-/. ,T[]@JanZx+é٣ſ"


def mutated(rng: random.Random, text: str) -> str:
    """*text* with one character changed, added or taken out."""
    if not text:
        return text
    at = rng.randrange(len(text))
    return text[:at] + rng.choice(["", rng.choice(MUTANTS)]) + text[at + rng.choice([0, 1]) :]


def sequence(rng: random.Random, length: int) -> list[tuple[str, float]]:
    """Lines of one log with their now: a few shapes that come again, some surprises."""
    now = NOW + rng.choice([0, 0, rng.randrange(-60_000_000, 3_000_000)])
    kinds = [
        (rng.choice(PREFIXES), rng.randrange(SHAPES), rng.choice(SUFFIXES)) for _ in range(rng.choice([1, 1, 2, 3, 4]))
    ]
    pace = rng.choice([0, 1, 10, 400])
    items = []
    for _ in range(length):
        prefix, shape, suffix = rng.choice(kinds)
        surprise = rng.random()
        if surprise < 0.04:
            line = rng.choice(["no date here", "", " ", "    at foo.bar(Baz.java:12)", "12", "Aug", "1.2.3.4"])
        else:
            if surprise < 0.15:
                prefix, suffix = rng.choice(PREFIXES), rng.choice(SUFFIXES)
            elif surprise < 0.25:
                shape = rng.randrange(SHAPES)
            line = prefix + dates(rng, shape, now) + suffix
            if surprise > 0.9:
                line += dates(rng, rng.randrange(SHAPES), now) + rng.choice(SUFFIXES)
            if 0.82 < surprise < 0.9:
                line = mutated(rng, line)
        # Which years are too far in the future depends on the real now there, on the given one here.
        items.append((re.sub(r"20[3-9](?=\d)", "202", line) or "-", now))
        now += rng.choice([0, 0, 0, 1]) * rng.uniform(0, pace)
    return items


# ---- patterns nobody wrote

STARTS = [
    "",
    "",
    "^",
    "{^LN-BEG}",
    "**",
    "{UNB}",
    "^x ",
    r"\[",
    "(?:a|b) ",
    "^[^|]*[|]",
    "(?i)",
    "(?:^|x)",
    "(^|x)",
    "(^x)",
    "((^x))",
    "(?:^x)",
]
ENDS = ["", "", "$", "**", r"\b", r"\s", r"\]", "(?: x)?", "(?=x)", "(x$)", "(?:x|$)", "(x|$)", "(?:x$)"]
# Tokens and, for strftime, what they take.
TOKENS = [
    [("%Y", "%Y"), ("%ExY", "%Y"), ("%y", "%y"), ("%Exy", "%y")],
    [("%m", "%m"), ("%Exm", "%m"), ("%b", "%b"), ("%B", "%B")],
    [("%d", "%d"), ("%d", "%e"), ("%Exd", "%d")],
    [("%H", "%H"), ("%ExH", "%H"), (":%k", ":%k"), (":%Exk", ":%k"), ("%I", "%I %p"), ("%I ?%p", "%I %p")],
    [("%M", "%M"), ("%ExM", "%M")],
    [("%S", "%S"), ("%ExS", "%S"), (r"%S(?:\.%f)?", "%S.%f")],
    [("%z", "+0100"), ("%Z", "CET"), ("%Exz", "UTC-0230"), ("%ExZ", "A"), (r"(?:\s*%z)?", " +02:30")],
    [("%a", "%a"), ("%A", "%A"), ("%j", "%j"), ("(%x)", "%x"), ("%U %w", "%U %w"), ("%W %a", "%W %a")],
]
SEPARATORS = [
    ("-", "-"),
    ("/", "/"),
    (":", ":"),
    (" ", " "),
    ("[ T]", "T"),
    ("", ""),
    ("(?: |, )", ", "),
    (r"\.", "."),
    ("x?", ""),
]


def invented(rng: random.Random) -> tuple[str, list[str]]:
    """A date pattern, and strftime formats of lines for it."""
    patterns, formats = [], []
    for _ in range(rng.choice([1, 1, 2, 3])):
        start, end, separator = rng.choice(STARTS), rng.choice(ENDS), rng.choice(SEPARATORS)
        parts = [rng.choice(group) for group in rng.sample(TOKENS, rng.randrange(1, 7))]
        if rng.random() < 0.7:
            parts.sort(key=lambda part: next(at for at, group in enumerate(TOKENS) if part in group))
        body = separator[0].join(part[0] for part in parts)
        if rng.random() < 0.2:
            body = rng.choice([f"({body})", f"({body}) y", f"a({body})"])
        patterns.append(start + body + end)
        formats.append(separator[1].join(part[1] for part in parts))
    return "\n".join(patterns), formats


def lines_of(rng: random.Random, formats: list[str], length: int) -> list[tuple[str, float]]:
    """Lines with dates in one of the formats, not always as they should be."""
    now = NOW - rng.randrange(40_000_000)
    items = []
    for _ in range(length):
        line = rng.choice(["", "", "", "x ", "[", "a ", "b|", "a", "[[["])
        line += moments(rng, now).strftime(rng.choice(formats)) + rng.choice(["", "", " ", "]", " x", "x", " y", " 5"])
        if rng.random() < 0.1:
            line = mutated(rng, line)
        items.append((re.sub(r"20[3-9](?=\d)", "202", line) or "-", now))
        now += rng.choice([0, 1, 30])
    return items


# ---- comparison


def strict(name: str) -> str:
    """The template name as a release prints it that knows fewer separators in two of the defaults."""
    name = name.replace("(?:-|T|  ?)?Ex24hour:?ExMinute:?Ex", "(?:T|  ?)Ex24hourExMinuteEx")
    name = name.replace("(?:T|  ?)?24hour", "(?:T|  ?)24hour")
    return re.sub("%Ex([kl])", r"Ex%\1", name)  # there it depends on the neighbours which one is printed


def is_newer_form(found: FoundDate | None) -> bool:
    """Whether the date is one that only newer releases find: compact with colons, a dash or without separator."""
    if found is None or strict(found.template) == found.template:
        return False
    strictly = r"\d{8}(?:T|  ?)\d{6}" if "Ex24hour" in found.template else r"\d{4}(\D)\d+\1\s?\d+(?:T|  ?)\d"
    return re.search(strictly, found.text) is None


def is_repeated_hour(ours: float, theirs: float) -> bool:
    """Whether the two are the two readings of one hour that the local clock showed twice."""
    same_clock = time.localtime(ours)[:6] == time.localtime(theirs)[:6]
    return same_clock and ours != theirs


def difference(ours: FoundDate | None, theirs: list | None) -> str:
    """What is different; empty when nothing is."""
    if theirs is not None and theirs[0] == "error":
        return "they raise"
    if ours is None or theirs is None:
        return "" if ours is theirs else "found by one only"
    start, end, at, name = theirs
    if strict(ours.template) != strict(name):
        return "another template"
    if ours.optional:
        return "" if start == end else "no date, but text"
    if start == end:
        return "a date, but no text"
    if (ours.start, ours.start + len(ours.text)) != (start, end):
        return "another place"
    if ours.time is None or at is None or isinstance(at, str):
        if ours.time is None and ours.end != ours.start:
            return "an impossible date is cut"
        return "" if ours.time is None and (at is None or isinstance(at, str)) else "possible for one only"
    if abs(ours.time - at) < 0.0005 or is_repeated_hour(ours.time, at):
        return ""
    return f"another time ({ours.time - at:+})"


def compare(
    oracle: Oracle, pattern: str | None, zone: str | None, items: list[tuple[str, float]]
) -> tuple[int, list[tuple[object, ...]]]:
    """Feed the same lines to both; return how many were compared, and the differences."""
    number = oracle.detector(pattern, zone)
    detector = DateDetector(pattern, timezone=zone)
    compared = 0
    for (line, now), theirs in zip(items, oracle.find(number, items), strict=True):
        ours = detector.find(line, now)
        if is_newer_form(ours):
            return compared, []
        compared += 1
        different = difference(ours, theirs)
        if different:
            shown = None if ours is None else [ours.start, ours.end, ours.text, ours.time, ours.template]
            return compared, [(different, pattern, zone, items[:compared][-3:], shown, theirs)]
    order = [[strict(each.name), each.hits] for each in detector.templates]
    theirs = [[strict(name), hits] for name, hits in oracle.order(number)]
    return compared, [] if order == theirs or not theirs else [("another order", pattern, zone, items, order, theirs)]


def usable(oracle: Oracle, pattern: str, items: list[tuple[str, float]]) -> bool:
    """Whether fail2ban can do anything with the pattern; when it cannot, the comparison says nothing."""
    try:
        answers = oracle.find(oracle.detector(pattern), items)
    except ValueError:
        return False
    return all(answer is None or answer[0] != "error" for answer in answers)


# ---- tests


@pytest.fixture(scope="module")
def oracle():
    reason = missing()
    if reason:
        pytest.skip(reason)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", "Europe/Zurich")
        time.tzset()
        running = Oracle("Europe/Zurich")
        yield running
        running.close()
    time.tzset()


@pytest.mark.parametrize("pattern", [*PATTERNS, *installed_patterns()])
def test_lines_are_dated_as_by_fail2ban(oracle, pattern):
    """Whatever the date pattern, the same text is cut, the same time read, the same template preferred."""
    rng = random.Random(f"dates {pattern}")
    differences = []
    for _ in range(12 if pattern in (None, "{^LN-BEG}") else 3):
        differences += compare(oracle, pattern, rng.choice(ZONES), sequence(rng, 30))[1]
    assert [] == differences


@pytest.mark.parametrize("seed", range(12))
def test_invented_patterns_mean_the_same(oracle, seed):
    """Any combination of tokens, borders, groups and separators finds and reads the same as there."""
    rng = random.Random(f"patterns {seed}")
    differences = []
    for _ in range(25):
        pattern, formats = invented(rng)
        items = lines_of(rng, formats, 12)
        if usable(oracle, pattern, items):
            differences += compare(oracle, pattern, rng.choice(ZONES), items)[1]
    assert [] == differences


NUMBERS = ["".join(each) for length in (1, 2, 3) for each in itertools.product("0123456789 ", repeat=length)]
OFFSETS = [
    name + shift
    for name in ("", "UTC", "Z", "CET", "AB", "ABCDEF", "J", "ChST", "ABC")
    for shift in ("", "+01", "-0130", "+02:00", "+1", "+21", "+1999", "+01:", "+010", "-00:30")
]
NAMES = [*MONTHS, *DAYS, "Monday", "June", "Junes", "sEPTEMBER", "Sept", "Octo", "am", "PM", "a.m.", "ſep", "Sun Nov 1"]


@pytest.mark.parametrize(
    ("tokens", "texts"),
    [
        ("m Exm d Exd H ExH k I l Exl M ExM S ExS f j U W w u V y Exy", NUMBERS),
        ("Y ExY G", [str(year) for year in range(1890, 2030)] + ["0000", "9999", "200", "20055"]),
        ("z Z ExZ Exz", OFFSETS),
        ("a A b B p", NAMES),
        ("c x X", ["Sat Nov 21 01:00:00 2026", "Sat  Nov\t 1 1:00:00 2026", "11/21/26", "1/2/26", "01:00:00", "1:1:1"]),
    ],
)
def test_tokens_take_the_same_text(oracle, tokens, texts):
    """Every token takes the same text as there, both up to a border and where nothing separates it from what follows."""
    for token in tokens.split():
        for before, after in (("<", ">$"), ("x", "**")):
            pattern = f"^{before}%{token}{after}"
            number, detector = oracle.detector(pattern), DateDetector(pattern)
            items = [(before + text + after[:1] + "#", NOW) for text in texts] + [
                (before + text + ">", NOW) for text in texts
            ]
            for (line, now), theirs in zip(items, oracle.find(number, items), strict=True):
                assert (token, line, "") == (token, line, difference(detector.find(line, now), theirs))


@pytest.mark.parametrize(
    "zone",
    [
        *(each for each in OFFSETS if each not in ("", "ChST")),
        "z",
        "utc",
        "UTC 0200",
        "+2",
        "0200",
        "Local",
        "A1",
        "Y",
        "+02 00",
    ],
)
def test_the_same_zones_are_known(oracle, zone):
    """An offset or abbreviation means the same there and here, and is refused there and here."""
    items = [("2026-07-01 12:00:00", NOW)]
    try:
        theirs = oracle.find(oracle.detector("^%Y-%m-%d %H:%M:%S", zone), items)[0][2]
    except ValueError:
        theirs = None
    try:
        ours = DateDetector("^%Y-%m-%d %H:%M:%S", timezone=zone).find(*items[0]).time
    except PatternError:
        ours = None
    assert theirs == ours


@pytest.mark.parametrize(
    "pattern",
    [
        "%Q",
        "%Y\n%Y",
        "EPOCH\nepoch",
        "{DATE}\nEPOCH",
        "%",
        "%Y %",
        "%ExA",
        "%r",
        "(?P<x>%Y",
        "%Y %Y",
        "^{DATE} %Y",
    ],
)
def test_what_cannot_work_is_refused(oracle, pattern):
    """A pattern that makes fail2ban raise, when it is set or at the first line, is refused when it is set."""
    try:
        number = oracle.detector(pattern)
    except ValueError:
        refused = True
    else:
        refused = oracle.find(number, [("2026 2026", NOW)])[0] is not None
    assert refused
    with pytest.raises(PatternError):
        DateDetector(pattern)
