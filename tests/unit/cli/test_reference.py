"""The description of the three programs is that of their own command lines."""

from __future__ import annotations

import pytest

from banguard.cli.reference import PROGRAMS


def flags(name):
    return {spelling: flag for flag in PROGRAMS[name]().flags for spelling in flag.names}


@pytest.mark.parametrize("name", PROGRAMS)
def test_names(name):
    """Each program is described under its own name, with a sentence, a usage and options that have a help text."""
    program = PROGRAMS[name]()
    assert name == program.name
    assert program.usage.startswith(name)
    assert program.summary.endswith(".")
    assert all(flag.help for flag in program.flags)


@pytest.mark.parametrize(
    ("name", "flag", "value"),
    [
        ("banguard-client", "-c", "DIR"),
        ("banguard-client", "--conf", "DIR"),
        ("banguard-client", "--json", ""),
        ("banguard-client", "-d", ""),
        ("banguard-server", "--socket", "FILE"),
        ("banguard-server", "-f", ""),
        ("banguard-server", "--timeout", "SECONDS"),
        ("banguard-regex", "--usedns", "MODE"),
        ("banguard-regex", "--print-all-missed", ""),
        ("banguard-regex", "--version", ""),
    ],
)
def test_flags(name, flag, value):
    """An option is found by each of its spellings, with the name of the value it takes."""
    assert value == flags(name)[flag].value


def test_choices():
    """An option with a fixed set of values names them."""
    assert ("yes", "warn", "no", "raw") == flags("banguard-regex")["--usedns"].choices


def test_client_help_is_whole():
    """Every option that getopt accepts for banguard-client stands in its help, and the reverse."""
    from banguard.cli import client

    long = {"--" + name.rstrip("=") for name in client._LONG}
    short = {"-" + letter for letter in client._SHORT.replace(":", "")}
    assert long | short == set(flags("banguard-client"))


def test_hidden_options_stay_hidden():
    """What is accepted only for old scripts is not described."""
    assert "--async" not in flags("banguard-server")
