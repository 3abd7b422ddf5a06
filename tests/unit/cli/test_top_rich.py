"""Tests of banguard.cli.top_rich."""

from __future__ import annotations

import io

import pytest

rich_console = pytest.importorskip("rich.console", reason="rich is not installed")

from banguard.cli.colour import Paint  # noqa: E402
from banguard.cli.columns import Cell, Column  # noqa: E402
from banguard.cli.top_picture import Picture, Section  # noqa: E402
from banguard.cli.top_rich import Screen, render  # noqa: E402

SECTION = Section(
    "Jails",
    (Column("JAIL"), Column("N", right=True, rank=1)),
    tuple((Cell(f"j{n}", "bad"), Cell("[red]1[/]")) for n in range(9)),
)
PICTURE = Picture((Cell("banguard", "strong"), Cell("9 jails")), (SECTION,))


def shown(columns, rows, **more):
    out = io.StringIO()
    console = rich_console.Console(file=out, width=columns, height=rows, highlight=False, **more)
    console.print(render(PICTURE, columns, rows))
    return out.getvalue()


@pytest.mark.parametrize(("columns", "rows"), [(80, 24), (40, 10), (20, 8), (10, 6)])
def test_a_screen_is_never_too_large(columns, rows):
    """Columns and rows are left out where there is no room."""
    text = shown(columns, rows).rstrip("\n").split("\n")
    assert len(text) <= rows
    assert all(len(line) <= columns for line in text)


def test_what_a_log_says_is_no_markup():
    """Brackets are shown as they are, and nothing is coloured by them."""
    assert "[red]1[/]" in shown(80, 24)


def test_what_is_left_out_is_counted():
    """As in the plain screen."""
    assert "Jails (3 of 9)" in shown(60, 7)


def test_the_terminal_is_left_as_it_was():
    """Another screen while it is in use; without colours where they are not wanted."""
    out = io.StringIO()
    console = rich_console.Console(file=out, force_terminal=True, width=60, height=12, no_color=True, _environ={})
    with Screen(lambda: (60, 12), Paint(on=False), console=console) as screen:
        screen.show(PICTURE)
    text = out.getvalue()
    assert text.index("\x1b[?1049h") < text.index("banguard") < text.rindex("\x1b[?1049l")
    assert "\x1b[31m" not in text
