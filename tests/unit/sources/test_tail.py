from __future__ import annotations

import os
from dataclasses import replace

import pytest

from banguard.errors import SourceError
from banguard.model import Cursor
from banguard.sources.lines import line_form
from banguard.sources.tail import Tail
from support.rotating import RotatingLog


class Reading:
    """A tail driven by hand; small blocks."""

    def __init__(self, path, *, cursor=None, encoding="utf-8", **options) -> None:
        self.tail = Tail(
            str(path), line_form(encoding), **{"block_size": 256, "line_cap": 64, "linger": 10.0, **options}
        )
        self.found = self.tail.open(cursor)
        self.time = 0.0
        self.cursor = self.tail.cursor()
        self.cut = 0

    def lines(self, *, seconds: float = 1.0) -> list[bytes]:
        self.time += seconds
        self.tail.look(self.time)
        found = []
        while (block := self.tail.read()) is not None:
            found += block.data.split(b"\n")[:-1]
            self.tail.take(block)
            self.cursor = block.cursor
            self.cut += block.cut
        return found


@pytest.fixture
def path(tmp_path):
    return tmp_path / "app.log"


@pytest.fixture
def log(path):
    made = RotatingLog(str(path))
    yield made
    made.close()


@pytest.fixture
def read():
    made = []

    def make(path, **options) -> Reading:
        made.append(Reading(path, **options))
        return made[-1]

    yield make
    for each in made:
        each.tail.close()


def test_lines_come_as_they_are_written(path, log, read):
    """What is there, then what is added; a line is held until it is complete."""
    log.write(b"one\ntwo\npart")
    reading = read(path)
    assert [b"one", b"two"] == reading.lines()
    assert [] == reading.lines()
    log.write(b"ial\nfour\n")
    assert [b"partial", b"four"] == reading.lines()


def test_a_refused_block_comes_again(path, log, read):
    """Reading does not move; only taking does."""
    log.write(b"one\n")
    tail = read(path).tail
    assert tail.read().data == tail.read().data == b"one\n"
    assert 0 == tail.cursor().offset
    tail.take(tail.read())
    assert 4 == tail.cursor().offset
    assert tail.read() is None


def test_blocks_are_whole_lines(path, log, read):
    """A block ends where a line ends."""
    log.write(b"".join(b"line %d\n" % number for number in range(200)))
    tail = read(path).tail
    sizes = []
    while (block := tail.read()) is not None:
        assert block.data.endswith(b"\n")
        sizes.append(len(block.data))
        tail.take(block)
    assert len(log.written) == sum(sizes)
    assert max(sizes) <= 256


def test_renamed_file_is_read_to_its_end_first(path, log, read):
    """Lines written before a rotation come before those of the new file."""
    log.write(b"one\n")
    reading = read(path)
    assert [b"one"] == reading.lines()
    log.write(b"two\n")
    log.rename_create()
    log.write(b"three\n")
    assert [b"two", b"three"] == reading.lines()
    assert 1 == reading.tail.rotations


@pytest.mark.parametrize("pack", ["", ".gz", ".bz2"])
def test_several_rotations_between_two_looks(path, log, read, pack):
    """Files that had the name in between are found and read, also compressed."""
    log.write(b"one\n")
    reading = read(path)
    reading.lines()
    for number in range(2, 7):
        log.write(b"end of %d\n" % (number - 1))
        log.rename_create(pack=pack)
        log.write(b"file %d\n" % number)
    expected = [line for number in range(2, 7) for line in (b"end of %d" % (number - 1), b"file %d" % number)]
    assert expected == reading.lines()
    assert 5 == reading.tail.rotations


def test_lines_added_to_a_renamed_file(path, log, read):
    """A writer that was not told yet writes to the renamed file: its lines come, and the new file's as well."""
    log.write(b"one\n")
    reading = read(path)
    reading.lines()
    log.rename_create()
    log.write(b"new\n")
    assert [b"new"] == reading.lines()
    log.write_late(b"late\n")
    assert reading.tail.lingers
    assert [b"late"] == reading.lines()
    assert reading.cursor.inode == os.stat(path).st_ino
    assert reading.cursor.offset == 4


