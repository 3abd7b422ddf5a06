from __future__ import annotations

import pytest

from banguard.sources.cursor import HEAD, fingerprint, first_line


@pytest.mark.parametrize(
    "head, end, expected",
    [(b"one\ntwo\n", 4, b"one\n"), (b"one", -1, b"one"), (b"x" * 2000, -1, b"x" * HEAD), (b"", -1, b"")],
)
def test_first_line(head, end, expected):
    """The first line with its newline tells a file, at most 1 KiB of it."""
    assert expected == first_line(head, end)


def test_fingerprint_tells_files_apart():
    """Different first lines have different fingerprints, the same one has the same."""
    assert fingerprint(b"one\n", complete=True) == fingerprint(b"one\n", complete=True)
    assert fingerprint(b"one\n", complete=True) != fingerprint(b"two\n", complete=True)
    assert len(fingerprint(b"one\n", complete=True)) == 32


@pytest.mark.parametrize("line, complete", [(b"one", False), (b"", True), (b"\0" * 100, True)])
def test_no_fingerprint_without_a_line(line, complete):
    """A line that may still grow, and the NUL bytes of a hole, say nothing about a file."""
    assert "" == fingerprint(line, complete=complete)
