"""The bounded matcher finds what `re` finds, and never takes for ever."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from banguard.matching.bounded import MAX_STEPS, GiveUpError, compile_bounded
from banguard.matching.patterns import is_anchored


def bounded(regex: str, flags: int = 0):
    compiled = re.compile(regex, flags)
    return compile_bounded(compiled, is_anchored=not flags & re.MULTILINE and is_anchored(regex))


def facts(found) -> tuple | None:
    if found is None:
        return None
    groups = found.re.groups
    return found[0], [found.span(number) for number in range(groups + 1)], found.groupdict()


CASES = [
    ("a+b", 0),
    ("^a*?b$", 0),
    ("(a|ab)(c|bcd)(d*)", 0),
    (r"^(?P<u>\S+|.*?) from (?P<h>\d+)(?: port \d+)?$", 0),
    (r"(?:a|b)*?c", 0),
    (r"(a)?(?(1)b|c)", 0),
    (r"(?P<q>['\"]).*?(?P=q)", 0),
    (r"\bfoo\b|\Boo", 0),
    (r"^a$", re.MULTILINE),
    (r"^a\n^b$", re.MULTILINE),
    (r"a\Z|^b\Z", 0),
    (r"\Aab", 0),
    (r"(?i)FoO[a-c]é", 0),
    (r"x(?i:y)z", 0),
    (r"a(?=b)", 0),
    (r"a(?!b)\w", 0),
    (r"(?<=a)b", 0),
    (r"(?<!a)b", 0),
    (r"(?=(a+))a", 0),
    (r"(?s)a.b", 0),
    (r"a.b", 0),
    (r"[^\W\d_]{2,3}", 0),
    (r"(?:(?!end).)*end", 0),
    (r"(?:(?!ab).)*?b(?:(?!ba)\w)+c", 0),
    (r"(?:(?!a)(?!b).)+", 0),
    (r"\s*(?:\w+ )?(?:from|user) (\d)", 0),
    (r".*? (?:from|user) (?P<u>.*) a", 0),
    (r"^\w* ?(?:ab|(?i:cd))+.*?(?:x|yz)?$", 0),
    (r"(?!.*ab.*c)\w+b", 0),
    (r"(a{2,3}){2}", 0),
    (r"(?:a*)*b", 0),
    (r"(?:a*?b?)+c", 0),
    (r"", 0),
    (r"a||b", 0),
    (r"(?:(a)|b)*", 0),
    (r"(\w+)\s\1", 0),
]
TEXTS = [
    "",
    "a",
    "b",
    "ab",
    "aab",
    "abcd",
    "joe from 12 port 7",
    "joe doe from 12",
    "'x' y",
    "foo",
    "xfoo foo",
    "a\nb",
    "a\nb\n",
    "fooBÉ",
]
TEXTS += [
    "xYz",
    "a\n",
    "aaaa",
    "aaaaaa",
    "the end",
    "ac",
    "c",
    "xx xx",
    "abab",
    "aabbc",
    'a "q" \'',
    "ba",
    "a_b",
    "aaab\n",
]


@pytest.mark.parametrize(("regex", "flags"), CASES)
def test_finds_what_re_finds(regex, flags):
    """The same match, with the same groups, for every construct that filters use."""
    matcher = bounded(regex, flags)
    for text in TEXTS:
        assert facts(re.search(regex, text, flags)) == facts(matcher.search(text)), repr(text)


LONG = [
    r"^\w* ?(?:ab|cd|x) (?P<u>.*)$",
    r"^(?P<u>.*?)(?:ab|cd)?\s*$",
    r"^(?P<u>.+?) (?:from|by) (?P<h>\d+)",
    r"^(?P<u>.*) (?:from|by) (?P<h>\d+)",
    r"^(?P<u>.*) from (?P<h>\d+)",
    r"^\s*(?:\w+ )?(?P<u>(?:(?!from).)*)from",
    r"^(?:(?!from).)*?(?:f|a)r",
    r"^(?!.* by )(?P<u>.*) from",
    r"(?i)[a-d]+?(?:X| )",
]
FILLINGS = ["a", "ab", " ", "from ", " by 1", "cd x", "é"]


@pytest.mark.parametrize("regex", LONG)
def test_finds_what_re_finds_in_long_texts(regex):
    """Loops over much text are left at the same place."""
    matcher = bounded(regex)
    for filling in FILLINGS:
        for before, behind in (("", ""), ("x ", " from 1"), ("ab ", " by 2\n"), ("", "ab \n"), (" user ", "cd")):
            text = before + filling * 400 + behind
            assert facts(re.search(regex, text)) == facts(matcher.search(text)), (before, filling, behind)


PIECES = ["a", "b", "(a|b)", "(?:a|b)*", "(ab)?", "a*", "b+?", ".", "[^a]", "(?=a)", "(?!b)", "^", "$", r"\b", "(?:a+)+", "a{1,2}", "|", "(?P<n>a)?", "(?(n)a|b)", "(?P=n)", "[ab]*", "\\w*?", "(?:(?!ab).)*", "(?:(?!b)\\w)*?", r"\Z", r"\s*$"]  # fmt: skip


@settings(max_examples=1000, deadline=None)
@given(
    st.lists(st.sampled_from(PIECES), min_size=1, max_size=6).map("".join),
    st.text(alphabet="ab\n", max_size=9),
    st.sampled_from([0, re.MULTILINE]),
)
def test_finds_what_re_finds_anywhere(regex, text, flags):
    """For any regex and text: the slow twin is `re` itself."""
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


@pytest.mark.parametrize("regex", [r"(?>a+)b", "a++b", r"(?i)(a)\1", r"(?a)\bx", "(?:a{1000}){1000}"])
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
