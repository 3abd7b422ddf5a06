"""Tests of banguard.daemon.check."""

from __future__ import annotations

from pathlib import Path

import pytest

from banguard.config.schema import (
    ActionConfig,
    BantimeIncrement,
    Config,
    FilterConfig,
    JailConfig,
    LogPath,
    Place,
    Problem,
    Severity,
)
from banguard.daemon.check import check, check_jail


@pytest.fixture
def log(tmp_path: Path) -> LogPath:
    path = tmp_path / "auth.log"
    path.touch()
    return LogPath(str(path))


def found(**options) -> list[tuple[str, str]]:
    return [(problem.severity.value, problem.message) for problem in check_jail(JailConfig("sshd", **options))]


def test_a_jail_that_can_work_has_no_problem(log: LogPath) -> None:
    """Nothing is said of what is right."""
    assert [] == found(logpath=(log,), filter=FilterConfig(failregex=("^bad <HOST>$",)))


def test_a_broken_regex_is_named_with_its_place(log: LogPath) -> None:
    """The problem says which regex, and where it stands."""
    place = Place("filter.d/x.conf", 7)
    rules = FilterConfig(failregex=("^a <HOST>$", "^b (<HOST>$"), places={"failregex[1]": place})
    (problem,) = check_jail(JailConfig("sshd", logpath=(log,), filter=rules))
    assert place == problem.place
    assert "^b (<HOST>$" in problem.message
    assert Severity.ERROR is problem.severity


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"filter": FilterConfig(failregex=("^no id$",))}, "No failure-id group"),
        ({"filter": FilterConfig(failregex=("^<HOST>$",), datepattern="%Q")}, "%Q"),
        ({"backend": "gamin"}, "gamin"),
        ({"logencoding": "klingon"}, "klingon"),
        ({"logtimezone": "Middle/Earth"}, "Middle/Earth"),
        ({"actions": (ActionConfig("x", "x", commands={"actionban": "echo <a>"}, properties={"a": "<a>"}),)}, "<a>"),
    ],
)
def test_each_unusable_value_is_an_error(log: LogPath, options: dict[str, object], words: str) -> None:
    """What cannot be used is an error that names it."""
    problems = found(**{"logpath": (log,), **options})
    assert ["error"] == [severity for severity, _ in problems]
    assert words in problems[0][1]


def test_a_log_that_is_not_there_is_an_error_unless_the_jail_says_otherwise(tmp_path: Path) -> None:
    """A pattern that matches nothing is told of; with skip_if_nologs as a warning."""
    nothing = (LogPath(str(tmp_path / "*.log")),)
    rules = FilterConfig(failregex=("^<HOST>$",))
    assert "error" == found(logpath=nothing, filter=rules)[0][0]
    assert "warning" == found(logpath=nothing, filter=rules, skip_if_nologs=True)[0][0]
    assert [] == list(check_jail(JailConfig("sshd", logpath=nothing, filter=rules), logs=False))


def test_what_reading_found_comes_first(log: LogPath) -> None:
    """The check of a configuration begins with the problems of its files."""
    first = Problem(Severity.ERROR, "duplicate option")
    bad = JailConfig("sshd", logpath=(log,), filter=FilterConfig(failregex=("(",)))
    problems = check(Config("/etc/banguard", jails={"sshd": bad}, problems=(first,)))
    assert first == problems[0]
    assert "sshd" == problems[1].jail


@pytest.mark.parametrize(
    ("regex", "words"),
    [
        ("^(?:a+)+b <HOST>$", "bounded effort, which is slower"),
        (r"^(?i)(x)\1(?:a+)+b <HOST>$", "could stop the server"),
    ],
)
def test_a_regex_that_a_line_could_keep_busy_is_warned_of(log: LogPath, regex: str, words: str) -> None:
    """The warning names the regex, its place, and what comes of it; the jail works all the same."""
    place = Place("filter.d/x.conf", 7)
    rules = FilterConfig(failregex=("^fine <HOST>$", regex), places={"failregex[1]": place})
    (problem,) = check_jail(JailConfig("sshd", logpath=(log,), filter=rules))
    assert (Severity.WARNING, place) == (problem.severity, problem.place)
    assert problem.message.startswith(f"failregex {regex!r}: ")
    assert words in problem.message


def test_quiet_where_nobody_listens_is_warned_of(log: LogPath) -> None:
    """With the place of the option; the jail works all the same."""
    place = Place("jail.local", 3)
    jail = JailConfig(
        "sshd",
        logpath=(log,),
        filter=FilterConfig(failregex=("^bad <HOST>$",)),
        increment=BantimeIncrement(quiet=86_400.0),
        actions=(ActionConfig("own", "own", commands={"actionban": "true"}),),
        places={"bantime.quiet": place},
    )
    (problem,) = check_jail(jail)
    assert (Severity.WARNING, place) == (problem.severity, problem.place)
    assert problem.message.startswith("bantime.quiet has no effect")
