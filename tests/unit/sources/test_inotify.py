from __future__ import annotations

import errno
import gc
import logging
import os
import pathlib
import struct
import subprocess
import sys
import threading
import time

import pytest

from banguard.clock import SystemClock
from banguard.config.schema import LogPath
from banguard.errors import SourceError
from banguard.inbox import Inbox
from banguard.sources import inotify
from banguard.sources.base import Subscription
from banguard.sources.inotify import InotifySource, Watches


class Running:
    """An inotify source in its thread."""

    def __init__(self) -> None:
        self.facts: list = []
        self.source = InotifySource(clock=SystemClock(), publish=self.facts.append)
        self.inbox: Inbox = Inbox()
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.source.run, args=(self.stop,))
        self.thread.start()

    def subscribe(self, *patterns, jail="j") -> None:
        self.source.subscribe(
            Subscription(jail, self.inbox, tuple(LogPath(str(each)) for each in patterns), encoding="utf-8")
        )
        # Until the position is told, or at least the order was taken.
        self.source.unsubscribe("nobody")

    def lines(self, count: int, timeout: float = 5.0) -> list[bytes]:
        """Wait for *count* lines."""
        found: list[bytes] = []
        deadline = time.monotonic() + timeout
        while len(found) < count and time.monotonic() < deadline:
            for candidates in self.inbox.get_all(0.05):
                found += candidates.block.split(b"\n")[:-1]
        return found

    def end(self) -> None:
        self.stop.set()
        self.source.wake()
        self.thread.join(10)
        assert not self.thread.is_alive()


@pytest.fixture
def running():
    made = Running()
    yield made
    made.end()


def append(path, data: bytes) -> None:
    with open(path, "ab") as file:
        file.write(data)


@pytest.fixture
def path(tmp_path):
    append(tmp_path / "a.log", b"one\n")
    return tmp_path / "a.log"


def test_lines_arrive_at_once(running, path):
    """A line is there in milliseconds, with no timer that would bring it."""
    running.subscribe(path)
    assert [b"one"] == running.lines(1)
    times = []
    for number in range(50):
        began = time.monotonic()
        append(path, b"%d\n" % number)
        assert [b"%d" % number] == running.lines(1)
        times.append(time.monotonic() - began)
        time.sleep(0.005)
    assert sorted(times)[25] < 0.05


def test_a_file_name_that_is_no_utf8_harms_nothing(running, path):
    """Anybody who may create files cannot stop the reading by their names."""
    running.subscribe(path)
    running.lines(1)
    bad = os.fsencode(path.parent) + b"/bad\xff\n\x80.log"
    with open(bad, "w"):
        pass
    os.rename(bad, bad + b"2")
    append(path, b"two\n")
    assert [b"two"] == running.lines(1)


def test_a_log_and_directory_that_are_no_utf8(running, tmp_path):
    """A log in a directory with a name that is no UTF-8 is read."""
    directory = os.fsencode(tmp_path) + b"/d\xff"
    os.mkdir(directory)
    path = os.fsdecode(directory + b"/l\xfe.log")
    append(path, b"one\n")
    running.subscribe(path)
    assert [b"one"] == running.lines(1)
    append(path, b"two\n")
    assert [b"two"] == running.lines(1)


def test_directory_that_vanishes_and_comes_back(running, tmp_path):
    """A directory is watched again when it comes back, also when one above it was renamed."""
    path = tmp_path / "top" / "dir" / "a.log"
    path.parent.mkdir(parents=True)
    append(path, b"one\n")
    running.subscribe(path)
    assert [b"one"] == running.lines(1)
    os.unlink(path)
    os.rmdir(path.parent)
    os.mkdir(path.parent)
    append(path, b"two\n")
    assert [b"two"] == running.lines(1)
    append(path, b"three\n")
    assert [b"three"] == running.lines(1)
    os.rename(tmp_path / "top", tmp_path / "away")
    path.parent.mkdir(parents=True)
    append(path, b"four\n")
    assert [b"four"] == running.lines(1)
    append(path, b"five\n")
    assert [b"five"] == running.lines(1)


def test_missing_directories_are_waited_for(running, tmp_path):
    """A log whose directories do not exist yet is read when they are made."""
    path = tmp_path / "x" / "y" / "a.log"
    running.subscribe(path)
    path.parent.mkdir(parents=True)
    append(path, b"one\n")
    assert [b"one"] == running.lines(1)
    append(path, b"two\n")
    assert [b"two"] == running.lines(1)


