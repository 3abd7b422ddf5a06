"""
Request, Reply and their JSON framing.

One message is one line of JSON (UTF-8, ended by a newline) on a Unix stream socket; a connection may carry many
requests, each answered before the next is read (`watch` is answered by any number of replies, until one side
closes)::

    → {"v": 1, "command": ["set", "sshd", "banip", "192.0.2.1"]}
    ← {"v": 1, "ok": true, "kind": "value", "value": 1}
    ← {"v": 1, "ok": false, "error": "Sorry but the jail 'x' does not exist", "status": 1}

*kind* names the shape of the value, so that a client knows how to print it without knowing the commands. *status* is
the exit status of the client. Lengths are limited on both sides, and a message has to be complete within a deadline.
"""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Callable, Sequence
from typing import Protocol

from banguard.errors import ControlError

VERSION = 1
REQUEST_LIMIT = 4 << 20
"""Bytes of one request; a command line of the operating system is shorter."""
REPLY_LIMIT = 256 << 20
"""Bytes of one reply: the bans of a busy server, with room."""
MESSAGE_SECONDS = 10.0
"""How long one message may take from its first byte to its last."""
WORD_LIMIT = 100_000

REFUSED, USAGE, UNREACHABLE, NO_PERMISSION = 1, 2, 3, 4
"""Exit statuses of the client other than 0."""

_CHUNK = 1 << 16
_STATUSES = frozenset((REFUSED, USAGE, UNREACHABLE, NO_PERMISSION))


class ProtocolError(ControlError):
    """The other side does not keep to the protocol; the connection is of no further use."""


class Reply:
    """
    The answer to a command: a *value* of some *kind*, or an *error* with the exit *status* of the client.

    The value is what JSON can hold.
    """

    __slots__ = ("error", "kind", "status", "value")

    def __init__(self, value: object = None, kind: str = "value", *, error: str | None = None, status: int = 0) -> None:
        self.value = value
        self.kind = kind
        self.error = error
        self.status = status

    @property
    def ok(self) -> bool:
        """Whether the command was carried out."""
        return self.error is None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Reply) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash((self.kind, self.error, self.status))

    def __repr__(self) -> str:
        if self.error is None:
            return f"Reply({self.value!r}, {self.kind!r})"
        return f"Reply(error={self.error!r}, status={self.status})"

    def _key(self) -> tuple[object, ...]:
        return (self.value, self.kind, self.error, self.status)


class Source(Protocol):
    """What the further values of a `Stream` come from."""

    def take(self, timeout: float) -> Sequence[object] | None:
        """Return the next values, waiting up to *timeout* seconds for the first; None when there will be no more."""
        ...

    def close(self) -> None:
        """Let `take` hand out what is there and then None; any thread may call it, more than once."""
        ...


class Stream(Reply):
    """A reply that others of the same kind follow; *open* is called once, when somebody is there to read them."""

    __slots__ = ("open",)

    def __init__(self, value: object, kind: str, open_source: Callable[[], Source]) -> None:
        super().__init__(value, kind)
        self.open = open_source


def refusal(error: ControlError) -> Reply:
    """Return the reply that tells of *error*."""
    return Reply(error=str(error), status=error.status)


def encode_request(command: Sequence[str]) -> bytes:
    """Return the message for *command*; ControlError when it is too long or is not text."""
    message = _encode({"v": VERSION, "command": list(command)})
    if len(message) > REQUEST_LIMIT:
        raise ControlError(f"The command is longer than {REQUEST_LIMIT} bytes", status=USAGE)
    _check_text(command)
    return message


def decode_request(message: bytes) -> tuple[str, ...]:
    """Return the words of a command; ProtocolError for anything else than a request of this version."""
    data = _decode(message)
    words = data.get("command")
    if (
        not isinstance(words, list)
        or not words
        or len(words) > WORD_LIMIT
        or not all(isinstance(word, str) for word in words)
    ):
        raise ProtocolError("A request needs a list of words as its command", status=USAGE)
    _check_text(words)
    return tuple(words)


def encode_reply(reply: Reply) -> bytes:
    """Return the message for *reply*; what JSON cannot hold, or is too long, becomes the report of just that."""
    try:
        if reply.error is None:
            message = _encode({"v": VERSION, "ok": True, "kind": reply.kind, "value": reply.value})
        else:
            message = _encode({"v": VERSION, "ok": False, "error": reply.error, "status": reply.status})
        if len(message) <= REPLY_LIMIT:
            return message
        problem = f"it is longer than {REPLY_LIMIT} bytes"
    except (TypeError, ValueError, RecursionError) as error:
        problem = str(error)
    return _encode({"v": VERSION, "ok": False, "error": f"The answer cannot be sent: {problem}", "status": REFUSED})


