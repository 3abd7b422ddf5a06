"""
The contract every action keeps, and the table of known native actions.

Two families. A **firewall action** holds a state: who is banned. One object (a *backend*) serves all jails that use
the same place (the same nftables table), from one thread, in transactions. A **jail action** belongs to one jail and
is told of one ban at a time, from a thread of its own: commands from action.d and users' Python actions. A jail action
that can unban keeps a state too, which is then made equal to the wanted one; one that cannot is a *notification*: told
once of every new ban, never again.

No action knows the jail, the registry or the dispatcher. An action never retries, never waits, never logs a failure: it
raises `ActionError`, and its worker does the rest.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol, runtime_checkable

from banguard.clock import Clock
from banguard.config.schema import ActionConfig, ActionKind
from banguard.errors import ActionError
from banguard.message import tell, why
from banguard.model import Ban, Change

NOTICE = 25
"""Log level of what operators and other tools look for: between INFO and WARNING."""

logging.addLevelName(NOTICE, "NOTICE")

NATIVE_ACTIONS: Mapping[str, str] = MappingProxyType(
    {
        "nftables": "banguard.actions.nftables:NftablesAction",
        "iptables": "banguard.actions.iptables:IptablesAction",
        "ipset": "banguard.actions.ipset:IpsetAction",
        "firewalld": "banguard.actions.firewalld:FirewalldAction",
        "firewalld-rich-rules": "banguard.actions.firewalld:RichRulesAction",
        "ufw": "banguard.actions.ufw:UfwAction",
        "route": "banguard.actions.route:RouteAction",
        "hostsdeny": "banguard.actions.hostsdeny:HostsdenyAction",
        "ipfw": "banguard.actions.bsd:IpfwAction",
        "pf": "banguard.actions.bsd:PfAction",
        "null": "banguard.actions.null:NullAction",
    }
)
"""Native firewall actions: name in the configuration → `module:Class`, imported on use. Others: entry points."""

NATIVE_NOTIFICATIONS: Mapping[str, str] = MappingProxyType(
    {"mail": "banguard.actions.mail:MailAction", "web": "banguard.actions.web:WebAction"}
)
"""Native jail actions, told of one ban at a time: name in the configuration → `module:Class`, imported on use."""

ENTRY_POINTS = "banguard.actions"


class TooLargeError(ActionError):
    """A transaction was too large for the firewall; the same in smaller portions may pass."""


class FullError(ActionError):
    """The firewall has no room for more elements; neither smaller portions nor single ones help."""


class UnavailableError(ActionError):
    """The firewall as a whole does not answer (no program, no rights, timeout): no use in trying element by element."""


class GivenUpError(ActionError):
    """Something could not be done and trying again would not help: an unban where the rules are gone."""


@dataclass(frozen=True, slots=True)
class Step:
    """
    One difference between what is wanted and what an action holds, for one key (an address, or an id).

    *old* is the ban the action holds (None: none), *new* the one it should hold (None: none). *again*: the action held
    *new* before and lost it. *restored*: the ban comes from an earlier run.
    """

    member: str
    key: str
    old: Ban | None
    new: Ban | None
    again: bool = False
    restored: bool = False

    @property
    def ban(self) -> Ban:
        """The ban that this is about."""
        ban = self.new or self.old
        assert ban is not None  # noqa: S101  a step without both is never made
        return ban

    @property
    def kind(self) -> Change:
        """EXTEND when only the end moved; a new ban in the place of an old one is a BAN too."""
        if self.new is None:
            return Change.UNBAN
        if self.old is not None and self.old.since == self.new.since and self.old.host == self.new.host:
            return Change.EXTEND
        return Change.BAN


@dataclass(frozen=True, slots=True)
class ActionStats:
    """
    One action of one jail at one moment.

    *enforces* tells actions that block (or hold any state) from notifications. *applied* are the hosts whose ban the
    action holds, *failed* those it could not be told of, with the reason. *waiting* counts the changes not yet carried
    out, *done* those that were, *errors* the failed attempts. *last_error* is empty when nothing is wrong at present.
    *lost_at* is when the firewall was last found without what it should hold (epoch seconds), 0 when it never was.
    """

    name: str
    enforces: bool
    applied: frozenset[str] = frozenset()
    failed: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    waiting: int = 0
    done: int = 0
    errors: int = 0
    last_error: str = ""
    lost_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Hold:
    """
    What is known of one ban in one action that blocks.

    *believed*: the action was told of it, and nothing failed. *held* is what the firewall itself said just now, None
    when it cannot be asked, or did not answer, as *error* says. *lost_at* as in `ActionStats`.
    """

    action: str
    believed: bool
    held: bool | None
    error: str = ""
    lost_at: float = 0.0
    waiting: int = 0


class History(Protocol):
    """What is known of a host from earlier bans; given by the server, backed by the ban store."""

    def __call__(self, host: str, jail: str | None) -> tuple[Sequence[str], int]:
        """Return the matched lines and the number of failures of *host* in *jail* (None: in all jails). May be slow."""
        ...


ReverseLookup = Callable[[str], str | None]
"""Address → host name from the DNS, None when there is none. May be slow."""

Heard = Callable[[str, Mapping[str, float]], None]
"""Jail, and its banned hosts from which packets still come, with the time of the last one (maybe none); may wait."""

JailNumbers = Callable[[str], Mapping[str, int]]
"""Jail → `banned`, `banned_total`, `found`, `found_total` at present."""


class FirewallAction(Protocol):
    """
    One place that holds the bans of many jails as a state. Used by one thread at a time.

    A *member* is one action of one jail (an opaque text, unique). Built as `Class(properties)` with the properties of
    the first member. Every method that changes the firewall is one transaction: it takes effect as a whole or raises
    `ActionError` and has none. Only the part of a step's bans that the firewall needs is looked at: `address`,
    `until`. A ban whose end is past is left out.
    """

    chunk: int
    """Most steps in one `apply`; the worker makes smaller ones after `TooLargeError`."""

    look_every: float
    """Seconds between two calls of `changed`: as often as its cost allows, so that a flush is noticed within 2 s."""

    def __init__(self, properties: Mapping[str, str]) -> None: ...

    @classmethod
    def place(cls, properties: Mapping[str, str]) -> str:
        """Name the place: members with the same place share one backend. Raise ActionError for bad *properties*."""
        ...

    @classmethod
    def verify(cls, properties: Mapping[str, str]) -> None:
        """Raise ActionError naming the option when *properties* cannot be used. Touches nothing."""
        ...

    def join(self, member: str, properties: Mapping[str, str], bans: Sequence[Ban], now: float) -> None:
        """
        Add the member, or replace it as a whole, with *bans*.

        It takes over what an earlier run left of it, so that nobody who is banned still gets through in between.
        """
        ...

    def sweep(self) -> None:
        """Remove what an earlier run left and no member took over; all members of this run have joined by now."""
        ...

    def leave(self, member: str) -> None:
        """Remove all that belongs to the member; everything of ours with the last one. Unknown members are no error."""
        ...

    def apply(self, steps: Sequence[Step], now: float) -> None:
        """Carry out *steps*, each key of a member at most once; removing what is gone already is no error."""
        ...

    def rebuild(self, bans: Mapping[str, Sequence[Ban]], now: float) -> None:
        """Build everything anew: all members that joined, with these *bans*."""
        ...

    def check(self) -> bool:
        """Tell cheaply whether what we built is still there. Raise ActionError when that cannot be found out."""
        ...

    def changed(self) -> bool:
        """Tell whether somebody else may have changed the firewall since the last transaction; costs little."""
        ...

    def forget(self, member: str) -> None:
        """Drop the member from memory and leave the firewall as it is (bans are to outlive the server)."""
        ...


@runtime_checkable
class TellsHeld(Protocol):
    """What a firewall action can do besides, where the firewall can be asked for a single address."""

    def held(self, member: str, key: str) -> bool:
        """Ask the firewall itself whether it keeps *key*, a ban of *member*, out; ActionError when it does not say."""
        ...


@runtime_checkable
class TellsSenders(Protocol):
    """What a firewall action can do besides, where the firewall counts packets: see `banguard.actions.senders`."""

    def senders(self, member: str, now: float) -> Mapping[str, float]:
        """
        Return the keys of *member* from which packets came since the last call, and when (wall clock) the last one did.

        Of addresses that are not banned something may be told, too. Asked for members with the property `WATCH` only.
        """
        ...


class NativeNotification(Protocol):
    """How native notifications are built and verified; what they do is a `JailAction`."""

    def __call__(
        self,
        config: ActionConfig,
        jail: str,
        *,
        clock: Clock,
        history: History | None = None,
        reverse_lookup: ReverseLookup | None = None,
        jail_numbers: JailNumbers | None = None,
    ) -> JailAction:
        """Make the action of a jail; raise ActionError for bad properties."""
        ...

    def verify(self, properties: Mapping[str, str]) -> None:
        """Raise ActionError naming the option when *properties* cannot be used."""
        ...


class JailAction(Protocol):
    """One action of one jail, told of one ban at a time. Used by one thread at a time; every method may block."""

    keeps_state: bool
    """Whether it can unban. False: a notification."""

    norestored: bool
    """Whether it is spared the bans of an earlier run."""

    has_start: bool
    """Whether `start` does anything: else no thread is needed before the first ban."""

    def start(self) -> None:
        """Prepare, unless that waits for the first ban."""
        ...

    def ban(self, step: Step) -> None:
        """Carry out *step* whose `new` is given: ban, prolong or ban again."""
        ...

    def unban(self, step: Step) -> None:
        """Carry out *step* whose `new` is None."""
        ...

    def flush(self) -> bool:
        """Take out all bans at once; return False, having done nothing, when that is not supported."""
        ...

    def stop(self) -> None:
        """Undo `start`."""
        ...

    def check(self) -> None:
        """Check that the bans are still in force and repair what is not; tell the `lost` callable what was lost."""
        ...

    def reload(self) -> None:
        """Tell the action that its jail was reloaded."""
        ...

    def properties(self) -> Mapping[str, str]:
        """Return the settable properties and their values."""
        ...

    def set_property(self, key: str, value: str) -> str:
        """Set one and return the value it has now."""
        ...

    def methods(self) -> tuple[str, ...]:
        """Return the names `call` knows, sorted."""
        ...

    def call(self, method: str, arguments: Mapping[str, object]) -> object:
        """Call a method by name. Raise ActionError when there is none of that name."""
        ...


def native_notification(name: str) -> NativeNotification | None:
    """Return the class of native notification *name*, None when there is none of that name."""
    target = NATIVE_NOTIFICATIONS.get(name)
    if target is None:
        return None
    module, _, attribute = target.partition(":")
    found: NativeNotification = getattr(importlib.import_module(module), attribute)
    return found


def native_action(name: str) -> type[FirewallAction]:
    """Return the class of native action *name*; raise ActionError when it is unknown or cannot be imported."""
    target = NATIVE_ACTIONS.get(name) or _entry_point(name)
    if target is None:
        known = ", ".join(sorted((*NATIVE_ACTIONS, *NATIVE_NOTIFICATIONS)))
        raise ActionError(tell("unknown native action {name!r}; known are {known}", name=name, known=known))
    module, _, attribute = target.partition(":")
    try:
        found: type[FirewallAction] = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ActionError(
            tell("native action {name!r} cannot be loaded: {reason}", name=name, reason=why(error))
        ) from error
    return found


def tells_senders(config: ActionConfig) -> bool:
    """Tell whether an action can say from which banned hosts packets still come."""
    if config.kind is not ActionKind.NATIVE or config.native in NATIVE_NOTIFICATIONS:
        return False
    return hasattr(native_action(config.native), "senders")


def _entry_point(name: str) -> str | None:
    from importlib.metadata import entry_points  # noqa: PLC0415  slow to import, and rarely needed

    for point in entry_points(group=ENTRY_POINTS, name=name):
        return point.value
    return None
