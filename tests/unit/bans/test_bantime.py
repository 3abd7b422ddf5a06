"""Length of a ban for repeat offenders."""

from __future__ import annotations

import time

import pytest

from banguard.bans.bantime import LONGEST, BanTimes, compile_formula
from banguard.config.schema import BantimeIncrement


def times(bantime=600, **options):
    return BanTimes(bantime, BantimeIncrement(enabled=True, **options), jail="sshd", random=lambda: 0.5)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [600, 1200, 2400, 4800]),
        ({"factor": 2.0}, [600, 2400, 4800, 9600]),
        ({"factor": 0.1}, [600, 600, 600, 600]),
        ({"multipliers": (1, 5, 30)}, [600, 3000, 18000, 18000]),
        ({"multipliers": (1, 5, 30), "factor": 0.5}, [600, 1500, 9000, 9000]),
        ({"multipliers": (1, 5, -1)}, [600, 3000, None, None]),
        ({"maxtime": 2000}, [600, 1200, 2000, 2000]),
        ({"maxtime": 2000, "rndtime": 100}, [600, 1250, 2050, 2050]),
        ({"maxtime": 300}, [600, 300, 300, 300]),
        ({"formula": "ban.Time * (1 + ban.Count) ** 2"}, [600, 2400, 5400, 9600]),
        (
            {"formula": "ban.Time * math.exp(float(ban.Count+1)*banFactor)/math.exp(1*banFactor)"},
            [600, 1630, 4433, 12051],
        ),
        ({"formula": "1"}, [600, 600, 600, 600]),
        ({"formula": "float('x')"}, [600, 1200, 2400, 4800]),
        ({"formula": "ban.Time / (ban.Count - 2)"}, [600, 600, 2400, 600]),
        ({"formula": "math.inf"}, [600, LONGEST, LONGEST, LONGEST]),
        ({"formula": "math.inf - math.inf"}, [600, 1200, 2400, 4800]),
        ({"formula": "ban.Time * 10 ** 1000"}, [600, 1200, 2400, 4800]),
    ],
)
def test_length_by_the_number_of_earlier_bans(options, expected):
    """The first ban is the jail's; later ones grow, are cut at `maxtime`, and get the random part after that."""
    assert expected == [times(**options).length(count) for count in range(4)]


@pytest.mark.parametrize("count", [20, 21, 1000])
def test_the_default_stops_doubling_after_twenty(count):
    """2 ** 20 times the ban time is enough, and is a number that can still be written as a date."""
    assert 600 * 2**20 == times().length(count)


def test_without_increment_all_bans_are_alike():
    """`bantime.increment` off: nothing else counts."""
    increment = BantimeIncrement(multipliers=(1, 5), rndtime=10)
    assert [600, 600] == [BanTimes(600, increment).length(count) for count in (0, 3)]


def test_for_ever_stays_for_ever():
    """`bantime = -1` cannot grow."""
    assert None is times(-1).length(3)
    assert None is times(-1).first


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1 + 2 * 3 - 4 / 2", 5),
        ("7 // 2 + 7 % 4", 6),
        ("-(2 ** 3) + +1", -7),
        ("1 << 4 | 3", 19),
        ("~0 & 255 ^ 1", 254),
        ("(256 >> 4)", 16),
        ("ban.Count if ban.Count < 20 else 20", 3),
        ("1 < 2 < 3", 1),
        ("1 < 2 > 3", 0),
        ("not 0 and 7 or 9", 7),
        ("0 or 9", 9),
        ("max(1, 2, min(5, 3))", 3),
        ("int(2.7) + round(2.7) + round(2.345, 2) + abs(-1) + pow(2, 3)", 16.35),
        ("math.sqrt(16) + math.floor(math.pi) + math.log(math.e)", 8),
        ("random.random() + random.uniform(10, 20) + random.randint(1, 6)", 0.5 + 15 + 4),
        ("ban.Time * banFactor", 1200),
        ("1e3 + 0x10 + True", 1017),
        ("  2\n", 2),
    ],
)
def test_what_a_formula_can_say(text, expected):
    """Arithmetic as in Python, on the three names, with the functions that cannot run away."""
    assert expected == pytest.approx(compile_formula(text, lambda: 0.5)(600, 3, 2.0))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1 +",
        "__import__('os').system('id')",
        "().__class__",
        "ban.__class__",
        "math.__loader__",
        "ban.Time.real",
        "'a' * 9",
        "[1][0]",
        "(1, 2)",
        "{}",
        "lambda: 1",
        "[x for x in ban]",
        "f'{1}'",
        "x := 5",
        "(x := 5)",
        "open",
        "eval(1)",
        "math.factorial(9)",
        "math.comb(9, 2)",
        "max(*ban)",
        "round(1, ndigits=3)",
        "1 if 2",
        "1 is 1",
        "1 in 2",
        "2 @ 3",
        "1j",
        "None",
        "...",
        "await 1",
        "a" * 2000,
        "+".join("1" * 400),
        "(" * 300 + "1" + ")" * 300,
        "-" * 900 + "1",
        "1\0",
    ],
)
def test_anything_else_is_refused_when_it_is_read(text):
    """A formula is never evaluated as Python."""
    with pytest.raises(ValueError):
        compile_formula(text)


