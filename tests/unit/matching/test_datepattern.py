"""Date patterns: tokens, boundaries, keywords."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from banguard.errors import PatternError
from banguard.matching.datepattern import ANY_YEAR, MONTHS, WEEKDAYS, compile_datepattern, limited_years

YEARS = r"20[0-2]\d"


def cut(pattern: str, line: str) -> str | None:
    """What the only template of *pattern* cuts out of *line*."""
    (template,) = compile_datepattern(pattern)
    found = template.pattern.compile(YEARS).find(line)
    return None if found is None else found[1]


@pytest.mark.parametrize(
    ("token", "good", "bad"),
    [
        ("%Y", "0000 1999 2026", "999 20260"),
        ("%ExY", "2000 2009 2029", "1999 2030"),
        ("%y", "00 99", "9 100"),
        ("%m", "1 01 12", "0 00 13"),
        ("%Exm", "01 12", "1 13"),
        ("%d", "1 01 31", "0 32"),
        ("%Exd", "01 31", "1"),
        ("%H", "0 00 23", "24"),
        ("%ExH", "00 23", "0 24"),
        ("%k", "0 00 29", "30"),
        ("%Exk", "0 23", "24"),
        ("%I", "1 01 12", "0 13"),
        ("%l", "0 19", "20"),
        ("%Exl", "0 12", "13"),
        ("%M", "0 00 59", "60"),
        ("%ExM", "00 59", "0 60"),
        ("%S", "0 00 61", "62"),
        ("%ExS", "00 61", "0 62"),
        ("%f", "1 123456", "1234567"),
        ("%p", "AM pm Am", "a.m."),
        ("%a", "Mon sun", "Monday"),
        ("%A", "Monday SUNDAY", "Mon"),
        ("%b", "Jan dec", "January"),
        ("%B", "January MAY", "Jan"),
        ("%j", "1 01 001 99 366", "0 000 367"),
        ("%U", "0 00 53", "54"),
        ("%V", "0 01 53", "00 54"),
        ("%w", "0 6", "7"),
        ("%u", "1 7", "0 8"),
        ("%z", "Z UTC GMT +02 -0230 +02:30", "CET +2 2 +20 utc"),
        ("%Z", "Z CET XYZZY", "A CETCETX cet +02"),
        ("%ExZ", "A Z CEST", "AB"),
        ("%Exz", "A CET +02 UTC+0200 CET-01:00", "AB CET+1"),
        ("%X", "12:00:00", "12:00"),
        ("%x", "11/21/26", "21/11/26"),
    ],
)
def test_a_token_takes_what_it_means(token, good, bad):
    """Between borders, a token takes its texts whole and no others."""
    for text in good.split():
        assert f"<{text}>" == cut(f"^<{token}>$", f"<{text}>")
    for text in bad.split():
        assert cut(f"^<{token}>$", f"<{text}>") is None


@pytest.mark.parametrize("token", ["k", "Exk", "l", "Exl", "d"])
def test_a_blank_may_pad_a_number(token):
    """Hours with a blank in front, and days, as C programs print them."""
    assert "< 9>" == cut(f"^<%{token}>$", "< 9>")


@pytest.mark.parametrize(
    ("pattern", "line", "expected"),
    [
        # inside of a word there is no date
        ("%Y", "at 2026, x", "2026"),
        ("%Y", "a2026", None),
        ("%Y", "2026a", None),
        ("%Y", "_2026", None),
        ("/%Y/", "a/2026/b", "/2026/"),
        ("**%Y", "a2026", "2026"),
        ("%Y**", "2026a", "2026"),
        ("**%Y**", "a2026a", "2026"),
        ("{UNB}%Y", "a2026a", "2026"),
        ("{unb}%Y", "2026", None),
        # line start
        ("^%Y", "2026", "2026"),
        ("^%Y", " 2026", None),
        ("(^%Y)", "2026", "2026"),
        ("(?:^%Y)", "2026", "2026"),
        ("(?i)^x%Y", "X2026", "X2026"),
        ("{UNB}^%Y", "2026a", "2026"),
        ("{^LN-BEG}%Y", "[[2026]", "2026"),
        ("{^LN-BEG}%Y", "[[[2026]", None),
        ("{^LN-BEG}%Y", "x2026", None),
        ("{^LN-BEG}^%Y", "[2026", None),
        ("{^LN-BEG}%k:%M", "  9:30", "9:30"),
        ("{^LN-BEG}x{EPOCH}", "[x1795222800]", "x1795222800"),
        # line end
        ("%Y$", "in 2026", "2026"),
        ("%Y$", "2026 x", None),
        ("(%Y)$", "in 2026", "2026"),
        (r"%Y\b", "2026 x", "2026"),
        (r"%Y\s", "2026 x", "2026 "),
        (r"%Y\$", "2026$ x", "2026$"),
        # what is cut is the first group of all, when a plain one is among them
        (r"\[(%Y)\]", "[2026]", "2026"),
        ("%Y (x)", "2026 x", "2026"),
        ("(?P<word>x)(%Y)", "x2026", "x"),
        ("(?P<word>x)%Y", "x2026", "x2026"),
        (r"\(%Y", "(2026", "(2026"),
        # case counts unless names are in the pattern
        ("x %H:%M", "X 10:00", None),
        ("x %b", "X JAN", "X JAN"),
        # percent signs
        ("100%% %Y", "100% 2026", "100% 2026"),
        ("%%Y", "%Y", "%Y"),
    ],
)
def test_borders_and_cuts(pattern, line, expected):
    """The documented prefixes and suffixes say where a date may begin and end, groups say what is cut."""
    assert expected == cut(pattern, line)


NUMBER_LINES = [
    ("EPOCH", "1795222800 x", "1795222800"),
    ("EPOCH", "1795222800.123 x", "1795222800.123"),
    ("EPOCH", "1795222800.12 x", "1795222800"),
    ("EPOCH", "17952228001 x", "17952228001"),
    ("EPOCH", "179522280 x", None),
    ("EPOCH", "1795222800x", None),
    ("EPOCH", "[1795222800] x", "1795222800"),
    ("EPOCH", " 1795222800 x", None),
    ("EPOCH", "type=X msg=audit(1795222800.123:5): x", "1795222800.123"),
    ("EPOCH", "xaudit(1795222800:5)", None),
    ("epoch", "1795222800", "1795222800"),
    ("^EPOCH", "((1795222800)", "1795222800"),
    ("^EPOCH", "audit(1795222800:5)", None),
    ("{^LN-BEG}EPOCH", "[1795222800.123456]", "1795222800.123456"),
    ("LEPOCH", "1795222800123 x", "1795222800123"),
    ("LEPOCH", "1795222800123.5 x", "1795222800123.5"),
    ("LEPOCH", "1795222800123456 x", "1795222800123456"),
    ("LEPOCH", "179522280012345 x", None),
    ("^LEPOCH", "[1795222800]", "1795222800"),
    ("t={EPOCH}", "x t=1795222800.5", "t=1795222800"),
    ("(t=)({LEPOCH})", "x t=1795222800123", "t=1795222800123"),
    ("t={epoch}", "t=1795222800", "t=1795222800"),
    ("{epoch} %Y", "1795222800 2026", None),
    ("TAI64N", "x@4000000043ff2b5b12345678 x", "@4000000043ff2b5b12345678"),
    ("TAI64N", "@4000000043FF2B5B12345678 x", None),
    ("^TAI64N", "[@4000000043ff2b5b12345678", "@4000000043ff2b5b12345678"),
    ("^TAI64N", "x @4000000043ff2b5b12345678", None),
    ("{NONE}", "anything", ""),
]


@pytest.mark.parametrize(("pattern", "line", "expected"), NUMBER_LINES)
def test_keywords_for_numbers(pattern, line, expected):
    """Seconds since 1970 and TAI64N labels stand where such logs have them."""
    assert expected == cut(pattern, line)


def names(pattern: str | None) -> list[str]:
    return [each.pattern.name for each in compile_datepattern(pattern)]


def test_there_are_31_defaults():
    """First the templates bound to the line's start, then the 17 originals."""
    defaults = compile_datepattern(None)
    assert [100.0] * 14 + [1.0] * 17 == [each.weight for each in defaults]
    assert [True] * 14 == [each.pattern.anchored for each in defaults[:14]]
    assert ["{^LN-BEG}" + each for each in names(None)[14:] if not each.startswith(("^", "{"))] == names(None)[:14]
    assert names(None) == names("") == names(" \n ") == names("{DEFAULT}") == names("{default}")


