"""The prefilter by Hyperscan; see also tests/contracts/test_prefilters.py."""

from __future__ import annotations

import subprocess
import sys

import pytest

from banguard.matching.prefilter import Wanted, build_scanner


def test_matches_in_any_order():
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


GUARDED = """
import ctypes, mmap, sys
if ctypes.CDLL(None).prctl(65, 1, 0, 0, 0):  # PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN
    sys.exit("the kernel has no such guard")
try:
    mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
except OSError:
    pass
else:
    sys.exit("the guard does not hold")
from banguard.matching.prefilter import Wanted, build_scanner
print(build_scanner([Wanted(frozenset({b"refused", b"denied"}))], "hyperscan")(b"ok\\nREFUSED\\n"))
"""


def test_memory_that_is_written_is_never_executed():
    """A service that may not make memory executable (MemoryDenyWriteExecute) can use it."""
    pytest.importorskip("hyperscan", reason="hyperscan is not installed (pip install 'banguard[fast]')")
    done = subprocess.run([sys.executable, "-c", GUARDED], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if "the kernel has no such guard" in done.stderr:
        pytest.skip("needs prctl(PR_SET_MDWE), Linux 6.3")
    assert ("[((3, 10),)]\n", "", 0) == (done.stdout, done.stderr, done.returncode)
