"""A prefilter of the standard library: lines that differ in digits only are of one kind, and looked at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate, compress, count

from banguard.matching.prefilter import Needles, Spans, Wanted, holds_one, line_at
from banguard.matching.prefilter_find import FindScanner

_DIGITS = b"0123456789"
_LOWER = bytes(range(256)).lower()

# Where fewer texts are wanted, or in smaller blocks, it is quicker to look for each of them.
_MANY = 12
_LARGE = 4096
# A text must have as much besides its digits to be looked for without them.
_LONG_ENOUGH = 7
# Kinds that are remembered, none of them longer than so many bytes.
_MOST_KINDS, _LONGEST = 1000, 512
# When more than one of so many lines are of a new kind, so many blocks are looked at the other way.
_SELDOM, _REST = 4, 16

_Numbers = tuple[int, ...]


class KindsScanner:
    """
    Remembers of each kind of line which of the wanted may stand in it. Logs repeat: most kinds come again and again.

    Where they do not, or few texts are wanted, it does as `FindScanner`. See `prefilter.Scanner`.
    """

    __slots__ = ("_direct", "_find", "_known", "_large", "_resting", "_texts", "_unsure", "_wanted")

    def __init__(self, wanted: Sequence[Wanted], *, many: int = _MANY, large: int = _LARGE) -> None:
        self._wanted = wanted
        self._find = FindScanner(wanted)
        # For each wanted the texts to be looked for in a kind; and those that are too little without their digits.
        self._texts: list[Needles] = []
        self._direct: list[Wanted] = []
        # The wanted of which a kind says only that their text may be there.
        self._unsure: set[int] = set()
        for number, each in enumerate(wanted):
            kinds = {needle: needle.translate(None, _DIGITS) for needle in each.any_of}
            direct = {needle for needle, kind in kinds.items() if kind != needle and len(kind) < _LONG_ENOUGH}
            self._texts.append(frozenset(kind for needle, kind in kinds.items() if needle not in direct))
            self._direct.append(Wanted(frozenset(direct), each.and_of))
            if each.and_of or any(kind != needle for needle, kind in kinds.items() if needle not in direct):
                self._unsure.add(number)
        self._known: dict[bytes, _Numbers] = {}
        self._resting = 0
        # Never, if that is too large for a block.
        self._large = large if sum(map(len, self._texts)) > many else 1 << 62

    def __call__(self, block: bytes) -> Sequence[Spans]:
        """Return the candidates for each `Wanted`."""
        if len(block) < self._large:
            return self._find(block)
        if self._resting:
            self._resting -= 1
            return self._find(block)
        marks = self._marks(block)
        if marks is None:
            self._resting = _REST
            return self._find(block)
        found: list[dict[int, int]] = [{} for _ in self._wanted]
        for start, end, numbers in _lines(block, marks):
            for number in numbers:
                if number not in self._unsure or self._holds(block[start:end].lower(), number):
                    found[number][start] = end
        self._look_directly(block, found)
        return [tuple(sorted(lines.items())) for lines in found]

    def _holds(self, line: bytes, number: int) -> bool:
        any_of, and_of = self._wanted[number]
        return holds_one(line, any_of) and (not and_of or holds_one(line, and_of))

    def _marks(self, block: bytes) -> Sequence[_Numbers] | None:
        """Return for each line the numbers of the wanted that may be in it; None when too many kinds are new."""
        kinds = block.translate(_LOWER, _DIGITS).split(b"\n")
        known = self._known
        marks = list(map(known.get, kinds))
        if None in marks:
            new = set(compress(kinds, (mark is None for mark in marks)))
            if len(known) + len(new) > _MOST_KINDS:
                known.clear()
                new = set(kinds)
            if len(new) > max(_MOST_KINDS, len(kinds)) // _SELDOM:
                return None
            for kind in new:
                known[kind] = tuple(number for number, texts in enumerate(self._texts) if holds_one(kind, texts))
            marks = list(map(known.get, kinds))
            for kind in new:
                if len(kind) > _LONGEST:
                    del known[kind]
        return marks  # type: ignore[return-value]  # None of them is None by now

    def _look_directly(self, block: bytes, found: Sequence[dict[int, int]]) -> None:
        """Look for the texts that are too little without their digits."""
        lower = b""
        for (needles, and_of), lines in zip(self._direct, found, strict=True):
            for needle in needles:
                lower = lower or block.lower()
                place = lower.find(needle)
                while place >= 0:
                    start, end = line_at(lower, place)
                    if not and_of or holds_one(lower[start:end], and_of):
                        lines[start] = end
                    place = lower.find(needle, end)


def _lines(block: bytes, marks: Sequence[_Numbers]) -> Iterator[tuple[int, int, _Numbers]]:
    """Yield start and end of the lines that have marks, with these."""
    if not any(marks):
        return
    # Behind each line, the newlines not counted.
    ends = list(accumulate(map(len, block.split(b"\n")), initial=0))
    for number in compress(count(), marks):
        yield ends[number] + number, ends[number + 1] + number, marks[number]
