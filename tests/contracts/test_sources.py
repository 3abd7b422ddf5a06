"""What every source keeps: the same accidents, replayed over polling and inotify, and over the journal where they fit."""

from __future__ import annotations

import logging
import os
import threading
import time

import pytest

from banguard.clock import SystemClock
from banguard.config.schema import LogPath
from banguard.inbox import Inbox
from banguard.model import Cursor, SourceRotated
from banguard.sources import SOURCES, Subscription, open_source
from support.journal import JournalFiles, why_no_binding, why_no_remote
from support.rotating import RotatingLog

FILE_SOURCES = ["polling", "inotify"]


class Running:
    """A source in its thread, and jails that collect lines and positions."""

    def __init__(self, name: str) -> None:
        self.facts: list = []
        self.source = open_source(name, clock=SystemClock(), publish=self.facts.append)
        self.inboxes: dict[str, Inbox] = {}
        self.cursors: dict[str, dict[str, Cursor]] = {}
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.source.run, args=(self.stop,), name=f"source {name}")
        self.thread.start()

    def subscribe(self, jail, *patterns, tail=False, inbox=None, **values) -> None:
        self.inboxes[jail] = Inbox() if inbox is None else inbox
        self.cursors.setdefault(jail, {})
        logpath = tuple(LogPath(str(pattern), tail) for pattern in patterns)
        self.source.subscribe(Subscription(jail, self.inboxes[jail], logpath, **{"encoding": "utf-8", **values}))
        # Orders are taken in turn: when this one is carried out the subscription is.
        self.source.unsubscribe("nobody")

    def lines(self, count, jail="j", timeout=8.0) -> list[bytes]:
        """Wait for *count* lines, and a moment for more that should not come."""
        found: list[bytes] = []
        deadline = time.monotonic() + timeout
        while len(found) < count and time.monotonic() < deadline:
            found += self._take(jail, 0.05)
        return found + self._take(jail, 0)

    def nothing(self, jail="j", seconds=0.5) -> bool:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self._take(jail, 0.05):
                return False
        return True

    def _take(self, jail, timeout) -> list[bytes]:
        found = []
        for candidates in self.inboxes[jail].get_all(timeout):
            self.cursors[jail][candidates.cursor.log] = candidates.cursor
            spans = candidates.spans
            if spans is None:
                found += candidates.block.split(b"\n")[:-1]
            else:
                found += [candidates.block[start:end] for start, end in spans]
        return found

    def end(self) -> None:
        self.stop.set()
        self.source.wake()
        self.thread.join(10)
        assert not self.thread.is_alive()


@pytest.fixture
def start():
    made = []

    def make(name) -> Running:
        made.append(Running(name))
        return made[-1]

    yield make
    for each in made:
        each.end()


@pytest.fixture(params=FILE_SOURCES)
def running(request, start):
    return start(request.param)


@pytest.fixture
def log(tmp_path):
    made = RotatingLog(str(tmp_path / "app.log"))
    made.write(b"one\n")
    yield made
    made.close()


# ---- files


def test_lines_come_as_they_are_written(running, log):
    """What is there, then what is added; a partial line waits for its rest."""
    running.subscribe("j", log.path)
    assert [b"one"] == running.lines(1)
    log.write(b"two\nthr")
    assert [b"two"] == running.lines(1)
    log.write(b"ee\n")
    assert [b"three"] == running.lines(1)
    assert (log.path,) == running.source.files("j")


@pytest.mark.parametrize("pack", ["", ".gz"])
def test_rename_and_create(running, log, pack):
    """Lines before and after a rotation come in order, lines that the writer still adds to the old file too."""
    running.subscribe("j", log.path)
    running.lines(1)
    log.write(b"two\n")
    log.rename_create(pack=pack)
    log.write(b"three\n")
    assert [b"two", b"three"] == running.lines(2)
    if not pack:
        log.write_late(b"late\n")
        assert [b"late"] == running.lines(1)
    assert [log.path] == [fact.log for fact in running.facts if isinstance(fact, SourceRotated)]


def test_renamed_long_before_it_is_created(running, log):
    """Lines for a file that lost its name come while nobody has that name yet."""
    running.subscribe("j", log.path)
    running.lines(1)
    os.rename(log.path, log.path + ".1")
    assert running.nothing(seconds=0.3)
    log.write(b"two\n")
    assert [b"two"] == running.lines(1)


def test_copy_and_truncate(running, log):
    """A file that is emptied is begun anew; what was not read before is taken from the copy."""
    running.subscribe("j", log.path)
    running.lines(1)
    log.write(b"two\n")
    log.copytruncate()
    log.write(b"three, longer than everything before\n")
    assert [b"two", b"three, longer than everything before"] == running.lines(2)


def test_delete_and_create(running, log):
    """A new file under the name is read from its beginning."""
    running.subscribe("j", log.path)
    running.lines(1)
    log.delete_create()
    log.write(b"one\n")
    assert [b"one"] == running.lines(1)


