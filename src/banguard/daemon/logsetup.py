"""
Configure logging.

All loggers are children of `banguard`; their name is the NAME column of the log, which other programs read::

    2026-11-20 22:27:27,123 banguard.actions        [4711]: NOTICE  [sshd] Ban 192.0.2.1

One event is one line: whatever a message holds, what is not printable in it is written as an escape, since much of it
came out of other logs. The package `logging.handlers` is not used; two datagram sockets are all that is needed of it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import sys
from collections.abc import Mapping
from typing import Protocol

from banguard.config.expand import parse_spec
from banguard.errors import ControlError

logger = logging.getLogger("banguard.server")

LEVELS: Mapping[str, int] = {
    "CRITICAL": 50,
    "ERROR": 40,
    "WARNING": 30,
    "NOTICE": 25,
    "INFO": 20,
    "MSG": 18,
    "DEBUG": 10,
    "TRACEDEBUG": 7,
    "HEAVYDEBUG": 5,
}
"""The levels by name, as they stand in the log."""

_OTHER_NAMES = {"TRACE": "TRACEDEBUG", "HEAVY": "HEAVYDEBUG", "WARN": "WARNING", "CRIT": "CRITICAL"}
_ROOT = "banguard"
_STREAMS = ("STDOUT", "STDERR", "SYSOUT")
_SYSLOG, _JOURNAL = "SYSLOG", "SYSTEMD-JOURNAL"
_JOURNAL_SOCKET = "/run/systemd/journal/socket"
_SYSLOG_SOCKETS = ("/dev/log", "/var/run/syslog", "/var/run/log")
_DATAGRAM_LIMIT = 8192
"""Bytes of one message: rsyslog and journald both take that much."""
_ON = {"on": True, "yes": True, "true": True, "1": True, "off": False, "no": False, "false": False, "0": False}

# RFC 5424, table 1
_FACILITIES: Mapping[str, int] = {
    "KERN": 0,
    "USER": 1,
    "MAIL": 2,
    "DAEMON": 3,
    "AUTH": 4,
    "SYSLOG": 5,
    "LPR": 6,
    "NEWS": 7,
    "UUCP": 8,
    "CRON": 9,
    "AUTHPRIV": 10,
    "FTP": 11,
    **{f"LOCAL{number}": 16 + number for number in range(8)},
}

for _name, _level in LEVELS.items():
    logging.addLevelName(_level, _name)


def parse_level(text: str) -> int:
    """Return the number of a level given by name or number (1 to 50); ValueError for anything else."""
    name = text.strip().upper()
    name = _OTHER_NAMES.get(name, name)
    if name in LEVELS:
        return LEVELS[name]
    if name.isascii() and name.isdecimal() and 1 <= int(name) <= LEVELS["CRITICAL"]:
        return int(name)
    raise ValueError(f"Invalid log level '{name}'")


def level_name(text: str) -> str:
    """Return the name under which a level is shown: `TRACEDEBUG` for `trace`, the number for one without a name."""
    number = parse_level(text)
    return next((name for name, level in LEVELS.items() if level == number), str(number))


def escape(text: str) -> str:
    """Return *text* on one line: everything that is not printable, tabs excepted, as an escape."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char == "\t" else ascii(char)[1:-1] for char in text)


class _OneLine(logging.Formatter):
    """
    Formats a record as one line; a traceback follows the message on the same line.

    Loggers are shown as those of *program*: whoever reads the log of fail2ban looks for `fail2ban.actions`.
    """

    def __init__(self, form: str, program: str = _ROOT) -> None:
        super().__init__(form)
        self._program = program

    def format(self, record: logging.LogRecord) -> str:
        if self._program != _ROOT and record.name.startswith(_ROOT):
            record = logging.makeLogRecord({**record.__dict__, "name": self._program + record.name[len(_ROOT) :]})
        text = record.getMessage()
        if text.isprintable() and not record.exc_info and not record.stack_info:
            return super().format(record)
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        if record.stack_info:
            text += "\n" + record.stack_info
        shown = logging.makeLogRecord(record.__dict__)
        shown.msg, shown.args, shown.exc_info, shown.exc_text, shown.stack_info = escape(text), (), None, None, None
        return super().format(shown)


class _Output(Protocol):
    """Where formatted lines go."""

    def write(self, line: str, record: logging.LogRecord) -> None:
        """Write one line; OSError when that fails."""

    def reopen(self) -> bool:
        """Begin a new file where there is one, and return whether there was; else flush."""

    def close(self) -> None:
        """Give back what was opened."""


