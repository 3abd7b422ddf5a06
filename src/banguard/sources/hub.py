"""One tail per log for all jails; scan each block once; hand out candidate lines."""

from __future__ import annotations

import errno
import locale
import logging
from collections.abc import Collection, Iterable, Mapping

from banguard.clock import Clock
from banguard.errors import SourceError
from banguard.model import Candidates, Cursor, SourceMended, SourceRotated, SourceTrouble
from banguard.sources.base import LogStats, Prefilter, PrefilterFor, Publish, Spans, Subscription
from banguard.sources.discover import Found, discover, is_glob, matches
from banguard.sources.lines import LineForm, line_form, number_of_lines
from banguard.sources.start import DateOfBytes, first_date, first_young, last_line_end
from banguard.sources.tail import BLOCK, LINE_CAP, Block, Tail

logger = logging.getLogger("banguard.filter")

# The level of the reference for notices between DEBUG and INFO.
_MSG = 18

# Blocks of one log in one round, so that other logs get their turn.
_BLOCKS_PER_ROUND = 8
# Blocks that may wait for one jail: the log is the buffer, not the memory.
_BLOCKS_WAITING = 8
_DISORDER = 60.0
_LATE_LOOK = 1.0
_MISSING_NOTICE = 5.0
_POSITION_EVERY = 10.0
_RETRY_MIN, _RETRY_MAX = 1.0, 30.0
_ROTATING_RETRY = 0.02
_STALL_MIN, _STALL_MAX = 0.002, 0.1
# How long jails wait for one that has no room: of old lines, of a burst, else at the end of a log.
_PATIENCE, _BURST_PATIENCE, _LIVE_PATIENCE = 2.0, 0.05, 0.01
_PARK_LOGS, _PARK_AFTER = 256, 3600.0
# The file must be opened anew after these.
_STALE = frozenset({errno.EIO, errno.ESTALE, errno.EBADF, errno.ENODEV, errno.ENXIO, errno.ENOTCONN})


class _Reader:
    """What one jail has of one log."""

    __slots__ = ("begin_at_end", "initial", "live", "resume", "subscription", "unsaid", "unsaid_at")

    def __init__(self, subscription: Subscription, resume: Cursor | None, *, initial: bool, at_end: bool) -> None:
        self.subscription = subscription
        self.resume = resume
        self.initial = initial
        self.begin_at_end = at_end
        self.live = False
        self.unsaid: Cursor | None = None
        self.unsaid_at = 0.0


class _Held:
    """A block that is being handed out, and the jails that have not taken it yet."""

    __slots__ = ("block", "read_at", "spans_of", "waiting")

    def __init__(
        self, block: Block, spans_of: Mapping[str, Spans | None], read_at: float, waiting: Iterable[str]
    ) -> None:
        self.block = block
        self.spans_of = spans_of
        self.read_at = read_at
        self.waiting = set(waiting)


class _Stream:
    """Jails that stand at the same place of a log; *reached* once the end of the log was there or before it."""

    __slots__ = ("begun", "held", "reached", "readers", "refused_at", "retry", "retry_at", "tail")

    def __init__(self, tail: Tail, readers: Iterable[_Reader], *, begun: bool, reached: bool = False) -> None:
        self.tail = tail
        self.reached = reached
        self.held: _Held | None = None
        self.readers = {reader.subscription.jail: reader for reader in readers}
        self.begun = begun
        self.retry = 0.0
        self.retry_at = 0.0
        self.refused_at: float | None = None

    def reach_end(self) -> None:
        """Note that what is behind this place came while the log was watched: it is live for every jail."""
        self.reached = True
        for reader in self.readers.values():
            reader.live = True


