"""A prefilter by Hyperscan (or Vectorscan): all texts of all jails in one pass, at memory speed."""

from __future__ import annotations

from collections.abc import Sequence

import hyperscan

from banguard.matching.prefilter import Needles, Spans, Wanted, holds_one, line_at


class HyperscanScanner:
    """
    Looks for the texts of all that is wanted at once.

    See `prefilter.Scanner`. It compiles to tables, not to machine code: memory that is written is never executed.
    """

    __slots__ = ("_block", "_database", "_ends", "_found", "_numbers", "_starts", "_then", "_wanted")

    def __init__(self, wanted: Sequence[Wanted]) -> None:
        self._wanted = wanted
        self._then: list[Needles] = [each.and_of for each in wanted]
        numbers: dict[bytes, list[int]] = {}
        for number, each in enumerate(wanted):
            for needle in sorted(each.any_of):
                numbers.setdefault(needle, []).append(number)
        self._numbers = list(numbers.values())
        self._block = b""
        self._found: list[dict[int, int]] = []
        self._starts: list[int] = []
        self._ends: list[int] = []
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
        self._found = [{} for _ in self._wanted]
        self._starts = [0] * len(self._wanted)
        self._ends = [0] * len(self._wanted)
        if self._database is not None:
            self._block = block
            self._database.scan(block, match_event_handler=self._on_match)
            self._block = b""
        return [
            tuple(
                (start, end)
                for start, end in sorted(lines.items())
                if not then or holds_one(block[start:end].lower(), then)
            )
            for lines, then in zip(self._found, self._then, strict=True)
        ]

    def _on_match(self, which: int, _start: int, end: int, _flags: int, _context: object) -> None:
        """Take a text that ends before byte *end*; texts of the same line follow each other, mostly."""
        starts, ends = self._starts, self._ends
        for number in self._numbers[which]:
            if not starts[number] < end <= ends[number]:
                start, stop = line_at(self._block, end - 1)
                starts[number] = start
                self._found[number][start] = ends[number] = stop


def _escaped(needle: bytes) -> bytes:
    return b"".join(b"\\x%02x" % byte for byte in needle)