def decode_reply(message: bytes) -> Reply:
    """Return the reply in *message*; ProtocolError when there is none."""
    data = _decode(message)
    kind, error, status = data.get("kind"), data.get("error"), data.get("status")
    if data.get("ok") is True and isinstance(kind, str):
        return Reply(data.get("value"), kind)
    if data.get("ok") is False and isinstance(error, str) and isinstance(status, int):
        return Reply(error=error, status=status if status in _STATUSES else REFUSED)
    raise ProtocolError("The server sent something else than a reply")


def _encode(data: dict[str, object]) -> bytes:
    return json.dumps(data, allow_nan=False, separators=(",", ":")).encode("ascii") + b"\n"


def _decode(message: bytes) -> dict[str, object]:
    try:
        data = json.loads(message)
    except (ValueError, RecursionError):
        raise ProtocolError("The message is not JSON", status=USAGE) from None
    if not isinstance(data, dict):
        raise ProtocolError("The message is not a JSON object", status=USAGE)
    if data.get("v") != VERSION:
        raise ProtocolError(f"This side speaks version {VERSION} of the protocol only", status=USAGE)
    return data


def _check_text(words: Sequence[str]) -> None:
    """Refuse what no terminal, log or database could take: bytes that were no UTF-8, and NUL."""
    for word in words:
        try:
            word.encode()
        except UnicodeEncodeError:
            raise ControlError("The command is not valid UTF-8 text", status=USAGE) from None
        if "\0" in word:
            raise ControlError("The command contains a NUL character", status=USAGE)


class LineSocket:
    """
    Whole messages over a connected stream socket, with limits in length and time.

    *monotonic* tells seconds. Not thread-safe, but `shutdown` may be called by any thread.
    """

    def __init__(self, sock: socket.socket, monotonic: Callable[[], float], *, limit: int) -> None:
        self._sock = sock
        self._monotonic = monotonic
        self._limit = limit
        self._rest = bytearray()

    def receive(self, patience: float, message_seconds: float = MESSAGE_SECONDS) -> bytes | None:
        """
        Return the next message without its newline, or None when the other side has closed.

        Waits *patience* seconds for the first byte and *message_seconds* from there to the last. Raises TimeoutError
        when either is over, ProtocolError for a message that is too long or breaks off, OSError when the connection
        fails.
        """
        searched = 0
        deadline = self._monotonic() + (message_seconds if self._rest else patience)
        begun = bool(self._rest)
        while True:
            end = self._rest.find(b"\n", searched)
            if end > self._limit or (end < 0 and len(self._rest) > self._limit):
                raise ProtocolError(f"The message is longer than {self._limit} bytes", status=USAGE)
            if end >= 0:
                message = bytes(self._rest[:end])
                del self._rest[: end + 1]
                return message
            searched = len(self._rest)
            chunk = self._receive(deadline)
            if not chunk:
                if self._rest:
                    raise ProtocolError("The message breaks off", status=USAGE)
                return None
            if not begun:
                begun = True
                deadline = self._monotonic() + message_seconds
            self._rest += chunk

    def send(self, message: bytes, seconds: float = MESSAGE_SECONDS) -> None:
        """Send *message*, newline included; TimeoutError when the other side does not take it within *seconds*."""
        self._sock.settimeout(max(seconds, 0.001))
        self._sock.sendall(message)

    def send_part(self, message: bytes, seconds: float) -> int:
        """Send what fits of *message* and return how many bytes that were, 0 after *seconds*; OSError when closed."""
        self._sock.settimeout(seconds)
        try:
            return self._sock.send(message)
        except TimeoutError:
            return 0

    def is_closed(self) -> bool:
        """Tell, without waiting, whether the other side has closed."""
        self._sock.setblocking(False)
        try:
            return not self._sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True

    def shutdown(self) -> None:
        """End the connection in both directions: a thread that waits for a message gets the end of it."""
        try:
            self._sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # the other side was quicker

    def close(self) -> None:
        """Give the socket back."""
        self._sock.close()

    def _receive(self, deadline: float) -> bytes:
        left = deadline - self._monotonic()
        if left <= 0:
            raise TimeoutError("The message took too long")
        self._sock.settimeout(left)
        return self._sock.recv(_CHUNK)


def peer(sock: socket.socket) -> tuple[int, int] | None:
    """
    Return process id and user id of the other side (unix(7), SO_PEERCRED), None where the system does not tell.

    The process id is 0 when that process lives in another pid namespace.
    """
    option = getattr(socket, "SO_PEERCRED", None)
    if option is not None:
        size = struct.calcsize("3i")
        pid, uid, _gid = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, option, size))
        return pid, uid
    local = getattr(socket, "LOCAL_PEERCRED", None)
    if local is not None:  # FreeBSD, unix(4): struct xucred begins with its version (0) and the user id
        version, uid = struct.unpack_from("II", sock.getsockopt(0, local, 256))
        if version == 0:
            return 0, uid
    return None
