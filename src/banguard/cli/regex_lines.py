"""The lines that banguard-regex tries: those of a file or of the journal."""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from banguard.errors import SourceError
from banguard.sources.lines import line_form

if TYPE_CHECKING:
    from typing import BinaryIO

    from banguard.sources.journald import Binding, Place

Batch = tuple[list[str], "list[float] | None"]
# A block of whole lines, where they are (None: newline is the byte 10), and how many were cut.
Prepared = tuple[bytes, "Sequence[tuple[int, int]] | None", int]

# Those of the server's tail (a test compares them), whose module takes long to load.
BLOCK = 256 * 1024
LINE_CAP = 64 * 1024

_ENTRIES = 1000

_GZIP = b"\x1f\x8b"


def of_file(path: str, encoding: str) -> Iterator[Batch]:
    """Yield the lines of the blocks of a file, decoded, in batches; there are no times. Raise as `blocks_of` does."""
    return (lines_of(prepared, encoding) for prepared in blocks_of(path, encoding))


def blocks_of(path: str, encoding: str) -> Iterator[Prepared]:
    """
    Yield the lines of a file in blocks, cut and cleaned as the server does it.

    A pipe is read as it comes. Raise SourceError when the file cannot be read, LookupError for an unknown *encoding*.
    """
    codecs.lookup(encoding)
    return _blocks_of(path, encoding)


def _blocks_of(path: str, encoding: str) -> Iterator[Prepared]:
    try:
        with open(path, "rb", buffering=0) as raw:
            yield from _blocks(raw, encoding)
    except (OSError, EOFError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise SourceError(f"cannot read {path}: {reason}") from None


def _blocks(raw: BinaryIO, encoding: str) -> Iterator[Prepared]:
    chunk = raw.read(BLOCK)
    if chunk.startswith(_GZIP):
        import gzip  # noqa: PLC0415  only packed logs need it

        raw.seek(0)
        raw = gzip.GzipFile(fileobj=raw, mode="rb")  # type: ignore[assignment]  # reads bytes just as well
        chunk = raw.read(BLOCK)
    form = line_form(encoding).settle(chunk[:4])
    carry = b""
    while chunk:
        data = carry + chunk
        end = form.last_end(data)
        if end:
            yield form.prepare(data[:end], LINE_CAP)
        carry = data[end:]
        surplus = len(carry) - 2 * LINE_CAP
        if surplus > 0:
            # The middle of a line that is cut anyway; whole characters of up to four bytes go.
            carry = carry[:LINE_CAP] + carry[LINE_CAP + surplus // 4 * 4 :]
        chunk = raw.read(BLOCK)
    if carry:
        yield form.prepare(carry + form.newline, LINE_CAP)


def lines_of(prepared: Prepared, encoding: str) -> Batch:
    """Return the lines of a block. Decode each line: strictly, and with replacement characters where that fails."""
    block, spans, _ = prepared
    if spans is not None:
        return [_decode(block[start:end], encoding) for start, end in spans], None
    try:
        text = block.decode(encoding)
    except UnicodeError:
        return [_decode(line, encoding) for line in block.split(b"\n")[:-1]], None
    lines = text.split("\n")
    lines.pop()
    if "\r" in text:
        return [line.rstrip("\r") for line in lines], None
    return lines, None


def _decode(line: bytes, encoding: str) -> str:
    try:
        return line.decode(encoding).rstrip("\r\n")
    except UnicodeError:
        return line.decode(encoding, "replace").rstrip("\r\n")


def of_journal(matches: Sequence[Sequence[str]], spec: str) -> Iterator[Batch]:
    """
    Yield the entries of the journal that fulfil one of *matches*, in batches, with their times (epoch seconds).

    *spec* is `systemd-journal` with the options of the journal backend in brackets, if any. Raise SourceError when
    there is no journal, or an option or match is wrong.
    """
    from banguard.config.expand import parse_spec  # noqa: PLC0415
    from banguard.sources.journald import match_groups, place_of  # noqa: PLC0415

    try:
        place = place_of(parse_spec(spec).options)
    except ValueError as error:
        raise SourceError(f"{spec}: {error}") from None
    return _of_journal(place, match_groups(matches))


def _of_journal(place: Place, groups: Sequence[Sequence[str]]) -> Iterator[Batch]:
    try:
        journal = place.open()
        try:
            for number, group in enumerate(groups):
                if number:
                    journal.add_disjunction()
                for term in group:
                    journal.add_match(term)
            yield from _entries(journal)
        finally:
            journal.close()
    except OSError as error:
        raise SourceError(f"cannot read the journal: {error.strerror or error}") from None


def _entries(journal: Binding) -> Iterator[Batch]:
    from banguard.sources.journald import line_of, time_of  # noqa: PLC0415

    lines: list[str] = []
    times: list[float] = []
    while journal._next():  # noqa: SLF001  the binding's own Reader is built on these
        try:
            entry = journal._get_all()  # noqa: SLF001
            realtime = journal._get_realtime()  # noqa: SLF001
            monotonic = journal._get_monotonic()[0]  # noqa: SLF001
        except OSError:
            continue  # a damaged entry; the next ones may be whole
        lines.append(_decode(line_of(entry, monotonic)[:LINE_CAP], "utf-8"))
        times.append(time_of(entry, realtime))
        if len(lines) >= _ENTRIES:
            yield lines, times
            lines, times = [], []
    yield lines, times
