"""
The only place that starts programs.

A program gets a session (and with it a process group) of its own, a deadline, `/dev/null` or given bytes to read, and
no open files of ours. Its output is read while it runs, so that it never waits for us; of much output the beginning
and the end are kept. When the time is over the whole group gets SIGTERM, 0.2 s later SIGKILL. The waiting is done in
poll(2): nothing spins, and any number of threads may run programs at the same time.

What cannot be started is reported as a shell does: return code 127 (not found) or 126 (cannot be executed).
"""

from __future__ import annotations

import contextlib
import errno
import os
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

DEADLINE = 60.0
"""Seconds a program may take unless told otherwise."""

GRACE = 0.2
"""Seconds between SIGTERM and SIGKILL."""

KEEP = 65_536
"""Bytes kept of each output: half of them from the beginning, half from the end."""

_PRIVATE = ("NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")
_REAP = 5.0  # a killed process that the kernel does not let go (stuck in a device) is left behind after this time
_BLOCK = 65_536
_PIPE = 1_048_576  # the most a pipe holds unless root asked for more: pipe(7)

_NOTHING: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class Finished:
    """
    How a program ended.

    *returncode* is its exit status, or minus the number of the signal that ended it. *seconds* is what it took.
    *cancelled* means that a `Cancel` ended it. *stdout* and *stderr* hold at most `KEEP` bytes and a note about what
    was left out.
    """

    returncode: int
    stdout: bytes = b""
    stderr: bytes = b""
    timed_out: bool = False
    cancelled: bool = False
    seconds: float = 0.0

    @property
    def succeeded(self) -> bool:
        """Whether the program ended by itself with status 0."""
        return self.returncode == 0 and not self.timed_out and not self.cancelled

    def describe(self) -> str:
        """Return in a few words how it ended: `exit status 2: nft: syntax error`, `timed out after 60 s`."""
        if self.timed_out:
            return f"timed out after {self.seconds:.0f} s"
        if self.cancelled:
            return "cancelled because banguard stops"
        said = self.stderr.decode("utf-8", "replace").strip() or self.stdout.decode("utf-8", "replace").strip()
        words = " ".join(said.split())[:500]
        if self.returncode < 0:
            how = f"killed by {signal_name(-self.returncode)}"
        elif self.returncode == 0:
            return "succeeded"
        else:
            how = f"exit status {self.returncode}"
        return f"{how}: {words}" if words else how


