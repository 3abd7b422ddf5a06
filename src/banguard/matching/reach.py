"""Follow a regex along the beginning of a text: how much of it decides, and whether it can match at all."""

from __future__ import annotations

import re
from typing import Any

from banguard.matching.hazard import Graph, takes
from banguard.matching.syntax import MAXREPEAT, SINGLE, Items, parse

# Any digit stands for all, so that what is found out for one second of a log holds for all.
_SHAPE = {ord(digit): "0" for digit in "123456789"}
_ALL_DIGITS = sum(1 << ord(digit) for digit in "0123456789")
_MAX_SHAPES = 256
LONGEST = 64
"""Characters of a line that are looked at."""


def shape(text: str) -> str:
    """Return the beginning of *text* with each digit as 0."""
    return text[:LONGEST].translate(_SHAPE)


class Reach:
    """
    Remembers for one regex, which is tried at the start of lines only, how far it looks at lines of some shape.

    Two lines that are the same as far as that have the same match, or none both.
    """

    __slots__ = ("_graph", "_known")

    def __init__(self, regex: str, flags: int) -> None:
        self._known: dict[str, int] = {}
        self._graph: Graph | None = None
        parsed = parse(regex, flags)
        if parsed is None or flags & re.MULTILINE or not _is_simple(parsed[0]):
            return
        try:
            items = spread(parsed[0], {})
            self._graph = None if items is None else Graph(items, parsed[1])
        except (OverflowError, RecursionError):
            return

    def of(self, line: str) -> int:
        """Return how many characters of *line* decide; 0 when that is not known, or the line has no more."""
        if self._graph is None:
            return 0
        form = shape(line)
        reach = self._known.get(form)
        if reach is None:
            if len(self._known) >= _MAX_SHAPES:
                return 0
            reach = self._known[form] = _look(self._graph, form)
        return reach


def _look(graph: Graph, form: str) -> int:
    """Follow all ways through a regex at once, until none takes the next character."""
    places = set(graph.first)
    for index, char in enumerate(form):
        if char > "\x7f":
            return 0
        bits = _ALL_DIGITS if char == "0" else 1 << ord(char)
        places = {place for place in places if graph.takes[place] & bits}
        if not places:
            # This one was looked at all the same, be it to see where a word ends.
            return index + 1
        places = {after for place in places for after in graph.follow[place]}
    return 0


def _is_simple(items: Items) -> bool:
    """Tell whether no part looks farther than one character ahead, or at the end of the text."""
    for code, value in items:
        name = str(code)
        if name == "AT" and str(value) not in {"AT_BEGINNING", "AT_BOUNDARY", "AT_NON_BOUNDARY"}:
            return False
        if name in {"ASSERT", "ASSERT_NOT"} and value[1].getwidth()[1] > 1:
            return False
        if not all(_is_simple(inner) for inner in _inner(name, value)):
            return False
    return True


def _inner(name: str, value: Any) -> list[Items]:
    if name == "BRANCH":
        return list(value[1])
    if name in {"ASSERT", "ASSERT_NOT"}:
        return [value[1]]
    if name == "GROUPREF_EXISTS":
        return [branch for branch in value[1:] if branch]
    if name in {"MAX_REPEAT", "MIN_REPEAT"}:
        return [value[2]]
    return [value[3]] if name == "SUBPATTERN" else []


class _OpenError(Exception):
    """The text came to its end before the regex did."""


def begins(items: Items, flags: int, beginning: str) -> bool:
    """Tell whether a text that begins so, and goes on in any way, may have a match of *items* from its start on."""
    try:
        return bool(_behind(items, flags, beginning, {0}))
    except _OpenError:
        return True


def _behind(items: Items, flags: int, text: str, places: set[int]) -> set[int]:
    """Return the places that may be reached behind *items* from *places*; raise _OpenError when they may lie beyond."""
    for code, value in items:
        name = str(code)
        if name in SINGLE:
            if len(text) in places:
                raise _OpenError
            bits = takes(code, value, flags)
            places = {at + 1 for at in places if text[at] > "\x7f" or bits >> ord(text[at]) & 1}
        elif name == "SUBPATTERN":
            places = _behind(value[3], (flags | value[1]) & ~value[2], text, places)
        elif name == "ATOMIC_GROUP":
            places = _behind(value, flags, text, places)
        elif name == "BRANCH":
            places = set().union(*(_behind(each, flags, text, places) for each in value[1]))
        elif name in {"MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"}:
            places = _behind_rounds(value, flags, text, places)
        elif name == "GROUPREF_EXISTS":
            places = set().union(*(_behind(each or (), flags, text, places) for each in value[1:]))
        elif name not in {"AT", "ASSERT", "ASSERT_NOT"}:
            raise _OpenError
        if not places:
            break
    return places


def _behind_rounds(value: Any, flags: int, text: str, places: set[int]) -> set[int]:
    least, most, inner = value
    for _ in range(min(least, len(text) + 1)):
        places = _behind(inner, flags, text, places)
    reached = set(places)
    # After as many rounds as there are characters nothing new comes.
    for _ in range(min(int(most) - least, len(text) + 1)):
        places = _behind(inner, flags, text, places) - reached
        if not places:
            break
        reached |= places
    return reached


def spread(items: Items, groups: dict[int, Items]) -> list[tuple[Any, Any]] | None:
    """
    Return items that let pass more than *items*, and whose graph lacks nothing; None when there are none such.

    A reference to a group (of *groups*, or met before) becomes the group itself, and what may come more than once may
    come any number of times.
    """
    plain: list[tuple[Any, Any]] = []
    for code, value in items:
        name = str(code)
        if name in {"ATOMIC_GROUP", "POSSESSIVE_REPEAT"}:
            return None
        if name == "GROUPREF" and value in groups:
            plain += groups[value]
            continue
        inner = [spread(each, groups) for each in _taking(name, value)]
        if None in inner:
            return None
        parts = [each for each in inner if each is not None]
        if name == "SUBPATTERN":
            if value[0] is not None:
                groups[value[0]] = parts[0]
            value = (*value[:3], parts[0])
        elif name in {"MAX_REPEAT", "MIN_REPEAT"}:
            value = (value[0], value[1] if value[1] in {0, 1} else MAXREPEAT, parts[0])
        elif name == "BRANCH":
            value = (value[0], parts)
        elif name == "GROUPREF_EXISTS":
            value = (value[0], parts[0], parts[1] if len(parts) > 1 else None)
        plain.append((code, value))
    return plain


def _taking(name: str, value: Any) -> list[Items]:
    """Return the parts of an item that take characters."""
    return [] if name in {"ASSERT", "ASSERT_NOT"} else _inner(name, value)