@pytest.mark.parametrize(
    "text",
    [
        "9 ** 9 ** 9",
        "9 ** 9 ** 9 ** 9",
        "1 << 10 ** 9",
        "2 ** -1 << 1",
        "(1 << 4000) * (1 << 4000)",
        "(-8) ** 0.5",
        "1 / 0",
        "math.sqrt(-1)",
        "math.exp(10000)",
        "round(5, -10 ** 9)",
        "round(5, 10 ** 9)",
        "pow(9, 9 ** 9)",
        "int(math.inf)",
        "1.5 << 2",
        "1.5 & 2",
        "max()",
        "math.sqrt()",
        "random.randint(1)",
        "random.randint(1, math.inf)",
        "1 >> -1",
    ],
)
def test_what_has_no_result_is_an_error_at_once(text):
    """Neither a huge number nor a long wait can come of a formula."""
    formula = compile_formula(text)
    began = time.perf_counter()
    with pytest.raises(ValueError, match="no result"):
        formula(600, 3, 1.0)
    assert time.perf_counter() - began < 0.5


def test_a_bad_formula_is_logged_with_its_jail(caplog):
    """The operator learns which option is wrong, and what happens instead."""
    times(formula="import os")
    assert "[sshd] bantime.formula" in caplog.text
    assert "doubled" in caplog.text


@pytest.mark.parametrize(
    ("bantime", "increment", "length", "expected"),
    [
        (600, BantimeIncrement(), 3600, 600),
        (600, BantimeIncrement(), 300, 300),
        (600, BantimeIncrement(), None, 600),
        (-1, BantimeIncrement(), None, None),
        (-1, BantimeIncrement(), 300, 300),
        (600, BantimeIncrement(enabled=True), 9999, 9999),
        (600, BantimeIncrement(enabled=True), None, None),
        (600, BantimeIncrement(enabled=True, maxtime=5000), 9999, 5000),
    ],
)
def test_bans_of_an_earlier_run_are_cut_to_the_present_settings(bantime, increment, length, expected):
    """Without increment to the ban time, with it to `maxtime`; never made longer."""
    assert expected == BanTimes(bantime, increment).cut(length)


@pytest.mark.parametrize(
    ("quiet", "every", "hold"),
    [(None, 1, 0.0), (0.0, 1, 0.0), (3.0, 1, 5.0), (600.0, 30, 660.0), (86_400.0, 60, 86_520.0)],
)
def test_a_ban_outlasts_the_quiet_and_two_readings(quiet, every, hold):
    """So that a packet at the very end of the quiet time is read of before the ban is over."""
    increment = BantimeIncrement(quiet=quiet)
    assert (every, hold) == (increment.listen_every, increment.hold)
    times = BanTimes(600, increment)
    assert (max(600, hold), max(7000, hold), None) == (times.at_least(600), times.at_least(7000), times.at_least(None))


@pytest.mark.parametrize(
    ("expected", "length", "age"),
    [(9999, 9999, 9900), (600, 600, 500), (2400, 9999, 300), (2100 + 9000, None, 9000)],
)
def test_a_ban_that_packets_made_longer_is_not_cut(expected, length, age):
    """After a restart it lasts as long as if a packet had come a moment ago, at most."""
    assert expected == BanTimes(600, BantimeIncrement(quiet=2000.0 - 20)).cut(length, age)
