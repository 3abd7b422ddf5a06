"""
The table of commands: one decorated function each.

Here are those about the server as a whole; those about bans, about jails and those that explain are in modules of their
own, which this one loads. Functions return plain values: what a terminal shows is made of them by the client, by the
*kind* of the reply. A function raises ControlError to refuse.
"""

from __future__ import annotations

import heapq
import json
import logging
from collections.abc import Sequence
from dataclasses import replace

from banguard import __version__
from banguard.config.schema import JailConfig
from banguard.control import commands_bans, commands_explain, commands_jail
from banguard.control.api import JsonValue, ReloadRequest
from banguard.control.commands_jail import with_option
from banguard.control.protocol import USAGE, Reply, Source, Stream
from banguard.control.table import BASIC, DATABASE, INVALID, JAILS, LOGGING, TABLE, Context, command, execute, help_text
from banguard.control.values import (
    all_jails,
    ban_data,
    figures_data,
    json_of,
    log_data,
    mapping_of,
    number,
    overview_data,
    seconds_of,
    status_data,
    whole,
)
from banguard.errors import ControlError

logger = logging.getLogger("banguard.server")

__all__ = ["TABLE", "Context", "commands_bans", "commands_explain", "commands_jail", "execute", "help_text"]

LONGEST_SLEEP = 3600.0
NEWEST = 50
"""How many of the latest bans `overview` tells."""


@command(BASIC, "start", "[<jail>]", "Start the server and its jails; with <jail>, start a jail made by `add`.")
def start(context: Context, jail: str | None = None) -> Reply:
    """Start a jail; the server itself is started by the client, and runs already when this is asked."""
    if jail is None:
        raise ControlError("Server already running")
    context.api.start_jail(jail)
    return Reply(jail, "jail_started")


@command(BASIC, "stop", "[<jail>]", "Stop all jails and end the server; with <jail>, stop and remove this jail.")
def stop(context: Context, jail: str | None = None) -> Reply:
    """Stop the server, or one jail."""
    if jail is not None:
        context.api.stop_jail(jail)
        return Reply(jail, "jail_stopped")
    context.api.stop()
    return Reply("stopping", "stopping")


