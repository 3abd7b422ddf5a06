"""Words of a command to values, and values to what a reply carries."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from banguard import netaddr
from banguard.config.schema import JailConfig
from banguard.control.api import ActiveBan, JailView, JsonValue, ServerApi
from banguard.control.protocol import USAGE
from banguard.control.table import INVALID
from banguard.errors import ControlError

if TYPE_CHECKING:
    from banguard.actions import ActionStats
    from banguard.sources import LogStats

_ALL_PORTS = ("", "0:65535", "0-65535", "1:65535", "1-65535")

LONGEST_ID = 1024
"""Characters of an id that is no address."""


def number(value: float | None) -> JsonValue:
    """Return *value* as an int when it is whole, so that it reads the same everywhere."""
    if isinstance(value, float) and math.isfinite(value) and value == int(value):
        return int(value)
    return value


def host_of(text: str) -> str:
    """Return the canonical text of an address or network, or *text* as an id; ControlError for what can be neither."""
    host = netaddr.canonical(text)
    if host is not None:
        return host
    if not text.strip() or text.startswith("-") or len(text) > LONGEST_ID or not text.isprintable():
        raise ControlError(f"{text!r} cannot be an address or id", status=USAGE)
    return text


def hosts_of(texts: Iterable[str]) -> tuple[str, ...]:
    """Return each of *texts* as `host_of` does, once."""
    return tuple(dict.fromkeys(host_of(text) for text in texts))


def whole(text: str, least: int, what: str) -> int:
    """Return *text* as a whole number of at least *least*."""
    try:
        value = int(text)
    except ValueError:
        raise ControlError(f"{what} must be a whole number, not {text!r}") from None
    if value < least:
        raise ControlError(f"{what} must be at least {least}, not {value}")
    return value


def seconds_of(text: str) -> float:
    """Return the seconds of a duration such as `1h`; ControlError for anything else."""
    from banguard import duration  # noqa: PLC0415  seldom needed

    try:
        return duration.parse(text)
    except ValueError as error:
        raise ControlError(str(error)) from None


def option_of(name: str, text: str) -> object:
    """Return the value of jail option *name* as the configuration would read it."""
    from banguard.config.options import parse_option  # noqa: PLC0415  only changes need it

    try:
        return parse_option(name, text)
    except ValueError as error:
        raise ControlError(str(error)) from None


def json_of(text: str, what: str) -> object:
    """Return what JSON *text* holds; *what* names it in the ControlError for anything else."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise ControlError(f"{what} must be JSON, not {text!r}", status=USAGE) from None


def mapping_of(text: str, what: str) -> Mapping[str, JsonValue]:
    """Return the JSON object in *text*; *what* names it in the ControlError for anything else."""
    data = json_of(text, what)
    if not isinstance(data, dict):
        raise ControlError(f"{what} must be a JSON object, not {text!r}", status=USAGE)
    return data


def by_start(bans: Sequence[ActiveBan]) -> list[str]:
    """Return the ids in the order in which they were banned."""
    return [active.ban.host for active in sorted(bans, key=lambda active: active.ban.since)]


def ban_data(active: ActiveBan) -> dict[str, JsonValue]:
    """Return what a client is told of one ban."""
    ban = active.ban
    return {
        "id": ban.host,
        "since": number(ban.since),
        "until": number(ban.until),
        "count": ban.count,
        "failures": ban.failures,
        "enforced": active.enforced,
    }


def status_data(view: JailView) -> dict[str, JsonValue]:
    """Return the status of a jail, with its bans in the order in which they began."""
    lines: dict[str, JsonValue] = {
        "currently_failed": view.stats.currently_failed,
        "total_failed": view.stats.total_failed,
    }
    if view.is_journal:
        lines["journal_matches"] = [" ".join(match) for match in journal_matches(view.config)]
    else:
        lines["file_list"] = list(view.files)
    actions: dict[str, JsonValue] = {
        "currently_banned": len(view.bans),
        "total_banned": view.total_banned,
        "banned": [ban_data(active) for active in sorted(view.bans, key=lambda active: active.ban.since)],
    }
    if view.config.observe:
        actions["observed"] = [ban_data(ActiveBan(ban, enforced=False)) for ban in view.observed]
    return {"jail": view.config.name, "filter": lines, "actions": actions}


