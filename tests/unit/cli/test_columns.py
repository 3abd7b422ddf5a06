"""Tests of banguard.cli.columns."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from banguard.cli.colour import Paint
from banguard.cli.columns import Cell, Column, cut, table, width

PLAIN = Paint(on=False)


@pytest.mark.parametrize(("expected", "text"), [(3, "abc"), (4, "日本"), (1, "é"), (1, "e\u0301"), (2, "Ａ"), (0, "")])
def test_wide_characters_take_two_columns(expected, text):
    """As terminals show them; a combining accent takes none."""
    assert expected == width(text)


@pytest.mark.parametrize(
    ("expected", "text", "room"),
    [
        ("abc", "abc", 3),
        ("ab…", "abcd", 3),
        ("日…", "日本語", 4),
        ("日…", "日本語", 3),
        ("…", "abc", 1),
        ("", "abc", 0),
    ],
)
def test_what_does_not_fit_is_cut(expected, text, room):
    """A mark says that there is more; half a character is none."""
    assert expected == cut(text, room)


@given(st.text(st.characters(codec="utf-8"), max_size=20), st.integers(0, 30))
def test_a_cut_text_fits(text, room):
    """Whatever the text, it takes no more than the room."""
    assert width(cut(text, room)) <= room


COLUMNS = (Column("NAME"), Column("N", right=True, rank=1), Column("TEXT", rank=2))
ROWS = ([Cell("日本"), Cell("5"), Cell("x")], [Cell("b"), Cell("100"), Cell("long text")])


def test_columns_stand_under_each_other():
    """Each is as wide as its widest text; numbers are flushed right; no line ends in blanks."""
    assert [
        "NAME    N  TEXT",
        "日本    5  x",
        "b     100  long text",
    ] == table(COLUMNS, ROWS, room=None, paint=PLAIN)


@pytest.mark.parametrize(
    ("expected", "room"),
    [
        (["NAME    N  TEXT", "日本    5  x", "b     100  long text"], 20),
        (["NAME    N", "日本    5", "b     100"], 19),
        (["NAME", "日本", "b"], 8),
        (["NA…", "日…", "b"], 3),
    ],
)
def test_columns_go_where_there_is_no_room(expected, room):
    """The least important first; what remains is cut."""
    assert expected == table(COLUMNS, ROWS, room=room, paint=PLAIN)


def test_colours_take_no_room():
    """A coloured table is the plain one with colours in it."""
    rows = [[Cell("a", "good"), Cell("1", "bad"), Cell("t", "warn")]]
    painted = table(COLUMNS, rows, room=12, paint=Paint(on=True))
    for code in ("\x1b[0m", "\x1b[1m", "\x1b[32m", "\x1b[1;31m", "\x1b[33m"):
        painted = [line.replace(code, "") for line in painted]
    assert table(COLUMNS, rows, room=12, paint=PLAIN) == painted
