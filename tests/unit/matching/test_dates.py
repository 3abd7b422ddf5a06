"""Finding and reading dates."""

from __future__ import annotations

import time
from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from banguard.errors import PatternError
from banguard.matching.dates import DateDetector

NOW = "2026-11-21 12:00:00"


@pytest.fixture(autouse=True)
def zurich():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", "Europe/Zurich")
        time.tzset()
        yield
    time.tzset()


def at(text: str) -> float:
    """Epoch time of local time *text*."""
    return datetime.fromisoformat(text).timestamp()


def read(pattern: str | None, line: str, now: str = NOW, zone: str | None = None) -> str | None:
    """Local time that *line* is of; None for an impossible date."""
    found = DateDetector(pattern, timezone=zone).find(line, at(now))
    assert found is not None
    return None if found.time is None else str(datetime.fromtimestamp(found.time))


FULL = "%Y-%m-%d %H:%M:%S"


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        (FULL, "2026-02-28 23:59:59", "2026-02-28 23:59:59"),
        (FULL, "2024-02-29 00:00:00", "2024-02-29 00:00:00"),
        (FULL, "2026-02-29 00:00:00", None),
        (FULL, "2026-02-31 00:00:00", None),
        (FULL, "2026-11-21 12:00:60", None),
        (FULL, "0000-01-01 00:00:00", None),
        (FULL, "1969-12-31 00:00:00", "1969-12-31 00:00:00"),
        (FULL, "٢٠٢٦-11-2١ 1٢:00:0٣", "2026-11-21 12:00:03"),
        ("%Y-%m-%d %k:%M", "2026-11-21  9:30", "2026-11-21 09:30:00"),
        ("%Y-%m-%d %k:%M", "2026-11-21 24:00", None),
        ("%y-%m-%d", "05-01-31", "2005-01-31 00:00:00"),
        ("%y-%m-%d", "69-01-31", "2069-01-31 00:00:00"),
        ("%Y-%m-%d %H:%M:%S.%f", "2026-11-21 01:02:03.999", "2026-11-21 01:02:03"),
        ("%d %B %Y", "5 September 2026", "2026-09-05 00:00:00"),
        ("%d %b %Y", "5 ſep 2026", None),
        ("%c", "Sat Nov 21 01:02:03 2026", "2026-11-21 01:02:03"),
        ("%x %X", "11/21/26 01:02:03", "2026-11-21 01:02:03"),
        # twelve hours
        ("%Y-%m-%d %I:%M %p", "2026-11-21 12:30 AM", "2026-11-21 00:30:00"),
        ("%Y-%m-%d %I:%M %p", "2026-11-21 12:30 pm", "2026-11-21 12:30:00"),
        ("%Y-%m-%d %I:%M %p", "2026-11-21 01:30 Pm", "2026-11-21 13:30:00"),
        ("%Y-%m-%d %p %I:%M", "2026-11-21 PM 01:30", "2026-11-21 13:30:00"),
        ("%Y-%m-%d %I:%M", "2026-11-21 12:30", "2026-11-21 00:30:00"),
        ("%Y-%m-%d %H:%M %p", "2026-11-21 01:30 PM", "2026-11-21 01:30:00"),
        ("%Y-%m-%d %l:%M %p", "2026-11-21 13:30 PM", None),
        # days of the year and weeks
        ("%Y %j", "2026 45", "2026-02-14 00:00:00"),
        ("%Y %j", "2026 366", "2027-01-01 00:00:00"),
        ("%j", "045", "2026-02-14 00:00:00"),
        ("%Y-%m-%d %j", "2026-02-03 100", "2026-02-03 00:00:00"),
        ("%Y %U %w", "2026 01 0", "2026-01-04 00:00:00"),
        ("%Y %U %a", "2026 00 Sat", "2026-01-03 00:00:00"),
        ("%Y %W %A", "2026 01 Sunday", "2026-01-11 00:00:00"),
        ("%Y %W %a", "2024 00 Mon", "2024-01-01 00:00:00"),
        # parts
        ("%Y", "2024", "2024-11-21 00:00:00"),
        ("%Y %U", "2024 10", "2024-11-21 00:00:00"),
        ("%a", "Mon", "2026-11-21 00:00:00"),
        ("%Y-%m", "2026-11", None),
        ("%d", "21", None),
        # numbers
        ("EPOCH", "1795222800.250", "2026-11-21 02:00:00.250000"),
        ("LEPOCH", "1795222800250", "2026-11-21 02:00:00.250000"),
        ("LEPOCH", "1795222800250.5", "2026-11-21 02:00:00.250500"),
        ("LEPOCH", "1795222800250500", "2026-11-21 02:00:00.250500"),
        ("LEPOCH", "1795222800", "2026-11-21 02:00:00"),
        ("t={EPOCH}", "x t=1795222800", "2026-11-21 02:00:00"),
        ("(t)=(?:{LEPOCH})", "x t=1795222800250", "2026-11-21 02:00:00.250000"),
        ("TAI64N", f"@4{1795222800:015x}12345678", "2026-11-21 02:00:00"),
    ],
)
def test_a_date_is_read(pattern, text, expected):
    """Every kind of token says its part of the time; what is no date has none."""
    assert expected == read(pattern, text)


