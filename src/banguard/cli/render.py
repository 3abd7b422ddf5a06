"""
Replies as text or JSON.

The text is what scripts around such tools expect: trees of `|-` and a backquote with `-`, a tab after a colon, lists
as Python writes them. Nothing that came from a log reaches the terminal raw: what is not printable is shown as an
escape.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence

from banguard.control.protocol import Reply
from banguard.duration import format_duration

Tree = Sequence["tuple[str, str | Tree]"]

_FOR_EVER = "9999-12-31 23:59:59"
_DISABLED = "Database currently disabled"


def as_json(reply: Reply) -> str:
    """Return one line with one JSON object: the value itself when it is one, else under `value`; errors: `error`."""
    if reply.error is not None:
        return json_text({"error": reply.error})
    return json_text(reply.value if isinstance(reply.value, dict) else {"value": reply.value})


def as_jsonl(reply: Reply) -> str:
    """Return one JSON object a line: one for each row of a list, else one for the whole reply."""
    rows = _rows(reply)
    return as_json(reply) if rows is None else "\n".join(json_text(row) for row in rows)


def json_text(value: object) -> str:
    """Return JSON on one line in ASCII without control characters, whatever strings are in it."""
    return json.dumps(value).replace("\x7f", "\\u007f")


def _rows(reply: Reply) -> list[Mapping[str, object]] | None:
    """Return the rows of a reply that is a list of things; None for one that is a thing."""
    value = reply.value
    if reply.error is not None:
        return None
    if isinstance(value, list):
        return [row if isinstance(row, dict) else {"value": row} for row in value]
    name, key = _ROWS.get(reply.kind, ("", ""))
    items = _dict(value).get(name)
    if isinstance(items, dict):
        return [{"jail": jail, key: content} for jail, content in items.items()]
    if isinstance(items, list):
        return [item if isinstance(item, dict) else {key: item} for item in items]
    return None


_ROWS: Mapping[str, tuple[str, str]] = {
    "status": ("jails", "jail"),
    "stats": ("jails", "jail"),
    **{f"status_all_{flavor}": ("jails", "jail") for flavor in ("basic", "short", "cymru")},
    "banned": ("jails", "banned"),
    "banned_in": ("hosts", "id"),
    "ban_ids": ("banned", "id"),
    "ban_table": ("bans", "id"),
    "bans_with_time": ("bans", "id"),
    "imported": ("jails", "bans"),
    "actions": ("actions", "action"),
    "actionproperties": ("properties", "property"),
    "actionmethods": ("methods", "method"),
    "help": ("commands", "command"),
}
"""Kinds of replies that are lists: where the list is, and what an item is called that is no object itself."""


def as_text(reply: Reply, *, box_drawing: bool = False) -> str:
    """Return the reply for a terminal, without a newline at its end; *box_drawing*: tables may use lines of Unicode."""
    if reply.error is not None:
        return clean(reply.error)
    if reply.kind == "stats":
        return _table(_list(_dict(reply.value).get("jails")), box_drawing=box_drawing)
    return clean(_KINDS.get(reply.kind, _plain)(reply.value))


def clean(text: str) -> str:
    """Return *text* with everything that is not printable escaped, except newlines and tabs."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char in "\n\t" else _escape(char) for char in text)


def word(text: object) -> str:
    """Return *text* on one line: as `clean`, newlines and tabs escaped as well."""
    text = str(text)
    return text if text.isprintable() else "".join(char if char.isprintable() else _escape(char) for char in text)


def _escape(char: str) -> str:
    return ascii(char)[1:-1] if char != "\\" else char


# ---- values whose shape the server promises


