"""Thread that drains one jail's inbox."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from banguard.clock import Clock
from banguard.config.schema import JailConfig
from banguard.inbox import Inbox, Slot
from banguard.jails.ignore import IgnoreRules
from banguard.jails.jail import Jail
from banguard.model import Candidates, Cursor, JailReport, JailStats

if TYPE_CHECKING:
    from banguard.matching import FilterRules

REPORT_EVERY = 0.5
"""Seconds between reports that hold no decision."""

_LOOK_UP_EVERY = 2.0
"""Seconds after which a jail that counts failures, and gets no lines, brings its numbers up to date."""


class StoppedError(RuntimeError):
    """The jail ended before it came to the command."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """Count failures of *host*, one per line, at least one. The reply is 1, or 0 when the ignore rules spare it."""

    host: str
    lines: tuple[str, ...] = ()
    slot: Slot[int] = field(default_factory=Slot)


@dataclass(frozen=True, slots=True)
class Reconfigure:
    """
    Put a new configuration in force; failure counts and positions stay. None leaves that part as it is.

    *rules* are compiled by the sender, so that a bad regex never gets here; they belong to the jail afterwards.
    """

    config: JailConfig
    rules: FilterRules | None = None
    ignore: IgnoreRules | None = None
    slot: Slot[None] = field(default_factory=Slot)


@dataclass(frozen=True, slots=True)
class Idle:
    """
    Suspend or resume the jail. The reply: the positions behind the last lines that were counted.

    While idle the watcher throws away what arrives, so that it stops nobody: the sender also unsubscribes the jail from
    its sources, and subscribes it again from these positions before it sends `Idle(False)`. Nothing is then lost.
    """

    on: bool
    slot: Slot[tuple[Cursor, ...]] = field(default_factory=Slot)


@dataclass(frozen=True, slots=True)
class Call:
    """Have a function called with the jail in the jail's thread; the reply is what it returned."""

    function: Callable[[Jail], object]
    slot: Slot[object] = field(default_factory=Slot)


Command = Attempt | Reconfigure | Idle | Call
Message = Candidates | Command


class Watcher:
    """
    The thread of one jail: lines in, reports out.

    A report goes out at most every half second, at once when it holds decisions. Commands go to the front of the inbox
    (`inbox.put_front`), so they do not wait behind a flood of lines.
    """

    def __init__(self, jail: Jail, inbox: Inbox[Message], emit: Callable[[JailReport], None], clock: Clock) -> None:
        """*emit* may block: the registry's inbox being full holds this jail up, and nobody else."""
        self._jail = jail
        self._inbox = inbox
        self._emit = emit
        self._clock = clock
        self._idle = False
        self._reported_at = float("-inf")
        self._stats = jail.stats()

    @property
    def inbox(self) -> Inbox[Message]:
        """Where lines and commands go."""
        return self._inbox

    @property
    def idle(self) -> bool:
        """Whether the jail is suspended."""
        return self._idle

    def stats(self) -> JailStats:
        """Return the jail's numbers as of a moment ago; any thread may ask."""
        return replace(self._stats, inbox_wait_seconds=self._inbox.wait_seconds)

    def run(self, stop: threading.Event) -> None:
        """Thread body: until *stop* is set (and the inbox closed, which wakes it)."""
        pending = False
        self._stats = self._jail.stats()  # it may have been given the failures of an earlier run since
        while not stop.is_set():
            message = self._inbox.get(self._patience(pending))
            if message is None:
                if self._inbox.closed:
                    break
            elif isinstance(message, Candidates):
                if not self._idle:
                    pending = True
                    if not self._jail.feed(message, lambda: self._between(stop)):
                        self._refuse_rest()
                        return  # given up within a block: what was counted of it must not be stored
            else:
                pending = True
                self._obey(message)
            if self._jail.has_decisions or self._clock.monotonic() >= self._reported_at + REPORT_EVERY:
                self._report()
                pending = False
            self._stats = self._jail.stats()
        self._report()
        self._refuse_rest()

    def _patience(self, pending: bool) -> float | None:
        if not pending:
            # Without failures there is no number that time could change: sleep until something comes.
            return _LOOK_UP_EVERY if self._stats.currently_failed else None
        return max(0.0, self._reported_at + REPORT_EVERY - self._clock.monotonic())

    def _between(self, stop: threading.Event) -> bool:
        if stop.is_set():
            return False
        report = self._jail.urgent_report()
        if report is not None:
            self._emit(report)
        return True

    def _report(self) -> None:
        self._reported_at = self._clock.monotonic()
        report = self._jail.report()
        if report is not None:
            self._emit(report)

    def _obey(self, command: Command) -> None:
        try:
            if isinstance(command, Attempt):
                command.slot.put(self._jail.attempt(command.host, command.lines))
            elif isinstance(command, Reconfigure):
                self._jail.reconfigure(command.config, command.rules, command.ignore)
                command.slot.put(None)
            elif isinstance(command, Idle):
                self._idle = command.on
                command.slot.put(self._jail.cursors())
            else:
                command.slot.put(command.function(self._jail))
        except Exception as error:  # noqa: BLE001  it belongs to the sender, who waits for it
            command.slot.fail(error)

    def _refuse_rest(self) -> None:
        """Tell the senders of commands that nobody will carry them out any more."""
        for message in self._inbox.get_all(0):
            if not isinstance(message, Candidates):
                message.slot.fail(StoppedError("the jail has stopped"))
