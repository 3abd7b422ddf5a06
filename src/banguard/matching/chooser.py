"""Say which of many regexes can match a text, by how it begins and by texts that must stand in it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from banguard.matching.literals import required
from banguard.matching.patterns import Finder, Pattern
from banguard.matching.reach import begins
from banguard.matching.syntax import Items, parse

Finders = tuple[tuple[int, Finder], ...]

# How much of a text's beginning is looked at; the longer piece only where the shorter leaves several regexes.
_SHORT, _LONG = 4, 14
# Beginnings that are remembered; a text that begins in a new way then has all regexes tried.
_MAX_KNOWN = 512
_MAX_TEXTS = 6

# Characters of a regex that mean themselves, with nothing behind that would make the last one optional.
_PLAIN = re.compile(r"\^([A-Za-z0-9 :,_'/-]+)(?![*?+{])")
# One of a few letters, as in `^[iI]nvalid`.
_LETTERS = re.compile(r"\^\[([A-Za-z]+)\](?![*?+{])")


class Chooser:
    """
    Hands out the finders (number from 1, and function) of those regexes that can match a text, in order.

    *patterns* see single lines. What was found out about a beginning is remembered.
    """

    __slots__ = ("_all", "_candidates", "_long", "short")

    def __init__(self, patterns: Sequence[Pattern]) -> None:
        self._all: Finders = tuple((number, _guarded(pattern)) for number, pattern in enumerate(patterns, 1))
        self._candidates = [_Candidate(pattern) for pattern in patterns]
        # By the first four characters, where these are enough.
        self.short: dict[str, Finders] = {}
        self._long: dict[str, Finders] = {}

    def __call__(self, text: str) -> Finders:
        """Return the finders to try on *text*."""
        found = self.short.get(text[:_SHORT])
        if found is None:
            found = self._long.get(text[:_LONG])
        return self._choose(text) if found is None else found

    def _choose(self, text: str) -> Finders:
        if len(self.short) + len(self._long) >= _MAX_KNOWN:
            return self._all
        found = self.possible(text[:_SHORT])
        if len(found) < 2:
            self.short[text[:_SHORT]] = found
            return found
        found = self._long[text[:_LONG]] = self.possible(text[:_LONG])
        return found

    def numbers(self, beginning: str) -> Sequence[int]:
        """Return the numbers of those regexes."""
        return [number for number, _ in self.possible(beginning[:_LONG])]

    def possible(self, beginning: str) -> Finders:
        """Return the finders of those regexes that can match a text that begins so and goes on in any way."""
        return tuple(
            finder
            for finder, candidate in zip(self._all, self._candidates, strict=True)
            if candidate.may_match(beginning)
        )


class _Candidate:
    """A regex of which it is asked whether it can match; it is parsed when that is not plain at once."""

    __slots__ = ("_letters", "_opening", "_parsed", "_pattern")

    def __init__(self, pattern: Pattern) -> None:
        self._pattern: Pattern | None = pattern if pattern.is_anchored else None
        self._opening = _opening(pattern, _PLAIN)
        # One of these is the first character, if there are any.
        self._letters = _opening(pattern, _LETTERS)
        self._parsed: tuple[Items, int] | None = None

    def may_match(self, beginning: str) -> bool:
        """Tell whether a text that begins so, and goes on in any way, may have a match."""
        if not (self._opening.startswith(beginning) or beginning.startswith(self._opening)):
            return False
        if self._letters and beginning and beginning[0] not in self._letters:
            return False
        if self._pattern is None:
            return True
        if self._parsed is None:
            self._parsed = parse(self._pattern.regex, self._pattern.flags)
            if self._parsed is None:
                self._pattern = None
                return True
        return begins(*self._parsed, beginning)


def _opening(pattern: Pattern, form: re.Pattern[str]) -> str:
    """Return what *form* catches of a regex that begins so; of one that says how each text begins that it matches."""
    if not pattern.is_anchored or pattern.flags & (re.IGNORECASE | re.VERBOSE):
        return ""
    found = form.match(pattern.regex)
    return found[1] if found else ""


def _guarded(pattern: Pattern) -> Finder:
    """Return what finds *pattern*; of one that is tried at every character, only where its texts are there."""
    find = pattern.find_long
    found = None if pattern.is_anchored else required(pattern.regex, pattern.flags, cut="")
    if found is None or found.folded or len(found.texts) > _MAX_TEXTS:
        return find
    texts = tuple(found.texts)

    def find_where_possible(subject: str):  # type: ignore[no-untyped-def]  # noqa: ANN202  as `find`
        lower = subject.lower()
        for text in texts:
            if text in lower:
                return find(subject)
        return None

    return find_where_possible