class _FileOutput:
    """A file that is only appended to; made with mode 0600 when missing."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._descriptor = self._open()

    def write(self, line: str, record: logging.LogRecord) -> None:  # noqa: ARG002  other outputs need the record
        data = f"{line}\n".encode("utf-8", "backslashreplace")
        while data:
            data = data[os.write(self._descriptor, data) :]

    def reopen(self) -> bool:
        old, self._descriptor = self._descriptor, self._open()
        os.close(old)
        return True

    def close(self) -> None:
        os.close(self._descriptor)

    def _open(self) -> int:
        return os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY, 0o600)


class _StreamOutput:
    """Standard output or standard error, whatever that is at the moment of writing."""

    def __init__(self, name: str) -> None:
        self._name = name

    def write(self, line: str, record: logging.LogRecord) -> None:  # noqa: ARG002  other outputs need the record
        stream = getattr(sys, self._name)
        if stream is None:
            return
        encoding = getattr(stream, "encoding", None) or "utf-8"
        stream.write(line.encode(encoding, "backslashreplace").decode(encoding) + "\n")
        stream.flush()

    def reopen(self) -> bool:
        stream = getattr(sys, self._name)
        if stream is not None:
            stream.flush()
        return False

    def close(self) -> None:
        pass


class _DatagramOutput:
    """A Unix datagram socket that is connected again when its server was restarted."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._sock = self._connect()

    def send(self, data: bytes) -> None:
        """Send one message; OSError when nobody takes it."""
        try:
            self._sock.send(data)
        except OSError:
            sock = self._connect()
            self._sock.close()
            self._sock = sock
            self._sock.send(data)

    def reopen(self) -> bool:
        return False

    def close(self) -> None:
        self._sock.close()

    def _connect(self) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            sock.settimeout(1.0)  # a stuck syslog must not stop us
            sock.connect(self._path)
        except OSError:
            sock.close()
            raise
        return sock


class _SyslogOutput(_DatagramOutput):
    """The local syslog (RFC 3164, section 4.1, as /dev/log takes it: priority, tag, text)."""

    def __init__(self, path: str, facility: int) -> None:
        super().__init__(path)
        self._facility = facility

    def write(self, line: str, record: logging.LogRecord) -> None:
        head = f"<{self._facility * 8 + _severity(record.levelno)}>".encode()
        self.send((head + line.encode("utf-8", "backslashreplace"))[:_DATAGRAM_LIMIT])


class _JournalOutput(_DatagramOutput):
    """The journal's own protocol (systemd: JOURNAL_NATIVE_PROTOCOL): one FIELD=value per line."""

    def __init__(self) -> None:
        super().__init__(_JOURNAL_SOCKET)

    def write(self, line: str, record: logging.LogRecord) -> None:
        fields = {
            "MESSAGE": line.encode("utf-8", "backslashreplace")[:_DATAGRAM_LIMIT].decode("utf-8", "ignore"),
            "PRIORITY": _severity(record.levelno),
            "SYSLOG_IDENTIFIER": _ROOT,
            "LOGGER": record.name,
            "THREAD_NAME": escape(record.threadName or ""),
        }
        self.send("".join(f"{name}={value}\n" for name, value in fields.items()).encode("utf-8", "backslashreplace"))


def _severity(level: int) -> int:
    """RFC 5424, table 2: from 2 (critical) to 7 (debug)."""
    for least, severity in ((50, 2), (40, 3), (30, 4), (25, 5), (18, 6)):
        if level >= least:
            return severity
    return 7


class _Handler(logging.Handler):
    """Writes records to one output; what cannot be written is counted and dropped, since nobody could be told."""

    def __init__(self, output: _Output) -> None:
        super().__init__()
        self.output = output
        self.lost = 0

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self.output.write(self.format(record), record)
        except (OSError, ValueError, TypeError):  # also: arguments that do not fit the message
            self.lost += 1

    def close(self) -> None:
        super().close()
        with contextlib.suppress(OSError):
            self.output.close()


