"""
The immutable values that travel along the pipeline.

    sources ── Candidates ──► jails ── JailReport ──► bans ── BanChange ──► actions

Times are seconds since the epoch (wall clock), durations are seconds. A host is its canonical text (see `netaddr`), or
the text of an id that is no address. Nothing here has a method with an effect.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

NOTHING: Mapping[str, str] = MappingProxyType({})


def _nothing() -> Mapping[str, str]:
    return NOTHING


# ---- sources → jails


@dataclass(frozen=True, slots=True)
class Cursor:
    """
    A position in a log, as it is kept over restarts.

    A file is told by device, inode and a fingerprint of its first line (hex digest of at most its first 1 KiB, empty
    while the first line is incomplete); *offset* is the byte after the last line handed out. For a journal, *journal*
    is its cursor text and the file fields stay 0. *time* is that of the last line handed out (of a file: when it had
    last been written to at that moment), 0 when unknown.
    """

    log: str
    device: int = 0
    inode: int = 0
    offset: int = 0
    fingerprint: str = ""
    journal: str = ""
    time: float = 0.0


@dataclass(frozen=True, slots=True)
class Candidates:
    """
    Lines of one log for one jail.

    *block* holds whole lines (each ends in a newline); *spans* are start and end of the candidate lines in it, without
    their newline, or None for every line. *times* is given for journal entries: one per line, and there is no date in
    the text. *live* is true once the log was read to its end: lines are then expected to be of now. *cursor* is the
    position behind the block.
    """

    log: str
    block: bytes
    cursor: Cursor
    read_at: float
    spans: tuple[tuple[int, int], ...] | None = None
    times: tuple[float, ...] | None = None
    live: bool = False


# ---- jails → bans


@dataclass(frozen=True, slots=True)
class Grounds:
    """
    What a ban rests on: the *times* of the failures that counted, and the rules that found them.

    *rules* holds the number of the failregex of each matched line, in the order of these (0: not known any more).
    *texts* gives number, regex and place (`file:line`) of each of these rules as they were then. *maxretry* failures
    within *findtime* seconds were enough.
    """

    times: tuple[float, ...] = ()
    rules: tuple[int, ...] = ()
    texts: tuple[tuple[int, str, str], ...] = ()
    maxretry: int = 0
    findtime: float = 0.0


@dataclass(frozen=True, slots=True)
class BanDecision:
    """
    A jail wants a host banned: it reached maxretry.

    *at* is the time of the last failure, *failures* their number, *matches* the newest matched lines, *data* the
    captured groups (`user`, …; also `ip` when the id is not the address), *grounds* what it rests on.
    """

    jail: str
    host: str
    at: float
    failures: int
    matches: tuple[str, ...] = ()
    data: Mapping[str, str] = field(default_factory=_nothing)
    grounds: Grounds | None = None


@dataclass(frozen=True, slots=True)
class FailureState:
    """What the failure counter of a jail holds of one host; no times means: forgotten."""

    host: str
    times: tuple[float, ...]
    matches: tuple[str, ...] = ()
    data: Mapping[str, str] = field(default_factory=_nothing)


@dataclass(frozen=True, slots=True)
class JailReport:
    """
    What came of some blocks, in one message, so that the store can keep it in one transaction.

    *cursors* are the new positions, *failures* the counter entries that changed, *decisions* the bans wanted, *hits*
    the time of the last failure of each host where `bantime.rearm` wants to know of every one. Whoever finds this
    report in the store may go on from its cursors and neither lose nor repeat a line.
    """

    jail: str
    cursors: tuple[Cursor, ...] = ()
    failures: tuple[FailureState, ...] = ()
    decisions: tuple[BanDecision, ...] = ()
    hits: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))


class Origin(enum.Enum):
    """Who asked for a ban."""

    LOCAL = "local"
    MANUAL = "manual"
    RESTORED = "restored"
    FLEET = "fleet"


# ---- bans → actions


@dataclass(frozen=True, slots=True)
class Ban:
    """An active ban; *until* is None for ever; *count* says the how manieth of this host it is (from 1)."""

    jail: str
    host: str
    since: float
    until: float | None
    count: int = 1
    origin: Origin = Origin.LOCAL
    failures: int = 0
    matches: tuple[str, ...] = ()
    data: Mapping[str, str] = field(default_factory=_nothing)
    grounds: Grounds | None = None

    @property
    def bantime(self) -> int:
        """Whole length in seconds, -1 for ever."""
        return -1 if self.until is None else round(self.until - self.since)

    @property
    def address(self) -> str:
        """The address to block: that of the data when the id is something else."""
        return self.data.get("ip", self.host)


class Change(enum.Enum):
    """The kinds of steps an action is told of."""

    BAN = "ban"
    UNBAN = "unban"
    EXTEND = "extend"


@dataclass(frozen=True, slots=True)
class BanChange:
    """One step for the actions of a jail; *restored* marks bans of an earlier run, which are not notified again."""

    kind: Change
    ban: Ban
    restored: bool = False


# ---- snapshots that owners publish


@dataclass(frozen=True, slots=True)
class JailStats:
    """A jail's own numbers, made by its watcher."""

    currently_failed: int = 0
    total_failed: int = 0
    lines: int = 0
    matched: int = 0
    ignored: int = 0
    errors: int = 0
    inbox_wait_seconds: float = 0.0


# ---- facts on the bus


@dataclass(frozen=True, slots=True)
class Fact:
    """Something that happened, at wall-clock time *at*."""

    at: float


@dataclass(frozen=True, slots=True)
class FailureFound(Fact):
    """A line counted as a failure."""

    jail: str
    host: str
    line: str


@dataclass(frozen=True, slots=True)
class LoginFound(Fact):
    """A line tells that a host gained access."""

    jail: str
    host: str


@dataclass(frozen=True, slots=True)
class Banned(Fact):
    """A ban began, or was restored."""

    ban: Ban


@dataclass(frozen=True, slots=True)
class Unbanned(Fact):
    """A ban ended: `expired`, `manual` or `stopped` is the *reason*."""

    ban: Ban
    reason: str


@dataclass(frozen=True, slots=True)
class ActionFailed(Fact):
    """An action could not be carried out for *hosts* (empty: start, stop, …)."""

    jail: str
    action: str
    message: str
    hosts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FirewallLost(Fact):
    """A firewall no longer holds what was put into it for *jails*; it is built anew."""

    firewall: str
    jails: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FirewallMended(Fact):
    """A firewall that had lost its rules, or could not be reached, stands again."""

    firewall: str
    jails: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SourceRotated(Fact):
    """A log was renamed, truncated or replaced."""

    log: str


@dataclass(frozen=True, slots=True)
class SourceTrouble(Fact):
    """A log or journal cannot be read at present."""

    log: str
    message: str


@dataclass(frozen=True, slots=True)
class SourceMended(Fact):
    """A log or journal can be read again."""

    log: str


@dataclass(frozen=True, slots=True)
class ThreadCrashed(Fact):
    """A thread died and is started again."""

    thread: str
    message: str


@dataclass(frozen=True, slots=True)
class ConfigReloaded(Fact):
    """A reload was carried out."""

    added: tuple[str, ...] = field(default=())
    changed: tuple[str, ...] = field(default=())
    removed: tuple[str, ...] = field(default=())