def _dict(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> Sequence[object]:
    return value if isinstance(value, list) else []


def _words(value: object) -> list[str]:
    return [word(item) for item in _list(value)]


def _number(value: object) -> float:
    return value if isinstance(value, (int, float)) else 0


# ---- trees


def _tree(items: Tree, indent: str = "") -> str:
    """Return *items*, each a label with a value after a tab or with items of its own, one line each."""
    lines: list[str] = []
    for position, (label, content) in enumerate(items, 1):
        last = position == len(items)
        if isinstance(content, str):
            lines.append(f"{indent}{'`-' if last else '|-'} {label}\t{content}")
        else:
            lines.append(f"{indent}{'`-' if last else '|-'} {label}")
            if content:
                lines.append(_tree(content, indent + ("   " if last else "|  ")))
    return "\n".join(lines)


def _listing(title: str, empty: str) -> Callable[[object], str]:
    """Return a function that shows a list as a tree of one level under *title*."""

    def show(value: object) -> str:
        items = _words(value)
        if not items:
            return empty
        marks = ["|-"] * (len(items) - 1) + ["`-"]
        return "\n".join([title, *(f"{mark} {item}" for mark, item in zip(marks, items, strict=True))])

    return show


def _jail_tree(value: object, flavor: str) -> Tree:
    jail = _dict(value)
    lines, actions = _dict(jail.get("filter")), _dict(jail.get("actions"))
    if "journal_matches" in lines:
        source = ("Journal matches:", " + ".join(_words(lines["journal_matches"])))
    else:
        source = ("File list:", " ".join(_words(lines.get("file_list"))))
    figures: list[tuple[str, str | Tree]] = [
        ("Currently banned:", word(actions.get("currently_banned"))),
        ("Total banned:", word(actions.get("total_banned"))),
    ]
    if flavor != "short":
        figures.append(
            ("Banned IP list:", " ".join(word(_dict(ban).get("id")) for ban in _list(actions.get("banned"))))
        )
    if "observed" in actions:
        would = [word(_dict(ban).get("id")) for ban in _list(actions["observed"])]
        figures.append(("Observes only, would ban:", " ".join(would) or "nobody so far"))
    if flavor == "cymru":
        origin = _dict(actions.get("cymru"))
        figures += [
            (f"Banned {what} list:", " ".join(_words(origin.get(what.lower())))) for what in ("ASN", "Country", "RIR")
        ]
    return [
        (
            "Filter",
            [
                ("Currently failed:", word(lines.get("currently_failed"))),
                ("Total failed:", word(lines.get("total_failed"))),
                source,
            ],
        ),
        ("Actions", figures),
    ]


def _status_jail(flavor: str) -> Callable[[object], str]:
    def show(value: object) -> str:
        return f"Status for the jail: {word(_dict(value).get('jail'))}\n{_tree(_jail_tree(value, flavor))}"

    return show


def _status(value: object) -> str:
    names = _words(_dict(value).get("jails"))
    return "Status\n" + _tree([("Number of jail:", str(len(names))), ("Jail list:", ", ".join(names))])


def _status_all(flavor: str) -> Callable[[object], str]:
    def show(value: object) -> str:
        jails = _list(_dict(value).get("jails"))
        names = [word(_dict(jail).get("jail")) for jail in jails]
        trees: Tree = [(f"Jail: {name}", _jail_tree(jail, flavor)) for name, jail in zip(names, jails, strict=True)]
        return "Status\n" + _tree(
            [
                ("Number of jail:", str(len(names))),
                ("Jail list:", ", ".join(names)),
                ("Status for the jails:", trees),
            ]
        )

    return show


# ---- the table


def _table(jails: Sequence[object], *, box_drawing: bool) -> str:
    """Return the numbers of jails as a table; names at least 8 wide, numbers at least 3."""
    if not jails:
        return "No jails found."
    rows = []
    for item in jails:
        jail, lines, actions = _dict(item), _dict(_dict(item).get("filter")), _dict(_dict(item).get("actions"))
        numbers = (
            lines.get("currently_failed"),
            lines.get("total_failed"),
            actions.get("currently_banned"),
            actions.get("total_banned"),
        )
        rows.append([word(jail.get("jail")), word(jail.get("backend")), *(word(number) for number in numbers)])
    least = (8, 8, 3, 3, 3, 3)
    widths = [max(least[column], *(len(row[column]) for row in rows)) for column in range(6)]
    wide, thick, left, cross, head, foot, thin, line = "║═╟╫╬╩│─" if box_drawing else "|-|xx-|-"
    pair = widths[2] + widths[3] + 3, widths[4] + widths[5] + 3

    def row_of(cells: Sequence[str]) -> str:
        name, backend, *numbers = cells
        found, total, now, ever = (number.rjust(width) for number, width in zip(numbers, widths[2:], strict=True))
        return (
            f"{wide} {name.ljust(widths[0])} {wide} {backend.ljust(widths[1])} "
            f"{wide} {found} {thin} {total} {wide} {now} {thin} {ever}"
        )

    spans = (widths[0] + 2, widths[1] + 2, pair[0] + 2, pair[1] + 1)
    title = (
        f"{wide} {'Jail'.ljust(widths[0])} {wide} {'Backend'.ljust(widths[1])} "
        f"{wide} {'Filter'.center(pair[0])} {wide} {'Actions'.center(pair[1])}"
    ).rstrip()
    lines_of_text = [title, row_of(("", "", "cur", "tot", "cur", "tot"))]
    lines_of_text.append(wide + head.join(thick * span for span in spans))
    for position, row in enumerate(rows):
        if position:
            lines_of_text.append(left + cross.join(line * span for span in spans))
        lines_of_text.append(row_of(row))
    lines_of_text.append(thick + foot.join(thick * span for span in spans))
    return "\n".join(lines_of_text)


# ---- the other kinds


def _plain(value: object) -> str:
    return str(value)


def _banned(value: object) -> str:
    return str([{name: hosts} for name, hosts in _dict(_dict(value).get("jails")).items()])


def _banned_in(value: object) -> str:
    return str([_dict(host).get("jails") for host in _list(_dict(value).get("hosts"))])


def _ban_ids(value: object) -> str:
    data = _dict(value)
    return str(data.get("separator", " ")).join(_words(data.get("banned")))


def _bans_with_time(value: object) -> str:
    lines = []
    for item in _list(_dict(value).get("bans")):
        ban = _dict(item)
        since, until = _number(ban.get("since")), ban.get("until")
        seconds = -1 if until is None else round(_number(until) - since)
        end = _FOR_EVER if until is None else clock_text(_number(until))
        lines.append(f"{word(ban.get('id'))} \t{clock_text(since)} + {seconds} = {end}")
    return "\n".join(lines)


def clock_text(seconds: object) -> str:
    """Return *seconds* since the epoch as local time."""
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(_number(seconds)))
    except (OverflowError, OSError, ValueError):
        return _FOR_EVER


