"""
Pid file, background, systemd notification, memory.

`PidFile` makes sure that there is one server per pid file, `daemonise` sends the process into the background and lets
whoever started it learn how that went, `Notifier` tells systemd how the server is (sd_notify(3)).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import socket
import sys
from collections.abc import MutableMapping

from banguard.clock import Clock
from banguard.errors import ControlError

_COMM_LENGTH = 15
"""Characters the kernel keeps of a process name (proc(5), TASK_COMM_LEN)."""


class PidFile:
    """
    A file that holds the process id and a lock while the server runs.

    The lock, not the content, says whether a server runs: what a killed one left behind does no harm.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """
        Take the lock and write the id of this process; to be called after `daemonise`.

        Raises ControlError when another server holds it or the file cannot be written.
        """
        try:
            directory = os.path.dirname(self._path)
            if directory:
                os.makedirs(directory, mode=0o755, exist_ok=True)
            while self._descriptor is None:
                self._descriptor = self._try()
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)
        except OSError as error:
            self._close()
            raise ControlError(f"Cannot write the pid file {self._path}: {error.strerror or error}") from None

    def release(self) -> None:
        """Remove the file and give the lock back; nothing happens without the lock."""
        if self._descriptor is not None:
            if _is_at(self._path, self._descriptor):
                with contextlib.suppress(OSError):
                    os.unlink(self._path)
            self._close()

    def _try(self) -> int | None:
        """Return a locked descriptor of the file, or None when it was removed meanwhile."""
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(self._path, flags, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 32, 0).strip()
            os.close(descriptor)
            known = f", process {int(holder)}" if holder.isdigit() else ""
            raise ControlError(f"Server already running (pid file {self._path} is in use{known})") from None
        except OSError:
            os.close(descriptor)
            raise
        if _is_at(self._path, descriptor):
            return descriptor
        os.close(descriptor)
        return None

    def _close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _is_at(path: str, descriptor: int) -> bool:
    """Tell whether *path* still names the file that is open as *descriptor*."""
    try:
        return os.path.samestat(os.stat(path, follow_symlinks=False), os.fstat(descriptor))
    except OSError:
        return False


class Report:
    """How a daemon tells the process that started it whether it is ready."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor

    def send(self, status: int = 0, message: str = "") -> None:
        """Let the starter end with *status*, after printing *message*; then leave its terminal. Works once."""
        if self._descriptor is None:
            return
        with contextlib.suppress(OSError):
            os.write(self._descriptor, f"{status} {message}"[:4096].encode("utf-8", "replace"))
        os.close(self._descriptor)
        self._descriptor = None
        _leave_terminal()


class Started:
    """What became of a daemon, as the process that started it knows: exit *status* and *message*."""

    __slots__ = ("message", "status")

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        self.message = message


def daemonise(patience: float) -> Report | Started:
    """
    Go into the background: own session, working directory `/`, umask 077, no controlling terminal.

    Returns twice. In the daemon: a Report, to be sent once it is ready or has failed. In the process that called:
    what was reported, at the latest after *patience* seconds. Must be called while there is one thread only.
    """
    read, write = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child:
        os.close(write)
        os.waitpid(child, 0)
        try:
            return _await(read, patience)
        finally:
            os.close(read)
    os.close(read)
    try:
        os.setsid()
        if os.fork():  # a session leader could get a terminal again by opening one
            os._exit(0)
    except OSError as error:
        os.write(write, f"1 Cannot go into the background: {error.strerror}".encode())
        os._exit(1)
    os.chdir("/")
    os.umask(0o077)
    return Report(write)


def _await(read: int, patience: float) -> Started:
    if not select.select([read], [], [], patience)[0]:
        return Started(1, f"The server was not ready within {patience:g} seconds")
    status, _, message = os.read(read, 4096).decode("utf-8", "replace").partition(" ")
    if not status.isdecimal():
        return Started(1, "The server ended before it was ready")
    return Started(int(status), message)


def _leave_terminal() -> None:
    """Point standard input, output and error to /dev/null."""
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in range(3):
        os.dup2(null, descriptor)
    if null > 2:
        os.close(null)


def set_process_name(name: str) -> None:
    """Show *name* (its first 15 characters) for this process in ps(1) and top(1), where the system can."""
    with contextlib.suppress(OSError), open("/proc/self/comm", "w", encoding="utf-8") as comm:
        comm.write(name[:_COMM_LENGTH])


def give_back_memory() -> None:
    """Give the memory that starting took, and that is free again, back to the system (malloc_trim(3), glibc only)."""
    import ctypes  # noqa: PLC0415  heavy, but the binding to inotify has loaded it already

    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


class Notifier:
    """
    Tells the service manager how the server is; does nothing where there is none.

    The variables it reads are taken out of *environ*, so that no program we start believes they are meant for it.
    """

    def __init__(self, environ: MutableMapping[str, str], *, clock: Clock) -> None:
        self._address = environ.pop("NOTIFY_SOCKET", "")
        self._clock = clock
        interval, watched = environ.pop("WATCHDOG_USEC", ""), environ.pop("WATCHDOG_PID", "")
        meant = not watched or watched == str(os.getpid())
        #: Seconds between two calls of `watchdog`, half of what systemd allows; None when it does not watch.
        self.watchdog_seconds = int(interval) / 2_000_000 if meant and interval.isdecimal() and int(interval) else None

    def ready(self, status: str = "") -> None:
        """Say that the start, or a reload, is over."""
        self._send("READY=1", status)

    def reloading(self) -> None:
        """Say that a reload begins."""
        self._send("RELOADING=1", "", f"MONOTONIC_USEC={int(self._clock.monotonic() * 1_000_000)}")

    def stopping(self) -> None:
        """Say that the end begins."""
        self._send("STOPPING=1", "")

    def status(self, text: str) -> None:
        """Show one line of text in `systemctl status`."""
        self._send("", text)

    def watchdog(self) -> None:
        """Say that the server is alive."""
        self._send("WATCHDOG=1", "")

    def _send(self, state: str, status: str, *more: str) -> None:
        if self._address[:1] not in ("/", "@"):
            return
        words = [word for word in (state, f"STATUS={' '.join(status.split())}" if status else "", *more) if word]
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.settimeout(1.0)
            sock.connect(address)
            sock.send("\n".join(words).encode("utf-8", "replace"))
