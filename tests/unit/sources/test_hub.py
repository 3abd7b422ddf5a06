from __future__ import annotations

import logging
import os

import pytest

from banguard.config.schema import LogPath
from banguard.inbox import Inbox
from banguard.model import SourceRotated, SourceTrouble
from banguard.sources.base import Subscription


@pytest.fixture
def path(tmp_path):
    return tmp_path / "app.log"


def append(path, data: bytes) -> None:
    with open(path, "ab") as file:
        file.write(data)


def dated(first: int, last: int, size: int = 90) -> bytes:
    return b"".join(b"%d %s\n" % (number, b"x" * size) for number in range(first, last))


def date_of(line: str) -> float | None:
    word = line.split(" ", 1)[0]
    return float(word) if word.isdigit() else None


def test_one_read_for_all_jails(reading, path):
    """Jails of one log get the very same block: it is read once."""
    append(path, b"one\ntwo\n")
    r = reading()
    for jail in ("a", "b", "c"):
        r.subscribe(jail, path)
    r.poll()
    blocks = [r.blocks(jail)[-1].block for jail in ("a", "b", "c")]
    assert [b"one\ntwo\n"] * 3 == blocks
    assert blocks[0] is blocks[1] is blocks[2]
    (numbers,) = r.hub.snapshot()
    assert (("a", "b", "c"), 8, 8, 0) == (numbers.jails, numbers.offset, numbers.bytes_read, numbers.behind)


def test_cursor_is_behind_the_block(reading, path):
    """Whoever goes on from the cursor of a block neither loses nor repeats a line."""
    append(path, b"one\n")
    r = reading()
    r.subscribe("j", path)
    resume = r.cursors()
    assert [b"one"] == r.lines()
    append(path, b"two\n")
    again = reading()
    again.subscribe("j", path, resume=resume)
    assert [b"two"] == again.lines()


def test_position_is_told_before_any_line(reading, path):
    """A jail learns where it begins although no line comes, so that a restart begins there."""
    append(path, b"old\n")
    r = reading()
    r.subscribe("j", path, tail=True)
    resume = r.cursors()
    assert 4 == resume[str(path)].offset
    assert [] == r.lines()
    append(path, b"while nobody reads\n")
    again = reading()
    again.subscribe("j", path, tail=True, resume=resume)
    assert [b"while nobody reads"] == again.lines()


def test_jails_with_different_positions(reading, path):
    """Each jail goes on from its own position and gets every line once; then they read together."""
    append(path, b"".join(b"%d\n" % number for number in range(10)))
    first = reading()
    first.subscribe("a", path)
    cursors = [first.cursors("a")[str(path)]]
    resumes = {}
    for jail, number in (("a", 3), ("b", 7), ("c", 5)):
        resumes[jail] = {
            str(path): type(cursors[0])(
                str(path), cursors[0].device, cursors[0].inode, number * 2, cursors[0].fingerprint
            )
        }
    r = reading(block_size=4, line_cap=3)
    for jail, resume in resumes.items():
        r.subscribe(jail, path, resume=resume)
    r.poll()
    assert [b"%d" % number for number in range(3, 10)] == r.lines("a")
    assert [b"%d" % number for number in range(7, 10)] == r.lines("b")
    assert [b"%d" % number for number in range(5, 10)] == r.lines("c")
    append(path, b"next\n")
    r.poll()
    blocks = [r.blocks(jail)[-1].block for jail in "abc"]
    assert blocks[0] is blocks[1] is blocks[2]
    # Every byte was read once, from the hindmost position on.
    assert 14 + 5 == r.hub.snapshot()[0].bytes_read


def test_jail_that_comes_later(reading, path):
    """A jail that is added while others read catches up from its own beginning and holds nobody up."""
    append(path, b"one\ntwo\n")
    r = reading()
    r.subscribe("a", path)
    assert [b"one", b"two"] == r.lines("a")
    r.subscribe("b", path)
    append(path, b"three\n")
    r.poll()
    assert [b"three"] == r.lines("a")
    assert [b"one", b"two", b"three"] == r.lines("b")
    assert 1 == len(r.hub._logs[str(path), ""].streams)


