"""
Make lines that a filter takes for failures of a given address, from its regexes alone.

What a regex asks for is written down part by part: the first branch, the fewest repeats, a character of each class.
Whether the line is any good is not for this module to guess: it is tried with the rules themselves, in several ways
of writing, with the date in several forms and places, and only what they take is handed out.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from banguard.matching.syntax import MAXREPEAT, SINGLE, Items, character_class, compile_class, parse

if TYPE_CHECKING:
    from banguard.matching.rules import FilterRules

_LETTERS = "xX1 -_.:/,;=\"'()[]{}<>@#%&*+!?|~^$\\\t"
_WAYS = 6
_LONGEST = 2000
_DATES = (
    "%Y-%m-%d %H:%M:%S",
    "%b %d %H:%M:%S",
    "%d/%b/%Y:%H:%M:%S %z",
    "%Y-%m-%dT%H:%M:%S%z",
    "%a %b %d %H:%M:%S %Y",
    "%a %b %d %H:%M:%S.000000 %Y",
    "%Y/%m/%d %H:%M:%S",
    "%d-%b-%Y %H:%M:%S",
    "%d/%m/%Y %H:%M:%S",
    "%Y%m%d %H:%M:%S",
    "%H:%M:%S",
)


class _Writer:
    """Writes texts that a regex matches, as far as assertions and back references leave it a chance."""

    def __init__(self, fixed: dict[str, str], way: int, number: int) -> None:
        self._fixed = fixed
        self._way = way
        self._number = number
        self._groups: dict[int, str] = {}
        self._names: dict[int, str] = {}

    def text(self, regex: str, flags: int) -> str | None:
        """Return a text for *regex*; None when it cannot be parsed."""
        parsed = parse(regex, flags)
        if parsed is None:
            return None
        state: Any = parsed[0]
        self._names = {number: name for name, number in state.state.groupdict.items()}
        return self._all(parsed[0])

    def _all(self, items: Items) -> str:
        return "".join(self._one(str(code), code, value) for code, value in items)

    def _one(self, name: str, code: object, value: Any) -> str:
        if name == "LITERAL":
            return chr(value)
        if name in SINGLE:
            return self._character(code, value)
        if name == "BRANCH":
            branches = value[1]
            return self._all(branches[(self._way // 2) % len(branches)])
        if name == "SUBPATTERN":
            number, items = value[0], value[3]
            fixed = self._fixed.get(self._names.get(number, ""))
            text = self._all(items) if fixed is None else fixed
            if number is not None:
                self._groups[number] = text
            return text
        if name in {"MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"}:
            return self._repeat(value[0], value[1], value[2])
        if name == "ATOMIC_GROUP":
            return self._all(value)
        if name == "GROUPREF":
            return self._groups.get(value, "")
        if name == "GROUPREF_EXISTS":
            chosen = value[1] if value[0] in self._groups else value[2]
            return self._all(chosen) if chosen else ""
        return ""

    def _repeat(self, least: int, most: int, items: Items) -> str:
        if len(items) == 1 and str(items[0][0]) in SINGLE:
            if self._matches(items[0], "7") and not self._matches(items[0], "x") and least <= 1:
                digits = str(self._number) if least or self._way % 2 else ""
                return digits if most is MAXREPEAT else digits[: int(most)]
            return self._character(*items[0]) * (least or self._way % 2)
        return "".join(self._all(items) for _ in range(least or self._way % 2))

    def _character(self, code: object, value: Any) -> str:
        return next(
            (char for char in _LETTERS if self._matches((code, value), char)), "\N{LATIN SMALL LETTER E WITH ACUTE}"
        )

    @staticmethod
    def _matches(item: tuple[Any, Any], char: str) -> bool:
        return compile_class(character_class(*item), 0).match(char) is not None


def specimens(rules: FilterRules, address: str, now: float, count: int) -> list[str]:
    """
    Return *count* lines that *rules* take for failures of *address*, dated *now* (epoch seconds); perhaps none.

    *rules* are made for this: sessions and the order of date templates change.
    """
    for way in range(_WAYS):
        for number in range(len(rules.failures)):
            first = next(_lines(rules, number, address, now, way, 4001), None)
            if first is None:
                continue
            others = (next(_lines(rules, number, address, now, way, 4001 + more), first) for more in range(1, count))
            return [first, *others]
    return []


def _lines(rules: FilterRules, number: int, address: str, now: float, way: int, salt: int) -> Iterator[str]:  # noqa: PLR0917  all of them are short
    fixed = {"ip4": address, "fid": address, "cidr": "32"}
    pattern = rules.failures[number]
    body = _Writer(fixed, way, salt).text(pattern.regex, pattern.flags)
    if body is not None and rules.prefix is not None and "content" in rules.prefix.groups:
        body = _Writer({**fixed, "content": body}, way, salt).text(rules.prefix.regex, rules.prefix.flags)
    if body is None or len(body) > _LONGEST or "\n" in body.rstrip("\n"):
        return
    body = body.rstrip("\n")
    for line in _dated(body, now):
        if _is_failure(rules, line, address, now):
            yield line


def _dated(body: str, now: float) -> Iterator[str]:
    """Yield *body* with the date in several forms, where dates use to stand."""
    moment = time.localtime(now)
    dates: Sequence[str] = (*(time.strftime(form, moment) for form in _DATES), f"{now:.3f}", str(int(now)))
    for date in dates:
        yield f"{date}{body}"
        yield f"{date} {body.lstrip()}"
        yield f"[{date}] {body.lstrip()}"
        at = body.find("[]")
        while at >= 0:
            yield f"{body[: at + 1]}{date}{body[at + 1 :]}"
            at = body.find("[]", at + 1)
        at = body.find("  ")
        while at >= 0:
            yield f"{body[: at + 1]}{date}{body[at + 1 :]}"
            at = body.find("  ", at + 1)
    yield body


def _is_failure(rules: FilterRules, line: str, address: str, now: float) -> bool:
    dated = rules.date(line, now)
    if dated.time is None:
        if not dated.optional:
            return False
    elif abs(dated.time - now) > 2:
        return False
    rules.sessions.clear()
    result = rules.match(dated, now)
    return any(match.id == address for match in result.matches)
