"""How far a regex looks."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from banguard.matching.dates import DateDetector
from banguard.matching.reach import LONGEST, Reach, begins, shape, spread
from banguard.matching.syntax import parse

STAMP = r"^\W{0,2}([A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d(?:\.\d+)?(?: 20\d\d)?)(?!\B\w)"


def reach(regex: str, line: str, flags: int = 0) -> int:
    return Reach(regex, flags).of(line)


@pytest.mark.parametrize(
    ("line", "decides"),
    [
        ("Nov 21 04:40:01 web1 sshd", "Nov 21 04:40:01 w"),
        ("Nov 21 04:40:01.123 web1", "Nov 21 04:40:01.123 w"),
        ("Nov 21 04:40:01 2026 web1", "Nov 21 04:40:01 2026 "),
        ("[Nov 21 04:40:01] web1", "[Nov 21 04:40:01]"),
        ("no date", "n"),
        ("Nov 21 04:40:01", ""),
        ("Nov 21 04:40:01 2", ""),
        ("é Nov 21 04:40:01 web1", ""),
    ],
)
def test_what_decides(line, decides):
    """A regex looks as far as its longest way takes characters, and one farther; unknown when the line ends before."""
    assert decides == line[: reach(STAMP, line)]


@pytest.mark.parametrize("regex", [r"^a(?=bcd)", r"^(?>ab)", "^ab$", "^(", "^a.*"])
def test_unknown(regex):
    """Regexes that look far ahead, or at the end, tell nothing."""
    assert 0 == reach(regex, "abcdef")


def test_references_are_followed():
    """A reference takes what its group takes."""
    assert len("2026-11-21 ") == reach(r"^\d{4}([-/])\d\d\1\d\d(?!\B\w)", "2026-11-21 x")


@pytest.mark.parametrize(
    ("regex", "beginning", "may"),
    [
        ("^Failed", "Fail", True),
        ("^Failed", "Faul", False),
        ("^Failed", "Failed password", True),
        ("^a{3}b", "aab", False),
        ("^(?:x|yz)+", "yx", False),
        ("^(?i)é", "x", False),
        ("^(?i)failed", "FAIL", True),
        ("^x*", "abc", True),
        (r"^(?P<q>['\"])x(?P=q)", "'y", False),
        (r"^(a)?(?(1)b|c)", "c", True),
        ("^x", "é", True),
    ],
)
def test_whether_a_text_may_have_a_match(regex, beginning, may):
    """Known by its beginning, as long as that is ASCII; what is not sure may be."""
    items, flags = parse(regex.replace("^(?i)", "(?i)^"))
    assert may == begins(items, flags, beginning)


def test_what_cannot_be_spread():
    """Atomic groups are not followed."""
    assert None is spread(parse("a(?>b)")[0], {})
    assert None is spread(parse("(?:a|(?:b++))?")[0], {})


def test_digits_are_all_alike():
    """What is known of one second holds for the next."""
    assert shape("Nov 21 04:40:01") == shape("Nov 21 17:59:38")
    assert LONGEST == len(shape("1" * 100))


def test_many_shapes_are_not_remembered():
    """Hostile lines cannot make it remember without end."""
    known = Reach(STAMP, 0)
    for number in range(1000):
        known.of(chr(97 + number // 36) + chr(97 + number % 26) * (number % 30) + " x")
    assert 0 == known.of("zz!")


dates = st.from_regex(
    re.compile(r"[\[<(]?(?:Nov|2026-11-)[ \d]\d[T ]\d{1,2}:\d\d:\d\d(?:[.,]\d+)?(?:Z| \+0100| 2026)?", re.A),
    fullmatch=True,
)


@settings(max_examples=150, deadline=None)
@given(dates, st.text(max_size=6), st.text(max_size=12), st.text(max_size=12))
def test_the_same_beginning_has_the_same_date(date, between, one, two):
    """Lines that are alike as far as the template looks have the same match of it, or none both."""
    for template in DateDetector("{^LN-BEG}").templates:
        line = date + between + one
        decides = template.reach(line)
        other = line[:decides] + two
        if decides:
            mine, its = template.find(line), template.find(other)
            assert (mine and mine.span()) == (its and its.span())
