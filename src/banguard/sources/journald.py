"""Thread that follows the journal."""

from __future__ import annotations

import contextlib
import errno
import glob
import importlib
import importlib.machinery
import importlib.util
import logging
import os
import re
import select
import sys
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Protocol, cast

from banguard.clock import Clock
from banguard.errors import SourceError
from banguard.message import tell
from banguard.model import Candidates, Cursor, SourceMended, SourceTrouble
from banguard.sources.base import LogStats, PrefilterFor, Publish, Subscription
from banguard.sources.front import Front

logger = logging.getLogger("banguard.filter")

JOURNAL = "systemd-journal"
"""The name of the log in cursors and numbers."""

_NOTICE = 25
_ENTRIES_PER_BLOCK = 1000
_BYTES_PER_BLOCK = 256 * 1024
_BLOCKS_WAITING = 8
_DISORDER = 60.0
_RETRY_MIN, _RETRY_MAX = 1.0, 30.0
_STALL_MIN, _STALL_MAX = 0.005, 0.1
_RECHECK_EVERY = 60.0
_UNRELIABLE_EVERY = 2.0
_GATHER = 0.002

_TERM = re.compile(r"(?!__)[A-Z0-9_]{1,64}=.*", re.DOTALL)
_LOCAL_ONLY = 1
_SYSTEM_PACKAGES = "/usr/lib/python3/dist-packages"


class Binding(Protocol):
    """What is used of systemd.journal.Reader: times in microseconds, fields as bytes."""

    def add_match(self, term: str) -> None: ...
    def add_disjunction(self) -> None: ...
    def seek_realtime(self, realtime: int) -> None: ...
    def seek_cursor(self, cursor: str) -> None: ...
    def test_cursor(self, cursor: str) -> bool: ...
    def fileno(self) -> int: ...
    def get_events(self) -> int: ...
    def reliable_fd(self) -> bool: ...
    def process(self) -> int: ...
    def close(self) -> None: ...
    def _next(self) -> bool: ...
    def _get_all(self) -> Mapping[str, bytes | list[bytes]]: ...
    def _get_realtime(self) -> int: ...
    def _get_monotonic(self) -> tuple[int, bytes]: ...
    def _get_cursor(self) -> str: ...


def _load() -> ModuleType:
    """Import systemd.journal, also from the distribution's package when this Python has its own; else SourceError."""
    with contextlib.suppress(ImportError):
        return importlib.import_module("systemd.journal")
    spec = importlib.machinery.PathFinder.find_spec("systemd", [_SYSTEM_PACKAGES])
    if spec is not None and spec.loader is not None:
        package = importlib.util.module_from_spec(spec)
        sys.modules["systemd"] = package
        try:
            spec.loader.exec_module(package)
            return importlib.import_module("systemd.journal")
        except ImportError:
            del sys.modules["systemd"]
    raise SourceError(
        tell(
            "backend systemd needs the journal binding: apt-get install python3-systemd, "
            "or pip install 'banguard[journal]' (which needs libsystemd-dev, pkg-config and gcc)"
        )
    )


def check() -> None:
    """Raise SourceError when the journal binding is missing."""
    _load()


# ---- what to read


@dataclass(frozen=True, slots=True)
class Place:
    """Which journal (`backend` options): at most one of *path*, *files* and *namespace*, else by *flags*."""

    flags: int = _LOCAL_ONLY
    path: str = ""
    files: tuple[str, ...] = ()
    namespace: str = ""

    def open(self) -> Binding:
        """Open it; OSError when that is not possible."""
        reader = _load().Reader
        if self.path:
            return cast("Binding", reader(path=self.path))
        if self.files:
            files = self.present()
            if not files:
                raise FileNotFoundError(errno.ENOENT, "no such journal file", " ".join(self.files))
            return cast("Binding", reader(files=list(files)))
        if self.namespace:
            return cast("Binding", reader(flags=self.flags, namespace=self.namespace))
        return cast("Binding", reader(flags=self.flags))

    def present(self) -> tuple[str, ...]:
        """Return the files of `journalfiles` that exist."""
        return tuple(sorted({path for pattern in self.files for path in glob.glob(pattern)}))

    def mark(self) -> tuple[object, ...]:
        """Return what tells that another directory or other files are there now."""
        if not (self.path or self.files):
            return ()
        marks: list[object] = []
        for path in (self.path,) if self.path else self.present():
            with contextlib.suppress(OSError):
                status = os.stat(path)
                marks.append((path, status.st_dev, status.st_ino))
        return tuple(marks)


