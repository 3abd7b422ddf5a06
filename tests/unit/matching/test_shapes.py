"""Shapes are learned from lines, and say of later lines what the regexes would."""

from __future__ import annotations

import pytest

from banguard.matching import FilterRules, LineResult

NOW = 1795168800.0


def learned(lines: list[str], **rules) -> FilterRules:
    made = FilterRules(datepattern="{NONE}", **rules)
    made.prepare(learn_every=1)
    for line in lines:
        said(made, line)
    assert made.shapes is not None
    return made


def said(rules: FilterRules, line: str, *, at: float = NOW) -> LineResult:
    return rules.match(rules.date(line, at), at)


def knows(rules: FilterRules, line: str) -> bool:
    assert rules.shapes is not None
    return rules.shapes.find(line) is not None


PLAIN = {"failregex": [r"^bad <F-USER>.*</F-USER> from <HOST> port \d+$"]}
WITH_PREFIX = {
    "prefregex": r"^(?:\S+ )?d\[<F-MLFID>\d+</F-MLFID>\]: <F-CONTENT>.+</F-CONTENT>$",
    "failregex": [
        r"^bad <F-USER>\S+</F-USER> from <HOST>$",
        r"^<F-NOFAIL>hello</F-NOFAIL> <F-USER>\S+</F-USER> at <HOST>$",
        r"^<F-MLFFORGET><F-MLFGAINED>good</F-MLFGAINED></F-MLFFORGET> <F-USER>\S+</F-USER> at <HOST>$",
    ],
}


@pytest.mark.parametrize(
    ("expected", "line"),
    [
        (True, "bad joe from 1.2.3.4 port 22"),
        (True, "bad anna-2 from 198.51.100.77 port 9"),
        (False, "bad joe from 1.2.3.4 port 22x"),
        (False, "bad joe from 1.2.3.4 port 22 from 5.6.7.8 port 22"),
        (False, "bad joe doe from 1.2.3.4 port 22"),
        (False, "bad jöe from 1.2.3.4 port 22"),
        (False, "bad joe from 2001:db8::1 port 22"),
        (False, "bad joe from host port 22"),
    ],
)
def test_which_lines_are_of_a_shape(expected, line):
    """Numbers, addresses and names may be any; all else stays as it stood."""
    rules = learned(["bad root from 1.2.3.4 port 1"], **PLAIN)
    assert expected == knows(rules, line)
    slow = FilterRules(datepattern="{NONE}", **PLAIN)
    assert said(slow, line) == said(rules, line)


def test_what_is_no_address():
    """An address that is none is rejected as ever."""
    rules = learned(["bad root from 1.2.3.4 port 1"], **PLAIN)
    assert "999.1.1.1" == said(rules, "bad joe from 999.1.1.1 port 1").rejected
    assert "10.0.0.1" == said(rules, "bad joe from 010.0.0.1 port 1").matches[0].id


def test_a_line_that_may_be_read_in_two_ways_is_not_learned():
    """Where the regex could also find something else in lines of a shape, there is none."""
    rules = learned(["bad from 1.2.3.4"], failregex=[r"^bad(?: from)? <HOST>.*$", r"^bad (?:\S+ )*<HOST>$"])
    assert not knows(rules, "bad from 5.6.7.8")


def test_an_ignoreregex_is_heeded():
    """No shape is learned whose lines an ignoreregex may match."""
    lines = ["bad root from 1.2.3.4 port 1"]
    assert knows(learned(lines, **PLAIN, ignoreregex=["port x"]), lines[0])
    assert not knows(learned(lines, **PLAIN, ignoreregex=["from 10[.]"]), lines[0])


def test_other_regexes_are_heeded():
    """No shape is learned whose lines another failregex may match as well."""
    lines = ["bad root from 1.2.3.4 port 1"]
    assert not knows(learned(lines, failregex=[*PLAIN["failregex"], "<ADDR> port [5-9]"]), lines[0])


SESSIONS = [
    "d[1]: bad joe from 1.2.3.4",
    "x d[1]: bad joe from 1.2.3.5",
    "d[2]: hello joe at 1.2.3.4",
    "d[2]: hello joe at 1.2.3.4",
    "d[2]: bad joe from 1.2.3.4",
    "d[3]: hello joe at 1.2.3.4",
    "d[3]: bad eve from 1.2.3.4",
    "d[4]: good joe at 1.2.3.4",
    "d[4]: bad joe from 1.2.3.4",
    "d[5]: bad joe from 1.2.3.4",
    "d[5]: good joe at 1.2.3.4",
    "d[5]: bad joe from 1.2.3.4",
    "x d[2]: good eve at 1.2.3.4",
]


def test_sessions():
    """Lines of one session make the same failures, whether their shapes are known or not."""
    fast = learned([line.replace("d[", "d[9") for line in SESSIONS], **WITH_PREFIX)
    slow = FilterRules(datepattern="{NONE}", **WITH_PREFIX)
    assert all(knows(fast, line) for line in SESSIONS)
    for at, line in enumerate([*SESSIONS, *SESSIONS]):
        assert said(slow, line, at=NOW + at * 70) == said(fast, line, at=NOW + at * 70), at


def test_a_brief_answer():
    """Asked for the status alone, a line of a known shape is matched, and counted, without the match."""
    rules = learned(["bad root from 1.2.3.4 port 1"], **PLAIN)
    line = "bad joe from 1.2.3.4 port 22"
    assert LineResult("matched", (), 1, (1,)) == rules.match(rules.date(line, NOW), NOW, is_brief=True)
    assert 2 == rules.failures[0].hits


def test_shapes_are_forgotten_when_there_are_too_many():
    """A log that shows ever new shapes does not fill the memory."""
    words = [f"{first}{second}" for first in "abcdefgh" for second in "abcdefgh"]
    rules = learned([f"{word} from 1.2.3.4" for word in words], failregex=[r"^[a-z]+ from <HOST>$"])
    assert rules.shapes is not None
    assert not knows(rules, "aa from 1.2.3.4") or len(rules.shapes.plans) <= 48
