"""Tests of banguard.cli.samples."""

from __future__ import annotations

import pytest

from banguard.cli.samples import epoch, escapes, parse
from banguard.errors import ConfigError

TEXT = """## a remark
# free: user,quoted escape=quote

# match host=192.0.2.1 user='x y'
# no match with mode=normal
the line
# no match success=192.0.2.2
other
"""


def test_expectations_stand_above_their_line():
    """Each makes a sample of its own; remarks are passed over."""
    one, two, three = parse("f", TEXT)
    assert ("the line", True, "192.0.2.1") == (one.line, one.matches, one.host)
    assert (("host", "192.0.2.1"), ("user", "x y")) == one.expected
    assert (False, (("mode", "normal"),), "f:6[mode=normal]") == (two.matches, two.options, two.id)
    assert ("192.0.2.2", 8) == (three.host, three.number)


def test_how_text_is_written():
    """`# free:` lines tell it by kind of field."""
    assert {"user": "quote", "quoted": "quote"} == escapes("f", TEXT)


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (r"f\.log:1: nothing is expected of this line", "x"),
        (r"f\.log: an expectation stands at the end without a line", "# match\n"),
        (r"f\.log:1: an expectation begins with `match` or `no match`", "# what\nx\n"),
        (r"f\.log:1: expected KEY=VALUE", "# match host\nx\n"),
        (r"f\.log:1: No closing quotation", "# match user='x\nx\n"),
    ],
)
def test_what_is_not_understood_is_named(message, text):
    """The error names file and line."""
    with pytest.raises(ConfigError, match=message):
        parse("f", text)


@pytest.mark.parametrize("line", ["# free: user", "# free: user escape=what"])
def test_a_bad_way_of_writing_is_named(line):
    """A way that is none is no way to keep text from being tried."""
    with pytest.raises(ConfigError, match=r"f\.log:1: expected `# free: KIND escape=HOW`"):
        escapes("f", line)


def test_times_are_utc():
    """As the README says."""
    assert 1_795_213_647.0 == epoch("2026-11-20T22:27:27")
