"""Say why an address is banned or not, and whether the ban keeps it out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from banguard import netaddr
from banguard.actions.base import Hold
from banguard.actions.xtables import identifier
from banguard.bans.registry import LATE, JailBans
from banguard.bans.store import PastBan
from banguard.clock import Clock
from banguard.config.schema import JailConfig
from banguard.daemon.causes import Cause, Evidence, Twin, Wall, causes
from banguard.daemon.traffic import Connection, Network, Packets, hooks_of, port_ranges
from banguard.jails.jail import Jail
from banguard.model import Ban, FailureState

HOLD_SECONDS = 10.0
"""How long the firewall may take to say whether it holds a ban."""

LONGEST_WATCH = 60.0
"""Seconds that packets may be watched for."""


@dataclass(frozen=True, slots=True)
class LineView:
    """A line that counted, and the number of the rule that found it (0: not known)."""

    line: str
    rule: int


@dataclass(frozen=True, slots=True)
class RuleView:
    """A rule as it was when it counted."""

    number: int
    regex: str
    place: str


@dataclass(frozen=True, slots=True)
class WallView:
    """An action that blocks: the ports and chains it covers; *held*: what the firewall said (None: it cannot say)."""

    action: str
    ports: str
    chains: tuple[str, ...]
    believed: bool
    held: bool | None
    error: str


@dataclass(frozen=True, slots=True)
class BanView:
    """One ban: what led to it, whether it is in force, what still comes, and the likely causes of that."""

    jail: str
    id: str
    since: float
    until: float | None
    count: int
    origin: str
    failures: int
    within: float | None
    maxretry: int
    findtime: float
    lines: tuple[LineView, ...]
    rules: tuple[RuleView, ...]
    enforced: bool
    walls: tuple[WallView, ...]
    failures_since: int
    last_failure: float | None
    connections: tuple[Connection, ...]
    packets: tuple[Packets, ...] | None
    watched: float
    causes: tuple[Cause, ...]


@dataclass(frozen=True, slots=True)
class JailNote:
    """Why one jail does not ban the address: what its counter holds, who spares it, what it would do."""

    jail: str
    failures: int
    maxretry: int
    findtime: float
    last: float | None
    spared: str
    observed: bool
    idle: bool


@dataclass(frozen=True, slots=True)
class OverView:
    """A ban that is over; *ended* None: nobody was there to see. *reason* as in `PastBan`."""

    jail: str
    since: float
    until: float | None
    ended: float | None
    reason: str


@dataclass(frozen=True, slots=True)
class Why:
    """All that is known of why *host* is banned or not; *over* is the newest ban that is over."""

    host: str
    now: float
    bans: tuple[BanView, ...]
    notes: tuple[JailNote, ...]
    protected: bool
    over: OverView | None


@dataclass(frozen=True, slots=True)
class JailAccess:
    """What is asked of one running jail: *ask* has a function called in the jail's thread."""

    config: JailConfig
    bans: JailBans
    idle: bool
    ask: Callable[[Callable[[Jail], object]], object]
    spared: Callable[[str], str]