def test_the_anchored_defaults_alone():
    """`{^LN-BEG}` leaves out what may stand anywhere."""
    assert [each.pattern.name for each in compile_datepattern(None) if each.pattern.anchored] == names("{^LN-BEG}")
    assert 17 == len(names("{^LN-BEG}"))


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("%Y-%m-%d %H:%M:%S", "Year-Month-Day 24hour:Minute:Second"),
        ("^%ExY-%Exm %%", "^ExYear-ExMonth %"),
        ("{UNB}%b", "MON"),
        ("{^LN-BEG}%a", "{^LN-BEG}DAY"),
        ("{^LN-BEG}^%a", "^DAY"),
        ("{NONE}", "^"),
        ("lepoch", "LongEpoch"),
        ("^EPOCH", "{^LN-BEG}Epoch"),
        ("TAI64N", "TAI64N"),
        ("x{EPOCH}", "x{EPOCH}"),
    ],
)
def test_names_show_tokens_as_words(pattern, name):
    """The tester prints what the pattern says, in words."""
    assert [name] == names(pattern)


def test_default_joins_other_patterns():
    """`{DEFAULT}` beside other patterns adds the defaults, at its place."""
    assert ["^Year", *names(None)] == names("^%Y\n{DEFAULT}")
    assert [*names(None), "^Year"] == names("{DEFAULT}\n^%Y")
    assert names(None) == sorted(names("{^LN-BEG}\n{DEFAULT}"), key=names(None).index)


