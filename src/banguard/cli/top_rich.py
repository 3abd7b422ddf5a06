"""A screen of `top` drawn by rich (the extra `banguard[top]`)."""

from __future__ import annotations

from typing import Self

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from banguard.cli.colour import Paint
from banguard.cli.columns import GAP
from banguard.cli.top_picture import Picture, Section
from banguard.cli.top_plain import Size, share

_STYLES = {"good": "green", "bad": "bold red", "warn": "yellow", "name": "cyan", "faint": "dim", "strong": "bold"}
_AROUND = 3  # lines of a section beside its rows: the frame, and the heads of the columns


class Screen:
    """As `top_plain.Screen`, with frames."""

    def __init__(self, size: Size, paint: Paint, *, console: Console | None = None) -> None:
        self._size = size
        self._console = console or Console(no_color=not paint.on, highlight=False, markup=False, emoji=False)
        self._live = Live(console=self._console, screen=True, auto_refresh=False)

    def __enter__(self) -> Self:
        self.resume()
        return self

    def __exit__(self, *_: object) -> None:
        self.suspend()

    def show(self, picture: Picture) -> None:
        """Draw *picture* in the place of the one before."""
        columns, rows = self._size()
        self._live.update(render(picture, columns, rows), refresh=True)

    def suspend(self) -> None:
        """Give the terminal back as it was."""
        self._live.stop()

    def resume(self) -> None:
        """Take the terminal."""
        self._live.start()


def render(picture: Picture, columns: int, rows: int) -> RenderableType:
    """Return *picture* for a terminal of this size."""
    headline = Text(no_wrap=False)
    for cell in picture.headline:
        headline.append(cell.text, _STYLES.get(cell.style, "")).append(GAP)
    headline.rstrip()
    used = -(-headline.cell_len // max(1, columns))
    counts = share(picture.sections, rows - used, _AROUND)
    shown = [
        _section(section, count, columns) for section, count in zip(picture.sections, counts, strict=True) if count
    ]
    return Group(headline, *shown)


def _section(section: Section, count: int, columns: int) -> RenderableType:
    places = list(range(len(section.columns)))
    widths = [
        max(len(column.title), *(Text(row[place].text).cell_len for row in section.rows[:count]))
        for place, column in enumerate(section.columns)
    ]
    while sum(widths[place] + 2 for place in places) > columns - 4:
        last = max(places, key=lambda place: section.columns[place].rank)
        if section.columns[last].rank == 0:
            break
        places.remove(last)
    table = Table(box=None, expand=False, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    for place in places:
        column = section.columns[place]
        table.add_column(column.title, justify="right" if column.right else "left", no_wrap=True, overflow="ellipsis")
    for row in section.rows[:count]:
        # Text and never a string: rich reads markup in those.
        table.add_row(*(Text(row[place].text, _STYLES.get(row[place].style, "")) for place in places))
    left = len(section.rows) - count
    title = f"{section.title} ({count} of {len(section.rows)})" if left else section.title
    return Panel(table, title=title, title_align="left", box=box.ROUNDED, border_style="dim", padding=(0, 1))
