"""Tests of banguard.matching.nearmiss."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from banguard.matching.nearmiss import NearMisses
from banguard.matching.patterns import compile_pattern

LINE = "Failed password for root from 192.0.2.1 prt 22\n"


@pytest.mark.parametrize(
    ("regex", "taken", "wanted", "left"),
    [
        (r"^Failed password for (\S+) frm <HOST>$", r"^Failed password for (\S+) fr", "m <HOST>$", "om 192.0.2.1"),
        (r"^Failed \S+ for <F-USER>\S+</F-USER> from <HOST> port", r" from <HOST> p", "ort", "rt 22"),
        (r"^Failed (?:key|pass(?:phrase|wort)) <HOST>", "^Failed (?:pass(?:wor", "t", "d for"),
        (r"^Failed .* by <HOST>", "^Failed .* ", "by <HOST>", "22"),
        (r"^Failed password \d{1,3} <HOST>", "^Failed password ", r"\d{1,3} <HOST>", "for root"),
        (r"^Failed[ ]password(?= by) <HOST>", "^Failed[ ]password", "(?= by) <HOST>", " for"),
        (r"^<F-NOFAIL>Failed</F-NOFAIL> (?P<x>pa)(?P=x) <HOST>", "(?P<x>pa)", "(?P=x) <HOST>", "ssword"),
    ],
)
def test_the_longest_beginning_that_matches_is_told(regex, taken, wanted, left):
    """So much of the regex matches, that comes next in it, and there the line goes on."""
    found = NearMisses(LINE).of(regex)
    assert found is not None
    assert found.taken.endswith(taken) or found.taken == taken
    assert wanted == found.wanted
    assert LINE[found.at :].startswith(left)


@pytest.mark.parametrize("regex", [r"^Connection closed by <HOST>", r"(?x) ^Failed \ by <HOST>", r".* by <HOST>", "(a"])
def test_what_does_not_even_begin_to_match_is_no_near_miss(regex):
    """Nor is a wildcard alone, nor a regex that cannot be cut."""
    found = NearMisses("Xailed\n").of(regex)
    assert found is None


def test_of_alternatives_the_nearest_counts():
    """A regex that is several is as near as the nearest of them."""
    found = NearMisses(LINE).of("^Accepted <HOST>|^Failed password by <HOST>")
    assert found is not None
    assert "^Failed password " == found.taken


def test_a_line_made_to_cost_costs_nothing_here():
    """Each beginning is matched with bounded effort."""
    assert NearMisses("a" * 5000 + "\n").of(r"^(?:a+)+(?:a+)+b<HOST>") is not None


@given(
    st.lists(
        st.sampled_from(["a", "b", r"\d", "[ab]", "(?:a|b)+", "(a)?", ".", "x*", r"\w+?"]), min_size=1, max_size=8
    ),
    st.text("ab1 x", max_size=12),
)
def test_what_is_said_to_match_does(parts, text):
    """The part taken, its groups closed, matches the text."""
    regex = "^" + "".join(parts) + "!<HOST>"
    found = NearMisses(text + "\n").of(regex)
    if found is not None:
        closed = found.taken + ")" * (found.taken.count("(") - found.taken.count(")"))
        assert compile_pattern(closed).find_long(text + "\n") is not None
        assert not compile_pattern(regex).find_long(text + "\n")
