"""Many regexes tried as one give the verdict that trying each gives."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from banguard.errors import PatternError
from banguard.matching.gate import build_gate
from banguard.matching.patterns import compile_pattern


def slow_first(patterns, subject: str) -> int | None:
    """Try each anchored pattern in turn: the slow twin of the gate."""
    for place, pattern in enumerate(patterns):
        if pattern.is_anchored and pattern.find(subject) is not None:
            return place
    return None


def fast_first(gate, subject: str) -> int | None:
    found = gate.match(subject)
    return None if found is None else gate.places[found.lastindex or 0]


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
]


@pytest.mark.parametrize(
    "subject",
    [
        "fail 192.0.2.1\n",
        "error a from 192.0.2.1\n",
        "Error c from 192.0.2.1\n",
        "joe by 192.0.2.1 x\n",
        "joe by 192.0.2.1 y\n",
        "joe doe by 192.0.2.1\n",
        "'joe' 192.0.2.1\n",
        "'joe\" 192.0.2.1\n",
        "| (192.0.2.1)\n",
        "yes 192.0.2.1\n",
        "xxx 192.0.2.1\n",
        "abc 192.0.2.1\n",
        "aa 192.0.2.1\n",
        "nothing at all\n",
        "",
    ],
)
def test_gate_names_the_first_that_matches(subject):
    """Flags, conditions, back-references and look-arounds keep their meaning when regexes are joined."""
    patterns = [compile_pattern(text) for text in PATTERNS]
    gate = build_gate(patterns)
    joined = [patterns[place] for place in gate.places.values()]
    expected = slow_first(joined, subject)
    found = fast_first(gate, subject)
    assert (None if expected is None else joined[expected]) == (None if found is None else patterns[found])


def test_what_cannot_be_joined_stays_out():
    """Regexes that are not anchored, or refer to groups by number, are left to be tried one by one."""
    patterns = [compile_pattern(text) for text in PATTERNS]
    assert {4, 5} == set(range(len(PATTERNS))) - set(build_gate(patterns).places.values())


def test_few_regexes_get_no_gate():
    """Joining one or two regexes would cost more than it saves."""
    assert build_gate([compile_pattern(r"^a <HOST>"), compile_pattern(r"^b <HOST>")]) is None


PIECES = [
    "a",
    "b",
    "(a|b)",
    "(?:a|b)?",
    "[ab|(]",
    ".",
    "a*?",
    "b+",
    r"\(",
    "(?!b)",
    "(?=a)",
    "$",
    "(?i:A)",
    "(?P<x>a)?",
    "(?P=x)",
]


@settings(max_examples=400, deadline=None)
@given(
    st.lists(
        st.lists(st.sampled_from(PIECES), max_size=4).map(lambda parts: "^" + "".join(parts)), min_size=3, max_size=6
    ),
    st.text(alphabet="abA(\n", max_size=6),
)
def test_gate_equals_trying_each(regexes, subject):
    """For any regexes and text the gate says what the slow way finds."""
    try:
        patterns = [compile_pattern(text) for text in regexes]
    except PatternError:
        return
    gate = build_gate(patterns)
    if gate is not None and len(gate.places) == len(patterns):
        assert slow_first(patterns, subject) == fast_first(gate, subject)