def test_renamed_file_is_let_go_after_a_while(path, log, read):
    """When nothing comes any more the old file is closed, and a last line without newline is given."""
    log.write(b"one\nno newline")
    reading = read(path)
    assert [b"one"] == reading.lines()
    log.rename_create()
    log.write(b"new\n")
    assert [b"new"] == reading.lines()
    assert [] == reading.lines(seconds=9)
    assert [b"no newline"] == reading.lines(seconds=11)
    assert not reading.tail.lingers
    assert [] == reading.lines(seconds=11)


@pytest.mark.parametrize(
    "before, after",
    [
        (b"one\ntwo\n", b"x\n"),
        (b"one\ntwo\n", b"uno\ndue\n"),
        (b"one\ntwo\n", b"uno\ndue\ntre\nquattro\n"),
        (b"head\none\ntwo\n", b"head\nuno\ndue\ntre\nquattro\n"),
    ],
    ids=["shorter", "same size", "longer", "longer, same first line"],
)
def test_truncation_is_noticed(path, log, read, before, after):
    """A file that was emptied is begun anew, however much was written to it before we looked."""
    log.write(before)
    reading = read(path)
    reading.lines()
    os.truncate(path, 0)
    log.write(after)
    assert after.split(b"\n")[:-1] == reading.lines()
    assert 1 == reading.tail.truncations


def test_copytruncate_with_unread_lines(path, log, read):
    """What was not read when the file was emptied is read from the copy."""
    log.write(b"one\n")
    reading = read(path)
    reading.lines()
    log.write(b"two\n")
    log.copytruncate()
    log.write(b"three\n")
    assert [b"two", b"three"] == reading.lines()


def test_emptied_between_reading_and_taking(path, log, read):
    """A file that is emptied while a block is handed out loses nothing."""
    log.write(b"one\n")
    reading = read(path)
    block = reading.tail.read()
    log.write(b"two\n")
    log.copytruncate()
    log.write(b"three, longer than everything before\n")
    reading.tail.take(block)
    assert [b"two", b"three, longer than everything before"] == reading.lines()


def test_long_line_that_comes_slowly(path, log, read):
    """How far was looked for the end of a long line is not forgotten, however little is looked at in one turn."""
    log.write(b"x" * 200_000)
    reading = read(path, block_size=128, line_cap=64)
    assert [] == reading.lines()
    assert 200_000 == reading.tail.parts[0].scanned
    log.write(b"\n")
    assert [b"x" * 64 + b" [...]"] == reading.lines()


@pytest.mark.parametrize("reused", [0, 1, 2])
def test_an_empty_file_was_compressed_and_its_number_used_again(reused, path, log, read):
    """A file of which only the number is known is not taken for another one that got the number."""
    first = read(path)
    first.lines()
    before = first.cursor
    first.tail.close()
    os.utime(path, (before.time + 1, before.time + 1))
    log.write(b"one\n")
    log.rename_create(pack=".gz")
    log.write(b"two\n")
    log.rename_create()
    log.write(b"three\n")
    taken = [path, path.parent / "app.log.1", path.parent / "app.log.2.gz"][reused]
    again = read(path, cursor=replace(before, inode=os.stat(taken).st_ino))
    assert [b"one", b"two", b"three"] == again.lines()


def test_emptied_and_left_empty(path, log, read):
    """A file that is emptied and stays so gives nothing, and later its new lines."""
    log.write(b"one\n")
    reading = read(path)
    reading.lines()
    os.truncate(path, 0)
    assert [] == reading.lines()
    log.write(b"one\n")
    assert [b"one"] == reading.lines()


def test_hole_of_a_writer_that_keeps_its_position(path, read):
    """After a truncation under a writer without O_APPEND the file begins with a hole, which is no line."""
    with open(path, "wb", buffering=0) as writer:
        writer.write(b"old line\n" * 1000)
        reading = read(path)
        assert 1000 == len(reading.lines())
        os.truncate(path, 0)
        assert [] == reading.lines()
        writer.write(b"after\n")
        assert [b"after"] == reading.lines()
        writer.write(b"more\n")
        assert [b"more"] == reading.lines()


def test_space_reserved_for_lines_is_no_hole(path, read):
    """NUL bytes at the end of a file may still become lines."""
    with open(path, "wb", buffering=0) as writer:
        writer.write(b"one\n" + b"\0" * 5000)
        reading = read(path)
        assert [b"one"] == reading.lines()
        writer.seek(4)
        writer.write(b"two\n")
        assert [b"two"] == reading.lines()
        writer.write(b"thr")
        assert [] == reading.lines()
        writer.write(b"ee\n")
        assert [b"three"] == reading.lines()


