"""Tell of a regex that it matches every line."""

from __future__ import annotations

import re
from typing import Any

from banguard.matching.syntax import Items, parse


def matches_every_line(regex: str, flags: int = 0) -> bool:
    r"""
    Tell whether *regex* matches every text of at least one character that has a newline at its end only.

    That is sure of one in which nothing need be there but `.+` or `.*`, as prefregexes often are. May say no too often.
    """
    parsed = parse(regex, flags)
    if parsed is None:
        return False
    items, flags = parsed
    return not flags & re.MULTILINE and _takes_all(list(_flat(items)))


def _flat(items: Items) -> list[tuple[str, Any]]:
    """Return items with groups opened, as far as these set no flags."""
    flat: list[tuple[str, Any]] = []
    for code, value in items:
        if str(code) == "SUBPATTERN" and not value[1] and not value[2]:
            flat += _flat(value[3])
        else:
            flat.append((str(code), value))
    return flat


def _takes_all(items: list[tuple[str, Any]]) -> bool:
    """Tell whether the items may all be nothing, but for one that takes the whole line."""
    taken = False
    for number, (name, value) in enumerate(items):
        if name == "AT" and str(value) == "AT_BEGINNING" and not taken and number == 0:
            continue
        if name == "AT" and str(value) == "AT_END" and number == len(items) - 1:
            continue
        if not taken and _is_whole_line(name, value):
            taken = True
        elif not _may_be_nothing(name, value):
            return False
    return taken


def _is_whole_line(name: str, value: Any) -> bool:
    if name not in {"MAX_REPEAT", "MIN_REPEAT"}:
        return False
    least, most, inner = value
    return least <= 1 and str(most) == "MAXREPEAT" and [str(code) for code, _ in inner] == ["ANY"]


def _may_be_nothing(name: str, value: Any) -> bool:
    if name in {"MAX_REPEAT", "MIN_REPEAT"}:
        return value[0] == 0 or all(_may_be_nothing(*item) for item in _flat(value[2]))
    if name == "BRANCH":
        return any(all(_may_be_nothing(*item) for item in _flat(branch)) for branch in value[1])
    return False
