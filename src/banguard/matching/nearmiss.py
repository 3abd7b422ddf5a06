"""
Tell how far a regex gets along a text that it does not match.

The longest beginning of the regex that still matches is found by cutting it at its parts: characters, classes, tags,
groups, and the branches within a group. The cut regexes are compiled and matched as any other, with bounded effort.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from banguard.errors import PatternError
from banguard.matching.bounded import GiveUpError
from banguard.matching.patterns import compile_pattern

_QUANTIFIER = r"(?:(?:[*+?]|\{\d+(?:,\d*)?\}|\{,\d+\})[?+]?)?"
_PART = re.compile(
    rf"""
      (?P<bar> \| )
    | (?P<close> (?: \) | </F-[A-Z0-9_-]+> ) {_QUANTIFIER} )
    | (?P<whole> \(\?(?:[=!\#(]|<[=!]) )
    | (?P<open>
        \( (?: \?(?:P<\w+>|[aiLmsux]*(?:-[imsx]+)?:|>) )?
        | <F-(?!(?:ADDR|IP4|IP6|DNS|CIDR|SUBNET|ID|PORT)/)[A-Z0-9_-]+> )
    | (?P<atom>
        (?: \(\?[aiLmsux]+\) | \(\?P=\w+\)
        | <(?:HOST|ADDR|IP4|IP6|DNS|CIDR|SUBNET|SKIPLINES|F-[A-Z0-9]+/)>
        | \\(?:x[0-9A-Fa-f]{{2}}|u[0-9A-Fa-f]{{4}}|[0-9]+|.) | \[\^?\]?(?:\\.|[^\]\\])*\] | . )
        {_QUANTIFIER} )
    """,
    re.VERBOSE | re.DOTALL,
)
_ANYTHING = re.compile(r"\.[*+]\??\Z")
_MOST_PARTS = 2000
_MOST_TRIALS = 400


@dataclass(frozen=True, slots=True)
class NearMiss:
    """
    The longest beginning of a regex that matches a text, *taken*, and what comes next in the regex, *wanted*.

    *at* is the place in the text where that beginning leaves off; *share* is how much of the regex it is, from 0 to 1.
    """

    taken: str
    wanted: str
    at: int
    share: float


@dataclass(frozen=True, slots=True)
class _Group:
    opening: str
    branches: tuple[tuple[str | _Group, ...], ...]
    closing: str

    @property
    def text(self) -> str:
        return self.opening + "|".join("".join(map(_text, branch)) for branch in self.branches) + self.closing


def _text(part: str | _Group) -> str:
    return part if isinstance(part, str) else part.text


class _Parser:
    """Cuts a regex, as users write it, into parts."""

    def __init__(self, regex: str) -> None:
        self._regex = regex
        self._at = 0
        self._parts = 0

    def branches(self, *, nested: bool) -> tuple[tuple[tuple[str | _Group, ...], ...], str]:
        """Return the branches up to the end of the group, and what ends it; ValueError for what cannot be cut."""
        branches: list[tuple[str | _Group, ...]] = []
        parts: list[str | _Group] = []
        while self._at < len(self._regex):
            found = _PART.match(self._regex, self._at)
            self._parts += 1
            if found is None or self._parts > _MOST_PARTS:
                raise ValueError("no parts")
            self._at = found.end()
            if found["bar"]:
                branches.append(tuple(parts))
                parts = []
            elif found["close"]:
                if not nested:
                    raise ValueError("a bracket too many")
                return (*branches, tuple(parts)), found["close"]
            elif found["whole"]:
                start = found.start()
                self.branches(nested=True)
                parts.append(self._regex[start : self._at])
            elif found["open"]:
                inner, closing = self.branches(nested=True)
                parts.append(_Group(found["open"], inner, closing))
            else:
                parts.append(found["atom"])
        if nested:
            raise ValueError("a bracket too few")
        return (*branches, tuple(parts)), ""


class _Trials:
    """Matches beginnings of regexes on one text; remembers each."""

    def __init__(self, subject: str, *, names: bool, known: dict[str, int | None]) -> None:
        self._subject = subject
        self._names = names
        self._known = known
        self._left = _MOST_TRIALS

    def end(self, regex: str) -> int | None:
        """Return where a match of *regex* ends, None when there is none."""
        if not regex:
            return 0
        if regex not in self._known:
            self._known[regex] = self._try(regex)
        return self._known[regex]

    def _try(self, regex: str) -> int | None:
        self._left -= 1
        if self._left < 0:
            return None
        try:
            found = compile_pattern(regex, names=self._names).find_long(self._subject)
        except (PatternError, GiveUpError):
            return None
        return None if found is None else found.span()[1]


class NearMisses:
    """Finds near misses of several regexes on one text; *names*: as for `compile_pattern`."""

    def __init__(self, subject: str, *, names: bool = True) -> None:
        self._subject = subject
        self._names = names
        self._known: dict[str, int | None] = {}

    def of(self, regex: str) -> NearMiss | None:
        """Return how far *regex* gets; None when it cannot be cut (verbose ones), or nothing of it matches."""
        if re.search(r"\(\?[aiLmsu]*x", regex):
            return None
        try:
            branches, _ = _Parser(regex).branches(nested=False)
        except (ValueError, RecursionError):
            return None
        trials = _Trials(self._subject, names=self._names, known=self._known)
        best: tuple[str, str, int] | None = None
        for branch in branches:
            found = _longest(trials, "", branch, "")
            if best is None or len(found[0]) > len(best[0]):
                best = found
        if best is None or not best[0].strip("^") or _ANYTHING.sub("", best[0].strip("^")) == "":
            return None
        taken, wanted, at = best
        return NearMiss(taken, wanted, at, min(1.0, len(taken) / len(regex)))


def _longest(trials: _Trials, before: str, parts: Sequence[str | _Group], after: str) -> tuple[str, str, int]:
    """Return the longest beginning of *parts* that matches behind *before*, the rest of them, and its place."""
    texts = [_text(part) for part in parts]
    low, high = 0, len(parts)
    while low < high:
        middle = (low + high + 1) // 2
        if trials.end(before + "".join(texts[:middle]) + after) is None:
            high = middle - 1
        else:
            low = middle
    taken = before + "".join(texts[:low])
    end = trials.end(taken + after) or 0
    if low == len(parts):
        return taken, "", end
    missing = parts[low]
    if isinstance(missing, _Group):
        closing = re.match(r"\)|</F-[A-Z0-9_-]+>", missing.closing)
        close = closing[0] if closing else ")"
        tried = [_longest(trials, taken + missing.opening, branch, close + after) for branch in missing.branches]
        deepest = max(tried, key=lambda one: (one[2], len(one[0])))
        if deepest[1] and len(deepest[0]) > len(taken + missing.opening):
            return deepest
    if low and _ANYTHING.search(texts[low - 1]):
        # `.*` takes all there is; what counts is where it began.
        end = trials.end(before + "".join(texts[: low - 1]) + after) or 0
    return taken, "".join(texts[low:]), end