@command(
    BASIC,
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
    BASIC,
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


@command(
    BASIC,
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
            figures_data(view) if flavor == "stats" else status_data(view) for view in all_jails(context.api)
        ]
        return Reply({"jails": shown}, "stats" if flavor == "stats" else f"status_all_{flavor}")
    view = context.api.jail(jail)
    if flavor == "stats":
        return Reply({"jails": [figures_data(view)]}, "stats")
    return Reply(status_data(view), f"status_jail_{flavor}")


@command(BASIC, "stats", "", "Show a table of all jails with their numbers.")
def stats(context: Context) -> Reply:
    """Show the numbers of all jails."""
    return Reply({"jails": [figures_data(view) for view in all_jails(context.api)]}, "stats")


@command(BASIC, "statistic", "", "")
def statistic(context: Context) -> Reply:
    """Show the numbers of all jails; another name of `stats`."""
    return stats(context)


@command(BASIC, "statistics", "", "")
def statistics(context: Context) -> Reply:
    """Show the numbers of all jails; another name of `stats`."""
    return stats(context)


@command(
    BASIC,
    "watch",
    "[--follow] [--count <number>] [<jail>...]",
    "Show what happens, as it happens, until Ctrl-C: failures found, bans, unbans, what cannot be enforced, firewalls "
    "and logs lost and mended, reloads; with <jail>, only what concerns these jails. --follow comes back "
    "to a server that is started again.",
)
def watch(context: Context, *jails: str) -> Reply:
    """Tell of what happens from now on, until one side closes."""
    for jail in jails:
        context.api.jail(jail)

    def begin() -> Source:
        from banguard.control.events import Watch  # noqa: PLC0415  few ever watch

        return Watch(context.api, jails)

    started = {"event": "watching", "at": number(round(context.api.now(), 3)), "jails": list(jails)}
    return Stream(started, "event", begin)


@command(BASIC, "overview", "", "")
def overview(context: Context) -> Reply:
    """Tell all that `top` shows: each jail with its actions, each log, the newest bans."""
    api = context.api
    views = all_jails(api)
    bans = (active for view in views for active in view.bans)
    newest = heapq.nlargest(NEWEST, bans, key=lambda active: active.ban.since)
    return Reply(
        {
            "version": __version__,
            "now": number(round(api.now(), 3)),
            "started": number(round(api.started_at(), 3)),
            "jails": [overview_data(view, api.action_stats(view.config.name)) for view in views],
            "logs": [log_data(log) for log in api.logs()],
            "newest": [{"jail": active.ban.jail, **ban_data(active)} for active in newest],
        },
        "overview",
    )


@command(BASIC, "ping", "[<timeout>]", "Ask whether the server is alive, waiting up to <timeout> seconds.")
def ping(_context: Context, _timeout: str = "") -> Reply:
    """Answer that the server is alive."""
    return Reply("pong", "ping")


@command(BASIC, "echo", "[<word>...]", "Give the words back.")
def echo(_context: Context, *words: str) -> Reply:
    """Give the words back."""
    return Reply(" ".join(words))


@command(BASIC, "version", "", "Show the version of the server.")
def version(_context: Context) -> Reply:
    """Tell the version of the server."""
    return Reply(__version__)


@command(BASIC, "server-status", "", "")
def server_status(context: Context) -> Reply:
    """Tell whether the server is ready: all jails that can start are started."""
    return Reply("Server ready" if context.api.is_ready() else "Server not ready")


@command(BASIC, "sleep", "<seconds>", "")
def sleep(context: Context, seconds: str) -> Reply:
    """Wait some seconds before the reply."""
    wanted = seconds_of(seconds)
    if not 0 <= wanted <= LONGEST_SLEEP:
        raise ControlError(f"The time to sleep must lie between 0 and {LONGEST_SLEEP:g} seconds")
    context.wait(wanted)
    return Reply(None)


@command(BASIC, "server-stream", "<json>", "")
def server_stream(context: Context, text: str) -> Reply:
    """Carry out a list of commands in order, as `-d` prints them; ends at the first that is refused."""
    commands = json_of(text, "The commands")
    if not isinstance(commands, list) or not all(isinstance(words, list) and words for words in commands):
        raise ControlError("The commands must be a JSON list of lists", status=USAGE)
    for words in commands:
        try:
            execute(context, [word if isinstance(word, str) else json.dumps(word) for word in words])
        except ControlError as error:
            raise ControlError(f"{words[:3]}: {error}", status=error.status) from None
    return Reply(len(commands))


@command(BASIC, "multi-set <jail> <option>", "<json>...", "")
def multi_set(context: Context, jail: str, *words: str) -> Reply:
    """Carry out `set <jail> <option> <value>` for each value of a JSON list, which is the last word."""
    values = json_of(words[-1], "The values")
    if len(words) < 2 or not isinstance(values, list):
        raise ControlError(INVALID, status=USAGE)
    reply = Reply(None)
    for value in values:
        parts = value if isinstance(value, list) else [value]
        texts = [part if isinstance(part, str) else json.dumps(part) for part in parts]
        reply = execute(context, ["set", jail, *words[:-1], *texts])
    return reply


@command(BASIC, "config-error", "<message>...", "")
def config_error(_context: Context, *words: str) -> Reply:
    """Write an error of the configuration into the server's log."""
    logger.error("%s", " ".join(words))
    return Reply(None)


# ---- the log


@command(
    LOGGING,
    "set loglevel",
    "<level>",
    "Choose what is logged: CRITICAL, ERROR, WARNING, NOTICE, INFO, DEBUG, TRACEDEBUG, HEAVYDEBUG, or a number.",
)
def set_loglevel(context: Context, level: str) -> Reply:
    """Choose what is logged."""
    return Reply(context.api.change_server(lambda server: replace(server, loglevel=level.upper())).loglevel, "loglevel")


@command(LOGGING, "get loglevel", "", "Show what is logged.")
def get_loglevel(context: Context) -> Reply:
    """Show what is logged."""
    return Reply(context.api.server_config().loglevel, "loglevel")


@command(LOGGING, "set logtarget", "<target>", "Log to STDOUT, STDERR, SYSOUT, SYSLOG, SYSTEMD-JOURNAL, or a file.")
def set_logtarget(context: Context, target: str) -> Reply:
    """Choose where the log goes."""
    name, bracket, options = target.partition("[")
    if name.strip().upper() in ("STDOUT", "STDERR", "SYSOUT", "SYSLOG", "SYSTEMD-JOURNAL"):
        target = name.strip().upper() + bracket + options
    return Reply(context.api.change_server(lambda server: replace(server, logtarget=target)).logtarget, "logtarget")


@command(LOGGING, "get logtarget", "", "Show where the log goes.")
def get_logtarget(context: Context) -> Reply:
    """Show where the log goes."""
    return Reply(context.api.server_config().logtarget, "logtarget")


@command(LOGGING, "set syslogsocket", "auto|<path>", "Choose the socket for the target SYSLOG.")
def set_syslogsocket(context: Context, path: str) -> Reply:
    """Choose the socket of syslog."""
    server = context.api.change_server(lambda server: replace(server, syslogsocket=path))
    return Reply(server.syslogsocket, "syslogsocket")


@command(LOGGING, "get syslogsocket", "", "Show the socket for the target SYSLOG.")
def get_syslogsocket(context: Context) -> Reply:
    """Show the socket of syslog."""
    return Reply(context.api.server_config().syslogsocket, "syslogsocket")


@command(LOGGING, "flushlogs", "", "Reopen the log, after it was rotated.")
def flushlogs(context: Context) -> Reply:
    """Reopen the log."""
    return Reply(context.api.flush_logs(), "flushlogs")


# ---- the store


def _has_store(context: Context) -> bool:
    return context.api.server_config().dbfile.lower() not in ("", "none")


@command(
    DATABASE, "set dbfile", "<file>|None", "Choose the database that keeps bans over restarts; None: keep nothing."
)
def set_dbfile(context: Context, path: str) -> Reply:
    """Choose the database."""
    context.api.change_server(lambda server: replace(server, dbfile=path))
    return get_dbfile(context)


@command(DATABASE, "get dbfile", "", "Show the database that keeps bans over restarts.")
def get_dbfile(context: Context) -> Reply:
    """Show the database."""
    return Reply(context.api.server_config().dbfile if _has_store(context) else None, "dbfile")


@command(DATABASE, "set dbmaxmatches", "<number>", "Limit the matched lines that are kept of each ban.")
def set_dbmaxmatches(context: Context, text: str) -> Reply:
    """Limit the lines that the database keeps of a ban."""
    count = whole(text, 0, "dbmaxmatches")
    context.api.change_server(lambda server: replace(server, dbmaxmatches=count))
    return get_dbmaxmatches(context)


@command(DATABASE, "get dbmaxmatches", "", "Show how many matched lines are kept of each ban.")
def get_dbmaxmatches(context: Context) -> Reply:
    """Show how many lines the database keeps of a ban."""
    return Reply(context.api.server_config().dbmaxmatches if _has_store(context) else None)


@command(DATABASE, "set dbpurgeage", "<time>", "Choose how long ended bans are remembered.")
def set_dbpurgeage(context: Context, text: str) -> Reply:
    """Choose how long ended bans are remembered."""
    seconds = seconds_of(text)
    if seconds < 0:
        raise ControlError("dbpurgeage must not be negative")
    context.api.change_server(lambda server: replace(server, dbpurgeage=float(seconds)))
    return get_dbpurgeage(context)


@command(DATABASE, "get dbpurgeage", "", "Show how long ended bans are remembered.")
def get_dbpurgeage(context: Context) -> Reply:
    """Show how long ended bans are remembered."""
    return Reply(number(context.api.server_config().dbpurgeage) if _has_store(context) else None, "dbpurgeage")


@command(DATABASE, "set allowipv6", "<value>", "")
def set_allowipv6(context: Context, text: str) -> Reply:
    """Choose whether IPv6 is used: `auto`, yes or no."""
    value = text.lower()
    if value not in ("auto", "yes", "no", "true", "false", "on", "off", "1", "0"):
        raise ControlError(f"allowipv6 must be auto, yes or no, not {text!r}")
    return Reply(context.api.change_server(lambda server: replace(server, allowipv6=value)).allowipv6)


@command(DATABASE, "get allowipv6", "", "")
def get_allowipv6(context: Context) -> Reply:
    """Show whether IPv6 is used."""
    return Reply(context.api.server_config().allowipv6)


@command(DATABASE, "set thread", "<json>", "")
def set_thread(context: Context, text: str) -> Reply:
    """Choose the stack size, in KiB, of threads started from now on: 0 (the system's) or at least 32."""
    size = mapping_of(text, "The options of threads").get("stacksize", 0)
    if not isinstance(size, int) or isinstance(size, bool) or (size != 0 and not 32 <= size <= 1 << 20):
        raise ControlError(f"stacksize must be 0, or at least 32 KiB, not {size!r}")
    context.api.change_server(lambda server: replace(server, stacksize=size))
    return get_thread(context)


@command(DATABASE, "get thread", "", "")
def get_thread(context: Context) -> Reply:
    """Show the stack size of threads."""
    return Reply({"stacksize": context.api.server_config().stacksize})


# ---- jails


@command(JAILS, "add", "<jail> [<backend>]", "Make a new jail; `start <jail>` lets it run.")
def add(context: Context, jail: str, backend: str = "auto") -> Reply:
    """Make a new jail without filter, log or action."""
    if jail.startswith("-") or not jail.isprintable() or not jail.strip():
        raise ControlError(f"{jail!r} cannot be the name of a jail", status=USAGE)
    context.api.add_jail(with_option(JailConfig(jail), "backend", backend))
    return Reply(jail, "jail_added")


@command(JAILS, "set <jail> idle", "on|off", "Suspend or resume a jail.")
def set_idle(context: Context, jail: str, text: str) -> Reply:
    """Suspend or resume a jail."""
    if text not in ("on", "off"):
        raise ControlError("Invalid idle option, must be 'on' or 'off'")
    context.api.set_idle(jail, text == "on")
    return Reply(text == "on")


# ---- options of a jail
