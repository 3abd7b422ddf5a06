"""Show how a jail treats a line, stage by stage: `banguard-client explain LINE [JAIL]`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict

from banguard.cli import render
from banguard.clock import SystemClock
from banguard.control.protocol import REFUSED, UNREACHABLE, USAGE, Reply
from banguard.duration import format_duration
from banguard.errors import BanguardError, ConfigError, ControlError

NEAREST = 5
"""Regexes that do not match and are shown all the same, those that get farthest."""

_MEANING = {
    "failure": "a failure",
    "login": "a login, no failure",
    "too old": "a failure that is too old to count",
    "no failure": "matched, but no failure by itself",
    "ignored": "left out by ignoreregex",
    "spared": "a failure of a host that is spared",
    "no host": "a failure of a host that has no address",
    "missed": "nothing: no rule of the filter matches",
}
_LABEL = 13

Value = Mapping[str, object]


def run(
    words: Sequence[str],
    ask: Callable[[Sequence[str]], Reply],
    directory: Callable[[], str],
    *,
    as_json: bool,
    verbose: bool,
) -> int:
    """Explain a line; *words* are the line and perhaps a jail. Return the exit status: 0 when a rule matches."""
    if len(words) not in {1, 2}:
        raise ControlError("explain takes a line (in quotes) and perhaps the name of a jail", status=USAGE)
    line, jail = words[0], words[1] if len(words) > 1 else None
    remark, shown = _of_server(words, ask)
    if shown is None:
        shown = _of_configuration(line, jail, directory(), remark)
    if as_json:
        print(render.as_json(Reply({"line": line, "jails": shown, "remark": remark})))
    else:
        if remark:
            print(render.clean(remark), file=sys.stderr)
        for text in told(shown, everything=verbose or jail is not None):
            print(render.clean(text))
    return 0 if any(one.get("verdict") not in {"missed", "ignored"} for one in shown) else REFUSED


def _of_server(words: Sequence[str], ask: Callable[[Sequence[str]], Reply]) -> tuple[str, list[Value] | None]:
    """Return a remark, and what the running jails say; None when they cannot be asked, or the jail is not there."""
    try:
        reply = ask(("explain", *words))
    except ControlError as error:
        if error.status != UNREACHABLE:
            raise
        return "The server does not run; this is what the configuration says.", None
    if reply.error is not None:
        if len(words) > 1 and "does not exist" in reply.error:
            return f"The jail {words[1]!r} does not run; this is what the configuration says.", None
        raise ControlError(reply.error, status=reply.status)
    jails = reply.value.get("jails") if isinstance(reply.value, dict) else None
    return "", [jail for jail in jails if isinstance(jail, dict)] if isinstance(jails, list) else []


def _of_configuration(line: str, jail: str | None, directory: str, remark: str) -> list[Value]:
    from banguard.config import load, load_jail  # noqa: PLC0415  the server knows its own
    from banguard.daemon.explaining import explain_configured  # noqa: PLC0415
    from banguard.jails.resolver import Resolver  # noqa: PLC0415

    clock = SystemClock()
    try:
        configs = [load_jail(directory, jail)] if jail is not None else list(load(directory).jails.values())
    except ConfigError as error:
        raise ControlError(f"{remark}\n{error}".strip()) from None
    if not configs:
        raise ControlError(f"{remark}\nNo jail is enabled in {directory}; name the one that you mean.".strip())
    resolver = Resolver(clock)
    found: list[Value] = []
    for config in configs:
        try:
            found.append(asdict(explain_configured(config, line, clock, resolver=resolver)))
        except BanguardError as error:
            if jail is not None:
                raise ControlError(str(error)) from None
            print(render.clean(str(error)), file=sys.stderr)
    return found


# ---- text


def told(explanations: Sequence[Value], *, everything: bool) -> Iterator[str]:
    """Yield the lines that tell of *explanations*: of those that say something of the line, else of the nearest."""
    hits = [one for one in explanations if one.get("verdict") != "missed"]
    if not hits and not explanations:
        yield "No jail runs."
        return
    chosen = hits or sorted(explanations, key=_nearness, reverse=True)[:1]
    for number, one in enumerate(chosen):
        if number:
            yield ""
        yield from _one(one, everything=everything)
    others = len(explanations) - len(chosen)
    if others and not hits:
        yield f"\nNo rule of {others} other jails matches either; name a jail to see how far its rules get."


def _nearness(one: Value) -> float:
    shares = [_number(regex.get("share")) for regex in _rows(one, "failregex")]
    return max(shares, default=0.0)


def _one(one: Value, *, everything: bool) -> Iterator[str]:
    verdict = str(one.get("verdict"))
    state = "running" if one.get("running") else "as configured"
    yield f"[{one.get('jail')}] {_MEANING.get(verdict, verdict)}  (filter {one.get('filter') or '-'}, {state})"
    yield _row("date", _date(_mapping(one.get("date"))))
    prefix = one.get("prefregex")
    if isinstance(prefix, dict):
        yield _row("prefregex", f"{'matches' if prefix.get('matches') else 'does not match'}{_where(prefix)}")
        if prefix.get("matches"):
            yield _row("", f"left for the other rules: {_quoted(one.get('left'))}")
        else:
            yield from _near(prefix)
            return
    yield from _failregex(_rows(one, "failregex"), everything=everything)
    if one.get("rejected"):
        yield _row(
            "host", f"{_quoted(one.get('rejected'))} stands where an address must, and is none: it does not count"
        )
    if one.get("login"):
        yield _row("login", f"{one.get('login')} gained access; with success.forgets its failures are forgotten")
    ignoring = _rows(one, "ignoreregex")
    hit = next((row for row in ignoring if row.get("matches")), None)
    if hit is not None:
        yield _row("ignoreregex", f"{hit.get('number')} of {len(ignoring)} matches{_where(hit)}: {hit.get('regex')}")
    elif ignoring:
        yield _row("ignoreregex", f"none of {len(ignoring)} matches")
    session = one.get("session")
    if isinstance(session, dict):
        lines = session.get("lines")
        known = len(lines) if isinstance(lines, list | tuple) else 0
        yield _row("session", f"{_quoted(session.get('id'))}, {known} lines of it wait: {session.get('role')}")
    for host in _rows(one, "hosts"):
        yield from _host(host)
    follow = one.get("sequel")
    if isinstance(follow, dict):
        yield _row("would follow", _sequel(follow))


def _date(date: Value) -> str:
    if not date.get("found"):
        return f"none found: {date.get('remark')}"
    at, age = date.get("time"), _number(date.get("age"))
    if at is None:
        return f"{_quoted(date.get('text'))}: {date.get('remark')} ({date.get('template')})"
    when = f"{format_duration(abs(round(age)))} {'ago' if age >= 0 else 'ahead'}" if round(age) else "now"
    return (
        f"{_quoted(date.get('text'))} is {render.clock_text(at)} ({date.get('template')}; {date.get('zone')}), "
        f"{when}: {date.get('remark')}"
    )


def _failregex(rows: Sequence[Value], *, everything: bool) -> Iterator[str]:
    hits = [row for row in rows if row.get("matches")]
    for row in hits:
        yield _row("failregex", f"{row.get('number')} of {len(rows)} matches{_where(row)}: {row.get('regex')}")
    for row in rows:
        if row.get("gave_up"):
            yield _row("failregex", f"{row.get('number')} would take too long on this line, which counts as no match")
    if hits:
        return
    near = sorted((row for row in rows if row.get("taken")), key=lambda row: -_number(row.get("share")))
    yield _row("failregex", f"none of {len(rows)} matches; {'the nearest:' if near else 'none even begins to'}")
    for row in near[:1]:
        yield _row("", f"[{row.get('number')}]{_where(row)}")
        yield from _near(row)
    for row in near[1 : None if everything else NEAREST]:
        yield _row("", f"[{row.get('number')}] {_number(row.get('share')):.0%}{_where(row)}: {row.get('taken')} …")


def _near(row: Value) -> Iterator[str]:
    if not row.get("taken"):
        yield _row("", "not even its beginning does")
        return
    yield _row("", f"   this much of it matches:  {row.get('taken')}")
    if row.get("text_taken"):
        yield _row("", f"   and takes of the line:    {_quoted(row.get('text_taken'))}")
    yield _row("", f"   it goes on with:          {row.get('wanted')}")
    left = row.get("text_left")
    yield _row("", f"   but the line goes on:     {_quoted(left)}" if left else "   but there the line ends")


def _host(host: Value) -> Iterator[str]:
    if not host.get("id"):
        yield _row("host", f"{_quoted(host.get('written'))} has no address: it does not count (usedns)")
        return
    written = "" if host.get("written") == host.get("id") else f", written {_quoted(host.get('written'))}"
    yield _row("host", f"{host.get('id')} ({host.get('kind')}{written})")
    if host.get("spared"):
        yield _row("ignore", f"spared by {host.get('spared')}")
        return
    protected = ", but it is protected (option protect): it is never banned" if host.get("protected") else ""
    yield _row("ignore", f"no rule spares it{protected}")
    counter = host.get("counter")
    if isinstance(counter, dict):
        before, after = counter.get("before"), counter.get("after")
        within = format_duration(_number(counter.get("findtime")))
        past = f", {counter.get('extra')} more are added for earlier bans" if counter.get("extra") else ""
        end = "that is enough for a ban" if counter.get("reached") else "not enough for a ban"
        yield _row(
            "counter",
            f"{before} of {counter.get('maxretry')} within {within} now; this line makes {after}{past}: {end}",
        )
    if host.get("is_banned"):
        until = host.get("banned_until")
        yield _row("banned", f"already, {'for ever' if until is None else f'until {render.clock_text(until)}'}")


def _sequel(follow: Value) -> str:
    length = follow.get("bantime")
    how_long = "for ever" if length is None else f"for {format_duration(_number(length))}"
    actions = follow.get("actions")
    by = ", ".join(map(str, actions)) if isinstance(actions, list | tuple) and actions else "no action: without effect"
    if follow.get("observe"):
        return "nothing but a line in the log: the jail only observes (mode.observe)"
    return f"once the counter is full: ban {how_long} (ban number {follow.get('count')} of it) by {by}"


def _row(label: str, text: str) -> str:
    return f"  {label:<{_LABEL}}{render.word(text)}"


def _where(row: Value) -> str:
    return f" ({row.get('place')})" if row.get("place") else ""


def _quoted(text: object) -> str:
    return f"«{text}»"


def _mapping(value: object) -> Value:
    return value if isinstance(value, dict) else {}


def _rows(one: Value, name: str) -> list[Value]:
    value = one.get(name)
    return [row for row in value if isinstance(row, dict)] if isinstance(value, list | tuple) else []


def _number(value: object) -> float:
    return value if isinstance(value, int | float) else 0.0
