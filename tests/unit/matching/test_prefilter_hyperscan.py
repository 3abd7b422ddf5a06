"""The prefilter by Hyperscan; see also tests/contracts/test_prefilters.py."""

from __future__ import annotations

import pytest

from banguard.matching.prefilter import Wanted, build_scanner


def test_a_failing_scan_does_not_stay(monkeypatch):
    """Matches that come in any order, and for lines told before, give each line once."""
    pytest.importorskip("hyperscan", reason="hyperscan is not installed (pip install 'banguard[fast]')")
    scanner = build_scanner([Wanted(frozenset({b"abc", b"c", b"xyz"}))], "hyperscan")
    block = b"abc\nno\nxyz abc c\n"
    assert [((0, 3), (7, 16))] == list(scanner(block))
    scanner._block = block
    scanner._found, scanner._starts, scanner._ends = [{}], [0], [0]
    for end in (16, 3, 10, 14, 1):
        scanner._on_match(0, 0, end, 0, None)
    assert {0: 3, 7: 16} == scanner._found[0]
