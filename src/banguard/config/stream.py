"""A Config as the list of commands that `-d` prints."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Sequence

from banguard.config.options import (
    ACTION_OPTIONS,
    FILTER_OPTIONS,
    JAIL_OPTIONS,
    is_true,
    parse_bool,
    parse_int,
    parse_words,
)
from banguard.config.schema import ActionConfig, ActionKind, Config, JailConfig, LogPath, Severity

Command = list[object]

# Those that the filter's part of the stream holds, or that are no commands.
_NOT_PLAIN = frozenset((
    "enabled", "filter", "action", "backend", "logpath", "skip_if_nologs", "systemd_if_nologs", *FILTER_OPTIONS,
))  # fmt: skip


def stream(config: Config) -> list[list[object]]:
    """
    Return the commands, in order, that would set up a server as *config* says: settings, jails, starts.

    Values are the texts of the files, expanded; `logpath` is resolved to the files that exist now.
    """
    server = config.server
    commands: list[Command] = [["set", "thread", {"stacksize": server.stacksize}]] if server.stacksize else []
    commands += [
        ["set", "syslogsocket", server.syslogsocket],
        ["set", "loglevel", server.loglevel],
        ["set", "logtarget", server.logtarget],
        ["set", "allowipv6", server.allowipv6],
        ["set", "dbfile", server.dbfile],
        ["set", "dbmaxmatches", server.dbmaxmatches],
        ["set", "dbpurgeage", _number(server.dbpurgeage)],
    ]
    for jail in config.jails.values():
        commands += _jail(jail)
    broken: dict[str, str] = {}
    for problem in config.problems:
        if problem.jail and problem.severity is Severity.ERROR and problem.jail not in config.jails:
            broken.setdefault(problem.jail, problem.message)
    commands += [["config-error", f"Jail {name!r} is left out: {message}"] for name, message in broken.items()]
    commands += [["start", name] for name in config.jails]
    return commands


def _jail(jail: JailConfig) -> Iterable[Command]:
    name = jail.name
    texts = jail.texts
    yield ["add", name, texts.get("backend", "auto")]
    if "usedns" in texts:
        yield ["set", name, "usedns", texts["usedns"]]
    if "prefregex" in texts:
        yield ["set", name, "prefregex", jail.filter.prefregex]
    if "maxlines" in texts:
        yield ["set", name, "maxlines", jail.filter.maxlines]
    yield from _add(name, "addfailregex", jail.filter.failregex)
    yield from _add(name, "addignoreregex", jail.filter.ignoreregex)
    if "datepattern" in texts:
        yield ["set", name, "datepattern", texts["datepattern"]]
    if jail.filter.logformat:
        yield ["set", name, "logformat", jail.filter.logformat]
        if jail.filter.datefield:
            yield ["set", name, "datefield", jail.filter.datefield]
        for field, regexes in jail.filter.fields:
            yield ["set", name, field, *regexes]
    for words in jail.filter.journalmatch:
        yield ["set", name, "addjournalmatch", *words]
    for option in JAIL_OPTIONS.values():
        if option.name in texts and option.name not in _NOT_PLAIN:
            yield ["set", name, *_setting(option.name, texts[option.name], option.parse)]
    for entry in jail.logpath:
        for path in _files(entry):
            yield ["set", name, "addlogpath", path, "tail" if entry.tail else "head"]
    for action in jail.actions:
        yield from _action(name, action)


def _setting(name: str, text: str, parse: object) -> Command:
    if name == "ignoreip":
        return ["addignoreip", *parse_words(text)]
    if parse is parse_bool:
        return [name, is_true(text)]
    if parse is parse_int:
        try:
            return [name, parse_int(text)]
        except ValueError:
            return [name, None]
    return [name, text]


def _add(jail: str, command: str, items: Sequence[str]) -> Iterable[Command]:
    if len(items) == 1:
        yield ["set", jail, command, items[0]]
    elif items:
        yield ["multi-set", jail, command, list(items)]


def _files(entry: LogPath) -> Sequence[str]:
    if glob.has_magic(entry.pattern):
        return sorted(glob.glob(entry.pattern))
    return [entry.pattern] if os.path.exists(entry.pattern) else []


def _action(jail: str, action: ActionConfig) -> Iterable[Command]:
    if action.kind is ActionKind.PYTHON:
        import json  # noqa: PLC0415  few jails have such an action

        yield ["set", jail, "addaction", action.name, action.path, json.dumps(dict(action.properties))]
        return
    yield ["set", jail, "addaction", action.name]
    settings: dict[str, object] = {
        "actionstart_on_demand": action.start_on_demand,
        "actionrepair_on_unban": action.repair_on_unban or None,
        "norestored": action.norestored or None,
    }
    pairs: list[list[object]] = []
    for option in ACTION_OPTIONS:
        value = settings[option] if option in settings else action.commands.get(option)
        if value is not None:
            pairs.append([option, value])
    if action.kind is ActionKind.NATIVE:
        pairs.append(["native", action.native])
    pairs += [[option, text] for option, text in action.commands.items() if "?" in option]
    pairs += [[option, text] for option, text in action.properties.items() if not option.startswith("known/")]
    yield ["multi-set", jail, "action", action.name, pairs]


def _number(seconds: float) -> int | float:
    return int(seconds) if seconds == int(seconds) else seconds
