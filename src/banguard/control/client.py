"""Send one request, read one reply."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Sequence
from typing import Self

from banguard.control.protocol import (
    NO_PERMISSION,
    REPLY_LIMIT,
    UNREACHABLE,
    LineSocket,
    ProtocolError,
    Reply,
    decode_reply,
    encode_request,
    peer,
)
from banguard.errors import ControlError

PATIENCE = 120.0
"""Seconds a client waits for the answer to begin."""

_LONG = 3600.0  # how long to wait for news at a time


class Connection:
    """
    A connection to the server at *path*; a context manager.

    Raises ControlError with status 3 when nobody answers, 4 when the system or the server refuses the user.
    *monotonic* tells seconds.
    """

    def __init__(self, path: str, monotonic: Callable[[], float], *, timeout: float = 10.0) -> None:
        self._path = path
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._lines = LineSocket(self._sock, monotonic, limit=REPLY_LIMIT)
        self._sock.settimeout(timeout)
        try:
            self._sock.connect(path)
        except OSError as error:
            self._sock.close()
            raise _unreachable(path, error) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def server_pid(self) -> int:
        """Process id of the server, 0 when the system does not tell."""
        try:
            who = peer(self._sock)
        except OSError:
            return 0
        return 0 if who is None else who[0]

    def ask(self, command: Sequence[str], patience: float = PATIENCE) -> Reply:
        """
        Return the server's reply to *command*; ControlError when none comes within *patience* seconds.

        A refusal by the server is a reply too, and does not raise.
        """
        sent = self._send(command)
        try:
            message = self._lines.receive(patience, patience)
        except TimeoutError:
            raise ControlError(f"The server did not answer within {patience:g} seconds", status=UNREACHABLE) from None
        except ProtocolError as error:
            raise ControlError(str(error), status=UNREACHABLE) from None
        except OSError as error:
            raise _unreachable(self._path, error) from None
        if message is None:
            what = "before it answered" if sent else "at once"
            raise ControlError(f"The server closed the connection {what}", status=UNREACHABLE)
        return decode_reply(message)

    def follow(self, command: Sequence[str], patience: float = PATIENCE) -> Iterator[Reply]:
        """
        Yield the replies to *command* (`watch`) as they come, until the server closes the connection.

        The first comes within *patience* seconds, or ControlError is raised; for the others there is no limit.
        """
        yield self.ask(command, patience)
        while True:
            try:
                message = self._lines.receive(_LONG)
            except TimeoutError:
                continue
            except ProtocolError as error:
                raise ControlError(str(error), status=UNREACHABLE) from None
            except OSError as error:
                raise _unreachable(self._path, error) from None
            if message is None:
                return
            yield decode_reply(message)

    def _send(self, command: Sequence[str]) -> bool:
        """Send *command*; return False when the server does not take it, which may yet say why."""
        request = encode_request(command)
        try:
            self._lines.send(request)
        except (BrokenPipeError, ConnectionResetError):
            return False  # a server that refuses us says so before it closes
        except OSError as error:
            raise _unreachable(self._path, error) from None
        return True

    def wait_for_end(self, patience: float) -> bool:
        """Wait until the server closes the connection; return whether it did within *patience* seconds."""
        try:
            return self._lines.receive(patience) is None
        except TimeoutError:
            return False
        except (OSError, ProtocolError):
            return True

    def close(self) -> None:
        """End the connection."""
        self._sock.close()


def ask(
    path: str,
    command: Sequence[str],
    monotonic: Callable[[], float],
    *,
    timeout: float = 10.0,
    patience: float = PATIENCE,
) -> Reply:
    """Ask the server at *path* one thing; see `Connection`."""
    with Connection(path, monotonic, timeout=timeout) as connection:
        return connection.ask(command, patience)


def _unreachable(path: str, error: OSError) -> ControlError:
    if isinstance(error, PermissionError):
        return ControlError(f"Permission denied to socket: {path}, (you must be root)", status=NO_PERMISSION)
    if isinstance(error, FileNotFoundError):
        return ControlError(f"Failed to access socket path: {path}. Is banguard running?", status=UNREACHABLE)
    if isinstance(error, ConnectionRefusedError):
        return ControlError("Unable to contact server. Is it running?", status=UNREACHABLE)
    return ControlError(f"Cannot use the socket {path}: {error.strerror or error}", status=UNREACHABLE)