def figures_data(view: JailView) -> dict[str, JsonValue]:
    """Return the numbers of a jail."""
    return {
        "jail": view.config.name,
        "backend": view.backend or view.config.backend,
        "filter": {"currently_failed": view.stats.currently_failed, "total_failed": view.stats.total_failed},
        "actions": {"currently_banned": len(view.bans), "total_banned": view.total_banned},
    }


def overview_data(view: JailView, actions: Mapping[str, ActionStats]) -> dict[str, JsonValue]:
    """Return all numbers of a jail, and how its actions are."""
    stats = view.stats
    return {
        **figures_data(view),
        "started": view.started,
        "idle": view.idle,
        "problem": view.problem,
        "matched": stats.matched,
        "ignored": stats.ignored,
        "errors": stats.errors,
        "waited": round(stats.inbox_wait_seconds, 3),
        "not_enforced": sum(1 for active in view.bans if not active.enforced),
        "enforces": any(action.enforces for action in actions.values()),
        "action_stats": [
            {
                "name": name,
                "enforces": action.enforces,
                "held": len(action.applied),
                "waiting": action.waiting,
                "done": action.done,
                "errors": action.errors,
                "problem": action.last_error,
            }
            for name, action in actions.items()
        ],
    }


def log_data(log: LogStats) -> dict[str, JsonValue]:
    """Return the numbers of a log."""
    return {
        "log": log.log,
        "jails": list(log.jails),
        "lines": log.lines,
        "bytes": log.bytes_read,
        "behind": log.behind,
        "rotations": log.rotations,
        "problem": log.trouble,
    }


def row_data(active: ActiveBan, ports: str) -> dict[str, JsonValue]:
    """Return one row of the table of bans."""
    return {**ban_data(active), "jail": active.ban.jail, "ports": ports, "origin": active.ban.origin.value}


def ports_of(config: JailConfig, actions: Mapping[str, ActionStats]) -> str:
    """Return what the bans of a jail close, as its actions that block say: `tcp/ssh`, `tcp,udp/all`; else nothing."""
    found: dict[str, None] = {}
    for action in config.actions:
        stats = actions.get(action.name)
        if stats is None or not stats.enforces:
            continue
        ports = ",".join(action.properties.get("port", "").replace(",", " ").split())
        if ports in _ALL_PORTS or action.properties.get("type", "").strip() == "allports":
            ports = "all"
        protocols = ",".join(action.properties.get("protocol", "").replace(",", " ").split())
        found[f"{protocols}/{ports}" if protocols else ports] = None
    return " ".join(found)


def all_jails(api: ServerApi) -> list[JailView]:
    """Return all jails; one that goes away meanwhile is left out."""
    views = []
    for name in api.jail_names():
        try:
            views.append(api.jail(name))
        except ControlError:
            continue
    return views


class BannedSet:
    """Tells whether a host is banned: by itself, or as part of a banned network."""

    def __init__(self, bans: Iterable[ActiveBan]) -> None:
        self._hosts = frozenset(active.ban.host for active in bans)
        self._networks = netaddr.AddressSet(host for host in self._hosts if netaddr.is_network(host))

    def __contains__(self, host: str) -> bool:
        return host in self._hosts or host in self._networks


def journal_matches(config: JailConfig) -> tuple[tuple[str, ...], ...]:
    """Return the journal matches of a jail, each by itself where a line joins some with `+`."""
    return tuple(group for line in config.filter.journalmatch for group in _split_at_or(line))


def _split_at_or(words: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    groups: list[list[str]] = [[]]
    for word in words:
        if word == "+":
            groups.append([])
        else:
            groups[-1].append(word)
    return tuple(tuple(group) for group in groups)


def match_groups(words: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """Split journal matches at `+`; each must name a field (systemd.journal-fields(7)) or be the path of a program."""
    groups = _split_at_or(words)
    if not all(groups):
        raise ControlError(INVALID, status=USAGE)
    for word in (word for group in groups for word in group):
        field, equals, _ = word.partition("=")
        if not word.startswith("/") and not (equals and field.replace("_", "").isalnum() and field.isupper()):
            raise ControlError(f"{word!r} is no journal match: FIELD=value", status=USAGE)
    return groups
