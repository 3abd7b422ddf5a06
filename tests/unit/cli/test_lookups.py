"""Tests of banguard.cli.lookups."""

from __future__ import annotations

import threading

from banguard.cli.lookups import each


def test_all_are_asked_at_once():
    """Sixteen that each wait for the others all get their answer; each host is asked once."""
    barrier = threading.Barrier(16, timeout=10)

    def ask(host):
        barrier.wait()
        return host.upper()

    hosts = [f"h{number}" for number in range(16)]
    assert {host: host.upper() for host in hosts} == each(hosts + hosts, ask)


def test_who_cannot_be_asked_about_is_left_out():
    """Errors of the look-up are no errors of the whole."""

    def ask(host):
        raise OSError(host)

    assert {} == each(["a", "b"], ask)
    assert {} == each([], ask)


def test_the_time_is_limited():
    """What came until then is returned."""
    go = threading.Event()
    quick = threading.Event()

    def ask(host):
        if host == "slow":
            go.wait(10)
        else:
            quick.set()
        return host

    found = each(["slow", "quick"], ask, seconds=0.05)
    go.set()
    assert quick.wait(10)
    assert "slow" not in found
