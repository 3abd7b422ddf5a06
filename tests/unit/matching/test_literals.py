"""What must stand in every line that a regex matches."""

from __future__ import annotations

import re

import pytest

from banguard.matching.literals import FOLDED, required, share


@pytest.mark.parametrize(
    ("regex", "texts"),
    [
        (r"^Failed \S+ for", {"failed "}),
        (r"^(?:Illegal|Invalid) user", {"illegal user", "invalid user"}),
        (r"pass(?:word|phrase)? mismatch\d", {"pass mismatch", "password mismatch", "passphrase mismatch"}),
        (r"[Ll]ogin refused", {"login refused"}),
        (r"a{3}bcd", {"aaabcd"}),
        (r"(?:refused)+x", {"refused"}),
        (r"(?P<a>un)known (?P<b>vhost)", {"unknown vhost"}),
        (r"(a)?(?(1)granted|refused)", {"granted", "refused", "agranted", "arefused"}),
        (r"denied(?= soon)\b there", {"denied there"}),
        (r"(?:denied\d|refused\d)", {"denied", "refused"}),
        (r"(?>denied by)x*", {"denied by"}),
        ("refused\n", {"refused"}),
        (r"ünbekannt", {"nbekannt"}),
    ],
)
def test_texts(regex, texts):
    """Alternatives, optional parts, groups and repeats are followed; assertions take no room; case is dropped."""
    found = required(regex, cut="")
    assert found is not None
    assert texts == found.texts


@pytest.mark.parametrize(
    "regex",
    [r"^\S+$", r"\d+ \w+", r"(?:refused|\d+)", r"(?:refused)?", r"(?:refused)*x", "a", "[^r]e?f?", "", "(", r"\."],
)
def test_nothing_is_sure(regex):
    """Of a regex that can match without any text worth looking for, nothing is said."""
    assert required(regex) is None


def test_a_date_may_have_been_cut_out_of_the_text():
    """Of a text that a date may have stood in, one half is in the line for sure."""
    assert {"pass", "word "} == required(r"^password \d").texts


@pytest.mark.parametrize(
    ("regex", "text"), [(r"^: denied", "denied"), (r"^ \(denied", "denied"), (r"^denied", "denied")]
)
def test_what_may_stand_before_a_date_at_the_start(regex, text):
    """Up to two characters that belong to no word may come before a date at the start: they are left out."""
    assert {text} == required(regex, cut="").texts


def test_dates_behind_a_character():
    """Where dates stand behind a certain character only, a text without it is never cut."""
    assert {"refused"} == required(r"\drefused\d", cut="[").texts
    assert {"refused"} == required(r"\dno\[refused\d", cut="[").texts
    assert {"no["} == required(r"\dno\[to\d", cut="[").texts


def test_letters_that_are_written_otherwise():
    """Where case is ignored, letters that Unicode folds to ASCII are told; where it is not, they are no letters."""
    assert {"s", "i"} == set(required("(?i)disc\\d").folded)
    assert set() == set(required("disc\\d").folded)
    assert {"s"} == set(required("(?i:s)end\\d").folded)


def test_folded_is_all_that_python_folds():
    """Python's `re` takes no other character for an ASCII letter than those of the table."""
    others = {}
    for code in range(128, 0x11000):
        for letter in "abcdefghijklmnopqrstuvwxyz":
            if re.match(letter, chr(code), re.IGNORECASE):
                others[letter] = others.get(letter, "") + chr(code)
    assert {key: set(value) for key, value in FOLDED.items()} == {key: set(value) for key, value in others.items()}


def test_two_texts_that_must_both_be_there():
    """A date can stand in one of two texts only: looking for either, whole, may say more than halves of one."""
    assert {' [] "', '" 400 '} == required(r'^\S+ \[\] "\w+" 400 .').texts


def test_texts_that_are_rare_are_chosen():
    """Of several texts that must be there, those are looked for that stand in few lines by chance."""
    assert 1 < share("x") == share("")
    assert share(" from ") > share("qz") > share("qzw") > share("qzwx") > share("1234567")
    assert share('"GET'.lower()) == share("[ ") == share("from")
    assert {"zqxw"} == required(r"^ from \d+ zqxw\d+ get /", cut="").texts
    assert None is required("^(?:from|get|post|user)")
