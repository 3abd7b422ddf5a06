from __future__ import annotations

import codecs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from banguard.sources.lines import CUT_MARK, line_form, number_of_lines

WIDE = ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be", "cp037"]


@pytest.mark.parametrize(
    "encoding", ["utf-8", "latin-1", "ascii", "utf-8-sig", "shift_jis", "gb18030", "no-such-codec", "base64", "utf-7"]
)
def test_newline_is_a_byte_in_most_encodings(encoding):
    """Encodings whose newline is the byte 10 share a tail, and every line of a block is meant."""
    form = line_form(encoding)
    assert ("", b"\n") == (form.key, form.newline)
    assert (b"a\nb\n", None, 0) == form.prepare(b"a\nb\n", 100)


@pytest.mark.parametrize("encoding", WIDE)
def test_wide_lines_can_be_decoded_by_span(encoding):
    """Where a newline is not the byte 10, each span decoded with the jail's own encoding is the line."""
    form = line_form(encoding)
    text = "first ä\nĊ second\n\nfour\n" if encoding != "cp037" else "first\n second\n\nfour\n"
    raw = text.encode(encoding)
    settled = form.settle(raw)
    block, spans, cut = settled.prepare(raw, 1000)
    assert text.split("\n")[:-1] == [block[start:end].decode(encoding) for start, end in spans]
    assert 0 == cut


@pytest.mark.parametrize(
    "mark, encoding", [(codecs.BOM_UTF16_BE, "utf-16-be"), (codecs.BOM_UTF16_LE, "utf-16-le"), (b"", "utf-16-le")]
)
def test_byte_order_mark_decides(mark, encoding):
    """A file in UTF-16 is read in the order that its mark says, without a mark in that of the machine."""
    form = line_form("utf-16").settle(mark)
    raw = mark + "a\nb\n".encode(encoding)
    block, spans, _ = form.prepare(raw, 100)
    assert ["a", "b"] == [block[start:end].decode("utf-16") for start, end in spans]


def test_half_a_newline_is_none():
    """The bytes of a newline across two characters of UTF-16 do not end a line."""
    form = line_form("utf-16-le")
    raw = "ઊ\u0100\n".encode("utf-16-le")  # 8A 0A 00 01 0A 00
    assert 6 == form.first_end(raw)
    assert 6 == form.last_end(raw)
    assert -1 == form.first_end("\u0a41\u0100".encode("utf-16-le"))
    assert 0 == form.last_end("\u0a41\u0100".encode("utf-16-le"))


@given(st.lists(st.sampled_from(["", "a", "ab", "Ċ", "\u0a0a\u0a00", "x" * 9])), st.sampled_from(WIDE[:6]))
def test_line_ends_are_those_of_the_text(lines, encoding):
    """first_end and last_end find what splitting the text finds."""
    form = line_form(encoding)
    codec = encoding if encoding.endswith("e") else encoding + "-le"
    raw = "".join(line + "\n" for line in lines).encode(codec)
    ends = []
    while (end := form.first_end(raw, ends[-1] if ends else 0)) >= 0:
        ends.append(end)
    sizes = [len((line + "\n").encode(codec)) for line in lines]
    assert [sum(sizes[: index + 1]) for index in range(len(sizes))] == ends
    assert (ends[-1] if ends else 0) == form.last_end(raw + "rest".encode(codec))


@pytest.mark.parametrize(
    "raw, expected",
    [
        (b"\0\0\0a\nb\n", b"a\nb\n"),
        (b"a\n\0\0b\n", b"a\nb\n"),
        (b"a\0b\n", b"a\0b\n"),
        (b"a\0\nb\n", b"a\0\nb\n"),
        (b"\0\n", b"\n"),
    ],
)
def test_nul_before_a_line_goes(raw, expected):
    """NUL bytes before a line are a hole in the file, and no part of the line; elsewhere they stay."""
    assert expected == line_form("utf-8").prepare(raw, 100)[0]


CUT = CUT_MARK.encode()


@pytest.mark.parametrize(
    "raw, expected, count",
    [
        (b"a" * 10 + b"\n", b"a" * 10 + b"\n", 0),
        (b"a" * 11 + b"\n", b"a" * 10 + CUT + b"\n", 1),
        (b"x\n" + b"a" * 30 + b"\ny\n", b"x\n" + b"a" * 10 + CUT + b"\ny\n", 1),
        (b"a" * 30 + b"\n" + b"b" * 11 + b"\n", b"a" * 10 + CUT + b"\n" + b"b" * 10 + CUT + b"\n", 2),
        (b"a\nb\nc\nd\ne\nf\ng\n", b"a\nb\nc\nd\ne\nf\ng\n", 0),
    ],
)
def test_long_lines_are_cut_and_marked(raw, expected, count):
    """A line beyond the cap ends in a mark, so that no rule takes the cut for its end; the others stay."""
    assert (expected, None, count) == line_form("utf-8").prepare(raw, 10)


@given(st.lists(st.binary(max_size=40).map(lambda line: line.replace(b"\n", b""))))
def test_cutting_is_by_line(lines):
    """Cutting a block gives what cutting each line gives."""
    raw = b"".join(line + b"\n" for line in lines)
    stripped = [line.lstrip(b"\0") for line in lines]
    expected = [line if len(line) <= 10 else line[:10] + CUT for line in stripped]
    block, spans, cut = line_form("utf-8").prepare(raw, 10)
    assert expected == block.split(b"\n")[:-1]
    assert (None, sum(len(line) > 10 for line in stripped)) == (spans, cut)


def test_wide_lines_are_cut_at_a_character():
    """The cut of a line in UTF-32 leaves whole characters."""
    block, spans, cut = line_form("utf-32-le").prepare(("a" * 9 + "\n").encode("utf-32-le"), 10)
    assert ["aa" + CUT_MARK] == [block[start:end].decode("utf-32-le") for start, end in spans]
    assert 1 == cut


def test_nul_prefix_counts_whole_characters():
    """A NUL byte that is half a character is no hole."""
    assert 2 == line_form("utf-8").nul_prefix(b"\0\0a")
    assert 2 == line_form("utf-16-be").nul_prefix(b"\0\0\0a")


@pytest.mark.parametrize(
    ("expected", "data"),
    [
        (0, b""),
        (2, b"a\nb\n"),
        (1000, b"abc\n" * 1000),
        (65536, b"abc\n" * 65536),
        (1, b"x" * 100_000 + b"\n"),
    ],
)
def test_lines_are_counted_about(expected, data):
    """Small blocks exactly, large ones by their beginning; one that has bytes has a line."""
    assert expected == number_of_lines(data)
