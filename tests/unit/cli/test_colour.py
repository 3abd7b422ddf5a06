"""Tests of banguard.cli.colour."""

from __future__ import annotations

import pytest

from banguard.cli.colour import Paint, is_wanted

XTERM = {"TERM": "xterm"}


@pytest.mark.parametrize(
    ("expected", "choice", "environment", "terminal"),
    [
        (True, "auto", XTERM, True),
        (False, "auto", XTERM, False),
        (False, "auto", {"TERM": "dumb"}, True),
        (False, "auto", {}, True),
        (False, "auto", {**XTERM, "NO_COLOR": "1"}, True),
        (True, "auto", {**XTERM, "NO_COLOR": ""}, True),
        (True, "auto", {"CLICOLOR_FORCE": "1"}, False),
        (False, "auto", {"CLICOLOR_FORCE": "0"}, False),
        (False, "auto", {"CLICOLOR_FORCE": "1", "NO_COLOR": "1"}, False),
        (False, "auto", {**XTERM, "CLICOLOR": "0"}, True),
        (True, "always", {"NO_COLOR": "1", "TERM": "dumb"}, False),
        (False, "never", {**XTERM, "CLICOLOR_FORCE": "1"}, True),
    ],
)
def test_colours_are_for_terminals_and_for_who_wants_them(expected, choice, environment, terminal):
    """The option decides before the environment, the environment before the terminal."""
    assert expected == is_wanted(choice, environment, terminal=terminal)


def test_a_text_is_coloured_as_a_whole():
    """The colour ends where the text ends; nothing is added to nothing, nor without a style, nor when off."""
    assert "\x1b[32myes\x1b[0m" == Paint(on=True)("good", "yes")
    assert ["", "yes", "yes"] == [Paint(on=True)("good", ""), Paint(on=True)("", "yes"), Paint(on=False)("good", "yes")]


def test_a_status_keeps_its_text():
    """Without the colours a coloured status is the same, character by character."""
    text = "Status for the jail: sshd\n|- Currently banned:\t2\n`- Banned IP list:\t192.0.2.1 2001:db8::1"
    painted = Paint(on=True).status(text, not_enforced=frozenset({"192.0.2.1"}))
    for code in ("\x1b[0m", "\x1b[36m", "\x1b[33m", "\x1b[1;31m", "\x1b[1m"):
        assert code in painted
        painted = painted.replace(code, "")
    assert text == painted
    assert text == Paint(on=False).status(text)


def test_who_is_not_held_by_the_firewall_is_red():
    """A ban that is not in force is seen at once."""
    painted = Paint(on=True).status("Banned IP list:\ta b", not_enforced=frozenset({"b"}))
    assert "Banned IP list:\t\x1b[36ma\x1b[0m \x1b[1;31mb\x1b[0m" == painted
