"""Rehearse a jail on logs: `banguard-client backtest JAIL LOG…` tells who would have been banned."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from banguard.cli import render
from banguard.cli.regex_lines import Prepared, blocks_of
from banguard.clock import Clock, SystemClock
from banguard.config import load_jail
from banguard.control.protocol import USAGE, Reply
from banguard.daemon.rehearsal import Rehearsal, WouldBan, silent
from banguard.duration import format_duration
from banguard.errors import ConfigError, ControlError, SourceError

SHOWN = 50
"""Bans that are shown without -v: the newest."""

LONG = 16 * 1024 * 1024
"""Bytes from which on a terminal gets a progress bar."""

_WIDTH = 30
_DRAW_EVERY = 0.2


@dataclass(slots=True)
class _Wish:
    """What the command line asks for."""

    jail: str = ""
    logs: list[str] = field(default_factory=list)
    begin: float | None = None
    end: float | None = None


def run(words: Sequence[str], directory: str, *, as_json: bool, verbose: bool, clock: Clock | None = None) -> int:
    """Rehearse; *words* are the jail, logs, --from and --to. Return the exit status; ControlError for what is wrong."""
    clock = clock or SystemClock()
    wish = _parse(words)
    try:
        config = load_jail(directory, wish.jail, backend="polling")  # files are read, whatever the jail does
        with silent():
            rehearsal = Rehearsal(config, clock=clock, begin=wish.begin, end=wish.end)
            logs = wish.logs or _own_logs([path.pattern for path in config.logpath])
            if not logs:
                raise ControlError(f"The jail {wish.jail!r} has no log that is there; name one", status=USAGE)
            encoding = "utf-8" if config.logencoding == "auto" else config.logencoding
            ordered = _ordered(logs, encoding, rehearsal)
            bar = _bar(ordered, clock)
            for log in ordered:
                for block, spans, _ in _with_progress(log, encoding, bar):
                    rehearsal.feed(log, block, spans)
            rehearsal.finish()
            bar.done()
    except (ConfigError, SourceError, LookupError) as error:
        raise ControlError(str(error)) from None
    data = _data(rehearsal, ordered)
    if as_json:
        print(render.as_json(Reply(data)))
    else:
        for line in _told(rehearsal, ordered, everything=verbose):
            print(render.clean(line))
    return 0


def _parse(words: Sequence[str]) -> _Wish:
    wish = _Wish()
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word in {"--from", "--to"}:
            if not rest:
                raise ControlError(f"{word} takes a time such as 2026-11-20 or 2026-11-20T22:00", status=USAGE)
            at = _time(rest.pop(0))
            if word == "--from":
                wish.begin = at
            else:
                wish.end = at
        elif word.startswith("--"):
            raise ControlError(f"backtest does not know {word}", status=USAGE)
        elif not wish.jail:
            wish.jail = word
        else:
            wish.logs.append(word)
    if not wish.jail:
        raise ControlError("backtest takes the name of a jail, and logs (else its own are read)", status=USAGE)
    return wish


def _time(text: str) -> float:
    from datetime import datetime  # noqa: PLC0415  only these options need it

    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError, OSError):
        raise ControlError(f"{text!r} is no time such as 2026-11-20 or 2026-11-20T22:00", status=USAGE) from None


def _own_logs(patterns: Sequence[str]) -> list[str]:
    """Return the logs of a jail that are there, older ones that were rotated away included."""
    from banguard.sources.discover import discover  # noqa: PLC0415  seldom needed
    from banguard.sources.rotated import siblings  # noqa: PLC0415

    found: list[str] = []
    for log in dict.fromkeys(path for paths in discover(patterns).files.values() for path in paths):
        found += [sibling.path for sibling in siblings(log)]
        found.append(log)
    return [log for log in dict.fromkeys(found) if os.path.isfile(log)]


def _ordered(logs: Sequence[str], encoding: str, rehearsal: Rehearsal) -> list[str]:
    """Return *logs* in the order of their first dates; those without one stay where they are."""
    dated: list[tuple[float, int, str]] = []
    last = float("-inf")
    for number, log in enumerate(dict.fromkeys(logs)):
        if os.path.isdir(log):
            raise ControlError(f"{log} is a directory", status=USAGE)
        first = next(iter(blocks_of(log, encoding)), None)
        date = None if first is None else rehearsal.first_date(first[0][:65536], first[1])
        last = date if date is not None else last
        dated.append((last, number, log))
    return [log for _, _, log in sorted(dated)]


# ---- progress


class _Bar:
    """A bar on standard error that grows with the bytes read; nothing where that is no terminal, or few bytes."""

    def __init__(self, total: int, clock: Clock, write: Callable[[str], object] | None) -> None:
        self._total = max(1, total)
        self._clock = clock
        self._write = write
        self._read = 0
        self._began = self._drawn_at = clock.monotonic()

    def add(self, size: int) -> None:
        """Count bytes, and draw now and then."""
        self._read += size
        now = self._clock.monotonic()
        if self._write is None or now < self._drawn_at + _DRAW_EVERY:
            return
        self._drawn_at = now
        share = min(1.0, self._read / self._total)
        left = (now - self._began) * (1 - share) / max(share, 0.001)
        filled = "#" * int(share * _WIDTH)
        self._write(f"\r[{filled:<{_WIDTH}}] {share:4.0%}  {format_duration(round(left)) or '0'} left \x1b[K")

    def done(self) -> None:
        """Take the bar away."""
        if self._write is not None:
            self._write("\r\x1b[K")


def _bar(logs: Sequence[str], clock: Clock) -> _Bar:
    total = sum(os.path.getsize(log) for log in logs)
    shown = sys.stderr.isatty() and total >= LONG and os.environ.get("TERM") != "dumb"

    def write(text: str) -> None:
        sys.stderr.write(text)
        sys.stderr.flush()

    return _Bar(total, clock, write if shown else None)


def _with_progress(log: str, encoding: str, bar: _Bar) -> Iterator[Prepared]:
    """Yield the blocks of *log*; of a packed one the bar takes its packed size at the end."""
    packed = log.endswith((".gz", ".bz2", ".xz"))
    for prepared in blocks_of(log, encoding):
        yield prepared
        bar.add(0 if packed else len(prepared[0]))
    if packed:
        bar.add(os.path.getsize(log))


# ---- the result


def _ban(rehearsal: Rehearsal, would: WouldBan) -> dict[str, object]:
    ban = would.ban
    login = rehearsal.logins.get(ban.host)
    grounds = ban.grounds
    return {
        "id": ban.host,
        "since": ban.since,
        "until": ban.until,
        "count": ban.count,
        "failures": ban.failures,
        "rules": [] if grounds is None else [number for number, _, _ in grounds.texts],
        "kept_out": would.kept_out,
        "logins_kept_out": would.logins,
        "logins": 0 if login is None else login.count,
        "matches": list(ban.matches),
    }


def _data(rehearsal: Rehearsal, logs: Sequence[str]) -> dict[str, object]:
    hosts = {would.ban.host for would in rehearsal.bans}
    return {
        "jail": rehearsal.config.name,
        "logs": list(logs),
        "from": rehearsal.first,
        "to": rehearsal.last,
        "lines": rehearsal.lines,
        "failures": rehearsal.failures,
        "kept_out": sum(would.kept_out for would in rehearsal.bans),
        "hosts_banned": len(hosts),
        "bans": [_ban(rehearsal, would) for would in rehearsal.bans],
        "banned_with_login": sorted(hosts & rehearsal.logins.keys()),
    }


def _told(rehearsal: Rehearsal, logs: Sequence[str], *, everything: bool) -> Iterator[str]:
    bans, config = rehearsal.bans, rehearsal.config
    span = (
        ""
        if rehearsal.first is None
        else (f", {render.clock_text(rehearsal.first)} to {render.clock_text(rehearsal.last)}")
    )
    yield f"Jail {config.name} on {len(logs)} logs: {rehearsal.lines} lines{span}"
    kept = sum(would.kept_out for would in bans)
    hosts = {would.ban.host for would in bans}
    yield (
        f"{len(bans)} bans of {len(hosts)} hosts; {rehearsal.failures} failures would have come through, "
        f"{kept} would have been kept out"
    )
    shown = bans if everything else bans[-SHOWN:]
    if len(shown) < len(bans):
        yield f"The newest {len(shown)} bans (-v shows all):"
    if shown:
        width = max(7, *(len(would.ban.host) for would in shown))
        yield f"  {'host':<{width}}  {'from':<19}  {'until':<19}  {'ban':>3}  {'fails':>5}  {'kept out':>8}  logins"
    for would in shown:
        ban = would.ban
        until = "for ever" if ban.until is None else render.clock_text(ban.until)
        login = rehearsal.logins.get(ban.host)
        note = "" if login is None else str(login.count) + (f", {would.logins} locked out" if would.logins else "")
        yield (
            f"  {render.word(ban.host):<{width}}  {render.clock_text(ban.since):<19}  {until:<19}  {ban.count:>3}  "
            f"{ban.failures:>5}  {would.kept_out:>8}  {note}"
        )
    both = sorted(hosts & rehearsal.logins.keys())
    if both:
        yield f"Of the banned also logged in: {', '.join(map(render.word, both))}: are they users of yours?"
    elif not config.filter.successregex:
        yield "Logins are not known: the filter has no successregex."
