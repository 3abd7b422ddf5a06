from __future__ import annotations

import logging
import os
import threading

import pytest

from banguard.errors import SourceError
from banguard.inbox import Inbox
from banguard.model import Cursor, SourceTrouble
from banguard.sources.base import Subscription
from banguard.sources.journald import JOURNAL, Place, line_of, match_groups, place_of, time_of
from support.journal import JournalFiles, why_no_binding, why_no_remote

# ---- entries as lines

HOST = {"_HOSTNAME": b"h"}


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({**HOST, "SYSLOG_IDENTIFIER": b"sshd", "_PID": b"7", "_COMM": b"c", "MESSAGE": b"m"}, b"h sshd[7]: m"),
        ({**HOST, "SYSLOG_IDENTIFIER": b"sshd", "SYSLOG_PID": b"8", "_PID": b"7", "MESSAGE": b"m"}, b"h sshd[8]: m"),
        ({**HOST, "_COMM": b"c", "_PID": b"7", "MESSAGE": b"m"}, b"h c[7]: m"),
        ({"SYSLOG_IDENTIFIER": b"sshd", "_PID": b"7", "MESSAGE": b"m"}, b"sshd[7]: m"),
        ({**HOST, "SYSLOG_IDENTIFIER": b"sshd", "MESSAGE": b"m"}, b"h sshd: m"),
        ({**HOST, "MESSAGE": b"m"}, b"h m"),
        ({**HOST, "_PID": b"9", "MESSAGE": b"m"}, b"h m"),
        ({"MESSAGE": b"m"}, b"m"),
        ({}, b""),
        (
            {**HOST, "SYSLOG_IDENTIFIER": b"kernel", "_SOURCE_MONOTONIC_TIMESTAMP": b"1234567", "MESSAGE": b"m"},
            b"h kernel: [    1.234567] m",
        ),
        ({**HOST, "SYSLOG_IDENTIFIER": b"kernel", "MESSAGE": b"m"}, b"h kernel: [  900.900002] m"),
        (
            {**HOST, "SYSLOG_IDENTIFIER": b"kernel", "_SOURCE_MONOTONIC_TIMESTAMP": b"x", "MESSAGE": b"m"},
            b"h kernel: [  900.900002] m",
        ),
        ({**HOST, "SYSLOG_IDENTIFIER": b"kernel", "_PID": b"3", "MESSAGE": b"m"}, b"h kernel[3]: m"),
        ({**HOST, "SYSLOG_IDENTIFIER": b"x", "MESSAGE": b"two\nlines\n"}, b"h x: two\\nlines\\n"),
        ({**HOST, "SYSLOG_IDENTIFIER": b"x\ny", "MESSAGE": b"m"}, b"h x\\ny: m"),
        ({**HOST, "SYSLOG_IDENTIFIER": b"x", "MESSAGE": b"bad \xff utf\r"}, b"h x: bad \xff utf\r"),
        ({**HOST, "SYSLOG_IDENTIFIER": [b"a", b"b"], "MESSAGE": [b"1", b"2"]}, b"h a: 1"),
    ],
)
def test_entry_as_a_line(entry, expected):
    """An entry looks like a line of a log; its newlines cannot make it two."""
    assert expected == line_of(entry, 900_900_002)


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"_SOURCE_REALTIME_TIMESTAMP": b"1795224063057367"}, 1795224063.057367),
        ({}, 1795224000.000001),
        ({"_SOURCE_REALTIME_TIMESTAMP": b"junk"}, 1795224000.000001),
    ],
)
def test_time_of_an_entry(entry, expected):
    """The time is that of the sender, else of the arrival, exact to the microsecond."""
    assert expected == time_of(entry, 1795224000000001)


# ---- what to read


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([], ()),
        ([["A=1"]], (("A=1",),)),
        ([["A=1", "B=2"], ["C=3"]], (("A=1", "B=2"), ("C=3",))),
        ([["A=1", "+", "B=2"]], (("A=1",), ("B=2",))),
        ([["+", "A=1", "+", "+"]], (("A=1",),)),
        ([["A=1"], ["A=1"]], (("A=1",),)),
        ([["_SYSTEMD_UNIT=a b=c"]], (("_SYSTEMD_UNIT=a b=c",),)),
    ],
)
def test_matches(lines, expected):
    """Lines and `+` are alternatives; the terms between them must all agree."""
    assert expected == match_groups(lines)


