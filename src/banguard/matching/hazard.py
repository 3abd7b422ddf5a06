"""
Tell how the effort of backtracking over a regex can grow with the length of a text.

The regex is read as a graph: one node for each place at which it takes a character, edges to the places that may come
next. Two ways around a node with the same characters mean that the effort can double with every round; loops in a row
that can share the same characters mean a power of the length, one for each loop. What assertions refuse is not known,
nor what a back-reference is, so the answer may be too high. See Weber and Seidl, "On the degree of ambiguity of finite
automata", 1991.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any

from banguard.matching.syntax import (
    ASCII,
    DOTALL,
    IGNORECASE,
    IN_CLASS,
    SINGLE,
    Items,
    character_class,
    compile_class,
    parse,
)

ENDLESS = 1 << 30

_STEPS = 2_000_000
_APART = (1, 2, 4, 8, 16)

# Characters that stand for all others of their kind.
_ALPHABET = "".join(map(chr, range(128))) + "é٣\u2028"
_ALL = (1 << len(_ALPHABET)) - 1
_OTHER = 1 << 128
_FEW = 10
_MAX_PLACES = 4000
_MAX_PAIRS = 60_000

# A group that is repeated many times: without one nothing can double.
_REPEATED_GROUP = re.compile(r"\)(?:[*+]|\{\d*,\}|\{(?:\d*,)?\d{2,}\})")

Weights = dict[int, int]


class _Part:
    """A part of the graph: where it may begin and end, and be empty, each in how many ways (two stand for more)."""

    __slots__ = ("empty", "first", "last")

    def __init__(self, first: Weights, last: Weights, empty: int) -> None:
        self.first = first
        self.last = last
        self.empty = min(2, empty)


def _add(target: Weights, source: Weights, ways: int = 1) -> None:
    for place, weight in source.items():
        target[place] = min(2, target.get(place, 0) + weight * ways)


class Graph:
    """
    The places of a regex, and what may follow what.

    *first* may begin a match, *last* end one; *follow* says what may come after each, in how many ways. *takes* are the
    characters that a place takes: bit n stands for the ASCII character n, higher ones for others. Of a
    group that is repeated less than ten times only one round is told. With *looks* assertions are ways that end. Raise
    OverflowError when it gets too large.
    """

    def __init__(self, items: Items, flags: int, *, looks: bool = False) -> None:
        self._looks = looks
        self.takes: list[int] = []
        self.follow: list[Weights] = []
        self.loops: list[int] = []
        self._is_hollow = False
        whole = self._items(items, flags)
        self.first = tuple(whole.first)
        self.last = frozenset(whole.last)
        self.may_be_empty = whole.empty > 0

    def _place(self, code: object, value: Any, flags: int) -> _Part:
        bits = takes(code, value, flags)
        if len(self.takes) >= _MAX_PLACES:
            raise OverflowError
        self.takes.append(bits)
        self.follow.append({})
        place = len(self.takes) - 1
        return _Part({place: 1}, {place: 1}, 0)

    def _join(self, one: _Part, two: _Part) -> _Part:
        for place, weight in one.last.items():
            for after, other in two.first.items():
                self.follow[place][after] = min(2, self.follow[place].get(after, 0) + weight * other)
        first = dict(one.first)
        if one.empty:
            _add(first, two.first, one.empty)
        last = dict(two.last)
        if two.empty:
            _add(last, one.last, two.empty)
        return _Part(first, last, one.empty * two.empty)

    def _items(self, items: Items, flags: int) -> _Part:
        whole = _Part({}, {}, 1)
        for code, value in items:
            whole = self._join(whole, self._item(str(code), code, value, flags))
        return whole

    def _item(self, name: str, code: object, value: Any, flags: int) -> _Part:
        if name in SINGLE:
            return self._place(code, value, flags)
        if name in {"MAX_REPEAT", "MIN_REPEAT"}:
            least, most, inner = value
            return self._repeat(least, most, inner, flags)
        if name == "SUBPATTERN":
            return self._items(value[3], (flags | value[1]) & ~value[2])
        if name == "BRANCH":
            return _either(self._items(branch, flags) for branch in value[1])
        if name == "GROUPREF_EXISTS":
            return _either(self._items(branch or [], flags) for branch in value[1:])
        if name in {"ASSERT", "ASSERT_NOT"} and self._looks:
            # It is tried, and then what comes is as it was.
            return _Part(self._items(value[1], flags).first, {}, 1)
        if name == "GROUPREF":
            return self._repeat(0, "MAXREPEAT", [("ANY", None)], flags | DOTALL)
        return _Part({}, {}, 1)

    def _repeat(self, least: int, most: Any, inner: Items, flags: int) -> _Part:
        part = self._items(inner, flags)
        if str(most) == "MAXREPEAT" or int(most) >= _FEW:
            for place, weight in part.last.items():
                for after, other in part.first.items():
                    self.follow[place][after] = min(2, self.follow[place].get(after, 0) + weight * other)
            self.loops += part.first
            # Many rounds of which each may be empty: any of them may be the ones that take something.
            self._is_hollow = self._is_hollow or (str(most) != "MAXREPEAT" and part.empty > 0)
            return _Part(part.first, part.last, max(part.empty, least == 0))
        return _Part(part.first, part.last, part.empty + (least == 0))

    # ---- questions

    def doubles(self) -> bool:
        """Tell whether some place comes back to itself in two ways with the same characters."""
        if self._is_hollow:
            return True
        for circle in self._circles():
            if any(
                weight > 1 and after in circle for place in circle for after, weight in self.follow[place].items()
            ) or self._splits(circle):
                return True
        return False

    def _circles(self) -> list[set[int]]:
        """Return the sets of places that can all come back to each other."""
        before: list[Weights] = [{} for _ in self.follow]
        for place, after in enumerate(self.follow):
            for other in after:
                before[other][place] = 1
        circles: list[set[int]] = []
        seen: set[int] = set()
        for start in dict.fromkeys(self.loops):
            if start not in seen:
                circle = set(self._reach(start, -1)) & set(self._reach(start, -1, before))
                seen |= circle
                circles.append(circle)
        return circles

    def _reach(self, start: int, bits: int, edges: list[Weights] | None = None) -> dict[int, int]:
        """Return how far off the places are that come after *start*, all of which take some character of *bits*."""
        edges = self.follow if edges is None else edges
        reached: dict[int, int] = {}
        front, distance = [start], 0
        while front:
            distance += 1
            after = {place for one in front for place in edges[one] if self.takes[place] & bits}
            front = [place for place in after if place not in reached]
            for place in front:
                reached[place] = distance
        return reached

    def _splits(self, circle: set[int]) -> bool:
        """Tell whether two ways part within *circle* and meet again, taking the same characters all along."""
        parted: set[tuple[int, int]] = set()
        left: list[tuple[int, int]] = []
        for place in circle:
            after = [one for one in self.follow[place] if one in circle]
            left += [(one, two) for one in after for two in after if one < two and self.takes[one] & self.takes[two]]
        while left:
            pair = left.pop()
            if pair in parted:
                continue
            parted.add(pair)
            if len(parted) > _MAX_PAIRS:
                return True
            for one in self.follow[pair[0]]:
                for two in self.follow[pair[1]]:
                    if one in circle and two in circle and self.takes[one] & self.takes[two]:
                        if one == two:
                            return True
                        left.append((one, two) if one < two else (two, one))
        return False

    def chains(self) -> Iterator[tuple[int, int]]:
        """Yield for some distances how many loops in a row, not farther apart, can share the same characters."""
        loops = [place for place in dict.fromkeys(self.loops) if place in self.follow[place]]
        reached: dict[tuple[int, int], dict[int, int]] = {}

        def chain(place: int, bits: int, apart: int, known: dict[tuple[int, int], int]) -> int:
            key = (place, bits)
            if key not in known:
                if key not in reached:
                    reached[key] = self._reach(place, bits)
                ahead = reached[key]
                known[key] = 1 + max(
                    (
                        chain(after, bits & self.takes[after], apart, known)
                        for after in loops
                        if after > place and 0 < ahead.get(after, 0) <= apart
                    ),
                    default=0,
                )
            return known[key]

        for apart in _APART:
            known: dict[tuple[int, int], int] = {}
            yield apart, max((chain(place, self.takes[place], apart, known) for place in loops), default=0)


def _either(parts: Iterable[_Part]) -> _Part:
    whole = _Part({}, {}, 0)
    for part in parts:
        _add(whole.first, part.first)
        _add(whole.last, part.last)
        whole.empty = min(2, whole.empty + part.empty)
    return whole


def takes(code: object, value: Any, flags: int) -> int:
    """Return the characters that an item takes (see `Graph`); one that takes none of the alphabet takes some other."""
    name = str(code)
    if not flags & IGNORECASE:
        if name == "LITERAL":
            return 1 << value if value < 128 else _takes(character_class(code, value), 0)
        if name == "IN":
            bits = _of_members(value, flags & ASCII)
            if bits:
                return bits
    return _takes(character_class(code, value), flags & IN_CLASS)


@lru_cache(maxsize=512)
def _takes(text: str, flags: int) -> int:
    matches = compile_class(text, flags).match
    return sum(1 << number for number, char in enumerate(_ALPHABET) if matches(char)) or _OTHER


def _of_members(members: Iterable[tuple[Any, Any]], flags: int) -> int:
    """Return the characters of a plain class; 0 for others, of which `re` has to be asked."""
    bits = 0
    is_negated = False
    for code, value in members:
        name = str(code)
        if name == "LITERAL" and value < 128:
            bits |= 1 << value
        elif name == "RANGE" and value[1] < 128:
            bits |= (2 << value[1]) - (1 << value[0])
        elif name == "CATEGORY":
            bits |= _takes(character_class("IN", [(code, value)]), flags)
        elif name == "NEGATE":
            is_negated = True
        else:
            return 0
    return _ALL & ~bits if is_negated else bits


def _graph(regex: str, flags: int, *, looks: bool = False) -> Graph | None:
    parsed = parse(regex, flags)
    return None if parsed is None else Graph(*parsed, looks=looks)


def explodes(regex: str, flags: int = 0) -> bool:
    """Tell whether the effort for *regex* can double with every character or two."""
    if _REPEATED_GROUP.search(regex) is None:
        return False
    try:
        graph = _graph(regex, flags)
        return graph is not None and graph.doubles()
    except (OverflowError, RecursionError):
        return True


def safe_length(regex: str, flags: int = 0, *, is_anchored: bool) -> int:
    """Return up to which length of text a *regex* that does not explode needs about 10 milliseconds at most."""
    try:
        graph = _graph(regex, flags, looks=True)
        chains = [] if graph is None else list(graph.chains())
    except (OverflowError, RecursionError):
        return 0
    lengths = [ENDLESS]
    for apart, loops in chains:
        # So many ways to share out n rounds, each as long as the loops are apart, among the loops.
        power = loops + (not is_anchored)
        if power > 1:
            lengths.append(int(apart * (_STEPS * math.factorial(power) / apart) ** (1 / power)))
    return min(lengths)
