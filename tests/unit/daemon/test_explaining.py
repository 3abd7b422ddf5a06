"""Tests of banguard.daemon.explaining."""

from __future__ import annotations

import time

import pytest

from banguard.bans.store import Offences
from banguard.config.schema import ActionConfig, BantimeIncrement, FilterConfig, JailConfig
from banguard.daemon.explaining import explain_configured, sequel
from banguard.errors import ConfigError

JAIL = JailConfig(
    "sshd",
    filter=FilterConfig("sshd", failregex=("^ bad <HOST>$",)),
    bantime=600,
    increment=BantimeIncrement(enabled=True),
    actions=(ActionConfig("nftables", "nftables"),),
)


def test_a_configuration_is_explained_without_a_server(clock):
    """The jail is taken as just started: nothing counted, nobody banned."""
    stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(clock.now()))
    found = explain_configured(JAIL, f"{stamp} bad 192.0.2.1", clock)
    assert ("failure", False) == (found.verdict, found.running)
    assert (0, 1) == (found.hosts[0].counter.before, found.hosts[0].counter.after)
    assert (600.0, 1, ("nftables",)) == (found.sequel.bantime, found.sequel.count, found.sequel.actions)


@pytest.mark.parametrize(("past", "length", "count"), [(None, 600.0, 1), (Offences(2, 900.0), 2400.0, 3)])
def test_what_would_follow_grows_with_the_past(past, length, count):
    """A host that was banned before is banned for longer."""
    found = sequel(JAIL, past, 1000.0)
    assert (length, count) == (found.bantime, found.count)


def test_a_filter_that_cannot_be_used_is_an_error(clock):
    """It says which regex is wrong."""
    broken = JailConfig("x", filter=FilterConfig("x", failregex=("(bad <HOST>",)))
    with pytest.raises(ConfigError, match="bad"):
        explain_configured(broken, "line", clock)
