"""Regexes that match every line."""

from __future__ import annotations

import re

import pytest

from banguard.matching.universal import matches_every_line

LINES = ["x", " ", "Failed for root", "\t\r", "é\u2028", "a b c: d"]


@pytest.mark.parametrize(
    "regex",
    [r"^(?P<a>(?:\S+\s+)?(?:x|y?)\s*)(?:error: )?(?P<content>.+)$", ".+", "^.*$", r"^(?:\d+)?.*?", r"(a?){2}.+"],
)
def test_yes(regex):
    """Nothing need be there but the whole line."""
    assert matches_every_line(regex)
    for line in LINES:
        assert re.search(regex, line + "\n")


@pytest.mark.parametrize(
    "regex",
    [
        r"^x.+$",
        r"^\s*$",
        r"^.{2,}$",
        r"(?=x).+",
        r"^(?:x|y).+$",
        r"a^.+",
        r"^.+$x?",
        r"^\S+$",
        "(",
        r"(?m)^.+$",
        r".+.+",
    ],
)
def test_no(regex):
    """Something must be there, or it is not plain that nothing must."""
    assert not matches_every_line(regex)
