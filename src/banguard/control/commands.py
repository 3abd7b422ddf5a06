"""
The table of commands: one decorated function each.

`execute` finds the function by the words of a command; `help_text` lists them. Functions return plain values: what a
terminal shows is made of them by the client, by the *kind* of the reply. A function raises ControlError to refuse.
"""

from __future__ import annotations

import json
import logging
import math
import os
import re
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from banguard import __version__, netaddr
from banguard.config.schema import ActionConfig, ActionKind, BantimeIncrement, IgnoreCache, JailConfig, LogPath
from banguard.control.api import ActiveBan, JailView, JsonValue, ReloadRequest, ServerApi
from banguard.control.protocol import USAGE, Reply
from banguard.errors import ControlError

logger = logging.getLogger("banguard.server")

INVALID = "Sorry but the command is invalid"
LONGEST_SLEEP = 3600.0
LONGEST_ID = 1024


@dataclass(frozen=True, slots=True)
class Context:
    """What commands work with: the server, and how to *wait* some seconds (ended early when the server stops)."""

    api: ServerApi
    wait: Callable[[float], object]


Function = Callable[..., Reply]


@dataclass(frozen=True, slots=True)
class Command:
    """One row of the table: the words that name it, its further arguments as help shows them, and what it does."""

    phrase: str
    arguments: str
    help: str
    group: str
    function: Function

    @property
    def key(self) -> tuple[str, ...]:
        """The words that find it; `*` stands for the name of a jail."""
        return tuple("*" if word.startswith("<") else word for word in self.phrase.split())

    def takes(self, count: int) -> bool:
        """Tell whether *count* arguments can be right."""
        least = len(re.sub(r"\[[^\]]*\]", " ", self.arguments).split())
        return count >= least and ("..." in self.arguments or count <= len(self.arguments.split()))


TABLE: dict[tuple[str, ...], Command] = {}
"""All commands, by the words that find them, in the order of the help text."""

_group = ""


def _section(title: str) -> None:
    """Begin a section of the help text."""
    global _group  # noqa: PLW0603  the table is filled once, from top to bottom
    _group = title


def command(phrase: str, arguments: str, text: str) -> Callable[[Function], Function]:
    """Put the decorated function into the table: *arguments* are `<needed>`, `[<optional>]`, `[<any>...]`."""

    def register(function: Function) -> Function:
        row = Command(phrase, arguments, text, _group, function)
        TABLE[row.key] = row
        return function

    return register


def execute(context: Context, words: Sequence[str]) -> Reply:
    """
    Carry out the command *words* and return its reply.

    Raises ControlError: status 2 for a command that does not exist or lacks arguments, 1 for one that is refused.
    """
    row, jail, arguments = _find(words)
    if not row.takes(len(arguments)):
        raise ControlError(INVALID, status=USAGE)
    logger.debug("Command: %s", " ".join(words[:3]))
    return row.function(context, *jail, *arguments)


def _find(words: Sequence[str]) -> tuple[Command, tuple[str, ...], tuple[str, ...]]:
    first = words[0] if words else ""
    if first not in ("set", "get", "multi-set"):
        row = TABLE.get((first,))
        if row is None:
            raise ControlError("Invalid command", status=USAGE)
        return row, (), tuple(words[1:])
    row = TABLE.get(tuple(words[:2]))
    if row is not None:
        return row, (), tuple(words[2:])
    if len(words) < 3:
        raise ControlError(INVALID, status=USAGE)
    row = TABLE.get((first, "*", words[2])) or (TABLE[first, "*", "*"] if first == "multi-set" else None)
    if row is None:
        which = "Invalid command" if first == "get" else f"Invalid command '{words[2]}'"
        raise ControlError(f"{which} (no {first} action or not yet implemented)", status=USAGE)
    return row, (words[1],), tuple(words[2:] if row.key[2] == "*" else words[3:])


def help_text(width: int = 100) -> str:
    """Return all commands with their help, in sections, for a terminal of *width* columns."""
    import textwrap  # noqa: PLC0415  only help needs it

    column = 45
    lines: list[str] = []
    group = ""
    for row in TABLE.values():
        if not row.help:
            continue
        if row.group != group:
            group = row.group
            lines += ["", " " * column + group]
        usage = f"    {row.phrase} {row.arguments}".rstrip()
        described = textwrap.wrap(row.help, width - column)
        if len(usage) >= column:
            lines.append(usage)
        else:
            lines.append(usage.ljust(column) + described.pop(0))
        lines += [" " * column + line for line in described]
    return "\n".join(lines)


# ---- values


def _number(value: float | None) -> JsonValue:
    """Return *value* as an int when it is whole, so that it reads the same everywhere."""
    if isinstance(value, float) and math.isfinite(value) and value == int(value):
        return int(value)
    return value


def _host(text: str) -> str:
    """Return the canonical text of an address or network, or *text* as an id; ControlError for what can be neither."""
    host = netaddr.canonical(text)
    if host is not None:
        return host
    if not text.strip() or text.startswith("-") or len(text) > LONGEST_ID or not text.isprintable():
        raise ControlError(f"{text!r} cannot be an address or id", status=USAGE)
    return text


def _hosts(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_host(text) for text in texts))


