"""Read the JSON object of a log line, and look for fields in it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from typing import cast

from banguard.errors import PatternError
from banguard.message import Message, tell

_MOST_PARTS = 8
_FAR = 300
_DEEPEST = 60

_DATE = r"""(?:[A-Z][a-z]{2}\ {1,2}\d{1,2}\ [\d:.]{8,15} | \d{4}-\d\d-\d\d[T\ ][\d:.,]{8,18}(?:Z|\ ?[+-][\d:]{4,6})?)"""
# What stands in front of the object, at most: what syslog, the journal, containers and their tools write.
_BEFORE = re.compile(
    rf"""\s*(?:<\d{{1,3}}>(?:1\ )?)?
    (?:{_DATE}\s+)?
    (?:
        (?:stdout|stderr)\ F\s+
      | [\w./-]+\s+\|\s+(?:{_DATE}\s+)?
      | (?:[\w.:-]+\ +)?[\w./-]+(?:\[\d+\])?:\s+(?:@cee:\s*)?
      | [\w.:-]+\ [\w./-]+\ \S{{1,48}}\ \S{{1,32}}\ -\ (?:\ufeff)?(?:@cee:\s*)?
      | @cee:\s*
    )?
    (?=\{{)""",
    re.VERBOSE,
)
# They have no place in one line of a log, a mail or a terminal.
_UNFIT = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_STRING = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_NO_BRACKET = re.compile(r"[^\[\]{}]+")
_STEPS = {"[": 1, "{": 1, "]": -1, "}": -1}
_IN_CONTAINER = frozenset(("log", "stream", "time"))
_TWICE = object()


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Return an object with the ASCII letters of its names in lower case; a name that stands twice has no value."""
    found: dict[str, object] = {}
    for name, value in pairs:
        key = name.lower() if name.isascii() else name
        found[key] = _TWICE if key in found else value
    return found


# Numbers stay as they are written: nothing is rounded, and none is too long.
_decode = json.JSONDecoder(object_pairs_hook=_object, parse_float=str, parse_int=str, parse_constant=str).raw_decode

Path = tuple[str, ...]


def bad_name(name: str) -> Message:
    """Return what is wrong with the *name* of a field."""
    return tell(
        "bad name of a field: {name!r}; expected 1 to {most} names with dots between",
        code="field-name",
        name=name,
        most=_MOST_PARTS,
    )


def parse_path(name: str) -> Path:
    """Return the parts of the dotted *name* of a field; raise PatternError when there is an empty one, or too many."""
    parts = tuple(part.lower() if part.isascii() else part for part in name.split("."))
    if not all(parts) or len(parts) > _MOST_PARTS:
        raise PatternError(bad_name(name), pattern=name)
    return parts


class Record:
    """
    The JSON object of one line.

    *before* is the text in front of it. A field is named by a path: names of nested objects, also of a name that holds
    dots itself, and numbers for the places of a list (from 0; -1 is the last one). Its text is that of a string, with
    control characters and halves of surrogate pairs as U+FFFD, and what JSON writes for numbers, `true`, `false` and
    `null`. An object or a list has none; nor has a field that could be meant twice.
    """

    __slots__ = ("_known", "_value", "before", "outer")

    def __init__(self, value: Mapping[str, object], before: str, outer: Record | None = None) -> None:
        self._value = value
        self._known: dict[Path, str | None] = {}
        self.before = before
        self.outer = outer
        """The object of the container's log in whose `log` this one stood."""

    def text(self, path: Path) -> str | None:
        """Return the text of a field; None when it is missing."""
        try:
            return self._known[path]
        except KeyError:
            found = self._known[path] = _text(_look(self._value, path))
            return found

    def first(self, paths: Iterable[Path]) -> str | None:
        """Return the text of the first of these fields that is there."""
        texts = (self.text(path) for path in paths)
        return next((text for text in texts if text), None)


def read_record(line: str) -> Record | None:
    """
    Return the object that *line* ends with; None when there is none.

    In front of it may stand only what syslog, the journal and containers put there. A line that does not end with its
    object has none, nor has one that is nested deeper than 60 levels. The log of a container as Docker keeps it, with
    the line as a text in `log`, is looked into. See RFC 8259.
    """
    if line[:1] == "{":
        before = ""
    else:
        opening = _BEFORE.match(line, 0, _FAR)
        if opening is None:
            return None
        before = opening[0]
    value = _value(line, len(before))
    if value is None:
        return None
    record = Record(value, before)
    if value.keys() >= _IN_CONTAINER and len(value) <= 4 and value["stream"] in ("stdout", "stderr"):
        inner = value["log"]
        if isinstance(inner, str) and inner[:1] == "{":
            found = _value(inner, 0)
            if found is not None:
                return Record(found, before, record)
    return record


def _value(text: str, at: int) -> Mapping[str, object] | None:
    if text.count("{") + text.count("[") > _DEEPEST and _depth(text, at) > _DEEPEST:
        return None
    try:
        value, end = _decode(text, at)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict) or text[end:].strip():
        return None
    return cast("dict[str, object]", value)


def _depth(text: str, at: int) -> int:
    """Return how deep brackets outside of strings are nested."""
    brackets = _NO_BRACKET.sub("", _STRING.sub("", text[at:]))
    return max(accumulate(map(_STEPS.__getitem__, brackets)), default=0)


def _look(value: object, path: Sequence[str]) -> list[object]:
    """Return each value that *path* can mean."""
    if not path:
        return [value]
    if isinstance(value, dict):
        found: list[object] = []
        for end in range(1, len(path) + 1):
            key = path[0] if end == 1 else ".".join(path[:end])
            if key in value:
                found += _look(value[key], path[end:])
        return found
    if isinstance(value, list) and path[0].removeprefix("-").isdecimal():
        index = int(path[0])
        return _look(value[index], path[1:]) if -len(value) <= index < len(value) else []
    return []


def _text(values: list[object]) -> str | None:
    if len(values) != 1:
        return None
    value = values[0]
    if isinstance(value, str):
        return value if value.isascii() and value.isprintable() else _UNFIT.sub("\ufffd", value)
    if value is None:
        return "null"
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else None