def place_of(options: Mapping[str, str]) -> Place:
    """Read the backend options; SourceError when one cannot be understood. `rotated` needs nothing: all is read."""
    flags = options.get("journalflags", "").strip()
    try:
        number = int(flags, 0) if flags else _LOCAL_ONLY
    except ValueError:
        raise SourceError(tell("journalflags must be a number: {flags!r}", flags=flags)) from None
    known = {"journalflags", "journalpath", "journalfiles", "namespace", "rotated"}
    if unknown := sorted(set(options) - known):
        raise SourceError(
            tell(
                "unknown option of backend systemd: {unknown}; known are {known}",
                unknown=unknown[0],
                known=", ".join(sorted(known)),
            )
        )
    return Place(
        number,
        options.get("journalpath", "").strip(),
        tuple(re.split(r"[,\s]+", options.get("journalfiles", "").strip())) if options.get("journalfiles") else (),
        options.get("namespace", "").strip(),
    )


Groups = tuple[tuple[str, ...], ...]


def match_groups(journalmatch: Iterable[Iterable[str]]) -> Groups:
    """
    Return the groups of terms any of which an entry must meet: lines are alternatives, `+` begins another one.

    SourceError when a term is not `FIELD=value`.
    """
    groups: list[tuple[str, ...]] = []
    for line in journalmatch:
        group: list[str] = []
        for term in (*line, "+"):
            if term != "+":
                if _TERM.fullmatch(term) is None:
                    raise SourceError(tell("journalmatch: {term!r} is not FIELD=value", term=term))
                group.append(term)
            elif group:
                groups.append(tuple(group))
                group = []
    return tuple(dict.fromkeys(groups))


# ---- entries as lines

Entry = Mapping[str, "bytes | list[bytes]"]


def _field(entry: Entry, *names: str) -> bytes:
    for name in names:
        value = entry.get(name)
        if value is not None:
            return value[0] if isinstance(value, list) else value
    return b""


def line_of(entry: Entry, monotonic: int) -> bytes:
    """
    Return an entry as a line of a log: `HOST IDENT[PID]: MESSAGE`.

    Newlines in it become the two characters backslash and n; a kernel message gets its stamp (*monotonic* is the time
    of its arrival since boot in microseconds, used when it brings none).
    """
    words = []
    if host := _field(entry, "_HOSTNAME"):
        words.append(host)
    if identifier := _field(entry, "SYSLOG_IDENTIFIER", "_COMM"):
        number = _field(entry, "SYSLOG_PID", "_PID")
        words.append(identifier + (b"[" + number + b"]:" if number else b":"))
        if words[-1] == b"kernel:":
            try:
                monotonic = int(_field(entry, "_SOURCE_MONOTONIC_TIMESTAMP") or monotonic)
            except ValueError:
                pass
            words.append(b"[%12.6f]" % (monotonic / 1e6))
    words.append(_field(entry, "MESSAGE"))
    return b" ".join(words).replace(b"\n", b"\\n")


def time_of(entry: Entry, realtime: int) -> float:
    """Return the time of an entry in epoch seconds: that of its sender, else of its arrival (*realtime*, in µs)."""
    try:
        return int(_field(entry, "_SOURCE_REALTIME_TIMESTAMP") or realtime) / 1e6
    except ValueError:
        return realtime / 1e6


# ---- following


@dataclass(slots=True)
class _Reader:
    subscription: Subscription
    live: bool = False


@dataclass(frozen=True, slots=True)
class _Batch:
    data: bytes
    times: tuple[float, ...]
    cursor: Cursor


