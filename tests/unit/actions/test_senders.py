from __future__ import annotations

import pytest

from banguard.actions.senders import WATCH, Counters, watch_of, with_networks
from banguard.errors import ActionError


@pytest.mark.parametrize(("expected", "text"), [(0, ""), (0, "0"), (60, "60"), (5, " 5 ")])
def test_the_time_between_readings(expected, text):
    """Whole seconds, nothing for never."""
    assert expected == watch_of({WATCH: text})


@pytest.mark.parametrize("text", ["-1", "1.5", "1m", "²", "9" * 7, "5; flush ruleset"])
def test_what_is_no_time_is_refused(text):
    """The error names the property."""
    with pytest.raises(ActionError, match=WATCH):
        watch_of({WATCH: text})


def test_counters_that_moved():
    """Anything but 0 that is not what was read before; a counter that began anew counts from 0."""
    counters = Counters()
    assert ["a"] == counters.moved("m", {"a": 3, "b": 0})
    assert [] == counters.moved("m", {"a": 3, "b": 0})
    assert ["a", "b"] == counters.moved("m", {"a": 4, "b": 1})
    assert ["a"] == counters.moved("other", {"a": 4})
    counters.restart("m", ["a"])
    assert ["a"] == counters.moved("m", {"a": 4, "b": 1})
    counters.restart("m")
    assert [] == counters.moved("m", {"a": 0, "b": 0})
    assert ["b"] == counters.moved("m", {"a": 0, "b": 1})


def test_who_is_in_a_banned_network_speaks_for_it():
    """Every network around a sender was heard when its last host was."""
    times = {"192.0.2.1": 5.0, "192.0.2.200": 9.0, "2001:db8::1": 7.0, "198.51.100.1": 1.0}
    networks = ["192.0.2.0/24", "192.0.2.0/25", "2001:db8::/64", "203.0.113.0/24", "0.0.0.0/0"]
    assert {
        **times,
        "192.0.2.0/24": 9.0,
        "192.0.2.0/25": 5.0,
        "2001:db8::/64": 7.0,
        "0.0.0.0/0": 9.0,
    } == with_networks(times, networks)
    assert times == with_networks(times, [])
