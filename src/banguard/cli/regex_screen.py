"""Pass over the lines that the server's prefilter would throw away, and count what the report tells of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from operator import itemgetter
from typing import TYPE_CHECKING

from banguard.cli.regex_lines import Batch, Prepared, lines_of
from banguard.matching.prefilter import build_scanner, wanted

if TYPE_CHECKING:
    from banguard.cli.regex_report import Lines
    from banguard.matching import FilterRules
    from banguard.matching.prefilter import Scanner

# Lines tried at a time while it is not clear yet whether the missed ones will be printed.
_FEW = 32
# Blocks that are not scanned after one of which most lines passed.
_REST = 16
# Dates of a block that are looked for one by one.
_MOST_BEGINNINGS = 24
# So many bytes are looked through for the last line that begins as one before.
_NEAR = 4096


class Shortcut:
    """
    Turns blocks into the lines that must be tried; those left out are missed, and counted as such in *missed*.

    A line is left out only when it is also plain what date it has: the report counts the hits of date templates, and
    later lines may take over its date. *rules* get the hits that the lines would have given them.
    """

    def __init__(self, rules: FilterRules, scanner: Scanner, missed: Lines, now: float, encoding: str) -> None:
        self._rules = rules
        self._scanner = scanner
        self._missed = missed
        self._now = now
        self._encoding = encoding
        self._resting = 0

    def batches(self, blocks: Iterable[Prepared]) -> Iterator[Batch]:
        """Yield the lines of *blocks* to be tried, in order."""
        for data, spans, _ in blocks:
            if spans is not None:
                yield lines_of((data, spans, 0), self._encoding)
                continue
            at = 0
            while at < len(data) and self._wants_missed():
                end = _behind_lines(data, at, _FEW)
                yield lines_of((data[at:end], None, 0), self._encoding)
                at = end
            if at < len(data):
                yield self._candidates(data[at:] if at else data)

    def _wants_missed(self) -> bool:
        missed = self._missed
        return missed.limit is None or missed.count < missed.limit

    def _candidates(self, data: bytes) -> Batch:
        if self._resting:
            self._resting -= 1
            return lines_of((data, None, 0), self._encoding)
        # The last line is always tried: a line after it may take over its date.
        last = (data.rfind(b"\n", 0, len(data) - 1) + 1, len(data) - 1)
        spans = self._scanner(data)[0]
        if not spans or spans[-1] != last:
            spans = (*spans, last)
        total = _number_of_lines(data)
        if len(spans) * 2 > total:
            self._resting = _REST
            return lines_of((data, None, 0), self._encoding)
        if not self._are_dated(data, total):
            return lines_of((data, None, 0), self._encoding)
        left_out = total - len(spans)
        self._rules.detector.again(left_out, self._now)
        if self._rules.prefix is not None:
            self._rules.prefix.hits += left_out
        self._missed.count += left_out
        return lines_of((data, spans, 0), self._encoding)

    def _are_dated(self, data: bytes, total: int) -> bool:
        """Tell whether each line begins with a date by the template that won last, and is none that is passed over."""
        reach = self._rules.detector.reach(data[: data.find(b"\n")].decode("latin-1"))
        if not reach:
            return False
        beginnings = _in_order(data, reach, total)
        if not beginnings:
            beginnings = set(map(itemgetter(slice(0, reach)), data.split(b"\n")[:-1]))
            if len(beginnings) * 4 > total:
                return False
        return all(
            each.isascii() and each[0:1] != b"#" and self._rules.detector.decides(each.decode("ascii"))
            for each in beginnings
        )


def _in_order(data: bytes, length: int, total: int) -> set[bytes]:
    """
    Return how the lines of *data* begin, so many bytes of each, when lines that begin alike follow each other.

    Else nothing, also when that would take long.
    """
    beginnings: set[bytes] = set()
    at = covered = 0
    while at < len(data):
        beginning = data[at : at + length]
        if len(beginnings) == _MOST_BEGINNINGS or b"\n" in beginning or beginning in beginnings:
            return set()
        beginnings.add(beginning)
        at, after = _last_of(data, at, beginning), at
        covered += 1 + data.count(b"\n" + beginning, after, at + length)
        at = data.find(b"\n", at) + 1 or len(data)
    return beginnings if covered == total else set()


def _last_of(data: bytes, at: int, beginning: bytes) -> int:
    """Return where the last of the lines begins that begin as the one at *at* does, if they follow each other."""
    end = len(data)
    while end - at > _NEAR:
        middle = (at + end) // 2
        line = data.find(b"\n", middle, end) + 1
        if line and data.startswith(beginning, line):
            at = line
        else:
            end = middle
    return max(at, data.rfind(b"\n" + beginning, at, end + len(beginning)) + 1)


def _number_of_lines(data: bytes) -> int:
    """Return how many newlines there are; twice as fast as to count them."""
    return len(data) - len(data.replace(b"\n", b""))


def shortcut(rules: FilterRules, missed: Lines, now: float, encoding: str) -> Shortcut | None:
    """Return the shortcut for *rules*; None when every line has to be tried."""
    if rules.looks_into_objects or (rules.prefix is not None and rules.prefix.explodes):
        return None
    what = wanted(rules, encoding, counting=True)
    return None if what is None else Shortcut(rules, build_scanner([what]), missed, now, encoding)


def _behind_lines(data: bytes, at: int, count: int) -> int:
    """Return the offset behind *count* lines from *at* on, or behind all."""
    for _ in range(count):
        at = data.find(b"\n", at) + 1
        if not at:
            return len(data)
    return at