class _Follower:
    """One open journal at one position, for the jails that stand there."""

    def __init__(self, place: Place, groups: Groups, reader: _Reader, resume: Cursor | None) -> None:
        self.place = place
        self.groups = groups
        self.readers = {reader.subscription.jail: reader}
        self.position = resume
        self.journal: Binding | None = None
        self.mark: tuple[object, ...] = ()
        self.batch: _Batch | None = None
        self.changed = True
        self.trouble = ""
        self.retry = 0.0
        self.due: float | None = 0.0
        self.refused_at: float | None = None
        self.blocks = self.lines = 0
        self.wait_seconds = 0.0
        self._seeking: Cursor | None = None
        self._not_before = 0
        self._oldest = 0

    def open(self, now: float, findtime: float) -> None:
        """Open the journal at the saved position, or *findtime* ago when that is later. OSError, ValueError."""
        journal = self.place.open()
        self.mark = self.place.mark()
        try:
            for number, group in enumerate(self.groups):
                if number:
                    journal.add_disjunction()
                for term in group:
                    journal.add_match(term)
            # From here on the binding watches for new files and entries.
            journal.fileno()
            self._seek(journal, now - findtime - _DISORDER)
        except BaseException:
            journal.close()
            raise
        self.journal = journal
        self.changed = True

    def _seek(self, journal: Binding, oldest: float) -> None:
        # Never seek_tail: with a match it is resolved only when an entry is read, and loses what came before that.
        self._seeking = None
        self._oldest = max(0, round(oldest * 1e6))
        self._not_before = 0
        position = self.position
        if position is not None and position.journal and (position.time >= oldest or not position.time):
            try:
                journal.seek_cursor(position.journal)
            except (ValueError, OSError):
                # No cursor at all: the time must do.
                pass
            else:
                self._seeking = position
                return
        self._seek_behind(journal, position)

    def _seek_behind(self, journal: Binding, position: Cursor | None) -> None:
        """Go to where *position* was by its time; everything later is new."""
        if position is not None and position.time:
            self._not_before = max(self._oldest, round(position.time * 1e6) + 1)
        journal.seek_realtime(max(self._oldest, self._not_before))

    def _next(self, journal: Binding) -> bool:
        """Go to the next entry that was not handed out yet."""
        while journal._next():  # noqa: SLF001  the binding's own Reader is built on these
            if self._seeking is not None:
                sought, self._seeking = self._seeking, None
                if journal.test_cursor(sought.journal):
                    continue
                # The entry is gone (vacuumed), and we landed somewhere else.
                self._seek_behind(journal, sought)
                continue
            if journal._get_realtime() >= self._not_before:  # noqa: SLF001
                # From here on the order of the journal counts, not the clock, which may be set back.
                self._not_before = 0
                return True
        return False

    def read(self) -> _Batch | None:
        """Return the next entries as lines, None at the end of the journal. OSError."""
        journal = self.journal
        if journal is None:
            return None
        lines: list[bytes] = []
        times: list[float] = []
        size = realtime = 0
        cursor = ""
        while len(lines) < _ENTRIES_PER_BLOCK and size < _BYTES_PER_BLOCK:
            if not self._next(journal):
                break
            try:
                entry = journal._get_all()  # noqa: SLF001
                realtime = journal._get_realtime()  # noqa: SLF001
                monotonic = journal._get_monotonic()[0]  # noqa: SLF001
                cursor = journal._get_cursor()  # noqa: SLF001
            except OSError as error:
                if error.errno in {errno.EBADMSG, errno.ENODATA, errno.EADDRNOTAVAIL}:
                    # A damaged entry, or one of another boot: the next ones may be whole.
                    continue
                raise
            line = line_of(entry, monotonic)
            lines.append(line)
            times.append(time_of(entry, realtime))
            size += len(line)
        if not lines:
            return None
        lines.append(b"")
        return _Batch(b"\n".join(lines), tuple(times), Cursor(JOURNAL, journal=cursor, time=realtime / 1e6))

    def close(self) -> None:
        """Close the journal; the position is kept."""
        if self.journal is not None:
            self.journal.close()
        self.journal = None