@pytest.mark.parametrize("term", ["nonsense", "a=1", "__CURSOR=x", "=x", "A B=1", "/usr/sbin/sshd"])
def test_bad_match_is_refused(term):
    """What journald could not take is refused with the term in the message."""
    with pytest.raises(SourceError, match="is not FIELD=value"):
        match_groups([[term]])


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, Place()),
        ({"journalpath": "/x"}, Place(path="/x")),
        ({"journalfiles": "/a/*.journal, /b\n/c"}, Place(files=("/a/*.journal", "/b", "/c"))),
        ({"journalflags": "5", "namespace": "web"}, Place(5, namespace="web")),
        ({"journalflags": "0x4", "rotated": "on"}, Place(4)),
    ],
)
def test_backend_options(options, expected):
    """The options of backend systemd say which journal."""
    assert expected == place_of(options)


@pytest.mark.parametrize(
    ("options", "word"), [({"journalflags": "all"}, "must be a number"), ({"jornalpath": "/x"}, "jornalpath")]
)
def test_bad_backend_options(options, word):
    """What cannot be understood is refused."""
    with pytest.raises(SourceError, match=word):
        place_of(options)


# ---- following real journal files

# In the past: journald moves files with entries of the future out of the way.
NOW = 1_700_000_000.0

remote = pytest.mark.skipif(bool(why_no_remote() or why_no_binding()), reason=why_no_remote() or why_no_binding())


class Following:
    """A journal source driven by hand."""

    def __init__(self, clock) -> None:
        from banguard.sources.journald import JournalSource

        self.clock = clock
        clock.time = NOW
        self.facts: list = []
        self.source = JournalSource(clock=clock, publish=self.facts.append)
        self.inboxes: dict[str, Inbox] = {}
        self.cursor: dict[str, Cursor] = {}
        self.live: list[bool] = []

    def subscribe(self, path, *matches, jail="j", inbox=None, resume=None, findtime=3600.0, **options) -> None:
        if inbox is not None or jail not in self.inboxes:
            self.inboxes[jail] = Inbox() if inbox is None else inbox
        self.source.subscribe(
            Subscription(
                jail,
                self.inboxes[jail],
                resume={JOURNAL: resume} if resume else {},
                findtime=findtime,
                journalmatch=tuple(tuple(match.split()) for match in matches),
                backend_options={"journalpath": str(path)} if path else options,
            )
        )

    def poll(self) -> float:
        for follower in self.source._followers:
            follower.changed = True
        delay = self.source.poll()
        while delay == 0:
            delay = self.source.poll()
        return delay

    def messages(self, jail="j") -> list[str]:
        self.poll()
        found = []
        for candidates in self.inboxes[jail].get_all(0):
            lines = candidates.block.decode().split("\n")[:-1]
            assert len(lines) == len(candidates.times)
            found += [line.rpartition(": ")[2] for line in lines]
            self.cursor[jail] = candidates.cursor
            self.live.append(candidates.live)
        return found

    def end(self) -> None:
        for follower in self.source._followers:
            follower.close()


@pytest.fixture
def following(clock):
    made = []

    def make() -> Following:
        made.append(Following(clock))
        return made[-1]

    yield make
    for each in made:
        each.end()


@pytest.fixture
def files(tmp_path):
    return JournalFiles(str(tmp_path / "journal"))


def entry(number, *, at=None, unit="ssh.service", **fields):
    return {
        "at": NOW - 100 + number if at is None else at,
        "MESSAGE": f"m{number}",
        "_SYSTEMD_UNIT": unit,
        "_COMM": unit.partition(".")[0],
        "SYSLOG_IDENTIFIER": "x",
        **fields,
    }


@remote
def test_entries_are_followed(following, files):
    """What is there, then what is added; with times, and live once the end was reached."""
    files.add(*(entry(number) for number in range(3)))
    f = following()
    f.subscribe(files.directory)
    assert ["m0", "m1", "m2"] == f.messages()
    files.add(entry(3))
    assert ["m3"] == f.messages()
    assert [False, True] == f.live
    assert [] == f.messages()
    assert (JOURNAL, NOW - 97) == (f.cursor["j"].log, f.cursor["j"].time)