class LogSetup:
    """
    The log of the server: its level, its target, the socket of syslog.

    Made once per process; changed by the main thread or, one at a time, by control threads: each change opens the new
    target before it lets go of the old one, so that no record is lost and a target that cannot be opened changes
    nothing.
    """

    def __init__(self, program: str = _ROOT) -> None:
        """*program* is the name in front of each logger's (`banguard.actions`)."""
        self._program = program
        self._root = logging.getLogger(_ROOT)
        self._handler: _Handler | None = None
        self._given = ""
        self.level = "INFO"
        self.target = "STDERR"
        self.syslogsocket = "auto"

    @property
    def lost(self) -> int:
        """How many records the present target did not take."""
        return 0 if self._handler is None else self._handler.lost

    def change(self, level: str, target: str, syslogsocket: str = "auto") -> None:
        """
        Put level, target and syslog socket in force.

        The target is a file, `STDOUT`, `STDERR`, `SYSOUT`, `SYSLOG` or `SYSTEMD-JOURNAL`, with options in brackets:
        `format`, `datetime`, `padding`, `facility`. Raise ControlError, changing nothing, for an unknown level or a
        target that cannot be opened.
        """
        try:
            number, name = parse_level(level), level_name(level)
        except ValueError as error:
            raise ControlError(str(error)) from None
        if self._handler is None or target != self._given or syslogsocket != self.syslogsocket:
            handler, shown = self._open(target, syslogsocket)
            old, self._handler = self._handler, handler
            self._root.addHandler(handler)
            if old is not None:
                self._root.removeHandler(old)
                old.close()
            self._root.propagate = False
            self._given, self.target, self.syslogsocket = target, shown, syslogsocket
        self._root.setLevel(number)
        self.level = name

    def flush(self) -> str:
        """Reopen the log when it is a file and return `rolled over`, else flush it and return `flushed`."""
        handler = self._handler
        if handler is None:
            return "flushed"
        handler.acquire()
        try:
            rolled = handler.output.reopen()
        except OSError as error:
            raise ControlError(f"Cannot reopen the log {self.target}: {error.strerror or error}") from None
        finally:
            handler.release()
        if not rolled:
            return "flushed"
        logger.info("rollover performed on %s", self.target)
        return "rolled over"

    def close(self) -> None:
        """Let go of the target; later records go nowhere."""
        if self._handler is not None:
            self._root.removeHandler(self._handler)
            self._handler.close()
            self._handler = None
            self._root.addHandler(logging.NullHandler())

    def _open(self, text: str, syslogsocket: str) -> tuple[_Handler, str]:
        try:
            spec = parse_spec(text)
        except ValueError as error:
            raise ControlError(f"Invalid log target {text!r}: {error}") from None
        word = spec.name.upper()
        reserved = word in (*_STREAMS, _SYSLOG, _JOURNAL)
        if not spec.name:
            raise ControlError("The log target is empty")
        datetime = _switch(spec.options, "datetime", default=word not in ("SYSOUT", _SYSLOG, _JOURNAL))
        padding = _switch(spec.options, "padding", default=word not in (_SYSLOG, _JOURNAL))
        formatter = _formatter(spec.options.get("format", ""), self._program, datetime=datetime, padding=padding)
        try:
            handler = _Handler(_output(word if reserved else spec.name, spec.options, syslogsocket))
        except OSError as error:
            raise ControlError(f"Cannot log to {spec.name}: {error.strerror or error}") from None
        handler.setFormatter(formatter)
        options = text.strip()[len(spec.name) :]
        return handler, (word if reserved else spec.name) + options


def _output(name: str, options: Mapping[str, str], syslogsocket: str) -> _Output:
    if name in ("STDOUT", "SYSOUT"):
        return _StreamOutput("stdout")
    if name == "STDERR":
        return _StreamOutput("stderr")
    if name == _JOURNAL:
        return _JournalOutput()
    if name == _SYSLOG:
        facility = options.get("facility", "DAEMON").upper().removeprefix("LOG_")
        if facility not in _FACILITIES:
            raise ControlError(f"Unknown syslog facility {facility!r}")
        return _SyslogOutput(_syslog_path(syslogsocket), _FACILITIES[facility])
    return _FileOutput(name)


def _syslog_path(given: str) -> str:
    if given.lower() != "auto":
        return given
    return next((path for path in _SYSLOG_SOCKETS if os.path.exists(path)), _SYSLOG_SOCKETS[0])


def _switch(options: Mapping[str, str], name: str, *, default: bool) -> bool:
    text = options.get(name)
    if text is None:
        return default
    if text.lower() not in _ON:
        raise ControlError(f"The log option {name} must be on or off, not {text!r}")
    return _ON[text.lower()]


def _formatter(given: str, program: str, *, datetime: bool, padding: bool) -> logging.Formatter:
    if given:
        try:
            formatter = _OneLine(given, program)
            formatter.format(logging.makeLogRecord({"name": _ROOT, "levelname": "INFO", "msg": ""}))
        except (ValueError, KeyError, TypeError) as error:
            raise ControlError(f"The format of the log cannot be used: {error}") from None
        return formatter
    columns = "%(name)-24s[%(process)d]: %(levelname)-7s %(message)s"
    plain = "%(name)s[%(process)d]: %(levelname)s %(message)s"
    return _OneLine(("%(asctime)s " if datetime else "") + (columns if padding else plain), program)
