"""What one screen of `top` shows: two looks at the server as headline and tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from banguard.cli.bans import remaining
from banguard.cli.columns import Cell, Column
from banguard.cli.render import clock_text, word

Look = Mapping[str, object]
"""What the command `overview` gave."""


@dataclass(frozen=True, slots=True)
class Section:
    """One table; *weight* says how much of a screen that is too small it gets."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    weight: int = 1


@dataclass(frozen=True, slots=True)
class Picture:
    """One screen."""

    headline: tuple[Cell, ...]
    sections: tuple[Section, ...]


@dataclass(frozen=True, slots=True)
class Rates:
    """Per second, since the look before; None where that cannot be told."""

    lines: float | None = None
    failures: float | None = None
    bans: float | None = None


def rates(before: Look | None, now: Look) -> tuple[Rates, Mapping[str, Rates], Mapping[str, float | None]]:
    """Return the rates of the server, of each jail, and the lines of each log."""
    seconds = _number(now.get("now")) - _number((before or {}).get("now"))
    if before is None or seconds <= 0 or before.get("started") != now.get("started"):
        before, seconds = {}, 0.0
    old_jails = {jail.get("jail"): jail for jail in _dicts(before.get("jails"))}
    old_logs = {log.get("log"): _number(log.get("lines")) for log in _dicts(before.get("logs"))}

    def per_second(new: float, old: float | None) -> float | None:
        # A number that falls belongs to a jail or a log that was taken up anew.
        return None if old is None or not seconds or new < old else (new - old) / seconds

    logs = {
        word(log.get("log")): per_second(_number(log.get("lines")), old_logs.get(log.get("log")))
        for log in _dicts(now.get("logs"))
    }
    jails: dict[str, Rates] = {}
    for jail in _dicts(now.get("jails")):
        old = old_jails.get(jail.get("jail"))
        name = word(jail.get("jail"))
        own = [
            logs[word(log.get("log"))] for log in _dicts(now.get("logs")) if jail.get("jail") in _list(log.get("jails"))
        ]
        jails[name] = Rates(
            _sum(own),
            per_second(_total(jail, "filter", "total_failed"), _total(old, "filter", "total_failed") if old else None),
            per_second(
                _total(jail, "actions", "total_banned"), _total(old, "actions", "total_banned") if old else None
            ),
        )
    whole = Rates(
        _sum(list(logs.values())),
        _sum([each.failures for each in jails.values()]),
        _sum([each.bans for each in jails.values()]),
    )
    return whole, jails, logs


def picture(before: Look | None, now: Look) -> Picture:
    """Return what to show of *now*, with the rates since *before*."""
    whole, of_jails, of_logs = rates(before, now)
    jails = _dicts(now.get("jails"))
    banned = sum(int(_total(jail, "actions", "currently_banned")) for jail in jails)
    loose = sum(int(_number(jail.get("not_enforced"))) for jail in jails)
    up = _number(now.get("now")) - _number(now.get("started"))
    headline = (
        Cell(f"banguard {word(now.get('version'))}", "strong"),
        Cell(f"up {remaining(up)}"),
        Cell(f"{len(jails)} jail{'' if len(jails) == 1 else 's'}"),
        Cell(f"{banned} banned", "warn" if banned else ""),
        Cell(f"{loose} not enforced", "bad" if loose else "good"),
        Cell(f"{_rate(whole.lines)} lines/s"),
        Cell(f"{_rate(whole.failures)} failures/s"),
        Cell(f"{_rate(whole.bans)} bans/s"),
    )
    sections = (
        Section("Jails", _JAIL_COLUMNS, tuple(_jail(jail, of_jails) for jail in jails), weight=4),
        Section("Firewalls and other actions", _ACTION_COLUMNS, _actions(jails), weight=2),
        Section("Logs", _LOG_COLUMNS, tuple(_log(log, of_logs) for log in _dicts(now.get("logs"))), weight=2),
        Section(
            "Latest bans",
            _BAN_COLUMNS,
            tuple(_ban(ban, _number(now.get("now"))) for ban in _dicts(now.get("newest"))),
            4,
        ),
    )
    return Picture(headline, tuple(section for section in sections if section.rows))


def as_data(before: Look | None, now: Look) -> dict[str, object]:
    """Return *now* with the rates since *before*, for `--json`."""
    whole, of_jails, of_logs = rates(before, now)
    return {
        **now,
        "rates": _plain(whole),
        "jails": [{**jail, "rates": _plain(of_jails[word(jail.get("jail"))])} for jail in _dicts(now.get("jails"))],
        "logs": [{**log, "lines_per_second": of_logs[word(log.get("log"))]} for log in _dicts(now.get("logs"))],
    }


def _plain(rates: Rates) -> dict[str, float | None]:
    return {"lines": rates.lines, "failures": rates.failures, "bans": rates.bans}


# ---- tables