@remote
def test_times_of_the_lines(following, files):
    """Each line has its time, that of the sender where it is known."""
    files.add(entry(1), entry(2, _SOURCE_REALTIME_TIMESTAMP="1699999999123456"))
    f = following()
    f.subscribe(files.directory)
    f.poll()
    (candidates,) = f.inboxes["j"].get_all(0)
    assert (NOW - 99, 1699999999.123456) == candidates.times
    assert None is candidates.spans


@remote
@pytest.mark.parametrize(
    ("matches", "expected"),
    [
        ([], "m0 m1 m2 m3"),
        (["_SYSTEMD_UNIT=ssh.service"], "m0 m2"),
        (["_SYSTEMD_UNIT=ssh.service _SYSTEMD_UNIT=web.service"], "m0 m1 m2"),
        (["_SYSTEMD_UNIT=ssh.service _COMM=web"], ""),
        (["_SYSTEMD_UNIT=ssh.service + _COMM=web"], "m0 m1 m2"),
        (["_COMM=web", "_COMM=ftp"], "m1 m3"),
    ],
)
def test_matches_choose_entries(following, files, matches, expected):
    """Terms of one field are alternatives, of different fields conditions; `+` and lines are alternatives."""
    units = ["ssh.service", "web.service", "ssh.service", "ftp.service"]
    files.add(*(entry(number, unit=unit) for number, unit in enumerate(units)))
    f = following()
    f.subscribe(files.directory, *matches)
    assert expected.split() == f.messages()


@remote
def test_entries_that_come_before_the_first_match(following, files):
    """Entries that come after a start at which nothing matched are not lost."""
    files.add(entry(0, unit="other.service"))
    f = following()
    f.subscribe(files.directory, "_SYSTEMD_UNIT=ssh.service")
    assert [] == f.messages()
    files.add(entry(1), entry(2))
    assert ["m1", "m2"] == f.messages()
    files.rotate(1)
    files.add(entry(3))
    assert ["m3"] == f.messages()


@remote
def test_old_entries_are_passed_over(following, files):
    """Without a saved position reading begins findtime ago."""
    files.add(*(entry(number, at=NOW - 1000 + number * 100) for number in range(10)))
    f = following()
    f.subscribe(files.directory, findtime=300.0)
    # A minute more is read, for clocks that do not agree.
    assert ["m7", "m8", "m9"] == f.messages()


@remote
def test_resume(following, files):
    """A restart goes on behind the last entry, over rotations."""
    files.add(*(entry(number) for number in range(3)))
    f = following()
    f.subscribe(files.directory)
    f.messages()
    files.rotate(1)
    files.add(entry(3), entry(4))
    files.rotate(2)
    files.add(entry(5))
    again = following()
    again.subscribe(files.directory, resume=f.cursor["j"])
    assert ["m3", "m4", "m5"] == again.messages()
    once_more = following()
    once_more.subscribe(files.directory, resume=again.cursor["j"])
    assert [] == once_more.messages()
    files.add(entry(6))
    assert ["m6"] == once_more.messages()


@remote
def test_resume_when_the_entry_is_gone(following, files):
    """A cursor whose entry was vacuumed is replaced by its time."""
    files.add(*(entry(number) for number in range(3)))
    f = following()
    f.subscribe(files.directory)
    f.messages()
    f.end()
    for name in os.listdir(files.directory):
        os.unlink(os.path.join(files.directory, name))
    files.add(entry(1, at=NOW - 99), entry(3), entry(4))
    again = following()
    again.subscribe(files.directory, resume=f.cursor["j"])
    assert ["m3", "m4"] == again.messages()


@remote
@pytest.mark.parametrize("text", ["garbage", "s=0;i=1", "\0"])
def test_resume_from_garbage(following, files, text):
    """A cursor that is none is replaced by its time."""
    files.add(*(entry(number) for number in range(3)))
    f = following()
    f.subscribe(files.directory, resume=Cursor(JOURNAL, journal=text, time=NOW - 99))
    assert ["m2"] == f.messages()


