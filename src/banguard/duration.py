"""Read and print durations such as `10m` and `1d`."""

from __future__ import annotations

import re

from banguard.message import tell

_MINUTE = 60
_HOUR = 60 * _MINUTE
_DAY = 24 * _HOUR
_WEEK = 7 * _DAY
_YEAR = 365.25 * _DAY

_UNITS: dict[str, int | float] = {
    **dict.fromkeys(("s", "ss", "se", "sec", "secs", "second", "seconds"), 1),
    **dict.fromkeys(("m", "mm", "mi", "min", "mins", "minute", "minutes"), _MINUTE),
    **dict.fromkeys(("h", "hh", "ho", "hou", "hour", "hours"), _HOUR),
    **dict.fromkeys(("d", "dd", "da", "day", "days"), _DAY),
    **dict.fromkeys(("w", "ww", "we", "wee", "week", "weeks"), _WEEK),
    **dict.fromkeys(("mo", "mon", "month", "months"), _YEAR / 12),
    **dict.fromkeys(("y", "yy", "ye", "yea", "year", "years"), _YEAR),
}

_TOKEN = re.compile(r"\s*(?:(?P<number>\d+(?:\.\d+)?|\.\d+)(?:\s*(?P<unit>[A-Za-z]+))?|(?P<sign>[-+*/()]))", re.ASCII)
# Nobody writes longer ones; the limits keep a hostile text from using up the stack or the processor.
_LONGEST = 500
_DEEPEST = 50


def parse(text: str) -> int | float:
    """
    Return the seconds that *text* stands for.

    Numbers with units (`1d 12h`, `0.5h`, `1m30`), a bare number being seconds; neighbours add up, and there may be
    `+ - * /` and brackets (`1h+30min`, `3*4`). The result is an int where all parts are whole, else a float. Raise
    ValueError on any other text.
    """
    return _Reader(text, _UNITS).whole()


def calculate(text: str) -> int | float:
    """Return the value of an arithmetic expression of plain numbers (`2.0 / 2.885385`); raise ValueError."""
    return _Reader(text, {}).whole()


class _Reader:
    """
    Reads one expression by recursive descent, never by handing text to Python.

    ::

        sum     = product { ("+" | "-" | nothing, before a number) product }
        product = factor { ("*" | "/") factor }
        factor  = [ "+" | "-" ] factor | "(" sum ")" | number [ unit ]
    """

    def __init__(self, text: str, units: dict[str, int | float]) -> None:
        self._text = text
        if len(text) > _LONGEST:
            raise ValueError(tell("too long for a number"))
        self._tokens: list[int | float | str] = []
        rest = text.rstrip()
        position = 0
        while position < len(rest):
            token = _TOKEN.match(rest, position)
            if token is None:
                raise self._wrong()
            position = token.end()
            if token["sign"]:
                self._tokens.append(token["sign"])
                continue
            number = float(token["number"]) if "." in token["number"] else int(token["number"])
            unit = token["unit"]
            if unit:
                if unit.lower() not in units:
                    raise ValueError(tell("unknown unit {unit!r} in {text!r}", unit=unit, text=text))
                number *= units[unit.lower()]
            self._tokens.append(number)
        self._tokens.reverse()  # the next one is the last: pop() takes it

    def whole(self) -> int | float:
        try:
            value = self._sum(0)
        except ZeroDivisionError:
            raise ValueError(tell("division by zero in {text!r}", text=self._text)) from None
        except OverflowError:
            raise ValueError(tell("too large: {text!r}", text=self._text)) from None
        if self._tokens:
            raise self._wrong()
        return value

    def _sum(self, depth: int) -> int | float:
        value = self._product(depth)
        while self._tokens:
            word = self._tokens[-1]
            if word == "+":
                self._tokens.pop()
                value += self._product(depth)
            elif word == "-":
                self._tokens.pop()
                value -= self._product(depth)
            elif isinstance(word, str):
                break
            else:
                value += self._product(depth)
        return value

    def _product(self, depth: int) -> int | float:
        value = self._factor(depth)
        while self._tokens and self._tokens[-1] in ("*", "/"):
            if self._tokens.pop() == "*":
                value *= self._factor(depth)
            else:
                value /= self._factor(depth)
        return value

    def _factor(self, depth: int) -> int | float:
        if depth > _DEEPEST or not self._tokens:
            raise self._wrong()
        word = self._tokens.pop()
        if not isinstance(word, str):
            return word
        if word in "+-":
            value = self._factor(depth + 1)
            return -value if word == "-" else value
        if word != "(":
            raise self._wrong()
        value = self._sum(depth + 1)
        if not self._tokens or self._tokens.pop() != ")":
            raise self._wrong()
        return value

    def _wrong(self) -> ValueError:
        return ValueError(tell("not a number or duration: {text!r}", text=self._text))


def format_duration(seconds: float) -> str:
    """
    Return *seconds* in words for a log line: `1y 2w 3d`, `1w 2d 3h`, `1d 2h 3m`, `1h 30m`, `5m 10s`.

    Each is rounded to its smallest step (`1h 30m` to ten seconds first, so that 7199 s is `2h`); years have 365 days;
    steps of zero are left out; nothing at all is `0`.
    """
    if seconds >= 365 * _DAY:
        return _steps(round(seconds / _DAY) * _DAY, (("y", 365 * _DAY), ("w", _WEEK), ("d", _DAY)))
    if seconds >= _WEEK:
        return _steps(round(seconds / _HOUR) * _HOUR, (("w", _WEEK), ("d", _DAY), ("h", _HOUR)))
    if seconds >= _DAY:
        return _steps(round(seconds / _MINUTE) * _MINUTE, (("d", _DAY), ("h", _HOUR), ("m", _MINUTE)))
    if seconds >= _HOUR - 5:
        return _steps(round(seconds / 10) * 10, (("h", _HOUR), ("m", _MINUTE)))
    minutes = int(seconds // _MINUTE) if seconds >= _MINUTE else 0
    rest = f"{seconds - minutes * _MINUTE:.3f}".rstrip("0").rstrip(".")
    if rest in ("0", "-0"):
        return f"{minutes}m" if minutes else "0"
    return f"{minutes}m {rest}s" if minutes else f"{rest}s"


def _steps(seconds: int, units: tuple[tuple[str, int], ...]) -> str:
    words = []
    for letter, size in units:
        count, seconds = divmod(seconds, size)
        if count:
            words.append(f"{count}{letter}")
    return " ".join(words)