def test_full_inbox_delays_one_jail_only(reading, path, clock):
    """A jail that takes nothing stays behind; the others go on; later it gets every line once."""
    r = reading(block_size=16, line_cap=8)
    r.subscribe("slow", path, inbox=Inbox(1))
    r.subscribe("quick", path)
    append(path, b"".join(b"%03d\n" % number for number in range(100)))
    quick = []
    for _ in range(50):
        r.hub.poll()
        quick += r.inboxes["quick"].get_all(0)
        clock.advance(0.2)
    assert [b"%03d" % number for number in range(100)] == b"".join(each.block for each in quick).split()
    os.rename(path, str(path) + ".1")
    append(path, b"new\n")
    slow = []
    for _ in range(60):
        clock.advance(0.2)
        r.hub.poll()
        slow += r.inboxes["slow"].get_all(0)
        r.inboxes["quick"].get_all(0)
    assert [*(b"%03d" % number for number in range(100)), b"new"] == b"".join(each.block for each in slow).split()
    log = r.hub._logs[str(path), ""]
    assert 1 == len(log.streams)
    assert r.hub.snapshot()[0].wait_seconds > 0


def test_jails_that_catch_up_stay_together(reading, path, clock):
    """While a backlog is read, jails that are slow now and then are waited for: each block is read and scanned once."""
    scans = []

    def prefilter_for(log, subscriptions):
        def prefilter(block):
            scans.append(len(block))
            return {}

        return prefilter

    content = b"".join(b"%03d\n" % number for number in range(400))
    append(path, content)
    r = reading(block_size=16, line_cap=8, prefilter_for=prefilter_for)
    for jail in "abc":
        r.subscribe(jail, path, inbox=Inbox(2))
    taken = {jail: b"" for jail in "abc"}
    for turn in range(1000):
        r.hub.poll()
        jail = "abc"[turn % 3]
        taken[jail] += b"".join(each.block for each in r.inboxes[jail].get_all(0))
        clock.advance(0.1)
    assert {jail: content for jail in "abc"} == taken
    assert len(content) == r.hub.snapshot()[0].bytes_read == sum(scans)


def test_jails_of_about_the_same_speed_stay_together(reading, path, clock):
    """Also at the end of a log that grows quickly: a jail that has no room for a moment costs no second read."""
    content = b"".join(b"%03d\n" % number for number in range(400))
    r = reading(block_size=16, line_cap=8)
    for jail in "abc":
        r.subscribe(jail, path, inbox=Inbox(2))
    append(path, b"begin\n")
    r.poll()
    append(path, content)
    taken = {jail: b"" for jail in "abc"}
    for turn in range(2000):
        r.hub.poll()
        jail = "abc"[turn % 3]
        taken[jail] += b"".join(each.block for each in r.inboxes[jail].get_all(0) if each.live)
        clock.advance(0.001)
    assert {jail: content for jail in "abc"} == taken
    assert len(content) + 6 == r.hub.snapshot()[0].bytes_read


@pytest.mark.parametrize(("size", "milliseconds"), [(4, 15), (20, 70)])
def test_nobody_waits_for_a_slow_jail_at_the_end_of_a_log(reading, path, clock, size, milliseconds):
    """A jail that takes nothing holds the others up for some milliseconds, once; a little longer where much comes."""
    r = reading(block_size=32, line_cap=24)
    r.subscribe("slow", path, inbox=Inbox(2))
    r.subscribe("quick", path)
    line = b"%0*d\n" % (size - 1, 7)
    for number in range(9):
        append(path, line)
        r.hub.poll()
        if number == 2:
            for _ in range(milliseconds):
                clock.advance(0.001)
                r.hub.poll()
        assert line == r.inboxes["quick"].get_all(0)[-1].block


