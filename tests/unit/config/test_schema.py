"""Tests of banguard.config.schema."""

from __future__ import annotations

import dataclasses

import pytest

from banguard.config.schema import Config, JailConfig, Place, Problem, Severity


@pytest.mark.parametrize(
    ("problem", "expected"),
    [
        (Problem(Severity.ERROR, "bad", "sshd", Place("jail.local", 3)), "jail.local:3: error: [sshd] bad"),
        (Problem(Severity.WARNING, "odd"), "warning: odd"),
    ],
)
def test_a_problem_is_read_from_left_to_right(problem: Problem, expected: str) -> None:
    """File and line, how bad it is, the jail, what it is."""
    assert expected == str(problem)


def test_errors_are_the_problems_that_matter() -> None:
    """A warning keeps nobody from running."""
    error, warning = Problem(Severity.ERROR, "bad"), Problem(Severity.WARNING, "odd")
    assert (error,) == Config("/etc/banguard", problems=(warning, error)).errors


def test_configuration_is_frozen() -> None:
    """What everybody reads nobody changes."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        JailConfig("a").maxretry = 1  # type: ignore[misc]
