"""
The exception tree.

::

    BanguardError
    ├── ConfigError     a file, its line, and what is wrong there
    ├── PatternError    a regex or date pattern that cannot be used
    ├── SourceError     a log or journal that cannot be read
    ├── ActionError     an action that could not be carried out
    ├── StoreError      the ban store cannot be read or written
    └── ControlError    a command that the server refuses

An exception is a class of its own only where somebody catches it apart from the others.
"""

from __future__ import annotations


class BanguardError(Exception):
    """Root of all errors that banguard raises on purpose."""


class ConfigError(BanguardError):
    """Something is wrong in a configuration file; *path* and *line* (from 1) say where, when known."""

    def __init__(self, message: str, *, path: str | None = None, line: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.path = path
        self.line = line

    def __str__(self) -> str:
        if self.path is None:
            return self.message
        where = self.path if self.line is None else f"{self.path}:{self.line}"
        return f"{where}: {self.message}"


class PatternError(BanguardError):
    """A regex or date pattern cannot be used; *pattern* is the text as the user wrote it."""

    def __init__(self, message: str, *, pattern: str) -> None:
        super().__init__(message)
        self.message = message
        self.pattern = pattern


class SourceError(BanguardError):
    """A log or journal cannot be read."""


class ActionError(BanguardError):
    """An action could not be carried out."""


class StoreError(BanguardError):
    """The ban store cannot be read or written."""


class ControlError(BanguardError):
    """A command is refused; *status* is the exit status of the client (1 refused, 2 usage)."""

    def __init__(self, message: str, *, status: int = 1) -> None:
        super().__init__(message)
        self.status = status