def test_all_inboxes_full_asks_to_come_again(reading, path, clock):
    """When nobody takes a block, poll says when to try again, and it is not lost."""
    r = reading()
    r.subscribe("j", path, inbox=Inbox(1))
    append(path, b"one\n")
    r.hub.poll()
    append(path, b"two\n")
    delay = r.hub.poll()
    assert 0 < delay < 0.2
    r.inboxes["j"].get_all(0)
    clock.advance(0.2)
    r.hub.poll(set())
    assert b"two\n" == r.inboxes["j"].get(0).block


def test_closed_inbox_is_left(reading, path):
    """A jail that has closed its inbox is not read for any more, and harms nobody."""
    r = reading()
    r.subscribe("gone", path)
    r.subscribe("j", path)
    r.inboxes["gone"].close()
    append(path, b"one\n")
    assert [b"one"] == r.lines("j")
    assert ("j",) == r.hub.snapshot()[0].jails
    r.hub.discover()
    assert ("j",) == r.hub.snapshot()[0].jails


def test_live_once_the_end_was_reached(reading, path):
    """Blocks are live once the log was read to its end, over a rotation too."""
    r = reading(block_size=8, line_cap=4)
    append(path, b"aaa\nbbb\nccc\nddd\n")
    r.subscribe("j", path)
    r.poll()
    assert [False, False] == [each.live for each in r.blocks()]
    append(path, b"eee\n")
    os.rename(path, str(path) + ".1")
    append(path, b"fff\n")
    r.poll()
    assert [False, False, True, True] == [each.live for each in r.blocks()]


@pytest.mark.parametrize(
    "content, live",
    [(b"no date\n", True), (b"1800000000 a\n", True), (b"1799999000 a\n", False)],
    ids=["undated", "now", "old"],
)
def test_file_that_appears_is_live_unless_it_is_old(reading, tmp_path, content, live):
    """A file that appears while we watch holds new lines; one that was moved here with old lines is caught up with."""
    r = reading()
    r.subscribe("j", tmp_path / "*.log", date_of=date_of, findtime=3600)
    r.poll()
    append(tmp_path / "new.log", content)
    r.hub.discover()
    r.poll()
    assert [live] == [each.live for each in r.blocks()]


@pytest.mark.parametrize("content", [b"", b"one\ntwo\n"], ids=["empty", "read to its end"])
@pytest.mark.parametrize("tail", [False, True], ids=["head", "tail"])
@pytest.mark.parametrize("named", [False, True], ids=["all", "changed"])
def test_live_for_a_jail_that_comes_later(reading, path, content, tail, named):
    """What is written after the log was read to its end is live for a jail that came to it later, too."""
    append(path, content)
    r = reading()
    r.subscribe("a", path)
    r.poll()
    r.poll()
    r.subscribe("b", path, tail=tail)
    r.poll([] if named else None)
    append(path, b"three\n")
    r.poll([str(path)] if named else None)
    before = [(content, False)] if content and not tail else []
    assert [*before, (b"three\n", True)] == [(each.block, each.live) for each in r.blocks("b") if each.block]


def test_live_for_a_jail_that_comes_with_the_line(reading, path):
    """A jail that comes while a line is written: what was there before is caught up with, the new line is live."""
    append(path, b"one\n")
    r = reading()
    r.subscribe("a", path)
    r.poll()
    r.subscribe("b", path)
    append(path, b"two\n")
    r.poll()
    assert [(b"one\n", False), (b"two\n", True)] == [(each.block, each.live) for each in r.blocks("b")]


def test_file_that_was_moved_here_is_not_made_live(reading, tmp_path):
    """Two jails that judge differently of an old file keep their judgement until one has read it to its end."""
    r = reading()
    r.subscribe("a", tmp_path / "*.log")
    r.subscribe("b", tmp_path / "*.log", date_of=date_of, findtime=3600)
    r.poll()
    append(tmp_path / "new.log", b"1799999000 a\n")
    r.hub.discover()
    r.poll()
    assert ([True], [False]) == tuple([each.live for each in r.blocks(jail)] for jail in "ab")
    append(tmp_path / "new.log", b"next\n")
    r.poll()
    assert ([True, True], [False, True]) == tuple([each.live for each in r.blocks(jail)] for jail in "ab")


