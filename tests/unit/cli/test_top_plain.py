"""Tests of banguard.cli.top_plain."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from banguard.cli.colour import Paint
from banguard.cli.columns import Cell, Column, width
from banguard.cli.top_picture import Picture, Section
from banguard.cli.top_plain import Screen, lines, share

PLAIN = Paint(on=False)


def section(title, rows, weight=1):
    return Section(
        title,
        (Column("A"), Column("B", rank=1)),
        tuple((Cell(f"{title}{n}"), Cell("日本")) for n in range(rows)),
        weight,
    )


PICTURE = Picture(
    (Cell("banguard", "strong"), Cell("2 jails"), Cell("0 bans/s")), (section("one", 3), section("two", 9, 4))
)


def test_without_limits_all_is_shown():
    """Headline, then each table under its title."""
    shown = lines(PICTURE, room=None, height=None, paint=PLAIN)
    assert ["banguard  2 jails  0 bans/s", "", "one", "A     B", "one0  日本"] == shown[:5]
    assert 1 + 3 * 2 + 12 == len(shown)


@given(st.integers(1, 60), st.integers(0, 40))
def test_a_screen_is_never_too_large(room, height):
    """Whatever the terminal: no line is wider, there are no more of them."""
    shown = lines(PICTURE, room=room, height=height, paint=PLAIN)
    assert len(shown) <= height
    assert all(width(line) <= room for line in shown)


@pytest.mark.parametrize(
    ("expected", "room"),
    [([3, 9], 100), ([3, 9], 18), ([2, 8], 16), ([1, 4], 11), ([0, 4], 7), ([0, 1], 4), ([0, 0], 3), ([0, 0], -5)],
)
def test_rows_are_shared_by_weight(expected, room):
    """None gets more than it needs; what is shown takes three lines of its own."""
    assert expected == share(PICTURE.sections, room, 3)


def test_what_is_left_out_is_counted():
    """The title says how many of how many rows are shown."""
    shown = lines(PICTURE, room=80, height=12, paint=PLAIN)
    assert "one (1 of 3)" in shown
    assert "two (4 of 9)" in shown


def test_the_terminal_is_left_as_it_was(capsys):
    """Another screen while it is in use; each picture is painted over the one before."""
    with Screen(lambda: (40, 10), PLAIN) as screen:
        assert "\x1b[?1049h\x1b[?25l\x1b[?7l" == capsys.readouterr().out
        screen.show(PICTURE)
        shown = capsys.readouterr().out
        assert shown.startswith("\x1b[Hbanguard")
        assert shown.endswith("\x1b[K\x1b[J")
        assert 9 == shown.count("\r\n")
    assert "\x1b[?7h\x1b[?25h\x1b[?1049l" == capsys.readouterr().out
