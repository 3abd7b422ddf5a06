"""Read one growing file in blocks: partial lines, rotation, truncation. No thread, no waiting."""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

from banguard.model import Cursor
from banguard.sources.base import Spans
from banguard.sources.cursor import HEAD, FileId, fingerprint, first_line
from banguard.sources.handles import Handle, open_handle, require_regular
from banguard.sources.lines import LineForm
from banguard.sources.rotated import Known, has_packed_since, identify, open_chain

BLOCK = 256 * 1024
LINE_CAP = 64 * 1024

_LAST = 64
_MAX_PARTS = 64
_MAX_LATE = 4
_SEEN = 32
_CHUNKS = 16
_MARK_ROOM = 64
# A float of epoch seconds is that many nanoseconds off.
_TIME_ROUNDING = 1000
_ATTEMPTS = 20
# Seconds after the time to let go at which looks still come.
_SLACK = 5.0


class Part:
    """One file of a log, held open, and how far it was read. *offset* is always where a line begins."""

    __slots__ = ("fingerprint", "form", "grew_at", "handle", "head", "last", "offset", "scanned")

    def __init__(self, handle: Handle, form: LineForm, offset: int = 0) -> None:
        self.handle = handle
        self.form = form
        self.head = b""
        self.fingerprint = ""
        self.grew_at: float | None = None
        self.scanned = offset
        self.offset = offset
        self.last = b""
        self.learn_head()
        self.move(offset)

    @property
    def ident(self) -> FileId:
        """Device and inode."""
        return self.handle.ident

    def learn_head(self, head: bytes | None = None) -> None:
        """Take what there is of the first line, from *head* (the beginning of the file) when that was read just now."""
        if head is None:
            head = self.handle.pread(HEAD, 0)
        self.form = self.form.settle(head)
        end = self.form.first_end(head)
        line = first_line(head, end)
        # A hole at the beginning may still be filled: it says nothing about the file.
        self.head = line if line.strip(b"\0") else b""
        self.fingerprint = fingerprint(line, complete=end >= 0 or len(head) >= HEAD)

    def move(self, offset: int, last: bytes | None = None) -> None:
        """Stand at *offset*, where a line begins; *last* are the bytes before it, when they were read already."""
        self.offset = self.scanned = offset
        self.last = self.bytes_before(offset) if last is None else last

    def bytes_before(self, offset: int) -> bytes:
        """Read what a later read is compared with."""
        count = min(_LAST, offset)
        return self.handle.pread(count, offset - count) if count and not self.handle.packed else b""

    def restart(self) -> None:
        """Stand at the beginning of a file that was emptied."""
        self.offset = self.scanned = 0
        self.last = b""
        self.learn_head()

    def grown(self) -> bool:
        """Whether there is more in the file than was looked at."""
        return not self.handle.packed and self.handle.stat().st_size > self.scanned

    def clone(self) -> Part:
        """Return the same position on a file descriptor of its own."""
        other = object.__new__(Part)
        for name in self.__slots__:
            setattr(other, name, getattr(self, name))
        other.handle = self.handle.clone()
        return other


@dataclass(frozen=True, slots=True)
class Block:
    """
    What one read gave: whole lines ready to hand out, or nothing (*data* empty) when only the position moves.

    *part* will stand at *offset* once the block is taken, *last* are the bytes before that, and *cursor* is the
    position of the log then. *size* is what was read of the file. *cut* counts lines that were longer than the cap.
    *final* marks the last line of a file that will never end it.
    """

    data: bytes
    spans: Spans | None
    cut: int
    size: int
    part: Part
    offset: int
    last: bytes
    cursor: Cursor
    final: bool = False


class _Rewritten(Exception):  # noqa: N818  not an error, and caught here
    """The file is no longer the one that was read so far: it was emptied and written anew."""


