"""Tests of banguard.config.options."""

from __future__ import annotations

import dataclasses

import pytest

from banguard.config import options
from banguard.config.options import did_you_mean, misspelt, parse_option
from banguard.config.schema import IgnoreCache, JailConfig, LogPath, ServerConfig


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


def test_every_option_of_jails_has_a_field_with_its_default() -> None:
    """A jail that says nothing is the same by the table as by the dataclass."""
    jail = JailConfig("x")
    for option in options.JAIL_OPTIONS.values():
        if option.name == "backend":
            assert (jail.backend, dict(jail.backend_options)) == (option.default.name, option.default.options)
        elif option.field:
            value = jail
            for name in option.field.split("."):
                value = getattr(value, name)
            assert value == option.default, option.name


def test_every_option_says_what_it_is_for() -> None:
    """The help of `set` is made of the table."""
    assert [] == [name for name, option in options.JAIL_OPTIONS.items() if not option.help]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/a.log", (LogPath("/a.log"),)),
        ("/a.log tail\n/b.log head", (LogPath("/a.log", tail=True), LogPath("/b.log"))),
        ("/with blank.log head", (LogPath("/with blank.log"),)),
        ("tail", (LogPath("tail"),)),
        ("", ()),
    ],
)
def test_logs(text: str, expected: tuple[LogPath, ...]) -> None:
    """One per line; the word after the path says where to begin."""
    assert expected == parse_option("logpath", text)


@pytest.mark.parametrize("text", ["max-count=5", 'key="<ip>", size=5', 'key="<ip>"; max-count=5', "key="])
def test_a_bad_ignorecache(text: str) -> None:
    """A cache needs its key, and knows no other words than its own."""
    with pytest.raises(ValueError):
        parse_option("ignorecache", text)
