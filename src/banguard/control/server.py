"""
Unix socket listener; checks the peer.

One thread accepts, one short-lived thread serves each client, and there are never more than a fixed number of them: a
newcomer takes the place of whoever has been silent for longest. Nothing a client sends, or fails to send, delays
another client, and nobody but root and the server's own user gets an answer other than a refusal.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import select
import socket
import stat
import threading
from collections.abc import Callable, Collection, Sequence

from banguard.clock import Clock
from banguard.control.protocol import (
    MESSAGE_SECONDS,
    NO_PERMISSION,
    REFUSED,
    REQUEST_LIMIT,
    LineSocket,
    ProtocolError,
    Reply,
    Source,
    Stream,
    decode_request,
    encode_reply,
    peer,
    refusal,
)
from banguard.errors import ControlError

logger = logging.getLogger("banguard.server")

Execute = Callable[[tuple[str, ...]], Reply]

MAX_CLIENTS = 32
IDLE_SECONDS = 30.0
"""How long a client may stay silent between two requests."""
MAX_WATCHERS = 8
"""Clients that may be sent a stream at the same time."""
EVICT_SECONDS = 1.0
"""How long a client must have been silent before a newcomer may take its place."""
_BACKLOG = 256
_STREAM_SECONDS = 0.5  # how long a stream waits for news, or for its reader, before it looks who is still there
_PROBE_SECONDS = 2.0
_SYSTEMD_FIRST_FD = 3


def listen(path: str, *, force: bool = False) -> socket.socket:
    """
    Return a socket that listens at *path*, mode 0600, its directory made when missing.

    A socket file that nobody answers at is removed first; with *force* also one where somebody does. Raises
    ControlError when another server answers, when something else than a socket is in the way, or when the system
    refuses.
    """
    try:
        directory = os.path.dirname(path)
        if directory:
            os.makedirs(directory, mode=0o755, exist_ok=True)
        _remove_stale(path, force=force)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            # Nobody can connect before listen(), so the mode is right before it matters.
            listener.bind(path)
            os.chmod(path, 0o600)
            listener.listen(_BACKLOG)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        raise ControlError(f"Cannot listen on the socket {path}: {error.strerror or error}") from error
    return listener


def inherited(environ: dict[str, str], pid: int) -> socket.socket | None:
    """Return the listening Unix socket that systemd hands over (sd_listen_fds(3)), None when there is none."""
    if environ.get("LISTEN_PID") != str(pid) or not environ.get("LISTEN_FDS", "").isdecimal():
        return None
    for descriptor in range(_SYSTEMD_FIRST_FD, _SYSTEMD_FIRST_FD + min(int(environ["LISTEN_FDS"]), 16)):
        with contextlib.suppress(OSError):
            if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                continue
            found = socket.socket(fileno=descriptor)
            if found.family == socket.AF_UNIX and found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                found.set_inheritable(False)
                return found
            found.detach()
    return None


def is_answered(path: str) -> bool:
    """Tell whether somebody accepts connections at *path*; OSError when that cannot be found out."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_PROBE_SECONDS)
        try:
            probe.connect(path)
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except (TimeoutError, BlockingIOError):
            return True  # somebody listens, and is busy
        return True


def _remove_stale(path: str, *, force: bool) -> None:
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise ControlError(f"Cannot listen on the socket {path}: there is something else than a socket")
    if not force and is_answered(path):
        raise ControlError(f"Another server answers on the socket {path}")
    os.unlink(path)


class _Client:
    """
    One connection.

    Its socket, whether a command is being carried out, since when it is silent, and what is streamed to it.
    """

    __slots__ = ("busy", "lines", "silent_since", "source", "thread")

    def __init__(self, lines: LineSocket, now: float) -> None:
        self.lines = lines
        self.busy = False
        self.silent_since = now
        self.source: Source | None = None
        self.thread: threading.Thread | None = None


