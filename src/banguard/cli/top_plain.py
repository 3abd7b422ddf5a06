"""A screen of `top` as plain lines, and by the sequences that every terminal knows."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Self

from banguard.cli.colour import Paint
from banguard.cli.columns import GAP, MARK, Cell, cut, table, width
from banguard.cli.top_picture import Picture, Section

Size = Callable[[], tuple[int, int]]
"""Columns and lines of the terminal at this moment."""

# ECMA-48 and xterm: another screen, no cursor, no wrapping; to the corner, the rest of a line, of the screen.
_ENTER, _LEAVE = "\x1b[?1049h\x1b[?25l\x1b[?7l", "\x1b[?7h\x1b[?25h\x1b[?1049l"
_AROUND = 3  # above the rows of a section: a blank line, its title, the heads of the columns
_HOME, _REST_OF_LINE, _REST_OF_SCREEN = "\x1b[H", "\x1b[K", "\x1b[J"


def lines(picture: Picture, *, room: int | None, height: int | None, paint: Paint, mark: str = MARK) -> list[str]:
    """Return *picture* as lines of at most *room* columns, at most *height* of them (None: all there is)."""
    found = _headline(picture.headline, room, paint)
    counts = [len(section.rows) for section in picture.sections]
    if height is not None:
        counts = share(picture.sections, height - len(found), _AROUND)
    for section, count in zip(picture.sections, counts, strict=True):
        if not count:
            continue
        left = len(section.rows) - count
        title = section.title if not left else f"{section.title} ({count} of {len(section.rows)})"
        found += ["", paint("strong", title if room is None else cut(title, room, mark=mark))]
        found += table(section.columns, section.rows[:count], room=room, paint=paint, mark=mark)
    return found if height is None else found[:height]


def share(sections: Sequence[Section], room: int, around: int) -> list[int]:
    """
    Return how many rows each section gets of *room* lines, by weight, and no more than it needs.

    A section that is shown at all takes *around* lines beside its rows.
    """
    counts = [0] * len(sections)
    wanting = [place for place, section in enumerate(sections) if section.rows]
    while wanting:
        place = min(wanting, key=lambda one: (counts[one] + 1) / sections[one].weight)
        cost = 1 if counts[place] else 1 + around
        if cost > room:
            wanting.remove(place)
            continue
        counts[place] += 1
        room -= cost
        if counts[place] == len(sections[place].rows):
            wanting.remove(place)
    return counts


def _headline(cells: Sequence[Cell], room: int | None, paint: Paint) -> list[str]:
    """Return the cells in as many lines as they need."""
    found: list[str] = []
    used = 0
    for cell in cells:
        wide = width(cell.text)
        if found and (room is None or used + len(GAP) + wide <= room):
            found[-1] += GAP + paint(cell.style, cell.text)
            used += len(GAP) + wide
        else:
            found.append(paint(cell.style, cell.text if room is None else cut(cell.text, room)))
            used = wide
    return found


class Screen:
    """The terminal, painted anew with each picture; a context manager that leaves it as it was."""

    def __init__(self, size: Size, paint: Paint, *, mark: str = MARK) -> None:
        self._size = size
        self._paint = paint
        self._mark = mark

    def __enter__(self) -> Self:
        self.resume()
        return self

    def __exit__(self, *_: object) -> None:
        self.suspend()

    def show(self, picture: Picture) -> None:
        """Paint *picture* over the one before; what stays the same does not flicker."""
        columns, rows = self._size()
        shown = lines(picture, room=columns, height=rows, paint=self._paint, mark=self._mark)
        _write(_HOME + f"{_REST_OF_LINE}\r\n".join(shown) + _REST_OF_LINE + _REST_OF_SCREEN)

    def suspend(self) -> None:
        """Give the terminal back as it was."""
        _write(_LEAVE)

    def resume(self) -> None:
        """Take the terminal."""
        _write(_ENTER)


def _write(text: str) -> None:
    encoding = sys.stdout.encoding or "ascii"
    sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding))
    sys.stdout.flush()
