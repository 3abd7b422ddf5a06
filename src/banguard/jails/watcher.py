"""Thread that drains one jail's inbox."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from banguard.clock import Clock
from banguard.config.schema import JailConfig
from banguard.inbox import Inbox, Slot
from banguard.jails.ignore import IgnoreRules
from banguard.jails.jail import Jail
from banguard.model import Candidates, Cursor, JailReport, JailStats

if TYPE_CHECKING:
    from banguard.matching import FilterRules


@dataclass(frozen=True, slots=True)
class Attempt:
    """Count failures of *host*, one per line, at least one. The reply is 1, or 0 when the ignore rules spare it."""

    host: str
    lines: tuple[str, ...] = ()
    slot: Slot[int] = field(default_factory=Slot)


@dataclass(frozen=True, slots=True)
class Reconfigure:
    """
    Put a new configuration in force; counts, sessions' failures and positions stay. None leaves that part as it is.

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

    def __init__(
        self, jail: Jail, inbox: Inbox[Message], emit: Callable[[JailReport], None], clock: Clock
    ) -> None:
        """*emit* may block: the registry's inbox being full holds this jail up, and nobody else."""
        raise NotImplementedError

    def run(self, stop: threading.Event) -> None:
        """Thread body: until *stop* is set (and the inbox closed, which wakes it)."""
        raise NotImplementedError

    def stats(self) -> JailStats:
        """Return the jail's numbers as of a moment ago; any thread may ask."""
        raise NotImplementedError

    @property
    def idle(self) -> bool:
        """Whether the jail is suspended."""
        raise NotImplementedError
