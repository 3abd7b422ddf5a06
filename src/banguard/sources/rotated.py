"""The older files of a log: which they are, in which order they were written."""

from __future__ import annotations

import errno
import logging
import os
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from banguard.errors import SourceError
from banguard.sources.cursor import HEAD, FileId, fingerprint, first_line
from banguard.sources.handles import PACKED, Handle, open_handle
from banguard.sources.lines import LineForm

logger = logging.getLogger("banguard.filter")

# `.1`, `-20261121`, `.2026-11-21_03`, `-1795219200`, `.old`
_MARK = r"\d[\d.:_TZ+-]*|old"
_ENDING = r"\.(?:gz|bz2|xz|zst|lz4|Z)"
_AFTER = re.compile(rf"[.-](?P<mark>{_MARK})(?P<packed>{_ENDING})?")
_INSIDE = re.compile(rf"[._-](?P<mark>{_MARK})")
_SHORT_NUMBER = re.compile(r"\d{1,4}")

# For a glob the name alone must do, so only forms that nobody gives a log of its own: `x.log.1`, `x.log-20261121`,
# `x-20261121.log`, `x.1.log`; not `x-1.log`.
_DATE = r"\d{6,}(?:[-_.T]?\d+)*|\d{4}-\d{2}-\d{2}(?:[-_.T]\d+)*"
_WHOLE = re.compile(rf"(?P<base>.+?)(?:\.\d{{1,4}}|[.-](?:{_DATE})|\.old)(?:{_ENDING})?")
_SPLIT = re.compile(rf"(?P<stem>.+?)(?:\.\d{{1,4}}|[._-](?:{_DATE}))(?P<extension>\.[A-Za-z]\w*)(?:{_ENDING})?")

_ATTEMPTS = 50
_COMPARED = 16


@dataclass(frozen=True, slots=True)
class Sibling:
    """An older file of a log, as the directory shows it."""

    path: str
    ident: FileId
    size: int
    mtime_ns: int
    mark: str
    packed: bool


@dataclass(frozen=True, slots=True)
class Known:
    """
    What is known of the file a reader stands in.

    *held* says that it is still open here. *last* are the bytes before *offset*. *seen* are fingerprints of files that
    were read before, *until* those of files that are read later anyway. When the file itself is nowhere, those written
    to since *mtime_ns* come after it (0: that is not known).
    """

    ident: FileId
    offset: int
    fingerprint: str
    held: bool = False
    mtime_ns: int = 0
    last: bytes = b""
    seen: Collection[str] = ()
    until: Collection[str] = ()


class _Moved(Exception):  # noqa: N818  not an error: look again
    """Files were renamed while we looked."""


def base_names(name: str) -> tuple[str, ...]:
    """Return the names whose rotation could have made the file *name*."""
    found = []
    if (match := _WHOLE.fullmatch(name)) is not None:
        found.append(match["base"])
    if (match := _SPLIT.fullmatch(name)) is not None:
        found.append(match["stem"] + match["extension"])
    return tuple(found)


def siblings(path: str) -> list[Sibling]:
    """Return the older files beside *path*, oldest first; OSError when the directory cannot be read."""
    directory, base = os.path.split(os.path.realpath(path))
    stem, extension = os.path.splitext(base)
    found: dict[str, Sibling] = {}
    with os.scandir(directory) as entries:
        for entry in entries:
            name = entry.name
            if name == base or not name.startswith(stem):
                continue
            mark = _mark(name, base, stem, extension)
            if mark is None or not entry.is_file(follow_symlinks=False):
                continue
            try:
                status = entry.stat(follow_symlinks=False)
            except FileNotFoundError as error:
                raise _Moved from error
            packed = name.endswith(PACKED)
            sibling = Sibling(
                entry.path, (status.st_dev, status.st_ino), status.st_size, status.st_mtime_ns, mark, packed
            )
            # Beside the plain file, a compressed one of the same mark is just being made of it.
            if mark not in found or found[mark].packed:
                found[mark] = sibling
    return _oldest_first(list(found.values()))


def _mark(name: str, base: str, stem: str, extension: str) -> str | None:
    if name.startswith(base) and (match := _AFTER.fullmatch(name, len(base))) is not None:
        packed = match["packed"]
        return match["mark"] if packed is None or packed in PACKED else None
    if not extension:
        return None
    for ending in ("", *PACKED):
        tail = extension + ending
        if name.endswith(tail) and (match := _INSIDE.fullmatch(name, len(stem), len(name) - len(tail))) is not None:
            return match["mark"]
    return None


def _oldest_first(found: list[Sibling]) -> list[Sibling]:
    marks = [sibling.mark for sibling in found]
    if all(_SHORT_NUMBER.fullmatch(mark) for mark in marks):
        return sorted(found, key=lambda sibling: -int(sibling.mark))
    if len({re.sub(r"\d", "0", mark) for mark in marks}) == 1:
        return sorted(found, key=lambda sibling: sibling.mark)
    return sorted(found, key=lambda sibling: (sibling.mtime_ns, sibling.mark))


def identify(handle: Handle, form: LineForm) -> str:
    """Return the fingerprint of an open file."""
    head = handle.pread(HEAD, 0)
    form = form.settle(head)
    end = form.first_end(head)
    return fingerprint(first_line(head, end), complete=end >= 0 or len(head) >= HEAD)


