"""The prefilter by Hyperscan; see also tests/contracts/test_prefilters.py."""

from __future__ import annotations

import subprocess
import sys

import pytest

from banguard.matching.prefilter import Wanted, build_scanner


def test_matches_in_any_order():
    """Matches that come in any order, and for lines told before, give each line once."""
    pytest.importorskip("hyperscan", reason="hyperscan is not installed (pip install 'banguard[fast]')")
    scanner = build_scanner([Wanted(frozenset({b"abc", b"c", b"xyz"})), Wanted(frozenset({b"xyz"}))], "hyperscan")
    block = b"abc\nno\nxyz abc c\n"
    assert [((0, 3), (7, 16)), ((7, 16),)] == list(scanner(block))

    class AnyOrder:
        def scan(self, _block, match_event_handler):
            numbers = {text: number for number, text in enumerate((b"abc", b"c", b"xyz"))}
            for end, text in ((16, b"c"), (3, b"abc"), (10, b"xyz"), (14, b"abc"), (3, b"c")):
                match_event_handler(numbers[text], 0, end, 0, None)

    scanner._database = AnyOrder()
    assert [((0, 3), (7, 16)), ((7, 16),)] == list(scanner(block))


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
