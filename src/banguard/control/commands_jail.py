"""Commands about the options and actions of a jail."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import replace

from banguard import netaddr
from banguard.config.schema import ActionConfig, ActionKind, BantimeIncrement, IgnoreCache, JailConfig, LogPath
from banguard.control.api import JsonValue
from banguard.control.protocol import USAGE, Reply
from banguard.control.table import ACTIONS, INVALID, OPTIONS, Context, command
from banguard.control.values import journal_matches, mapping_of, match_groups, number, option_of, seconds_of, whole
from banguard.errors import ControlError

_FILTER_OPTIONS = ("prefregex", "maxlines", "datepattern")
_INCREMENT = "bantime."
_PREFIX = "banprefix."
_SETTLE_ROUNDS, _SETTLE_SECONDS = 40, 0.05

# ---- options


def with_option(config: JailConfig, name: str, text: str) -> JailConfig:
    """Return *config* with the option *name* read from *text*."""
    value = option_of(name, text)
    if name == "backend":
        if isinstance(value, tuple):
            return replace(config, backend=value[0], backend_options=value[1])
        return replace(config, backend=value)  # type: ignore[arg-type]
    if name in _FILTER_OPTIONS:
        return _with_filter(config, name, value)
    if name.startswith(_INCREMENT):
        fields = {_increment_field(name): value}
        return replace(config, increment=replace(config.increment, **fields))  # type: ignore[arg-type]
    if name.startswith(_PREFIX):
        fields = {_prefix_field(name): value}
        return replace(config, prefix=replace(config.prefix, **fields))  # type: ignore[arg-type]
    return replace(config, **{_field(name): value})  # type: ignore[arg-type]


def _field(name: str) -> str:
    """Return the field of `JailConfig` for an option such as `success.forgets`."""
    return name.removeprefix("mode.").replace(".", "_")


def _prefix_field(name: str) -> str:
    """Return the field of `BanPrefix` for an option such as `banprefix.wider.ipv4`."""
    return name.removeprefix(_PREFIX).replace(".", "_")


def _increment_field(name: str) -> str:
    """Return the field of `BantimeIncrement` for an option such as `bantime.factor`."""
    field = name.removeprefix(_INCREMENT)
    return "enabled" if field == "increment" else field


def _with_filter(config: JailConfig, field: str, value: object) -> JailConfig:
    return replace(config, filter=replace(config.filter, **{field: value}))  # type: ignore[arg-type]


def _get_option(config: JailConfig, name: str) -> JsonValue:
    """Return the option *name* as a plain value; None where an option of ban times is at its default."""
    if name.startswith(_INCREMENT):
        field = _increment_field(name)
        value = getattr(config.increment, field)
        return None if value == getattr(BantimeIncrement(), field) else _plain(value)
    if name in _FILTER_OPTIONS:
        return _plain(getattr(config.filter, name))
    if name.startswith(_PREFIX):
        return _plain(getattr(config.prefix, _prefix_field(name)))
    return _plain(getattr(config, _field(name)))


def _plain(value: object) -> JsonValue:
    if isinstance(value, IgnoreCache):
        return [value.key, value.max_count, number(value.max_time)]
    if isinstance(value, tuple):
        return " ".join(str(part) for part in value)
    if value is None or isinstance(value, (str, int, float)):
        return number(value) if isinstance(value, float) else value
    return str(value)


def _register_option(name: str, argument: str, text: str, kind: str = "value") -> None:
    """Make the commands `set <jail> NAME` and `get <jail> NAME` of a plain option."""

    def setter(context: Context, jail: str, value: str) -> Reply:
        return Reply(_get_option(context.api.change_jail(jail, lambda old: with_option(old, name, value)), name), kind)

    def getter(context: Context, jail: str) -> Reply:
        return Reply(_get_option(context.api.jail(jail).config, name), kind)

    # In `set`, an option of ban times that is put back to its default still shows what was set.
    def increment_setter(context: Context, jail: str, value: str) -> Reply:
        new = context.api.change_jail(jail, lambda old: with_option(old, name, value))
        return Reply(_plain(getattr(new.increment, _increment_field(name))), kind)

    command(OPTIONS, f"set <jail> {name}", argument, text)(increment_setter if name.startswith(_INCREMENT) else setter)
    command(OPTIONS, f"get <jail> {name}", "", f"Show {name}.")(getter)


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
_register_option(
    "mode.observe", "true|false", "Choose whether the jail only observes: it decides and logs, and bans nobody."
)
for _name, _argument, _text in (
    ("increment", "true|false", "Choose whether the ban time grows for hosts that come back."),
    ("factor", "<number>", "The factor in how ban times grow."),
    ("formula", "<formula>", "The formula of how ban times grow."),
    ("multipliers", "<numbers>", "The steps in which ban times grow."),
    ("maxtime", "<time>", "The longest ban time."),
    ("rndtime", "<time>", "Up to this many random seconds are added to a ban time."),
    ("overalljails", "true|false", "Choose whether earlier bans count in all jails."),
    ("rearm", "true|false", "Choose whether each failure during a ban starts its time again."),
    ("quiet", "<time>", "The time without a packet after which a ban ends, not before; empty: whatever is sent."),
    ("decay", "<time>", "The time without a ban after which one earlier ban less counts; empty: never."),
):
    _register_option(f"bantime.{_name}", _argument, _text)
for _name, _argument, _text in (
    ("ipv4", "<bits>", "The length of the IPv4 networks that are counted and banned; 32: single addresses."),
    ("ipv6", "<bits>", "The length of the IPv6 networks that are counted and banned; 128: single addresses."),
    ("offenders", "<number>", "How many banned within findtime in a wider network ban it as a whole; 0: never."),
    ("wider.ipv4", "<bits>", "The length of the wider IPv4 network."),
    ("wider.ipv6", "<bits>", "The length of the wider IPv6 network."),
):
    _register_option(f"banprefix.{_name}", _argument, _text)
_register_option("success.forgets", "true|false", "Choose whether a successful login makes failures forgotten.")
_register_option("kill_connections", "true|false", "Choose whether open connections of who is banned are cut.")


@command(OPTIONS, "set <jail> logencoding", "<encoding>", "The encoding of the logs.")
def set_logencoding(context: Context, jail: str, encoding: str) -> Reply:
    """Choose the encoding of the logs."""
    context.api.change_jail(jail, lambda old: with_option(old, "logencoding", encoding))
    return get_logencoding(context, jail)


@command(OPTIONS, "get <jail> logencoding", "", "Show the encoding of the logs.")
def get_logencoding(context: Context, jail: str) -> Reply:
    """Show the encoding of the logs; that of the system stands for `auto`."""
    encoding = context.api.jail(jail).config.logencoding
    if encoding.lower() == "auto":
        import locale  # noqa: PLC0415  seldom needed

        encoding = locale.getpreferredencoding(do_setlocale=False)
    return Reply(encoding, "logencoding")


@command(OPTIONS, "set <jail> datepattern", "<pattern>", "How dates are written in the logs; empty: find out.")
def set_datepattern(context: Context, jail: str, pattern: str) -> Reply:
    """Choose how dates are written."""
    context.api.change_jail(jail, lambda old: with_option(old, "datepattern", pattern))
    return get_datepattern(context, jail)


@command(OPTIONS, "get <jail> datepattern", "", "Show how dates are written in the logs.")
def get_datepattern(context: Context, jail: str) -> Reply:
    """Show how dates are written."""
    if context.api.jail(jail).is_journal:
        return Reply({"pattern": None, "name": "Not set/required"}, "datepattern")
    date = context.api.rules(jail).date
    if date is None:
        return Reply({"pattern": None, "name": "Default Detectors"}, "datepattern")
    return Reply({"pattern": date[0] or None, "name": date[1]}, "datepattern")


@command(OPTIONS, "set <jail> prefregex", "<regex>", "The regex a line must match before the others are tried.")
def set_prefregex(context: Context, jail: str, regex: str) -> Reply:
    """Choose the regex that every line must match first."""
    context.api.change_jail(jail, lambda old: with_option(old, "prefregex", regex))
    return get_prefregex(context, jail)


@command(OPTIONS, "get <jail> prefregex", "", "Show the regex a line must match first.")
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
        number = whole(index, 0, "The index")

        def edit(old: JailConfig) -> JailConfig:
            regexes = getattr(old.filter, name)
            if number >= len(regexes):
                raise ControlError(f"There is no {name} with the index {number}")
            return _with_filter(old, name, regexes[:number] + regexes[number + 1 :])

        context.api.change_jail(jail, edit)
        return shown(context, jail)

    command(OPTIONS, f"set <jail> add{name}", "<regex>", f"Add a regex for {what}.")(adder)
    command(OPTIONS, f"set <jail> del{name}", "<index>", f"Remove the regex for {what} with this index.")(deleter)
    command(OPTIONS, f"get <jail> {name}", "", f"Show the regexes for {what}.")(shown)


_register_regexes("failregex", "failures")
_register_regexes("ignoreregex", "lines to ignore")
_register_regexes("successregex", "successful logins")


@command(OPTIONS, "set <jail> addignoreip", "<address>...", "Spare addresses, networks or host names.")
def add_ignoreip(context: Context, jail: str, *words: str) -> Reply:
    """Add to the ignore list."""

    def edit(old: JailConfig) -> JailConfig:
        added = [entry for word in words for entry in _ignore_entries(word)]
        return replace(old, ignoreip=tuple(dict.fromkeys((*old.ignoreip, *added))))

    return Reply(list(context.api.change_jail(jail, edit).ignoreip), "ignoreip")


def _ignore_entries(text: str) -> tuple[str, ...]:
    value = option_of("ignoreip", text)
    return tuple(str(entry) for entry in value) if isinstance(value, tuple) else (text,)


@command(OPTIONS, "set <jail> delignoreip", "<address>...", "Spare them no longer.")
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


@command(OPTIONS, "get <jail> ignoreip", "", "Show the addresses, networks and host names that are spared.")
def get_ignoreip(context: Context, jail: str) -> Reply:
    """Show the ignore list."""
    return Reply(list(context.api.jail(jail).config.ignoreip), "ignoreip")


@command(
    OPTIONS, "set <jail> addlogpath", "<file> [tail|head]", "Read one more log, from its end or its beginning (head)."
)
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
    return _settled_logpath(context, jail, lambda files: path in files or not os.path.exists(path))


@command(OPTIONS, "set <jail> dellogpath", "<file>", "Read a log no longer.")
def del_logpath(context: Context, jail: str, path: str) -> Reply:
    """Read a log no longer."""

    def edit(old: JailConfig) -> JailConfig:
        kept = tuple(entry for entry in old.logpath if entry.pattern != path)
        if kept == old.logpath:
            raise ControlError(f"{path!r} is not among the logs of jail '{jail}'")
        return replace(old, logpath=kept)

    context.api.change_jail(jail, edit)
    return _settled_logpath(context, jail, lambda files: path not in files)


def _settled_logpath(context: Context, jail: str, is_settled: Callable[[Sequence[str]], bool]) -> Reply:
    """Show the logs once the source has taken notice of a change, which it does in a thread of its own."""
    for _ in range(_SETTLE_ROUNDS):
        if is_settled(context.api.jail(jail).files):
            break
        context.wait(_SETTLE_SECONDS)
    return get_logpath(context, jail)


@command(OPTIONS, "get <jail> logpath", "", "Show the logs that are read.")
def get_logpath(context: Context, jail: str) -> Reply:
    """Show the logs that are read."""
    return Reply(list(context.api.jail(jail).files), "logpath")


@command(
    OPTIONS, "set <jail> addjournalmatch", "<match>...", "Add journal matches (FIELD=value); `+` between them means or."
)
def add_journalmatch(context: Context, jail: str, *words: str) -> Reply:
    """Add to the journal matches."""
    groups = match_groups(words)

    def edit(old: JailConfig) -> JailConfig:
        return _with_filter(old, "journalmatch", tuple(dict.fromkeys((*journal_matches(old), *groups))))

    context.api.change_jail(jail, edit)
    return get_journalmatch(context, jail)


@command(OPTIONS, "set <jail> deljournalmatch", "<match>...", "Remove journal matches.")
def del_journalmatch(context: Context, jail: str, *words: str) -> Reply:
    """Remove journal matches."""
    groups = match_groups(words)

    def edit(old: JailConfig) -> JailConfig:
        known = journal_matches(old)
        for group in groups:
            if group not in known:
                raise ControlError(f"'{' '.join(group)}' is not among the journal matches of jail '{jail}'")
        return _with_filter(old, "journalmatch", tuple(match for match in known if match not in groups))

    context.api.change_jail(jail, edit)
    return get_journalmatch(context, jail)


@command(OPTIONS, "get <jail> journalmatch", "", "Show the journal matches.")
def get_journalmatch(context: Context, jail: str) -> Reply:
    """Show the journal matches."""
    return Reply([" ".join(match) for match in journal_matches(context.api.jail(jail).config)], "journalmatch")


# ---- actions


@command(ACTIONS, "get <jail> actions", "", "Show the names of the actions.")
def get_actions(context: Context, jail: str) -> Reply:
    """Show the names of the actions."""
    names = [action.name for action in context.api.jail(jail).config.actions]
    return Reply({"jail": jail, "actions": names}, "actions")


@command(
    ACTIONS, "set <jail> addaction", "<action> [<file>] [<json>]", "Add an action of commands, or of a Python file."
)
def add_action(context: Context, jail: str, name: str, path: str | None = None, arguments: str = "{}") -> Reply:
    """Add an action: one whose commands are set later, or a Python file with keyword arguments."""
    if path is None:
        action = ActionConfig(name, name, properties={"name": jail, "actname": name})
    else:
        if not os.path.isfile(path):
            raise ControlError(f"No such file or directory: {path!r}")
        given = mapping_of(arguments, "The arguments of the action")
        texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in given.items()}
        action = ActionConfig(name, os.path.basename(path), ActionKind.PYTHON, properties=texts, path=path)
    context.api.add_action(jail, action)
    return Reply(name)


@command(ACTIONS, "set <jail> delaction", "<action>", "Remove an action.")
def del_action(context: Context, jail: str, name: str) -> Reply:
    """Remove an action."""
    context.api.delete_action(jail, name)
    return Reply(None)


@command(
    ACTIONS,
    "set <jail> action",
    "<action> <property|method> [<value|json>]",
    "Set a command, tag or `timeout` of an action, or call one of its methods with keyword arguments.",
)
def set_action(context: Context, jail: str, name: str, key: str, value: str | None = None) -> Reply:
    """Set a property of an action, or call a method of it."""
    if key in context.api.action_methods(jail, name):
        arguments = {} if not value else mapping_of(value, "The arguments of the method")
        return Reply(context.api.call_action(jail, name, key, arguments))
    if value is None:
        raise ControlError(INVALID, status=USAGE)
    if key == "timeout":
        value = str(number(seconds_of(value)))
    return Reply(context.api.set_action_property(jail, name, key, value))


@command(ACTIONS, "get <jail> action", "<action> <property>", "Show a command, tag or `timeout` of an action.")
def get_action(context: Context, jail: str, name: str, key: str) -> Reply:
    """Show a property of an action."""
    properties = context.api.action_properties(jail, name)
    if key not in properties:
        raise ControlError(f"The action '{name}' has no property '{key}'")
    return Reply(properties[key])


@command(ACTIONS, "get <jail> actionproperties", "<action>", "Show the names of the properties of an action.")
def get_actionproperties(context: Context, jail: str, name: str) -> Reply:
    """Show which properties an action has."""
    names = sorted(context.api.action_properties(jail, name))
    return Reply({"jail": jail, "action": name, "properties": names}, "actionproperties")


@command(ACTIONS, "get <jail> actionmethods", "<action>", "Show the names of the methods of an action.")
def get_actionmethods(context: Context, jail: str, name: str) -> Reply:
    """Show which methods an action has."""
    names = sorted(context.api.action_methods(jail, name))
    return Reply({"jail": jail, "action": name, "methods": names}, "actionmethods")