@pytest.mark.parametrize(
    ("text", "now", "expected"),
    [
        ("Nov 21 12:00:00", NOW, "2026-11-21 12:00:00"),
        ("Nov 22 12:00:00", NOW, "2026-11-22 12:00:00"),
        ("Nov 22 12:00:01", NOW, "2025-11-22 12:00:01"),
        ("Dec 31 23:59:59", "2027-01-01 00:00:01", "2026-12-31 23:59:59"),
        ("Jan  1 00:00:00", "2026-12-31 23:59:59", "2026-01-01 00:00:00"),
        ("Feb 29 12:00:00", "2024-03-01 00:00:00", "2024-02-29 12:00:00"),
        ("Feb 29 12:00:00", "2026-03-01 00:00:00", None),
        ("Feb 29 12:00:00", "2024-01-10 00:00:00", None),
    ],
)
def test_a_date_without_year_is_of_this_or_last_year(text, now, expected):
    """Logs are of the past; a day of grace is for clocks and zones that differ."""
    assert expected == read(None, text + " host", now)


@pytest.mark.parametrize(
    ("text", "now", "expected"),
    [
        ("12:00:00", NOW, "2026-11-21 12:00:00"),
        ("12:00:01", NOW, "2026-11-20 12:00:01"),
        ("23:59:59", "2027-01-01 00:00:00", "2026-12-31 23:59:59"),
        ("00:00:00", "2027-01-01 00:00:00", "2027-01-01 00:00:00"),
    ],
)
def test_a_time_without_day_is_of_today_or_yesterday(text, now, expected):
    """A time that is yet to come today was yesterday's."""
    assert expected == read(None, text + " host", now)


@pytest.mark.parametrize(
    ("text", "zone", "expected"),
    [
        ("2026-11-21 12:00:00", "UTC", "2026-11-21 13:00:00"),
        ("2026-11-21 12:00:00", "UTC+0200", "2026-11-21 11:00:00"),
        ("2026-07-21 12:00:00", "CET", "2026-07-21 13:00:00"),
        ("2026-07-21 12:00:00", "Europe/Zurich", "2026-07-21 12:00:00"),
        ("2026-07-21 12:00:00", "America/New_York", "2026-07-21 18:00:00"),
        ("2026-11-21 12:00:00", "America/New_York", "2026-11-21 18:00:00"),
        ("2026-11-21 12:00:00 +0500", "UTC", "2026-11-21 08:00:00"),
        ("2026-11-21 12:00:00Z", "America/New_York", "2026-11-21 13:00:00"),
        ("Nov 21 05:00:00", "America/New_York", "2026-11-21 11:00:00"),
        ("23:30:00", "America/New_York", "2026-11-21 05:30:00"),
        ("07:00:00", "America/New_York", "2026-11-20 13:00:00"),
        ("Nov 22 05:00:00", "-0500", "2026-11-22 11:00:00"),
    ],
)
def test_a_date_is_in_the_zone_it_names_or_was_told(text, zone, expected):
    """The line's own zone counts first, then that of the option, then local time."""
    assert expected == read(None, text + " host", zone=zone)


def test_an_unknown_abbreviation_makes_no_time():
    """A word that only looks like a zone never shifts a time: the line counts as one without a date."""
    found = DateDetector().find("INFO Nov 21 12:00:00 host", at(NOW))
    assert (None, False, 0, 0) == (found.time, found.optional, found.start, found.end)
    assert "INFO Nov 21 12:00:00" == found.text


