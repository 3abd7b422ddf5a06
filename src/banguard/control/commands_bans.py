"""Commands about bans: who is banned, ban, unban, count a failure."""

from __future__ import annotations

import math
import socket
from collections.abc import Mapping, Sequence

from banguard import netaddr
from banguard.control.api import JailView, JsonValue
from banguard.control.protocol import USAGE, Reply
from banguard.control.table import BANS, INVALID, Context, command
from banguard.control.values import (
    BannedSet,
    all_jails,
    ban_data,
    by_start,
    host_of,
    hosts_of,
    json_of,
    number,
    ports_of,
    row_data,
)
from banguard.errors import ControlError
from banguard.model import Ban, Origin


@command(
    BANS, "unban", "<--all|id>...", "End the bans of the given addresses, networks or ids in all jails; --all: of all."
)
def unban(context: Context, *words: str) -> Reply:
    """End bans in all jails, and forget them."""
    if "--all" in words:
        if len(words) > 1:
            raise ControlError(INVALID, status=USAGE)
        return Reply(context.api.unban_all(None))
    return Reply(sum(_unban(context, None, all_jails(context.api), words)[0].values()))


def _unban(
    context: Context, jail: str | None, views: Sequence[JailView], words: Sequence[str]
) -> tuple[Mapping[str, int], list[str]]:
    """End the bans of *words* and of what lies in them; return who was banned, and the words that met nobody."""
    banned = {active.ban.host for view in views for active in view.bans}
    wanted: dict[str, list[str]] = {}
    for word in words:
        host = host_of(word)
        wanted[word] = [host, *_inside(host, banned)]
    done = context.api.unban(jail, tuple(dict.fromkeys(host for hosts in wanted.values() for host in hosts)))
    return done, [word for word, hosts in wanted.items() if not any(host in done for host in hosts)]


def _inside(host: str, banned: set[str]) -> list[str]:
    """Banned ids that *host* covers: members of a network, or addresses of a host name that itself is not banned."""
    if host in banned:
        covered = [host] if netaddr.is_network(host) else []
    elif netaddr.is_network(host):
        covered = [host]
    elif netaddr.family(host) is None:
        covered = _addresses(host)
    else:
        covered = []
    if not covered:
        return []
    members = netaddr.AddressSet(covered)
    return sorted(other for other in banned if other != host and other in members)


def _addresses(name: str) -> list[str]:
    """Addresses of a host name, empty when it has none (or is no name at all)."""
    if not name.isascii() or " " in name or len(name) > 253:
        return []
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return [host for info in found if (host := netaddr.canonical(str(info[4][0]))) is not None]


@command(
    BANS,
    "banned",
    "[--table] [--jail <jail>] [--sort <column>] [--reverse] [--limit <number>] [--not-enforced] [--names] [--country] "
    "[<id>...]",
    "Show all jails with their banned ids; with ids, the jails in which each is banned. With any option a table of the "
    "bans, or of those of the given ids and networks: jail, ports, times, count, failures, whether enforced.",
)
def banned(context: Context, *words: str) -> Reply:
    """Show who is banned where."""
    if words[:1] == ("--table",):
        return _table(context, words[1:])
    views = all_jails(context.api)
    if not words:
        return Reply({"jails": {view.config.name: by_start(view.bans) for view in views}}, "banned")
    sets = {view.config.name: BannedSet(view.bans) for view in views}
    found: list[JsonValue] = []
    for word in words:
        host = host_of(word)
        found.append({"id": host, "jails": [view.config.name for view in views if host in sets[view.config.name]]})
    return Reply({"hosts": found}, "banned_in")


def _table(context: Context, words: Sequence[str]) -> Reply:
    """Return a row for each ban, in the order in which they end; *words* are `--jail JAIL` and ids that narrow it."""
    rest, jails, ids = list(words), [], []
    while rest:
        word = rest.pop(0)
        if word == "--jail" and rest:
            jails.append(rest.pop(0))
        else:
            ids.append(host_of(word))
    api = context.api
    views = [api.jail(jail) for jail in dict.fromkeys(jails)] if jails else all_jails(api)
    wanted = netaddr.AddressSet(host for host in ids if netaddr.canonical(host) is not None)

    def is_wanted(host: str) -> bool:
        return not ids or host in ids or (netaddr.canonical(host) is not None and wanted.touches(host))

    rows: list[JsonValue] = []
    for view in views:
        ports = ports_of(view.config, api.action_stats(view.config.name))
        rows += [row_data(active, ports) for active in view.bans if is_wanted(active.ban.host)]
    return Reply({"now": number(round(api.now(), 3)), "bans": rows}, "ban_table")


