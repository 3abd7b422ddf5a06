"""Tests of banguard.duration."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from banguard.duration import calculate, format_duration, parse


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("600", 600),
        ("10m", 600),
        ("1h", 3600),
        ("1d12h30m", 131400),
        ("1d 12h", 129600),
        ("1h 2m 3s", 3723),
        ("1m30", 90),
        ("0.5h", 1800),
        ("1W", 604800),
        ("1y", 31557600),
        ("1mo", 2629800),
        ("2 hours", 7200),
        ("1h+30min", 5400),
        ("1year-6mo", 15778800),
        ("3*4", 12),
        ("-1", -1),
        ("(1+2)*2m", 360),
    ],
)
def test_texts(text: str, expected: float) -> None:
    """Units in any case and length, sums without a sign, and plain arithmetic."""
    assert expected == parse(text)


@pytest.mark.parametrize("text", ["", "x", "1ms", "1 2 x", "__import__('os')", "1/0", "9**9**9", "(1", "1;2", "1e999"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    """Nothing is ever evaluated as a program."""
    with pytest.raises(ValueError):
        parse(text)


@given(
    st.lists(
        st.tuples(st.integers(0, 999), st.sampled_from([("s", 1), ("m", 60), ("h", 3600), ("d", 86400)])), min_size=1
    )
)
def test_groups_add_up(groups: list[tuple[int, tuple[str, int]]]) -> None:
    """`1d12h` is the sum of its groups, with or without blanks."""
    expected = sum(number * unit[1] for number, unit in groups)
    assert expected == parse(" ".join(f"{number}{unit[0]}" for number, unit in groups))
    assert expected == parse("".join(f"{number}{unit[0]}" for number, unit in groups))


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0, "0"), (59, "59s"), (90, "1m 30s"), (3600, "1h"), (86400, "1d"), (90000, "1d 1h"), (694800, "1w 1d 1h")],
)
def test_printed(seconds: float, expected: str) -> None:
    """The largest units that matter, for the log."""
    assert expected == format_duration(seconds)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (".5h", 1800),
        ("1 M", 60),
        ("1MO", 2629800),
        ("1h\n2m", 3720),
        ("2*1h30m", 9000),
        ("1d/2", 43200),
        ("--5", 5),
        ("-1d 2h", -79200),
        ("10/4", 2.5),
    ],
)
def test_odd_texts(text: str, expected: float) -> None:
    """Neighbours bind less than products, signs may come twice."""
    assert expected == parse(text)


def test_whole_seconds_stay_whole() -> None:
    """An int where all parts are whole, else a float."""
    assert [int, int, float, float] == [type(parse(text)) for text in ("1d 2h", "3*4", "0.5h", "1h/2")]


@pytest.mark.parametrize(
    "text", ["(" * 200 + "1" + ")" * 200, "1+" * 300 + "1", "-" * 100 + "1", "1h(2m)", "1.h", "1 h h"]
)
def test_monsters_are_refused(text: str) -> None:
    """Length and depth are bounded."""
    with pytest.raises(ValueError):
        parse(text)


def test_plain_arithmetic() -> None:
    """Factors know no units."""
    assert 0.5 == calculate("2.0 / 4")
    with pytest.raises(ValueError, match="unit"):
        calculate("1h")


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (3594, "59m 54s"),
        (3595, "1h"),
        (7199, "2h"),
        (86370, "23h 59m"),
        (86395, "24h"),
        (172799, "2d"),
        (604799, "7d"),
        (874740, "1w 3d 3h"),
        (31532400, "52w 23h"),
        (31536000, "1y"),
        (100000000, "3y 8w 6d"),
        (600.4, "10m 0.4s"),
        (1.5, "1.5s"),
        (-60, "-60s"),
    ],
)
def test_printed_is_rounded_to_the_smallest_step(seconds: float, expected: str) -> None:
    """So that a log line tells no more than anybody wants to know."""
    assert expected == format_duration(seconds)
