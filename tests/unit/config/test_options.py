"""Tests of banguard.config.options."""

from __future__ import annotations

import dataclasses

import pytest

from banguard.config import options
from banguard.config.options import did_you_mean, misspelt, parse_option
from banguard.config.schema import IgnoreCache, ServerConfig


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("maxretry", "5", 5),
        ("findtime", "10m", 600.0),
        ("bantime", "1d", 86400),
        ("bantime", "-1", -1),
        ("ignoreself", "YES", True),
        ("ignoreself", "off", False),
        ("usedns", "Warn", "warn"),
        ("ignoreip", "192.0.2.1, ::1\n10.0.0.0/8", ("192.0.2.1", "::1", "10.0.0.0/8")),
        ("ignorecache", 'key="<ip>", max-count=5, max-time=1m', IgnoreCache("<ip>", 5, 60.0)),
        ("ignorecache", "", None),
        ("journalmatch", "_A=b + _C=d", (("_A=b", "+", "_C=d"),)),
    ],
)
def test_values_are_typed(name: str, text: str, expected: object) -> None:
    """Each option becomes the value the server works with."""
    assert expected == parse_option(name, text)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("maxretry", "many"),
        ("findtime", "__import__('os')"),
        ("findtime", "1ms"),
        ("usedns", "perhaps"),
        ("logencoding", "klingon"),
        ("nothing", "1"),
    ],
)
def test_what_is_no_value_is_refused(name: str, text: str) -> None:
    """The error names what is wrong."""
    with pytest.raises(ValueError):
        parse_option(name, text)


def test_the_table_and_the_dataclass_agree() -> None:
    """Every setting of the server has a field, with the same default."""
    known = {field.name for field in dataclasses.fields(ServerConfig)}
    assert {option.field for option in options.SERVER_OPTIONS.values()} <= known


def test_a_proposal_for_a_misspelt_word() -> None:
    """A close word is proposed, a distant one is not."""
    assert "maxretry" in did_you_mean("maxretries", ["maxretry", "findtime"])
    assert not did_you_mean("zzz", ["maxretry"])
    assert "findtime" in misspelt("findtme", ["findtime", "bantime"])
