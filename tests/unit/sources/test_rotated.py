from __future__ import annotations

import gzip
import os

import pytest

from banguard.sources.handles import open_handle
from banguard.sources.lines import line_form
from banguard.sources.rotated import Known, base_names, identify, open_chain, siblings

FORM = line_form("utf-8")


def chain_of(path, known):
    """The chain up to the file that has the name."""
    status = os.stat(path)
    return open_chain(str(path), known, (status.st_dev, status.st_ino), FORM)


def make(directory, *names, text=None):
    """Make files, each with a first line of its own and the next time of modification."""
    for number, name in enumerate(names):
        data = text or f"first of {name}\nsecond\n".encode()
        with (gzip.open if name.endswith(".gz") else open)(directory / name, "wb") as file:
            file.write(data)
        os.utime(directory / name, (1_000_000 + number, 1_000_000 + number))


@pytest.mark.parametrize(
    "log, names, expected",
    [
        ("a.log", ["a.log.1", "a.log.2.gz", "a.log.10"], ["a.log.10", "a.log.2.gz", "a.log.1"]),
        (
            "a.log",
            ["a.log-20260102", "a.log-20260101", "a.log-20251231.gz"],
            ["a.log-20251231.gz", "a.log-20260101", "a.log-20260102"],
        ),
        ("a.log", ["a-20260102.log", "a-20260101.log.gz"], ["a-20260101.log.gz", "a-20260102.log"]),
        ("a.log", ["a.2.log", "a.1.log"], ["a.2.log", "a.1.log"]),
        ("a.log", ["a.log.2026-01-02_03", "a.log.2026-01-02_02"], ["a.log.2026-01-02_02", "a.log.2026-01-02_03"]),
        ("messages", ["messages.1", "messages-1795219200"], ["messages.1", "messages-1795219200"]),
        ("a.log", ["a.log.bak", "b.log.1", "a.logger", "a.log.1.zst", "aa.log.1", "a.log.1.tmp", "a.logs.1"], []),
        ("a.log", ["a.log.old"], ["a.log.old"]),
    ],
)
def test_older_files_are_told_by_name(tmp_path, log, names, expected):
    """Older files are those that rotation makes of the name, in the order of writing; others are left alone."""
    make(tmp_path, log, *names)
    assert expected == [os.path.basename(sibling.path) for sibling in siblings(str(tmp_path / log))]


def test_plain_file_wins_over_its_unfinished_copy(tmp_path):
    """While a file is being compressed the original is read."""
    make(tmp_path, "a.log", "a.log.1", "a.log.1.gz")
    assert ["a.log.1"] == [os.path.basename(sibling.path) for sibling in siblings(str(tmp_path / "a.log"))]


def test_older_files_of_a_link_lie_beside_its_target(tmp_path):
    """A log that is a link is rotated where its target is."""
    (tmp_path / "data").mkdir()
    make(tmp_path / "data", "real.log", "real.log.1")
    os.symlink("data/real.log", tmp_path / "link.log")
    assert ["real.log.1"] == [os.path.basename(sibling.path) for sibling in siblings(str(tmp_path / "link.log"))]


def test_special_files_and_links_are_no_older_files(tmp_path):
    """Only regular files: a link could lead anywhere, a FIFO would block."""
    make(tmp_path, "a.log")
    os.mkfifo(tmp_path / "a.log.1")
    os.symlink("/etc/shadow", tmp_path / "a.log.2")
    assert [] == siblings(str(tmp_path / "a.log"))


@pytest.mark.parametrize(
    "name, expected",
    [
        ("a.log.1", {"a.log"}),
        ("a.log.12.gz", {"a.log"}),
        ("a.log-20260101", {"a.log"}),
        ("a.log-20260101.xz", {"a.log"}),
        ("a-20260101.log", {"a.log"}),
        ("a-2026-01-01.log", {"a.log"}),
        ("a.1.log", {"a.log"}),
        ("a-1.log", set()),
        ("a-site2.log", set()),
        ("a.log", set()),
        ("a.log.old", {"a.log"}),
    ],
)
def test_base_names(name, expected):
    """Only names that nobody gives a log of its own are taken for rotated ones."""
    assert expected <= set(base_names(name))
    assert bool(expected) == bool(base_names(name))


def known_of(path, offset=0, **values):
    handle = open_handle(str(path))
    known = Known(handle.ident, offset, identify(handle, FORM), **values)
    handle.close()
    return known


def first_lines(found):
    own, later = found
    lines = []
    for handle in ([own] if own else []) + later:
        lines.append(handle.pread(100, 0).split(b"\n")[0].decode())
        handle.close()
    return bool(own), lines