def test_new_files_and_directories_of_a_glob(running, tmp_path):
    """What a glob matches later is read at once."""
    running.subscribe(tmp_path / "site*" / "*.log")
    (tmp_path / "site1").mkdir()
    append(tmp_path / "site1" / "a.log", b"one\n")
    assert [b"one"] == running.lines(1)
    append(tmp_path / "site1" / "b.log", b"two\n")
    assert [b"two"] == running.lines(1)
    append(tmp_path / "site1" / "b.log", b"three\n")
    assert [b"three"] == running.lines(1)


def test_links_that_are_switched(running, tmp_path):
    """A log that is a link, and a directory that is one, may be switched; the targets are watched where they are."""
    for name in ("d1", "d2"):
        (tmp_path / name).mkdir()
        append(tmp_path / name / "x.log", b"%s one\n" % name.encode())
    os.symlink("d1", tmp_path / "current")
    os.symlink("current/x.log", tmp_path / "link.log")
    running.subscribe(tmp_path / "link.log")
    assert [b"d1 one"] == running.lines(1)
    append(tmp_path / "d1" / "x.log", b"d1 two\n")
    assert [b"d1 two"] == running.lines(1)
    os.symlink("d2", tmp_path / "new")
    os.rename(tmp_path / "new", tmp_path / "current")
    assert [b"d2 one"] == running.lines(1)
    append(tmp_path / "d2" / "x.log", b"d2 two\n")
    assert [b"d2 two"] == running.lines(1)


def test_lost_events_cause_a_look_at_everything(tmp_path, path, caplog):
    """When the kernel's queue overflows all logs are looked at."""
    source = InotifySource(clock=SystemClock(), publish=lambda _fact: None)
    overflow = (-1, inotify._Q_OVERFLOW, "")
    source._rescan_at = 1e12
    assert set() == source._take_events([overflow])
    assert 0.0 == source._rescan_at
    assert "inotify events were lost" in caplog.text


