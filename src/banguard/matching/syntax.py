"""The parts of a regex as Python's own parser sees them: single characters, groups, repeats, assertions."""

from __future__ import annotations

import importlib
import re
import warnings
from collections.abc import Sequence
from typing import Any

_PARSER = importlib.import_module("re._parser")
_CONSTANTS = importlib.import_module("re._constants")

MAXREPEAT = _CONSTANTS.MAXREPEAT
"""The number of repeats that means: without end."""

LITERAL = _CONSTANTS.LITERAL

# The flags of `re` as numbers: its own take ten times as long to compare.
ASCII, DOTALL, IGNORECASE, MULTILINE = map(int, (re.ASCII, re.DOTALL, re.IGNORECASE, re.MULTILINE))
IN_CLASS = ASCII | DOTALL | IGNORECASE
"""Those that matter to which character a class takes."""

# Codes of the parser, by their names in `re`.
Items = Sequence[tuple[Any, Any]]


def parse(regex: str, flags: int = 0) -> tuple[Items, int] | None:
    """Return the items of *regex* and the flags that hold for all of it; None when it cannot be parsed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            parsed = _PARSER.parse(regex, flags)
    except (re.error, ValueError, OverflowError, RecursionError):
        return None
    return parsed, parsed.state.flags


SINGLE = frozenset({"LITERAL", "NOT_LITERAL", "IN", "ANY", "RANGE", "CATEGORY"})

_CATEGORIES = {
    "CATEGORY_DIGIT": r"\d",
    "CATEGORY_NOT_DIGIT": r"\D",
    "CATEGORY_SPACE": r"\s",
    "CATEGORY_NOT_SPACE": r"\S",
    "CATEGORY_WORD": r"\w",
    "CATEGORY_NOT_WORD": r"\W",
}


def _escaped(number: int) -> str:
    return f"\\U{number:08x}"


def character_class(code: object, value: Any) -> str:
    """Return the regex of an item that matches single characters."""
    name = str(code)
    if name == "LITERAL":
        return _escaped(value)
    if name == "NOT_LITERAL":
        return f"[^{_escaped(value)}]"
    if name == "ANY":
        return "."
    return f"[{''.join(_member(str(kind), item) for kind, item in value)}]"


def compile_class(text: str, flags: int) -> re.Pattern[str]:
    """Compile a regex made of classes, with those of the *flags* that matter to these."""
    return re.compile(text, flags & IN_CLASS)


def _member(name: str, value: Any) -> str:
    if name == "NEGATE":
        return "^"
    if name == "LITERAL":
        return _escaped(value)
    if name == "RANGE":
        return f"{_escaped(value[0])}-{_escaped(value[1])}"
    return _CATEGORIES[str(value)]