def _whole(text: str, least: int, what: str) -> int:
    """Return *text* as a whole number of at least *least*."""
    try:
        value = int(text)
    except ValueError:
        raise ControlError(f"{what} must be a whole number, not {text!r}") from None
    if value < least:
        raise ControlError(f"{what} must be at least {least}, not {value}")
    return value


def _seconds(text: str) -> float:
    from banguard import duration  # noqa: PLC0415  seldom needed

    try:
        return duration.parse(text)
    except ValueError as error:
        raise ControlError(str(error)) from None


def _option(name: str, text: str) -> object:
    """Return the value of jail option *name* as the configuration would read it."""
    from banguard.config.options import parse_option  # noqa: PLC0415  only changes need it

    try:
        return parse_option(name, text)
    except ValueError as error:
        raise ControlError(str(error)) from None


def _json(text: str, what: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise ControlError(f"{what} must be JSON, not {text!r}", status=USAGE) from None


def _mapping(text: str, what: str) -> Mapping[str, JsonValue]:
    data = _json(text, what)
    if not isinstance(data, dict):
        raise ControlError(f"{what} must be a JSON object, not {text!r}", status=USAGE)
    return data


def _by_start(bans: Sequence[ActiveBan]) -> list[str]:
    """Ids in the order in which they were banned."""
    return [active.ban.host for active in sorted(bans, key=lambda active: active.ban.since)]


def _ban(active: ActiveBan) -> dict[str, JsonValue]:
    ban = active.ban
    return {
        "id": ban.host,
        "since": _number(ban.since),
        "until": _number(ban.until),
        "count": ban.count,
        "failures": ban.failures,
        "enforced": active.enforced,
    }


def _status_of(view: JailView) -> dict[str, JsonValue]:
    lines: dict[str, JsonValue] = {
        "currently_failed": view.stats.currently_failed,
        "total_failed": view.stats.total_failed,
    }
    if view.is_journal:
        lines["journal_matches"] = [" ".join(match) for match in _matches(view.config)]
    else:
        lines["file_list"] = list(view.files)
    return {
        "jail": view.config.name,
        "filter": lines,
        "actions": {
            "currently_banned": len(view.bans),
            "total_banned": view.total_banned,
            "banned": [_ban(active) for active in sorted(view.bans, key=lambda active: active.ban.since)],
        },
    }


def _figures_of(view: JailView) -> dict[str, JsonValue]:
    return {
        "jail": view.config.name,
        "backend": view.backend or view.config.backend,
        "filter": {"currently_failed": view.stats.currently_failed, "total_failed": view.stats.total_failed},
        "actions": {"currently_banned": len(view.bans), "total_banned": view.total_banned},
    }


def _views(api: ServerApi) -> list[JailView]:
    """All jails; one that goes away meanwhile is left out."""
    views = []
    for name in api.jail_names():
        try:
            views.append(api.jail(name))
        except ControlError:
            continue
    return views


# ---- the server

_section("BASIC")


@command("start", "[<jail>]", "Start the server and its jails; with <jail>, start a jail made by `add`.")
def start(context: Context, jail: str | None = None) -> Reply:
    """Start a jail; the server itself is started by the client, and runs already when this is asked."""
    if jail is None:
        raise ControlError("Server already running")
    context.api.start_jail(jail)
    return Reply(jail, "jail_started")


@command("stop", "[<jail>]", "Stop all jails and end the server; with <jail>, stop and remove this jail.")
def stop(context: Context, jail: str | None = None) -> Reply:
    """Stop the server, or one jail."""
    if jail is not None:
        context.api.stop_jail(jail)
        return Reply(jail, "jail_stopped")
    context.api.stop()
    return Reply("stopping", "stopping")


@command(
    "restart",
    "[--unban] [--if-exists] [<jail>]",
    "Stop the server and start it again; with <jail>, the same as `reload --restart <jail>`.",
)
def restart(context: Context, *words: str) -> Reply:
    """Restart a jail; the server as a whole is restarted by the client."""
    request = _reload_request(("--restart", *words))
    if request.jail is None:
        raise ControlError("The server is restarted by its client", status=USAGE)
    return Reply({"problems": list(context.api.reload(request))}, "reloaded")


@command(
    "reload",
    "[--restart] [--unban] [--if-exists] [--all] [--config <dir>] [<jail>]",
    "Read the configuration again and put what changed in force, in all jails or in <jail>. --restart stops and starts "
    "them, --unban first ends all their bans, --if-exists minds no jail that is not there, --config <dir> reads "
    "another directory.",
)
def reload(context: Context, *words: str) -> Reply:
    """Read the configuration again."""
    return Reply({"problems": list(context.api.reload(_reload_request(words)))}, "reloaded")


def _reload_request(words: Sequence[str]) -> ReloadRequest:
    request = ReloadRequest()
    rest = list(words)
    jails: list[str] = []
    while rest:
        word = rest.pop(0)
        if word == "--restart":
            request = replace(request, restart=True)
        elif word == "--unban":
            request = replace(request, unban=True)
        elif word == "--if-exists":
            request = replace(request, if_exists=True)
        elif word == "--config" and rest:
            request = replace(request, directory=rest.pop(0))
        elif word.startswith("-") and word != "--all":
            raise ControlError(f"Unexpected argument(s) for reload: {word!r}", status=USAGE)
        elif word != "--all":
            jails.append(word)
    if len(jails) > 1:
        raise ControlError(f"Unexpected argument(s) for reload: {jails!r}", status=USAGE)
    return replace(request, jail=jails[0] if jails else None)


@command("unban", "<--all|id>...", "End the bans of the given addresses, networks or ids in all jails; --all: of all.")
def unban(context: Context, *words: str) -> Reply:
    """End bans in all jails, and forget them."""
    if "--all" in words:
        if len(words) > 1:
            raise ControlError(INVALID, status=USAGE)
        return Reply(context.api.unban_all(None))
    return Reply(sum(_unban(context, None, _views(context.api), words)[0].values()))


def _unban(
    context: Context, jail: str | None, views: Sequence[JailView], words: Sequence[str]
) -> tuple[Mapping[str, int], list[str]]:
    """End the bans of *words* and of what lies in them; return who was banned, and the words that met nobody."""
    banned = {active.ban.host for view in views for active in view.bans}
    wanted: dict[str, list[str]] = {}
    for word in words:
        host = _host(word)
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


@command("banned", "[<id>...]", "Show all jails with their banned ids; with ids, the jails in which each is banned.")
def banned(context: Context, *words: str) -> Reply:
    """Show who is banned where."""
    views = _views(context.api)
    if not words:
        return Reply({"jails": {view.config.name: _by_start(view.bans) for view in views}}, "banned")
    found: list[JsonValue] = []
    for word in words:
        host = _host(word)
        found.append({"id": host, "jails": [view.config.name for view in views if _is_banned(view, host)]})
    return Reply({"hosts": found}, "banned_in")


def _is_banned(view: JailView, host: str) -> bool:
    """Tell whether *host* is banned by itself or as part of a banned network."""
    hosts = [active.ban.host for active in view.bans]
    if host in hosts:
        return True
    networks = [other for other in hosts if netaddr.is_network(other)]
    return bool(networks) and netaddr.family(host) is not None and host in netaddr.AddressSet(networks)


@command(
    "status",
    "[<jail>|--all] [<flavor>]",
    "Show the jails; with <jail> (or --all) their numbers and bans. Flavors: basic, short, stats, cymru.",
)
def status(context: Context, jail: str | None = None, flavor: str = "basic") -> Reply:
    """Show the server, one jail, or all jails."""
    if jail is None:
        return Reply({"jails": list(context.api.jail_names())}, "status")
    if flavor not in ("basic", "short", "stats", "cymru"):
        logger.warning("Unknown status flavor %r, showing basic", flavor)
        flavor = "basic"
    if jail == "--all":
        shown: list[JsonValue] = [
            _figures_of(view) if flavor == "stats" else _status_of(view) for view in _views(context.api)
        ]
        return Reply({"jails": shown}, "stats" if flavor == "stats" else f"status_all_{flavor}")
    view = context.api.jail(jail)
    if flavor == "stats":
        return Reply({"jails": [_figures_of(view)]}, "stats")
    return Reply(_status_of(view), f"status_jail_{flavor}")


@command("stats", "", "Show a table of all jails with their numbers.")
def stats(context: Context) -> Reply:
    """Show the numbers of all jails."""
    return Reply({"jails": [_figures_of(view) for view in _views(context.api)]}, "stats")


@command("statistic", "", "")
def statistic(context: Context) -> Reply:
    """Show the numbers of all jails; another name of `stats`."""
    return stats(context)


@command("statistics", "", "")
def statistics(context: Context) -> Reply:
    """Show the numbers of all jails; another name of `stats`."""
    return stats(context)


@command("ping", "[<timeout>]", "Ask whether the server is alive, waiting up to <timeout> seconds.")
def ping(_context: Context, _timeout: str = "") -> Reply:
    """Answer that the server is alive."""
    return Reply("pong", "ping")


@command("echo", "[<word>...]", "Give the words back.")
def echo(_context: Context, *words: str) -> Reply:
    """Give the words back."""
    return Reply(" ".join(words))


@command("version", "", "Show the version of the server.")
def version(_context: Context) -> Reply:
    """Tell the version of the server."""
    return Reply(__version__)


@command("server-status", "", "")
def server_status(context: Context) -> Reply:
    """Tell whether the server is ready: all jails that can start are started."""
    return Reply("Server ready" if context.api.is_ready() else "Server not ready")


@command("sleep", "<seconds>", "")
def sleep(context: Context, seconds: str) -> Reply:
    """Wait some seconds before the reply."""
    wanted = _seconds(seconds)
    if not 0 <= wanted <= LONGEST_SLEEP:
        raise ControlError(f"The time to sleep must lie between 0 and {LONGEST_SLEEP:g} seconds")
    context.wait(wanted)
    return Reply(None)


@command("server-stream", "<json>", "")
def server_stream(context: Context, text: str) -> Reply:
    """Carry out a list of commands in order, as `-d` prints them; ends at the first that is refused."""
    commands = _json(text, "The commands")
    if not isinstance(commands, list) or not all(isinstance(words, list) and words for words in commands):
        raise ControlError("The commands must be a JSON list of lists", status=USAGE)
    for words in commands:
        try:
            execute(context, [word if isinstance(word, str) else json.dumps(word) for word in words])
        except ControlError as error:
            raise ControlError(f"{words[:3]}: {error}", status=error.status) from None
    return Reply(len(commands))


@command("multi-set <jail> <option>", "<json>...", "")
def multi_set(context: Context, jail: str, *words: str) -> Reply:
    """Carry out `set <jail> <option> <value>` for each value of a JSON list, which is the last word."""
    values = _json(words[-1], "The values")
    if len(words) < 2 or not isinstance(values, list):
        raise ControlError(INVALID, status=USAGE)
    reply = Reply(None)
    for value in values:
        parts = value if isinstance(value, list) else [value]
        texts = [part if isinstance(part, str) else json.dumps(part) for part in parts]
        reply = execute(context, ["set", jail, *words[:-1], *texts])
    return reply


@command("config-error", "<message>...", "")
def config_error(_context: Context, *words: str) -> Reply:
    """Write an error of the configuration into the server's log."""
    logger.error("%s", " ".join(words))
    return Reply(None)


# ---- the log

_section("LOGGING")


@command(
    "set loglevel",
    "<level>",
    "Choose what is logged: CRITICAL, ERROR, WARNING, NOTICE, INFO, DEBUG, TRACEDEBUG, HEAVYDEBUG, or a number.",
)
def set_loglevel(context: Context, level: str) -> Reply:
    """Choose what is logged."""
    return Reply(context.api.change_server(lambda server: replace(server, loglevel=level.upper())).loglevel, "loglevel")


@command("get loglevel", "", "Show what is logged.")
def get_loglevel(context: Context) -> Reply:
    """Show what is logged."""
    return Reply(context.api.server_config().loglevel, "loglevel")


@command("set logtarget", "<target>", "Log to STDOUT, STDERR, SYSOUT, SYSLOG, SYSTEMD-JOURNAL, or a file.")
def set_logtarget(context: Context, target: str) -> Reply:
    """Choose where the log goes."""
    name, bracket, options = target.partition("[")
    if name.strip().upper() in ("STDOUT", "STDERR", "SYSOUT", "SYSLOG", "SYSTEMD-JOURNAL"):
        target = name.strip().upper() + bracket + options
    return Reply(context.api.change_server(lambda server: replace(server, logtarget=target)).logtarget, "logtarget")


@command("get logtarget", "", "Show where the log goes.")
def get_logtarget(context: Context) -> Reply:
    """Show where the log goes."""
    return Reply(context.api.server_config().logtarget, "logtarget")


@command("set syslogsocket", "auto|<path>", "Choose the socket for the target SYSLOG.")
def set_syslogsocket(context: Context, path: str) -> Reply:
    """Choose the socket of syslog."""
    server = context.api.change_server(lambda server: replace(server, syslogsocket=path))
    return Reply(server.syslogsocket, "syslogsocket")


@command("get syslogsocket", "", "Show the socket for the target SYSLOG.")
def get_syslogsocket(context: Context) -> Reply:
    """Show the socket of syslog."""
    return Reply(context.api.server_config().syslogsocket, "syslogsocket")


@command("flushlogs", "", "Reopen the log, after it was rotated.")
def flushlogs(context: Context) -> Reply:
    """Reopen the log."""
    return Reply(context.api.flush_logs(), "flushlogs")


# ---- the store

_section("DATABASE")


def _has_store(context: Context) -> bool:
    return context.api.server_config().dbfile.lower() not in ("", "none")


@command("set dbfile", "<file>|None", "Choose the database that keeps bans over restarts; None: keep nothing.")
def set_dbfile(context: Context, path: str) -> Reply:
    """Choose the database."""
    context.api.change_server(lambda server: replace(server, dbfile=path))
    return get_dbfile(context)


@command("get dbfile", "", "Show the database that keeps bans over restarts.")
def get_dbfile(context: Context) -> Reply:
    """Show the database."""
    return Reply(context.api.server_config().dbfile if _has_store(context) else None, "dbfile")


@command("set dbmaxmatches", "<number>", "Limit the matched lines that are kept of each ban.")
def set_dbmaxmatches(context: Context, text: str) -> Reply:
    """Limit the lines that the database keeps of a ban."""
    count = _whole(text, 0, "dbmaxmatches")
    context.api.change_server(lambda server: replace(server, dbmaxmatches=count))
    return get_dbmaxmatches(context)


@command("get dbmaxmatches", "", "Show how many matched lines are kept of each ban.")
def get_dbmaxmatches(context: Context) -> Reply:
    """Show how many lines the database keeps of a ban."""
    return Reply(context.api.server_config().dbmaxmatches if _has_store(context) else None)


@command("set dbpurgeage", "<time>", "Choose how long ended bans are remembered.")
def set_dbpurgeage(context: Context, text: str) -> Reply:
    """Choose how long ended bans are remembered."""
    seconds = _seconds(text)
    if seconds < 0:
        raise ControlError("dbpurgeage must not be negative")
    context.api.change_server(lambda server: replace(server, dbpurgeage=float(seconds)))
    return get_dbpurgeage(context)


@command("get dbpurgeage", "", "Show how long ended bans are remembered.")
def get_dbpurgeage(context: Context) -> Reply:
    """Show how long ended bans are remembered."""
    return Reply(_number(context.api.server_config().dbpurgeage) if _has_store(context) else None, "dbpurgeage")


@command("set allowipv6", "<value>", "")
def set_allowipv6(context: Context, text: str) -> Reply:
    """Choose whether IPv6 is used: `auto`, yes or no."""
    value = text.lower()
    if value not in ("auto", "yes", "no", "true", "false", "on", "off", "1", "0"):
        raise ControlError(f"allowipv6 must be auto, yes or no, not {text!r}")
    return Reply(context.api.change_server(lambda server: replace(server, allowipv6=value)).allowipv6)


@command("get allowipv6", "", "")
def get_allowipv6(context: Context) -> Reply:
    """Show whether IPv6 is used."""
    return Reply(context.api.server_config().allowipv6)


@command("set thread", "<json>", "")
def set_thread(context: Context, text: str) -> Reply:
    """Choose the stack size, in KiB, of threads started from now on: 0 (the system's) or at least 32."""
    size = _mapping(text, "The options of threads").get("stacksize", 0)
    if not isinstance(size, int) or isinstance(size, bool) or (size != 0 and not 32 <= size <= 1 << 20):
        raise ControlError(f"stacksize must be 0, or at least 32 KiB, not {size!r}")
    context.api.change_server(lambda server: replace(server, stacksize=size))
    return get_thread(context)


@command("get thread", "", "")
def get_thread(context: Context) -> Reply:
    """Show the stack size of threads."""
    return Reply({"stacksize": context.api.server_config().stacksize})


# ---- jails

_section("JAIL CONTROL")


@command("add", "<jail> [<backend>]", "Make a new jail; `start <jail>` lets it run.")
def add(context: Context, jail: str, backend: str = "auto") -> Reply:
    """Make a new jail without filter, log or action."""
    if jail.startswith("-") or not jail.isprintable() or not jail.strip():
        raise ControlError(f"{jail!r} cannot be the name of a jail", status=USAGE)
    context.api.add_jail(_set_option(JailConfig(jail), "backend", backend))
    return Reply(jail, "jail_added")


@command("set <jail> idle", "on|off", "Suspend or resume a jail.")
def set_idle(context: Context, jail: str, text: str) -> Reply:
    """Suspend or resume a jail."""
    if text not in ("on", "off"):
        raise ControlError("Invalid idle option, must be 'on' or 'off'")
    context.api.set_idle(jail, text == "on")
    return Reply(text == "on")


# ---- options of a jail

_section("JAIL CONFIGURATION")

_FILTER_OPTIONS = ("prefregex", "maxlines", "datepattern")
_INCREMENT = "bantime."


def _set_option(config: JailConfig, name: str, text: str) -> JailConfig:
    """Return *config* with the option *name* read from *text*."""
    value = _option(name, text)
    if name == "backend":
        if isinstance(value, tuple):
            return replace(config, backend=value[0], backend_options=value[1])
        return replace(config, backend=value)  # type: ignore[arg-type]
    if name in _FILTER_OPTIONS:
        return _with_filter(config, name, value)
    if name.startswith(_INCREMENT):
        field = {"increment": "enabled"}.get(name[len(_INCREMENT) :], name[len(_INCREMENT) :])
        return replace(config, increment=replace(config.increment, **{field: value}))  # type: ignore[arg-type]
    return replace(config, **{name: value})  # type: ignore[arg-type]


def _with_filter(config: JailConfig, field: str, value: object) -> JailConfig:
    return replace(config, filter=replace(config.filter, **{field: value}))  # type: ignore[arg-type]


def _get_option(config: JailConfig, name: str) -> JsonValue:
    """Return the option *name* as a plain value; None where an option of ban times is at its default."""
    if name.startswith(_INCREMENT):
        field = {"increment": "enabled"}.get(name[len(_INCREMENT) :], name[len(_INCREMENT) :])
        value = getattr(config.increment, field)
        return None if value == getattr(BantimeIncrement(), field) else _plain(value)
    if name in _FILTER_OPTIONS:
        return _plain(getattr(config.filter, name))
    return _plain(getattr(config, name))


def _plain(value: object) -> JsonValue:
    if isinstance(value, IgnoreCache):
        return [value.key, value.max_count, _number(value.max_time)]
    if isinstance(value, tuple):
        return " ".join(str(part) for part in value)
    if value is None or isinstance(value, (str, int, float)):
        return _number(value) if isinstance(value, float) else value
    return str(value)


def _register_option(name: str, argument: str, text: str, kind: str = "value") -> None:
    """Make the commands `set <jail> NAME` and `get <jail> NAME` of a plain option."""

    def setter(context: Context, jail: str, value: str) -> Reply:
        return Reply(_get_option(context.api.change_jail(jail, lambda old: _set_option(old, name, value)), name), kind)

    def getter(context: Context, jail: str) -> Reply:
        return Reply(_get_option(context.api.jail(jail).config, name), kind)

    # In `set`, an option of ban times that is put back to its default still shows what was set.
    def increment_setter(context: Context, jail: str, value: str) -> Reply:
        new = context.api.change_jail(jail, lambda old: _set_option(old, name, value))
        field = {"increment": "enabled"}.get(name[len(_INCREMENT) :], name[len(_INCREMENT) :])
        return Reply(_plain(getattr(new.increment, field)), kind)

    command(f"set <jail> {name}", argument, text)(increment_setter if name.startswith(_INCREMENT) else setter)
    command(f"get <jail> {name}", "", f"Show it: {name}.")(getter)


_register_option("ignoreself", "true|false", "Choose whether the addresses of this machine are spared.")
_register_option("ignorecommand", "<command>", "A program whose success spares a host.", "ignorecommand")
_register_option("ignorecache", "<options>", "Remember verdicts of the ignore rules; empty: do not.")
_register_option("findtime", "<time>", "The window in which failures count.")
_register_option("bantime", "<time>", "How long a ban lasts; -1: for ever.")
_register_option("maxretry", "<number>", "How many failures within findtime make a ban.")
_register_option("maxmatches", "<number>", "How many matched lines are kept of each host.")
_register_option("maxlines", "<number>", "How many lines a regex may span.")
_register_option("usedns", "yes|warn|no|raw", "What to do with host names in logs.")
_register_option("logtimezone", "<zone>", "The time zone of dates that name none.")
for _name, _argument, _text in (
    ("increment", "true|false", "Choose whether the ban time grows for hosts that come back."),
    ("factor", "<number>", "The factor in how ban times grow."),
    ("formula", "<formula>", "The formula of how ban times grow."),
    ("multipliers", "<numbers>", "The steps in which ban times grow."),
    ("maxtime", "<time>", "The longest ban time."),
    ("rndtime", "<time>", "Up to this many random seconds are added to a ban time."),
    ("overalljails", "true|false", "Choose whether earlier bans count in all jails."),
):
    _register_option(f"bantime.{_name}", _argument, _text)


@command("set <jail> logencoding", "<encoding>", "The encoding of the logs.")
def set_logencoding(context: Context, jail: str, encoding: str) -> Reply:
    """Choose the encoding of the logs."""
    context.api.change_jail(jail, lambda old: _set_option(old, "logencoding", encoding))
    return get_logencoding(context, jail)


@command("get <jail> logencoding", "", "Show the encoding of the logs.")
def get_logencoding(context: Context, jail: str) -> Reply:
    """Show the encoding of the logs; that of the system stands for `auto`."""
    encoding = context.api.jail(jail).config.logencoding
    if encoding.lower() == "auto":
        import locale  # noqa: PLC0415  seldom needed

        encoding = locale.getpreferredencoding(do_setlocale=False)
    return Reply(encoding, "logencoding")


@command("set <jail> datepattern", "<pattern>", "How dates are written in the logs; empty: find out.")
def set_datepattern(context: Context, jail: str, pattern: str) -> Reply:
    """Choose how dates are written."""
    context.api.change_jail(jail, lambda old: _set_option(old, "datepattern", pattern))
    return get_datepattern(context, jail)


@command("get <jail> datepattern", "", "Show how dates are written in the logs.")
def get_datepattern(context: Context, jail: str) -> Reply:
    """Show how dates are written."""
    if context.api.jail(jail).is_journal:
        return Reply({"pattern": None, "name": "Not set/required"}, "datepattern")
    date = context.api.rules(jail).date
    if date is None:
        return Reply({"pattern": None, "name": "Default Detectors"}, "datepattern")
    return Reply({"pattern": date[0] or None, "name": date[1]}, "datepattern")


@command("set <jail> prefregex", "<regex>", "The regex a line must match before the others are tried.")
def set_prefregex(context: Context, jail: str, regex: str) -> Reply:
    """Choose the regex that every line must match first."""
    context.api.change_jail(jail, lambda old: _set_option(old, "prefregex", regex))
    return get_prefregex(context, jail)


@command("get <jail> prefregex", "", "Show the regex a line must match first.")
def get_prefregex(context: Context, jail: str) -> Reply:
    """Show the regex that every line must match first."""
    return Reply(context.api.rules(jail).prefregex)


def _register_regexes(name: str, what: str) -> None:
    """Make the commands for the list of regexes *name*."""

    def shown(context: Context, jail: str) -> Reply:
        return Reply(list(getattr(context.api.rules(jail), name)), "regexes")

    def adder(context: Context, jail: str, regex: str) -> Reply:
        def edit(old: JailConfig) -> JailConfig:
            return _with_filter(old, name, (*getattr(old.filter, name), regex))

        context.api.change_jail(jail, edit)
        return shown(context, jail)

    def deleter(context: Context, jail: str, index: str) -> Reply:
        number = _whole(index, 0, "The index")

        def edit(old: JailConfig) -> JailConfig:
            regexes = getattr(old.filter, name)
            if number >= len(regexes):
                raise ControlError(f"There is no {name} with the index {number}")
            return _with_filter(old, name, regexes[:number] + regexes[number + 1 :])

        context.api.change_jail(jail, edit)
        return shown(context, jail)

    command(f"set <jail> add{name}", "<regex>", f"Add a regex for {what}.")(adder)
    command(f"set <jail> del{name}", "<index>", f"Remove the regex for {what} with this index.")(deleter)
    command(f"get <jail> {name}", "", f"Show the regexes for {what}.")(shown)


_register_regexes("failregex", "failures")
_register_regexes("ignoreregex", "lines to ignore")


@command("set <jail> addignoreip", "<address>...", "Spare addresses, networks or host names.")
def add_ignoreip(context: Context, jail: str, *words: str) -> Reply:
    """Add to the ignore list."""

    def edit(old: JailConfig) -> JailConfig:
        added = [entry for word in words for entry in _ignore_entries(word)]
        return replace(old, ignoreip=tuple(dict.fromkeys((*old.ignoreip, *added))))

    return Reply(list(context.api.change_jail(jail, edit).ignoreip), "ignoreip")


def _ignore_entries(text: str) -> tuple[str, ...]:
    value = _option("ignoreip", text)
    return tuple(str(entry) for entry in value) if isinstance(value, tuple) else (text,)


@command("set <jail> delignoreip", "<address>...", "Spare them no longer.")
def del_ignoreip(context: Context, jail: str, *words: str) -> Reply:
    """Remove from the ignore list."""

    def edit(old: JailConfig) -> JailConfig:
        known = {_comparable(entry): entry for entry in old.ignoreip}
        for word in words:
            if known.pop(_comparable(word), None) is None:
                raise ControlError(f"{word!r} is not in the ignore list of jail '{jail}'")
        return replace(old, ignoreip=tuple(entry for entry in old.ignoreip if _comparable(entry) in known))

    return Reply(list(context.api.change_jail(jail, edit).ignoreip), "ignoreip")


def _comparable(entry: str) -> str:
    return netaddr.canonical(entry) or entry


@command("get <jail> ignoreip", "", "Show the addresses, networks and host names that are spared.")
def get_ignoreip(context: Context, jail: str) -> Reply:
    """Show the ignore list."""
    return Reply(list(context.api.jail(jail).config.ignoreip), "ignoreip")


@command("set <jail> addlogpath", "<file> [tail|head]", "Read one more log, from its end or its beginning (head).")
def add_logpath(context: Context, jail: str, path: str, where: str = "head") -> Reply:
    """Read one more log."""
    if where not in ("tail", "head"):
        raise ControlError(f"The place to begin is 'tail' or 'head', not {where!r}", status=USAGE)
    if not os.path.isabs(path):
        raise ControlError(f"The path of a log must be absolute: {path!r}")
    if not any(wild in path for wild in "*?[") and not os.path.exists(path):
        raise ControlError(f"No such file or directory: {path!r}")

    def edit(old: JailConfig) -> JailConfig:
        others = tuple(entry for entry in old.logpath if entry.pattern != path)
        return replace(old, logpath=(*others, LogPath(path, tail=where == "tail")))

    context.api.change_jail(jail, edit)
    return get_logpath(context, jail)


@command("set <jail> dellogpath", "<file>", "Read a log no longer.")
def del_logpath(context: Context, jail: str, path: str) -> Reply:
    """Read a log no longer."""

    def edit(old: JailConfig) -> JailConfig:
        kept = tuple(entry for entry in old.logpath if entry.pattern != path)
        if kept == old.logpath:
            raise ControlError(f"{path!r} is not among the logs of jail '{jail}'")
        return replace(old, logpath=kept)

    context.api.change_jail(jail, edit)
    return get_logpath(context, jail)


@command("get <jail> logpath", "", "Show the logs that are read.")
def get_logpath(context: Context, jail: str) -> Reply:
    """Show the logs that are read."""
    return Reply(list(context.api.jail(jail).files), "logpath")


@command("set <jail> addjournalmatch", "<match>...", "Add journal matches (FIELD=value); `+` between them means or.")
def add_journalmatch(context: Context, jail: str, *words: str) -> Reply:
    """Add to the journal matches."""
    groups = _match_groups(words)

    def edit(old: JailConfig) -> JailConfig:
        return _with_filter(old, "journalmatch", tuple(dict.fromkeys((*_matches(old), *groups))))

    context.api.change_jail(jail, edit)
    return get_journalmatch(context, jail)


@command("set <jail> deljournalmatch", "<match>...", "Remove journal matches.")
def del_journalmatch(context: Context, jail: str, *words: str) -> Reply:
    """Remove journal matches."""
    groups = _match_groups(words)

    def edit(old: JailConfig) -> JailConfig:
        known = _matches(old)
        for group in groups:
            if group not in known:
                raise ControlError(f"'{' '.join(group)}' is not among the journal matches of jail '{jail}'")
        return _with_filter(old, "journalmatch", tuple(match for match in known if match not in groups))

    context.api.change_jail(jail, edit)
    return get_journalmatch(context, jail)


def _matches(config: JailConfig) -> tuple[tuple[str, ...], ...]:
    """The journal matches of a jail, those joined by `+` in one line apart."""
    return tuple(group for line in config.filter.journalmatch for group in _split_at_or(line))


def _split_at_or(words: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    groups: list[list[str]] = [[]]
    for word in words:
        if word == "+":
            groups.append([])
        else:
            groups[-1].append(word)
    return tuple(tuple(group) for group in groups)


def _match_groups(words: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """Split journal matches at `+`; each must name a field (systemd.journal-fields(7)) or be the path of a program."""
    groups = _split_at_or(words)
    if not all(groups):
        raise ControlError(INVALID, status=USAGE)
    for word in (word for group in groups for word in group):
        field, equals, _ = word.partition("=")
        if not word.startswith("/") and not (equals and field.replace("_", "").isalnum() and field.isupper()):
            raise ControlError(f"{word!r} is no journal match: FIELD=value", status=USAGE)
    return groups


@command("get <jail> journalmatch", "", "Show the journal matches.")
def get_journalmatch(context: Context, jail: str) -> Reply:
    """Show the journal matches."""
    return Reply([" ".join(match) for match in _matches(context.api.jail(jail).config)], "journalmatch")


# ---- bans of a jail

_section("BANS OF A JAIL")


@command("set <jail> attempt", "<host> [<line>...]", "Count failures of a host: one for each line, at least one.")
def attempt(context: Context, jail: str, host: str, *lines: str) -> Reply:
    """Count failures of a host, as if its log had told them."""
    return Reply(context.api.attempt(jail, _host(host), lines))


@command("set <jail> banip", "[<id>...]", "Ban addresses, networks or ids.")
def banip(context: Context, jail: str, *words: str) -> Reply:
    """Ban now, whatever the ignore rules say."""
    return Reply(context.api.ban(jail, _hosts(words)))


@command(
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
    "get <jail> banip",
    "[<separator>|--with-time]",
    "Show banned ids in the order in which they end, with another separator than a blank, or with their times.",
)
def get_banip(context: Context, jail: str, separator: str = " ") -> Reply:
    """Show who is banned, in the order in which bans end."""
    bans = context.api.jail(jail).bans
    if separator == "--with-time":
        return Reply({"bans": [_ban(active) for active in bans]}, "bans_with_time")
    return Reply({"banned": [active.ban.host for active in bans], "separator": separator}, "ban_ids")


@command("get <jail> banned", "[<id>...]", "Show banned ids; with ids, 1 or 0 for each.")
def get_banned(context: Context, jail: str, *words: str) -> Reply:
    """Show who is banned, or whether somebody is."""
    view = context.api.jail(jail)
    if not words:
        return Reply(_by_start(view.bans))
    verdicts = [int(_is_banned(view, _host(word))) for word in words]
    return Reply(verdicts[0] if len(verdicts) == 1 else verdicts)


# ---- actions of a jail

_section("ACTIONS OF A JAIL")


@command("get <jail> actions", "", "Show the names of the actions.")
def get_actions(context: Context, jail: str) -> Reply:
    """Show the names of the actions."""
    names = [action.name for action in context.api.jail(jail).config.actions]
    return Reply({"jail": jail, "actions": names}, "actions")


@command("set <jail> addaction", "<action> [<file>] [<json>]", "Add an action of commands, or of a Python file.")
def add_action(context: Context, jail: str, name: str, path: str | None = None, arguments: str = "{}") -> Reply:
    """Add an action: one whose commands are set later, or a Python file with keyword arguments."""
    if path is None:
        action = ActionConfig(name, name, properties={"name": jail, "actname": name})
    else:
        if not os.path.isfile(path):
            raise ControlError(f"No such file or directory: {path!r}")
        given = _mapping(arguments, "The arguments of the action")
        texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in given.items()}
        action = ActionConfig(name, os.path.basename(path), ActionKind.PYTHON, properties=texts, path=path)
    context.api.add_action(jail, action)
    return Reply(name)


@command("set <jail> delaction", "<action>", "Remove an action.")
def del_action(context: Context, jail: str, name: str) -> Reply:
    """Remove an action."""
    context.api.delete_action(jail, name)
    return Reply(None)


@command(
    "set <jail> action",
    "<action> <property|method> [<value|json>]",
    "Set a command, tag or `timeout` of an action, or call one of its methods with keyword arguments.",
)
def set_action(context: Context, jail: str, name: str, key: str, value: str | None = None) -> Reply:
    """Set a property of an action, or call a method of it."""
    if key in context.api.action_methods(jail, name):
        arguments = {} if not value else _mapping(value, "The arguments of the method")
        return Reply(context.api.call_action(jail, name, key, arguments))
    if value is None:
        raise ControlError(INVALID, status=USAGE)
    return Reply(context.api.set_action_property(jail, name, key, value))


@command("get <jail> action", "<action> <property>", "Show a command, tag or `timeout` of an action.")
def get_action(context: Context, jail: str, name: str, key: str) -> Reply:
    """Show a property of an action."""
    properties = context.api.action_properties(jail, name)
    if key not in properties:
        raise ControlError(f"The action '{name}' has no property '{key}'")
    return Reply(properties[key])


@command("get <jail> actionproperties", "<action>", "Show the names of the properties of an action.")
def get_actionproperties(context: Context, jail: str, name: str) -> Reply:
    """Show which properties an action has."""
    names = sorted(context.api.action_properties(jail, name))
    return Reply({"jail": jail, "action": name, "properties": names}, "actionproperties")


@command("get <jail> actionmethods", "<action>", "Show the names of the methods of an action.")
def get_actionmethods(context: Context, jail: str, name: str) -> Reply:
    """Show which methods an action has."""
    names = sorted(context.api.action_methods(jail, name))
    return Reply({"jail": jail, "action": name, "methods": names}, "actionmethods")