_JAIL_COLUMNS = (
    Column("JAIL"),
    Column("LINES/S", right=True, rank=4),
    Column("FAILURES/S", right=True, rank=3),
    Column("BANS/S", right=True, rank=2),
    Column("FAILED", right=True, rank=5),
    Column("EVER", right=True, rank=6),
    Column("BANNED", right=True),
    Column("EVER", right=True, rank=7),
    Column("LOOSE", right=True),
    Column("STATE", rank=1),
)
_ACTION_COLUMNS = (
    Column("ACTION"),
    Column("HOLDS", right=True),
    Column("WAITING", right=True, rank=2),
    Column("ERRORS", right=True, rank=3),
    Column("STATE"),
)
_LOG_COLUMNS = (
    Column("LOG"),
    Column("LINES/S", right=True),
    Column("BEHIND", right=True, rank=1),
    Column("STATE"),
)
_BAN_COLUMNS = (
    Column("SINCE", rank=2),
    Column("JAIL"),
    Column("ADDRESS"),
    Column("IN", right=True),
    Column("COUNT", right=True, rank=3),
    Column("FAILURES", right=True, rank=4),
    Column("ENFORCED", rank=1),
)


def _jail(jail: Mapping[str, object], of_jails: Mapping[str, Rates]) -> tuple[Cell, ...]:
    name = word(jail.get("jail"))
    own = of_jails[name]
    banned = int(_total(jail, "actions", "currently_banned"))
    loose = int(_number(jail.get("not_enforced")))
    state = Cell("reads", "good")
    if jail.get("problem"):
        state = Cell(word(jail.get("problem")), "bad")
    elif jail.get("started") is not True:
        state = Cell("not started", "warn")
    elif jail.get("idle") is True:
        state = Cell("idle", "warn")
    elif jail.get("enforces") is not True:
        state = Cell("nothing blocks", "warn")
    return (
        Cell(name, "name"),
        Cell(_rate(own.lines)),
        Cell(_rate(own.failures), "warn" if own.failures else ""),
        Cell(_rate(own.bans), "warn" if own.bans else ""),
        Cell(str(int(_total(jail, "filter", "currently_failed")))),
        Cell(str(int(_total(jail, "filter", "total_failed")))),
        Cell(str(banned), "warn" if banned else ""),
        Cell(str(int(_total(jail, "actions", "total_banned")))),
        Cell(str(loose), "bad" if loose else ""),
        state,
    )


def _actions(jails: Sequence[Mapping[str, object]]) -> tuple[tuple[Cell, ...], ...]:
    """Return a row for each name of an action, over all jails."""
    found: dict[str, list[Mapping[str, object]]] = {}
    for jail in jails:
        for action in _dicts(jail.get("action_stats")):
            found.setdefault(word(action.get("name")), []).append(action)
    rows = []
    for name, actions in found.items():
        held, waiting, errors = (
            sum(int(_number(action.get(key))) for action in actions) for key in ("held", "waiting", "errors")
        )
        problems = [word(action.get("problem")) for action in actions if action.get("problem")]
        state = Cell(problems[0], "bad") if problems else Cell("works" if not waiting else "at work", "good")
        blocks = any(action.get("enforces") is True for action in actions)
        rows.append(
            (
                Cell(name),
                Cell(str(held) if blocks else "-"),
                Cell(str(waiting), "warn" if waiting else ""),
                Cell(str(errors), "warn" if errors else ""),
                state,
            )
        )
    return tuple(rows)


def _log(log: Mapping[str, object], of_logs: Mapping[str, float | None]) -> tuple[Cell, ...]:
    name, behind, problem = word(log.get("log")), int(_number(log.get("behind"))), log.get("problem")
    return (
        Cell(name),
        Cell(_rate(of_logs[name])),
        Cell(str(behind), "warn" if behind else ""),
        Cell(word(problem), "bad") if problem else Cell("read", "good"),
    )


def _ban(ban: Mapping[str, object], now: float) -> tuple[Cell, ...]:
    until, enforced = ban.get("until"), ban.get("enforced") is True
    return (
        Cell(clock_text(ban.get("since")), "faint"),
        Cell(word(ban.get("jail"))),
        Cell(word(ban.get("id")), "name" if enforced else "bad"),
        Cell(remaining(until - now) if isinstance(until, int | float) else "never"),
        Cell(word(ban.get("count"))),
        Cell(word(ban.get("failures"))),
        Cell("yes", "good") if enforced else Cell("no", "bad"),
    )


# ---- values whose shape the server promises


def _list(value: object) -> Sequence[object]:
    return value if isinstance(value, list) else []


def _dicts(value: object) -> list[Mapping[str, object]]:
    return [item for item in _list(value) if isinstance(item, dict)]


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) and abs(value) < 1e15 else 0.0


def _total(jail: Mapping[str, object], group: str, name: str) -> float:
    numbers = jail.get(group)
    return _number(numbers.get(name)) if isinstance(numbers, dict) else 0.0


def _sum(parts: Sequence[float | None]) -> float | None:
    known = [part for part in parts if part is not None]
    return sum(known) if known else None


def _rate(value: float | None) -> str:
    """Return a rate with as many digits as tell something."""
    if value is None:
        return "-"
    if value >= 10_000:
        return f"{value / 1000:.0f}k"
    return f"{value:.0f}" if value >= 100 or value == int(value) else f"{value:.1f}"