def test_deleted_and_created_anew(path, log, read):
    """A new file under the name is read from its beginning, the deleted one to its end."""
    log.write(b"one\n")
    reading = read(path)
    reading.lines()
    log.write(b"two\n")
    log.delete_create()
    log.write(b"one\n")
    assert [b"two", b"one"] == reading.lines()


def test_deleted_file_is_let_go_after_a_while(path, log, read):
    """A deleted file that nobody replaces does not keep its space on the disk for ever."""
    log.write(b"one\n")
    reading = read(path)
    reading.lines()
    os.unlink(path)
    assert [] == reading.lines()
    log.write(b"still\n")
    assert [b"still"] == reading.lines()
    assert [] == reading.lines(seconds=1)
    assert [] == reading.lines(seconds=11)
    assert () == reading.tail.parts
    path.write_bytes(b"new\n")
    assert [b"new"] == reading.lines()


def test_renamed_without_a_new_file(path, log, read):
    """A renamed file is read on while nobody has its name; after a minute without lines only a sign brings a look."""
    log.write(b"one\n")
    reading = read(path)
    reading.lines()
    os.rename(path, str(path) + ".1")
    assert [] == reading.lines()
    assert reading.tail.lingers
    log.write(b"two\n")
    assert [b"two"] == reading.lines()
    for _ in range(20):
        assert [] == reading.lines()
    assert not reading.tail.lingers
    log.write(b"three\n")
    path.write_bytes(b"four\n")
    assert [b"three", b"four"] == reading.lines()


def test_moved_away_and_back(path, log, read):
    """A file that comes back under its name is not read again."""
    log.write(b"one\n")
    reading = read(path)
    reading.lines()
    os.rename(path, str(path) + ".away")
    assert [] == reading.lines()
    os.rename(str(path) + ".away", path)
    log.write(b"two\n")
    assert [b"two"] == reading.lines()


def test_link_that_is_switched(tmp_path, path, read):
    """A link that leads to another file is a rotation."""
    (tmp_path / "a").write_bytes(b"one\n")
    (tmp_path / "b").write_bytes(b"three\n")
    os.symlink("a", path)
    reading = read(path)
    assert [b"one"] == reading.lines()
    with open(tmp_path / "a", "ab") as file:
        file.write(b"two\n")
    os.symlink("b", tmp_path / "new")
    os.rename(tmp_path / "new", path)
    assert [b"two", b"three"] == reading.lines()


def test_missing_file_is_waited_for(path, read):
    """A file that is not there yet is read when it comes."""
    reading = read(path)
    assert reading.tail.missing
    assert [] == reading.lines()
    path.write_bytes(b"one\n")
    assert [b"one"] == reading.lines()
    assert not reading.tail.missing


def test_directory_that_vanishes_and_comes_back(tmp_path, read):
    """When the directory is removed and made again, the new file is read."""
    path = tmp_path / "dir" / "app.log"
    path.parent.mkdir()
    path.write_bytes(b"one\n")
    reading = read(path)
    reading.lines()
    os.unlink(path)
    os.rmdir(path.parent)
    assert [] == reading.lines()
    path.parent.mkdir()
    path.write_bytes(b"two\n")
    assert [b"two"] == reading.lines()


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir], ids=["fifo", "directory"])
def test_what_is_no_file_is_refused(path, make):
    """A FIFO or directory under the name is an error that says so."""
    make(path)
    tail = Tail(str(path), line_form("utf-8"))
    with pytest.raises(SourceError, match="must be a regular file"):
        tail.open()
    with pytest.raises(SourceError, match="must be a regular file"):
        tail.look(1.0)


def test_binary_bytes_pass(path, log, read):
    """Bytes that are no text, carriage returns and NUL inside a line are handed out as they are."""
    log.write(b"\xff\xfe\x80\n a\0b \r\n\n")
    assert [b"\xff\xfe\x80", b" a\0b \r", b""] == read(path).lines()