def test_rewritten_in_place(running, log):
    """A file of the same size with other lines is noticed."""
    running.subscribe("j", log.path)
    running.lines(1)
    with open(log.path, "r+b") as file:
        file.truncate(0)
        file.write(b"uno\n")
    assert [b"uno"] == running.lines(1)


def test_link_that_is_switched(running, tmp_path):
    """A link that is switched to another file is a rotation."""
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(b"%s1\n" % name.encode())
    os.symlink("a", tmp_path / "link.log")
    running.subscribe("j", tmp_path / "link.log")
    assert [b"a1"] == running.lines(1)
    os.symlink("b", tmp_path / "new")
    os.rename(tmp_path / "new", tmp_path / "link.log")
    assert [b"b1"] == running.lines(1)


def test_missing_file_and_directory(running, tmp_path):
    """What does not exist is waited for, and again when it vanishes with its directory."""
    path = tmp_path / "dir" / "app.log"
    running.subscribe("j", path)
    for text in (b"one\n", b"two\n"):
        path.parent.mkdir()
        path.write_bytes(text)
        assert [text[:-1]] == running.lines(1)
        os.unlink(path)
        path.parent.rmdir()
        assert running.nothing(seconds=0.3)


def test_new_file_of_a_glob(running, tmp_path, log):
    """New files are noticed while running."""
    running.subscribe("j", tmp_path / "*.log")
    assert [b"one"] == running.lines(1)
    (tmp_path / "b.log").write_bytes(b"new\n")
    assert [b"new"] == running.lines(1)
    assert (log.path, str(tmp_path / "b.log")) == running.source.files("j")


def test_hostile_bytes(running, log):
    """NUL, bytes that are no text, and a line of megabytes pass or are cut; nothing stops."""
    running.subscribe("j", log.path)
    running.lines(1)
    log.write(b"\xff\0\xfe\n" + b"x" * 10_000_000 + b"\nafter\n")
    assert [b"\xff\0\xfe", b"x" * 65536 + b" [...]", b"after"] == running.lines(3)
    (numbers,) = running.source.snapshot()
    assert 1 == numbers.cut_lines


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32-be"])
def test_wide_encodings(running, tmp_path, encoding):
    """In UTF-16 and UTF-32 each line can be decoded by itself."""
    path = tmp_path / "wide.log"
    raw = "one Ċ\ntwo\n".encode(encoding)
    path.write_bytes(raw)
    running.subscribe("j", path, encoding=encoding)
    assert ["one Ċ", "two"] == [line.decode(encoding) for line in running.lines(2)]


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_file(running, tmp_path, log, caplog, make):
    """A FIFO or directory is refused with a clear word, and other logs go on."""
    make(tmp_path / "odd")
    running.subscribe("j", tmp_path / "odd", log.path)
    assert [b"one"] == running.lines(1)
    assert "a log must be a regular file" in caplog.text


def test_many_jails_one_log(running, log):
    """All jails of a log get all its lines, in one reading."""
    for number in range(20):
        running.subscribe(f"j{number}", log.path)
    log.write(b"two\n")
    for number in range(20):
        assert [b"one", b"two"] == running.lines(2, f"j{number}")
    assert 1 == len(running.source.snapshot())


def test_stalled_jail_holds_up_nobody(running, log):
    """A jail that takes nothing delays neither the others nor the stop, and has lost nothing when it goes on."""
    running.subscribe("slow", log.path, inbox=Inbox(1))
    running.subscribe("quick", log.path)
    assert [b"one"] == running.lines(1, "quick")
    for number in range(20):
        log.write(b"%d\n" % number)
        assert [b"%d" % number] == running.lines(1, "quick")
        if number == 10:
            log.rename_create()
    assert [b"one", *(b"%d" % number for number in range(20))] == running.lines(21, "slow")
    assert running.inboxes["slow"].wait_seconds > 0


@pytest.mark.parametrize("pack", ["", ".gz"])
def test_restart(start, running, log, pack):
    """A new source goes on from the positions of the old one, over rotations."""
    running.subscribe("j", log.path)
    running.lines(1)
    running.end()
    log.write(b"two\n")
    log.rename_create(pack=pack)
    log.write(b"three\n")
    again = start(running.source.name)
    again.subscribe("j", log.path, resume=running.cursors["j"])
    assert [b"two", b"three"] == again.lines(2)
    assert again.nothing()


def test_unsubscribed_jail(running, log):
    """After unsubscribing returns nothing more is handed out; others go on."""
    running.subscribe("a", log.path)
    running.subscribe("b", log.path)
    running.lines(1, "a")
    running.lines(1, "b")
    running.source.unsubscribe("a")
    assert () == running.source.files("a")
    log.write(b"two\n")
    assert [b"two"] == running.lines(1, "b")
    assert 0 == len(running.inboxes["a"])


