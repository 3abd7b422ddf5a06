"""Text in columns, as wide as a terminal shows it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from banguard.cli.colour import Paint

GAP = "  "
MARK = "…"


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its title, whether it is flushed right, and its *rank*: where there is no room, the highest goes."""

    title: str
    right: bool = False
    rank: int = 0


@dataclass(frozen=True, slots=True)
class Cell:
    """One text of a table, free of control characters, and its style (see `colour`)."""

    text: str
    style: str = ""


def width(text: str) -> int:
    """Return how many columns of a terminal *text* takes (Unicode Standard Annex 11: wide and full-width take two)."""
    if text.isascii():
        return len(text)
    from unicodedata import combining, east_asian_width  # noqa: PLC0415  seldom needed

    return sum(0 if combining(char) else 2 if east_asian_width(char) in "WF" else 1 for char in text)


def cut(text: str, room: int, *, mark: str = MARK) -> str:
    """Return *text* in at most *room* columns, with a mark at its end where something is left out."""
    if width(text) <= room:
        return text
    taken, used = [], 0
    for char in text:
        used += width(char)
        if used > room - width(mark):
            break
        taken.append(char)
    return "".join(taken) + mark if room >= width(mark) else ""


def table(
    columns: Sequence[Column],
    rows: Sequence[Sequence[Cell]],
    *,
    room: int | None,
    paint: Paint,
    mark: str = MARK,
) -> list[str]:
    """
    Return a title and *rows* as lines of at most *room* columns (None: as long as they are).

    Where there is no room columns are left out, highest rank first; those of rank 0 stay, and the line is cut.
    """
    widths = [
        max([width(column.title), *(width(row[place].text) for row in rows)]) for place, column in enumerate(columns)
    ]
    shown = list(range(len(columns)))
    while room is not None and sum(widths[place] for place in shown) + len(GAP) * (len(shown) - 1) > room:
        last = max(shown, key=lambda place: columns[place].rank)
        if columns[last].rank == 0:
            break
        shown.remove(last)
    lines = [
        _line(
            [(Cell(columns[place].title, "strong"), columns[place], widths[place]) for place in shown],
            room,
            paint,
            mark,
        )
    ]
    lines += [
        _line([(row[place], columns[place], widths[place]) for place in shown], room, paint, mark) for row in rows
    ]
    return lines


def _line(cells: Sequence[tuple[Cell, Column, int]], room: int | None, paint: Paint, mark: str) -> str:
    left = room
    parts = []
    for place, (cell, column, wide) in enumerate(cells):
        if left is not None and left <= 0:
            break
        text = cell.text if left is None else cut(cell.text, left, mark=mark)
        padding = " " * (wide - width(text))
        last = place == len(cells) - 1
        parts.append(
            padding + paint(cell.style, text) if column.right else paint(cell.style, text) + padding * (not last)
        )
        if left is not None:
            left -= wide + len(GAP)
    return GAP.join(parts).rstrip()