def test_endless_line_takes_bounded_memory(path, log, read):
    """A line of megabytes gives its beginning once it ends; until then it is held, and read only once."""
    reading = read(path, block_size=4096, line_cap=1024)
    log.write(b"before\n" + b"x" * 10_000_000)
    lines = reading.lines()
    while reading.tail.read() is not None:
        lines += reading.lines()
    assert [b"before"] == lines
    log.write(b"x" * 1000 + b"\nafter\n")
    assert [b"x" * 1024 + b" [...]", b"after"] == reading.lines()
    assert 1 == reading.cut


def test_endless_line_over_a_restart(path, log, read):
    """The position stays before a line that is not complete, so a restart loses nothing."""
    log.write(b"before\n" + b"x" * 1000)
    reading = read(path)
    reading.lines()
    log.write(b"\nafter\n")
    resumed = read(path, cursor=reading.cursor)
    assert [b"x" * 64 + b" [...]", b"after"] == resumed.lines()


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-32", "utf-8-sig"])
def test_encodings_with_wide_newlines(path, read, encoding):
    """Lines end where the encoding says, in whatever pieces they are written."""
    text = "\n".join(["ȊĊ line", "two", "", "x" * 300, "five"]) + "\n"
    raw = text.encode(encoding)
    reading = read(path, encoding=encoding, block_size=512, line_cap=256)
    found = []
    with open(path, "wb", buffering=0) as writer:
        for start in range(0, len(raw), 7):
            writer.write(raw[start : start + 7])
            reading.time += 1
            reading.tail.look(reading.time)
            while (block := reading.tail.read()) is not None:
                spans = block.spans
                if spans is None:
                    found += [line.decode(encoding) for line in block.data.split(b"\n")[:-1]]
                else:
                    found += [block.data[first:end].decode(encoding) for first, end in spans]
                reading.tail.take(block)
    long = {"utf-8-sig": 256, "utf-16": 128, "utf-16-be": 128, "utf-32": 64}[encoding]
    assert ["ȊĊ line", "two", "", "x" * long + " [...]", "five"] == found


# ---- going on after a restart


def position(read, path):
    reading = read(path)
    reading.lines()
    reading.tail.close()
    return reading.cursor


def test_resume(path, log, read):
    """After a restart reading goes on behind the last line that was taken."""
    log.write(b"one\n")
    cursor = position(read, path)
    log.write(b"two\n")
    resumed = read(path, cursor=cursor)
    assert resumed.found
    assert [b"two"] == resumed.lines()


@pytest.mark.parametrize("pack", ["", ".gz"])
def test_resume_after_rotations(path, log, read, pack):
    """Files that were rotated or compressed while nobody read are read on, in order."""
    log.write(b"one\n")
    cursor = position(read, path)
    for number in (2, 3, 4):
        log.write(b"end %d\n" % number)
        log.rename_create(pack=pack)
        log.write(b"begin %d\n" % number)
    resumed = read(path, cursor=cursor)
    assert resumed.found
    assert [b"end 2", b"begin 2", b"end 3", b"begin 3", b"end 4", b"begin 4"] == resumed.lines()


def test_resume_after_copytruncate(path, log, read):
    """The rest of a truncated file is read from its copy."""
    log.write(b"one\n")
    cursor = position(read, path)
    log.write(b"two\n")
    log.copytruncate()
    log.write(b"three is longer than all before\n")
    assert [b"two", b"three is longer than all before"] == read(path, cursor=cursor).lines()


def test_resume_when_the_inode_was_used_again(path, log, read):
    """A new file that got the number of the old one is told by its first line."""
    log.write(b"one\n")
    cursor = position(read, path)
    os.truncate(path, 0)
    log.write(b"new and longer\n")
    resumed = read(path, cursor=cursor)
    assert not resumed.found
    assert [b"new and longer"] == resumed.lines()


def test_resume_on_another_disk(path, log, read):
    """A log that was moved to another file system keeps its first line: reading goes on."""
    log.write(b"one\n")
    cursor = position(read, path)
    log.write(b"two\n")
    elsewhere = Cursor(cursor.log, 1, 1, cursor.offset, cursor.fingerprint)
    resumed = read(path, cursor=elsewhere)
    assert resumed.found
    assert [b"two"] == resumed.lines()


def test_resume_after_the_device_got_another_number(path, log, read):
    """The number of a device may change with a boot."""
    log.write(b"one\n")
    cursor = position(read, path)
    log.rename_create()
    log.write(b"two\n")
    rebooted = Cursor(cursor.log, cursor.device + 1, cursor.inode, cursor.offset, cursor.fingerprint)
    assert [b"two"] == read(path, cursor=rebooted).lines()


