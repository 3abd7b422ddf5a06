"""A regex of a filter is compiled as filters were always meant."""

from __future__ import annotations

import contextlib
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from banguard.errors import PatternError
from banguard.matching.patterns import compile_pattern, hoist_flags, is_anchored, scope_flags


@pytest.mark.parametrize(
    ("regex", "expected"),
    [
        ("a((?i)b)c", "a(?i:b)c"),
        ("(?:(?i)a|b)", "(?i:a|b)"),
        ("((?i)a)((?s).)", "(?i:a)(?s:.)"),
        ("(((?i)a)b)", "((?i:a)b)"),
        ("(?i)a", "(?i)a"),
        (r"\((?i)a", r"\((?i)a"),
        ("[(](?i)a", "[(](?i)a"),
        ("(?P<x>(?i)a)", "(?P<x>(?i)a)"),
        ("plain", "plain"),
    ],
)
def test_flag_behind_an_opening_group_is_scoped(regex, expected):
    """`((?i)…)` holds for its group only, as filters use it."""
    assert expected == scope_flags(regex)


@pytest.mark.parametrize(
    ("regex", "expected"),
    [
        (r"\.(?i)(jpg|png)", r"(?i)\.(jpg|png)"),
        ("a(?i)b(?s)c", "(?is)abc"),
        (r"a\(?i)", r"a\(?i)"),
        ("a[(?i)]b", "a[(?i)]b"),
        ("a(?#(?i))b", "a(?#(?i))b"),
        ("a # (?i)\n(?x)b", "(?x)a # (?i)\nb"),
        ("(?x)a # (?i)", "(?x)a # (?i)"),
        ("a(?i:b)", "a(?i:b)"),
        ("[]](?i)", "(?i)[]]"),
        ("[^]](?i)", "(?i)[^]]"),
    ],
)
def test_flag_in_the_middle_holds_for_the_whole(regex, expected):
    """A global flag moves to the start, where Python wants it since 3.11; what only looks like one stays."""
    assert expected == hoist_flags(regex)


def test_old_regex_keeps_its_meaning():
    r"""`\.(?i)(jpg|png)` ignores case everywhere, also before the flag."""
    pattern = compile_pattern(r"X <HOST> \.(?i)(jpg|png)$")
    assert pattern.find("x 192.0.2.1 .PNG\n") is not None
    assert r"X <HOST> \.(?i)(jpg|png)$" == pattern.text


@pytest.mark.parametrize(
    ("regex", "expected"),
    [
        ("^a", True),
        (r"\Aa", True),
        ("(?i)^a", True),
        ("^(a|b)[|]c", True),
        (r"^a\|b", True),
        ("^a|b", False),
        ("(^a|^b)", False),
        ("a^b", False),
        ("(?m)^a", False),
        ("^*a", False),
        ("", False),
    ],
)
def test_anchor_is_seen(regex, expected):
    """A regex counts as anchored only when nothing of it can match further right."""
    assert expected is is_anchored(regex)


PIECES = st.sampled_from(
    ["^", "a", "b", "|", "(", ")", "(?:", "[^a]", "[(|]", r"\(", r"\|", "*", "?", "$", ".", r"\A", "\n"]
)


@settings(max_examples=400, deadline=None)
@given(st.lists(PIECES, min_size=1, max_size=8).map("".join), st.text(alphabet="ab(|\n", max_size=6))
def test_anchored_search_equals_search(regex, subject):
    """Trying an anchored regex at the start only finds what a search finds."""
    try:
        slow = re.compile(regex)
        fast = compile_pattern(regex)
    except (re.error, PatternError):
        return
    expected, found = slow.search(subject), fast.find(subject)
    assert (expected and expected.span()) == (found and found.span())


def test_groups_of_an_address_are_the_same_with_search_and_match():
    """The anchored way gives the same groups as the slow one."""
    regex = r"^<F-USER>\S+|.*?</F-USER> from <HOST>$"
    line = "joe doe from 192.0.2.1\n"
    pattern = compile_pattern(regex)
    assert re.search(pattern.regex, line).groupdict() == pattern.data(pattern.find(line))


@pytest.mark.parametrize(
    ("regex", "line", "name", "expected"),
    [
        (r"(?P<user>\w*) (?P<alt_user>\w*) (?P<alt_user_2>\w*)$", "a b c", "user", "a"),
        (r"(?P<user>\w*) (?P<alt_user>\w*) (?P<alt_user_2>\w*)$", " b c", "user", "b"),
        (r"(?P<user>\w*) (?P<alt_user>\w*) (?P<alt_user_2>\w*)$", "  c", "user", "c"),
        (r"(?P<alt_user_10>\w) (?P<alt_user_9>\w)$", "a b", "user", "a"),
        (r"(?P<alt_user1>\w)$", "a", "user1", "a"),
        (r"<F-ALT_ID>\w</F-ALT_ID>$", "a", "fid", "a"),
        (r"<F-ALT_PORT>\w</F-ALT_PORT>$", "7", "fport", "7"),
        (r"(?P<alt_my_name_2>\w)$", "a", "my_name", "a"),
        (r"(?P<user>\w) (?P<tuple_user>\w) (?P<tuple_user_2>\w)$", "a b c", "user", ("a", "b", "c")),
        (r"(?P<tuple_user>\w)$", "a", "user", (None, "a")),
        (r"(?P<user>a)?(?P<alt_user>c)?(?P<tuple_user>b)?$", "cb", "user", ("c", "b")),
    ],
)
def test_alternatives_and_tuples_are_merged(regex, line, name, expected):
    """`alt_X` fills X where that is empty, in the order of names; `tuple_X` appends to X."""
    pattern = compile_pattern(regex)
    assert expected == pattern.data(pattern.find(line))[name]


def test_empty_alternative_fills_nothing():
    """An alternative that caught nothing leaves the group away."""
    pattern = compile_pattern(r"^(?P<alt_user>\w*)x")
    assert "user" not in pattern.data(pattern.find("x"))


@pytest.mark.parametrize(
    ("regex", "reason"),
    [
        ("", "empty regex"),
        ("(<HOST>", "unterminated"),
        ("<HOST> <HOST>", "redefinition"),
        ("[z-a]<HOST>", "bad character range"),
        ("a{99999999999999999999}", "too large"),
        ("(?P<x>(?L)a)", "flags"),
    ],
)
def test_bad_regex_names_the_user_s_text(regex, reason):
    """What cannot be compiled is refused with a reason and the text as the user wrote it."""
    with pytest.raises(PatternError) as refused:
        compile_pattern(regex)
    assert reason in str(refused.value)
    assert regex == refused.value.pattern


def test_warnings_of_python_do_not_reach_anybody():
    """A regex that Python only has doubts about compiles silently."""
    assert compile_pattern("[[a] <HOST>").find("a 192.0.2.1") is not None


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=40))
def test_any_text_compiles_or_is_refused(text):
    """Hostile configuration text gives a pattern or a PatternError, nothing else."""
    with contextlib.suppress(PatternError):
        compile_pattern(text).find("a line\n")