def test_overflow_of_the_real_queue(running, path):
    """A flood of events beyond the kernel's limit loses no line."""
    running.subscribe(path)
    running.lines(1)
    limit = int(pathlib.Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    if limit > 20_000:
        pytest.skip(f"the queue holds {limit} events: too many for a quick test")
    hold = threading.Event()
    real = running.source._hub.poll
    entered = threading.Event()

    def held(changed=None):
        entered.set()
        hold.wait(30)
        return real(changed)

    running.source._hub.poll = held
    append(path, b"two\n")
    entered.wait(5)
    other = str(path.parent / "q")
    for _ in range(limit // 2 + 200):
        os.close(os.open(other, os.O_CREAT | os.O_WRONLY))
        os.unlink(other)
    append(path, b"three\n")
    hold.set()
    assert [b"two", b"three"] == running.lines(2, 20)
    append(path, b"four\n")
    assert [b"four"] == running.lines(1)


def test_stop_is_quick_and_may_come_twice(path):
    """The thread ends at once, leaves no descriptor, and waking it later harms nothing."""
    before = len(os.listdir("/proc/self/fd"))
    running = Running()
    running.subscribe(path)
    running.lines(1)
    began = time.monotonic()
    running.end()
    assert time.monotonic() - began < 1
    running.source.wake()
    running.end()
    del running
    gc.collect()
    assert before >= len(os.listdir("/proc/self/fd"))


def test_descriptors_are_not_inherited(path):
    """Programs that actions start get neither the inotify instance nor the wake descriptor."""
    running = Running()
    running.subscribe(path)
    running.lines(1)
    assert not os.get_inheritable(running.source._wake)
    assert not os.get_inheritable(running.source._watches.descriptor)
    running.end()


def test_run_can_be_called_again(path):
    """After a crash the body is called again and goes on where it was, with new watches."""
    source = InotifySource(clock=SystemClock(), publish=lambda _fact: None)
    inbox: Inbox = Inbox()
    source.subscribe(Subscription("j", inbox, (LogPath(str(path)),), encoding="utf-8"))
    stop = threading.Event()
    real, fail = source._hub.poll, [True]

    def poll(changed=None):
        due = real(changed)
        if fail.pop() if fail else False:
            raise RuntimeError("a bug")
        return due

    source._hub.poll = poll
    with pytest.raises(RuntimeError, match="a bug"):
        source.run(stop)
    append(path, b"two\n")
    thread = threading.Thread(target=source.run, args=(stop,))
    thread.start()
    found = []
    deadline = time.monotonic() + 5
    while len(found) < 2 and time.monotonic() < deadline:
        found += [each.block for each in inbox.get_all(0.05) if each.block]
    stop.set()
    source.wake()
    thread.join(10)
    assert [b"one\n", b"two\n"] == found


@pytest.mark.parametrize(("code", "hint"), [(errno.ENOSPC, "; raise fs.inotify.max_user_watches"), (errno.EACCES, "")])
def test_directories_that_cannot_be_watched_are_polled(path, caplog, monkeypatch, code, hint):
    """When a limit is reached the directory is polled by the same thread, and that is said once."""

    def refuse(self, directory, mask):
        raise OSError(code, os.strerror(code), directory)

    monkeypatch.setattr(Watches, "add", refuse)
    running = Running()
    try:
        running.subscribe(path)
        assert [b"one"] == running.lines(1)
        append(path, b"two\n")
        assert [b"two"] == running.lines(1)
        os.rename(path, str(path) + ".1")
        append(path, b"three\n")
        assert [b"three"] == running.lines(1)
    finally:
        running.end()
    told = f"Cannot watch {path.parent} ({os.strerror(code)}{hint}); polling it"
    assert 1 == caplog.messages.count(told)
    assert told in [fact.message for fact in running.facts if hasattr(fact, "message")]


def test_network_file_systems_are_polled(path, monkeypatch, caplog):
    """On a file system whose changes are made elsewhere events do not tell all: it is polled."""
    monkeypatch.setattr(inotify, "_remote_mounts", lambda: {str(path.parent): "nfs4", "/": ""})
    running = Running()
    try:
        running.subscribe(path)
        assert [b"one"] == running.lines(1)
        append(path, b"two\n")
        assert [b"two"] == running.lines(1)
    finally:
        running.end()
    assert f"Cannot watch {path.parent} (changes on a nfs4 file system are not told); polling it" in caplog.messages


@pytest.mark.parametrize(
    ("directory", "expected"),
    [("/srv/nfs/a/b", "nfs4"), ("/srv/nfs", "nfs4"), ("/srv/nfs/local/x", ""), ("/srv", ""), ("/", "")],
)
def test_kind_of_file_system(directory, expected):
    """The nearest mount point above a directory decides."""
    assert expected == inotify._kind_of(directory, {"/": "", "/srv/nfs": "nfs4", "/srv/nfs/local": ""})


def test_no_instance_to_be_had():
    """When the limit of instances is reached the error says which setting to raise, and `auto` is polling."""
    code = """
from banguard.errors import SourceError
from banguard.sources import resolve
from banguard.sources.inotify import Watches
held = []
try:
    while len(held) < 10:
        held.append(Watches())
except SourceError as error:
    print(error)
print(resolve("auto"))
"""
    # In a user namespace with a limit of its own, so that nobody else runs out of instances.
    limit = 'echo 3 > /proc/sys/user/max_inotify_instances && echo limited && exec "$@"'
    done = subprocess.run(
        ["unshare", "-Ur", "sh", "-c", limit, "sh", sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
    )
    if not done.stdout.startswith("limited"):
        pytest.skip(f"no user namespace with a limit of its own: {done.stderr.strip()}")
    expected = ["limited", "backend inotify: Too many open files; raise fs.inotify.max_user_instances", "polling"]
    assert expected == done.stdout.splitlines(), done.stderr


def test_events_are_parsed(monkeypatch):
    """Several events of one read, names with any bytes, padding."""
    watches = Watches()
    read, write = os.pipe2(os.O_NONBLOCK)
    real, watches.descriptor = watches.descriptor, read
    event = struct.Struct("iIII")
    os.write(write, event.pack(1, 2, 0, 16) + b"na\xffme".ljust(16, b"\0") + event.pack(-1, 0x4000, 0, 0))
    assert [(1, 2, "na\udcffme"), (-1, 0x4000, "")] == list(watches.read())
    assert [] == list(watches.read())
    watches.descriptor = real
    os.close(read)
    os.close(write)
    watches.close()


def test_its_logger_is_tamed():
    """pyinotify writes nothing to the standard error output by itself."""
    inotify.check()
    assert [] == logging.getLogger("pyinotify").handlers


def test_it_works_with_warnings_as_errors(tmp_path):
    """Deprecation warnings of pyinotify and asyncore reach nobody, and no program is run to find the C library."""
    code = """
import subprocess, os
def refuse(*_, **__): raise AssertionError("a program was run")
subprocess.Popen = os.posix_spawn = os.fork = refuse
from banguard.sources.inotify import check
check()
print("ok")
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert ("ok\n", "") == (done.stdout, done.stderr)


def test_missing_asyncore_is_named(monkeypatch):
    """On Python 3.12 and newer pyinotify needs asyncore from a package."""
    monkeypatch.delitem(sys.modules, "pyinotify", raising=False)
    monkeypatch.setitem(sys.modules, "asyncore", None)
    with pytest.raises(
        SourceError, match="needs pyasyncore: apt-get install python3-pyasyncore, or pip install pyasyncore"
    ):
        inotify.check()