def open_chain(
    path: str, known: Known, current: FileId | None, form: LineForm, *, named: bool = True
) -> tuple[Handle | None, list[Handle]]:
    """
    Find where a reader goes on after rotations it has not seen.

    Returns the file of *known* opened anew (None when it is held already, or is nowhere), then the files written after
    it, oldest first, up to but without *current*: the file that now has the name (None: nobody has), or with *named*
    False a file that is read later anyway. OSError when the directory cannot be read; BlockingIOError when files are
    renamed all the time: then open *current* anew and try again.
    """
    for _ in range(_ATTEMPTS):
        opened: list[Handle] = []
        try:
            members = siblings(path)
            chain = _open_chain(members, known, current, form, opened)
            # A listing made while files are renamed may lack some, or show them twice.
            if [each.ident for each in members] == [each.ident for each in siblings(path)]:
                if not named or _named(path) == current:
                    return chain
                raise BlockingIOError(errno.EAGAIN, "rotated just now", path)
        except _Moved:
            pass
        except OSError:
            _close(opened)
            raise
        _close(opened)
    raise BlockingIOError(errno.EAGAIN, "rotated all the time", path)


def _named(path: str) -> FileId | None:
    """Return which file has the name."""
    try:
        status = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status.st_dev, status.st_ino


def _close(opened: list[Handle]) -> None:
    for handle in opened:
        handle.close()


def _open_chain(
    members: list[Sibling], known: Known, current: FileId | None, form: LineForm, opened: list[Handle]
) -> tuple[Handle | None, list[Handle]]:
    idents = [sibling.ident for sibling in members]
    if current in idents:
        # It was renamed as well, just now: what comes after it is found later.
        members = members[: idents.index(current)]
    at, own = _position(members, known, form, opened)
    if at is None:
        # It was deleted, or moved elsewhere: what was written to since then comes after it.
        if not known.mtime_ns:
            return None, []
        written = [sibling for sibling in members if sibling.mtime_ns >= known.mtime_ns]
        handles = [handle for sibling in written if (handle := _open(sibling, opened)) is not None]
        fresh = [handle for handle in handles if identify(handle, form) not in (*known.seen, known.fingerprint)]
        for handle in handles:
            if handle not in fresh:
                opened.remove(handle)
                handle.close()
        return None, fresh
    later = []
    for sibling in members[at + 1 :]:
        handle = _open(sibling, opened)
        if handle is None:
            continue
        if known.until and identify(handle, form) in known.until:
            opened.remove(handle)
            handle.close()
            break
        later.append(handle)
    return own, later


def has_packed_since(path: str, mtime_ns: int) -> bool:
    """Tell whether an older file of *path* was compressed that had been written to since a time (0: never)."""
    try:
        return _packed_since(siblings(path), mtime_ns)
    except _Moved:
        return True
    except OSError:
        return False


def _packed_since(members: Sequence[Sibling], mtime_ns: int) -> bool:
    return mtime_ns > 0 and any(sibling.packed and sibling.mtime_ns >= mtime_ns for sibling in members)


def _position(
    members: Sequence[Sibling], known: Known, form: LineForm, opened: list[Handle]
) -> tuple[int | None, Handle | None]:
    for at, sibling in enumerate(members):
        if sibling.ident[1] != known.ident[1]:
            continue
        if known.held and sibling.ident == known.ident:
            return at, None
        if not known.fingerprint and _packed_since(members[:at], known.mtime_ns):
            # The file was compressed, and another one has its number now.
            continue
        handle = _matching(sibling, known, form, opened)
        if handle is not None:
            return at, handle
    if not known.fingerprint:
        return None, None
    for at in range(len(members) - 1, max(-1, len(members) - 1 - _COMPARED), -1):
        handle = _matching(members[at], known, form, opened)
        if handle is None:
            continue
        if known.held:
            # A compressed copy of the file that is still open here.
            opened.remove(handle)
            handle.close()
            return at, None
        return at, handle
    return None, None


def _matching(sibling: Sibling, known: Known, form: LineForm, opened: list[Handle]) -> Handle | None:
    """Open *sibling* when it holds the known position."""
    if not sibling.packed and sibling.size < known.offset:
        return None
    handle = _open(sibling, opened)
    if handle is None:
        return None
    same = handle.ident == known.ident if not known.fingerprint else identify(handle, form) == known.fingerprint
    if same and known.last:
        same = handle.pread(len(known.last), known.offset - len(known.last)) == known.last
    if same:
        return handle
    opened.remove(handle)
    handle.close()
    return None


def _open(sibling: Sibling, opened: list[Handle]) -> Handle | None:
    """Open an older file; None when that is not possible, or it is damaged."""
    try:
        handle = open_handle(sibling.path, packed=sibling.packed)
    except (SourceError, FileNotFoundError) as error:
        raise _Moved from error
    except OSError as error:
        logger.warning("Cannot read %s: %s", sibling.path, error.strerror)
        return None
    if sibling.packed:
        try:
            handle.pread(1, 0)
        except OSError as error:
            logger.warning("Cannot read %s: %s", sibling.path, error.strerror)
            handle.close()
            return None
    opened.append(handle)
    if handle.ident != sibling.ident:
        raise _Moved
    return handle
