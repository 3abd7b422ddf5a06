"""Tests of banguard.cli.pager."""

from __future__ import annotations

import pytest

from banguard.cli import pager


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """Two pagers: `less` and `mine` write what they got, and how they were called, to a file."""
    for name in ("less", "mine"):
        (tmp_path / name).write_text(f'#!/bin/sh\n{{ echo "{name} $* $LESS $LESSSECURE"; cat; }} > {tmp_path}/said\n')
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return tmp_path


@pytest.mark.parametrize(
    ("expected", "environment"),
    [
        (["less"], {}),
        (["mine", "-x", "a b"], {"PAGER": "mine -x 'a b'"}),
        (["mine"], {"PAGER": "less", "BANGUARD_PAGER": "mine"}),
        ([], {"PAGER": "cat"}),
        ([], {"PAGER": ""}),
        ([], {"PAGER": "mine '"}),
        ([], {"PAGER": "absent-pager"}),
        (["less"], {"PAGER": "mine", "SUDO_UID": "1000"}),
        ([], {"PAGER": "", "SUDO_UID": "1000"}),
    ],
)
def test_the_environment_names_the_pager(programs, expected, environment):
    """BANGUARD_PAGER before PAGER before less; under sudo nothing but less, for it would run as root."""
    assert expected == pager.program(environment)


@pytest.mark.parametrize(("expected", "environment"), [("less  FRX 1", {}), ("less   1", {"LESS": ""})])
def test_the_pager_gets_the_text(programs, monkeypatch, expected, environment):
    """Colours are let through unless the user's LESS says otherwise; less may start no programs."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert pager.show("täxt\udc80\n", ["less"], environment)
    assert f"{expected}\ntäxt\\udc80\n" == (programs / "said").read_text()


def test_a_pager_that_cannot_be_started_shows_nothing(programs):
    """Then the text is printed as it is."""
    assert not pager.show("text", [str(programs / "absent")], {})
