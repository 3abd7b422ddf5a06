"""How lines look as bytes in one encoding: where they end, and what is handed out of them."""

from __future__ import annotations

import codecs
import re
import sys
from functools import lru_cache

from banguard.sources.base import Spans

CUT_MARK = " [...]"
"""Stands at the end of a line that was longer than the cap, so that no rule takes the cut for the end of the line."""

_SAMPLE = 4096
_NUL_RUN = re.compile(rb"(?:(?<=\n)|\A)\x00+")
_NATIVE = "le" if sys.byteorder == "little" else "be"
_BOMS = {
    "utf-16": ((codecs.BOM_UTF16_LE, "le"), (codecs.BOM_UTF16_BE, "be")),
    "utf-32": ((codecs.BOM_UTF32_LE, "le"), (codecs.BOM_UTF32_BE, "be")),
}


class LineForm:
    """
    The newline of an encoding, and the making of blocks.

    *key* tells encodings apart that must not share a tail: empty for all in which a newline is the byte 10. In others
    (UTF-16, UTF-32, EBCDIC) spans are given for every line, and the bytes are such that decoding a span alone with the
    jail's encoding gives the line.
    """

    __slots__ = ("_codec", "_output", "key", "newline", "width")

    def __init__(self, key: str, newline: bytes, codec: str, output: str) -> None:
        self.key = key
        self.newline = newline
        self.width = len(newline)
        self._codec = codec
        self._output = output

    def settle(self, head: bytes) -> LineForm:
        """Return the form for a file that begins with *head*: its byte order mark decides, else the machine's order."""
        for mark, order in _BOMS.get(self.key, ()):
            if head.startswith(mark):
                return LineForm(self.key, _newline(f"{self.key}-{order}"), f"{self.key}-{order}", self._output)
        return self

    def first_end(self, data: bytes, start: int = 0) -> int:
        """Return the index behind the first newline at or after *start*, -1 when there is none."""
        at = data.find(self.newline, start)
        while at >= 0 and self.width > 1 and at % self.width:
            at = data.find(self.newline, at + 1)
        return at + self.width if at >= 0 else -1

    def last_end(self, data: bytes) -> int:
        """Return the index behind the last newline, 0 when there is none."""
        at = data.rfind(self.newline)
        while at >= 0 and self.width > 1 and at % self.width:
            at = data.rfind(self.newline, 0, at + self.width - 1)
        return at + self.width if at >= 0 else 0

    def nul_prefix(self, data: bytes) -> int:
        """Return how many bytes of NUL characters *data* begins with."""
        count = len(data) - len(data.lstrip(b"\0"))
        return count - count % self.width

    def cut(self, line: bytes, cap: int) -> bytes:
        """Return a line (with or without its newline) cut to *cap* bytes, marked, with a newline."""
        return line[: cap - cap % self.width] + CUT_MARK.encode(self._codec or "ascii") + self.newline

    def decode(self, data: bytes, encoding: str) -> str:
        """Return the text of raw bytes; *encoding* is that of the jail, used where newline is the byte 10."""
        return data.decode(self._codec or encoding, "replace")

    def prepare(self, data: bytes, cap: int) -> tuple[bytes, Spans | None, int]:
        """
        Make whole lines ready to hand out: NUL bytes before a line go (holes of a truncated file), long lines are cut.

        Returns block, spans (None: every line, newline is the byte 10) and the number of lines that were cut.
        """
        if self.key:
            return self._prepare_wide(data, cap)
        # Nearly no block holds a NUL byte, and one byte is looked for much faster than two.
        if b"\0" in data and (data.startswith(b"\0") or b"\n\0" in data):
            data = _NUL_RUN.sub(b"", data)
        if len(data) <= cap:
            return data, None, 0
        pieces: list[bytes] = []
        kept = at = 0
        while len(data) - at > cap:
            end = data.rfind(b"\n", at, at + cap + 1)
            if end < 0:
                end = data.find(b"\n", at + cap)
                pieces += (data[kept:at], self.cut(data[at : at + cap], cap))
                kept = end + 1
            at = end + 1
        if not pieces:
            return data, None, 0
        count = len(pieces) // 2
        return b"".join((*pieces, data[kept:])), None, count

    def _prepare_wide(self, data: bytes, cap: int) -> tuple[bytes, Spans, int]:
        pieces: list[bytes] = []
        spans: list[tuple[int, int]] = []
        newline = "\n".encode(self._output)
        at = cut = 0
        for text in data.decode(self._codec, "replace").split("\n")[:-1]:
            line = text.lstrip("\0\ufeff").encode(self._output, "replace")
            if len(line) > cap:
                line = line[: cap - cap % self.width] + CUT_MARK.encode(self._output)
                cut += 1
            spans.append((at, at + len(line)))
            pieces += (line, newline)
            at += len(line) + len(newline)
        return b"".join(pieces), tuple(spans), cut


def _newline(codec: str) -> bytes:
    # Encoders such as utf-16 and utf-8-sig put a mark before the first character only.
    return "\n\n".encode(codec)[len("\n".encode(codec)) :]


@lru_cache(maxsize=32)
def line_form(encoding: str) -> LineForm:
    """Return the form for the codec *encoding* (`auto` and unknown ones: newline is the byte 10)."""
    try:
        name = codecs.lookup(encoding).name
        newline = _newline(name)
    except (LookupError, UnicodeError):
        newline = b"\n"
    if newline == b"\n":
        return LineForm("", newline, "", "")
    if name in _BOMS:
        return LineForm(name, newline, f"{name}-{_NATIVE}", f"{name}-{_NATIVE}")
    return LineForm(name, newline, name, name)


def number_of_lines(data: bytes) -> int:
    """Return about how many lines *data* holds, by its first 4 KiB: to count all costs as much as a scan."""
    counted = data.count(b"\n", 0, _SAMPLE)
    return counted if len(data) <= _SAMPLE else max(1, round(counted * len(data) / _SAMPLE))