def test_missing_log_is_live_when_it_comes(reading, path, caplog, clock):
    """A log that is missing is told once, after a moment; when it comes its lines are of now."""
    r = reading()
    r.subscribe("j", path)
    assert r.poll() == 5.0
    assert "" == caplog.text
    clock.advance(6)
    assert r.poll() is None
    assert f"{path} does not exist; waiting for it" in caplog.text
    assert [str(path)] == [fact.log for fact in r.facts if isinstance(fact, SourceTrouble)]
    caplog.clear()
    clock.advance(6)
    r.poll()
    assert "" == caplog.text
    append(path, b"one\n")
    r.poll()
    assert [(b"one\n", True)] == [(each.block, each.live) for each in r.blocks()]


def test_rotation_is_told_once(reading, path, caplog):
    """Log line and fact of a rotation come once for a log, however many jails read it."""
    caplog.set_level(1)
    append(path, b"one\n")
    r = reading()
    for jail in "abc":
        r.subscribe(jail, path)
    r.poll()
    os.rename(path, str(path) + ".1")
    append(path, b"two\n")
    r.poll()
    assert [str(path)] == [fact.log for fact in r.facts if isinstance(fact, SourceRotated)]
    assert 1 == caplog.text.count(f"Log rotation detected for {path}")
    os.truncate(path, 0)
    append(path, b"x\n")
    r.poll()
    assert 2 == caplog.text.count(f"Log rotation detected for {path}")
    assert (1, 1) == (r.hub.snapshot()[0].rotations, r.hub.snapshot()[0].truncations)


def test_log_lines_of_beginning_and_end(reading, path, caplog):
    """Added and removed logs are told in the form that others parse."""
    caplog.set_level(logging.INFO)
    append(path, b"one\n")
    r = reading()
    r.subscribe("j", path)
    r.poll()
    resume = r.cursors()
    assert f"Added logfile: '{path}' (pos = 0, hash = {resume[str(path)].fingerprint})" in caplog.messages
    r.hub.unsubscribe("j")
    assert f"Removed logfile: '{path}'" in caplog.messages
    assert {"banguard.filter"} == {record.name for record in caplog.records}


# ---- the start in an old log


def test_old_lines_are_passed_over(reading, path, clock):
    """Without a saved position a large old log is read from about findtime ago on."""
    now = int(clock.now())
    append(path, dated(now - 20_000, now))
    r = reading()
    r.subscribe("j", path, findtime=600.0, date_of=date_of)
    lines = r.lines()
    first = int(lines[0].split()[0])
    assert now - 660 - 700 < first <= now - 600
    assert now - 1 == int(lines[-1].split()[0])


def test_saved_position_is_passed_by_findtime(reading, path, clock):
    """After a long time down, lines older than findtime are passed over though they were never read."""
    now = int(clock.now())
    append(path, dated(now - 20_000, now - 19_990))
    r = reading()
    r.subscribe("j", path, date_of=date_of, findtime=1e9)
    resume = r.cursors()
    append(path, dated(now - 19_990, now))
    again = reading()
    again.subscribe("j", path, date_of=date_of, findtime=600.0, resume=resume)
    assert now - 1400 < int(again.lines()[0].split()[0]) <= now - 600


def test_tail_begins_at_the_end(reading, path):
    """With `tail` what is there is passed over, and a line in the making is given whole."""
    append(path, b"one\npart")
    r = reading()
    r.subscribe("j", path, tail=True)
    assert [] == r.lines()
    append(path, b"ial\ntwo\n")
    r.poll()
    assert [True] == [each.live for each in r.blocks()]
    assert [b"partial", b"two"] == r.lines()


