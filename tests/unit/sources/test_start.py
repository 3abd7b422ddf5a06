from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from banguard.sources.handles import open_handle
from banguard.sources.lines import line_form
from banguard.sources.start import NEAR, first_date, first_young, last_line_end

FORM = line_form("utf-8")


def date_of(raw: bytes) -> float | None:
    """The date of a test line is a number at its beginning."""
    word = raw.split(b" ", 1)[0]
    return float(word) if word.isdigit() else None


def begin_of(tmp_path, data: bytes, cutoff: float, low: int = 0) -> tuple[int, int]:
    """Return where reading would begin, and how many dates were asked for."""
    path = tmp_path / "log"
    path.write_bytes(data)
    asked = []

    def counting(raw: bytes) -> float | None:
        asked.append(raw)
        return date_of(raw)

    handle = open_handle(str(path))
    offset = first_young(handle, low, len(data), cutoff=cutoff, date_of=counting, form=FORM)
    handle.close()
    return offset, len(asked)


def test_large_old_log_is_hardly_read(tmp_path):
    """Of a log of 20 MB only some dozens of lines are looked at, and at most a near piece of old lines is read."""
    data = b"".join(b"%d %s\n" % (number, b"x" * 90) for number in range(100_000, 300_000))
    offset, asked = begin_of(tmp_path, data, 250_000)
    assert data.index(b"250000 ") - NEAR <= offset <= data.index(b"250000 ")
    assert offset == 0 or data[offset - 1 : offset] == b"\n"
    assert asked < 40


def test_never_before_the_saved_position(tmp_path):
    """A saved position is moved forward only."""
    data = b"".join(b"%d %s\n" % (number, b"x" * 90) for number in range(100_000, 110_000))
    low = data.index(b"105000 ")
    assert low == begin_of(tmp_path, data, 1.0, low)[0]
    assert low < begin_of(tmp_path, data, 109_000, low)[0]


def test_log_without_dates_is_read_from_the_beginning(tmp_path):
    """Where no date is found nothing is passed over."""
    assert 0 == begin_of(tmp_path, b"no date here\n" * 100_000, 1e9)[0]


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 30), st.booleans(), st.integers(0, 4000)), min_size=1, max_size=300),
    st.floats(0, 9000),
)
def test_no_young_line_is_passed_over(tmp_path_factory, steps, cutoff):
    """In any log in order of dates, with any lines without date between them: all lines of the cutoff or later are read."""
    now = 0
    lines, young = [], []
    position = 0
    for step, dated, size in steps:
        now += step
        line = (b"%d " % now if dated else b"none ") + b"x" * size + b"\n"
        if dated and now >= cutoff:
            young.append(position)
        lines.append(line)
        position += len(line)
    data = b"".join(lines)
    offset, _ = begin_of(tmp_path_factory.getbasetemp(), data, cutoff)
    assert all(offset <= each for each in young)
    assert offset == 0 or data[offset - 1 : offset] == b"\n"


@pytest.mark.parametrize(
    "data, expected", [(b"a\nb\n", 4), (b"a\npart", 2), (b"part", 0), (b"", 0), (b"a\n" + b"x" * 100_000, 100_002)]
)
def test_last_line_end(tmp_path, data, expected):
    """To begin at the end is to begin behind the last whole line."""
    path = tmp_path / "log"
    path.write_bytes(data)
    handle = open_handle(str(path))
    assert expected == last_line_end(handle, FORM)
    handle.close()


@pytest.mark.parametrize(
    "data, offset, expected", [(b"none\n12 a\n13 b\n", 0, 12.0), (b"12 a\n13 b\n", 5, 13.0), (b"none\n", 0, None)]
)
def test_first_date(tmp_path, data, offset, expected):
    """The date of the first dated line from a position on."""
    path = tmp_path / "log"
    path.write_bytes(data)
    handle = open_handle(str(path))
    assert expected == first_date(handle, offset, date_of, FORM)
    handle.close()