def test_date_stands_for_each_default():
    """`{DATE}` in a text gives one template per default, without its own prefix."""
    found = names("^x {DATE}$")
    assert 17 == len(found)
    assert "^x 24hour:Minute:Second$" == found[8]
    assert names("^x {DATE}$") == names("^x {date}$")
    assert "[Nov 21 01:00:00" == cut_any(r"^(\[{DATE})", "[Nov 21 01:00:00]")


def cut_any(pattern: str, line: str) -> str | None:
    for each in compile_datepattern(pattern):
        found = each.pattern.compile(YEARS).find(line)
        if found is not None:
            return found[1]
    return None


@pytest.mark.parametrize("line", ["2026-11-21T01:00:00Z", "2026-11-21 01:00:00.123 +0100", "20261121T010000+01:00"])
def test_iso8601_is_a_keyword(line):
    """`ISO8601` takes what the standard writes, with and without separators."""
    assert line == cut_any("ISO8601", line)
    assert line == cut_any("^ISO8601", line)


@pytest.mark.parametrize(
    "line",
    [
        "2026-11-21 01:00:00",
        "2026/11/21T01:00:00,123 +0100",
        "2026.11.2101:00:00",
        "Sat Nov 21 01:00:00.5 2026",
        "Sat Nov 21 2026 01:00:00",
        "21/11/2026 01:00:00",
        "21-11-26 1:00:00",
        "21/Nov/2026:01:00:00 +0100",
        "21-Nov-2026 01:00:00.123",
        "11/21/2026:01:00:00",
        "11-21-2026 01:00:00",
        "1795222800.123",
        "01:00:00",
        "<11/21/26@01:00:00>",
        "261121 01:00:00",
        "Nov 21, 2026 01:00:00 AM",
        "Nov-21-26 01:00:00",
        "20261121T010000",
        "20261121-01:00:00",
        "20261121 010000.5 Z",
        "20261121010000",
        "CET Nov 21 01:00:00",
        "+0100 Nov 21 01:00:00",
        "@4000000043ff2b5b12345678",
    ],
)
def test_the_defaults_know_the_common_forms(line):
    """Whatever a usual program writes in front of its lines is found whole, whichever template does it."""
    found = [each.pattern.compile(YEARS).find(line + " x") for each in compile_datepattern(None)]
    assert line in [match[1] for match in found if match is not None]


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("%Q", "unknown token '%Q'"),
        ("%Y %", "unknown token '%'"),
        ("%ExA", "unknown token '%ExA'"),
        ("(%Y", "unterminated subpattern"),
        ("%Y %Y", "redefinition of group name"),
        ("{DATE} %Y", "redefinition of group name"),
        ("{DATE} %p", "redefinition of group name"),
        ("{DATE}(", "unterminated subpattern"),
        ("%Y\n%Y", "stands twice"),
        ("EPOCH\nepoch", "stands twice"),
        ("{NONE}\n{NONE}", "stands twice"),
    ],
)
def test_a_bad_pattern_is_refused(pattern, message):
    """The error says what is wrong, and holds the line as the user wrote it."""
    with pytest.raises(PatternError, match=re.escape(message)) as caught:
        compile_datepattern(pattern)
    assert caught.value.pattern in pattern.split("\n")


