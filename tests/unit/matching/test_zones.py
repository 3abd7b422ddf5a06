"""Time zones of dates."""

from __future__ import annotations

import time
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from banguard.matching.zones import ABBREVIATIONS, EPOCH_WALL, LOCAL, NamedZone, offset_of, parse_zone

HOUR = 3600


def wall_of(text: str) -> int:
    moment = datetime.fromisoformat(text)
    return moment.toordinal() * 86_400 + moment.hour * HOUR + moment.minute * 60 + moment.second


@pytest.fixture
def zurich(monkeypatch):
    monkeypatch.setenv("TZ", "Europe/Zurich")
    time.tzset()
    yield ZoneInfo("Europe/Zurich")
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("text", "hours"),
    [
        ("Z", 0),
        ("UTC", 0),
        ("GMT", 0),
        ("CET", 1),
        ("CEST", 2),
        ("EST", -5),
        ("MSK", 3),
        ("NST", -3.5),
        ("ACDT", 10.5),
        ("Y", -12),
        ("+02", 2),
        ("+0230", 2.5),
        ("-02:30", -2.5),
        ("UTC+0200", 2),
        ("GMT-0100", -1),
        ("CET+0100", 2),
        ("Z-01", -1),
        ("-0000", 0),
        ("+1930", 19.5),
    ],
)
def test_a_fixed_zone_is_read(text, hours):
    """Abbreviations, offsets and both together are seconds east of UTC."""
    assert hours * HOUR == offset_of(text)
    assert hours * HOUR == parse_zone(text).offset


@pytest.mark.parametrize(
    "text", ["", "utc", "z", "+2", "+200", "+2000", "0200", "XYZ", "UTC 0200", "+02:", "CET+1", "+02:00:00"]
)
def test_what_is_no_fixed_zone_is_refused(text):
    """Anything else is an error, a wrong case included."""
    with pytest.raises(ValueError, match="unknown time zone"):
        offset_of(text)


@pytest.mark.parametrize("text", ["Europe/Nowhere", "../etc/passwd", "/etc/passwd", "local time", "Europe/", "\0"])
def test_an_unknown_name_says_what_would_do(text):
    """The message of an unknown zone names the three ways to write one; no path leads out of the zone database."""
    with pytest.raises(ValueError, match=r"UTC\+0200.*CET.*Europe/Zurich"):
        parse_zone(text)


def test_no_zone_is_local_time():
    """Without a zone, dates are in the local time of the system."""
    assert LOCAL is parse_zone(None)
    assert LOCAL is parse_zone("")


def test_the_later_of_two_equal_abbreviations_counts():
    """Abbreviations that several countries use mean one thing only."""
    assert [-4 * HOUR, 2 * HOUR, 8 * HOUR] == [ABBREVIATIONS["AST"], ABBREVIATIONS["SAST"], ABBREVIATIONS["WST"]]


@pytest.mark.parametrize("zone", [LOCAL, NamedZone(ZoneInfo("Europe/Zurich"))])
@pytest.mark.parametrize(
    ("wall", "expected"),
    [
        ("2026-01-01T12:00:00", "2026-01-01T12:00:00+01:00"),
        ("2026-07-01T12:00:00", "2026-07-01T12:00:00+02:00"),
        ("2026-03-29T01:59:59", "2026-03-29T01:59:59+01:00"),
        ("2026-03-29T02:30:00", "2026-03-29T03:30:00+02:00"),
        ("2026-03-29T03:00:00", "2026-03-29T03:00:00+02:00"),
        ("2026-10-25T01:59:59", "2026-10-25T01:59:59+02:00"),
        ("2026-10-25T02:30:00", "2026-10-25T02:30:00+02:00"),
        ("2026-10-25T03:00:00", "2026-10-25T03:00:00+01:00"),
    ],
)
def test_summer_time_begins_and_ends(zurich, zone, wall, expected):
    """A skipped hour counts on, a repeated one is the first; both kinds of zone agree."""
    assert datetime.fromisoformat(expected).timestamp() == zone.epoch(wall_of(wall), 1.8e9)[0]


@pytest.mark.parametrize("zone", [LOCAL, NamedZone(ZoneInfo("Europe/Zurich"))])
@pytest.mark.parametrize(
    ("now", "expected", "until"),
    [
        ("2026-10-25T02:31:00+02:00", "2026-10-25T02:30:00+02:00", "2026-10-25T02:30:00+01:00"),
        ("2026-10-25T02:29:59+01:00", "2026-10-25T02:30:00+02:00", "2026-10-25T02:30:00+01:00"),
        ("2026-10-25T02:30:00+01:00", "2026-10-25T02:30:00+01:00", "2026-10-25T03:30:00+01:00"),
        ("2026-10-25T03:29:59+01:00", "2026-10-25T02:30:00+01:00", "2026-10-25T03:30:00+01:00"),
        ("2026-10-25T03:30:00+01:00", "2026-10-25T02:30:00+02:00", None),
    ],
)
def test_a_line_just_written_in_the_repeated_hour_is_of_now(zurich, zone, now, expected, until):
    """The second reading counts in the hour after it, and it is said until when the answer holds."""
    limit = float("inf") if until is None else datetime.fromisoformat(until).timestamp()
    answer = zone.epoch(wall_of("2026-10-25T02:30:00"), datetime.fromisoformat(now).timestamp())
    assert (datetime.fromisoformat(expected).timestamp(), limit) == answer


def test_local_time_follows_a_change_of_zone(monkeypatch):
    """Whoever changes the system's zone does not have to restart anything."""
    for name, hours in (("Asia/Tokyo", 9), ("America/New_York", -5)):
        monkeypatch.setenv("TZ", name)
        assert 1_767_225_600.0 - hours * HOUR == LOCAL.epoch(EPOCH_WALL + 1_767_225_600, 1.8e9)[0]
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize("wall", ["0001-01-01T00:00:00", "9999-12-31T23:59:59"])
def test_the_ends_of_the_calendar_are_times(zurich, wall):
    """Hostile dates of year 1 or 9999 are read, not crashed on."""
    assert abs(wall_of(wall) - EPOCH_WALL - LOCAL.epoch(wall_of(wall), 1.8e9)[0]) < 86_400


@settings(deadline=None)
@given(st.integers(min_value=0, max_value=4_000_000_000))
def test_local_and_named_zone_are_one(instant):
    """The system's zone and the same zone by name read every moment alike."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", "America/St_Johns")
        time.tzset()
        named = parse_zone("America/St_Johns")
        assert named.wall(instant) == LOCAL.wall(instant)
        wall = int(named.wall(instant))
        assert named.epoch(wall, instant) == LOCAL.epoch(wall, instant)
    time.tzset()


@pytest.mark.parametrize(
    ("zone", "expected"),
    [("UTC", "2026-07-01T14:00:00"), ("Asia/Tokyo", "2026-07-01T21:00:00"), (None, "2026-07-01T14:00:00")],
)
def test_today_is_that_of_the_system_unless_the_zone_has_a_name(zurich, zone, expected):
    """Dates without a day go by the system's calendar with a fixed offset, by the zone's own with a named zone."""
    now = datetime.fromisoformat("2026-07-01T12:00:00+00:00").timestamp()
    assert wall_of(expected) == parse_zone(zone).wall(now)
