"""Follow what happens in the server, as text or as JSON lines."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from banguard.cli.colour import Paint
from banguard.cli.columns import MARK, cut
from banguard.cli.render import clock_text, json_text, word
from banguard.control.client import Connection
from banguard.control.protocol import REFUSED, UNREACHABLE, USAGE, Reply
from banguard.errors import ControlError

RETRY_SECONDS = 1.0
"""How often `--follow` looks whether the server is there again."""

Event = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Wish:
    """What the words behind `watch` ask for."""

    jails: tuple[str, ...] = ()
    follow: bool = False
    count: int | None = None


def read(words: Sequence[str]) -> Wish:
    """Return what *words* ask for; ControlError (status 2) for what makes no sense."""
    rest, jails = list(words), []
    follow, count = False, None
    while rest:
        text = rest.pop(0)
        if text == "--follow":
            follow = True
        elif text in ("-n", "--count"):
            value = rest.pop(0) if rest else ""
            if not value.isdecimal() or int(value) < 1:
                raise ControlError(f"{text} takes a number of events, at least 1, not {value!r}", status=USAGE)
            count = int(value)
        elif text.startswith("-"):
            raise ControlError(f"watch has no option {text}", status=USAGE)
        else:
            jails.append(text)
    return Wish(tuple(jails), follow, count)


class Watching:
    """
    One run of `watch`.

    *connect* makes a connection, *wait* waits some seconds before the next attempt. Events are written to standard
    output, each at once.
    """

    def __init__(
        self,
        wish: Wish,
        connect: Callable[[], Connection],
        *,
        wait: Callable[[float], object],
        show: Callable[[Event], str],
    ) -> None:
        self._wish = wish
        self._connect = connect
        self._wait = wait
        self._show = show
        self._left = wish.count

    def run(self) -> int:
        """Follow until the server stops (or for ever, with `--follow`), or *count* events are told; return a status."""
        told = False
        while True:
            try:
                reply = self._once()
            except ControlError as error:
                if not self._wish.follow or error.status != UNREACHABLE:
                    raise
                if not told:
                    print(f"{error}; waiting for the server", file=sys.stderr, flush=True)
                told = True
            else:
                told = False
                if reply is not None:
                    raise ControlError(reply.error or "", status=reply.status or REFUSED)
                if not self._wish.follow or self._left == 0:
                    return 0
            self._wait(RETRY_SECONDS)

    def _once(self) -> Reply | None:
        """Follow one server to its end; return its refusal if it gives one."""
        with self._connect() as connection:
            for reply in connection.follow(["watch", *self._wish.jails]):
                if not reply.ok:
                    return reply
                event = reply.value if isinstance(reply.value, dict) else {}
                print(self._show(event), flush=True)
                if self._left is not None and event.get("event") not in ("watching", "stopped", "lost"):
                    self._left -= 1
                    if self._left == 0:
                        return None
                if event.get("event") == "stopped":
                    return None
        raise ControlError("The server is gone", status=UNREACHABLE)


# ---- the text


def as_line(event: Event, *, room: int | None, paint: Paint, mark: str = MARK) -> str:
    """Return an event on one line of at most *room* columns (None: as long as it is)."""
    kind = word(event.get("event"))
    style, text = _told(kind, event)
    at = event.get("at")
    when = clock_text(float(at)) if isinstance(at, int | float) else " " * 19
    jail = word(event.get("jail") or "-")
    line = f"{when}  {jail:<10}  {kind.replace('_', ' '):<12}  {text}".rstrip()
    line = line if room is None else cut(line, room, mark=mark)
    # Colours are laid over the finished line, for they take no room.
    head, start = line[:19], 19 + 2 + max(10, len(jail)) + 2
    kind_text, rest = line[start : start + 12], line[start + 12 :]
    return f"{paint('faint', head)}{line[19:start]}{paint(style, kind_text)}{rest}"


def _told(kind: str, event: Event) -> tuple[str, str]:
    """Return the style of an event and what is said about it."""
    who = word(event.get("id") or "")
    until = event.get("until")
    ends = f"until {clock_text(float(until))}" if isinstance(until, int | float) else "for ever"
    count = event.get("count")
    if kind == "found":
        return "", f"{who}  {word(event.get('line') or '')}".rstrip()
    if kind in ("ban", "restored"):
        again = f", ban {count} of this address" if isinstance(count, int) and count > 1 else ""
        why = "by hand" if event.get("origin") == "manual" else f"{event.get('failures')} failures"
        return ("bad" if kind == "ban" else "warn"), f"{who}  {why}, {ends}{again}"
    if kind == "unban":
        return "good", f"{who}  {word(event.get('reason') or '')}"
    if kind in ("not_enforced", "action_failed"):
        ids = event.get("ids")
        shown = ", ".join(word(one) for one in ids[:3]) if isinstance(ids, list) else ""
        more = f" and {len(ids) - 3} more" if isinstance(ids, list) and len(ids) > 3 else ""
        return "bad", f"{shown}{more}  {word(event.get('action'))}: {word(event.get('message'))}".strip()
    if kind in ("firewall_lost", "firewall_mended"):
        jails = event.get("jails")
        names = ", ".join(word(one) for one in jails) if isinstance(jails, list) else ""
        return ("bad" if kind == "firewall_lost" else "good"), f"{word(event.get('firewall'))} ({names})"
    if kind in ("log_lost", "log_mended", "log_rotated"):
        style = {"log_lost": "bad", "log_mended": "good"}.get(kind, "faint")
        message = word(event.get("message") or "")
        return style, message or word(event.get("log"))
    if kind == "reload":
        parts = [f"{what} {', '.join(word(one) for one in names)}" for what, names in _lists(event)]
        return "name", "; ".join(parts) or "nothing changed"
    if kind == "lost":
        return "warn", f"{count} events were lost here: they were not read in time"
    if kind == "watching":
        return "faint", ""
    if kind == "stopped":
        return "warn", "the server stops"
    others = {
        key: value for key, value in event.items() if key not in ("event", "at", "jail") and value not in ("", None)
    }
    return ("bad" if kind == "crashed" else ""), "  ".join(
        f"{word(key)}={word(value)}" for key, value in others.items()
    )


def _lists(event: Event) -> list[tuple[str, list[object]]]:
    return [
        (what, names)
        for what in ("added", "changed", "removed")
        if isinstance(names := event.get(what), list) and names
    ]


def as_json(event: Event) -> str:
    """Return an event as one line of JSON."""
    return json_text(dict(event))