def test_a_doubtful_set_makes_no_noise():
    """Python warns of `[[`; an administrator cannot do anything about it."""
    assert "[[2026" == cut(r"[[]\[%Y", "[[2026")


def test_names_of_months_and_days():
    """English names, whatever the locale."""
    assert (1, 5, 12, 9) == (MONTHS["jan"], MONTHS["may"], MONTHS["december"], MONTHS["sep"])
    assert (0, 6) == (WEEKDAYS["mon"], WEEKDAYS["sunday"])
    assert (23, 14) == (len(MONTHS), len(WEEKDAYS))


@pytest.mark.parametrize(
    ("year", "first", "last"),
    [
        (1999, 2000, 2009),
        (2006, 2000, 2009),
        (2007, 2000, 2019),
        (2026, 2000, 2029),
        (2027, 2000, 2039),
        (2098, 2000, 2109),
    ],
)
def test_limited_years_end_with_the_decade_of_three_years_from_now(year, first, last):
    """A date of the far future is an accident, and is not taken for a date."""
    now = time.mktime((year, 6, 1, 0, 0, 0, 0, 0, -1))
    regex, until = limited_years(now)
    matched = [each for each in range(1000, 3000) if re.fullmatch(regex, str(each))]
    assert list(range(first, last + 1)) == matched
    assert last - 2 == time.localtime(until).tm_year
    assert limited_years(until - 1) == (regex, until)
    assert limited_years(until)[0] != regex


def test_the_tester_takes_two_centuries():
    """Old logs may be tried out."""
    assert list(range(1900, 2100)) == [each for each in range(1000, 3000) if re.fullmatch(ANY_YEAR, str(each))]
    assert (ANY_YEAR, float("inf")) == limited_years(1.8e9, any_year=True)


PIECES = st.sampled_from(
    ["2026", "11", "21", "Nov", "Sat", "1", "01", ":", "/", "-", ".", " ", "T", ",", "+0100", "Z", "AM", "@", "x", "123456", "1795222800", "٣"]
    + ["2026-11-21 01:00:00", "@4000000043ff2b5b12345678", "audit(", "[", "4000000043ff2b5b12345678", "20261121", "01:00:00"]
)  # fmt: skip


@settings(deadline=None)
@given(st.lists(PIECES, max_size=14).map("".join))
def test_what_a_default_needs_is_in_each_of_its_lines(line):
    """The cheap test that goes before a search never hides a date."""
    for each in compile_datepattern(None):
        if each.pattern.needs is not None and each.pattern.compile(YEARS).regex.search(line) is not None:
            assert each.pattern.needs(line)


@settings(deadline=None)
@given(st.lists(PIECES, max_size=10).map("".join))
def test_looking_at_the_start_only_finds_all_that_is_anchored(line):
    """`match` for anchored templates finds what `search` would."""
    for each in compile_datepattern("{^LN-BEG}"):
        matcher = each.pattern.compile(YEARS)
        found, searched = matcher.find(line), matcher.regex.search(line)
        assert (searched and searched.span(1)) == (found and found.span(1))