def test_idle_and_on_again(running, log):
    """A jail that is suspended and goes on from its position, with the same inbox, misses and repeats nothing."""
    running.subscribe("j", log.path)
    running.lines(1)
    inbox, cursors = running.inboxes["j"], dict(running.cursors["j"])
    log.write(b"two\n")
    running.source.unsubscribe("j")
    inbox.get_all(0)
    log.write(b"three\n")
    running.subscribe("j", log.path, inbox=inbox, resume=cursors)
    assert [b"two", b"three"] == running.lines(2)


def test_tail_begins_at_the_end(running, log):
    """With `tail` only new lines count."""
    running.subscribe("j", log.path, tail=True)
    assert running.nothing(seconds=0.4)
    log.write(b"two\n")
    assert [b"two"] == running.lines(1)


def test_log_lines(running, log, caplog):
    """Added and removed logs and rotations are told in the forms that others parse."""
    caplog.set_level(1)
    running.subscribe("j", log.path)
    running.lines(1)
    log.rename_create()
    log.write(b"two\n")
    running.lines(1)
    running.source.unsubscribe("j")
    told = [
        (record.name, record.levelno, record.message) for record in caplog.records if record.name == "banguard.filter"
    ]
    mark = running.cursors["j"]
    assert told[0][:2] == ("banguard.filter", logging.INFO)
    assert told[0][2].startswith(f"Added logfile: '{log.path}' (pos = 0, hash = ")
    assert ("banguard.filter", 18, f"Log rotation detected for {log.path}") == told[1]
    assert ("banguard.filter", logging.INFO, f"Removed logfile: '{log.path}'") == told[2]
    assert log.path in mark


# ---- every source, the journal too


def available():
    for name in SOURCES:
        reason = (why_no_binding() or why_no_remote()) if name == "journald" else ""
        yield pytest.param(name, marks=pytest.mark.skipif(bool(reason), reason=reason))


class Feed:
    """Writes what a source reads: a log, or a journal."""

    def __init__(self, name: str, directory: str) -> None:
        self.path = os.path.join(directory, "feed.log")
        self._count = 0
        self._files = JournalFiles(os.path.join(directory, "journal")) if name == "journald" else None
        self.write("begin")

    def write(self, *texts: str) -> None:
        if self._files is None:
            with open(self.path, "a", encoding="utf-8") as file:
                file.writelines(f"x: {text}\n" for text in texts)
            return
        self._files.add(*({"at": time.time(), "MESSAGE": text, "SYSLOG_IDENTIFIER": "x"} for text in texts))

    def rotate(self) -> None:
        self._count += 1
        if self._files is not None:
            self._files.rotate(self._count)
        else:
            os.rename(self.path, f"{self.path}-2026010{self._count}")

    def subscribe(self, running, jail="j", **values) -> None:
        if self._files is not None:
            running.subscribe(jail, backend_options={"journalpath": self._files.directory}, **values)
        else:
            running.subscribe(jail, self.path, **values)


@pytest.fixture(params=available())
def any_source(request, start, tmp_path):
    return start(request.param), Feed(request.param, str(tmp_path))


def test_any_follows_over_rotation(any_source):
    """Entries come in order, before and after a rotation."""
    running, feed = any_source
    feed.subscribe(running)
    assert [b"x: begin"] == running.lines(1)
    feed.write("a", "b")
    feed.rotate()
    feed.write("c")
    assert [b"x: a", b"x: b", b"x: c"] == running.lines(3)


def test_any_resumes(any_source, start):
    """A restart from the last position neither loses nor repeats."""
    running, feed = any_source
    feed.subscribe(running)
    running.lines(1)
    running.end()
    feed.write("a")
    feed.rotate()
    feed.write("b")
    again = start(running.source.name)
    feed.subscribe(again, resume=running.cursors["j"])
    assert [b"x: a", b"x: b"] == again.lines(2)
    assert again.nothing()


def test_any_serves_many_jails(any_source):
    """Jails that come and go do not disturb each other."""
    running, feed = any_source
    for jail in ("a", "b", "c"):
        feed.subscribe(running, jail)
        assert [b"x: begin"] == running.lines(1, jail)
    running.source.unsubscribe("b")
    feed.write("more")
    assert [b"x: more"] == running.lines(1, "a")
    assert [b"x: more"] == running.lines(1, "c")
    assert running.nothing("b", 0.2)


def test_any_stops_at_once_and_leaves_nothing(any_source):
    """Stopping takes no longer than a moment, also while a jail takes nothing."""
    running, feed = any_source
    feed.subscribe(running, inbox=Inbox(1))
    feed.write("a")
    feed.write("b")
    time.sleep(0.2)
    began = time.monotonic()
    running.end()
    assert time.monotonic() - began < 1


def test_any_survives_a_closed_inbox(any_source):
    """A jail whose inbox was closed is left, and the others go on."""
    running, feed = any_source
    feed.subscribe(running, "gone")
    feed.subscribe(running, "j")
    running.inboxes["gone"].close()
    feed.write("a")
    assert [b"x: begin", b"x: a"] == running.lines(2)
