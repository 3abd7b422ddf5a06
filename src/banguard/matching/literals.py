"""
Find texts of which at least one stands in every line that a regex can match.

The regex is walked as Python's own parser sees it. Each part is either one of a few exact texts, or has a requirement:
a set of texts of which every match holds one. Texts are ASCII, in lower case, and meant to be looked for without regard
to case. What is not understood requires nothing. See Russ Cox, "Regular Expression Matching with a Trigram Index",
2012, for the same idea.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations
from typing import Any, NamedTuple

from banguard.matching.syntax import IGNORECASE, LITERAL, Items, parse

Texts = frozenset[str]

# Larger sets cost more to look for than they save.
_MAX_EXACT = 64
_MAX_TEXTS = 1000
_MAX_LENGTH = 64
_MAX_PAIRED = 6
# As much as four common texts: not worth a search. Below that it is tried, and given up when most lines pass.
_USELESS = 2.0
# A longer text is hardly rarer.
_LONG = 16

_EMPTY: Texts = frozenset({""})

# Texts that stand in most lines of most logs say little, and so do parts of them.
_COMMON = (
    " from for user port with error failed to in on by at http/1.1 https get post session connection client server "
    "info warning notice password authentication address host name not 127.0.0.1 root daemon debug request 192.168. "
    "get / post / head / http/1.0 http://www. "
)

_AROUND = " \"':=[]()-"

# Letters that ignoring case also makes of characters that are not ASCII: LATIN SMALL LETTER LONG S, KELVIN SIGN, and
# the dotted and dotless i (see the table of equivalences in `re._casefix` and str.lower).
FOLDED = {"s": "\u017f", "k": "\u212a", "i": "\u0130\u0131"}


class Required(NamedTuple):
    """
    What a regex requires: every match holds one of *texts*.

    *folded* are the letters of FOLDED among them that may be written otherwise, because the regex ignores case.
    """

    texts: Texts
    folded: frozenset[str] = frozenset()


class _Part(NamedTuple):
    """
    A part of a regex: all it can match (*exact*, if that is little), else the requirements of which each holds.

    Of two requirements the texts never overlap in a match.
    """

    exact: Texts | None
    required: tuple[Texts, ...] = ()


_UNKNOWN = _Part(None)
_NOTHING = _Part(_EMPTY)


def required(regex: str, flags: int = 0, *, cut: str | None = None) -> Required | None:
    """
    Return what must stand in each line that *regex* can match; None when nothing is sure, or it is too common.

    The line had a date cut out before the regex saw it. *cut* are the characters directly behind which that may have
    been; at the line's beginning, or behind at most two characters there that belong to no word, it may always have
    been. None: anywhere. Only one half of a text is then sure to stand in the whole line, or one of two texts that must
    both be there.
    """
    parsed = parse(regex, flags)
    if parsed is None:
        return None
    items, flags = parsed
    walk = _Walk()
    try:
        part = walk.items(items, flags)
    except RecursionError:
        return None
    found = _requirements(part)
    choices = [_uncut(texts, cut) for texts in found]
    if cut is None:
        # They follow each other in the line, so that a date can stand in one of them only.
        choices += [one | two for one, two in combinations(sorted(found, key=cost)[:_MAX_PAIRED], 2)]
    best = min(choices, key=cost, default=_EMPTY)
    if cost(best) >= _USELESS:
        return None
    return Required(best, frozenset(letter for letter in walk.folded if any(letter in text for text in best)))


def _uncut(texts: Texts, cut: str | None) -> Texts:
    """Return what is left of *texts* for sure when a date was cut out of the line that holds one of them."""
    if cut is None:
        return frozenset(half for text in texts for half in (text[: len(text) // 2], text[len(text) // 2 :]))
    return frozenset(max(_pieces(_behind_start(text), cut.lower()), key=len) for text in texts)


def _pieces(text: str, cut: str) -> list[str]:
    """Split *text* behind each character of *cut*."""
    pieces = [""]
    for char in text:
        pieces[-1] += char
        if char in cut:
            pieces.append("")
    return pieces


def _behind_start(text: str) -> str:
    """Leave out what may stand before the date at the beginning of a line."""
    for _ in range(2):
        if text and not (text[0].isalnum() or text[0] == "_"):
            text = text[1:]
    return text


def _requirements(part: _Part) -> tuple[Texts, ...]:
    return part.required if part.exact is None else (part.exact,)


def share(text: str) -> float:
    """Return a rough guess of the share of lines in which *text* stands by chance."""
    core = text.strip(_AROUND)
    if len(text) < 2:
        return _USELESS
    if (core and core in _COMMON) or len(text) - len(core) == len(text) < 4:
        return 0.5
    return 0.5 ** len(text) if text.isdigit() else 0.25 ** (min(len(text), _LONG) - 1)


def cost(texts: Texts) -> float:
    """Return a rough guess of the share of lines in which one of *texts* stands, as a sum over the texts."""
    return sum(map(share, texts)) if texts and len(texts) <= _MAX_TEXTS else float("inf")


class _Walk:
    """Goes through the items of a regex; *folded* are the letters met where case is ignored."""

    def __init__(self) -> None:
        self.folded: set[str] = set()

    def items(self, items: Items, flags: int) -> _Part:
        """Return what items one after the other can match."""
        return _row(self._parts(items, flags))

    def _parts(self, items: Items, flags: int) -> Iterator[_Part]:
        """Yield the parts; characters that follow each other are one."""
        text = ""
        for code, value in items:
            char = self._char(value, flags) if code is LITERAL else ""
            if text and not (char and len(text) < _MAX_LENGTH):
                yield _Part(frozenset({text}))
                text = ""
            if char:
                text += char
            else:
                yield self._item(str(code), value, flags)
        if text:
            yield _Part(frozenset({text}))

    def _item(self, name: str, value: Any, flags: int) -> _Part:
        if name == "LITERAL":
            return self._literal(value, flags)
        if name == "IN":
            return self._either_of(value, flags)
        if name in {"AT", "ASSERT", "ASSERT_NOT"}:
            return _NOTHING
        if name == "SUBPATTERN":
            return self.items(value[3], (flags | value[1]) & ~value[2])
        if name == "ATOMIC_GROUP":
            return self.items(value, flags)
        if name == "BRANCH":
            return _any([self.items(branch, flags) for branch in value[1]])
        if name == "GROUPREF_EXISTS":
            return _any([self.items(branch, flags) if branch else _NOTHING for branch in value[1:]])
        if name in {"MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"}:
            return self._repeat(value[0], value[1], value[2], flags)
        return _UNKNOWN

    def _literal(self, code: int, flags: int) -> _Part:
        char = self._char(code, flags)
        return _Part(frozenset({char})) if char else _UNKNOWN

    def _char(self, code: int, flags: int) -> str:
        """Return a character as it is looked for, nothing for one that cannot be."""
        if code >= 128 or code == 10:
            return ""
        char = chr(code).lower()
        if flags & IGNORECASE and char in FOLDED:
            self.folded.add(char)
        return char

    def _either_of(self, members: Sequence[tuple[Any, Any]], flags: int) -> _Part:
        if len(members) > 4 or any(str(code) != "LITERAL" for code, _ in members):
            return _UNKNOWN
        return _any([self._literal(value, flags) for _, value in members])

    def _repeat(self, least: int, most: Any, inner: Items, flags: int) -> _Part:
        part = self.items(inner, flags)
        if least == 0:
            if str(most) == "1" and part.exact is not None and len(part.exact) < _MAX_EXACT:
                return _Part(part.exact | _EMPTY)
            return _UNKNOWN
        if str(most) == str(least) and least <= 16:
            return part if part.exact is None else _row([part] * least)
        return _Part(None, _useful(_requirements(part)))


def _row(parts: Iterable[_Part]) -> _Part:
    """Return what *parts* one after the other can match."""
    found: list[Texts] = []
    run: Texts = _EMPTY
    is_whole = True
    for part in parts:
        found += part.required
        if part.exact is not None:
            joined = _product(run, part.exact)
            if joined is not None:
                run = joined
                continue
        is_whole = False
        found.append(run)
        run = part.exact if part.exact is not None else _EMPTY
    if is_whole:
        return _Part(run)
    found.append(run)
    return _Part(None, _useful(found))


def _product(one: Texts, two: Texts) -> Texts | None:
    """Return all texts of *one* followed by one of *two*; None when that is too much."""
    if len(one) * len(two) > _MAX_EXACT:
        return None
    if one is _EMPTY:
        return two
    joined = frozenset(first + second for first in one for second in two)
    return None if max(map(len, joined)) > _MAX_LENGTH else joined


def _any(parts: Sequence[_Part]) -> _Part:
    """Return what one of *parts* can match."""
    if all(part.exact is not None for part in parts):
        exact = frozenset(text for part in parts for text in part.exact or ())
        if len(exact) <= _MAX_EXACT:
            return _Part(exact)
    texts: set[str] = set()
    for part in parts:
        best = min(_requirements(part), key=cost, default=_EMPTY)
        if not best or "" in best:
            return _UNKNOWN
        texts |= best
    return _Part(None, _useful([frozenset(texts)]))


def _useful(found: Iterable[Texts]) -> tuple[Texts, ...]:
    return tuple(dict.fromkeys(texts for texts in found if "" not in texts and len(texts) <= _MAX_TEXTS))
