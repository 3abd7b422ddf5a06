"""Show why an address is banned or not, and what still comes from it: `banguard-client why ADDRESS`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from banguard.cli import render
from banguard.duration import format_duration

Value = Mapping[str, object]

_LABEL = 9


def told(why: Value) -> Iterator[str]:
    """Yield the lines that tell of the answer to `why`."""
    host = render.word(why.get("host"))
    bans = _rows(why, "bans")
    now = _number(why.get("now"))
    if not bans:
        yield f"{host} is not banned."
    for ban in bans:
        yield from _ban(host, ban, now)
    if why.get("protected"):
        yield _row("protected", "it is protected (option protect): no jail bans it")
    notes = [note for note in _rows(why, "notes") if note.get("failures") or note.get("spared") or note.get("observed")]
    for note in notes:
        yield _row("", f"[{note.get('jail')}] {_note(note, now)}")
    over = why.get("over")
    if isinstance(over, dict) and not bans:
        yield _row("earlier", _over(over, now))
    if not bans and not notes and not why.get("protected"):
        jails = [str(note.get("jail")) for note in _rows(why, "notes")]
        yield _row(
            "", f"No jail has seen a failure of it within its findtime; asked were {', '.join(jails) or 'none'}."
        )
        yield _row("do", "try a line of the log: banguard-client explain 'LINE'")


def _ban(host: str, ban: Value, now: float) -> Iterator[str]:
    until = ban.get("until")
    if until is None:
        end = "for ever"
    else:
        end = f"until {render.clock_text(until)} ({_ago(_number(until) - now)} left)"
    whole = "" if ban.get("id") == host else f" with {ban.get('id')}"
    since = f"{render.clock_text(ban.get('since'))} ({_ago(now - _number(ban.get('since')))} ago)"
    yield f"{host} is banned{render.word(whole)} in [{render.word(ban.get('jail'))}] since {since}, {end}."
    origin = ban.get("origin")
    if origin == "manual":
        yield _row("because", "it was banned by hand")
    else:
        within = ban.get("within")
        took = "" if within is None else f" within {format_duration(max(1, round(_number(within))))}"
        limit = f"{ban.get('maxretry')} within {format_duration(_number(ban.get('findtime')))} are enough"
        by = "" if origin == "local" else f" ({origin})"
        yield _row("because", f"{ban.get('failures')} failures{took}; {limit}{by}; ban number {ban.get('count')} of it")
    for rule in _rows(ban, "rules"):
        place = f" ({rule.get('place')})" if rule.get("place") else ""
        yield _row("rule", f"{rule.get('number')}{place}: {rule.get('regex')}")
    for line in _rows(ban, "lines"):
        yield _row("line", f"[{line.get('rule') or '?'}] {line.get('line')}")
    yield from _walls(ban)
    yield from _arrivals(ban, now)
    causes = _rows(ban, "causes")
    for cause in causes:
        yield _row(
            "cause", f"{'' if cause.get('certain') else 'perhaps: '}{cause.get('message')} [{cause.get('kind')}]"
        )
        yield _row("do", str(cause.get("proposal")))
    if not causes:
        yield _row("result", "the ban holds; nothing gets through as far as can be seen")


def _walls(ban: Value) -> Iterator[str]:
    for wall in _rows(ban, "walls"):
        held = wall.get("held")
        if held:
            state = "holds it, says the firewall itself"
        elif held is None:
            state = "was told of it" if wall.get("believed") else "does not hold it"
        else:
            state = "does NOT hold it, says the firewall itself"
        chains = wall.get("chains")
        where = f"; chain {', '.join(map(str, chains))}" if isinstance(chains, list | tuple) else ""
        error = f": {wall.get('error')}" if wall.get("error") else ""
        yield _row("firewall", f"{wall.get('action')} {state} ({wall.get('ports')}{where}){error}")


def _arrivals(ban: Value, now: float) -> Iterator[str]:
    number = ban.get("failures_since")
    if number:
        last = f", the last {_ago(now - _number(ban.get('last_failure')))} ago" if ban.get("last_failure") else ""
        yield _row("since", f"{number} failures of it were logged since the ban{last}")
    else:
        yield _row("since", "no failure of it was logged")
    for one in _rows(ban, "connections"):
        yield _row("", f"a connection to port {one.get('port')}: {one.get('state')}")
    packets = ban.get("packets")
    if isinstance(packets, list | tuple):
        seen = [
            f"{one.get('count')} to {one.get('protocol')} {one.get('target')}"
            + (f" port {one.get('port')}" if one.get("port") else "")
            for one in packets
            if isinstance(one, dict)
        ]
        length = format_duration(_number(ban.get("watched")))
        yield _row("", f"packets of it within {length}: {'; '.join(seen) or 'none'} (seen before any firewall)")
    elif ban.get("watched"):
        yield _row("", "packets cannot be watched here (needs CAP_NET_RAW)")


def _note(note: Value, now: float) -> str:
    parts = []
    if note.get("spared"):
        parts.append(f"it is spared by {note.get('spared')}")
    if note.get("observed"):
        parts.append("would ban it, but observes only (mode.observe)")
    if note.get("failures"):
        last = f", the last {_ago(now - _number(note.get('last')))} ago"
        within = format_duration(_number(note.get("findtime")))
        parts.append(f"{note.get('failures')} of {note.get('maxretry')} failures within {within}{last}")
    if note.get("idle"):
        parts.append("the jail is idle")
    return "; ".join(parts)


def _over(over: Value, now: float) -> str:
    reason = {"expired": "its time was over", "manual": "it was unbanned by hand"}.get(
        str(over.get("reason")), "it ended"
    )
    ended = over.get("ended") or over.get("until")
    when = f"{render.clock_text(ended)} ({_ago(now - _number(ended))} ago)" if ended else "an unknown time"
    return f"banned in [{over.get('jail')}] from {render.clock_text(over.get('since'))} to {when}: {reason}"


def _ago(seconds: float) -> str:
    return format_duration(max(0, round(seconds)))


def _row(label: str, text: str) -> str:
    return f"  {label:<{_LABEL}} {render.word(text)}"


def _rows(one: Value, name: str) -> list[Value]:
    value = one.get(name)
    return [row for row in value if isinstance(row, dict)] if isinstance(value, list | tuple) else []


def _number(value: object) -> float:
    return value if isinstance(value, int | float) else 0.0
