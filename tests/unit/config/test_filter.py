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


JSON = """
[Definition]
logformat = json
datefield = at
mode = normal
field.a.status = 401
                 403
field.ip = <HOST>
field.kind = <kind-<mode>>
kind-normal =
kind-more = failed
ignorefield.ip = 192\\.0\\.2\\.9
"""


def test_conditions_on_fields(directory: Path) -> None:
    """They keep their order, lines of one are alternatives with a place each, and an empty one is none."""
    (directory / "filter.d/j.conf").write_text(JSON)
    found = load_filter(str(directory), "j")
    assert ("json", "at") == (found.logformat, found.datefield)
    conditions = (("field.a.status", ("401", "403")), ("field.ip", ("<HOST>",)), ("ignorefield.ip", (r"192\.0\.2\.9",)))
    assert conditions == found.fields
    assert 7 == found.places["field.a.status[1]"].line
    more = dict(load_filter(str(directory), "j", {"mode": "more"}).fields)
    assert ("failed",) == more["field.kind"]


def test_a_jail_can_replace_conditions(directory: Path) -> None:
    """What a jail says of a field stands instead; one that it empties is gone, and it may add some."""
    (directory / "filter.d/j.conf").write_text(JSON)
    (directory / "jail.conf").write_text(
        "[j]\nenabled = true\nlogpath = /x\nfilter = j\nfield.a.status = 404\nfield.user = .+\nignorefield.ip =\n"
    )
    config = load(str(directory))
    assert ["no action: bans have no effect"] == [problem.message for problem in config.problems]
    assert (("field.a.status", ("404",)), ("field.ip", ("<HOST>",)), ("field.user", (".+",))) == config.jails[
        "j"
    ].filter.fields


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ("bad value for logformat: expected json or text, not 'jsn'; reading lines of text", "logformat = jsn\n"),
        ("field.ip has no effect without logformat = json", "field.ip = <HOST>\n"),
    ],
)
def test_a_format_that_is_none_is_told(directory: Path, message: str, text: str) -> None:
    """A slip in the format is a warning with file and line; the rules for text go on."""
    (directory / "filter.d/j.conf").write_text(f"[Definition]\nfailregex = ^x <HOST>\n{text}")
    (directory / "jail.conf").write_text("[j]\nenabled = true\nlogpath = /x\nfilter = j\n")
    config = load(str(directory))
    (problem,) = [problem for problem in config.problems if problem.message == message]
    assert problem.place is not None
    assert (str(directory / "filter.d/j.conf"), 3) == (problem.place.path, problem.place.line)
    assert ("", ()) == (config.jails["j"].filter.logformat, config.jails["j"].filter.fields)