@pytest.mark.parametrize(
    ("pattern", "line", "start", "end", "optional"),
    [
        (None, "Nov 21 12:00:00 host", 0, 15, False),
        (None, "[Nov 21 12:00:00] host", 1, 16, False),
        (None, "a 2026-11-21 12:00:00,123 b", 2, 25, False),
        (None, "Nov 31 12:00:00 host", 0, 0, False),
        ("{NONE}", "anything", 0, 0, True),
        ("^WARNING:()**", "WARNING: x", 8, 8, True),
        ("^(%Y)?x", "x", 0, 0, True),
        ("^%Y()", "2026", 0, 4, False),
    ],
)
def test_what_is_cut(pattern, line, start, end, optional):
    """A possible date is cut; one that is impossible, or optional and missing, leaves the line whole."""
    found = DateDetector(pattern).find(line, at(NOW))
    assert (start, end, optional) == (found.start, found.end, found.optional)


def test_a_line_without_date_is_none():
    """No template, no date; an empty line neither."""
    detector = DateDetector()
    assert [None, None] == [detector.find(line, at(NOW)) for line in ("no date", "")]
    assert 0 == sum(each.hits for each in detector.templates)


@pytest.mark.parametrize("zone", ["Nowhere", "+2"])
def test_a_bad_zone_is_refused(zone):
    """The error holds the zone as the user wrote it."""
    with pytest.raises(PatternError) as caught:
        DateDetector(timezone=zone)
    assert zone == caught.value.pattern


def test_years_are_limited_unless_told_otherwise():
    """The tester takes dates of the last century, the server does not; both refuse what is no year."""
    line = "1999-11-21 12:00:00 host"
    assert DateDetector().find(line, at(NOW)) is None
    assert at("1999-11-21 12:00:00") == DateDetector(any_year=True).find(line, at(NOW)).time


def test_the_next_decade_needs_no_restart():
    """A detector that lives on takes the years that come within reach."""
    detector = DateDetector("^%ExY-%m-%d")
    assert detector.find("2031-01-01", at("2026-12-31 23:59:59")) is None
    assert detector.find("2031-01-01", at("2027-01-01 00:00:00")) is not None
    assert "20[0-3]" in detector.templates[0].regex


@pytest.mark.parametrize(
    ("pattern", "description"),
    [(None, "Default Detectors"), ("{^LN-BEG}", "Default Detectors"), ("^%Y", "^Year"), ("epoch", "Epoch")],
)
def test_the_description_names_the_pattern(pattern, description):
    """One template goes by its name, several are the default detectors."""
    assert description == DateDetector(pattern).description


# ---- choice among templates


def winners(detector: DateDetector, *lines: str, now: float | None = None) -> list[str]:
    return [found.text for found in (detector.find(line, now or at(NOW)) for line in lines) if found is not None]


def test_the_date_at_the_line_start_wins():
    """A second date in a message does not matter."""
    line = "Nov 21 12:00:00 host x[1]: at 2020-01-01 00:00:00"
    assert ["Nov 21 12:00:00"] == winners(DateDetector(), line)


def test_the_leftmost_date_wins_when_none_is_at_the_start():
    """Of several dates inside a line, the first one is taken."""
    assert ["Nov 21 12:00:00"] == winners(DateDetector(), "host1 x: Nov 21 12:00:00 since 2020-01-01 00:00:00")


def test_the_last_winner_is_looked_for_where_it_stood():
    """Once the place is known, a date that looks more prominent elsewhere does not win."""
    detector = DateDetector("%H:%M:%S\n%Y-%m-%d")
    lines = ("a 12:00:01 b", "a 12:00:02 b", "2026-01-01 a 12:00:03 b")
    assert ["12:00:01", "12:00:02", "2026-01-01"] == winners(detector, *lines)
    assert ["12:00:01", "12:00:02", "12:00:03"] == winners(
        DateDetector("%H:%M:%S\n%Y-%m-%d"), *lines[:2], "a 12:00:03 2026-01-01"
    )


def test_templates_with_hits_are_tried_first():
    """The order follows the hits: that is what makes the usual line cheap."""
    detector = DateDetector()
    winners(detector, *["host x: 2026-11-21 12:00:00 y"] * 3)
    first = detector.templates[0]
    assert ("ExYear", 3, 8) == (first.name[:6], first.hits, first.distance)
    assert 31 == len(detector.templates)


