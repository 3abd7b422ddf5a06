"""A log that is rotated in every way, and what stands in it."""

from __future__ import annotations

import bz2
import gzip
import os
import shutil
from collections.abc import Callable


class RotatingLog:
    """Writes a log and rotates it as logrotate and programs do; keeps what was written."""

    def __init__(
        self, path: str, *, keep: int = 50, dated: bool = False, now: Callable[[], float] | None = None
    ) -> None:
        """*now* gives the time of modification, where the test keeps its own time."""
        self.path = path
        self._now = now
        self.keep = keep
        self.dated = dated
        self.written = b""
        self._count = 0
        self._file = open(path, "ab", buffering=0)  # noqa: SIM115  closed by close()

    def write(self, data: bytes) -> None:
        self._file.write(data)
        self.written += data
        if self._now is not None:
            os.utime(self._file.fileno(), (self._now(), self._now()))

    def write_late(self, data: bytes) -> None:
        """Write to the newest rotated file, as a program does that was not told of the rotation yet."""
        new = self._file
        with open(self.older_path(), "ab", buffering=0) as self._file:
            self.write(data)
        self._file = new

    @property
    def at_line_end(self) -> bool:
        return not self.written or self.written.endswith(b"\n")

    def older(self) -> list[str]:
        """Names of the rotated files, newest first."""
        directory, base = os.path.split(self.path)
        names = [name for name in os.listdir(directory) if name.startswith(base) and name != base]
        if self.dated:
            return sorted(names, reverse=True)
        return sorted(names, key=lambda name: int(name.split(".")[2]))

    def older_path(self) -> str:
        """Path of the newest rotated file."""
        return os.path.join(os.path.dirname(self.path), self.older()[0])

    def _shift(self) -> str:
        """Make room for the newest rotated file; return its path."""
        self._count += 1
        if self.dated:
            return f"{self.path}-{20260101 + self._count}"
        directory = os.path.dirname(self.path)
        for name in reversed(self.older()):
            _, _, number, *ending = name.split(".")
            if int(number) >= self.keep:
                os.unlink(os.path.join(directory, name))
                continue
            new = ".".join([os.path.basename(self.path), str(int(number) + 1), *ending])
            os.rename(os.path.join(directory, name), os.path.join(directory, new))
        return self.path + ".1"

    def rename_create(self, *, pack: str = "", late: bytes = b"") -> None:
        """Rename the log and create a new one; *late* is written before the writer opens the new one."""
        target = self._shift()
        os.rename(self.path, target)
        new = open(self.path, "ab", buffering=0)  # noqa: SIM115
        if late:
            self.write(late)
        self._file.close()
        self._file = new
        if pack:
            self.pack(target, pack)

    def copytruncate(self, *, pack: str = "") -> None:
        target = self._shift()
        shutil.copy2(self.path, target)
        os.truncate(self.path, 0)
        if pack:
            self.pack(target, pack)

    def delete_create(self) -> None:
        self._file.close()
        os.unlink(self.path)
        self._file = open(self.path, "ab", buffering=0)  # noqa: SIM115

    def pack(self, path: str, ending: str) -> None:
        """Compress as gzip(1) does: the time stays, the original goes last."""
        status = os.stat(path)
        opener = gzip.open if ending == ".gz" else bz2.open
        with open(path, "rb") as source, opener(path + ".tmp", "wb") as packed:
            shutil.copyfileobj(source, packed)
        os.utime(path + ".tmp", ns=(status.st_atime_ns, status.st_mtime_ns))
        os.rename(path + ".tmp", path + ending)
        os.unlink(path)

    def close(self) -> None:
        self._file.close()
