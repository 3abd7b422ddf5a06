"""Only regexes that can match are tried: the verdict is that of trying each."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from banguard.matching.chooser import Chooser
from banguard.matching.patterns import compile_pattern

PATTERNS = [
    r"^fail <HOST>$",
    r"^(?i)ERROR (a|b) from <HOST>",
    r"^<F-USER>(?P<cond>\S+)|.*?</F-USER> by <HOST>(?(cond) x|$)",
    r"^(?P<q>['\"])<F-USER>.*</F-USER>(?P=q) <HOST>$",
    r"unanchored <HOST>",
    r"^(\w)\1 <HOST>$",
    r"^[(|] \(<HOST>\)",
    r"^(?!no)(?:yes|yeah) <HOST>",
    r"\Aabc <HOST>",
    r"^(?=x)(?>x+) <HOST>",
    r"^a{3}(?:bc){2}d?<HOST>",
    r"(?i)denied for <HOST>",
    r"^(?:<HOST>)?",
    r"^é+ <HOST>$",
    r"^(?:a|b)*c <HOST>",
    r"^[jJ]oe <HOST>",
]
COMPILED = [compile_pattern(text) for text in PATTERNS]

pieces = st.lists(
    st.sampled_from(
        ["fail ", "Error ", "a from ", "1.2.3.4", "joe", " by ", " x", "'", '" ', "unanchored ", "aa ", "| (", ")", "yes ", "no", "abc ", "xx ", "aaabcbc", "DENIED FOR ", "éé ", "ſ", "bac ", " ", ""]
    ),
    max_size=6,
).map("".join)  # fmt: skip


def matching(finders, text: str) -> list[int]:
    return [number for number, find in finders if find(text) is not None]


@settings(max_examples=400, deadline=None)
@given(st.lists(st.integers(0, len(PATTERNS) - 1), min_size=1, max_size=6), st.lists(pieces, min_size=1, max_size=4))
def test_nothing_that_matches_is_left_out(chosen, texts):
    """The finders handed out match where those of all regexes match, in the same order, the second time as the first."""
    patterns = [COMPILED[place] for place in chosen]
    chooser = Chooser(patterns)
    for text in [*texts, *texts]:
        slow = [number for number, pattern in enumerate(patterns, 1) if pattern.find(text + "\n") is not None]
        assert slow == matching(chooser(text + "\n"), text + "\n")


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("fail 1.2.3.4", [1, 4]),
        ("FAIL", [4]),
        ("fake", [4]),
        ("Joe 1", [4, 5]),
        ("joke", [4]),
        ("falter", [4]),
        ("error a from", [4]),
        ("error a from 1", [2, 4]),
        ("unanch", [4]),
        ("é", [4]),
        ("éa", [4]),
        ("f", [4]),
    ],
)
def test_what_is_tried(text, numbers):
    """By the beginning of a text most regexes are ruled out; one that is not bound to the start is always there."""
    chooser = Chooser(
        [compile_pattern(each) for each in (PATTERNS[0], PATTERNS[1], r"^ab* <HOST>", PATTERNS[4], PATTERNS[-1])]
    )
    assert numbers == [number for number, _ in chooser(text + "\n")]


def test_memory_is_bounded():
    """Beginnings that an attacker makes up are not remembered without end; then all regexes are tried."""
    chooser = Chooser(COMPILED)
    for number in range(3000):
        chooser(f"{number:04d} x\n")
    assert len(chooser.short) + len(chooser._long) <= 512
    assert len(COMPILED) == len(chooser("new and unknown\n"))
