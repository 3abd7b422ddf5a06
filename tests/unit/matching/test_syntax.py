"""Regexes are read as Python's own parser reads them."""

from __future__ import annotations

import re

import pytest

from banguard.matching.syntax import SINGLE, character_class, compile_class, parse


def test_items_and_flags():
    """A regex is a list of items, and flags that hold for all of it."""
    items, flags = parse("(?i)a(b)?")
    assert ["LITERAL", "MAX_REPEAT"] == [str(code) for code, _ in items]
    assert flags & re.IGNORECASE


@pytest.mark.parametrize("regex", ["(", "[z-a]", "a**"])
def test_no_regex(regex):
    """What is no regex is None, not an error: it was refused elsewhere."""
    assert parse(regex) is None


@pytest.mark.parametrize(
    "regex",
    ["a", "[^a]", ".", r"\d", r"[^\d\sx-z]", r"[\w.-]", r"\S", "[]]", r"[\]^-]", "[^^]", "é", r"\W", r"[\D]", "\n"],
)
@pytest.mark.parametrize("flags", [0, re.IGNORECASE, re.ASCII, re.DOTALL, re.IGNORECASE | re.ASCII])
def test_class_means_what_the_regex_means(regex, flags):
    """One item, written again, matches the same characters."""
    items, found = parse(regex, flags)
    ((code, value),) = items
    assert str(code) in SINGLE
    again = compile_class(character_class(code, value), found)
    slow = re.compile(regex, flags)
    for char in "aAbxyzXZ09 \n\t.-^]é\xc9٣ſK\u2028_":
        assert (slow.match(char) is None) == (again.match(char) is None), repr(char)