class _Log:
    """One path and encoding, with all that stands of it."""

    __slots__ = (
        "active_at",
        "behind",
        "blocks",
        "bytes_read",
        "cut_lines",
        "form",
        "jails",
        "lines",
        "missing_at",
        "missing_told",
        "offset",
        "path",
        "prefilter",
        "retry",
        "retry_at",
        "rotations",
        "streams",
        "trouble",
        "truncations",
        "wait_seconds",
    )

    def __init__(self, path: str, form: LineForm) -> None:
        self.path = path
        self.form = form
        self.streams: list[_Stream] = []
        self.prefilter: Prefilter | None = None
        self.trouble = ""
        self.retry = 0.0
        self.retry_at = 0.0
        self.missing_at: float | None = None
        self.missing_told = False
        self.active_at = 0.0
        self.blocks = self.bytes_read = self.rotations = self.truncations = self.cut_lines = 0
        self.wait_seconds = 0.0
        self.offset = self.behind = self.lines = 0
        self.jails: tuple[str, ...] = ()

    def reader(self, jail: str) -> _Reader | None:
        return next((stream.readers[jail] for stream in self.streams if jail in stream.readers), None)


class Hub:
    """
    Reads all logs of one source for all its jails. Owned by one thread, which calls `poll` when something may be new.

    Jails that stand at the same place of a log share one tail. A jail that begins elsewhere (its own saved position),
    or whose inbox is full, gets a tail of its own until it has caught up with the others. So nobody waits for a slow
    jail, and the log is the buffer.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        publish: Publish,
        prefilter_for: PrefilterFor | None = None,
        block_size: int = BLOCK,
        line_cap: int = LINE_CAP,
        linger: float = 60.0,
    ) -> None:
        self._clock = clock
        self._publish = publish
        self._prefilter_for = prefilter_for
        self._block_size = block_size
        self._line_cap = line_cap
        self._linger = linger
        self._subscriptions: dict[str, Subscription] = {}
        self._logs: dict[tuple[str, str], _Log] = {}
        self._due: dict[_Log, float] = {}
        self._files: dict[str, tuple[str, ...]] = {}
        self._forms: set[str] = set()
        self._told: set[tuple[str, str]] = set()
        self.found = Found()
        self.blocks = 0

    @property
    def has_globs(self) -> bool:
        """Whether new logs may turn up: a pattern is a glob."""
        return any(is_glob(pattern) for pattern in self.found.files)

    # ---- jails

    def subscribe(self, subscription: Subscription) -> None:
        """Begin to read for a jail, or change what it reads (see Source.subscribe)."""
        known = self._subscriptions.get(subscription.jail)
        if known is not None and known.inbox is not subscription.inbox:
            self.unsubscribe(subscription.jail)
        self._subscriptions[subscription.jail] = subscription
        self.discover(initial=subscription.jail)

    def unsubscribe(self, jail: str) -> None:
        """Stop reading for a jail."""
        if self._subscriptions.pop(jail, None) is None:
            return
        for log in list(self._logs.values()):
            self._leave(log, jail)
        self._files.pop(jail, None)
        self.discover()

    def discover(self, *, initial: str = "") -> None:
        """Expand all patterns again: begin to read what is new. *initial* is a jail that was subscribed just now."""
        patterns = {pattern for each in self._subscriptions.values() for pattern, _ in _patterns(each)}
        self.found = discover(sorted(patterns))
        self._report_errors()
        for jail, subscription in self._subscriptions.items():
            form = line_form(_encoding(subscription))
            wanted: dict[str, bool] = {}
            for pattern, at_end in _patterns(subscription):
                for path in self.found.files[pattern]:
                    wanted.setdefault(path, at_end)
            for path, at_end in wanted.items():
                self._join(path, form, subscription, initial=jail == initial, at_end=at_end)
            logs = [log for log in self._logs.values() if log.reader(jail) is not None]
            if jail == initial:
                for log in list(logs):
                    # A file that is missing at this moment still matches its glob.
                    if log.form.key != form.key or not any(
                        matches(log.path, pattern) for pattern, _ in _patterns(subscription)
                    ):
                        self._leave(log, jail)
                        logs.remove(log)
            self._files[jail] = tuple(sorted(log.path for log in logs))

    def _report_errors(self) -> None:
        errors = set(self.found.errors.items())
        for directory, message in sorted(errors - self._told):
            text = f"Cannot list {directory}: {message}"
            logger.error(text)
            self._publish(SourceTrouble(self._clock.now(), directory, text))
        self._told = errors

    def _join(self, path: str, form: LineForm, subscription: Subscription, *, initial: bool, at_end: bool) -> None:
        if subscription.inbox.closed:
            return
        log = self._logs.get((path, form.key))
        if log is None:
            self._forms.add(form.key)
            log = self._logs[path, form.key] = _Log(path, form)
        reader = log.reader(subscription.jail)
        if reader is not None:
            reader.subscription = subscription
        else:
            reader = _Reader(subscription, subscription.resume.get(path), initial=initial, at_end=at_end)
            tail = Tail(path, form, block_size=self._block_size, line_cap=self._line_cap, linger=self._linger)
            log.streams.append(_Stream(tail, [reader], begun=False))
            log.retry_at = 0.0
            self._due[log] = self._clock.monotonic()
        self._build_prefilter(log)

    def _leave(self, log: _Log, jail: str) -> None:
        for stream in list(log.streams):
            if stream.readers.pop(jail, None) is None:
                continue
            logger.info("Removed logfile: '%s'", log.path)
            if not stream.readers:
                stream.tail.close()
                log.streams.remove(stream)
        if log.streams:
            self._build_prefilter(log)
        else:
            self._logs.pop((log.path, log.form.key), None)
            self._due.pop(log, None)

    def _build_prefilter(self, log: _Log) -> None:
        if self._prefilter_for is not None and not log.form.key:
            readers = [reader for stream in log.streams for reader in stream.readers.values()]
            log.prefilter = self._prefilter_for(log.path, [reader.subscription for reader in readers])

    # ---- reading

    def poll(self, changed: Collection[str] | None = None) -> float | None:
        """
        Read what is new in the logs *changed* (None: in all), and in those that are due.

        Returns after how many seconds to call again although nothing changed: 0 when there is more to read now, None
        when there is no such time.
        """
        now = self._clock.monotonic()
        if changed is None:
            logs = list(self._logs.values())
        else:
            logs = [log for log, due in self._due.items() if due <= now]
            named = (self._logs.get((path, key)) for path in changed for key in self._forms)
            logs += [log for log in named if log is not None and log not in logs]
        for log in logs:
            due = self._visit(log, now)
            if log.streams and due is not None:
                self._due[log] = due
            else:
                self._due.pop(log, None)
        if not self._due:
            return None
        return max(0.0, min(self._due.values()) - self._clock.monotonic())

    def _visit(self, log: _Log, now: float) -> float | None:
        """Read one log; return the monotonic time when it is due again, None when only by a sign of change."""
        if now < log.retry_at:
            return log.retry_at
        try:
            due = self._advance(log, now)
        except BlockingIOError:
            # Rotated while we looked: no trouble, only not now.
            return now + _ROTATING_RETRY
        except (OSError, SourceError) as error:
            return self._trouble(log, error, now)
        if log.trouble:
            logger.info("%s can be read again", log.path)
            self._publish(SourceMended(self._clock.now(), log.path))
            log.trouble = ""
        log.retry = log.retry_at = 0.0
        return due

    def _trouble(self, log: _Log, error: OSError | SourceError, now: float) -> float:
        if isinstance(error, OSError):
            message = f"Unable to read {log.path}: {error.strerror or error}"
            if error.errno in _STALE:
                for stream in log.streams:
                    if stream.held is None:
                        stream.tail.close()
        else:
            message = str(error)
        if message != log.trouble:
            logger.error(message)
            self._publish(SourceTrouble(self._clock.now(), log.path, message))
            log.trouble = message
        log.retry = min(_RETRY_MAX, max(_RETRY_MIN, log.retry * 2))
        log.retry_at = now + log.retry
        return log.retry_at

    def _advance(self, log: _Log, now: float) -> float | None:
        due: list[float] = []
        for stream in list(log.streams):
            if not stream.begun:
                stream.begun = self._begin(log, stream)
            elif stream.held is None:
                self._look(log, stream, now)
        missing_due = self._missing(log, now)
        if missing_due is not None:
            due.append(missing_due)
        self._merge(log)
        for stream in sorted(log.streams, key=_hindmost_first):
            if stream not in log.streams or not stream.begun:
                continue
            if stream.refused_at is None and stream.tail.quiet:
                due.extend(self._say_position(log, stream, now))
            elif _waits(log, stream):
                due.append(now)
            else:
                due.extend(self._read(log, stream, now))
        due.extend(stream.retry_at for stream in log.streams if stream.refused_at is not None)
        due.extend(now + _LATE_LOOK for stream in log.streams if stream.tail.lingers)
        if log.streams:
            log.offset = log.streams[0].tail.cursor().offset
            log.behind = sum(stream.tail.behind() for stream in log.streams) if due and min(due) <= now else 0
            log.jails = tuple(sorted(jail for stream in log.streams for jail in stream.readers))
        return min(due, default=None)

    def _look(self, log: _Log, stream: _Stream, now: float) -> None:
        tail = stream.tail
        rotations, truncations = tail.rotations, tail.truncations
        tail.look(now)
        self._notice(log, stream, rotations, truncations)

    def _notice(self, log: _Log, stream: _Stream, rotations: int, truncations: int) -> None:
        """Tell of a rotation or truncation, once for all streams of the log."""
        rotated = stream.tail.rotations - rotations
        truncated = stream.tail.truncations - truncations
        if (rotated or truncated) and stream is log.streams[0]:
            log.rotations += rotated
            log.truncations += truncated
            logger.log(_MSG, "Log rotation detected for %s", log.path)
            self._publish(SourceRotated(self._clock.now(), log.path))

    def _missing(self, log: _Log, now: float) -> float | None:
        """Tell of a log that is not there, but not in the moment between renaming and creation."""
        if not all(stream.tail.missing for stream in log.streams):
            if log.missing_told:
                logger.info("%s is there now", log.path)
                self._publish(SourceMended(self._clock.now(), log.path))
            log.missing_at, log.missing_told = None, False
            return None
        if log.missing_told:
            return None
        if log.missing_at is None:
            log.missing_at = now
        if now - log.missing_at < _MISSING_NOTICE:
            return log.missing_at + _MISSING_NOTICE
        log.missing_told = True
        message = f"{log.path} does not exist; waiting for it"
        logger.warning(message)
        self._publish(SourceTrouble(self._clock.now(), log.path, message))
        return None

    def _begin(self, log: _Log, stream: _Stream) -> bool:
        """Find where a new jail begins; False when there is no file yet."""
        (reader,) = stream.readers.values()
        tail = stream.tail
        resumed = tail.open(reader.resume)
        if not tail.parts:
            reader.initial = False
            return False
        subscription = reader.subscription
        encoding = _encoding(subscription)

        def date_of(raw: bytes) -> float | None:
            line = log.form.decode(raw, encoding).rstrip("\r\n")
            try:
                return subscription.date_of(line)
            except Exception as error:  # noqa: BLE001  one line of one log must not end the reading of all
                logger.debug("[%s] No date in %r: %r", subscription.jail, line, error)
                return None

        if reader.resume is None and reader.begin_at_end and reader.initial:
            newest = tail.parts[-1]
            newest.move(last_line_end(newest.handle, newest.form))
            stream.reach_end()
        else:
            self._pass_old(tail, subscription, date_of)
            reader.live = not reader.initial and not resumed and self._is_fresh(tail, date_of)
        cursor = tail.cursor()
        if not resumed:
            # Said before any line came, so that a restart begins here and not later.
            reader.unsaid, reader.unsaid_at = cursor, -_POSITION_EVERY
        logger.info("Added logfile: '%s' (pos = %d, hash = %s)", log.path, cursor.offset, cursor.fingerprint)
        log.active_at = self._clock.monotonic()
        return True

    def _pass_old(self, tail: Tail, subscription: Subscription, date_of: DateOfBytes) -> None:
        """Pass over lines older than findtime: they could count nowhere."""
        # A little more is read: several writers of one log do not keep to the order of their dates.
        cutoff = self._clock.now() - subscription.findtime - _DISORDER
        for part in tail.parts:
            if not part.handle.packed:
                size = part.handle.stat().st_size
                offset = first_young(part.handle, part.offset, size, cutoff=cutoff, date_of=date_of, form=part.form)
                if offset != part.offset:
                    part.move(offset)

    def _is_fresh(self, tail: Tail, date_of: DateOfBytes) -> bool:
        """Whether a file that appeared under our eyes holds lines of now, not an old log that was moved here."""
        part = tail.parts[0]
        date = first_date(part.handle, part.offset, date_of, part.form)
        return date is None or date > self._clock.now() - _DISORDER

    def _merge(self, log: _Log) -> None:
        """Let streams that stand at the same place go on as one."""
        streams = [stream for stream in log.streams if stream.begun]
        for index, stream in enumerate(streams):
            for other in streams[index + 1 :]:
                if stream in log.streams and other in log.streams and stream.tail.meets(other.tail):
                    if stream.refused_at is not None or other.refused_at is not None:
                        continue
                    stream.readers.update(other.readers)
                    if stream.reached or other.reached:
                        stream.reach_end()
                    other.tail.close()
                    log.streams.remove(other)

    def _read(self, log: _Log, stream: _Stream, now: float) -> list[float]:
        """Read some blocks; return when the stream is due again."""
        if stream.refused_at is not None and now < stream.retry_at:
            return [stream.retry_at]
        for _ in range(_BLOCKS_PER_ROUND):
            if stream.held is None:
                truncations = stream.tail.truncations
                block = stream.tail.read(_limit(log, stream))
                self._notice(log, stream, stream.tail.rotations, truncations)
                if block is None:
                    stream.reach_end()
                    self._park(log, stream, now)
                    return self._say_position(log, stream, now)
                spans_of = self._scan(log, block)
                # A block without lines only moves the position.
                waiting = stream.readers if block.data else ()
                stream.held = _Held(block, spans_of, self._clock.now(), waiting)
            if not self._hand_out(log, stream, stream.held, now):
                return [stream.retry_at] if stream in log.streams else []
            self._merge(log)
            if stream not in log.streams:
                break
        return [now]

    def _scan(self, log: _Log, block: Block) -> Mapping[str, Spans | None]:
        """Ask the prefilter for the candidate lines of each jail; a jail it says nothing of gets every line."""
        if log.prefilter is None or not block.data or block.spans is not None:
            return {}
        try:
            return log.prefilter(block.data)
        except Exception:
            logger.exception("The prefilter of %s failed; its jails get every line", log.path)
            log.prefilter = None
            return {}

    def _park(self, log: _Log, stream: _Stream, now: float) -> None:
        if len(self._logs) > _PARK_LOGS and stream.tail.quiet and now - log.active_at > _PARK_AFTER:
            stream.tail.park()

    def _hand_out(self, log: _Log, stream: _Stream, held: _Held, now: float) -> bool:
        """Offer a block to the jails that have not taken it; False when it cannot be left behind yet."""
        held.waiting = {
            jail for jail in held.waiting if jail in stream.readers and not self._offer(log, stream, held, jail, now)
        }
        if not stream.readers:
            stream.tail.close()
            log.streams.remove(stream)
            return False
        if held.waiting and not self._part_from_waiting(log, stream, held, now):
            stream.retry = min(_STALL_MAX, max(_STALL_MIN, stream.retry * 2))
            stream.retry_at = now + stream.retry
            return False
        if stream.refused_at is not None:
            log.wait_seconds += now - stream.refused_at
            stream.refused_at, stream.retry = None, 0.0
        stream.held = None
        stream.tail.take(held.block)
        self._count(log, held.block, now)
        return True

    def _offer(self, log: _Log, stream: _Stream, held: _Held, jail: str, now: float) -> bool:
        """Offer a block to one jail; False when it has no room."""
        reader, block = stream.readers[jail], held.block
        spans = held.spans_of.get(jail, block.spans)
        if spans == ():
            # Nothing for this jail; only its position moves, and that is told now and then.
            reader.unsaid_at = now if reader.unsaid is None else reader.unsaid_at
            reader.unsaid = block.cursor
            return True
        inbox = reader.subscription.inbox
        candidates = Candidates(log.path, block.data, block.cursor, held.read_at, spans, None, reader.live)
        if inbox.offer(candidates, _BLOCKS_WAITING):
            reader.unsaid = None
            return True
        if inbox.closed:
            del stream.readers[jail]
            return True
        return False

    def _part_from_waiting(self, log: _Log, stream: _Stream, held: _Held, now: float) -> bool:
        """
        Let the jails that have no room go on by themselves, once the others have waited enough; True when that is done.

        Jails of about the same speed are kept together, so that each block is read and scanned once. At the end of a
        log nobody waits for longer than nobody would see.
        """
        if stream.refused_at is None:
            stream.refused_at, stream.retry = now, 0.0
        patience = _PATIENCE
        if any(reader.live for reader in stream.readers.values()):
            patience = _BURST_PATIENCE if held.block.size * 2 > self._block_size else _LIVE_PATIENCE
        if len(held.waiting) == len(stream.readers) or now - stream.refused_at < patience:
            return False
        readers = [stream.readers.pop(jail) for jail in sorted(held.waiting)]
        behind = _Stream(stream.tail.clone(), readers, begun=True, reached=stream.reached)
        behind.refused_at = stream.refused_at
        behind.retry_at = now + _STALL_MIN
        log.streams.append(behind)
        return True

    def _count(self, log: _Log, block: Block, now: float) -> None:
        log.active_at = now
        self.blocks += 1
        log.blocks += 1
        log.bytes_read += block.size
        log.lines += number_of_lines(block.data)
        if block.cut:
            if not log.cut_lines:
                logger.warning(
                    "%s has lines of more than %d bytes; only their beginning is read", log.path, self._line_cap
                )
            log.cut_lines += block.cut

    def _say_position(self, log: _Log, stream: _Stream, now: float) -> list[float]:
        """Tell jails for which no line came how far the log was read; return when to come again for that."""
        due = []
        for reader in stream.readers.values():
            if reader.unsaid is None:
                continue
            if now - reader.unsaid_at >= _POSITION_EVERY:
                said = Candidates(log.path, b"", reader.unsaid, self._clock.now(), (), None, reader.live)
                if reader.subscription.inbox.offer(said, _BLOCKS_WAITING):
                    reader.unsaid = None
                    continue
                reader.unsaid_at = now
            due.append(reader.unsaid_at + _POSITION_EVERY)
        return due

    # ---- numbers

    def files(self, jail: str) -> tuple[str, ...]:
        """Return the logs of *jail*; any thread may ask."""
        return self._files.get(jail, ())

    def snapshot(self) -> tuple[LogStats, ...]:
        """Return the numbers of every log, as of its last block; any thread may ask."""
        return tuple(
            LogStats(
                log.path,
                log.jails,
                log.offset,
                log.behind,
                log.blocks,
                log.bytes_read,
                log.rotations,
                log.truncations,
                log.cut_lines,
                log.wait_seconds,
                log.trouble or ("it does not exist" if log.missing_told else ""),
                log.lines,
            )
            for log in tuple(self._logs.values())
        )

    def close(self) -> None:
        """Close all files. Positions stay, so that `poll` could go on."""
        for log in self._logs.values():
            for stream in log.streams:
                stream.tail.close()


def _patterns(subscription: Subscription) -> list[tuple[str, bool]]:
    """Return the patterns of a jail, and whether to begin at the end; no file name has a NUL byte in it."""
    return [(entry.pattern, entry.tail) for entry in subscription.logpath if "\0" not in entry.pattern]


def _encoding(subscription: Subscription) -> str:
    if subscription.encoding.lower() != "auto":
        return subscription.encoding
    return locale.getpreferredencoding(do_setlocale=False)


def _hindmost_first(stream: _Stream) -> tuple[int, int]:
    parts = stream.tail.parts
    return -len(parts), parts[0].offset if parts else 0


def _ahead(log: _Log, stream: _Stream) -> list[_Stream]:
    """Return the streams that stand further on in the same file."""
    parts = stream.tail.parts
    if len(log.streams) == 1 or not parts:
        return []
    found = []
    for other in log.streams:
        others = other.tail.parts
        if other.begun and others and others[0].ident == parts[0].ident and others[0].offset > parts[0].offset:
            found.append(other)
    return found


def _limit(log: _Log, stream: _Stream) -> int | None:
    """Return the offset up to which *stream* may read, so that it meets the next one."""
    return min((other.tail.parts[0].offset for other in _ahead(log, stream)), default=None)


def _waits(log: _Log, stream: _Stream) -> bool:
    """Whether a stream that is catching up should let those behind it come to it, so that all go on as one."""
    if len(log.streams) == 1 or any(reader.live for reader in stream.readers.values()):
        return False
    return any(
        other.begun and other.refused_at is None and stream in _ahead(log, other)
        for other in log.streams
        if other is not stream
    )