@remote
def test_resume_after_a_long_time(following, files):
    """A saved position older than findtime is passed by."""
    files.add(*(entry(number, at=NOW - 1000 + number * 100) for number in range(10)))
    f = following()
    f.subscribe(files.directory, findtime=1e6)
    f.poll()
    f.inboxes["j"].get_all(0)
    first = Cursor(JOURNAL, journal="", time=NOW - 990)
    again = following()
    again.subscribe(files.directory, resume=first, findtime=300.0)
    assert ["m7", "m8", "m9"] == again.messages()


@remote
def test_clock_that_is_set_back(following, files):
    """Entries whose time is before those already read come as well."""
    files.add(entry(5))
    f = following()
    f.subscribe(files.directory)
    assert ["m5"] == f.messages()
    f.cursor["j"] = Cursor(JOURNAL, journal="garbage", time=NOW - 95)
    again = following()
    again.subscribe(files.directory, resume=f.cursor["j"])
    files.add(entry(6))
    assert ["m6"] == again.messages()


@remote
def test_jails_with_the_same_matches_share_a_reader(following, files):
    """One reader serves all jails of one set of matches; jails with others have their own."""
    files.add(entry(0), entry(1, unit="web.service"))
    f = following()
    f.subscribe(files.directory, "_COMM=ssh", jail="a")
    f.subscribe(files.directory, "_COMM=ssh", jail="b")
    f.subscribe(files.directory, "_COMM=web", jail="c")
    f.poll()
    assert (["m0"], ["m0"], ["m1"]) == (f.messages("a"), f.messages("b"), f.messages("c"))
    assert [("a", "b"), ("c",)] == sorted(each.jails for each in f.source.snapshot())


@remote
def test_jails_with_different_positions(following, files):
    """Each jail goes on from its own position, then they share a reader."""
    files.add(*(entry(number) for number in range(4)))
    f = following()
    f.subscribe(files.directory, jail="a")
    f.messages("a")
    behind = f.cursor["a"]
    files.add(entry(4))
    again = following()
    again.subscribe(files.directory, jail="a", resume=behind)
    again.subscribe(files.directory, jail="b")
    again.poll()
    assert ["m4"] == again.messages("a")
    assert ["m0", "m1", "m2", "m3", "m4"] == again.messages("b")
    files.add(entry(5))
    assert ["m5"] == again.messages("a")
    assert ["m5"] == again.messages("b")
    assert 1 == len(again.source.snapshot())


@remote
def test_live_for_a_jail_that_comes_later(following, files):
    """What comes behind the end that one jail has seen is live for a jail that goes on from there, too."""
    files.add(entry(0))
    f = following()
    f.subscribe(files.directory, jail="a")
    assert ["m0"] == f.messages("a")
    f.subscribe(files.directory, jail="b", resume=f.cursor["a"])
    files.add(entry(1))
    assert (["m1"], ["m1"]) == (f.messages("a"), f.messages("b"))
    assert [False, True, True] == f.live


@remote
def test_full_inbox_delays_one_jail_only(following, files, clock, monkeypatch):
    """A jail that takes nothing falls behind; the others go on; later it gets every entry once."""
    monkeypatch.setattr("banguard.sources.journald._ENTRIES_PER_BLOCK", 2)
    files.add(*(entry(number) for number in range(20)))
    f = following()
    f.subscribe(files.directory, jail="slow", inbox=Inbox(1))
    f.subscribe(files.directory, jail="quick", inbox=Inbox(100))
    quick, slow = [], []
    for _ in range(30):
        f.source.poll()
        quick += f.inboxes["quick"].get_all(0)
        clock.advance(0.2)
    assert [f"m{number}" for number in range(20)] == [
        line.split(": ")[1] for each in quick for line in each.block.decode().splitlines()
    ]
    for _ in range(60):
        f.source.poll()
        slow += f.inboxes["slow"].get_all(0)
        clock.advance(0.2)
    assert [f"m{number}" for number in range(20)] == [
        line.split(": ")[1] for each in slow for line in each.block.decode().splitlines()
    ]
    f.poll()
    assert 1 == len(f.source.snapshot())


