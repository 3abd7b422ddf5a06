"""One regex for many: say at once which of several anchored regexes is the first to match a text, or that none is."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence

from banguard.matching.patterns import TOKEN, Pattern

# With fewer regexes the detour costs more than it saves.
_WORTH_IT = 3

_FLAGS = re.compile(r"\(\?([aisu]+)\)")
_NAMED = re.compile(r"\(\?P<(\w+)>")
_USE = re.compile(r"\(\?P=(\w+)\)|\(\?\((\w+)\)")


class Gate:
    """
    The alternation of all anchored regexes of a list, each followed by an empty group that tells which one it was.

    `match` gives None when none of them matches a text, else a match whose `lastindex` is the mark of the first that
    does. `places` tells the place in the list (from 0) for each mark; of regexes without a mark it says nothing.
    """

    __slots__ = ("match", "places")

    def __init__(self, compiled: re.Pattern[str], places: Mapping[int, int]) -> None:
        self.match = compiled.match
        self.places = places


def build_gate(patterns: Sequence[Pattern]) -> Gate | None:
    """Return the gate for *patterns*; None when too few of them can be joined."""
    parts: list[str] = []
    places: dict[int, int] = {}
    groups = 0
    for place, pattern in enumerate(patterns):
        part = _part(pattern.regex, place) if pattern.is_anchored and not pattern.explodes else None
        if part is not None:
            text, kept = part
            groups += kept + 1
            parts.append(f"{text}()")
            places[groups] = place
    if len(parts) < _WORTH_IT:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return Gate(re.compile("|".join(parts)), places)
        except (re.error, ValueError, OverflowError, RecursionError):
            return None


def _part(regex: str, place: int) -> tuple[str, int] | None:
    """
    Return *regex* as a part of the whole, and how many groups it keeps; None when it cannot be one.

    Its anchor goes, since the whole is tried at the start only; groups that nothing refers to catch nothing; those
    that are referred to get a name of their own.
    """
    flags = _FLAGS.match(regex)
    if flags:
        regex = regex[flags.end() :]
    regex = regex[1:] if regex.startswith("^") else regex[2:]
    used = {name for found in _USE.findall(regex) for name in found if name}
    if any(name.isdecimal() for name in used):
        return None
    pieces: list[str] = []
    position = kept = 0
    for token in TOKEN.finditer(regex):
        start = token.start()
        if start < position:
            continue
        if token[0][0] == "\\" and token[0][1:].isdecimal() and token[0] != r"\0":
            return None
        if not token["open"]:
            continue
        pieces.append(regex[position:start])
        position = start + 1
        named = _NAMED.match(regex, start)
        use = _USE.match(regex, start)
        if named:
            position = named.end()
            keep = named[1] in used
            kept += keep
            pieces.append(f"(?P<{named[1]}_{place}>" if keep else "(?:")
        elif use:
            position = use.end()
            pieces.append(f"(?P={use[1]}_{place})" if use[1] else f"(?({use[2]}_{place})")
        else:
            pieces.append("(" if regex.startswith("?", start + 1) else "(?:")
    pieces.append(regex[position:])
    return f"(?{(flags[1] if flags else '').replace('u', '')}:{''.join(pieces)})", kept
