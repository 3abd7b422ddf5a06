"""Name the likely causes for which a banned address still gets through, and what helps against each."""

from __future__ import annotations

from dataclasses import dataclass

from banguard.actions.base import Hold
from banguard.daemon.traffic import Connection, Forward, Packets, Ranges, covers

_FORWARDING = frozenset({"forward", "prerouting", "docker-user"})


@dataclass(frozen=True, slots=True)
class Cause:
    """
    Why a banned address may still get through: *kind*, whether it is *certain* or only likely, and what to do.

    Kinds: `not-held`, `flushed`, `no-firewall`, `other-port`, `forwarded`, `open-connection`, `other-rule`, `twin`,
    `proxy`, `unknown`.
    """

    kind: str
    certain: bool
    message: str
    proposal: str


@dataclass(frozen=True, slots=True)
class Twin:
    """An address of the other family that fails in the same jail since: how often, as whom."""

    host: str
    failures: int
    user: str
    banned: bool


@dataclass(frozen=True, slots=True)
class Wall:
    """An action that blocks: what it covers, and whether it holds the ban."""

    hold: Hold
    ports: str
    ranges: Ranges
    hooks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Evidence:
    """
    What was found of one ban; times in epoch seconds.

    *failures* were logged from the address since it was banned. *packets* is None where nobody may look. *before* are
    rules that accept traffic ahead of ours.
    """

    jail: str
    host: str
    since: float
    walls: tuple[Wall, ...]
    failures: int = 0
    user: str = ""
    connections: tuple[Connection, ...] = ()
    listening: frozenset[int] = frozenset()
    peers: tuple[str, ...] = ()
    forwards: tuple[Forward, ...] = ()
    packets: tuple[Packets, ...] | None = None
    before: tuple[str, ...] = ()
    twins: tuple[Twin, ...] = ()


def causes(found: Evidence) -> tuple[Cause, ...]:
    """Return the causes that the evidence speaks for, the most certain first; none when nothing gets through."""
    named = [*_not_held(found)]
    if not named:
        named = [
            *_other_port(found),
            *_forwarded(found),
            *_open_connection(found),
            *_other_rule(found),
            *_twin(found),
        ]
    if found.failures and not named:
        named = [_proxy(found)]
    return tuple(sorted(named, key=lambda cause: not cause.certain))


def _not_held(found: Evidence) -> list[Cause]:
    if not found.walls:
        return [
            Cause(
                "no-firewall",
                certain=True,
                message=f"the jail {found.jail} has no action that blocks anybody",
                proposal="give the jail an action, such as banaction = nftables",
            )
        ]
    named = []
    for wall in found.walls:
        hold = wall.hold
        was_lost = hold.lost_at > found.since
        if (hold.held is False and hold.believed) or (not hold.held and was_lost and not hold.error):
            named.append(
                Cause(
                    "flushed",
                    certain=True,
                    message="the firewall does not hold the ban any more: somebody took the rules or the element of "
                    f"action {hold.action} away by hand, or another program did",
                    proposal="banguard builds it anew at once; look for what flushes the firewall (a script, "
                    "`nft flush ruleset`, a restart of another firewall service)",
                )
            )
        elif not hold.believed or hold.held is False:
            reason = f": {hold.error}" if hold.error else " yet" if hold.waiting else ""
            named.append(
                Cause(
                    "not-held",
                    certain=True,
                    message=f"action {hold.action} could not put the ban in place{reason}",
                    proposal=f"see `banguard-client get {found.jail} actions` and the log of banguard for the action",
                )
            )
        elif was_lost:
            named.append(
                Cause(
                    "flushed",
                    certain=True,
                    message=f"the rules of action {hold.action} were taken away by hand or by another program since "
                    "the ban began, and banguard built them anew: packets got in between",
                    proposal="look for what flushes the firewall (a script, `nft flush ruleset`, a restart of another "
                    "firewall service)",
                )
            )
    return named


def _narrow(found: Evidence) -> Wall | None:
    """Return the action that covers some ports only, if none covers all."""
    return None if any(wall.ranges is None for wall in found.walls) else found.walls[0]


def _uncovered(found: Evidence, port: int) -> bool:
    return all(not covers(wall.ranges, port) for wall in found.walls)


def _is_forwarded(found: Evidence, port: int) -> bool:
    """Tell whether a rule sends *port* on; something may listen on it all the same, as Docker's own proxy does."""
    return any(forward.concerns(((port, port),)) for forward in found.forwards)


