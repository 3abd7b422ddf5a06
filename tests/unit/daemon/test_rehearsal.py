"""Tests of banguard.daemon.rehearsal."""

from __future__ import annotations

import logging
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from banguard.config.schema import BanPrefix, BantimeIncrement, FilterConfig, JailConfig
from banguard.daemon.rehearsal import Rehearsal, silent

T = 1_790_000_000.0


class Today:
    """A clock that stands still, long after the log."""

    @staticmethod
    def now():
        return T + 10_000_000

    monotonic = now


FILTER = FilterConfig("f", failregex=(r"^ bad <HOST>$",), successregex=(r"^ welcome <HOST>$",))


def rehearse(*lines, begin=None, end=None, **options):
    """Rehearse lines given as (seconds after T, text)."""
    config = JailConfig(
        "web", **{"filter": FILTER, "maxretry": 2, "findtime": 60.0, "bantime": 300, "ignoreself": False, **options}
    )
    made = Rehearsal(config, clock=Today(), begin=begin, end=end)
    stamped = [f"{time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(T + at))} {text}\n" for at, text in lines]
    made.feed("log", "".join(stamped).encode())
    made.finish()
    return made


def told(made):
    return [
        (one.ban.host, one.ban.since - T, None if one.ban.until is None else one.ban.until - T) for one in made.bans
    ]


def test_a_ban_begins_and_ends_by_the_times_in_the_log():
    """What comes while it lasts is kept out, and does not make it longer; afterwards the host fails afresh."""
    made = rehearse((0, "bad 203.0.113.1"), (9, "bad 203.0.113.1"), (10, "bad 203.0.113.1"), (308, "bad 203.0.113.1"),
                    (310, "bad 203.0.113.1"), (311, "bad 203.0.113.1"), (400, "other"))  # fmt: skip
    assert [("203.0.113.1", 9, 309), ("203.0.113.1", 311, 611)] == told(made)
    assert [2, 0] == [one.kept_out for one in made.bans]
    assert (7, 4) == (made.lines, made.failures)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"bantime": -1}, [("203.0.113.1", 1, None)]),
        ({"increment": BantimeIncrement(enabled=True)}, [("203.0.113.1", 1, 301), ("203.0.113.1", 400, 1000)]),
        ({"ignoreip": ("203.0.113.0/24",)}, []),
        ({"maxretry": 5}, []),
        ({"findtime": 0.5, "maxretry": 3}, []),
        ({"prefix": BanPrefix(ipv4=24)}, [("203.0.113.0/24", 1, 301), ("203.0.113.0/24", 401, 701)]),
    ],
)
def test_the_options_of_the_jail_are_those_of_the_server(options, expected):
    """Lengths, growth, ignore list, limits, networks."""
    lines = [
        (0, "bad 203.0.113.1"),
        (1, "bad 203.0.113.1"),
        (2, "bad 203.0.113.9"),
        (400, "bad 203.0.113.1"),
        (401, "bad 203.0.113.1"),
    ]
    assert expected == told(rehearse(*lines, **options))


def test_who_logged_in_is_told_and_who_would_have_been_locked_out():
    """Logins before, during and after a ban."""
    made = rehearse((0, "welcome 203.0.113.1"), (1, "bad 203.0.113.1"), (2, "bad 203.0.113.1"), (3, "welcome 203.0.113.1"),
                    (900, "welcome 203.0.113.1"), (901, "welcome 203.0.113.8"))  # fmt: skip
    assert (3, T, T + 900) == (
        made.logins["203.0.113.1"].count,
        made.logins["203.0.113.1"].first,
        made.logins["203.0.113.1"].last,
    )
    assert 1 == made.bans[0].logins
    assert {"203.0.113.1", "203.0.113.8"} == made.logins.keys()


def test_a_login_forgets_failures_only_when_the_jail_says_so():
    """success.forgets, as in the server."""
    lines = [(1, "bad 203.0.113.1"), (2, "welcome 203.0.113.1"), (3, "bad 203.0.113.1")]
    assert 1 == len(rehearse(*lines).bans)
    assert 0 == len(rehearse(*lines, success_forgets=True).bans)


def test_a_part_of_the_log_can_be_chosen():
    """Lines before and after it count for nothing."""
    lines = [
        (0, "bad 203.0.113.1"),
        (10, "bad 203.0.113.1"),
        (20, "bad 203.0.113.1"),
        (30, "bad 203.0.113.2"),
        (40, "bad 203.0.113.2"),
    ]
    assert [("203.0.113.1", 20, 320)] == told(rehearse(*lines, begin=T + 5, end=T + 35))


def test_the_stages_are_silent_meanwhile(caplog):
    """What they would log is the result; afterwards they log again."""
    with silent():
        rehearse((0, "bad 203.0.113.1"), (1, "bad 203.0.113.1"))
    assert [] == caplog.records
    logging.getLogger("banguard.x").warning("again")
    assert 1 == len(caplog.records)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 60), st.integers(1, 3)), max_size=40),
    st.integers(1, 4),
    st.sampled_from([5, 30, 120]),
    st.sampled_from([1, 20, 100]),
)
def test_it_agrees_with_a_plain_model(steps, maxretry, findtime, bantime):
    """Count by hand: failures within findtime, bans, and what comes during them."""
    at, lines = 0, []
    for gap, host in steps:
        at += gap
        lines.append((at, f"203.0.113.{host}"))
    times, until, bans, kept = {}, {}, [], 0
    for at, host in lines:
        if at < until.get(host, -1):
            kept += 1
            continue
        times[host] = [one for one in times.get(host, []) if at - one <= findtime] + [at]
        if len(times[host]) >= maxretry:
            until[host] = at + bantime
            bans.append((host, at, at + bantime))
            times[host] = []
    made = rehearse(
        *((at, f"bad {host}") for at, host in lines), maxretry=maxretry, findtime=float(findtime), bantime=bantime
    )
    assert bans == told(made)
    assert kept == sum(one.kept_out for one in made.bans)
