"""Tests of banguard.config.report."""

from __future__ import annotations

import pytest

from banguard.config.report import Report
from banguard.config.schema import Place, Severity
from banguard.errors import ConfigError


def test_problems_keep_their_order_and_place() -> None:
    """What was found first is told first, with jail, file and line."""
    report = Report()
    report.warning("odd", jail="a", place=Place("x", 1))
    report.error("bad", jail="b", place=Place("y", 2))
    assert [(Severity.WARNING, "a", 1), (Severity.ERROR, "b", 2)] == [
        (problem.severity, problem.jail, problem.place.line) for problem in report.problems
    ]
    assert report.has_error("b")
    assert not report.has_error("a")


def test_an_error_that_was_raised_keeps_its_own_place() -> None:
    """File and line of the error count, else those given."""
    report = Report()
    report.raised(ConfigError("one", path="x", line=3), jail="a", place=Place("y", 9))
    report.raised(ConfigError("two"), jail="a", place=Place("y", 9))
    assert [("x", 3), ("y", 9)] == [(problem.place.path, problem.place.line) for problem in report.problems]


def test_the_first_error_can_be_raised() -> None:
    """For callers that want one filter or nothing."""
    report = Report()
    report.raise_first()
    report.warning("odd")
    report.raise_first()
    report.error("bad", place=Place("x", 1))
    with pytest.raises(ConfigError, match="bad"):
        report.raise_first()
