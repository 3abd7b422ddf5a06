"""
Remember the shapes that the lines of a log have, with what the rules find in them.

Lines repeat: only a number, an address or a name is another one. From a line that matched, a shape is made in which
these may be any; where it can be proven (see `proof`) what all rules find in every line of that shape, one regex for
all shapes says it of later lines at once: all in one row, with nothing to look back for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from operator import methodcaller
from typing import TYPE_CHECKING, NamedTuple, cast

from banguard.matching.hazard import ENDLESS
from banguard.matching.proof import Machine, Segment, UnprovenError

if TYPE_CHECKING:
    from banguard.matching.patterns import Found, Pattern

# More shapes than that cost memory and the time to compile them; a new set is then begun.
_MAX_SHAPES = 48
# Matches that no shape foresaw, between two attempts to learn: a proof takes as long as some hundred such matches.
EVERY = 250
_FIRST = 16
_SELDOM = 64
_ANEW = 400

_DIGITS = "0123456789"
_LOWER = "abcdefghijklmnopqrstuvwxyz"
_NAME = _DIGITS + _LOWER + _LOWER.upper() + "._-"
_HEX = _DIGITS + "abcdefABCDEF"

# What is caught in these groups decides by being there, and is mostly one and the same text.
_FIXED = frozenset({"nofail", "mlfgained", "mlfforget", "mlfagain", "mlfpending"})
_ADDRESSES = frozenset({"ip4", "ip6"})

_TOKEN = re.compile(r"[0-9A-Za-z]+|[^0-9A-Za-z]")
_NAMED = re.compile(r"[0-9A-Za-z._-]+|.")


class Plan:
    """
    What the rules find in each line of a shape.

    *rule* is the number of the failregex, from 1. *fixed* are all groups, with what those caught that always catch the
    same; *names* are the others, and `take` returns their values from a match. *address* and *session* are the
    places in *names* of the address and of the id of the session; -1 when there is none. *is_host* says that the
    address is IPv4, and nothing else can be the host. *quiet*, *over* and *again* say what the line is for its session
    (see `Sessions.add`).
    """

    __slots__ = (
        "address",
        "again",
        "fixed",
        "is_host",
        "names",
        "over",
        "quiet",
        "rule",
        "session",
        "take",
    )

    def __init__(self, rule: int, values: Mapping[str, object], numbers: Mapping[_Given, int]) -> None:
        self.rule = rule
        loose = {name: numbers[value] for name, value in values.items() if isinstance(value, _Given)}
        self.names = tuple(loose)
        self.take = _taker(tuple(loose.values()))
        self.fixed = {name: None if name in loose else cast("str | None", value) for name, value in values.items()}
        self.session = self.names.index("mlfid") if "mlfid" in loose else -1
        address = "ip4" if values.get("ip4") else "ip6"
        self.address = self.names.index(address) if address in loose else -1
        is_alone = not values.get("fid") and not values.get("cidr") and not isinstance(values.get("mlfid"), str)
        is_failure = "mlfid" in loose or not values.get("nofail")
        self.is_host = address in loose and address == "ip4" and is_alone and is_failure
        self.quiet = bool(values.get("mlfgained") or values.get("nofail"))
        self.over = bool(values.get("mlfforget"))
        self.again = bool(values.get("mlfagain"))

    def data(self, values: Iterable[str]) -> dict[str, str | None]:
        """Return all groups of a line, of which *values* are those of the names."""
        data = self.fixed.copy()
        data.update(zip(self.names, values, strict=True))
        return data


def _taker(numbers: tuple[int, ...]) -> Callable[[re.Match[str]], tuple[str, ...]]:
    if len(numbers) > 1:
        return methodcaller("group", *numbers)
    return lambda found: tuple(found[number] for number in numbers)


class _Group(NamedTuple):
    """
    A named group that caught a part of the line.

    *layer* is 0 for those of the prefregex, 1 for those of the failregex.
    """

    layer: int
    name: str
    number: int
    start: int
    end: int


class _Given(NamedTuple):
    """Stands for what a group catches that is not always the same."""

    layer: int
    name: str


class _Piece(NamedTuple):
    """A segment of the line as it stands there, from *start* to *end*; *regex* is what matches it."""

    start: int
    end: int
    mask: int
    least: int
    most: int
    regex: str
    labels: tuple[int, int]

    @property
    def is_loop(self) -> bool:
        return self.most > 1


class _Shape(NamedTuple):
    """
    A shape as the pieces of a regex.

    *given* are the groups in these, in order; *values* say what all groups of the rules hold.
    """

    tokens: tuple[str, ...]
    given: tuple[tuple[_Given, ...], ...]
    rule: int
    values: Mapping[str, object]


class _Regex:
    """One regex of the filter with its machine, made on use; None for one that cannot be followed."""

    __slots__ = ("_machine", "pattern")

    def __init__(self, pattern: Pattern) -> None:
        self.pattern = pattern
        self._machine: Machine | bool | None = False

    @property
    def machine(self) -> Machine | None:
        if self._machine is False:
            try:
                compiled = re.compile(self.pattern.regex, self.pattern.flags)
                self._machine = Machine(compiled, is_anchored=self.pattern.is_anchored)
            except UnprovenError:
                self._machine = None
        return self._machine  # type: ignore[return-value]  # False is gone

    def finds(self, shape: Sequence[Segment]) -> bool:
        return self.machine is not None and self.machine.finds(shape)

    def misses(self, shape: Sequence[Segment]) -> bool:
        return self.machine is not None and self.machine.misses(shape)


class Shapes:
    """
    The shapes of the lines of one jail. Not thread-safe.

    *possible* returns the numbers of the failregexes that can match a text that begins in some way. Of each so many
    (*every*) matching lines that no shape foresaw one is learned from. `find` returns the
    match of a line's text by a known shape (None: none of them); its `lastindex` is the key of the plan in `plans`.
    """

    def __init__(
        self,
        prefix: Pattern | None,
        failures: Sequence[Pattern],
        ignores: Sequence[Pattern],
        possible: Callable[[str], Sequence[int]],
        *,
        every: int = EVERY,
    ) -> None:
        self._prefix = None if prefix is None else _Regex(prefix)
        self._failures = tuple(map(_Regex, failures))
        self._ignores = tuple(map(_Regex, ignores))
        self._possible = possible
        self._known: dict[tuple[str, ...], _Shape] = {}
        self._every = self._pause = every
        self._wait = min(_FIRST, every)
        self.find: Callable[[str], re.Match[str] | None] = _find_nothing
        self.plans: dict[int | None, Plan] = {}

    def learn(self, text: str, opening: Found | None, found: Found, rule: int) -> None:
        """
        Take notice of a line that no shape foresaw, and make one of it now and then.

        *text* is what the rules saw, without the newline; *opening* the match of the prefregex, *found* that of
        failregex number *rule*.
        """
        self._wait -= 1
        if self._wait > 0:
            return
        if len(self._known) >= _MAX_SHAPES:
            # Logs change; what they look like now may be something else.
            self._known.clear()
            self._wait = self._every * _ANEW
            return
        shape = self._shape(text, opening, found, rule)
        if shape is None:
            self._pause = min(self._pause * 2, self._every * _SELDOM)
        else:
            self._known[shape.tokens] = shape
            self._compile()
            # Most logs show few shapes, and these soon.
            self._pause = min(self._every, _FIRST << len(self._known))
        self._wait = self._pause

    def _shape(self, text: str, opening: Found | None, found: Found, rule: int) -> _Shape | None:
        """Return the shape of a line, as wide as it can be proven; None when it cannot be."""
        if not (text.isascii() and text.isprintable()):
            return None
        prefix = None if self._prefix is None else self._prefix.pattern
        failure = self._failures[rule - 1].pattern
        if failure.has_compounds or (prefix is not None and prefix.has_compounds):
            return None
        groups = [] if opening is None else _groups(opening, 0, 0)
        start, end = next(((each.start, each.end) for each in groups if each.name == "content"), (0, len(text)))
        groups += _groups(found, 1, start)
        for fixed in (_FIXED, _FIXED | {"mlfid"}, _FIXED.union(each.name for each in groups)):
            line = _Line(text, groups, fixed)
            if line.is_plain and self._is_proven(line, start, end, rule):
                return _Shape(line.tokens, line.given, rule, self._values(line, opening, found, rule))
        return None

    def _is_proven(self, line: _Line, start: int, end: int, rule: int) -> bool:
        """Tell whether in every line of the shape this rule decides, and catches what it caught in this one."""
        whole = line.shape(0)
        content = line.shape(1, start, end)
        if self._prefix is not None and not self._prefix.finds(whole):
            return False
        if not self._failures[rule - 1].finds(content):
            return False
        others = (self._failures[each - 1] for each in self._possible(line.beginning(start)) if each != rule)
        return all(each.misses(content) for each in others) and all(
            each.misses(content) and each.misses(whole) for each in self._ignores
        )

    def _values(self, line: _Line, opening: Found | None, found: Found, rule: int) -> dict[str, object]:
        """Return what all groups hold: a text, None, or what is not always the same."""
        values: dict[str, object] = {}
        if opening is not None and self._prefix is not None:
            values |= self._prefix.pattern.merged(line.values(opening, 0))
            values.pop("content", None)
        return values | self._failures[rule - 1].pattern.merged(line.values(found, 1))

    def _compile(self) -> None:
        root = _Branch()
        for shape in self._known.values():
            branch = root
            for token in zip(shape.tokens, shape.given, strict=True):
                branch = branch.after.setdefault(token, _Branch())
            branch.shape = shape
        writer = _Writer()
        self.find = re.compile(writer.write(root, ())).match
        self.plans = writer.plans


def _find_nothing(_text: str) -> re.Match[str] | None:
    return None


def _groups(found: Found, layer: int, offset: int) -> list[_Group]:
    """Return the named groups that caught some text."""
    spans = [(name, number, found.span(name)) for name, number in found.re.groupindex.items()]
    return [
        _Group(layer, name, number, start + offset, end + offset) for name, number, (start, end) in spans if end > start
    ]


class _Line:
    """
    A line cut into pieces: what may be any, and what is as it stands there.

    In groups whose names are *fixed* words stay as they stand. *is_plain* says that each character can belong to one
    piece only; *tokens* are the pieces as regexes, those of a group as one, and *given* the groups in each.
    """

    def __init__(self, text: str, groups: Sequence[_Group], fixed: Iterable[str]) -> None:
        self._text = text
        self._groups = groups
        fixed = frozenset(fixed)
        borders = sorted({0, len(text), *(each.start for each in groups), *(each.end for each in groups)})
        self._pieces: list[_Piece] = []
        for start, end in pairwise(borders):
            around = [each for each in groups if each.start <= start and end <= each.end]
            names = {each.name for each in around if each.name != "content"}
            labels = [0, 0]
            for each in around:
                labels[each.layer] |= 1 << each.number
            self._pieces += _pieces(text, (start, end), names, fixed, (labels[0], labels[1]))
        self.is_plain = all(not (one.is_loop and one.mask & two.mask) for one, two in pairwise(self._pieces))
        self._loose = [
            each
            for each in groups
            if each.name != "content"
            and any(piece.is_loop and each.start <= piece.start < each.end for piece in self._pieces)
        ]
        self.tokens, self.given = self._written() if self.is_plain else ((), ())

    def shape(self, layer: int, start: int = 0, end: int | None = None) -> list[Segment]:
        """Return the segments of the line, or of a part of it, with the labels of a layer."""
        end = len(self._text) if end is None else end
        return [
            Segment(each.mask, each.least, each.most, each.labels[layer])
            for each in self._pieces
            if start <= each.start and each.end <= end
        ]

    def beginning(self, start: int) -> str:
        """Return how the text from *start* on begins in each line of the shape."""
        stop = next((each.start for each in self._pieces if each.is_loop and each.start >= start), len(self._text))
        return self._text[start:stop]

    def values(self, found: Found, layer: int) -> dict[str, object]:
        """Return what the groups of a match hold."""
        loose = {each.name for each in self._loose if each.layer == layer}
        return {name: _Given(layer, name) if name in loose else value for name, value in found.groupdict().items()}

    def _written(self) -> tuple[tuple[str, ...], tuple[tuple[_Given, ...], ...]]:
        """Return the pieces as regexes, and the groups in each."""
        tokens: list[str] = []
        given: list[tuple[_Given, ...]] = []
        # Outer groups first where several begin.
        coming = sorted(self._loose, key=lambda each: (-each.start, each.end, -each.layer))
        ends: list[int] = []
        for piece in self._pieces:
            opened: list[_Given] = []
            is_inside = bool(ends)
            regex = ""
            while coming and coming[-1].start == piece.start:
                group = coming.pop()
                if ends and group.end > ends[-1]:
                    self.is_plain = False
                opened.append(_Given(group.layer, group.name))
                ends.append(group.end)
                regex += "("
            regex += piece.regex
            while ends and ends[-1] == piece.end:
                ends.pop()
                regex += ")"
            if is_inside:
                tokens[-1] += regex
                given[-1] += tuple(opened)
            else:
                tokens.append(regex)
                given.append(tuple(opened))
        return tuple(tokens), tuple(given)


def _pieces(
    text: str, span: tuple[int, int], names: set[str], fixed: frozenset[str], labels: tuple[int, int]
) -> Iterator[_Piece]:
    """Yield the pieces of the part of a line at *span*, which is in the groups *names*."""
    is_open = bool(names) and not names & fixed
    for token in (_NAMED if is_open and not names & _ADDRESSES else _TOKEN).finditer(text, *span):
        chars, least, most = _loop(token[0], names, is_open=is_open)
        if chars:
            regex = f"[{_ranges(chars)}]" + ("+" if most == ENDLESS else f"{{{least},{most}}}")
            yield _Piece(token.start(), token.end(), _mask(chars), least, most, regex, labels)
            continue
        for at in range(token.start(), token.end()):
            yield _Piece(at, at + 1, 1 << ord(text[at]), 1, 1, re.escape(text[at]), labels)


def _loop(token: str, names: set[str], *, is_open: bool) -> tuple[str, int, int]:
    """Return of which characters other texts in the place of *token* are, and how many; none when it stays."""
    if names & _ADDRESSES:
        if not token.isalnum():
            return "", 1, 1
        return (_DIGITS, 1, 3) if "ip4" in names else (_HEX, 1, 4)
    if token.isdigit():
        return _DIGITS, 1, ENDLESS
    if not is_open:
        return "", 1, 1
    return (_NAME, 1, ENDLESS) if token[0] in _NAME else ("", 1, 1)


_RANGES = {_DIGITS: "0-9", _HEX: "0-9a-fA-F", _NAME: "0-9a-zA-Z._-"}


def _ranges(chars: str) -> str:
    return _RANGES[chars]


def _mask(chars: str) -> int:
    return sum(1 << ord(char) for char in chars)


class _Branch:
    """A place in the tree of all shapes."""

    __slots__ = ("after", "shape")

    def __init__(self) -> None:
        self.after: dict[tuple[str, tuple[_Given, ...]], _Branch] = {}
        self.shape: _Shape | None = None


class _Writer:
    """Writes the regex of all shapes: what they have in common once."""

    def __init__(self) -> None:
        self.plans: dict[int | None, Plan] = {}
        self._groups = 0

    def write(self, branch: _Branch, given: tuple[tuple[_Given, int], ...]) -> str:
        """Return the regex from *branch* on; *given* are the numbers of the groups before it."""
        regex = ""
        while branch.shape is None and len(branch.after) == 1:
            (((token, opened), branch),) = branch.after.items()
            regex += token
            given = self._numbered(opened, given)
        ways = []
        for (token, opened), after in branch.after.items():
            ways.append(token + self.write(after, self._numbered(opened, given)))
        if branch.shape is not None:
            # Which shape it is, the last group that took part says.
            self._groups += 1
            self.plans[self._groups] = Plan(branch.shape.rule, branch.shape.values, dict(given))
            ways.append(r"()\Z")
        return f"{regex}(?:{'|'.join(ways)})"

    def _numbered(
        self, opened: Iterable[_Given], given: tuple[tuple[_Given, int], ...]
    ) -> tuple[tuple[_Given, int], ...]:
        for each in opened:
            self._groups += 1
            given = (*given, (each, self._groups))
        return given
