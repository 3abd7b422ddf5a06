"""
Say of whole blocks which lines may concern a filter, so that all others are thrown away unseen.

A prefilter only ever discards: a line that it lets pass is matched as any other. It looks for texts of which every
line that counts must hold one (see `literals`), on bytes, without regard to case.
"""

from __future__ import annotations

import codecs
import importlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple, Protocol, cast

from banguard.matching.literals import FOLDED, Required, required, share
from banguard.matching.patterns import Pattern
from banguard.matching.rules import FilterRules
from banguard.matching.syntax import parse

if TYPE_CHECKING:
    from banguard.matching.fields import JsonRules

Spans = tuple[tuple[int, int], ...]
Needles = frozenset[bytes]

_BESIDE = "".join(FOLDED.values())
# Codecs in which each character is one byte; of others some can be switched to mean something else by a byte.
_OF_ONE_BYTE = ("iso8859-", "cp125", "koi8-", "mac-")


# How JSON may write ASCII letters and digits, and what equals one when case is ignored (see `literals.FOLDED`).
_ESCAPES = (b"\\u00", *(json.dumps(char)[1:-1].encode() for chars in FOLDED.values() for char in chars))


class Wanted(NamedTuple):
    """
    What a line must hold to be a candidate: one of *any_of*, and one of *and_of* unless that is empty.

    All in lower case; case does not count, but only that of ASCII letters. Without *any_of* no line is a candidate.
    """

    any_of: Needles
    and_of: Needles = frozenset()


class Scanner(Protocol):
    """Finds the candidate lines of a block."""

    def __call__(self, block: bytes) -> Sequence[Spans]:
        """
        Return the candidates for each `Wanted` of the scanner: start and end of the lines, in order.

        *block* holds lines that end in the byte 10, which is not part of a line; the last one may lack it.
        """
        ...


# name → the class that takes the sequence of what is wanted; imported on use. The first that can be had is taken.
ENGINES: Mapping[str, str] = MappingProxyType(
    {
        "hyperscan": "banguard.matching.prefilter_hyperscan:HyperscanScanner",
        "kinds": "banguard.matching.prefilter_kinds:KindsScanner",
        "find": "banguard.matching.prefilter_find:FindScanner",
    }
)


def build_scanner(wanted: Sequence[Wanted], engine: str = "auto") -> Scanner:
    """Return a scanner by one of ENGINES; `auto` is the fastest that is installed. ImportError when it is not."""
    if engine != "auto":
        return _engine(engine)(wanted)
    for name in ENGINES:
        try:
            return _engine(name)(wanted)
        except ImportError:
            continue
    raise AssertionError("one engine needs nothing")


def _engine(name: str) -> Callable[[Sequence[Wanted]], Scanner]:
    module, _, attribute = ENGINES[name].partition(":")
    return cast("Callable[[Sequence[Wanted]], Scanner]", getattr(importlib.import_module(module), attribute))


def line_at(block: bytes, place: int) -> tuple[int, int]:
    """Return start and end of the line in which the byte at *place* stands."""
    end = block.find(b"\n", place)
    return block.rfind(b"\n", 0, place) + 1, len(block) if end < 0 else end


def holds_one(line: bytes, needles: Iterable[bytes]) -> bool:
    """Tell whether *line* (in lower case) holds one of *needles*."""
    for needle in needles:  # noqa: SIM110  a generator costs more than the search
        if needle in line:
            return True
    return False


def wanted(rules: FilterRules, encoding: str, *, counting: bool = False) -> Wanted | None:
    """
    Return what a line in *encoding* must hold for *rules* to say anything but `missed` of it.

    None when every line has to be looked at: the rules match over several lines, or a regex names no text that would
    have to stand in a line, or the encoding hides texts. With *counting* the lines that the prefregex matches are
    candidates too, since its hits are told; unless it is one that matches every line.
    """
    if rules.maxlines > 1:
        return None
    cut = _cut_of(tuple(each.regex for each in rules.detector.templates))
    if rules.looks_into_objects:
        return _wanted_of_fields(cast("JsonRules", rules), encoding, cut=cut)
    any_of = _needles([*rules.failures, *rules.successes], encoding, cut=cut)
    if any_of is not None and rules.ignores_first:
        ignoring = _needles(rules.ignores, encoding, cut=cut)
        any_of = None if ignoring is None else any_of | ignoring
    before = None if rules.prefix is None else _needles([rules.prefix], encoding, cut=cut)
    if counting and rules.prefix is not None and not rules.prefix.matches_every_line:
        return None if before is None or any_of is None else Wanted(any_of | before)
    if before is None or rules.ignores_first:
        return None if any_of is None else Wanted(any_of)
    return Wanted(before) if any_of is None else Wanted(any_of, before)