class Tail:
    """
    Make one path look like one everlasting file.

    The files that bore the name are kept open until they were read to their end. `look` notices renaming, deletion and
    links that point elsewhere; `read` gives blocks in the order of writing without moving, and notices truncation;
    `take` moves behind a block. So whoever refuses a block gets it again. A file that lost its name is watched for
    lines that its writer still adds, until none came for *linger* seconds.

    Errors of the system (OSError) and SourceError (no regular file) come out of `open`, `look` and `read`; the position
    is then as before, and `close` followed by `look` opens everything anew.
    """

    def __init__(
        self, path: str, form: LineForm, *, block_size: int = BLOCK, line_cap: int = LINE_CAP, linger: float = 60.0
    ) -> None:
        self.path = path
        self.missing = True
        self.rotations = 0
        self.truncations = 0
        self._form = form
        self._block_size = block_size
        self._line_cap = line_cap
        self._linger = linger
        self._parts: deque[Part] = deque()
        self._late: list[Part] = []
        self._finished: list[Part] = []
        self._seen: deque[str] = deque(maxlen=_SEEN)
        self._cursor = Cursor(path)
        self._quiet: tuple[int, int] | None = None
        self._gone_at: float | None = None
        self._looked_at = 0.0
        self._parked: tuple[FileId, int, int] | None = None

    # ---- opening

    def open(self, cursor: Cursor | None = None) -> bool:
        """
        Begin behind *cursor*, else at the beginning of the file; return whether *cursor* was found.

        The file it speaks of may have been renamed or compressed since; then that is read to its end first, then those
        that came between.
        """
        self._cursor = replace(cursor, log=self.path) if cursor is not None else Cursor(self.path)
        if cursor is None or not (cursor.inode or cursor.fingerprint):
            self._add(self._open_named())
            return False
        since = round(cursor.time * 1e9) + _TIME_ROUNDING if cursor.time else 0
        known = Known((cursor.device, cursor.inode), cursor.offset, cursor.fingerprint, mtime_ns=since)
        # Of a file that was empty only the number is known, which another one has once it was compressed.
        is_sure = bool(cursor.fingerprint) or not has_packed_since(self.path, since)
        handle, chain = self._open_with_chain(
            known, lambda handle: is_sure and _is_at(handle, cursor, self._form, same_inode=True)
        )
        if chain is None:
            self._add(handle, cursor.offset)
            return True
        own, later = chain
        # Moved to another disk, or restored: another inode with the same beginning.
        moved = (
            own is None
            and not later
            and handle is not None
            and bool(cursor.fingerprint)
            and _is_at(handle, cursor, self._form, same_inode=False)
        )
        self._add(own, cursor.offset)
        self._add_all(later, handle, cursor.offset if moved else 0)
        return moved or own is not None

    def _open_named(self) -> Handle | None:
        """Open the file that has the name now."""
        try:
            handle = open_handle(self.path)
        except (FileNotFoundError, NotADirectoryError):
            self.missing = True
            return None
        self.missing = False
        return handle

    def _open_with_chain(
        self, known: Known, is_enough: Callable[[Handle], bool]
    ) -> tuple[Handle | None, tuple[Handle | None, list[Handle]] | None]:
        """
        Open the file that has the name, with the files that had it since *known*.

        The second is None when the first *is_enough*. BlockingIOError when the name changes hands too quickly.
        """
        for attempt in range(_ATTEMPTS):
            handle = self._open_named()
            try:
                if handle is not None and is_enough(handle):
                    return handle, None
                return handle, self._chain(known, handle.ident if handle is not None else None)
            except BaseException as error:
                if handle is not None:
                    handle.close()
                if not isinstance(error, BlockingIOError) or attempt == _ATTEMPTS - 1:
                    raise
        raise AssertionError

    def _add(self, handle: Handle | None, offset: int = 0) -> None:
        if handle is not None:
            self._parts.append(Part(handle, self._form, offset))

    def _add_all(self, later: list[Handle], current: Handle | None, offset: int = 0) -> None:
        """Add files in the order of writing; when there are too many at once, the rest is found again later."""
        room = max(1, _MAX_PARTS - len(self._parts))
        for older in later[:room]:
            self._add(older)
        for older in later[room:]:
            older.close()
        if len(later) <= room:
            self._add(current, offset)
        elif current is not None:
            current.close()

    def _chain(self, known: Known, current: FileId | None, *, named: bool = True) -> tuple[Handle | None, list[Handle]]:
        try:
            return open_chain(self.path, known, current, self._form, named=named)
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            # A directory that may not be listed: the log itself can be read all the same.
            return None, []

    @property
    def parts(self) -> tuple[Part, ...]:
        """The files that are still to be read, oldest first; the last has, or had, the name."""
        return tuple(self._parts)

    # ---- looking

    def look(self, now: float) -> None:
        """Notice what became of the name; *now* is a monotonic time."""
        self._looked_at = now
        self._drop_late(now)
        # To be known again in a copy, should a file be truncated before it is read.
        self._learn_heads()
        try:
            status = os.stat(self.path)
        except (FileNotFoundError, NotADirectoryError):
            self.missing = True
            self._quiet = None
            self._watch_nameless(now)
            return
        require_regular(status.st_mode, self.path)
        self.missing = False
        self._gone_at = None
        if self._parked == ((status.st_dev, status.st_ino), status.st_size, status.st_mtime_ns):
            return
        self._parked = None
        if not self._parts:
            self._quiet = None
            self.open(self._cursor)
        elif self._parts[-1].ident != (status.st_dev, status.st_ino):
            self._quiet = None
            if len(self._parts) < _MAX_PARTS:
                self._follow()
        elif self._quiet != (status.st_size, status.st_mtime_ns):
            self._quiet = None

    def _learn_heads(self) -> None:
        for part in self._parts:
            if not part.fingerprint:
                part.learn_head()

    def _follow(self) -> None:
        """Another file has the name: take it in, with those that had it in between."""
        # They have lost their names: what they begin with is known for good now, and must be, to tell them from others.
        self._learn_heads()
        newest = self._parts[-1]
        self._check_rewritten(newest)
        known = Known(
            newest.ident,
            newest.offset,
            newest.fingerprint,
            held=True,
            mtime_ns=newest.handle.stat().st_mtime_ns,
            seen={part.fingerprint for part in (*self._parts, *self._late)}.union(self._seen) - {""},
        )
        handle, chain = self._open_with_chain(known, lambda handle: handle.ident == newest.ident)
        if handle is None or chain is None:
            # Gone again, or back again.
            for other in (handle, *(chain[1] if chain is not None else ())):
                if other is not None:
                    other.close()
            return
        before = len(self._parts)
        self._add_all(chain[1], handle)
        self.rotations += len(self._parts) - before

    def _drop_late(self, now: float) -> None:
        for part in list(self._late):
            if part.grew_at is None or part.grown():
                part.grew_at = now
            elif now - part.grew_at > self._linger or len(self._late) > _MAX_LATE:
                self._late.remove(part)
                self._finished.append(part)

    def _watch_nameless(self, now: float) -> None:
        """Let go of a file that nobody can reach any more, after a while: it takes up space on the disk."""
        if not self._parts:
            return
        if self._gone_at is None or self._parts[-1].grown():
            self._gone_at = now
        elif now - self._gone_at > self._linger and len(self._parts) == 1 and not self._parts[0].handle.stat().st_nlink:
            self.cursor()
            self._finished.append(self._parts.popleft())
            self._gone_at = None

    @property
    def lingers(self) -> bool:
        """Whether a file without its name is still watched: then look again soon, without waiting for a sign."""
        gone_lately = self._gone_at is not None and self._looked_at - self._gone_at < self._linger + _SLACK
        return bool(self._late or self._finished or gone_lately)

    @property
    def quiet(self) -> bool:
        """Whether the last look saw nothing that could bring lines."""
        if self._parked is not None:
            return True
        return self._quiet is not None and len(self._parts) == 1 and not self._late and not self._finished

    # ---- reading

    def read(self, limit: int | None = None) -> Block | None:
        """
        Return the next block, or None when all whole lines were read; the position stays.

        With *limit* nothing behind that offset of the oldest file is read.
        """
        for part in (*self._finished, *self._late):
            if (block := self._read_nameless(part)) is not None:
                return block
        while self._parts:
            part = self._parts[0]
            try:
                block = self._read_part(part, limit)
                if block is None and limit is not None:
                    block = self._read_part(part)
            except _Rewritten:
                self._begin_anew(part)
                limit = None
                continue
            if block is not None:
                return block
            if len(self._parts) == 1:
                self._mark_quiet(part)
                return None
            limit = None
            self._parts.popleft()
            if part.fingerprint:
                self._seen.append(part.fingerprint)
            (self._finished if part.handle.packed else self._late).append(part)
            if part.handle.packed and (block := self._read_nameless(part)) is not None:
                return block
        return None

    def take(self, block: Block) -> None:
        """Move behind *block*, which `read` gave last."""
        part = block.part
        if block.final:
            self._finished.remove(part)
            part.handle.close()
            return
        if block.offset != part.offset:  # else how far was scanned for the end of a long line would be forgotten
            # The bytes before it are not read now: the file may have been emptied since the block was read.
            part.move(block.offset, block.last)
        if not part.fingerprint:
            part.learn_head()

    def cursor(self) -> Cursor:
        """Return the position behind the last block taken."""
        if self._parts:
            part = self._parts[0]
            self._cursor = self._cursor_at(part, part.offset)
        return self._cursor

    def _cursor_at(self, part: Part, offset: int) -> Cursor:
        if not part.fingerprint:
            part.learn_head()
        written = part.handle.stat().st_mtime_ns / 1e9
        return Cursor(self.path, part.ident[0], part.ident[1], offset, part.fingerprint, time=written)

    def _mark_quiet(self, part: Part) -> None:
        status = part.handle.stat()
        if self.missing or status.st_size > part.scanned:
            self._quiet = None
        else:
            self._quiet = (status.st_size, status.st_mtime_ns)

    def _read_nameless(self, part: Part) -> Block | None:
        """Read what was added to a file after its name was taken from it."""
        try:
            block = self._read_part(part)
        except _Rewritten:
            block = None
            part.restart()
            part.move(part.handle.stat().st_size)
        if block is not None or part not in self._finished:
            return block
        block = self._final_line(part)
        if block is None:
            self._finished.remove(part)
            part.handle.close()
        return block

    def _read_part(self, part: Part, limit: int | None = None) -> Block | None:
        back = len(part.last)
        want = self._block_size if limit is None else max(0, min(self._block_size, limit - part.offset))
        data = part.handle.pread(back + want, part.offset - back)
        if not part.offset and not part.fingerprint:
            part.learn_head(data[:HEAD])
        self._verify(part, data)
        end = part.form.last_end(data)
        if end > back:
            part.scanned = part.offset
            last = b"" if part.handle.packed else data[max(0, end - _LAST) : end]
            return self._block(part, data[back:end], end - back, last=last)
        part.scanned = max(part.scanned, part.offset + len(data) - back)
        nul = part.form.nul_prefix(data[back:]) if data[back : back + 1] == b"\0" else 0
        if nul and len(data) - back - nul < part.form.width:
            return self._pass_hole(part, limit)
        if len(data) - back - nul > self._line_cap:
            return self._long_line(part, data[back + nul :])
        return None

    def _verify(self, part: Part, data: bytes) -> None:
        """
        Raise _Rewritten unless the file is still the one that was read so far.

        Its first line and the bytes before the position are compared after the read, so that nothing that came into
        its place meanwhile is taken for its continuation.
        """
        if part.handle.packed:
            return
        if not data.startswith(part.last) or (part.head and part.handle.pread(len(part.head), 0) != part.head):
            raise _Rewritten

    def _check_rewritten(self, part: Part) -> None:
        """Notice truncation of a file before its name is used to find others."""
        back = len(part.last)
        try:
            self._verify(part, part.handle.pread(back, part.offset - back))
        except _Rewritten:
            self._begin_anew(part)

    def _block(
        self, part: Part, raw: bytes, size: int, *, last: bytes | None = None, cut: int = 0, final: bool = False
    ) -> Block:
        data, spans, count = (
            part.form.prepare(raw, self._line_cap + (_MARK_ROOM if cut else 0)) if raw else (b"", (), 0)
        )
        offset = part.offset + size
        if self._parts and self._parts[0] is not part:
            cursor = self._cursor_at(self._parts[0], self._parts[0].offset)
        elif self._parts:
            cursor = self._cursor_at(part, offset)
        else:
            cursor = self._cursor
        if last is None:
            last = part.bytes_before(offset)
        return Block(data, spans, cut + count, size, part, offset, last, cursor, final)

    def _pass_hole(self, part: Part, limit: int | None) -> Block | None:
        """
        Pass over NUL bytes, once there is something behind them.

        A writer that goes on at its old position after a truncation leaves a hole. At the end of the file the NUL bytes
        stay: they may be space reserved for lines to come.
        """
        width = part.form.width
        start = part.handle.data_after(part.scanned)
        for _ in range(_CHUNKS):
            start -= (start - part.offset) % width
            data = part.handle.pread(self._block_size, start)
            count = part.form.nul_prefix(data)
            if len(data) - count >= width:
                target = start + count if limit is None else min(limit, start + count)
                return self._block(part, b"", target - part.offset)
            part.scanned = start + len(data)
            if len(data) < self._block_size:
                return None
            start = part.scanned
        return self._block(part, b"", 0)

    def _long_line(self, part: Part, begin: bytes) -> Block | None:
        """Look for the end of a line longer than the cap, in bounded memory; then give its beginning."""
        form = part.form
        start = part.scanned
        for _ in range(_CHUNKS):
            start -= (start - part.offset) % form.width
            data = part.handle.pread(self._block_size, start)
            end = form.first_end(data)
            if end >= 0:
                return self._block(part, form.cut(begin, self._line_cap), start + end - part.offset, cut=1)
            part.scanned = start + len(data)
            if len(data) < self._block_size:
                return None
            start = part.scanned
        return self._block(part, b"", 0)

    def _final_line(self, part: Part) -> Block | None:
        """Give the last line of a file that will never end it."""
        form = part.form
        data = part.handle.pread(self._line_cap + form.width, part.offset)
        data = data[form.nul_prefix(data) : len(data) - len(data) % form.width]
        if not data or form.first_end(data) >= 0:
            return None
        if len(data) > self._line_cap:
            return self._block(part, form.cut(data, self._line_cap), len(data), cut=1, final=True)
        return self._block(part, data + form.newline, len(data), final=True)

    def _begin_anew(self, part: Part) -> None:
        """Go to the beginning of a file that was emptied; what was not read before may stand in a copy of it."""
        offset, before, last = part.offset, part.fingerprint, part.last
        part.restart()
        if not before:
            self.truncations += 1
            return
        until = {other.fingerprint for other in self._parts} - {"", before}
        copied = Known(part.ident, offset, before, last=last, until=until)
        try:
            own, later = self._chain(copied, part.ident, named=False)
        except OSError:
            # Find it emptied once more, next time.
            part.move(offset, last)
            part.head = b"?"
            part.fingerprint = before
            raise
        self.truncations += 1
        self._seen.append(before)
        fresh = [Part(older, self._form) for older in later]
        if own is not None:
            fresh.insert(0, Part(own, self._form, offset))
        at = self._parts.index(part)
        for number, older in enumerate(fresh):
            self._parts.insert(at + number, older)

    # ---- sharing

    def clone(self) -> Tail:
        """Return a tail at the same position, for a jail that falls behind the others."""
        other = Tail(self.path, self._form, block_size=self._block_size, line_cap=self._line_cap, linger=self._linger)
        other.missing = self.missing
        other._parts.extend(part.clone() for part in self._parts)
        other._late.extend(part.clone() for part in self._late)
        other._finished.extend(part.clone() for part in self._finished)
        other._seen.extend(self._seen)
        other._cursor = self.cursor()
        return other

    def meets(self, other: Tail) -> bool:
        """Whether both stand at the same place, so that one of them is enough."""
        return not self._finished and not other._finished and self._places() == other._places()

    def _places(self) -> tuple[list[tuple[FileId, int]], list[tuple[FileId, int]]]:
        return [(part.ident, part.offset) for part in self._parts], [(part.ident, part.offset) for part in self._late]

    def park(self) -> None:
        """Close a quiet log, to save file descriptors; a look that sees a change opens it at the same position."""
        if self.quiet and self._quiet is not None:
            parked = (self._parts[0].ident, *self._quiet)
            self.close()
            self._parked = parked

    def behind(self) -> int:
        """Return how many bytes were not taken yet (compressed files count nothing)."""
        return sum(max(0, part.handle.stat().st_size - part.offset) for part in self._parts if not part.handle.packed)

    def close(self) -> None:
        """Close all files; the position is kept, and `look` opens them again."""
        with contextlib.suppress(OSError):
            self.cursor()
        for part in (*self._parts, *self._late, *self._finished):
            part.handle.close()
        self._parts.clear()
        self._late.clear()
        self._finished.clear()
        self._quiet = self._parked = None


def _is_at(handle: Handle, cursor: Cursor, form: LineForm, *, same_inode: bool) -> bool:
    """Whether the open file is the one *cursor* speaks of, and reaches as far."""
    if same_inode and handle.ident[1] != cursor.inode:
        return False
    if handle.stat().st_size < cursor.offset:
        return False
    if not cursor.fingerprint:
        return handle.ident == (cursor.device, cursor.inode)
    # The number of a device may change with a boot.
    return identify(handle, form) == cursor.fingerprint
