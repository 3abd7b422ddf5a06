"""Regexes with all constructs that filters use, and texts to try them on: what a matcher finds must be what `re` finds."""

from __future__ import annotations

import re

from hypothesis import strategies as st


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
    (r"(?>a+)b", 0),
    (r"a*+b|a++", 0),
    (r"(?>a|ab)c|(?>(a)b?)(?(1)c|b)", 0),
    (r"(?:(?>(a|b)+?)a)*+[bc]", 0),
    (r"(?:x|ab){1,2}+(.*)", 0),
    (r'^"(?:[^"\\]|\\.)*" (.*)', 0),
    (r'"[^"\\]*(?:\\.[^"\\]*)*" (.*)', 0),
    (r"^x*(?:a[bx]*)*[xb]+", 0),
    (r"^x*(?:a[bx]+|c)*?[xb]+", 0),
    (r"(?:a[bx]+|c)*[xb]{2}", 0),
    (r"^(?:[^ab]|ab)*b", 0),
    (r"^(?:x|a.)*a", 0),
    (r"(?:[ax]|ab)*(?:b|$)", 0),
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
    r'"a\"b" "c"',
    r'"\\" x',
    "xabb",
    "aaaxaa",
    "xaxab",
    "a_b",
    "aaab\n",
]

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

PIECES = ["a", "b", "(a|b)", "(?:a|b)*", "(ab)?", "a*", "b+?", ".", "[^a]", "(?=a)", "(?!b)", "^", "$", r"\b", "(?:a+)+", "a{1,2}", "|", "(?P<n>a)?", "(?(n)a|b)", "(?P=n)", "[ab]*", "\\w*?", "(?:(?!ab).)*", "(?:(?!b)\\w)*?", r"\Z", r"\s*$", "(?:b|a.)*", "(?>a|ab)", "[ab]*+", "(?:ab?){1,2}+"]  # fmt: skip

made_up = st.tuples(
    st.lists(st.sampled_from(PIECES), min_size=1, max_size=6).map("".join),
    st.text(alphabet="ab\n", max_size=9),
    st.sampled_from([0, re.MULTILINE]),
)
"""Regex, text, flags."""


def long_texts():
    """Yield texts of some hundred characters."""
    for filling in FILLINGS:
        for before, behind in (("", ""), ("x ", " from 1"), ("ab ", " by 2\n"), ("", "ab \n"), (" user ", "cd")):
            yield before + filling * 400 + behind