class Inquiry:
    """
    Gathers what is known of one host; everything is asked of its owner.

    *holds* asks the actions of a ban's jail, *past* the store, *network* the kernel.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        network: Network,
        holds: Callable[[Ban, float], Sequence[Hold]],
        past: Callable[[str], Sequence[PastBan]],
        protected: Callable[[str], bool],
    ) -> None:
        self._clock = clock
        self._network = network
        self._holds = holds
        self._past = past
        self._protected = protected

    def why(self, host: str, jails: Mapping[str, JailAccess], watch: float) -> Why:
        """Return why *host* is banned or not; watches its packets for up to *watch* seconds when it is banned."""
        now = self._clock.now()
        found = [
            (access, ban)
            for access in jails.values()
            for ban in access.bans.bans
            if ban.host == host or host in netaddr.AddressSet((ban.host,) if netaddr.family(ban.host) else ())
        ]
        is_address = netaddr.family(host) is not None
        watch = min(max(0.0, watch), LONGEST_WATCH) if found and is_address else 0.0
        # Asked first: a rule that is lost is built anew soon.
        holds = [self._holds(ban, HOLD_SECONDS) for _, ban in found]
        packets = self._network.watch(host, watch) if watch else None
        views = tuple(
            self._ban(host, access, ban, holds=hold, packets=packets, watched=watch)
            for (access, ban), hold in zip(found, holds, strict=True)
        )
        banned = {ban.jail for _, ban in found}
        notes = tuple(self._note(host, access) for name, access in sorted(jails.items()) if name not in banned)
        gone = next((past for past in self._past(host) if past.ban.jail not in banned), None)
        over = None
        if gone is not None:
            over = OverView(gone.ban.jail, gone.ban.since, gone.ban.until, gone.ended, gone.reason)
        return Why(host, now, views, notes, self._protected(host), over)

    def _ban(
        self,
        host: str,
        access: JailAccess,
        ban: Ban,
        *,
        holds: Sequence[Hold],
        packets: tuple[Packets, ...] | None,
        watched: float,
    ) -> BanView:
        walls = tuple(_wall(hold, access.config) for hold in holds)
        failures, last = self._failures_since(host, access, ban)
        is_address = netaddr.family(host) is not None
        ranges = walls[0].ranges if walls else None
        chains = [
            f"bg-{identifier(action.properties.get('name', '') or 'default')}" for action in access.config.actions
        ]
        uses_iptables = any(action.native in {"iptables", "ipset"} for action in access.config.actions)
        evidence = Evidence(
            jail=ban.jail,
            host=host,
            since=ban.since,
            walls=walls,
            failures=failures,
            user=ban.data.get("user", ""),
            connections=self._network.connections(host) if is_address else (),
            listening=self._network.listening(),
            peers=tuple(peer for peer in self._network.peers(ranges) if peer != host),
            forwards=self._network.forwards() if is_address else (),
            packets=packets,
            before=self._network.rules_before(host, chains) if is_address and uses_iptables else (),
            twins=self._twins(host, access, ban),
        )
        grounds = ban.grounds
        rules = () if grounds is None else grounds.rules
        lines = zip(ban.matches, (*rules, *(0,) * len(ban.matches)), strict=False)
        return BanView(
            jail=ban.jail,
            id=ban.host,
            since=ban.since,
            until=ban.until,
            count=ban.count,
            origin=ban.origin.value,
            failures=ban.failures,
            within=None if grounds is None or not grounds.times else grounds.times[-1] - grounds.times[0],
            maxretry=access.config.maxretry if grounds is None else grounds.maxretry,
            findtime=access.config.findtime if grounds is None else grounds.findtime,
            lines=tuple(LineView(line, rule) for line, rule in lines),
            rules=() if grounds is None else tuple(RuleView(*text) for text in grounds.texts),
            enforced=bool(holds) and all(hold.believed and hold.held is not False for hold in holds),
            walls=tuple(
                WallView(wall.hold.action, wall.ports, wall.hooks, wall.hold.believed, wall.hold.held, wall.hold.error)
                for wall in walls
            ),
            failures_since=failures,
            last_failure=last,
            connections=evidence.connections,
            packets=packets,
            watched=watched,
            causes=causes(evidence),
        )

    def _failures_since(self, host: str, access: JailAccess, ban: Ban) -> tuple[int, float | None]:
        """Return how many failures were logged since the ban, and when the last was."""
        number, last = access.bans.again.get(ban.host, (0, 0.0))
        state = access.ask(lambda jail: jail.counted(host))
        times = [time for time in state.times if time > ban.since + LATE] if isinstance(state, FailureState) else []
        return number + len(times), max([*times, last]) or None if times or number else None

    def _twins(self, host: str, access: JailAccess, ban: Ban) -> tuple[Twin, ...]:
        """Return hosts of the other address family that fail in the jail, or were banned, since the ban began."""
        family = netaddr.family(host)
        if family is None:
            return ()
        other = 4 if family == 6 else 6
        failing = access.ask(lambda jail: jail.failing(ban.since))
        found = [
            Twin(
                state.host,
                sum(time >= ban.since for time in state.times),
                state.data.get("user", ""),
                banned=False,
            )
            for state in (failing if isinstance(failing, tuple) else ())
            if netaddr.family(state.host) == other
        ]
        found += [
            Twin(one.host, one.failures, one.data.get("user", ""), banned=True)
            for one in access.bans.bans
            if netaddr.family(one.host) == other and one.since >= ban.since
        ]
        user = ban.data.get("user", "")
        return tuple(sorted(found, key=lambda twin: (twin.user != user, twin.banned, -twin.failures)))[:5]

    def _note(self, host: str, access: JailAccess) -> JailNote:
        state = access.ask(lambda jail: jail.counted(host))
        floor = self._clock.now() - access.config.findtime
        times = [time for time in state.times if time > floor] if isinstance(state, FailureState) else []
        return JailNote(
            jail=access.config.name,
            failures=len(times),
            maxretry=access.config.maxretry,
            findtime=access.config.findtime,
            last=times[-1] if times else None,
            spared=access.spared(host),
            observed=any(ban.host == host for ban in access.bans.observed),
            idle=access.idle,
        )


def _wall(hold: Hold, config: JailConfig) -> Wall:
    properties = next((action.properties for action in config.actions if action.name == hold.action), {})
    everything = properties.get("type", "").strip() == "allports" or not properties.get("port", "").strip()
    ports = "" if everything else properties.get("port", "")
    ranges = port_ranges(ports)
    return Wall(hold, "all ports" if ranges is None else ports.strip(), ranges, hooks_of(properties))
