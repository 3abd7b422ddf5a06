"""The tester reads lines as the server does."""

from __future__ import annotations

import gzip
import os
import threading

import pytest

from banguard.cli.regex_lines import BLOCK, LINE_CAP, of_file, of_journal
from banguard.errors import SourceError
from banguard.sources import tail
from banguard.sources.lines import CUT_MARK


def lines_of(path, encoding: str = "UTF-8") -> list[str]:
    return [line for lines, _ in of_file(str(path), encoding) for line in lines]


def written(tmp_path, content: bytes):
    path = tmp_path / "log"
    path.write_bytes(content)
    return path


def test_cap_is_that_of_the_server():
    """A line is cut here where the server cuts it."""
    assert (tail.LINE_CAP, tail.BLOCK) == (LINE_CAP, BLOCK)


@pytest.mark.parametrize(
    ("content", "encoding", "expected"),
    [
        (b"a\nb\n", "UTF-8", ["a", "b"]),
        (b"a\r\nb\r\n\r\n", "UTF-8", ["a", "b", ""]),
        (b"a\rb\n", "UTF-8", ["a\rb"]),
        (b"a\nb", "UTF-8", ["a", "b"]),
        (b"", "UTF-8", []),
        ("é\n".encode(), "UTF-8", ["é"]),
        (b"\xe9\nok\n", "UTF-8", ["\ufffd", "ok"]),
        (b"\xe9\n", "latin-1", ["é"]),
        ("a\x85b\u2028c\x0cd\n".encode(), "UTF-8", ["a\x85b\u2028c\x0cd"]),
        (b"\x00\x00a\nb\x00c\n", "UTF-8", ["a", "b\x00c"]),
        ("ä\nb\r\n".encode("utf-16"), "utf-16", ["ä", "b"]),
        ("ä\n\u0a0a\n".encode("utf-16-le"), "utf-16-le", ["ä", "\u0a0a"]),
    ],
)
def test_lines_of_a_file(tmp_path, content, encoding, expected):
    """Lines end at a newline and nowhere else; what cannot be decoded is replaced, in that line only."""
    assert expected == lines_of(written(tmp_path, content), encoding)


def test_line_across_blocks(tmp_path):
    """A line that begins in one block and ends in the next is one line."""
    content = b"x" * 50 + b"\n"
    assert ["x" * 50] * 20_000 == lines_of(written(tmp_path, content * 20_000))


@pytest.mark.parametrize("length", [LINE_CAP, LINE_CAP + 2, BLOCK, 3 * BLOCK + 6])
@pytest.mark.parametrize("encoding", ["UTF-8", "utf-16"])
def test_long_line_is_cut(tmp_path, length, encoding):
    """A line longer than the cap is cut and marked, in bounded memory; the next line is whole."""
    width = len("xx".encode(encoding)) - len("x".encode(encoding))
    content = ("y" * (length // width) + "\nnext\n").encode(encoding)
    first, second = lines_of(written(tmp_path, content), encoding)
    assert "next" == second
    assert first.endswith(CUT_MARK) == (length > LINE_CAP)
    assert "y" * (min(length, LINE_CAP) // width) == first.removesuffix(CUT_MARK)


def test_packed_file(tmp_path):
    """A log that was packed by gzip is read as it was before."""
    assert ["a", "b"] == lines_of(written(tmp_path, gzip.compress(b"a\nb\n")))
    with pytest.raises(SourceError, match="cannot read"):
        lines_of(written(tmp_path, gzip.compress(b"a\nb\n" * 1000)[:-9]))
    with pytest.raises(SourceError, match="cannot read"):
        lines_of(written(tmp_path, b"\x1f\x8bnonsense"))


def test_pipe_is_read_as_it_comes(tmp_path):
    """Lines of a pipe are there as soon as they are written."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    read = threading.Event()

    def write():
        with open(path, "wb", buffering=0) as pipe:
            pipe.write(b"one\n")
            read.wait(10)
            pipe.write(b"two\n")

    writer = threading.Thread(target=write)
    writer.start()
    batches = of_file(str(path), "UTF-8")
    assert (["one"], None) == next(batches)
    read.set()
    assert [(["two"], None)] == list(batches)
    writer.join()


def test_what_cannot_be_read_is_told(tmp_path):
    """A missing file and an unknown encoding are errors with a reason."""
    with pytest.raises(SourceError, match=r"cannot read .*nosuch: No such file"):
        lines_of(tmp_path / "nosuch")
    with pytest.raises(LookupError, match="unknown encoding"):
        of_file(str(tmp_path), "no-such-codec")


@pytest.mark.parametrize(
    ("matches", "spec", "reason"),
    [
        ([("nonsense",)], "systemd-journal", "FIELD=value"),
        ([], "systemd-journal[nosuch=1]", "unknown option"),
        ([], "systemd-journal[journalflags=x]", "number"),
        ([], "systemd-journal[", "systemd-journal"),
        ([], 'systemd-journal[journalfiles="/nosuch/*.journal"]', "cannot read the journal"),
    ],
)
def test_wrong_journal_is_told(matches, spec, reason):
    """A match or option that is wrong, and a journal that is not there, are errors with a reason."""
    pytest.importorskip("systemd.journal")
    with pytest.raises(SourceError, match=reason):
        list(of_journal(matches, spec))
