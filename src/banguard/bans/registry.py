"""Thread that owns all active bans."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from banguard.bans.store import BanStore
from banguard.clock import Clock
from banguard.config.schema import BantimeIncrement
from banguard.inbox import Inbox, Slot
from banguard.model import Ban, BanChange, Cursor, Fact, FailureState, JailReport, NOTHING, Origin

logger = logging.getLogger("banguard.actions")


@dataclass(frozen=True, slots=True)
class JailBans:
    """
    The bans of one jail at one moment.

    *bans* are ordered by their end, those for ever last, equal ends by host. *total* counts the bans since the jail was
    attached, restored ones included.
    """

    bans: tuple[Ban, ...] = ()
    total: int = 0


@dataclass(frozen=True, slots=True)
class Attached:
    """
    The reply to AttachJail: where the jail's sources and its failure counter go on.

    *bans* are the active bans of the jail: those restored now, or, for a jail that was attached already, all.
    """

    cursors: tuple[Cursor, ...]
    failures: tuple[FailureState, ...]
    bans: tuple[Ban, ...]


@dataclass(frozen=True, slots=True)
class AttachJail:
    """
    A jail begins: its ban times are set, its bans of an earlier run are restored.

    *ignored* tells whether the jail's ignore rules spare a host; it is asked, in the registry's thread, for restored
    bans and for those of the fleet. With *announce* each restored ban is emitted as `BanChange(BAN, restored=True)`;
    without, the caller hands the bans of the reply to the actions itself.
    """

    jail: str
    bantime: int = 600
    increment: BantimeIncrement = field(default_factory=BantimeIncrement)
    ignored: Callable[[str], bool] | None = None
    announce: bool = True
    slot: Slot[Attached] = field(default_factory=Slot)


@dataclass(frozen=True, slots=True)
class ConfigureJail:
    """Ban times of a jail change; bans that follow the jail's ban time get a new end. The reply is their number."""

    jail: str
    bantime: int
    increment: BantimeIncrement = field(default_factory=BantimeIncrement)
    ignored: Callable[[str], bool] | None = None
    slot: Slot[int] = field(default_factory=Slot)


@dataclass(frozen=True, slots=True)
class DetachJail:
    """
    A jail stops: its bans leave the registry and stay in the store. The reply is what was active.

    With *repeal* each is logged as `Repeal Ban`. No change is emitted: whoever stops the jail takes its actions down.
    """

    jail: str
    repeal: bool = True
    slot: Slot[tuple[Ban, ...]] = field(default_factory=Slot)


@dataclass(frozen=True, slots=True)
class BanRequest:
    """
    An operator or a peer wants hosts banned now. The reply is the number of those that were not banned before.

    *bantime* None means that of the jail, -1 for ever. *since* None means now. Hosts are canonical addresses or
    networks, or other ids. Bans of the fleet are checked against the jail's ignore rules, manual ones are not.
    """

    jail: str
    hosts: tuple[str, ...]
    bantime: float | None = None
    origin: Origin = Origin.MANUAL
    since: float | None = None
    data: Mapping[str, str] = field(default_factory=lambda: NOTHING)
    slot: Slot[int] = field(default_factory=Slot)


@dataclass(frozen=True, slots=True)
class UnbanRequest:
    """
    End bans by hand in *jail* (None: in all jails), and forget the hosts' past in the store.

    A network stands for itself and, unless *exact*, for all that is banned inside it. The reply gives for each host
    that was banned the number of jails it was banned in. *reason* goes into the fact.
    """

    jail: str | None
    hosts: tuple[str, ...]
    exact: bool = False
    reason: str = "manual"
    slot: Slot[Mapping[str, int]] = field(default_factory=Slot)


@dataclass(frozen=True, slots=True)
class UnbanAll:
    """End all bans of *jail* (None: of all jails) and forget them in the store; the reply is their number."""

    jail: str | None
    slot: Slot[int] = field(default_factory=Slot)


@dataclass(frozen=True, slots=True)
class Call:
    """Have a function called with the registry in its thread; the reply is what it returned."""

    function: Callable[[Registry], object]
    slot: Slot[object] = field(default_factory=Slot)


Message = JailReport | AttachJail | ConfigureJail | DetachJail | BanRequest | UnbanRequest | UnbanAll | Call


class Registry:
    """
    Knows who is banned until when, decides how long, keeps the store, tells the actions.

    A ban is computed in full (its length included), committed to the store together with the cursors and failures of
    the same reports, then logged, then emitted. A store that cannot be written never keeps a ban back.

    Ends are wall-clock times: when the clock is set forward, bans end early; when it is set back, they last longer by
    as much. Nothing else depends on the wall clock.
    """

    def __init__(
        self,
        store: BanStore,
        emit: Callable[[BanChange], None],
        clock: Clock,
        publish: Callable[[Fact], None],
        *,
        protected: Callable[[str], bool] | None = None,
        random: Callable[[], float] | None = None,
        forget_on_unban: bool = True,
        inbox_limit: int = 256,
    ) -> None:
        """
        *emit* must not block. *protected* tells of hosts that are never banned, whoever asks. *random* gives floats
        from 0 to below 1 for `bantime.rndtime`. *forget_on_unban*: an unban by hand also wipes the host's ban count.
        """
        self.inbox: Inbox[Message] = Inbox(inbox_limit)
        raise NotImplementedError

    def run(self, stop: threading.Event) -> None:
        """Thread body: work until *stop* is set (and the inbox closed, which wakes it), then commit what waits."""
        raise NotImplementedError

    def snapshot(self) -> Mapping[str, JailBans]:
        """Return the bans of every jail that is attached; any thread may ask."""
        raise NotImplementedError

    def attached(self) -> Collection[str]:
        """Return the names of the jails that are attached; for `Call` functions."""
        raise NotImplementedError