def test_tail_reads_new_files_whole(reading, tmp_path):
    """With `tail` a file that appears later is read from its beginning: nothing in it is old."""
    append(tmp_path / "a.log", b"old\n")
    r = reading()
    r.subscribe("j", tmp_path / "*.log", tail=True)
    assert [] == r.lines()
    append(tmp_path / "b.log", b"new\n")
    r.hub.discover()
    assert [b"new"] == r.lines()


# ---- which logs


def test_globs_and_rotated_names(reading, tmp_path):
    """New files of a glob are read; its rotated and compressed files are no logs of their own."""
    append(tmp_path / "a.log", b"a1\n")
    append(tmp_path / "a.log.1", b"a0\n")
    r = reading()
    r.subscribe("j", tmp_path / "*.log*")
    assert [b"a1"] == r.lines()
    append(tmp_path / "b.log", b"b1\n")
    r.hub.discover()
    assert [b"b1"] == r.lines()
    os.rename(tmp_path / "a.log.1", tmp_path / "a.log.2")
    os.rename(tmp_path / "a.log", tmp_path / "a.log.1")
    append(tmp_path / "a.log", b"a2\n")
    r.hub.discover()
    assert [b"a2"] == r.lines()
    assert tuple(str(tmp_path / name) for name in ("a.log", "b.log")) == r.hub.files("j")


def test_change_of_a_subscription(reading, tmp_path):
    """A jail with other logs keeps its place in those it had; saved positions count for the new ones only."""
    for name in "abc":
        append(tmp_path / name, b"%s1\n" % name.encode())
    r = reading()
    r.subscribe("j", tmp_path / "a", tmp_path / "b")
    resume = r.cursors()
    assert [b"a1", b"b1"] == r.lines()
    for name in "abc":
        append(tmp_path / name, b"%s2\n" % name.encode())
    r.subscribe("j", tmp_path / "b", tmp_path / "c", resume=resume)
    assert [b"b2", b"c1", b"c2"] == r.lines()
    assert (str(tmp_path / "b"), str(tmp_path / "c")) == r.hub.files("j")


def test_another_inbox_is_another_beginning(reading, path):
    """A jail that is made anew, with an inbox of its own, begins at the position it gives."""
    append(path, b"one\n")
    r = reading()
    r.subscribe("j", path)
    assert [b"one"] == r.lines()
    r.subscribe("j", path, inbox=Inbox())
    assert [b"one"] == r.lines()


def test_unsubscribed_jail_gets_nothing(reading, path):
    """After the end of a subscription nothing is handed out and no file stays open."""
    before = len(os.listdir("/proc/self/fd"))
    append(path, b"one\n")
    r = reading()
    r.subscribe("j", path)
    r.lines()
    r.hub.unsubscribe("j")
    r.hub.unsubscribe("never known")
    append(path, b"two\n")
    assert [] == r.lines()
    assert before == len(os.listdir("/proc/self/fd"))
    assert () == r.hub.files("j")
    assert () == r.hub.snapshot()


def test_encodings_have_tails_of_their_own(reading, path):
    """Jails that read one log in encodings with different newlines do not share a tail; others do."""
    path.write_bytes("one\ntwo\n".encode("utf-16-le"))
    r = reading()
    r.subscribe("wide", path, encoding="utf-16-le")
    r.subscribe("narrow", path, encoding="latin-1")
    r.subscribe("other", path, encoding="utf-8")
    r.poll()
    assert ["one".encode("utf-16-le"), "two".encode("utf-16-le")] == r.lines("wide")
    assert 2 == len(r.hub.snapshot())


# ---- trouble