def _other_port(found: Evidence) -> list[Cause]:
    wall = _narrow(found)
    if wall is None:
        return []
    seen = {one.port for one in found.connections if _uncovered(found, one.port)}
    seen |= {
        one.port
        for one in found.packets or ()
        if one.port in found.listening and _uncovered(found, one.port) and not _is_forwarded(found, one.port)
    }
    proposal = (
        f"give the jail the ports that the service really has (port = {wall.ports},…), or all: "
        "banaction = %(banaction_allports)s"
    )
    if seen:
        ports = ", ".join(map(str, sorted(seen)))
        return [
            Cause(
                "other-port",
                certain=True,
                message=f"it comes to port {ports}, and the ban closes only {wall.ports}",
                proposal=proposal,
            )
        ]
    open_ports = sorted(port for port in found.listening if _uncovered(found, port))
    if found.failures and open_ports and not found.connections and not found.packets:
        ports = ", ".join(map(str, open_ports[:10]))
        return [
            Cause(
                "other-port",
                certain=False,
                message=f"the ban closes only {wall.ports}, and services also listen on {ports}",
                proposal=proposal,
            )
        ]
    return []


def _forwarded(found: Evidence) -> list[Cause]:
    if any(_FORWARDING & set(wall.hooks) for wall in found.walls) or not found.walls:
        return []
    wall = found.walls[0]
    local = {one.port for one in found.connections}
    hits = {one.port for one in found.packets or () if one.port and one.port not in local}
    named = []
    for forward in found.forwards:
        reached = {port for port in hits if forward.concerns(((port, port),))}
        sure = bool(reached) and (found.failures > 0 or not reached <= found.listening)
        if sure or (forward.concerns(wall.ranges) and (reached or found.failures)):
            ports = ", ".join(map(str, sorted(reached))) or forward.ports or "its ports"
            named.append(
                Cause(
                    "forwarded",
                    certain=sure,
                    message=f"traffic for port {ports} is forwarded to {forward.target} (a container or another "
                    f"machine): it never passes the chain {', '.join(wall.hooks)}, in which the ban stands",
                    proposal="let the ban stand where forwarded traffic passes: chain = input,forward with nftables "
                    "(prerouting with priority=-150 for published ports), chain = DOCKER-USER with iptables",
                )
            )
    return named[:1]


def _open_connection(found: Evidence) -> list[Cause]:
    open_ones = [one for one in found.connections if one.state == "established" and not _uncovered(found, one.port)]
    if not open_ones:
        return []
    ports = ", ".join(sorted({str(one.port) for one in open_ones}))
    through = [rule for rule in found.before if "ESTABLISHED" in rule]
    how = f", and a rule lets open connections pass before ours: {through[0]}" if through else ""
    moves = bool(found.failures)
    return [
        Cause(
            "open-connection",
            certain=moves,
            message=f"a connection to port {ports} is open since before the ban{how}"
            + ("" if moves else "; nothing of it was logged since, so it only hangs there"),
            proposal=f"cut it: ss -K dst {found.host}; kill_connections = yes does so with every ban"
            + ("; put the rules of banguard before that rule" if through else ""),
        )
    ]


def _other_rule(found: Evidence) -> list[Cause]:
    rules = [rule for rule in found.before if "ESTABLISHED" not in rule]
    if not rules or not found.failures:
        return []
    return [
        Cause(
            "other-rule",
            certain=True,
            message=f"another rule accepts its traffic before the ban is asked: {rules[0]}",
            proposal="put that rule behind those of banguard (a reload of the jail with --restart puts ours in front)",
        )
    ]


def _twin(found: Evidence) -> list[Cause]:
    if found.failures:
        return []
    named = []
    for twin in found.twins:
        alike = bool(found.user) and twin.user == found.user
        state = ", and is banned, too" if twin.banned else ""
        who = f" as the same user {twin.user!r}" if alike else ""
        named.append(
            Cause(
                "twin",
                certain=alike and not twin.banned,
                message=f"the same goes on from {twin.host}: {twin.failures} failures since the ban{who}{state}; "
                "It is likely to be the same machine by its other address family",
                proposal=f"banguard-client set {found.jail} banip {twin.host}; a lower maxretry makes it sooner"
                if not twin.banned
                else "nothing: both are banned",
            )
        )
    return named[:3]


def _proxy(found: Evidence) -> Cause:
    seen = found.packets is not None and not found.packets and not found.connections
    others = ", ".join(peer for peer in found.peers[:3])
    behind = f"; connections come from {others}" if others else ""
    if seen:
        return Cause(
            "proxy",
            certain=False,
            message="the log names it, but no packet of it arrives at this machine: a reverse proxy, load balancer "
            f"or CDN stands in front{behind}",
            proposal="ban where the packets are: at the proxy or through the CDN's own interface (behind-a-proxy.md)",
        )
    return Cause(
        "unknown",
        certain=False,
        message="failures of it are still logged, and nothing here says how they come",
        proposal="look again while it tries, with a longer look: why ADDRESS --watch 30",
    )