@command(BANS, "set <jail> attempt", "<host> [<line>...]", "Count failures of a host: one for each line, at least one.")
def attempt(context: Context, jail: str, host: str, *lines: str) -> Reply:
    """Count failures of a host, as if its log had told them."""
    return Reply(context.api.attempt(jail, host_of(host), lines))


@command(BANS, "set <jail> banip", "[<id>...]", "Ban addresses, networks or ids.")
def banip(context: Context, jail: str, *words: str) -> Reply:
    """Ban now, whatever the ignore rules say."""
    return Reply(context.api.ban(jail, hosts_of(words)))


@command(
    BANS,
    "set <jail> takebans",
    "<bans>",
    "Take over bans given as JSON, each with host, since, until, count, failures and matches; import-bans sends them.",
)
def takebans(context: Context, jail: str, text: str) -> Reply:
    """Put bans of another program in force, with the ends and counts that they had there."""
    rows = json_of(text, "bans")
    if not isinstance(rows, list):
        raise ControlError("bans must be a list", status=USAGE)
    return Reply(context.api.import_bans(jail, [_ban_of(jail, row) for row in rows]))


def _ban_of(jail: str, row: object) -> Ban:
    fields = row if isinstance(row, dict) else {}
    host, until, matches = fields.get("host"), fields.get("until"), fields.get("matches", [])
    if not isinstance(host, str) or not isinstance(matches, list):
        raise ControlError(f"no ban: {row!r}"[:500], status=USAGE)
    return Ban(
        jail=jail,
        host=host_of(host),
        since=_finite(fields.get("since")),
        until=None if until is None else _finite(until),
        count=max(1, int(_finite(fields.get("count", 1)))),
        origin=Origin.RESTORED,
        failures=max(0, int(_finite(fields.get("failures", 0)))),
        matches=tuple(str(match) for match in matches),
    )


def _finite(value: object) -> float:
    if isinstance(value, int | float) and math.isfinite(value):
        return float(value)
    raise ControlError(f"no number of a ban: {value!r}", status=USAGE)


@command(
    BANS,
    "set <jail> unbanip",
    "[--report-absent] [<id>...]",
    "End bans in a jail; --report-absent makes it an error when one was not banned. A network means all inside too.",
)
def unbanip(context: Context, jail: str, *words: str) -> Reply:
    """End bans in a jail, and forget them."""
    report = "--report-absent" in words
    wanted = [word for word in words if word != "--report-absent"]
    if wanted == ["--all"]:
        return Reply(context.api.unban_all(jail))
    done, absent = _unban(context, jail, [context.api.jail(jail)], wanted)
    if report and absent:
        raise ControlError(f"not banned: {absent!r}")
    return Reply(sum(done.values()))


@command(
    BANS,
    "get <jail> banip",
    "[<separator>|--with-time]",
    "Show banned ids in the order in which they end, with another separator than a blank, or with their times.",
)
def get_banip(context: Context, jail: str, separator: str = " ") -> Reply:
    """Show who is banned, in the order in which bans end."""
    bans = context.api.jail(jail).bans
    if separator == "--with-time":
        return Reply({"bans": [ban_data(active) for active in bans]}, "bans_with_time")
    return Reply({"banned": [active.ban.host for active in bans], "separator": separator}, "ban_ids")


@command(BANS, "get <jail> banned", "[<id>...]", "Show banned ids; with ids, 1 or 0 for each.")
def get_banned(context: Context, jail: str, *words: str) -> Reply:
    """Show who is banned, or whether somebody is."""
    view = context.api.jail(jail)
    if not words:
        return Reply(by_start(view.bans))
    hosts = BannedSet(view.bans)
    verdicts = [int(host_of(word) in hosts) for word in words]
    return Reply(verdicts[0] if len(verdicts) == 1 else verdicts)