def test_a_place_unused_for_long_is_given_up():
    """A template that has not been used for five minutes yields its place to one that is."""
    pattern = "%H:%M:%S\n%Y-%m-%d\n%d/%m/%Y"
    now = at(NOW)
    results = []
    for pause in (299.0, 301.0):
        detector = DateDetector(pattern)
        winners(detector, *["12:00:00"] * 9, now=now)
        winners(detector, "x 2026-11-21", now=now)
        winners(detector, "xx 21/11/2026", now=now + pause)
        results.append([each.name for each in detector.templates])
    assert ["24hour:Minute:Second", "Year-Month-Day", "Day/Month/Year"] == results[0]
    assert ["24hour:Minute:Second", "Day/Month/Year", "Year-Month-Day"] == results[1]


# ---- the memory of the last minute

ZONES = st.sampled_from([None, "UTC", "-0930", "America/New_York", "Australia/Lord_Howe"])
FORMS = st.sampled_from(
    [
        ("^%b %d %H:%M:%S", "%b %d %H:%M:%S"),
        ("^%Y-%m-%d %H:%M:%S(?:[.,]%f)?", "%Y-%m-%d %H:%M:%S"),
        ("^%Y-%m-%d %H:%M:%S ?%z", "%Y-%m-%d %H:%M:%S +0100"),
        ("^%H:%M:%S", "%H:%M:%S"),
        ("^%H:%M:%S %z", "%H:%M:%S -0500"),
        ("^%H:%M", "%H:%M"),
        ("^%b %d %I:%M:%S %p", "%b %d %I:%M:%S %p"),
        ("^%j %H:%M:%S", "%j %H:%M:%S"),
        ("^%S", "%S"),
    ]
)
# Around a new year, a leap day, and both changes of summer time; steps that cross minutes, hours and days.
BASES = st.sampled_from(
    ["2026-12-31 23:59:30", "2024-02-29 00:00:00", "2026-03-29 01:59:00", "2026-10-25 01:59:30", "2026-10-25 02:58:30"]
    + ["2026-11-21 12:00:00"]
)
STEPS = st.lists(
    st.tuples(
        st.sampled_from([0.0, 0.0, 0.4, 1.0, 29.0, 61.0, 3600.0, 3599.5, 86_400.0, -1.0, -3600.0]),
        st.sampled_from([0, 0, 0, 1, -1, 2, 59, -60, 3600, -3600, 86_399, 86_400, 86_401, -90_000]),
    ),
    min_size=2,
    max_size=20,
)


@settings(max_examples=300, deadline=None)
@given(FORMS, ZONES, BASES, STEPS)
def test_remembering_changes_nothing(form, zone, base, steps):
    """A detector that remembers the last minute reads each line as a fresh one does, whatever now does meanwhile."""
    pattern, shape = form
    detector = DateDetector(pattern, timezone=zone)
    now = at(base)
    for pause, ahead in steps:
        now += pause
        line = (datetime.fromtimestamp(int(now)) + timedelta(seconds=ahead)).strftime(shape)
        fresh = DateDetector(pattern, timezone=zone).find(line, now)
        remembered = detector.find(line, now)
        assert (line, now, fresh.time) == (line, now, remembered.time)


@settings(deadline=None)
@given(st.text(max_size=80), st.sampled_from([None, "{^LN-BEG}", "{DATE}", "%c", r"^[^\[]*\[({DATE})"]))
def test_no_line_is_too_strange(line, pattern):
    """Log text never raises, and what is cut lies in the line."""
    found = DateDetector(pattern).find(line, at(NOW))
    assert found is None or 0 <= found.start <= found.end <= len(line)


@pytest.mark.parametrize("datepattern", [None, r"^[^\[]*\[({DATE})\]"])
def test_a_date_is_looked_for_where_dates_stand(datepattern):
    """Behind more text than an honest line has in front of its date none of the default forms is looked for."""
    detector = DateDetector(datepattern, timezone="UTC")
    line = "{} [2026-11-20 10:00:00] x"
    assert detector.find(line.format("a" * 2000), at(NOW)) is not None
    assert detector.find(line.format("a" * 2050), at(NOW)) is None