def test_trouble_is_told_once_and_tried_again(reading, tmp_path, caplog, clock):
    """A log that cannot be read is told once, tried again at growing distances, and read when that is over."""
    caplog.set_level(logging.INFO)
    path = tmp_path / "loop.log"
    os.symlink(path, path)
    append(tmp_path / "good.log", b"good\n")
    r = reading()
    r.subscribe("j", path, tmp_path / "good.log")
    assert [b"good"] == r.lines()
    told = f"Unable to read {path}: Too many levels of symbolic links"
    waits = []
    for _ in range(8):
        waits.append(r.poll())
        clock.advance(waits[-1])
    assert [1, 2, 4, 8, 16, 30, 30, 30] == waits
    assert 1 == caplog.messages.count(told)
    assert [told] == [fact.message for fact in r.facts]
    assert told == next(each.trouble for each in r.hub.snapshot() if each.log == str(path))
    os.unlink(path)
    append(path, b"one\n")
    clock.advance(31)
    assert [b"one"] == r.lines()
    assert f"{path} can be read again" in caplog.messages


@pytest.mark.parametrize("make, kind", [(os.mkfifo, "a FIFO"), (os.mkdir, "a directory")])
def test_what_is_no_file_is_refused(reading, path, caplog, make, kind):
    """A FIFO or directory as logpath is refused with a clear word, and harms nobody."""
    make(path)
    r = reading()
    r.subscribe("j", path)
    assert [] == r.lines()
    assert f"{path} is {kind}; a log must be a regular file" in caplog.messages


def test_long_lines_are_told_once(reading, path, caplog):
    """Lines beyond the cap are cut, counted, and told once."""
    r = reading(block_size=256, line_cap=64)
    r.subscribe("j", path)
    for _ in range(3):
        append(path, b"x" * 100 + b"\n")
        assert [b"x" * 64 + b" [...]"] == r.lines()
    assert 3 == r.hub.snapshot()[0].cut_lines
    assert 1 == len(caplog.messages)


def test_one_log_does_not_hold_up_another(reading, tmp_path):
    """A round reads some blocks of each log, so a large one does not make the others wait."""
    r = reading(block_size=64, line_cap=32)
    append(tmp_path / "large", b"line\n" * 10_000)
    append(tmp_path / "small", b"one\n")
    inbox = Inbox(100_000)
    inbox.offer = lambda item, limit=None: Inbox.offer(inbox, item)
    r.subscribe("j", tmp_path / "large", tmp_path / "small", inbox=inbox)
    assert 0 == r.hub.poll()
    logs = [each.log for each in inbox.get_all(0)]
    assert str(tmp_path / "small") in logs
    assert len(logs) < 20


# ---- prefilter


def test_prefilter_chooses_lines(reading, path, clock):
    """A prefilter says for each jail which lines may match; a jail without any is told the position now and then."""
    built = []

    def prefilter_for(log, subscriptions):
        built.append((log, sorted(each.jail for each in subscriptions)))

        def prefilter(block):
            first = block.find(b"two")
            return {"a": ((first, first + 3),) if first >= 0 else (), "b": None}

        return prefilter

    r = reading(prefilter_for=prefilter_for)
    append(path, b"one\ntwo\n")
    r.subscribe("a", path)
    r.subscribe("b", path)
    r.subscribe("c", path)
    assert (str(path), ["a", "b", "c"]) == built[-1]
    r.poll()
    assert [b"two"] == r.lines("a")
    assert [b"one", b"two"] == r.lines("b")
    assert [b"one", b"two"] == r.lines("c")
    append(path, b"three\n")
    assert 10.0 == r.poll()
    assert [] == r.taken["a"]
    clock.advance(10)
    r.poll()
    ((said),) = r.taken["a"]
    assert (b"", (), 14) == (said.block, said.spans, said.cursor.offset)


def test_prefilter_is_not_asked_about_wide_encodings(reading, path):
    """A log whose newline is not the byte 10 goes to the jail whole."""

    def prefilter_for(log, subscriptions):
        raise AssertionError

    path.write_bytes("one\n".encode("utf-16-le"))
    r = reading(prefilter_for=prefilter_for)
    r.subscribe("j", path, encoding="utf-16-le")
    assert ["one".encode("utf-16-le")] == r.lines()


# ---- what to wait for


