"""The time at which a line counts, or that it is too old to count."""

from __future__ import annotations

import logging

import pytest

from banguard.jails.timepolicy import OnceADay, TimePolicy

NOW = 1_800_000_000.0
FINDTIME = 600.0


@pytest.mark.parametrize(
    ("age", "live", "expected"),
    [
        (0, True, 0),
        (59, True, 59),
        (61, True, 61),
        (600, True, 600),
        (600.5, True, None),
        (86400, True, None),
        (-30, True, 0),
        (-3600, True, 0),
        (0, False, 0),
        (61, False, 61),
        (600, False, 600),
        (600.5, False, None),
        (-3600, False, 0),
    ],
)
def test_dated_line(age, live, expected):
    """A line counts at its own time; beyond findtime not at all; one of the future counts as of now."""
    at = TimePolicy("sshd", FINDTIME).dated(NOW - age, NOW, live=live)
    assert (None if expected is None else NOW - expected) == at


@pytest.mark.parametrize(
    ("age", "live", "expected"), [(2, True, 2), (60, True, 60), (61, True, None), (2, False, None)]
)
def test_a_findtime_shorter_than_a_line_takes_to_get_here(age, live, expected):
    """With `findtime = 1` a live line still counts that was written two seconds ago."""
    at = TimePolicy("ftp", 1.0).dated(NOW - age, NOW, live=live)
    assert (None if expected is None else NOW - expected) == at


@pytest.mark.parametrize(
    ("last_age", "live", "expected"),
    [
        (None, True, 0),
        (None, False, None),
        (60, True, 60),
        (60, False, 60),
        (61, True, 0),
        (61, False, None),
        (-5, True, 0),
    ],
)
def test_undated_line(last_age, live, expected):
    """Without a date, the last one counts while fresh; else now in a live log, and not at all in the past of one."""
    last = None if last_age is None else NOW - last_age
    at = TimePolicy("sshd", FINDTIME).undated(last, NOW, live=live)
    assert (None if expected is None else NOW - expected) == at


@pytest.mark.parametrize(
    ("age", "live", "words"),
    [
        (300, True, ["300 seconds before now", "own time", "logtimezone"]),
        (7200, True, ["7200 seconds before now", "skipped", "logtimezone"]),
        (-7200, True, ["7200 seconds after now", "as of now", "logtimezone"]),
        (7200, False, ["skipped"]),
    ],
)
def test_a_line_far_off_is_told_once_a_day(age, live, words, caplog):
    """The warning says by how much, what happens, and where to look; one a day per kind is enough."""
    policy = TimePolicy("sshd", FINDTIME)
    for later in (0, 5, 86399, 86400):
        policy.dated(NOW + later - age, NOW + later, live=live)
    records = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert 2 == len(records)
    assert all(word in records[0].getMessage() for word in words)
    assert records[0].name == "banguard.filter"


@pytest.mark.parametrize(("age", "live"), [(30, True), (-30, True), (300, False), (-300, False)])
def test_ordinary_lines_are_not_worth_a_word(age, live, caplog):
    """Small differences, and the past of a log that is caught up with, are normal."""
    TimePolicy("sshd", FINDTIME).dated(NOW - age, NOW, live=live)
    assert [] == caplog.records


def test_once_a_day_after_the_clock_was_set_back():
    """A clock set back by a year does not silence a warning for a year."""
    once = OnceADay()
    assert once.may("x", NOW)
    assert not once.may("x", NOW + 1)
    assert once.may("y", NOW + 1)
    assert once.may("x", NOW - 366 * 86400)


def test_what_was_said_is_not_remembered_without_end():
    """Names of logs come and go."""
    once = OnceADay()
    assert all(once.may(f"log {number}", NOW) for number in range(5000))
    assert len(once._said) <= 1000
