"""What every prefilter engine keeps: its candidates are those of a look at each line."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from banguard.matching.prefilter import ENGINES, Scanner, Wanted, build_scanner
from support.prefilters import engines, look_at_each_line


@pytest.fixture(params=list(ENGINES), scope="module")
def engine(request) -> str:
    if request.param not in engines():
        pytest.skip(f"{request.param} is not installed (pip install 'banguard[fast]')")
    return request.param


def scan(engine: str, block: bytes, *wanted: Wanted) -> list:
    scanner: Scanner = build_scanner(wanted, engine)
    return list(scanner(block))


def wants(*any_of: bytes, and_of: tuple[bytes, ...] = ()) -> Wanted:
    return Wanted(frozenset(any_of), frozenset(and_of))


def test_spans_are_lines_without_their_end(engine):
    """Each candidate is told once, in order, as start and end without newline."""
    block = b"a refused refused\nb\nc REFUSED\n\nrefused"
    assert [((0, 17), (20, 29), (31, 38))] == scan(engine, block, wants(b"refused", b"fuse"))


def test_each_gets_its_own(engine):
    """What one wants says nothing about another."""
    block = b"one\ntwo\nthree\n"
    both = wants(b"one", b"two")
    assert [((0, 3),), ((4, 7),), (), ((0, 3), (4, 7))] == scan(
        engine, block, wants(b"one"), wants(b"two"), wants(), both
    )


def test_both_kinds_must_be_there(engine):
    """A line needs one of each kind, in any order."""
    block = b"sshd: refused\ncron: refused\nrefused by sshd\nsshd\n"
    assert [((0, 13), (28, 43))] == scan(engine, block, wants(b"refused", and_of=(b"sshd",)))
    assert [((0, 13), (28, 43))] == scan(engine, block, wants(b"refused", b"denied", b"no", and_of=(b"sshd",)))


def test_nothing_and_again(engine):
    """A scanner can be used again; an empty block has no candidates."""
    scanner = build_scanner([wants(b"x")], engine)
    assert [()] == list(scanner(b""))
    assert [((0, 1),)] == list(scanner(b"x\n"))
    assert [()] == list(scanner(b"y\n"))


needles = st.frozensets(
    st.sampled_from([b"ab", b"abc", b"ba", b"b\xc5", b"\xc5\xbf", b" a", b"c.", b"(b", b"\\n", b"a\tb"]), max_size=5
)
blocks = st.lists(st.text("abcABCſ .(\\n\t\0\r", max_size=12), max_size=12).map(lambda lines: "\n".join(lines).encode())


@settings(max_examples=150, deadline=None)
@given(st.lists(st.builds(Wanted, needles, needles), max_size=3), blocks)
def test_like_a_look_at_each_line(engine, wanted, block):
    """For any texts and any block the candidates are those of the slow way."""
    assert look_at_each_line(wanted, block) == scan(engine, block, *wanted)
