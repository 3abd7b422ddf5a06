"""Tests of banguard.cli.configuration; tests of the server and of the client use it too."""

from __future__ import annotations

import json

import pytest

from banguard.cli import configuration
from banguard.config.schema import Config, FilterConfig, JailConfig, Place, Problem, Severity

BAD = JailConfig("x", filter=FilterConfig(failregex=("(<HOST>",), places={"failregex[0]": Place("x.conf", 3)}))
WARNING = Problem(Severity.WARNING, "odd \x1b[2J key")


def test_a_verdict_in_json_has_the_problems_and_the_error(capsys: pytest.CaptureFixture[str]) -> None:
    """Each problem has its place; the key `error` is there when the check failed, and only then."""
    assert 1 == configuration.check(Config("/etc/x", jails={"x": BAD}), as_json=True)
    found = json.loads(capsys.readouterr().out)
    assert ("x.conf", 3, "x") == tuple(found["problems"][0][key] for key in ("file", "line", "jail"))
    assert "x.conf:3" in found["error"]
    assert 0 == configuration.check(Config("/etc/x"), as_json=True)
    assert {"ok": True, "problems": []} == json.loads(capsys.readouterr().out)


def test_warnings_do_not_fail_and_can_be_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    """A warning is printed, without control characters, and the verdict is good."""
    assert 0 == configuration.check(Config("/etc/x", problems=(WARNING,)))
    printed = capsys.readouterr()
    assert "odd" in printed.err
    assert "\x1b" not in printed.err
    assert "OK: configuration test is successful\n" == printed.out
    configuration.check(Config("/etc/x", problems=(WARNING,)), quiet=True)
    assert not capsys.readouterr().err


@pytest.mark.parametrize("pretty", [True, False])
def test_a_dump_is_a_command_a_line_or_one_object(capsys: pytest.CaptureFixture[str], pretty: bool) -> None:
    """Text and JSON hold the same commands."""
    config = Config("/etc/x", jails={"x": JailConfig("x")})
    assert 0 == configuration.dump(config, pretty=pretty)
    assert "['start', 'x']" in capsys.readouterr().out.splitlines()
    assert 0 == configuration.dump(config, pretty=pretty, as_json=True)
    assert ["start", "x"] in json.loads(capsys.readouterr().out)["commands"]