@remote
def test_change_of_a_subscription(following, files):
    """A jail that asks for other matches begins with them; for the same it goes on."""
    files.add(entry(0), entry(1, unit="web.service"))
    f = following()
    f.subscribe(files.directory, "_COMM=ssh")
    assert ["m0"] == f.messages()
    f.subscribe(files.directory, "_COMM=ssh")
    assert [] == f.messages()
    f.subscribe(files.directory, "_COMM=web", resume=f.cursor["j"])
    assert ["m1"] == f.messages()
    f.source.unsubscribe("j")
    files.add(entry(2, unit="web.service"))
    assert [] == f.messages()
    assert () == f.source.snapshot()


@remote
def test_closed_inbox_is_left(following, files):
    """A jail that has closed its inbox is not read for any more."""
    files.add(entry(0))
    f = following()
    f.subscribe(files.directory, jail="gone")
    f.inboxes["gone"].close()
    f.poll()
    assert () == f.source.snapshot()


@remote
def test_given_files(following, files):
    """`journalfiles` may be globs; files that come later are read as well."""
    files.add(entry(0))
    f = following()
    f.subscribe(None, journalfiles=f"{files.directory}/*.journal")
    assert ["m0"] == f.messages()
    files.add(entry(1))
    assert ["m1"] == f.messages()
    files.add(entry(2), name="user-1000")
    f.clock.advance(61)
    assert ["m2"] == f.messages()


@remote
def test_missing_directory_is_told_once_and_waited_for(following, files, clock, caplog):
    """A journal that is not there is told once, tried again, and read when it comes; also when it comes anew."""
    caplog.set_level(logging.INFO)
    files.remove()
    f = following()
    f.subscribe(files.directory)
    waits = []
    for _ in range(7):
        waits.append(f.poll())
        clock.advance(waits[-1])
    assert [1, 2, 4, 8, 16, 29, 30] == [round(wait) for wait in waits]
    told = f"Unable to read the journal {files.directory}: No such file or directory"
    assert 1 == caplog.messages.count(told)
    assert [told] == [fact.message for fact in f.facts if isinstance(fact, SourceTrouble)]
    assert told == f.source.snapshot()[0].trouble
    os.makedirs(files.directory)
    files.add(entry(0))
    clock.advance(31)
    assert ["m0"] == f.messages()
    assert "The journal can be read again" in caplog.messages
    files.remove()
    os.makedirs(files.directory)
    files.add(entry(1))
    clock.advance(61)
    assert ["m1"] == f.messages()


@remote
def test_journal_without_match_is_noticed(following, files, caplog):
    """That all entries are read is said."""
    caplog.set_level(logging.INFO)
    f = following()
    f.subscribe(files.directory)
    f.poll()
    assert "[j] No journalmatch is set: all entries of the journal are read" in caplog.messages


@remote
def test_thread_wakes_for_entries_and_stop(files):
    """The thread waits for the journal and ends at once when told."""
    from banguard.clock import SystemClock
    from banguard.sources.journald import JournalSource

    before = len(os.listdir("/proc/self/fd"))
    clock = SystemClock()
    source = JournalSource(clock=clock, publish=lambda _fact: None)
    files.add(entry(0, at=clock.now() - 10))
    inbox: Inbox = Inbox()
    source.subscribe(Subscription("j", inbox, backend_options={"journalpath": files.directory}))
    stop = threading.Event()
    thread = threading.Thread(target=source.run, args=(stop,))
    thread.start()
    assert b"x: m0\n" == inbox.get(5).block
    files.rotate(1)
    files.add(entry(1, at=clock.now()))
    assert b"x: m1\n" == inbox.get(5).block
    source.unsubscribe("j")
    assert () == source.snapshot()
    stop.set()
    source.wake()
    thread.join(5)
    assert not thread.is_alive()
    del source, thread
    assert before + 2 >= len(os.listdir("/proc/self/fd"))


@remote
def test_bad_subscription_is_refused_at_once(following, files):
    """The caller learns of a bad journalmatch or option, not the thread."""
    f = following()
    with pytest.raises(SourceError, match="nonsense"):
        f.subscribe(files.directory, "nonsense")
    with pytest.raises(SourceError, match="journalflags"):
        f.subscribe(None, journalflags="x")
