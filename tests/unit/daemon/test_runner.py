"""Tests of banguard.daemon.runner beyond those of the whole in test_app."""

from __future__ import annotations

from dataclasses import replace

import pytest

from banguard.clock import SystemClock
from banguard.config.schema import FilterConfig, JailConfig
from banguard.daemon.runner import DateOf
from banguard.errors import ControlError


def test_the_date_of_a_line_is_that_of_the_jail() -> None:
    """Sources that look for the place to begin use the jail's own date pattern; regexes do not matter to them."""
    rules = FilterConfig(failregex=("^bad <HOST>$",), datepattern="{EPOCH}")
    date_of = DateOf(JailConfig("a", filter=rules), SystemClock())
    assert 1_700_000_000.0 == date_of("1700000000 anything")
    assert date_of("no date") is None


def test_a_shorter_ban_time_ends_bans_sooner(site, await_) -> None:
    """Bans that follow the jail's ban time end by the new one."""
    site.start()
    site.app.ban("web", ["192.0.2.1"])
    before = site.app.jail("web").bans[0].ban.until
    site.app.change_jail("web", lambda config: replace(config, bantime=60))
    await_(lambda: site.app.jail("web").bans[0].ban.until < before)


def test_a_jail_that_does_not_run_counts_nothing(site) -> None:
    """`attempt` on a jail that was only added is refused."""
    site.start()
    site.app.add_jail(JailConfig("late"))
    with pytest.raises(ControlError, match="not started"):
        site.app.attempt("late", "192.0.2.1", [])


def test_changes_of_a_jail_that_does_not_run_are_there_when_it_starts(site) -> None:
    """Options set between `add` and `start` are in force."""
    site.start()
    site.app.add_jail(JailConfig("late"))
    site.app.change_jail("late", lambda config: replace(config, maxretry=1))
    site.app.start_jail("late")
    assert 1 == site.app.attempt("late", "192.0.2.1", [])
    assert 1 == site.app.jail("late").config.maxretry
