"""Failures made of several lines: by session, and by a window."""

from __future__ import annotations

import re

import pytest

from banguard.matching.multiline import SESSION_LINES, LineWindow, Sessions
from banguard.matching.tags import expand

HOST = {"ip4": "192.0.2.1"}
NOFAIL = {"nofail": "x"}
GAINED = {"mlfgained": "x"}
FORGET = {"mlfforget": "x"}
AGAIN = {"mlfagain": "x"}


def play(*matches: dict[str, str], key: str = "s") -> list[tuple[str, ...] | None]:
    """Feed matches of one session; return the lines of the failure that each makes, as numbers, or None."""
    sessions = Sessions()
    made = [sessions.add(key, dict(data), str(number), 1000.0) for number, data in enumerate(matches)]
    return [None if failure is None else failure[1] for failure in made]


@pytest.mark.parametrize(
    ("matches", "expected"),
    [
        ([HOST], [("0",)]),
        ([HOST, HOST], [("0",), ("1",)]),
        ([HOST | NOFAIL], [None]),
        ([HOST | NOFAIL, HOST], [None, ("0", "1")]),
        ([HOST | NOFAIL, HOST | NOFAIL, HOST | GAINED | FORGET], [None, None, None]),
        ([HOST, HOST | GAINED], [("0",), None]),
        ([{}, HOST | FORGET], [None, ("0", "1")]),
        ([{}, HOST | NOFAIL], [None, ("0", "1")]),
        ([{}, HOST | GAINED], [None, None]),
        ([HOST | NOFAIL | {"user": "a"}, NOFAIL | {"user": "b"}], [None, ("0", "1")]),
        ([HOST | NOFAIL | {"user": ""}, NOFAIL | {"user": "b"}], [None, None]),
        ([HOST | NOFAIL, FORGET], [None, ("0", "1")]),
        ([HOST | FORGET, {}], [("0",), None]),
        ([HOST | AGAIN], [("0",)]),
        ([HOST, HOST | AGAIN], [("0",), None]),
        ([HOST, HOST | AGAIN, HOST | AGAIN], [("0",), None, ("2",)]),
        ([HOST, HOST | AGAIN, HOST, HOST | AGAIN], [("0",), None, ("2",), None]),
        ([HOST | AGAIN, HOST], [("0",), ("1",)]),
    ],
)
def test_lines_of_a_session_add_up(matches, expected):
    """A session fails when a line of it fails and a line of it tells the host, unless access was gained."""
    assert expected == play(*matches)


def test_sessions_do_not_mix():
    """What one session knows says nothing about another."""
    sessions = Sessions()
    sessions.add("a", dict(HOST | NOFAIL), "0", 1.0)
    assert sessions.add("b", {}, "1", 1.0) is None
    assert ({"ip4": "192.0.2.1", "nofail": "x"}, ("0", "2")) == sessions.add("a", {}, "2", 1.0)


def test_address_of_a_line_goes_over_that_of_lines_before():
    """A session whose lines name hosts of both families gives each failure the host of its own line."""
    sessions = Sessions()
    hosts = []
    for data in ({"ip4": "192.0.2.1"}, {"ip6": "2001:db8::1"}, {"user": "x"}, {"ip4": "192.0.2.2"}):
        failure = sessions.add("s", dict(data), "line", 1000.0)
        assert failure is not None
        hosts.append(failure[0].get("ip4") or failure[0].get("ip6"))
    assert ["192.0.2.1", "2001:db8::1", "2001:db8::1", "192.0.2.2"] == hosts


def test_silent_session_is_over():
    """After five minutes of log time a session is forgotten, so that a process id that comes again starts afresh."""
    sessions = Sessions(seconds=300)
    sessions.add("a", dict(HOST | NOFAIL), "0", 1000.0)
    sessions.add("a", dict(HOST | NOFAIL), "1", 1299.0)
    assert sessions.add("a", {}, "2", 1599.0) is None
    assert ({"ip4": "192.0.2.1"}, ("2", "3")) == sessions.add("a", dict(HOST), "3", 1600.0)


def test_line_without_a_time_is_of_the_time_before():
    """A line without a date neither ends sessions nor revives them."""
    sessions = Sessions(seconds=300)
    sessions.add("a", dict(HOST | NOFAIL), "0", 1000.0)
    assert sessions.add("a", {}, "1", None) is not None


def test_memory_for_sessions_is_bounded():
    """With too many sessions at a time the one silent for longest goes, and is counted as lost."""
    sessions = Sessions(limit=3)
    for number in range(5):
        sessions.add(str(number), dict(HOST | NOFAIL), "x", 1000.0 + number)
    assert (3, 2) == (len(sessions), sessions.lost)
    assert sessions.add("0", {}, "x", 1005.0) is None
    assert sessions.add("4", {}, "x", 1005.0) is not None


def test_sessions_that_are_over_are_no_loss():
    """What was silent for long enough is removed without being counted."""
    sessions = Sessions(limit=3, seconds=300)
    for number in range(9):
        sessions.add(str(number), dict(HOST | NOFAIL), "x", 1000.0 * number)
    assert (1, 0) == (len(sessions), sessions.lost)


def test_lines_of_a_session_are_bounded():
    """A session that goes on for ever keeps its newest lines."""
    sessions = Sessions()
    for number in range(1000):
        sessions.add("a", dict(NOFAIL), str(number), 1.0)
    _, lines = sessions.add("a", dict(HOST), "last", 1.0)
    assert (SESSION_LINES, "last", "999") == (len(lines), lines[-1], lines[-2])


def window(*lines: str, maxlines: int = 10) -> tuple[LineWindow, str]:
    filled = LineWindow(maxlines)
    subject = ""
    for line in lines:
        subject = filled.add(line, f"date {line}")
    return filled, subject


def test_window_holds_the_last_lines():
    """The subject is the last maxlines lines, each ended."""
    assert "b\nc\n" == window("a", "b", "c", maxlines=2)[1]


@pytest.mark.parametrize(
    ("regex", "lines", "expected"),
    [
        ("^a$<SKIPLINES>^b", ["a", "b"], (0, 1)),
        ("^a$<SKIPLINES>^b", ["x", "a", "y", "z", "b"], (1, 4)),
        (r"^a\nb\nc$", ["x", "a", "b", "c", "d"], (1, 2, 3)),
        (r"\nb$", ["a", "b"], (1,)),
        (r"^a\n", ["a", "b"], (0,)),
        ("^$", ["a", "", "b"], (1,)),
        ("b", ["a", "b"], (1,)),
    ],
)
def test_matched_lines_are_those_the_match_covers(regex, lines, expected):
    """Lines that a match covers are taken, except those that <SKIPLINES> passed over."""
    filled, subject = window(*lines)
    found = re.search(expand(regex), subject, re.MULTILINE)
    assert expected == filled.matched(found)


def test_taken_lines_leave_the_window_as_written():
    """What was taken is given back as it stood in the log; the others stay."""
    filled, _ = window("a", "b", "c")
    assert "a\nc\n" == filled.texts((0, 2))
    assert ("date a", "date c") == filled.take((0, 2))
    assert "b\nd\n" == filled.add("d", "date d")