def test_broken_prefilter_costs_speed_only(reading, path, caplog):
    """When a prefilter fails every line goes to every jail, and that is told."""

    def prefilter_for(log, subscriptions):
        def prefilter(block):
            raise RuntimeError("a bug")

        return prefilter

    r = reading(prefilter_for=prefilter_for)
    append(path, b"one\n")
    r.subscribe("j", path)
    assert [b"one"] == r.lines()
    assert f"The prefilter of {path} failed; its jails get every line" in caplog.messages


def test_date_function_that_fails(reading, path, clock):
    """When the date of a line cannot be told for an error, nothing is passed over and nothing ends."""

    def date_of(line):
        raise OverflowError

    append(path, dated(1, 3000))
    r = reading()
    r.subscribe("j", path, date_of=date_of)
    assert 2999 == len(r.lines())


def test_path_with_a_nul_byte(reading, path):
    """A path that no file can have is no log."""
    append(path, b"one\n")
    r = reading()
    r.subscribe("j", "/tmp/a\0b", path)
    assert [b"one"] == r.lines()


def test_only_changed_logs_are_visited(reading, tmp_path):
    """With a set of changed logs the others are left alone."""
    for name in "ab":
        append(tmp_path / name, b"1\n")
    r = reading()
    r.subscribe("j", tmp_path / "a", tmp_path / "b")
    r.lines()
    append(tmp_path / "a", b"2\n")
    append(tmp_path / "b", b"2\n")
    r.poll({str(tmp_path / "b")})
    assert [str(tmp_path / "b")] == [each.log for each in r.blocks()]


def test_at_rest_there_is_nothing_to_wait_for(reading, path):
    """When everything was read poll asks for no further call."""
    append(path, b"one\n")
    r = reading()
    r.subscribe("j", path)
    r.poll()
    assert r.poll() is None
    os.rename(path, str(path) + ".1")
    append(path, b"two\n")
    assert 1.0 == r.poll()


def test_renamed_file_is_let_go(reading, path, clock):
    """After a rotation the old file is watched for a minute, then there is nothing to wait for again."""
    append(path, b"one\n")
    r = reading()
    r.subscribe("j", path)
    r.poll()
    os.rename(path, str(path) + ".1")
    append(path, b"two\n")
    waits = set()
    for _ in range(70):
        waits.add(r.poll())
        clock.advance(1)
    assert {1.0, None} == waits
    assert r.poll() is None


def test_many_quiet_logs_are_closed(reading, tmp_path, clock):
    """With very many logs those that stand still for an hour are closed, and read on when they change."""
    for number in range(300):
        append(tmp_path / f"{number}.log", b"one\n")
    r = reading()
    inbox = Inbox(1000)
    inbox.offer = lambda item, limit=None: Inbox.offer(inbox, item)
    r.subscribe("j", tmp_path / "*.log", inbox=inbox)
    r.poll()
    opened = len(os.listdir("/proc/self/fd"))
    clock.advance(4000)
    for number in range(300):
        os.utime(tmp_path / f"{number}.log", (5, 5))
    r.poll()
    r.poll()
    assert len(os.listdir("/proc/self/fd")) < opened - 250
    r.taken["j"].clear()
    append(tmp_path / "7.log", b"two\n")
    assert [b"two"] == r.lines()


def test_subscription_without_logs(reading):
    """A jail without logs reads nothing and disturbs nobody."""
    r = reading()
    r.subscribe("j")
    assert r.poll() is None
    assert () == r.hub.files("j")


def test_directory_that_cannot_be_listed(reading, tmp_path, caplog, monkeypatch):
    """A directory of a glob that cannot be listed is told once."""
    (tmp_path / "dir").mkdir()
    r = reading()
    real = os.scandir

    def refuse(path):
        if str(path) == str(tmp_path / "dir"):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", refuse)
    r.subscribe("j", tmp_path / "dir" / "*.log")
    r.hub.discover()
    assert [f"Cannot list {tmp_path}/dir: Permission denied"] == caplog.messages


def test_subscription_defaults():
    """Without dates nothing is passed over."""
    assert Subscription("j", Inbox(), (LogPath("/x"),)).date_of("any line") is None
