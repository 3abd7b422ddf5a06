"""`top`: what the server does at this moment, again and again."""

from __future__ import annotations

import math
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, Self

from banguard.cli.colour import Paint
from banguard.cli.columns import MARK, Cell
from banguard.cli.keys import Keys
from banguard.cli.render import json_text, word
from banguard.cli.top_picture import Look, Picture, as_data, picture
from banguard.cli.top_plain import Screen as PlainScreen
from banguard.cli.top_plain import lines
from banguard.control.protocol import UNREACHABLE, USAGE, Reply
from banguard.errors import ControlError

SECONDS = 2.0
"""Between two looks, unless `-d` says otherwise."""
ONCE_SECONDS = 1.0
"""Between the two looks of `--once`, which the rates are made of."""

Ask = Callable[[Sequence[str]], Reply]


class Screen(Protocol):
    """What shows pictures."""

    def __enter__(self) -> Self: ...
    def __exit__(self, *_: object) -> None: ...

    def show(self, picture: Picture) -> None:
        """Show *picture* in the place of the one before."""
        ...

    def suspend(self) -> None:
        """Give the terminal back as it was."""
        ...

    def resume(self) -> None:
        """Take the terminal again."""
        ...


@dataclass(frozen=True, slots=True)
class Wish:
    """What the words behind `top` ask for: *delay* in seconds, *count* of screens (None: until it is ended)."""

    delay: float = SECONDS
    count: int | None = None
    once: bool = False
    plain: bool = False


def read(words: Sequence[str]) -> Wish:
    """Return what *words* ask for; ControlError (status 2) for what makes no sense."""
    rest = list(words)
    delay, count, once, plain = SECONDS, None, False, False
    while rest:
        text = rest.pop(0)
        if text in ("-d", "--delay"):
            delay = _seconds(rest.pop(0) if rest else "", text)
        elif text in ("-n", "--count"):
            value = rest.pop(0) if rest else ""
            if not value.isdecimal() or int(value) < 1:
                raise ControlError(f"{text} takes a number of screens, at least 1, not {value!r}", status=USAGE)
            count = int(value)
        elif text == "--once":
            once = True
        elif text == "--plain":
            plain = True
        else:
            raise ControlError(f"top has no option {text}", status=USAGE)
    return Wish(delay, 1 if once else count, once, plain)


def _seconds(text: str, option: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0.1 <= value <= 3600:
        raise ControlError(f"{option} takes seconds from 0.1 to 3600, not {text!r}", status=USAGE)
    return value


def run(wish: Wish, ask: Ask, *, paint: Paint, as_json: bool, mark: str = MARK) -> int:
    """
    Show the server until `q` or Ctrl-C, or as often as wished; return the exit status.

    On a terminal one screen replaces the other. Elsewhere, and on a terminal that cannot do that, they follow one
    another, and the server's end is ours; with *as_json* each is one line of JSON.
    """
    alive = not as_json and not wish.once and sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"
    if alive:
        screen = choose_screen(wish, paint, mark)
        with screen, Keys(screen.suspend, screen.resume) as keys:
            return _live(wish, ask, screen, keys)
    with Keys(_nothing, _nothing) as keys:
        return _in_turn(wish, ask, keys, lambda before, now: _told(before, now, paint, mark, as_json=as_json))


def choose_screen(wish: Wish, paint: Paint, mark: str) -> Screen:
    """Return the screen drawn by rich where that is installed and not unwanted, else the plain one."""
    if not wish.plain:
        try:
            from banguard.cli.top_rich import Screen as RichScreen  # noqa: PLC0415  an extra, and large
        except ImportError:
            pass
        else:
            return RichScreen(_size, paint)
    return PlainScreen(_size, paint, mark=mark)


def _live(wish: Wish, ask: Ask, screen: Screen, keys: Keys) -> int:
    before: Look | None = None
    shown = 0
    last = Picture((Cell("banguard", "strong"),), ())
    while True:
        try:
            now = look(ask)
        except ControlError as error:
            if error.status != UNREACHABLE:
                raise
            gone = Cell(f"waiting for the server: {word(error)}", "bad")
            screen.show(Picture((gone,), last.sections))
            before = None
        else:
            last = picture(before, now)
            screen.show(last)
            before = now
        shown += 1
        if shown == wish.count:
            return 0
        if keys.wait(wish.delay) in ("q", "Q", "\x1b"):
            return 0


def _in_turn(wish: Wish, ask: Ask, keys: Keys, tell: Callable[[Look | None, Look], str]) -> int:
    before = look(ask)
    shown = 0
    while True:
        keys.wait(min(ONCE_SECONDS, wish.delay) if not shown else wish.delay)
        now = look(ask)
        print(tell(before, now), flush=True)
        before = now
        shown += 1
        if shown == wish.count:
            return 0


def look(ask: Ask) -> Look:
    """Return what the server tells of itself; its refusal as ControlError."""
    reply = ask(["overview"])
    if not reply.ok or not isinstance(reply.value, dict):
        raise ControlError(reply.error or "The server sent no overview", status=reply.status or 1)
    return reply.value


def _told(before: Look | None, now: Look, paint: Paint, mark: str, *, as_json: bool) -> str:
    if as_json:
        return json_text(as_data(before, now))
    room = _size()[0] if sys.stdout.isatty() else None
    text = "\n".join(lines(picture(before, now), room=room, height=None, paint=paint, mark=mark)) + "\n"
    encoding = sys.stdout.encoding or "ascii"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def _size() -> tuple[int, int]:
    """Return columns and lines as the terminal itself says: COLUMNS of the environment does not know of new sizes."""
    try:
        found = os.get_terminal_size(sys.stdout.fileno())
    except (OSError, ValueError):
        found = shutil.get_terminal_size()
    return found.columns or 80, found.lines or 24


def _nothing() -> None:
    """Nothing is to be put away before the program stops, nor brought back."""