def _wanted_of_fields(rules: JsonRules, encoding: str, *, cut: str | None) -> Wanted | None:
    """Return what a line must hold for the fields of its object, or the line itself, to match."""
    beside = _written_beside(_codec(encoding))
    if beside is None:
        return None
    needles = set(_ESCAPES)
    if rules.regexes or rules.successes:
        text = _needles(
            (*rules.regexes, *rules.successes, *(rules.ignores if rules.ignores_first else ())), encoding, cut=cut
        )
        if text is None:
            return None
        needles |= text
    for rule in rules.field_rules:
        found = rule.required()
        if found is None:
            return None
        needles.update(piece.encode("ascii") for piece in found.texts)
        needles.update(other for letter in found.folded for other in beside.get(letter, ()))
    return Wanted(frozenset(_shortest(needles)))


# Most filters have the same templates.
@lru_cache(maxsize=4)
def _cut_of(templates: tuple[str, ...]) -> str | None:
    """
    Return the characters directly behind which a date of one of these regexes may be cut out; None for anywhere.

    Nothing is said of dates at the line's beginning, or behind at most two characters there that belong to no word.
    """
    cut = ""
    for regex in templates:
        parsed = parse(regex)
        if parsed is None:
            return None
        names = [str(code) for code, _ in parsed[0]]
        date = next(
            (at for at, (code, value) in enumerate(parsed[0]) if str(code) == "SUBPATTERN" and value[0] == 1), None
        )
        if date is None:
            return None
        if names[:date] == ["AT"] or (names[:date] == ["AT", "MAX_REPEAT"] and regex.startswith(r"^\W{0,2}(")):
            if not regex.startswith("^"):
                return None
        elif date and names[date - 1] == "LITERAL":
            cut += chr(parsed[0][date - 1][1])
        else:
            return None
    return cut


def _needles(patterns: Iterable[Pattern], encoding: str, *, cut: str | None) -> Needles | None:
    """Return the texts of which one stands in each line that one of *patterns* matches; None when that is not sure."""
    beside = _written_beside(_codec(encoding))
    if beside is None:
        return None
    needles: set[bytes] = set()
    for pattern in patterns:
        found: Required | None = required(pattern.regex, pattern.flags, cut=cut)
        if found is None:
            return None
        needles.update(text.encode("ascii") for text in found.texts)
        needles.update(other for letter in found.folded for other in beside.get(letter, ()))
    return frozenset(_shortest(needles))


def _shortest(needles: set[bytes]) -> Iterable[bytes]:
    """Leave out what holds another."""
    return (text for text in needles if not any(other in text for other in needles if other != text))


def _codec(encoding: str) -> str:
    try:
        return "utf-8" if encoding.lower() == "auto" else codecs.lookup(encoding).name
    except LookupError:
        return ""


@lru_cache(maxsize=32)
def _written_beside(codec: str) -> Mapping[str, tuple[bytes, ...]] | None:
    """
    Return how *codec* writes the characters that equal an ASCII letter when case is ignored.

    None when ASCII characters are not always written as their own bytes.
    """
    if codec not in {"utf-8", "ascii"}:
        if not codec.startswith(_OF_ONE_BYTE):
            return None
        try:
            texts = [bytes([code]).decode(codec, "replace") for code in range(256)]
        except (LookupError, UnicodeError):
            return None
        if texts[:128] != [chr(code) for code in range(128)] or any(text.isascii() for text in texts[128:]):
            return None
    return {
        letter: tuple(char.encode(codec, "ignore") for char in chars if char.encode(codec, "ignore"))
        for letter, chars in FOLDED.items()
    }


def rarity(needles: Iterable[bytes]) -> float:
    """Return a rough guess of the share of lines in which one of *needles* stands, as a sum over them."""
    return sum(share(text.decode("latin-1")) for text in needles)


def rarest_first(needles: Iterable[bytes]) -> list[bytes]:
    """Sort *needles* so that the one that says most comes first."""
    return sorted(needles, key=lambda text: (share(text.decode("latin-1")), text))
