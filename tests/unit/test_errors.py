"""Tests of banguard.errors."""

from __future__ import annotations

import pytest

from banguard.errors import BanguardError, ConfigError, ControlError, PatternError


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ConfigError("no such option", path="jail.local", line=3), "jail.local:3: no such option"),
        (ConfigError("cannot be read", path="jail.local"), "jail.local: cannot be read"),
        (ConfigError("nothing there"), "nothing there"),
    ],
)
def test_a_config_error_says_where(error: ConfigError, expected: str) -> None:
    """File and line stand before the message when they are known."""
    assert expected == str(error)


def test_errors_carry_what_their_catcher_needs() -> None:
    """The pattern and the exit status travel with the error."""
    assert "(" == PatternError("unbalanced", pattern="(").pattern
    assert 2 == ControlError("usage", status=2).status
    assert issubclass(ControlError, BanguardError)
