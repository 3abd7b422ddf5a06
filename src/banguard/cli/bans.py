"""The table of bans: which rows, in which order, with which columns."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from banguard import netaddr
from banguard.cli.colour import Paint
from banguard.cli.columns import MARK, Cell, Column, table
from banguard.cli.lookups import each
from banguard.cli.render import clock_text, word
from banguard.control.protocol import USAGE, Reply
from banguard.errors import ControlError

Ask = Callable[[Sequence[str]], Reply]
Row = dict[str, object]

SORTS = ("address", "jail", "ports", "since", "ends", "count", "failures", "enforced", "origin", "country", "name")
"""What `--sort` takes; the table comes in the order in which bans end."""

_FLAGS = ("--table", "--reverse", "--not-enforced", "--names", "--country")


@dataclass(frozen=True, slots=True)
class Wish:
    """What the words behind `banned` ask for; *request* is what the server is asked."""

    request: tuple[str, ...]
    sort: str = "ends"
    reverse: bool = False
    limit: int | None = None
    not_enforced: bool = False
    names: bool = False
    country: bool = False


def is_table(words: Sequence[str]) -> bool:
    """Tell whether the *words* behind `banned` ask for the table: any option does."""
    return any(word.startswith("--") for word in words)


def read(words: Sequence[str]) -> Wish:
    """Return what *words* ask for; ControlError (status 2) for what makes no sense."""
    rest = list(words)
    request = ["banned", "--table"]
    flags: set[str] = set()
    sort, limit = "ends", None
    while rest:
        text = rest.pop(0)
        name, equals, value = text.partition("=") if text.startswith("--") else (text, "", "")
        if name in _FLAGS and not equals:
            flags.add(name)
        elif name in ("--jail", "--sort", "--limit"):
            if not equals and not rest:
                raise ControlError(f"{name} takes a value", status=USAGE)
            value = value if equals else rest.pop(0)
            if name == "--jail":
                request += ["--jail", value]
            elif name == "--sort":
                sort = _sort(value)
            else:
                limit = _limit(value)
        elif text.startswith("--"):
            raise ControlError(f"banned has no option {text}", status=USAGE)
        else:
            request.append(text)
    return Wish(
        tuple(request),
        sort,
        "--reverse" in flags,
        limit,
        "--not-enforced" in flags,
        "--names" in flags or sort == "name",
        "--country" in flags or sort == "country",
    )


def _sort(value: str) -> str:
    if value not in SORTS:
        raise ControlError(f"--sort takes one of {', '.join(SORTS)}, not {value!r}", status=USAGE)
    return value


def _limit(value: str) -> int:
    if not value.isdecimal() or int(value) < 1:
        raise ControlError(f"--limit takes a number of rows, at least 1, not {value!r}", status=USAGE)
    return int(value)


def fetch(words: Sequence[str], ask: Ask) -> Reply:
    """Return the table that the *words* behind `banned` ask for, in the order they ask for."""
    wish = read(words)
    reply = ask(wish.request)
    value = reply.value
    if not reply.ok or not isinstance(value, dict) or not isinstance(value.get("bans"), list):
        return reply
    rows: list[Row] = [row for row in value["bans"] if isinstance(row, dict)]
    if wish.not_enforced:
        rows = [row for row in rows if row.get("enforced") is not True]
    if wish.sort not in ("name", "country"):
        rows = _ordered(rows, wish)
    if wish.names:
        _add(rows, "name", _name)
    if wish.country:
        from banguard.cli import cymru  # noqa: PLC0415  only for this

        lookup = cymru.Resolver(cymru.nameservers()).texts
        _add(rows, "country", lambda host: cymru.origin(host, lookup).country)
    if wish.sort in ("name", "country"):
        rows = _ordered(rows, wish)
    return Reply({"now": value.get("now"), "bans": rows}, reply.kind)


def _ordered(rows: Sequence[Row], wish: Wish) -> list[Row]:
    return sorted(rows, key=_KEYS.get(wish.sort, _text_key(wish.sort)), reverse=wish.reverse)[: wish.limit]


def _add(rows: Sequence[Row], key: str, ask: Callable[[str], str]) -> None:
    found = each([str(row.get("id")) for row in rows], ask)
    for row in rows:
        row[key] = found.get(str(row.get("id"))) or None


def _name(host: str) -> str:
    address = host.partition("/")[0]
    return socket.gethostbyaddr(address)[0] if netaddr.family(address) is not None else ""


# ---- orders


def address_key(text: str) -> tuple[int, bytes, str]:
    """Return what sorts addresses by their number, IPv4 first, then ids that are none."""
    family = netaddr.family(text.partition("/")[0])
    if family is None:
        return 9, b"", text
    kind = socket.AF_INET if family == 4 else socket.AF_INET6
    return family, socket.inet_pton(kind, text.partition("/")[0]), text


def _text_key(name: str) -> Callable[[Row], tuple[bool, str]]:
    return lambda row: (not row.get(name), str(row.get(name) or ""))


def _number_key(name: str) -> Callable[[Row], tuple[bool, float]]:
    def key(row: Row) -> tuple[bool, float]:
        value = row.get(name)
        return (True, 0.0) if not isinstance(value, int | float) else (False, float(value))

    return key


_KEYS: Mapping[str, Callable[[Row], tuple[object, ...]]] = {
    "address": lambda row: address_key(str(row.get("id"))),
    "since": _number_key("since"),
    "ends": _number_key("until"),
    "count": _number_key("count"),
    "failures": _number_key("failures"),
    "enforced": _number_key("enforced"),
}


# ---- the text

_COLUMNS = (
    Column("ADDRESS"),
    Column("JAIL"),
    Column("PORTS", rank=5),
    Column("SINCE", rank=9),
    Column("ENDS", rank=8),
    Column("IN", right=True),
    Column("COUNT", right=True, rank=6),
    Column("FAILURES", right=True, rank=7),
    Column("ENFORCED", rank=1),
    Column("COUNTRY", rank=3),
    Column("NAME", rank=4),
)


def as_text(value: object, *, room: int | None, paint: Paint, mark: str = MARK) -> str:
    """Return the rows that `fetch` gave as a table in *room* columns (None: as wide as it is)."""
    data = value if isinstance(value, dict) else {}
    bans = [row for row in data.get("bans", ()) if isinstance(row, dict)]
    if not bans:
        return "Nobody is banned."
    now = data.get("now")
    now = float(now) if isinstance(now, int | float) else 0.0
    optional = [name for name in ("country", "name") if any(name in row for row in bans)]
    columns = _COLUMNS[:9] + tuple(column for column in _COLUMNS[9:] if column.title.lower() in optional)
    return "\n".join(table(columns, [_cells(row, now, optional) for row in bans], room=room, paint=paint, mark=mark))


def _cells(row: Row, now: float, optional: Sequence[str]) -> list[Cell]:
    until = row.get("until")
    ends = float(until) if isinstance(until, int | float) else None
    since = row.get("since")
    enforced = row.get("enforced") is True
    return [
        Cell(word(row.get("id")), "name" if enforced else "bad"),
        Cell(word(row.get("jail"))),
        Cell(word(row.get("ports") or "-")),
        Cell(clock_text(float(since)) if isinstance(since, int | float) else "-", "faint"),
        Cell("never" if ends is None else clock_text(ends)),
        Cell("never" if ends is None else remaining(ends - now)),
        Cell(word(row.get("count"))),
        Cell(word(row.get("failures"))),
        Cell("yes", "good") if enforced else Cell("no", "bad"),
        *(Cell(word(row.get(name) or "-")) for name in optional),
    ]


def remaining(seconds: float) -> str:
    """Return a time to go such as `9:58`, `2:00:00` or `3d 4:05:06`; `0:00` for what is over."""
    whole = max(0, round(seconds))
    days, rest = divmod(whole, 86400)
    hours, rest = divmod(rest, 3600)
    minutes, second = divmod(rest, 60)
    if days:
        return f"{days}d {hours}:{minutes:02}:{second:02}"
    return f"{hours}:{minutes:02}:{second:02}" if hours else f"{minutes}:{second:02}"
