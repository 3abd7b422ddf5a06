"""Open log files, plain ones and compressed ones, for reading at a position."""

from __future__ import annotations

import errno
import os
import stat
from typing import IO, Protocol, cast

from banguard.errors import SourceError
from banguard.sources.cursor import FileId

PACKED = (".gz", ".bz2", ".xz")
"""Endings of compressed files that can be read."""

_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_KINDS = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a character device"),
    (stat.S_ISBLK, "a block device"),
)


class Handle(Protocol):
    """An open file of a log; positions are those of the text, also when it is compressed."""

    ident: FileId
    packed: bool

    def pread(self, size: int, offset: int) -> bytes:
        """Read up to *size* bytes at *offset*; fewer only at the end. Raises OSError."""
        ...

    def stat(self) -> os.stat_result:
        """Ask the system about the file."""
        ...

    def data_after(self, offset: int) -> int:
        """Return where data begins at or after *offset*, passing over a hole."""
        ...

    def clone(self) -> Handle:
        """Open the same file once more."""
        ...

    def close(self) -> None:
        """Close it."""
        ...


def require_regular(mode: int, path: str) -> None:
    """Raise SourceError when *mode* (of stat) is not that of a regular file."""
    if not stat.S_ISREG(mode):
        kind = next((text for test, text in _KINDS if test(mode)), "no regular file")
        raise SourceError(f"{path} is {kind}; a log must be a regular file")


def open_handle(path: str, *, packed: bool = False) -> Handle:
    """Open a log for reading; OSError when that fails, SourceError when it is no regular file."""
    # Looked at before it is opened: opening some devices has an effect of its own.
    require_regular(os.stat(path).st_mode, path)
    descriptor = os.open(path, _FLAGS)
    try:
        require_regular(os.fstat(descriptor).st_mode, path)
        return PackedHandle(descriptor, os.path.splitext(path)[1]) if packed else PlainHandle(descriptor)
    except BaseException:
        os.close(descriptor)
        raise


class PlainHandle:
    """A file as it is."""

    __slots__ = ("_descriptor", "ident", "packed")

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.packed = False
        status = os.fstat(descriptor)
        self.ident: FileId = (status.st_dev, status.st_ino)

    def pread(self, size: int, offset: int) -> bytes:
        """Read up to *size* bytes at *offset*."""
        return os.pread(self._descriptor, size, offset)

    def stat(self) -> os.stat_result:
        """Ask the system about the file."""
        return os.fstat(self._descriptor)

    def data_after(self, offset: int) -> int:
        """Return where data begins at or after *offset* (lseek(2), SEEK_DATA); *offset* where that is unknown."""
        try:
            return os.lseek(self._descriptor, offset, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return self.stat().st_size
            return offset

    def clone(self) -> PlainHandle:
        """Open the same file once more."""
        return PlainHandle(os.dup(self._descriptor))

    def close(self) -> None:
        """Close it."""
        os.close(self._descriptor)


class PackedHandle:
    """A compressed file of an old log, read from front to back; only as much as is asked for is held in memory."""

    __slots__ = ("_at", "_descriptor", "_ending", "_stream", "_window", "ident", "packed")

    def __init__(self, descriptor: int, ending: str) -> None:
        self._descriptor = descriptor
        self._ending = ending
        self.packed = True
        status = os.fstat(descriptor)
        self.ident: FileId = (status.st_dev, status.st_ino)
        self._rewind()

    def _rewind(self) -> None:
        self._stream = _decompress(self._descriptor, self._ending)
        self._at = 0
        self._window = b""

    def pread(self, size: int, offset: int) -> bytes:
        """Read up to *size* bytes at *offset* of the text; OSError when the file is damaged."""
        if offset < self._at:
            self._stream.close()
            self._rewind()
        while self._at + len(self._window) < offset:
            self._at += len(self._window)
            self._window = self._more(min(offset - self._at, 262144))
            if not self._window:
                return b""
        self._window = self._window[offset - self._at :]
        self._at = offset
        while len(self._window) < size and (more := self._more(size - len(self._window))):
            self._window += more
        return self._window[:size]

    def _more(self, size: int) -> bytes:
        try:
            return self._stream.read(size)
        except EOFError:
            return b""
        except OSError:
            raise
        except Exception as error:  # zlib.error and lzma.LZMAError, which are loaded only when needed
            raise OSError(errno.EIO, f"damaged compressed file: {error}") from error

    def stat(self) -> os.stat_result:
        """Ask the system about the file."""
        return os.fstat(self._descriptor)

    def data_after(self, offset: int) -> int:
        """Return *offset*: compressed files have no holes."""
        return offset

    def clone(self) -> PackedHandle:
        """Open the same file once more."""
        return PackedHandle(os.dup(self._descriptor), self._ending)

    def close(self) -> None:
        """Close it."""
        self._stream.close()
        os.close(self._descriptor)


class _Positioned:
    """A raw file that keeps its own position, so that clones do not move each other's."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._at = 0

    def read(self, size: int = -1) -> bytes:
        data = os.pread(self._descriptor, size if size >= 0 else 1 << 20, self._at)
        self._at += len(data)
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = offset if whence == 0 else self._at + offset
        return self._at

    def tell(self) -> int:
        return self._at


def _decompress(descriptor: int, ending: str) -> IO[bytes]:
    raw = cast("IO[bytes]", _Positioned(descriptor))
    if ending == ".gz":
        from gzip import GzipFile  # noqa: PLC0415  rarely needed, and large

        return cast("IO[bytes]", GzipFile(fileobj=raw, mode="rb"))
    if ending == ".bz2":
        from bz2 import BZ2File  # noqa: PLC0415

        return BZ2File(raw)
    from lzma import LZMAFile  # noqa: PLC0415

    return LZMAFile(raw)