def _datepattern(value: object) -> str:
    pattern, name = str(_dict(value).get("pattern") or ""), str(_dict(value).get("name") or "")
    # A pattern that is but the word for a template (EPOCH, ^TAI64N) says no more than its name.
    told = pattern and name and pattern != name and not pattern.removeprefix("^").isalnum()
    return f"Current date pattern set to: {f'{pattern} ({name})' if told else name or pattern}"


def _journalmatch(value: object) -> str:
    matches = _words(value)
    return "Current match filter:\n" + " + ".join(matches) if matches else "No journal match filter set"


def _regexes(value: object) -> str:
    numbered = [f"[{number}]: {regex}" for number, regex in enumerate(_list(value))]
    return _listing("The following regular expression are defined:", "No regular expression is defined")(numbered)


def _actions(value: object) -> str:
    jail, names = word(_dict(value).get("jail")), _words(_dict(value).get("actions"))
    return f"The jail {jail} has the following actions:\n{', '.join(names)}" if names else f"No actions for jail {jail}"


def _action_parts(what: str) -> Callable[[object], str]:
    def show(value: object) -> str:
        data = _dict(value)
        title = f"The jail {word(data.get('jail'))} action {word(data.get('action'))} has the following {what}:"
        return f"{title}\n{', '.join(_words(data.get(what)))}"

    return show


