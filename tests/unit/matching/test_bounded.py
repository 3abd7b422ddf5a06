"""The bounded matcher finds what `re` finds, and never takes for ever."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given, settings

from banguard.matching.bounded import MAX_STEPS, GiveUpError, compile_bounded
from banguard.matching.patterns import is_anchored
from support.regexes import CASES, LONG, TEXTS, facts, long_texts, made_up


def bounded(regex: str, flags: int = 0):
    compiled = re.compile(regex, flags)
    return compile_bounded(compiled, is_anchored=not flags & re.MULTILINE and is_anchored(regex))


@pytest.mark.parametrize(("regex", "flags"), CASES)
def test_finds_what_re_finds(regex, flags):
    """The same match, with the same groups, for every construct that filters use."""
    matcher = bounded(regex, flags)
    for text in TEXTS:
        assert facts(re.search(regex, text, flags)) == facts(matcher.search(text)), repr(text)


@pytest.mark.parametrize("regex", LONG)
def test_finds_what_re_finds_in_long_texts(regex):
    """Loops over much text are left at the same place."""
    matcher = bounded(regex)
    for text in long_texts():
        assert facts(re.search(regex, text)) == facts(matcher.search(text)), text[:9]


@settings(max_examples=1000, deadline=None)
@given(made_up)
def test_finds_what_re_finds_anywhere(case):
    """For any regex and text: the slow twin is `re` itself."""
    regex, text, flags = case
    try:
        slow = re.compile(regex, flags)
    except re.error:
        return
    matcher = bounded(regex, flags)
    if matcher is not None:
        assert facts(slow.search(text)) == facts(matcher.search(text))


@pytest.mark.parametrize(
    "regex",
    [
        r"^(?:a+)+!$",
        r"^(?:[^\"]*|\"[^\"]*\")*x$",
        r"^(?:: (?:\w+|[^(]+))*end$",
        r"(?:a|a)*!",
        r".*.*.*=.*x$",
        r"^(\s*)*x",
        r"(?:\S+=\S* )*y",
    ],
)
@pytest.mark.parametrize("text", ["a" * 5000, ": a" * 2000, '"' * 5000, "a=b " * 1500, " " * 5000, "=" * 5000])
def test_hostile_text_takes_bounded_effort(regex, text):
    """What keeps `re` busy for longer than the universe is old is decided here, or given up, at once."""
    matcher = bounded(regex)
    began = time.thread_time()
    try:
        assert matcher.search(text + "\n") is None
    except GiveUpError:
        pass
    assert time.thread_time() - began < 10


def test_effort_has_an_end():
    """A text that needs more steps than allowed is given up."""
    with pytest.raises(GiveUpError):
        bounded(r"(?:a?){200}[bc]").search("a" * (MAX_STEPS // 100))


@pytest.mark.parametrize("regex", [r"(?i)(a)\1", r"(?a)\bx", "(?:a{1000}){1000}"])
def test_what_it_cannot_do(regex):
    """A construct that it cannot match like `re` is left to `re`."""
    assert bounded(regex) is None


def test_line_without_the_needed_text_costs_nothing():
    """Text that stands in every match is looked for first; also when case does not count for parts of the regex."""
    assert bounded(r"^(?:a+)+ needed").search("a" * 100_000) is None
    assert facts(re.search(r"(?i:abc)d", "ABCd")) == facts(bounded(r"(?i:abc)d").search("ABCd"))
    assert facts(re.search(r"(?i)abcd", "ABCD")) == facts(bounded(r"(?i)abcd").search("ABCD"))
    assert facts(re.search(r"abc?d", "abd")) == facts(bounded(r"abc?d").search("abd"))
    assert facts(re.search(r"ab|cd", "cd")) == facts(bounded(r"ab|cd").search("cd"))
