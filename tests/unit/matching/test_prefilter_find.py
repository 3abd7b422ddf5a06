"""The prefilter of the standard library; see also tests/contracts/test_prefilters.py."""

from __future__ import annotations

from banguard.matching.prefilter import Wanted
from banguard.matching.prefilter_find import FindScanner


def test_fewer_texts_are_looked_for_first():
    """The block is searched for the smaller of both kinds only."""
    scanner = FindScanner([Wanted(frozenset({b"a", b"b"}), frozenset({b"sshd"}))])
    assert [b"sshd"] == list(scanner._first)
    assert [frozenset({b"a", b"b"})] == scanner._then


def test_a_text_that_two_want_is_looked_for_once():
    """Jails share the search."""
    scanner = FindScanner([Wanted(frozenset({b"ab"})), Wanted(frozenset({b"ab", b"cd"}))])
    assert {b"ab": [0, 1], b"cd": [1]} == scanner._first