def test_resume_when_everything_is_gone(path, log, read):
    """When the old file was deleted, the new one is read from its beginning."""
    log.write(b"one\n")
    cursor = position(read, path)
    log.delete_create()
    log.write(b"two\n")
    resumed = read(path, cursor=cursor)
    assert not resumed.found
    assert [b"two"] == resumed.lines()


def test_resume_while_the_name_is_missing(path, log, read):
    """Started in the moment between renaming and creation: the renamed file is read, then the new one."""
    log.write(b"one\n")
    cursor = position(read, path)
    log.write(b"two\n")
    os.rename(path, str(path) + ".1")
    resumed = read(path, cursor=cursor)
    assert [b"two"] == resumed.lines()
    path.write_bytes(b"three\n")
    assert [b"three"] == resumed.lines()


# ---- sharing and closing


def test_clone_reads_the_same(path, log, read):
    """A clone goes on by itself, over rotations too."""
    log.write(b"one\ntwo\n")
    reading = read(path)
    other = reading.tail.clone()
    assert reading.tail.meets(other)
    assert [b"one", b"two"] == reading.lines()
    assert not reading.tail.meets(other)
    log.rename_create(pack=".gz")
    log.write(b"three\n")
    assert [b"three"] == reading.lines()
    found = []
    other.look(1.0)
    while (block := other.read()) is not None:
        found += block.data.split(b"\n")[:-1]
        other.take(block)
    assert [b"one", b"two", b"three"] == found
    assert reading.tail.meets(other)
    other.close()


def test_limit(path, log, read):
    """Reading up to an offset ends there exactly, so that two readers can meet."""
    log.write(b"one\ntwo\nthree\n")
    tail = read(path).tail
    assert b"one\ntwo\n" == tail.read(8).data


def test_parked_log_is_opened_by_a_change(path, log, read):
    """A quiet log may be closed to save descriptors; nothing is lost or read twice."""
    log.write(b"one\n")
    reading = read(path)
    reading.lines()
    reading.tail.look(5.0)
    reading.tail.park()
    assert () == reading.tail.parts
    assert [] == reading.lines()
    assert () == reading.tail.parts
    log.write(b"two\n")
    log.rename_create()
    log.write(b"three\n")
    assert [b"two", b"three"] == reading.lines()


def test_quiet_log_is_not_read(path, log, read):
    """When size and time stand still there is nothing to read."""
    log.write(b"one\npart")
    reading = read(path)
    reading.lines()
    reading.tail.look(5.0)
    assert reading.tail.quiet
    log.write(b"ial\n")
    reading.tail.look(6.0)
    assert not reading.tail.quiet


def test_reader_that_stands_still(path, log, read):
    """The number of open old files is bounded; those that are left aside are found later, and nothing is lost."""
    log.keep = 1000
    log.write(b"0\n")
    reading = read(path)
    for number in range(1, 150):
        log.rename_create(pack=".gz" if number % 3 == 0 else "")
        log.write(b"%d\n" % number)
        reading.tail.look(float(number))
    assert 64 == len(reading.tail.parts)
    lines = reading.lines() + reading.lines() + reading.lines()
    assert [b"%d" % number for number in range(150)] == lines
    assert 149 == reading.tail.rotations


def test_restart_after_very_many_rotations(path, log, read):
    """So it is when all those files came while nobody read."""
    log.keep = 1000
    log.write(b"0\n")
    cursor = position(read, path)
    for number in range(1, 150):
        log.rename_create()
        log.write(b"%d\n" % number)
    resumed = read(path, cursor=cursor)
    assert len(resumed.tail.parts) <= 65
    lines = resumed.lines() + resumed.lines() + resumed.lines()
    assert [b"%d" % number for number in range(1, 150)] == lines


def test_nothing_stays_open(path, log, read):
    """Closing closes everything."""
    before = len(os.listdir("/proc/self/fd"))
    log.write(b"one\n")
    reading = read(path)
    for _ in range(3):
        log.rename_create(pack=".gz")
        log.write(b"more\n")
    reading.lines()
    reading.tail.close()
    assert before == len(os.listdir("/proc/self/fd"))
