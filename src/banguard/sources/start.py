"""Where to begin in an old log: bisection over the dates of its lines."""

from __future__ import annotations

from collections.abc import Callable

from banguard.sources.handles import Handle
from banguard.sources.lines import LineForm

NEAR = 64 * 1024
"""Bytes that are read rather than searched."""

_CHUNK = 64 * 1024
_LOOK_AHEAD = 4

DateOfBytes = Callable[[bytes], "float | None"]
"""Tells the date of a raw line (epoch seconds), None when it has none."""


def first_young(handle: Handle, low: int, high: int, *, cutoff: float, date_of: DateOfBytes, form: LineForm) -> int:
    """
    Return an offset from which to read, so that no line of *cutoff* (epoch seconds) or later is passed over.

    *low* is where a line begins, *high* the end of what is there. The lines must stand in order of their dates; lines
    without a date belong to the dated one before them. Where no date is found, nothing is passed over.
    """
    while high - low > NEAR:
        middle = low + (high - low) // 2
        middle -= middle % form.width
        end, date = _next_dated(handle, middle, high, date_of, form)
        if date is not None and date < cutoff:
            low = end
        else:
            high = middle
    return low


def last_line_end(handle: Handle, form: LineForm) -> int:
    """Return the offset behind the last whole line, or the end of the file when its last line is very long."""
    size = handle.stat().st_size
    begin = max(0, size - _CHUNK)
    begin -= begin % form.width
    end = form.last_end(handle.pread(size - begin, begin))
    return begin + end if end or not begin else size


def first_date(handle: Handle, offset: int, date_of: DateOfBytes, form: LineForm) -> float | None:
    """Return the date of the first dated line from *offset* on, where a line begins; None when none is near."""
    data = handle.pread(_CHUNK, offset)
    for start, end in _lines(data, 0, form):
        date = date_of(data[start:end])
        if date is not None:
            return date
    return None


def _next_dated(
    handle: Handle, offset: int, high: int, date_of: DateOfBytes, form: LineForm
) -> tuple[int, float | None]:
    """Return the first dated line that begins behind *offset* and ends before *high*: its end and its date."""
    data = b""
    begin = offset
    synchronised = False
    for _ in range(_LOOK_AHEAD):
        chunk = handle.pread(min(_CHUNK, high - begin - len(data)), begin + len(data))
        if not chunk:
            break
        data += chunk
        at = 0
        if not synchronised:
            at = form.first_end(data)
            if at < 0:
                begin += len(data) - len(data) % form.width
                data = b""
                continue
            synchronised = True
        for start, end in _lines(data, at, form):
            date = date_of(data[start:end])
            if date is not None:
                return begin + end, date
            at = end
        begin += at
        data = data[at:]
    return high, None


def _lines(data: bytes, start: int, form: LineForm) -> list[tuple[int, int]]:
    found = []
    while (end := form.first_end(data, start)) >= 0:
        found.append((start, end))
        start = end
    return found
