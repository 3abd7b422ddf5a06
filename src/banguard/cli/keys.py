"""Wait for a key, for another size of the terminal, or for the time to pass."""

from __future__ import annotations

import os
import select
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import Self


class Keys:
    """
    Reads single keys from standard input while in use, where that is a terminal; a context manager.

    A new size of the terminal ends a wait. On Ctrl-Z *suspend* is called before the program stops and *resume* when it
    goes on; SIGTERM and SIGHUP end it by SystemExit, so that the terminal is left as it was.
    """

    def __init__(self, suspend: Callable[[], None], resume: Callable[[], None]) -> None:
        self._suspend = suspend
        self._resume = resume
        self._before: list[int | list[bytes | int]] | None = None
        self._handlers: dict[int, Callable[[int, FrameType | None], object] | int | None] = {}
        self._read = self._write = -1
        self._keyboard = sys.stdin.isatty()

    def __enter__(self) -> Self:
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        self._wake_before = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        for number, handler in (
            (signal.SIGWINCH, _nothing),
            (signal.SIGTERM, _end),
            (signal.SIGHUP, _end),
            (signal.SIGTSTP, self._stop),
        ):
            self._handlers[number] = signal.signal(number, handler)
        self._listen()
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wake_before)
        os.close(self._read)
        os.close(self._write)

    def wait(self, seconds: float) -> str:
        """Return what was typed within *seconds* (a cursor key is several characters); nothing at a new size."""
        keyboard = [sys.stdin.fileno()] if self._keyboard else []
        ready = select.select([self._read, *keyboard], [], [], seconds)[0]
        if self._read in ready:
            os.read(self._read, 4096)
        if keyboard and keyboard[0] in ready:
            data = os.read(keyboard[0], 64)
            self._keyboard = bool(data)  # nothing: the terminal is gone
            return data.decode("ascii", "replace")
        return ""

    def _listen(self) -> None:
        if self._keyboard:
            import termios  # noqa: PLC0415  there are none without a terminal
            import tty  # noqa: PLC0415

            self._before = termios.tcgetattr(sys.stdin)
            tty.setcbreak(sys.stdin)

    def _restore(self) -> None:
        if self._before is not None:
            import termios  # noqa: PLC0415

            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, self._before)
            self._before = None

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        self._suspend()
        self._restore()
        signal.raise_signal(signal.SIGSTOP)
        self._listen()
        self._resume()


def _nothing(_number: int, _frame: FrameType | None) -> None:
    """Do nothing: that the signal came is seen by the byte it leaves."""


def _end(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)