class ControlServer:
    """
    Answers commands on a listening socket (see `listen`) with what *execute* makes of them.

    *execute* is called from several threads at once and turns refusals into replies. *uids* are the users allowed
    beside root; None means the server's own. The constructor starts nothing: `run` is the body of the accepting
    thread, `close` ends everything. The lock guards the list of clients, which the accepting thread and the clients'
    threads share.
    """

    def __init__(
        self,
        listener: socket.socket,
        execute: Execute,
        *,
        clock: Clock,
        uids: Collection[int] | None = None,
        max_clients: int = MAX_CLIENTS,
        idle_seconds: float = IDLE_SECONDS,
        message_seconds: float = MESSAGE_SECONDS,
        evict_seconds: float = EVICT_SECONDS,
    ) -> None:
        self._listener = listener
        self._execute = execute
        self._clock = clock
        self._uids = frozenset((0, os.geteuid()) if uids is None else (0, *uids))
        self._max_clients = max_clients
        self._idle_seconds = idle_seconds
        self._message_seconds = message_seconds
        self._evict_seconds = evict_seconds
        self._path = _bound_path(listener)
        self._identity = _identity(self._path)
        self._clients: set[_Client] = set()
        self._lock = threading.Lock()
        self._left = threading.Condition(self._lock)
        self._refusal: Reply | None = None
        self._closed = False
        self._wake_read, self._wake_write = os.pipe()
        self._not_running = threading.Event()
        self._not_running.set()
        listener.setblocking(False)

    @property
    def path(self) -> str:
        """Where clients find the server; empty for a socket without a name."""
        return self._path

    def run(self, stop: threading.Event) -> None:
        """Accept clients until *stop* is set and `wake` called, or `close` is."""
        self._not_running.clear()
        try:
            poll = select.poll()
            poll.register(self._listener, select.POLLIN)
            poll.register(self._wake_read, select.POLLIN)
            while not stop.is_set() and not self._closed:
                ready = dict(poll.poll())
                if self._wake_read in ready:
                    os.read(self._wake_read, 64)
                    continue
                self._accept(stop)
        finally:
            self._not_running.set()

    def wake(self) -> None:
        """Let `run` look at its stop event."""
        with contextlib.suppress(OSError):
            os.write(self._wake_write, b"x")

    def refuse(self, message: str) -> None:
        """Answer every further command with the error *message*: the server is about to end."""
        self._refusal = Reply(error=message, status=1)

    def close(self, grace: float = 5.0) -> None:
        """
        Take no more clients, let commands in progress end within *grace* seconds, close, remove the socket file.

        Called once, by another thread than those of clients.
        """
        self._closed = True
        self.wake()
        with self._lock:
            for client in self._clients:
                if client.source is not None:
                    client.source.close()
                elif not client.busy:
                    client.lines.shutdown()
            self._left.wait_for(lambda: not self._clients, grace)
            remaining = list(self._clients)
        for client in remaining:
            client.lines.shutdown()
        for client in remaining:
            if client.thread is not None:
                client.thread.join(0.2)
        if self._path and _identity(self._path) == self._identity:
            with contextlib.suppress(OSError):
                os.unlink(self._path)
        self._not_running.wait(1.0)
        self._listener.close()
        os.close(self._wake_read)
        os.close(self._wake_write)

    # ---- the accepting thread

    def _accept(self, stop: threading.Event) -> None:
        if not self._make_room(stop):
            return
        try:
            sock, _ = self._listener.accept()
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                logger.error("No further client can be served: %s", error.strerror)
                stop.wait(0.2)  # the client stays in the queue; do not spin
            return
        if not self._is_allowed(sock):
            return
        client = _Client(LineSocket(sock, self._clock.monotonic, limit=REQUEST_LIMIT), self._clock.monotonic())
        client.thread = threading.Thread(target=self._serve, args=(client,), name="control-client", daemon=True)
        with self._lock:
            self._clients.add(client)
        try:
            client.thread.start()
        except RuntimeError as error:  # no thread to be had
            logger.error("No further client can be served: %s", error)
            self._forget(client)

    def _make_room(self, stop: threading.Event) -> bool:
        """Wait until one more client may be served; return False when there is no room yet."""
        with self._lock:
            if len(self._clients) < self._max_clients:
                return True
            silent = [client for client in self._clients if not client.busy]
            longest = min(silent, key=lambda client: client.silent_since, default=None)
            if longest is not None and self._clock.monotonic() - longest.silent_since >= self._evict_seconds:
                longest.lines.shutdown()
            self._left.wait(0.05)
            return len(self._clients) < self._max_clients and not stop.is_set() and not self._closed

    def _is_allowed(self, sock: socket.socket) -> bool:
        """Ask the system who is there; refuse, in one message that cannot block, whoever may not command."""
        try:
            who = peer(sock)
        except OSError:
            who = None
        if who is not None and who[1] in self._uids:
            return True
        logger.warning("Refused a control connection of user %s", "unknown" if who is None else who[1])
        with contextlib.suppress(OSError):
            sock.setblocking(False)
            sock.send(encode_reply(Reply(error="You have no permission to command this server", status=NO_PERMISSION)))
        sock.close()
        return False

    # ---- the clients' threads

    def _serve(self, client: _Client) -> None:
        try:
            while not self._closed:
                message = client.lines.receive(self._idle_seconds, self._message_seconds)
                if message is None:
                    break
                client.busy = True
                reply = self._answer(message)
                if isinstance(reply, Stream):
                    self._stream(client, reply)
                    break
                client.lines.send(encode_reply(reply), self._message_seconds)
                client.silent_since = self._clock.monotonic()
                client.busy = False
        except ProtocolError as error:
            # Whatever follows garbage cannot be told from it: answer and close.
            with contextlib.suppress(OSError):
                client.lines.send(encode_reply(refusal(error)), 1.0)
        except OSError:
            pass  # gone, or silent for too long
        finally:
            self._forget(client)

    def _answer(self, message: bytes) -> Reply:
        if self._refusal is not None:
            return self._refusal
        try:
            return self._execute(decode_request(message))
        except ProtocolError:
            raise
        except ControlError as error:
            return refusal(error)
        except Exception as error:  # an unforeseen mistake in one command must not silence the whole control socket
            logger.exception("A command failed")
            return Reply(error=f"Internal error: {error!r}", status=1)

    def _stream(self, client: _Client, reply: Stream) -> None:
        """Send *reply* and what follows it, as fast as the client reads and no faster, until one side closes."""
        with self._lock:
            watchers = sum(1 for other in self._clients if other.source is not None)
            if watchers < MAX_WATCHERS:
                client.source = reply.open()
        source = client.source
        if source is None:
            refused = Reply(error=f"There are {watchers} watching already", status=REFUSED)
            client.lines.send(encode_reply(refused), self._message_seconds)
            return
        try:
            values: Sequence[object] | None = [reply.value]
            while values is not None and not client.lines.is_closed():
                rest = b"".join(encode_reply(Reply(value, reply.kind)) for value in values)
                while rest:
                    sent = client.lines.send_part(rest, _STREAM_SECONDS)
                    if not sent and self._closed:
                        return  # the server does not wait for a reader
                    rest = rest[sent:]
                if self._closed:
                    source.close()
                values = source.take(_STREAM_SECONDS)
        finally:
            source.close()

    def _forget(self, client: _Client) -> None:
        with self._lock:
            self._clients.discard(client)
            client.lines.close()
            self._left.notify_all()


def _bound_path(listener: socket.socket) -> str:
    name = listener.getsockname()
    return name if isinstance(name, str) else ""


def _identity(path: str) -> tuple[int, int] | None:
    """Device and inode of the socket file, so that the file of a later server is not removed."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino
