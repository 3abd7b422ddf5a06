"""A regex becomes a program, or is one that cannot become one."""

from __future__ import annotations

import re

import pytest

from banguard.matching.program import ONE_CHARACTER, compile_program


@pytest.mark.parametrize("regex", [r"(?i)(a)\1", r"(?a)\bx", "(?:a{1000}){1000}"])
def test_what_cannot_be_a_program(regex):
    """A construct that cannot be matched as `re` does is left to `re`."""
    assert compile_program(re.compile(regex)) is None


@pytest.mark.parametrize(
    ("needed", "regex"),
    [("from ", r"^(.*) from \d+"), ("", "ab|cd"), ("d", "(?i:abc)d"), ("bcd", r"a?(bcd)e?"), ("", r"(?i)abc")],
)
def test_text_that_every_match_holds(needed, regex):
    """The longest text that stands in all that matches; alternatives and letters of any case have none."""
    assert needed.strip() == compile_program(re.compile(regex)).needed.strip()


@pytest.mark.parametrize(
    ("rounds", "regex"),
    [
        (ONE_CHARACTER, r"(?:(?!ab)\w)*x"),
        (ONE_CHARACTER, r"(?:a|(?i:b))*x"),
        ('"abc""', r'(?:[^"\\]|\\.)*x'),
        (None, r"(?:(a)|bc)*x"),
        (None, r"(?:a(?:b|cde?)*)*x"),
        (None, r"(?:[^a]|ab)*?x"),
    ],
)
def test_loops_that_are_passed_in_one_step(rounds, regex):
    """A loop whose rounds take one character, or a few that are plain, needs no look at each round."""
    found = list(compile_program(re.compile(regex)).rounds.values())
    assert ([] if rounds is None else [rounds]) == [each if each == ONE_CHARACTER else '"abc""' for each in found]


def test_a_round_of_nothing():
    """A loop of which a round may take nothing is told."""
    assert compile_program(re.compile("(?:a*)*b")).has_empty_rounds
    assert not compile_program(re.compile("(?:a+)*b")).has_empty_rounds
