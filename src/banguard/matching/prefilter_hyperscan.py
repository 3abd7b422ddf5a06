"""A prefilter by Hyperscan (or Vectorscan): all texts of all jails in one pass, at memory speed."""

from __future__ import annotations

from collections.abc import Sequence

import hyperscan

from banguard.matching.prefilter import Needles, Spans, Wanted, holds_one, line_at, rarity


class HyperscanScanner:
    """
    Looks for the texts of all that is wanted at once.

    See `prefilter.Scanner`. It compiles to tables, not to machine code: memory that is written is never executed.
    """

    __slots__ = ("_database", "_numbers", "_then", "_wanted")

    def __init__(self, wanted: Sequence[Wanted]) -> None:
        self._wanted = wanted
        # What is then looked for in lines.
        self._then: list[Needles] = []
        numbers: dict[bytes, list[int]] = {}
        for number, (any_of, and_of) in enumerate(wanted):
            # All of them cost the same, but for each place where one is.
            first, then = (and_of, any_of) if and_of and rarity(and_of) < rarity(any_of) else (any_of, and_of)
            self._then.append(then)
            for needle in sorted(first):
                numbers.setdefault(needle, []).append(number)
        self._numbers = list(numbers.values())
        self._database: hyperscan.Database | None = None
        if numbers:
            self._database = hyperscan.Database(mode=hyperscan.HS_MODE_BLOCK)
            self._database.compile(
                expressions=[_escaped(needle) for needle in numbers],
                ids=list(range(len(numbers))),
                flags=[hyperscan.HS_FLAG_CASELESS] * len(numbers),
            )

    def __call__(self, block: bytes) -> Sequence[Spans]:
        """Return the candidates for each `Wanted`."""
        if self._database is None:
            return [()] * len(self._wanted)
        # While the scan goes on only the places are noted: each call from there costs.
        places: list[tuple[int, int]] = []
        note = places.append

        def on_match(which: int, _start: int, end: int, _flags: int, _context: object) -> None:
            note((end, which))

        self._database.scan(block, match_event_handler=on_match)
        places.sort()
        return [
            tuple(lines)
            if not then
            else tuple((start, end) for start, end in lines if holds_one(block[start:end].lower(), then))
            for lines, then in zip(self._lines(block, places), self._then, strict=True)
        ]

    def _lines(self, block: bytes, places: Sequence[tuple[int, int]]) -> list[list[tuple[int, int]]]:
        """Return for each `Wanted` the lines that hold its texts; *places* are ends and numbers of texts, in order."""
        found: list[list[tuple[int, int]]] = [[] for _ in self._wanted]
        numbers = self._numbers
        line = (0, 0)
        stop = 0
        for end, which in places:
            if end > stop:
                line = line_at(block, end - 1)
                stop = line[1]
            for number in numbers[which]:
                lines = found[number]
                if not lines or lines[-1] is not line:
                    lines.append(line)
        return found


def _escaped(needle: bytes) -> bytes:
    return b"".join(b"\\x%02x" % byte for byte in needle)
