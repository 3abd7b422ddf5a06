"""The prefilter that remembers kinds of lines; see also tests/contracts/test_prefilters.py."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from banguard.matching.prefilter import Wanted
from banguard.matching.prefilter_kinds import KindsScanner
from support.prefilters import look_at_each_line

TEXTS = [b"refused", b"client 403 gone", b"404 ", b"7", b"sshd", b"\xc5\xbf", b"denied by 10", b"a"]
WORDS = [b"ReFuSeD", b"client 403 gone", b"client 44 gone", b"404 ", b"44 ", b"7", b"sshd", b"\xc5\xbf", b"\r", b"x" * 600,
         b"denied by 10", b"denied by 11", b"", b"client 99 gone"]  # fmt: skip
lines = st.lists(st.lists(st.sampled_from(WORDS), max_size=3).map(b" ".join), max_size=12)
wants = st.builds(
    Wanted,
    st.frozensets(st.sampled_from(TEXTS), max_size=4),
    st.frozensets(st.sampled_from(TEXTS), max_size=2),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(wants, max_size=3), st.lists(st.tuples(lines, st.booleans()), max_size=4))
def test_it_finds_what_a_look_at_each_line_does(wanted, blocks):
    """What is remembered of one block says nothing wrong of the next."""
    scanner = KindsScanner(wanted, many=-1, large=0)
    for each, is_ended in blocks:
        block = b"\n".join(each) + b"\n" * is_ended
        assert look_at_each_line(wanted, block) == list(scanner(block))


def flood(first: int, count: int) -> bytes:
    """Return lines each of which is of a kind of its own."""
    names = (bytes(97 + number // 26**power % 26 for power in range(4)) for number in range(first, first + count))
    return b"".join(b"%s refused\n" % name for name in names)


def test_logs_that_do_not_repeat_are_looked_at_the_other_way():
    """Kinds are not remembered in vain, and it is tried again later."""
    wanted = [Wanted(frozenset({b"refused"}))]
    scanner = KindsScanner(wanted, many=0, large=0)
    for _ in range(40):
        block = flood(0, 2000)
        assert look_at_each_line(wanted, block) == list(scanner(block))
        assert not scanner._known
    for _ in range(20):
        scanner(b"refused 1\nrefused 2\n" * 1000)
    assert {b"refused ", b""} == set(scanner._known)


def test_what_is_remembered_is_bounded():
    """A log of ever new kinds takes no memory without end, nor do long lines."""
    wanted = [Wanted(frozenset({b"refused"}))]
    scanner = KindsScanner(wanted, many=0, large=0)
    for number in range(30):
        block = flood(number * 200, 200) + b"quiet 1\n" * 2000 + b"y" * 5000 + b" refused\n"
        assert look_at_each_line(wanted, block) == list(scanner(block))
        assert len(scanner._known) <= 1000
        assert max(map(len, scanner._known)) <= 512


@pytest.mark.parametrize(("count", "size"), [(5, 100_000), (40, 100)])
def test_few_texts_and_small_blocks_are_not_worth_it(count, size):
    """There it is quicker to look for each text."""
    scanner = KindsScanner([Wanted(frozenset(b"text %c" % (97 + number) for number in range(count)))])
    scanner(b"quiet\n" * (size // 6))
    assert not scanner._known
