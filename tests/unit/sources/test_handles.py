from __future__ import annotations

import bz2
import gzip
import lzma
import os
import socket

import pytest

from banguard.errors import SourceError
from banguard.sources.handles import open_handle

TEXT = b"".join(b"line %d\n" % number for number in range(100_000))
PACKERS = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}


def packed(tmp_path, ending, text=TEXT):
    path = tmp_path / f"log.1{ending}"
    with PACKERS[ending](path, "wb") as file:
        file.write(text)
    return str(path)


def test_plain_file_is_read_at_a_position(tmp_path):
    """A file is read where asked, and less at its end."""
    path = tmp_path / "log"
    path.write_bytes(b"one\ntwo\n")
    handle = open_handle(str(path))
    status = os.stat(path)
    assert (b"two", b"wo\n", b"") == (handle.pread(3, 4), handle.pread(9, 5), handle.pread(9, 8))
    assert (status.st_dev, status.st_ino) == handle.ident
    assert not handle.packed
    handle.close()


def test_descriptor_is_not_inherited(tmp_path):
    """Programs that actions start do not get the logs."""
    path = tmp_path / "log"
    path.write_bytes(b"")
    handle = open_handle(str(path))
    assert not os.get_inheritable(handle._descriptor)
    handle.close()


@pytest.mark.parametrize("ending", sorted(PACKERS))
def test_packed_file_is_read_as_its_text(tmp_path, ending):
    """A compressed file is read at positions of its text, forwards, again, and from the beginning."""
    handle = open_handle(packed(tmp_path, ending), packed=True)
    assert TEXT[:10] == handle.pread(10, 0)
    assert TEXT[5:20] == handle.pread(15, 5)
    assert TEXT[700_000:700_100] == handle.pread(100, 700_000)
    assert TEXT[3:9] == handle.pread(6, 3)
    assert TEXT[-5:] == handle.pread(100, len(TEXT) - 5)
    assert b"" == handle.pread(100, len(TEXT) + 5)
    assert handle.packed
    handle.close()


def test_clones_of_a_packed_file_do_not_disturb_each_other(tmp_path):
    """Two readers of one compressed file keep positions of their own."""
    one = open_handle(packed(tmp_path, ".gz"), packed=True)
    two = one.clone()
    assert TEXT[:300_000] == one.pread(300_000, 0)
    assert TEXT[:10] == two.pread(10, 0)
    assert TEXT[300_000:600_000] == one.pread(300_000, 300_000)
    assert TEXT[10:20] == two.pread(10, 10)
    one.close()
    assert TEXT[20:30] == two.pread(10, 20)
    two.close()


@pytest.mark.parametrize("ending", sorted(PACKERS))
def test_damaged_packed_file_is_an_oserror(tmp_path, ending):
    """What cannot be decompressed is an error of reading, never a crash."""
    path = packed(tmp_path, ending)
    with open(path, "rb") as file:
        data = bytearray(file.read())
    for index in range(len(data) // 2, len(data) // 2 + 100):
        data[index] ^= 0xFF
    with open(path, "wb") as file:
        file.write(data)
    handle = open_handle(path, packed=True)
    with pytest.raises(OSError):
        handle.pread(100 * len(TEXT), 0)
    handle.close()


def test_unfinished_packed_file_ends_early(tmp_path):
    """A compressed file that is cut off gives what is there."""
    path = packed(tmp_path, ".gz")
    with open(path, "r+b") as file:
        file.truncate(os.path.getsize(path) // 2)
    handle = open_handle(path, packed=True)
    assert TEXT[:100] == handle.pread(100, 0)
    assert len(handle.pread(len(TEXT), 0)) < len(TEXT)
    handle.close()


def make_fifo(path):
    os.mkfifo(path)


def make_directory(path):
    os.mkdir(path)


def make_socket(path):
    with socket.socket(socket.AF_UNIX) as each:
        each.bind(path)


def make_device(path):
    os.symlink("/dev/null", path)


@pytest.mark.parametrize(
    "make, kind",
    [
        (make_fifo, "a FIFO"),
        (make_directory, "a directory"),
        (make_socket, "a socket"),
        (make_device, "a character device"),
    ],
)
def test_only_regular_files_are_logs(tmp_path, make, kind, monkeypatch):
    """A FIFO, directory, socket or device is refused with a word of what it is, and nothing blocks."""
    monkeypatch.chdir(tmp_path)
    make("log")
    with pytest.raises(SourceError, match=f"log is {kind}; a log must be a regular file"):
        open_handle("log")


def test_hole_is_passed_over(tmp_path):
    """Where data begins behind a hole is told without reading the hole."""
    path = tmp_path / "log"
    with open(path, "wb") as file:
        file.seek(1 << 24)
        file.write(b"data\n")
    handle = open_handle(str(path))
    assert handle.data_after(0) in {0, 1 << 24}
    assert (1 << 24) + 5 == handle.data_after((1 << 24) + 5)
    handle.close()
