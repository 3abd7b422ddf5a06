"""
Prove what a regex finds in every line of one shape.

A shape is a row of segments: characters of one set, so many of them. The regex is followed over a shape as Thompson's
simulation follows it over a text, all its ways at once and in the order in which `re` prefers them, except that a
character is only known to be one of a set: a way is sure when each place takes the whole set, else it may be there or
not. When the first sure way to the end catches the groups where the shape has them, and none before it ends otherwise,
then `re` catches just that in every text of the shape. See Russ Cox, "Regular Expression Matching: the Virtual Machine
Approach", 2009.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from banguard.matching.hazard import ENDLESS, takes
from banguard.matching.syntax import MULTILINE, SINGLE, Items, parse

_NEWLINE = 1 << 10
_WORD = sum(1 << code for code in range(128) if chr(code).isalnum() or code == 95)

_MAX_NODES = 4000
_MAX_STEPS = 12_000

_CHAR, _SPLIT, _AT, _LOOK, _MARK, _COND, _MATCH, _DEAD = range(8)
_IN_TEXT, _BEFORE_NEWLINE, _AT_END = range(3)


class UnprovenError(Exception):
    """It cannot be told what the regex finds."""


class Segment(NamedTuple):
    """*least* to *most* characters of the set *mask* (bit n: the ASCII character n), in the groups *labels* (bits)."""

    mask: int
    least: int
    most: int
    labels: int = 0


class Caught(NamedTuple):
    """Of a named group: whether it can be caught empty, is caught in every match, stands in a loop."""

    may_be_empty: bool
    always: bool
    in_loop: bool


# A way: node, groups that were closed (of those that something depends on), whether its groups are those of the
# shape so far, and whether it is sure.
_Way = tuple[int, int, bool, bool]
# A place in a shape: segment, and how many characters of it were taken.
_Place = tuple[int, int]


class Machine:
    """
    The ways through a regex.

    Raise UnprovenError for one that it cannot follow; *catches* tells of the named groups by their numbers.
    """

    def __init__(self, compiled: re.Pattern[str], *, is_anchored: bool) -> None:
        parsed = parse(compiled.pattern, compiled.flags)
        if parsed is None or parsed[1] & MULTILINE:
            raise UnprovenError
        self._kinds: list[int] = []
        self._values: list[Any] = []
        self._next: list[Any] = []
        self._named = set(compiled.groupindex.values())
        self._asked: set[int] = set()
        self._steps = 0
        self.catches: dict[int, Caught] = {}
        self._is_anchored = is_anchored
        items, flags = parsed
        try:
            self._note_asked(items)
            self._start = self._items(items, flags, self._node(_MATCH), 0, always=True, in_loop=False)
        except RecursionError:
            raise UnprovenError from None

    # ---- the graph

    def _node(self, kind: int, value: Any = None, after: Any = None) -> int:
        if len(self._kinds) >= _MAX_NODES:
            raise UnprovenError
        self._kinds.append(kind)
        self._values.append(value)
        self._next.append(after)
        return len(self._kinds) - 1

    def _note_asked(self, items: Items) -> None:
        """Note the groups on whose match something depends."""
        for code, value in items:
            name = str(code)
            if name == "GROUPREF_EXISTS":
                self._asked.add(value[0])
                parts = [part for part in value[1:] if part is not None]
            elif name == "SUBPATTERN":
                parts = [value[3]]
            elif name in {"MAX_REPEAT", "MIN_REPEAT"}:
                parts = [value[2]]
            elif name == "BRANCH":
                parts = value[1]
            else:
                parts = []
            for part in parts:
                self._note_asked(part)

    def _items(self, items: Items, flags: int, after: int, labels: int, *, always: bool, in_loop: bool) -> int:
        """Add *items* before the node *after*; return where they begin."""
        for code, value in reversed(items):
            after = self._item(str(code), code, value, flags, after, labels, always=always, in_loop=in_loop)
        return after

    def _item(  # noqa: PLR0917  an item, and where it stands
        self, name: str, code: object, value: Any, flags: int, after: int, labels: int, *, always: bool, in_loop: bool
    ) -> int:
        if name in SINGLE:
            mask = takes(code, value, flags)
            return self._node(_CHAR, (mask, labels), after)
        if name == "SUBPATTERN":
            return self._group(value, flags, after, labels, always=always, in_loop=in_loop)
        if name == "BRANCH":
            ways = [self._items(branch, flags, after, labels, always=False, in_loop=in_loop) for branch in value[1]]
            return self._node(_SPLIT, None, ways)
        if name in {"MAX_REPEAT", "MIN_REPEAT"}:
            greedy = name == "MAX_REPEAT"
            return self._repeat(value, flags, after, labels, greedy=greedy, always=always, in_loop=in_loop)
        if name == "GROUPREF_EXISTS":
            yes, no = (
                after if part is None else self._items(part, flags, after, labels, always=False, in_loop=in_loop)
                for part in value[1:]
            )
            return self._node(_COND, 1 << value[0], (yes, no))
        if name == "AT" and not flags & MULTILINE:
            return self._node(_AT, str(value), after)
        if name in {"ASSERT", "ASSERT_NOT"}:
            direction, inner = value
            named = len(self.catches)
            entry = self._items(inner, flags, self._node(_MATCH), 0, always=False, in_loop=True)
            if len(self.catches) > named:
                raise UnprovenError
            return self._node(_LOOK, (name == "ASSERT", direction > 0, entry), after)
        if name == "FAILURE":
            return self._node(_DEAD)
        raise UnprovenError

    def _group(self, value: Any, flags: int, after: int, labels: int, *, always: bool, in_loop: bool) -> int:
        number, added, removed, inner = value
        if number in self._asked:
            after = self._node(_MARK, 1 << number, after)
        if number in self._named:
            labels |= 1 << number
            self.catches[number] = Caught(inner.getwidth()[0] == 0, always, in_loop)
        return self._items(inner, (flags | added) & ~removed, after, labels, always=always, in_loop=in_loop)

    def _repeat(
        self, value: Any, flags: int, after: int, labels: int, *, greedy: bool, always: bool, in_loop: bool
    ) -> int:
        least, most, inner = value
        is_endless = str(most) == "MAXREPEAT"
        in_loop = in_loop or is_endless or int(most) > 1
        always = always and least > 0
        if is_endless:
            loop = self._node(_SPLIT)
            body = self._items(inner, flags, loop, labels, always=always, in_loop=in_loop)
            self._next[loop] = [body, after] if greedy else [after, body]
            entry = loop
        else:
            entry = after
            for _ in range(int(most) - least):
                body = self._items(inner, flags, entry, labels, always=always, in_loop=in_loop)
                entry = self._node(_SPLIT, None, [body, after] if greedy else [after, body])
        for _ in range(least):
            entry = self._items(inner, flags, entry, labels, always=always, in_loop=in_loop)
        return entry

    # ---- questions

    def finds(self, shape: Sequence[Segment]) -> bool:
        """
        Tell whether it matches every text of *shape* with a newline behind it, and catches the groups as labelled.

        The labels are those of named groups: bit n for the group n.
        """
        self._steps = 0
        if not self._is_anchored or not self._may_be_labelled(shape):
            return False
        try:
            return self._finds(shape)
        except UnprovenError:
            return False

    def _may_be_labelled(self, shape: Sequence[Segment]) -> bool:
        """Tell whether the labels say all about what the groups catch."""
        labels = 0
        for segment in shape:
            labels |= segment.labels
        return all(
            not caught.in_loop if labels >> number & 1 else caught.always or not caught.may_be_empty
            for number, caught in self.catches.items()
        )

    def _finds(self, shape: Sequence[Segment]) -> bool:
        start: tuple[_Way, ...] = ((self._start, 0, True, True),)
        left: list[tuple[_Place, tuple[_Way, ...]]] = [((-1, 0), start)]
        seen = set(left)
        while left:
            place, kernel = left.pop()
            for following in _following(shape, place):
                if following is None:
                    if not self._ends_well(shape, place, kernel):
                        return False
                    continue
                segment = shape[following[0]]
                ways = self._spread(shape, kernel, place, following, _IN_TEXT)
                state = (following, self._step(ways, segment.mask, segment.labels))
                if not state[1]:
                    return False
                if state not in seen:
                    seen.add(state)
                    left.append(state)
        return True

    def _ends_well(self, shape: Sequence[Segment], place: _Place, kernel: tuple[_Way, ...]) -> bool:
        ways = self._spread(shape, kernel, place, None, _BEFORE_NEWLINE)
        ways = self._spread(shape, self._step(ways, _NEWLINE, 0), None, None, _AT_END)
        for node, _, is_right, is_sure in ways:
            if self._kinds[node] == _MATCH:
                if not is_right:
                    return False
                if is_sure:
                    return True
        return False

    def _step(self, ways: Iterable[_Way], mask: int, labels: int) -> tuple[_Way, ...]:
        """Take a character of *mask*; ways that are at their end stay."""
        kept: list[_Way] = []
        for node, bits, is_right, is_sure in ways:
            if self._kinds[node] == _MATCH:
                kept.append((node, bits, is_right and not labels, is_sure))
                continue
            known, caught = self._values[node]
            if known & mask:
                sure = is_sure and not mask & ~known
                kept.append((self._next[node], bits, is_right and caught == labels, sure))
        return tuple(kept)

    def _spread(
        self,
        shape: Sequence[Segment],
        kernel: Iterable[_Way],
        place: _Place | None,
        following: _Place | None,
        where: int,
    ) -> list[_Way]:
        """Follow each way, in order, to the next nodes that take a character; a sure end cuts off what is behind it."""
        kinds, after = self._kinds, self._next
        found: list[_Way] = []
        seen: set[_Way] = set()
        sure: set[tuple[int, int]] = set()
        left = list(kernel)[::-1]
        while left:
            way = left.pop()
            node, bits, is_right, is_sure = way
            if way in seen or (node, bits) in sure:
                continue
            seen.add(way)
            if is_sure:
                sure.add((node, bits))
            self._steps += 1
            if self._steps > _MAX_STEPS:
                raise UnprovenError
            kind = kinds[node]
            if kind == _CHAR:
                found.append(way)
            elif kind == _MATCH:
                found.append(way)
                if is_sure:
                    break
            elif kind == _SPLIT:
                left += [(each, bits, is_right, is_sure) for each in reversed(after[node])]
            elif kind == _MARK:
                left.append((after[node], bits | self._values[node], is_right, is_sure))
            elif kind == _COND:
                left.append((after[node][not bits & self._values[node]], bits, is_right, is_sure))
            elif kind != _DEAD:
                holds = (
                    _holds(self._values[node], shape, place, following, where)
                    if kind == _AT
                    else self._looks(self._values[node], shape, place, following)
                )
                if holds is not False:
                    left.append((after[node], bits, is_right, is_sure and holds is True))
        return found

    def _looks(
        self,
        value: tuple[bool, bool, int],
        shape: Sequence[Segment],
        place: _Place | None,
        following: _Place | None,
    ) -> bool | None:
        """Tell whether an assertion about what comes holds; None when that is not sure."""
        is_positive, is_ahead, entry = value
        if not is_ahead or following is None or self._may_match(shape, entry, place, following, is_anchored=True):
            return None
        return not is_positive

    def misses(self, shape: Sequence[Segment]) -> bool:
        """Tell whether it matches no text of *shape* with a newline behind it."""
        self._steps = 0
        try:
            return not self._may_match(shape, self._start, (-1, 0), (0, 1), is_anchored=self._is_anchored)
        except UnprovenError:
            return False

    def _may_match(
        self,
        shape: Sequence[Segment],
        entry: int,
        place: _Place | None,
        following: _Place | None,
        *,
        is_anchored: bool,
    ) -> bool:
        """Tell whether there may be a way from *entry* to a match, from between *place* and *following* on."""
        left = [(place, following, frozenset({entry}))]
        seen = set(left)
        while left:
            place, following, kernel = left.pop()
            if not is_anchored:
                kernel |= {entry}
            nodes = self._reached(shape, kernel, place, following)
            if nodes is None:
                return True
            if following is None:
                after = self._taken(nodes, _NEWLINE) | (frozenset() if is_anchored else {entry})
                if self._reached(shape, after, None, None, at_end=True) is None:
                    return True
                continue
            kernel = self._taken(nodes, shape[following[0]].mask)
            if not kernel and is_anchored:
                continue
            for each in _following(shape, following):
                state = (following, each, kernel)
                if state not in seen:
                    seen.add(state)
                    left.append(state)
        return False

    def _taken(self, nodes: Iterable[int], mask: int) -> frozenset[int]:
        return frozenset(self._next[node] for node in nodes if self._values[node][0] & mask)

    def _reached(
        self,
        shape: Sequence[Segment],
        kernel: Iterable[int],
        place: _Place | None,
        following: _Place | None,
        *,
        at_end: bool = False,
    ) -> list[int] | None:
        """Return the nodes that take a character and may be reached; None when a match may be."""
        kinds, after = self._kinds, self._next
        where = _AT_END if at_end else _IN_TEXT if following is not None else _BEFORE_NEWLINE
        found: list[int] = []
        left = list(kernel)
        seen = set(left)
        while left:
            node = left.pop()
            self._steps += 1
            if self._steps > _MAX_STEPS:
                raise UnprovenError
            kind = kinds[node]
            if kind == _MATCH:
                return None
            if kind == _CHAR:
                found.append(node)
                continue
            if kind == _DEAD or (kind == _AT and _holds(self._values[node], shape, place, following, where) is False):
                continue
            targets = after[node] if kind in {_SPLIT, _COND} else (after[node],)
            for target in targets:
                if target not in seen:
                    seen.add(target)
                    left.append(target)
        return found


def _following(shape: Sequence[Segment], place: _Place) -> Iterator[_Place | None]:
    """Yield where the next character may belong; None for the end of the shape."""
    at, taken = place
    if at >= 0:
        least, most = shape[at].least, shape[at].most
        if taken < most:
            yield (at, min(taken + 1, least) if most == ENDLESS else taken + 1)
        if taken < least:
            return
    yield (at + 1, 1) if at + 1 < len(shape) else None


def _holds(
    name: str, shape: Sequence[Segment], place: _Place | None, following: _Place | None, where: int
) -> bool | None:
    """Tell whether an assertion about the place holds; None when that is not sure."""
    if name in {"AT_BEGINNING", "AT_BEGINNING_STRING"}:
        return place is not None and place[0] < 0
    if name == "AT_END":
        return where != _IN_TEXT
    if name == "AT_END_STRING":
        return where == _AT_END
    if name not in {"AT_BOUNDARY", "AT_NON_BOUNDARY"}:
        return None
    before = False if place is None or place[0] < 0 else _is_word(shape[place[0]].mask)
    behind = False if following is None else _is_word(shape[following[0]].mask)
    if before is None or behind is None:
        return None
    return (before != behind) == (name == "AT_BOUNDARY")


def _is_word(mask: int) -> bool | None:
    if not mask & ~_WORD:
        return True
    return None if mask & _WORD else False