class JournalSource:
    """
    Follows the journal for all jails in one thread, with one reader for each set of matches.

    Positions are kept as cursors. A cursor whose entry was vacuumed is replaced by its time. A jail whose inbox is full
    gets a reader of its own until it has caught up.
    """

    name = "journald"

    def __init__(self, *, clock: Clock, publish: Publish, prefilter_for: PrefilterFor | None = None) -> None:
        """*prefilter_for* is not used: the matches of a jail have chosen its entries already."""
        del prefilter_for
        check()
        self._clock = clock
        self._publish = publish
        self._followers: list[_Follower] = []
        self._front = Front(self.wake)
        self._recheck_at = 0.0
        self._wake_read, self._wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    def __del__(self) -> None:
        for name in ("_wake_read", "_wake_write"):
            if (descriptor := getattr(self, name, None)) is not None:
                os.close(descriptor)

    def subscribe(self, subscription: Subscription) -> None:
        """Begin to read for a jail; SourceError when its journalmatch or options cannot be understood."""
        place = place_of(subscription.backend_options)
        groups = match_groups(subscription.journalmatch)
        self._front.order(lambda: self._subscribe(subscription, place, groups))

    def unsubscribe(self, jail: str) -> None:
        """Hand out nothing more to *jail*."""
        self._front.order(lambda: self._unsubscribe(jail), wait=True)

    def wake(self) -> None:
        """End the present wait."""
        with contextlib.suppress(BlockingIOError):
            os.write(self._wake_write, b"w")

    def files(self, _jail: str) -> tuple[str, ...]:
        """Return nothing: the journal is no list of files."""
        return ()

    def snapshot(self) -> tuple[LogStats, ...]:
        """Return the numbers of every reader."""
        return tuple(
            LogStats(
                JOURNAL,
                tuple(sorted(follower.readers)),
                blocks=follower.blocks,
                wait_seconds=follower.wait_seconds,
                trouble=follower.trouble,
                lines=follower.lines,
            )
            for follower in tuple(self._followers)
        )

    def run(self, stop: threading.Event) -> None:
        """Read until *stop* is set."""
        with self._front.serving():
            while not stop.is_set():
                self._wait(self.poll())
        for follower in self._followers:
            follower.close()

    # ---- orders

    def _subscribe(self, subscription: Subscription, place: Place, groups: Groups) -> None:
        for follower in self._followers:
            known = follower.readers.get(subscription.jail)
            if known is not None and known.subscription.inbox is subscription.inbox:
                if (follower.place, follower.groups) == (place, groups):
                    known.subscription = subscription
                    return
        self._unsubscribe(subscription.jail)
        if not groups:
            logger.log(_NOTICE, "[%s] No journalmatch is set: all entries of the journal are read", subscription.jail)
        reader = _Reader(subscription)
        self._followers.append(_Follower(place, groups, reader, subscription.resume.get(JOURNAL)))

    def _unsubscribe(self, jail: str) -> None:
        for follower in list(self._followers):
            if follower.readers.pop(jail, None) is not None and not follower.readers:
                follower.close()
                self._followers.remove(follower)

    # ---- reading

    def poll(self) -> float:
        """Read what is new; return how many seconds to wait for a sign."""
        self._front.carry_out()
        now = self._clock.monotonic()
        if now >= self._recheck_at:
            self._recheck_at = now + _RECHECK_EVERY
            self._recheck()
        self._merge()
        handed_out = False
        for follower in list(self._followers):
            if follower.changed or (follower.due is not None and follower.due <= now):
                blocks = follower.blocks
                follower.due = self._visit(follower, now)
                handed_out = handed_out or follower.blocks != blocks
        due = [follower.due for follower in self._followers if follower.due is not None]
        delay = max(0.0, min([self._recheck_at, *due]) - self._clock.monotonic())
        if handed_out and delay:
            self._gather()
        return delay

    def _recheck(self) -> None:
        """Open anew what was replaced without a word: a directory, files of a glob."""
        for follower in self._followers:
            follower.changed = True
            if follower.journal is not None and follower.mark != follower.place.mark():
                follower.close()

    def _visit(self, follower: _Follower, now: float) -> float | None:
        """Read some entries; return when to come again without a sign."""
        follower.changed = False
        try:
            if follower.journal is None:
                findtime = max(reader.subscription.findtime for reader in follower.readers.values())
                follower.open(self._clock.now(), findtime)
            else:
                # Takes the events off the descriptor; new files and removed ones are taken in here.
                follower.journal.process()
            due = self._hand_out(follower, now)
        except (OSError, ValueError) as error:
            return self._trouble(follower, error, now)
        if follower.trouble:
            logger.info("The journal can be read again")
            self._publish(SourceMended(self._clock.now(), JOURNAL))
            follower.trouble, follower.retry = "", 0.0
        return due

    def _trouble(self, follower: _Follower, error: OSError | ValueError, now: float) -> float:
        follower.close()
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        where = follower.place.path or " ".join(follower.place.files) or follower.place.namespace
        message = f"Unable to read the journal{' ' + where if where else ''}: {reason}"
        if message != follower.trouble:
            logger.error(message)
            self._publish(SourceTrouble(self._clock.now(), JOURNAL, message))
            follower.trouble, follower.retry = message, 0.0
        follower.retry = min(_RETRY_MAX, max(_RETRY_MIN, follower.retry * 2))
        return now + follower.retry

    def _hand_out(self, follower: _Follower, now: float) -> float | None:
        batch = follower.batch
        if batch is None:
            batch = follower.batch = follower.read()
        if batch is None:
            for reader in follower.readers.values():
                reader.live = True
            return None if follower.journal and follower.journal.reliable_fd() else now + _UNRELIABLE_EVERY
        refused = self._offer(follower, batch)
        if refused and not follower.readers:
            follower.readers.update(refused)
            if follower.refused_at is None:
                follower.refused_at, follower.retry = now, 0.0
            follower.retry = min(_STALL_MAX, max(_STALL_MIN, follower.retry * 2))
            return now + follower.retry
        for jail, reader in refused.items():
            other = _Follower(follower.place, follower.groups, reader, batch.cursor)
            other.batch = batch
            other.refused_at = now
            other.due = now + _STALL_MIN
            other.changed = False
            logger.debug("[%s] falls behind; the journal is read apart for it", jail)
            self._followers.append(other)
        if follower.refused_at is not None:
            follower.wait_seconds += now - follower.refused_at
            follower.refused_at = None
        follower.retry = 0.0
        follower.batch = None
        follower.position = batch.cursor
        follower.blocks += 1
        follower.lines += len(batch.times)
        if not follower.readers:
            follower.close()
            self._followers.remove(follower)
            return None
        return now

    def _offer(self, follower: _Follower, batch: _Batch) -> dict[str, _Reader]:
        """Offer entries to each jail; those that refused them are taken out and returned."""
        read_at = self._clock.now()
        refused = {}
        for jail, reader in list(follower.readers.items()):
            inbox = reader.subscription.inbox
            candidates = Candidates(JOURNAL, batch.data, batch.cursor, read_at, None, batch.times, reader.live)
            if inbox.offer(candidates, _BLOCKS_WAITING):
                continue
            del follower.readers[jail]
            if not inbox.closed:
                refused[jail] = reader
        return refused

    def _merge(self) -> None:
        """Let readers of the same entries that stand at the same place go on as one."""
        seen: dict[tuple[Place, Groups, str], _Follower] = {}
        for follower in list(self._followers):
            if follower.batch is not None or (follower.position is None and follower.journal is not None):
                continue
            at = follower.position.journal if follower.position is not None else ""
            first = seen.setdefault((follower.place, follower.groups, at), follower)
            if first is not follower:
                first.readers.update(follower.readers)
                # What comes behind the end that one of them has seen is new for each of them.
                live = any(reader.live for reader in first.readers.values())
                for reader in first.readers.values():
                    reader.live = live
                first.changed = True
                follower.close()
                self._followers.remove(follower)

    # ---- waiting

    def _wait(self, seconds: float) -> None:
        poll = select.poll()
        poll.register(self._wake_read, select.POLLIN)
        waiting: dict[int, _Follower] = {}
        for follower in self._followers:
            if follower.journal is not None and follower.batch is None:
                descriptor = follower.journal.fileno()
                poll.register(descriptor, follower.journal.get_events())
                waiting[descriptor] = follower
        for descriptor, _ in poll.poll(seconds * 1000):
            if descriptor in waiting:
                waiting[descriptor].changed = True
            else:
                self._drain_wake()

    def _drain_wake(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while os.read(self._wake_read, 512):
                pass

    def _gather(self) -> None:
        """Let a few entries gather before the next look."""
        poll = select.poll()
        poll.register(self._wake_read, select.POLLIN)
        poll.poll(_GATHER * 1000)


__all__ = ["JOURNAL", "JournalSource", "check", "line_of", "match_groups", "place_of", "time_of"]
