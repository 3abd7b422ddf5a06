"""It is known beforehand which regexes a hostile line could keep busy."""

from __future__ import annotations

import re
import time

import pytest

from banguard.matching.hazard import ENDLESS, explodes, safe_length


@pytest.mark.parametrize(
    "regex",
    [
        "(a+)+b",
        "(?:a*)*b",
        "(?:a|a)*b",
        "(?:a|ab|b)*c",
        r"(?:[^\]\"]*|\"[^\"]*\")*\]",
        r"smtp: (?:[^\[]+ )*\[",
        r"(?:: (?:\w+\([^\):]*\) \w+|[^\(]+))* \(x\)",
        r"(?: \S+=(?:\S*|\"[^\"]+\"))* end",
        r"(?:\s(?!err)\S+=\S*)* err",
        r"(?:\w+\s?)*x",
        r"(?:\d+[.]?)+,",
        "(?:a?b?)*c",
        "(?:(?:ab)+|a(?:ba)*b)*c",
        "(?P<x>a)(?:(?(x)b|b)b*)*c",
        "(?:x+){2,100}y",
        "(?:x?){30}y",
        "(?:x+){30}y",
    ],
)
def test_explosive(regex):
    """Repeats in which the same characters can be shared out in many ways are found."""
    assert explodes(regex)


@pytest.mark.parametrize(
    "regex",
    [
        "a+b",
        "(?:ab)*c",
        "(?:a+b)*c",
        r"(?:\s+user=\S*)*\s*$",
        r"^(?:\S+\s+)*x",
        r"(?:,\w+=\"[^\"]*\")*$",
        r"(?:[0-9a-f]{1,4}:{1,2}|:{2}){1,7}",
        r"(?:\d{1,3}\.){3}\d{1,3}",
        r"(?:(?! from ).)*",
        r"(?:.*\n)*?x",
        r"(?:a|b)*c",
        r"(?:foo|bar|baz)+",
    ],
)
def test_not_explosive(regex):
    """Repeats whose rounds can be told apart are not suspected."""
    assert not explodes(regex)


@pytest.mark.parametrize(
    ("regex", "expected"),
    [
        ("^abc$", ENDLESS),
        (r"^\d+ \S+ x", ENDLESS),
        (r"^\s*\S+\s*$", ENDLESS),
        (r"^a*a*b", 2000),
        (r"^a*a*a*b", 228),
        (r"^.*.*.*.*b", 83),
        (r"^.* from .*$", 5656),
    ],
)
def test_safe_length(regex, expected):
    """The more loops in a row can share the same characters, the shorter the text that is safe."""
    assert expected == safe_length(regex, is_anchored=True)


def test_unanchored_search_is_one_loop_more():
    """A search that may begin anywhere tries every place."""
    assert safe_length("a*b", is_anchored=True) > safe_length("a*b", is_anchored=False)


@pytest.mark.parametrize("regex", [r"^a*a*a*b", r"^(?:\S+|.*?)x(?:\S+|.*?)\s*$", r"^\s*(?:\S+\s+)?(?:\S*x\S*\s+)?y"])
def test_safe_text_is_quick(regex):
    """Text of the safe length, made to be slow, takes no longer than promised."""
    length = safe_length(regex, is_anchored=True)
    for pump in ("a", "x", " ", "ax", " x"):
        began = time.thread_time()
        re.search(regex, (pump * length)[:length] + "\n\n")
        assert time.thread_time() - began < 1
