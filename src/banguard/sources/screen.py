"""The prefilter of one log: one scan of each block for all jails that read it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence

from banguard.matching.prefilter import Scanner, Wanted, build_scanner
from banguard.sources.base import Prefilter, Spans, Subscription
from banguard.sources.lines import number_of_lines

logger = logging.getLogger("banguard.filter")

# The first lines of a log go to every jail, so that its date detector comes to know the log.
_FIRST_LINES = 100
# Lines after which it is decided whether looking for candidates pays, and how many then go by unscanned if not.
_TRIED_LINES = 1000
_REST_LINES = 20_000
# One of so many lines at most may pass for an estimate of their number to do.
_NEARLY = 8

BuildScanner = Callable[[Sequence[Wanted]], Scanner]


def prefilter_for(path: str, subscriptions: Sequence[Subscription]) -> Prefilter:
    """Return the prefilter of the log *path*, by the fastest engine installed; see `base.PrefilterFor`."""
    return Screen(path, subscriptions)


class _Group:
    """Jails that want the same lines, and how many lines that were of those looked at (of large blocks about)."""

    __slots__ = ("jails", "lines", "passed", "resting", "wanted")

    def __init__(self, wanted: Wanted) -> None:
        self.wanted = wanted
        self.jails: list[str] = []
        self.lines = self.passed = self.resting = 0

    def count(self, lines: int, passed: int) -> None:
        """Note what a scan gave; rest for a while when more than half of the lines pass."""
        self.lines += lines
        self.passed += passed
        if self.lines >= _TRIED_LINES:
            self.resting = _REST_LINES if self.passed * 2 > self.lines else 0
            self.lines = self.passed = 0


def _first_lines(block: bytes, count: int) -> Spans:
    """Return the first lines of a block, at most *count*."""
    spans: list[tuple[int, int]] = []
    start = 0
    while start < len(block) and len(spans) < count:
        end = block.find(b"\n", start)
        end = len(block) if end < 0 else end
        spans.append((start, end))
        start = end + 1
    return tuple(spans)


class Screen:
    """
    Says which lines of a block are candidates for which jail.

    What a jail wants is asked before each block, so that changed rules hold for the next one. A jail that wants every
    line, or most lines of late, is not named in the answer: it gets all of them. Owned by the thread of the source.
    """

    def __init__(self, path: str, subscriptions: Sequence[Subscription], build: BuildScanner = build_scanner) -> None:
        self._path = path
        self._subscriptions = tuple(subscriptions)
        self._build = build
        self._wanted: tuple[Wanted | None, ...] | None = None
        self._groups: list[_Group] = []
        self._scanned: list[_Group] = []
        self._scanner: Scanner | None = None
        self._first = _FIRST_LINES

    def __call__(self, block: bytes) -> Mapping[str, Spans | None]:
        """Return the candidates of each jail that does not get every line."""
        wanted = tuple(each.wanted() for each in self._subscriptions)
        if wanted != self._wanted:
            self._regroup(wanted)
        if not self._groups:
            return {}
        first: Spans = ()
        if self._first:
            lines = block.count(b"\n")
            if lines <= self._first:
                self._first -= lines
                return {}
            first = _first_lines(block, self._first)
            self._first = 0
        else:
            lines = number_of_lines(block)
        awake = [group for group in self._groups if group.resting <= 0]
        if awake != self._scanned or self._scanner is None:
            self._scanner = self._build([group.wanted for group in awake]) if awake else None
            self._scanned = awake
        found: Sequence[Spans] = () if self._scanner is None else self._scanner(block)
        if any(len(spans) * _NEARLY > lines for spans in found):
            lines = block.count(b"\n")
        for group in self._groups:
            group.resting -= lines
        answer: dict[str, Spans | None] = {}
        for group, spans in zip(awake, found, strict=True):
            group.count(lines, len(spans))
            if first:
                behind = first[-1][1]
                spans = (*first, *(span for span in spans if span[0] > behind))
            for jail in group.jails:
                answer[jail] = spans
        return answer

    def _regroup(self, wanted: tuple[Wanted | None, ...]) -> None:
        groups: dict[Wanted, _Group] = {}
        for subscription, each in zip(self._subscriptions, wanted, strict=True):
            if each is not None:
                groups.setdefault(each, _Group(each)).jails.append(subscription.jail)
        self._wanted = wanted
        self._groups = list(groups.values())
        self._scanned = []
        self._scanner = None
        count = sum(each is not None for each in wanted)
        logger.debug("%s: %d of %d jails get candidate lines only", self._path, count, len(wanted))