def _history(value: object) -> str:
    data = _dict(value)
    bans = [_dict(item) for item in _list(data.get("bans"))]
    if not bans:
        return f"No ban of {word(data.get('id'))} is remembered (option dbpurgeage)"
    lines = [f"Bans of {word(data.get('id'))} that are remembered ({len(bans)}), the newest first:"]
    for ban in bans:
        since, until, ended = _number(ban.get("since")), ban.get("until"), ban.get("ended")
        length = "for ever" if until is None else f"for {format_duration(max(0, _number(until) - since))}"
        if ban.get("active"):
            end = "in force for ever" if until is None else f"in force until {clock_text(until)}"
        elif ended is not None:
            how = {"expired": "its time was over", "manual": "unbanned by hand"}.get(str(ban.get("reason")), "ended")
            end = f"ended {clock_text(ended)}: {how}"
        else:
            end = "was over, or its jail was stopped, when nobody looked"
        rules = ", ".join(_words(ban.get("rules")))
        found = f", {word(ban.get('failures'))} failures{f' by rule {rules}' if rules else ''}"
        by = "" if ban.get("origin") == "local" else f", {word(ban.get('origin'))}"
        network = "" if ban.get("id") == data.get("id") else f" with {word(ban.get('id'))}"
        jail = word(ban.get("jail"))
        lines.append(
            f"{clock_text(since)}  [{jail}]{network} {length}, ban number {word(ban.get('count'))}{found}{by}; {end}"
        )
    return "\n".join(lines)


def _self_test(value: object) -> str:
    data = _dict(value)
    lines = [f"[{word(data.get('jail'))}] {'passed' if data.get('passed') else 'FAILED'}"]
    for item in _list(data.get("steps")):
        step = _dict(item)
        state = "ok  " if step.get("passed") else "FAIL"
        lines.append(
            f"  {state} {word(step.get('name')):<9} {_number(step.get('seconds')):7.3f} s  {word(step.get('message'))}"
        )
    return "\n".join(lines)


def _why(value: object) -> str:
    from banguard.cli import reasons  # noqa: PLC0415  only when asked

    return "\n".join(reasons.told(_dict(value)))


def _imported(value: object) -> str:
    rows = [
        f"{word(jail)}: {_dict(counts).get('in_force')} of {_dict(counts).get('found')} bans are in force"
        for jail, counts in _dict(_dict(value).get("jails")).items()
    ]
    return "\n".join(rows) or "There are no bans in it"


_KINDS: Mapping[str, Callable[[object], str]] = {
    "ping": lambda value: f"Server replied: {value}",
    "status": _status,
    **{f"status_jail_{flavor}": _status_jail(flavor) for flavor in ("basic", "short", "cymru")},
    **{f"status_all_{flavor}": _status_all(flavor) for flavor in ("basic", "short", "cymru")},
    "banned": _banned,
    "banned_in": _banned_in,
    "ban_ids": _ban_ids,
    "bans_with_time": _bans_with_time,
    "history": _history,
    "self_test": _self_test,
    "why": _why,
    "imported": _imported,
    "stopping": lambda _: "Shutdown successful",
    "reloaded": lambda _: "OK",
    "jail_added": lambda value: f"Added jail {value}",
    "jail_started": lambda _: "Jail started",
    "jail_stopped": lambda _: "Jail stopped",
    "loglevel": lambda value: f"Current logging level is '{value}'",
    "logtarget": lambda value: f"Current logging target is:\n`- {value}",
    "syslogsocket": lambda value: f"Current syslog socket is:\n`- {value}",
    "flushlogs": lambda value: f"logs: {value}",
    "dbfile": lambda value: _DISABLED if value is None else f"Current database file is:\n`- {value}",
    "dbpurgeage": lambda value: _DISABLED if value is None else f"Current database purge age is:\n`- {value}seconds",
    "ignoreip": _listing("These IP addresses/networks are ignored:", "No IP address/network is ignored"),
    "ignorecommand": lambda value: str(value or False),
    "logencoding": lambda value: f"Current log encoding is set to:\n{value}",
    "datepattern": _datepattern,
    "logpath": _listing("Current monitored log file(s):", "No file is currently monitored"),
    "journalmatch": _journalmatch,
    "regexes": _regexes,
    "actions": _actions,
    "actionproperties": _action_parts("properties"),
    "actionmethods": _action_parts("methods"),
}


def not_enforced(reply: Reply) -> frozenset[str]:
    """Return the ids in the status of jails whose bans are not in force at present."""
    value = _dict(reply.value)
    jails = _list(value.get("jails")) if "jails" in value else [value]
    bans = [_dict(ban) for jail in jails for ban in _list(_dict(_dict(jail).get("actions")).get("banned"))]
    return frozenset(word(ban.get("id")) for ban in bans if ban.get("enforced") is False)


def problems(value: object) -> str:
    """Return what a reload found wrong and survived, a line each."""
    return "\n".join(_words(_dict(value).get("problems")))
