"""Tests of banguard.config.filter beyond those of whole directories in test_build."""

from __future__ import annotations

from pathlib import Path

import pytest

from banguard.config import load, load_filter

TEXT = """
[INCLUDES]
before = common.conf
[Definition]
failregex = ^<prefix>one <HOST>$

            ^<prefix>two <HOST>$
ignoreregex =
journalmatch = _COMM=a + _COMM=b
               _COMM=c
prefix = <lt_<logtype>/prefix>
datepattern = ^%%Y-%%m
maxlines = 2
"""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "filter.d").mkdir()
    (tmp_path / "filter.d/common.conf").write_text("[lt_file]\nprefix = F\n[lt_journal]\nprefix = J\n")
    (tmp_path / "filter.d/x.conf").write_text(TEXT)
    (tmp_path / "banguard.conf").touch()
    return tmp_path


@pytest.mark.parametrize(("backend", "letter"), [("auto", "F"), ("systemd", "J"), ("systemd[x=1]", "J")])
def test_the_kind_of_log_decides_the_prefix(directory: Path, backend: str, letter: str) -> None:
    """`logtype` follows the backend, and picks a section by a tag within a tag."""
    found = load_filter(str(directory), "x", {}, backend=backend)
    assert (f"^{letter}one <HOST>$", f"^{letter}two <HOST>$") == found.failregex


def test_the_options_of_a_filter(directory: Path) -> None:
    """Lists are split, empty items dropped, percent signs unescaped once."""
    found = load_filter(str(directory), "x")
    assert ((), "^%Y-%m", 2) == (found.ignoreregex, found.datepattern, found.maxlines)
    assert (("_COMM=a", "+", "_COMM=b"), ("_COMM=c",)) == found.journalmatch
    assert 7 == found.places["failregex[1]"].line


def test_a_jail_can_replace_or_extend_what_the_filter_says(directory: Path) -> None:
    """An option in the jail replaces that of the filter; `known/` brings the filter's own back in."""
    (directory / "jail.conf").write_text(
        "[x]\nenabled = true\nlogpath = /x\nfilter = x\nfailregex = %(known/failregex)s\n  ^more <HOST>$\nmaxlines = 1\n"
    )
    jail = load(str(directory)).jails["x"]
    assert ("^Fone <HOST>$", "^Ftwo <HOST>$", "^more <HOST>$") == jail.filter.failregex
    assert 1 == jail.filter.maxlines