def test_chain_of_a_renamed_file(tmp_path):
    """From a renamed file on, all files written since then follow, oldest first."""
    make(tmp_path, "a.log.4", "a.log.3", "a.log.2", "a.log.1", "a.log")
    known = known_of(tmp_path / "a.log.3")
    chain = chain_of(tmp_path / "a.log", known)
    assert (True, ["first of a.log.3", "first of a.log.2", "first of a.log.1"]) == first_lines(chain)


def test_chain_of_a_file_that_is_held(tmp_path):
    """A file that is still open is not opened again."""
    make(tmp_path, "a.log.3", "a.log.2", "a.log.1", "a.log")
    known = known_of(tmp_path / "a.log.3", held=True)
    assert (False, ["first of a.log.2", "first of a.log.1"]) == first_lines(chain_of(tmp_path / "a.log", known))


def test_chain_of_a_compressed_file(tmp_path):
    """A file that was compressed meanwhile is known by its first line."""
    make(tmp_path, "a.log.2", "a.log.1", "a.log")
    known = known_of(tmp_path / "a.log.2")
    with open(tmp_path / "a.log.2", "rb") as plain, gzip.open(tmp_path / "a.log.2.gz", "wb") as packed:
        packed.write(plain.read())
    os.unlink(tmp_path / "a.log.2")
    chain = chain_of(tmp_path / "a.log", known)
    assert (True, ["first of a.log.2", "first of a.log.1"]) == first_lines(chain)


def test_chain_of_a_copy(tmp_path):
    """What was truncated is known again in its copy, if the copy reaches as far and agrees before the position."""
    make(tmp_path, "a.log")
    known = known_of(tmp_path / "a.log", offset=14, last=b"first of a.log"[-4:])
    make(tmp_path, "a.log.2", text=b"first of a.log\nother\n")
    make(tmp_path, "a.log.1", text=b"first of a.log\nsecond\n")
    own, later = open_chain(str(tmp_path / "a.log"), known, known.ident, FORM)
    assert b"second\n" == own.pread(100, 15)
    assert [] == later
    own.close()
    disagreeing = Known(known.ident, 14, known.fingerprint, last=b"????")
    assert (None, []) == open_chain(str(tmp_path / "a.log"), disagreeing, known.ident, FORM)


def test_chain_of_a_deleted_file(tmp_path):
    """When a file is nowhere, those written to since then are what comes after it."""
    make(tmp_path, "a.log.3", "a.log.2", "a.log.1", "a.log")
    known = Known((1, 1), 100, "f" * 32, mtime_ns=1_000_001 * 10**9)
    assert (False, ["first of a.log.2", "first of a.log.1"]) == first_lines(chain_of(tmp_path / "a.log", known))
    seen = known_of(tmp_path / "a.log.2").fingerprint
    known = Known((1, 1), 100, "f" * 32, mtime_ns=1_000_001 * 10**9, seen={seen})
    assert (False, ["first of a.log.1"]) == first_lines(chain_of(tmp_path / "a.log", known))
    assert (None, []) == chain_of(tmp_path / "a.log", Known((1, 1), 100, "f" * 32))


def test_damaged_compressed_file_is_left_out(tmp_path, caplog):
    """A compressed file that cannot be read is told and passed over; the others are read."""
    make(tmp_path, "a.log.3", "a.log.1", "a.log")
    (tmp_path / "a.log.2.gz").write_bytes(b"no gzip file at all")
    known = known_of(tmp_path / "a.log.3")
    assert (True, ["first of a.log.3", "first of a.log.1"]) == first_lines(chain_of(tmp_path / "a.log", known))
    assert "Cannot read" in caplog.text


def test_nothing_stays_open(tmp_path):
    """Files that were only compared are closed again."""
    make(tmp_path, "a.log.3.gz", "a.log.2", "a.log.1", "a.log")
    before = len(os.listdir("/proc/self/fd"))
    chain_of(tmp_path / "a.log", Known((1, 1), 5, "f" * 32, mtime_ns=9_000_000 * 10**9))
    assert before == len(os.listdir("/proc/self/fd"))


def test_rotation_meanwhile_is_noticed(tmp_path):
    """When the name went to another file meanwhile, nothing is given: the caller begins anew."""
    make(tmp_path, "a.log.1", "a.log")
    with pytest.raises(BlockingIOError):
        open_chain(str(tmp_path / "a.log"), known_of(tmp_path / "a.log.1"), None, FORM)
