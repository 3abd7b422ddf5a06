"""A prefilter of the standard library: `bytes.find` over the block for each text."""

from __future__ import annotations

from collections.abc import Sequence

from banguard.matching.prefilter import Needles, Spans, Wanted, holds_one, line_at, rarest_first


class FindScanner:
    """
    Looks for few texts in the whole block, for the others only in the lines that these are in.

    See `prefilter.Scanner`.
    """

    __slots__ = ("_first", "_then", "_wanted")

    def __init__(self, wanted: Sequence[Wanted]) -> None:
        self._wanted = wanted
        # What to look for in the block, with the numbers of those that want it; and what is then looked for in lines.
        self._first: dict[bytes, list[int]] = {}
        self._then: list[Needles] = []
        for number, (any_of, and_of) in enumerate(wanted):
            first, then = (and_of, any_of) if and_of and len(and_of) < len(any_of) else (any_of, and_of)
            self._then.append(then)
            for needle in rarest_first(first):
                self._first.setdefault(needle, []).append(number)

    def __call__(self, block: bytes) -> Sequence[Spans]:
        """Return the candidates for each `Wanted`."""
        found: list[dict[int, int]] = [{} for _ in self._wanted]
        lower = block.lower()
        find = lower.find
        for needle, numbers in self._first.items():
            place = find(needle)
            while place >= 0:
                start, end = line_at(lower, place)
                for number in numbers:
                    found[number][start] = end
                place = find(needle, end)
        return [
            tuple((start, end) for start, end in sorted(lines.items()) if not then or holds_one(lower[start:end], then))
            for lines, then in zip(found, self._then, strict=True)
        ]