def signal_name(number: int) -> str:
    """Return `SIGTERM` for 15; `signal 99` for one without a name."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


class Cancel:
    """
    Ends programs early, from any thread: every `run` that was given this object, now and later.

    The lock is needed because the runs come from several threads. `close` gives its two file descriptors back.
    """

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        self._lock = threading.Lock()
        self._closed = False
        self.is_set = False

    def fileno(self) -> int:
        """Descriptor that becomes readable, and stays so, once cancelled."""
        return self._read

    def set(self) -> None:
        """Cancel."""
        with self._lock:
            if not self._closed and not self.is_set:
                self.is_set = True
                os.write(self._write, b"x")

    def close(self) -> None:
        """Release the descriptors; nothing may use the object any more."""
        with self._lock:
            if not self._closed:
                self._closed = True
                os.close(self._read)
                os.close(self._write)


def run(
    argv: Sequence[str],
    *,
    stdin: bytes | None = None,
    timeout: float | None = DEADLINE,
    environment: Mapping[str, str] = _NOTHING,
    keep: int = KEEP,
    cancel: Cancel | None = None,
) -> Finished:
    """
    Run the program *argv* and return how it ended; raise nothing because of the program.

    *stdin* is what it can read (None: nothing), *timeout* in seconds (None: none), *environment* is added to ours,
    *keep* is how many bytes to keep of each output. A program is over when the process itself has ended: what it left
    in the background goes on.
    """
    began = time.monotonic()
    if cancel is not None and cancel.is_set:
        return Finished(-signal.SIGTERM, cancelled=True)
    try:
        process = subprocess.Popen(
            [_bytes(word) for word in argv],
            stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=_environment(environment),
            start_new_session=True,
            close_fds=True,
            bufsize=0,
        )
    except FileNotFoundError:
        return Finished(127, stderr=f"{argv[0]}: not found; is it installed and in PATH?".encode())
    except (OSError, ValueError) as error:
        reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
        if isinstance(error, OSError) and error.errno == errno.E2BIG:
            reason = "the arguments and the environment are too long"
        return Finished(126, stderr=f"{argv[0]}: cannot be executed: {reason}".encode())
    return _Running(process, stdin or b"", keep, cancel).finish(began, timeout)


def shell(
    script: str,
    arguments: Sequence[str] = (),
    *,
    stdin: bytes | None = None,
    timeout: float | None = DEADLINE,
    environment: Mapping[str, str] = _NOTHING,
    cancel: Cancel | None = None,
) -> Finished:
    """
    Run *script* with `/bin/sh -c`; *arguments* become `$0`, `$1`, ….

    For text that an administrator wrote (commands of actions, ignorecommand) and for nothing else: what comes from a
    log has to travel in *environment* or *arguments*, never in *script*.
    """
    return run(
        ["/bin/sh", "-c", script, *arguments], stdin=stdin, timeout=timeout, environment=environment, cancel=cancel
    )


def attended(argv: Sequence[str], stdin: bytes, environment: Mapping[str, str] = _NOTHING) -> bool:
    """
    Let the user work with the program *argv* on our own terminal until it ends; return whether it could be started.

    It reads *stdin* from a pipe and *environment* is added to ours. Ctrl-C is meant for it and not for us.
    """
    before = signal.signal(signal.SIGINT, lambda *_: None)  # ignored by us; the program begins with the default
    try:
        process = subprocess.Popen(
            [_bytes(word) for word in argv], stdin=subprocess.PIPE, env=_environment(environment)
        )
        process.communicate(stdin)
    except OSError:
        return False
    finally:
        signal.signal(signal.SIGINT, before)
    return process.returncode not in (126, 127)


def _bytes(text: str) -> bytes:
    """Return *text* for the kernel: without NUL, which would end it; undecodable bytes of a log as they were."""
    text = text.replace("\0", "")
    try:
        return os.fsencode(text)
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace")


def _environment(additions: Mapping[str, str]) -> dict[bytes, bytes]:
    """Return our environment without what systemd meant for us alone, and with *additions*."""
    environment = dict(os.environb)
    for name in _PRIVATE:
        environment.pop(name.encode(), None)
    for name, value in additions.items():
        environment[_bytes(name)] = _bytes(value)
    return environment


class _Output:
    """Keeps the beginning and the end of a stream."""

    def __init__(self, keep: int) -> None:
        self._half = max(1, keep // 2)
        self._head = bytearray()
        self._tail = bytearray()
        self._left_out = 0

    def add(self, data: bytes) -> None:
        room = self._half - len(self._head)
        if room > 0:
            self._head += data[:room]
            data = data[room:]
        self._tail += data
        excess = len(self._tail) - self._half
        if excess > 0:
            self._left_out += excess
            del self._tail[:excess]

    def value(self) -> bytes:
        note = f"\n[... {self._left_out} bytes left out ...]\n".encode() if self._left_out else b""
        return bytes(self._head) + note + bytes(self._tail)


class _Running:
    """One started program: feeds it, reads it, ends it."""

    def __init__(self, process: subprocess.Popen[bytes], stdin: bytes, keep: int, cancel: Cancel | None) -> None:
        self._process = process
        self._stdin = memoryview(stdin)
        self._cancel = cancel
        self._stdout = _Output(keep)
        self._stderr = _Output(keep)
        self._selector = selectors.PollSelector()
        self._over = _exit_descriptor(process)
        self._selector.register(self._over, selectors.EVENT_READ)
        self._outputs: dict[int, _Output] = {}
        for pipe, output in ((process.stdout, self._stdout), (process.stderr, self._stderr)):
            assert pipe is not None  # noqa: S101  Popen was asked for it
            os.set_blocking(pipe.fileno(), False)
            self._selector.register(pipe.fileno(), selectors.EVENT_READ)
            self._outputs[pipe.fileno()] = output
        if process.stdin is not None:
            os.set_blocking(process.stdin.fileno(), False)
            self._selector.register(process.stdin.fileno(), selectors.EVENT_WRITE)
        if cancel is not None:
            self._selector.register(cancel.fileno(), selectors.EVENT_READ)

    def finish(self, began: float, timeout: float | None) -> Finished:
        try:
            ended = self._serve(None if timeout is None else began + timeout)
            cancelled = not ended and self._cancel is not None and self._cancel.is_set
            took = time.monotonic() - began
            if not ended:
                self._end()
            self._drain()
            returncode = self._reap()
            return Finished(
                -signal.SIGKILL if returncode is None else returncode,
                self._stdout.value(),
                self._stderr.value(),
                timed_out=not ended and not cancelled,
                cancelled=cancelled,
                seconds=took,
            )
        finally:
            self._selector.close()
            os.close(self._over)
            for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
                if pipe is not None:
                    with contextlib.suppress(OSError):
                        pipe.close()

    def _serve(self, deadline: float | None) -> bool:
        """Feed and read until the process has ended (True), or the deadline or a cancel came first (False)."""
        while True:
            wait = None if deadline is None else max(0.0, deadline - time.monotonic())
            ready = self._selector.select(wait)
            if not ready:
                return False
            for key, _ in ready:
                if key.fd in self._outputs:
                    self._read(key.fd)
                elif self._process.stdin is not None and key.fd == self._process.stdin.fileno():
                    self._write()
            ready_fds = {key.fd for key, _ in ready}
            if self._over in ready_fds:
                return True
            if self._cancel is not None and self._cancel.fileno() in ready_fds:
                return False
            if deadline is not None and time.monotonic() >= deadline:
                return False

    def _read(self, descriptor: int) -> bool:
        try:
            data = os.read(descriptor, _BLOCK)
        except BlockingIOError:
            return False
        if data:
            self._outputs[descriptor].add(data)
            return True
        self._selector.unregister(descriptor)
        del self._outputs[descriptor]
        return False

    def _write(self) -> None:
        pipe = self._process.stdin
        assert pipe is not None  # noqa: S101  only called for it
        try:
            sent = os.write(pipe.fileno(), self._stdin[:_BLOCK])
            self._stdin = self._stdin[sent:]
        except BlockingIOError:
            return
        except OSError:  # it does not read any more, which is its own affair
            self._stdin = self._stdin[:0]
        if not self._stdin:
            self._selector.unregister(pipe.fileno())
            pipe.close()
            self._process.stdin = None

    def _end(self) -> None:
        """Ask the whole group to end, then force it."""
        self._signal(signal.SIGTERM)
        if self._cancel is not None:
            self._selector.unregister(self._cancel.fileno())
            self._cancel = None
        ended = self._serve(time.monotonic() + GRACE)
        self._signal(signal.SIGKILL)  # also for children that outlive the SIGTERM of their parent
        if not ended:
            self._serve(time.monotonic() + _REAP)

    def _signal(self, number: int) -> None:
        # The group has the number of the process (start_new_session), which nobody else gets before it is reaped.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    def _reap(self) -> int | None:
        try:
            return self._process.wait(0 if hasattr(os, "pidfd_open") else 1)
        except subprocess.TimeoutExpired:
            return None

    def _drain(self) -> None:
        """Read what is in the pipes already; a background child that holds them open is not waited for."""
        for descriptor in list(self._outputs):
            for _ in range(_PIPE // _BLOCK):
                if not self._read(descriptor):
                    break


def _exit_descriptor(process: subprocess.Popen[bytes]) -> int:
    """Return a descriptor that becomes readable when *process* has ended."""
    if hasattr(os, "pidfd_open"):
        with contextlib.suppress(OSError):
            return os.pidfd_open(process.pid)
    read, write = os.pipe()  # systems without pidfd: a thread waits

    def wait() -> None:
        process.wait()
        os.close(write)

    threading.Thread(target=wait, name=f"wait-{process.pid}", daemon=True).start()
    return read
