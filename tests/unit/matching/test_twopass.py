"""The matcher of two passes finds what `re` finds, in any text."""

from __future__ import annotations

import random
import re

import pytest
from hypothesis import given, settings

from banguard.matching import twopass
from banguard.matching.patterns import is_anchored
from banguard.matching.program import compile_program
from support.regexes import CASES, LONG, TEXTS, facts, long_texts, made_up


def matcher_of(regex: str, flags: int = 0):
    compiled = re.compile(regex, flags)
    program = compile_program(compiled)
    anchored = not flags & re.MULTILINE and is_anchored(regex)
    return None if program is None else twopass.compile_twopass(compiled, program, is_anchored=anchored)


CANNOT = [
    r"(?P<q>['\"]).*?(?P=q)",
    r"(\w+)\s\1",
    r"(?:a*)*b",
    r"(?:a*?b?)+c",
    r"(?<=ab)c",
    r"(?!(?:a*)*b)c",
    r"(?=(a)\1)b",
    r"(?>a+)b",
    r"a*+b|a++",
    r"(?>a|ab)c|(?>(a)b?)(?(1)c|b)",
    r"(?:(?>(a|b)+?)a)*+[bc]",
    r"(?:x|ab){1,2}+(.*)",
]


@pytest.mark.parametrize(("regex", "flags"), [case for case in CASES if case[0] not in CANNOT])
def test_finds_what_re_finds(regex, flags):
    """The same match, with the same groups, for every construct that filters use."""
    matcher = matcher_of(regex, flags)
    for text in TEXTS:
        assert facts(re.search(regex, text, flags)) == facts(matcher.search(text)), repr(text)


@pytest.mark.parametrize("regex", LONG)
def test_finds_what_re_finds_in_long_texts(regex):
    """Loops over much text are left at the same place."""
    matcher = matcher_of(regex)
    for text in long_texts():
        assert facts(re.search(regex, text)) == facts(matcher.search(text)), text[:9]


@settings(max_examples=2000, deadline=None)
@given(made_up)
def test_finds_what_re_finds_anywhere(case):
    """For any regex and text: the slow twin is `re` itself."""
    regex, text, flags = case
    try:
        slow = re.compile(regex, flags)
    except re.error:
        return
    matcher = matcher_of(regex, flags)
    if matcher is not None:
        assert facts(slow.search(text)) == facts(matcher.search(text))


@pytest.mark.parametrize("regex", CANNOT)
def test_what_it_cannot_do(regex):
    """Back-references, rounds of nothing and long looks behind are left to the matcher that goes back."""
    assert matcher_of(regex) is None
    assert compile_program(re.compile(regex)) is not None


@pytest.mark.parametrize(
    ("regex", "text", "spans"),
    [
        (r"^(?:a+)+!$", "a" * 65_000 + "!", [(0, 65_001)]),
        (r"^(?:a+)+!$", "a" * 65_000, None),
        (r'^(?:[^"]*|"[^"]*")x$', '"' * 64_999, None),
        (r"^(.*?)(?:.* )*?end", "a " * 32_000 + "end", [(0, 64_003), (0, 0)]),
        (r"^(.*) from (\S+)$", "from " * 13_000 + "from 1", [(0, 65_006), (0, 64_999), (65_005, 65_006)]),
        (r"^(?!.*b.*b)(\w|\.)*b", "a." * 32_000 + "b", [(0, 64_001), (63_999, 64_000)]),
        (r'^"((?:[^"\\]|\\.)*)"$', '"' + r"\"" * 32_000 + '"', [(0, 64_002), (1, 64_001)]),
        (r'^"(?:[^"\\]|\\.)*fail" (.*)', '"' + r"a\"fail" * 12_000 + '" 1', [(0, 84_004), (84_003, 84_004)]),
        (r'^"[^"\\]*(?:\\.[^"\\]*)*" (.*)', '"' + r"a\"f\\" * 12_000 + '" 1', [(0, 72_004), (72_003, 72_004)]),
        (r'^"(?:[^"\\]|\\.)*fail', '"' + "b" * 60_000, None),
        (r'^"(?:[^"\\]|\\.)*b', '"' + r"b\b" * 20_000 + r"\b\b", [(0, 59_999)]),
        (r"^(?:(?!ab|cd)\w)*", "ac" * 32_000 + "cd", [(0, 64_000)]),
        (r"(?:(?![ab]b)\w)*?b", "ca" * 32_000 + "bb", [(64_000, 64_001)]),
    ],
)
def test_hostile_text_is_decided(regex, text, spans):
    """What would keep `re` busy for longer than the universe is old, or for seconds, is found as in any text."""
    found = matcher_of(regex).search(text)
    assert spans == (None if found is None else [found.span(number) for number in range(len(spans))])


@pytest.mark.parametrize(
    "regex", [r"^(\w+) (\S*) (?i:[sk]+)\b", r"\w+(?=\s)", r"([^\d\s]+)(?:\s|$)", "[à-ü]+b", "é+[^é]"]
)
def test_letters_of_the_world(regex):
    """Characters that a regex cannot tell apart are one to the automaton; all others are not."""
    chance = random.Random(regex)
    matcher = matcher_of(regex)
    for _ in range(400):
        text = "".join(chance.choices("aks \u017f\u212a\u0130\u0131éüß漢٣²\u2028\u3000\udc80\U0001f600b", k=12))
        assert facts(re.search(regex, text)) == facts(matcher.search(text)), repr(text)


def test_what_was_learned_is_forgotten_in_time(monkeypatch):
    """The transitions that are remembered have an end; what is found does not depend on them."""
    monkeypatch.setattr(twopass, "_MAX_EDGES", 50)
    regex = r"^(?P<a>.*?)(?:x|yz)(?P<b>\w*) (?!.*q)"
    matcher = matcher_of(regex)
    chance = random.Random(1)
    for _ in range(300):
        text = "".join(chance.choices("axyz qb.-:;,+*/()", k=40))
        assert facts(re.search(regex, text)) == facts(matcher.search(text)), text
