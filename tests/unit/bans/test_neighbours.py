"""Tests of banguard.bans.neighbours."""

from __future__ import annotations

import pytest

from banguard.bans.neighbours import MOST_MEMBERS, MOST_NETWORKS, Neighbours
from banguard.config.schema import BanPrefix


def make(offenders=3, findtime=600.0, **more):
    return Neighbours(BanPrefix(offenders=offenders, **more), findtime)


def test_enough_offenders_make_a_network():
    """The network is named at the offender that makes it enough, and each after that."""
    found = make()
    assert [None, None, "192.0.2.0/24", "192.0.2.0/24"] == [found.add(f"192.0.2.{n}", 100.0 + n) for n in range(4)]
    assert ("192.0.2.0", "192.0.2.1", "192.0.2.2", "192.0.2.3") == found.members("192.0.2.0/24")


def test_one_offender_counts_once():
    """The same host again is no further offender."""
    found = make()
    assert [None] * 5 == [found.add("192.0.2.1", float(n)) for n in range(5)]


def test_only_within_findtime():
    """Offenders of long ago do not count."""
    found = make(findtime=10.0)
    assert [None, None, None] == [found.add(f"192.0.2.{n}", n * 10.0) for n in range(3)]


@pytest.mark.parametrize(
    ("hosts", "expected"),
    [
        (["2001:db8::1", "2001:db8:0:1::1"], "2001:db8::/48"),
        (["2001:db8::/64", "2001:db8:0:1::/64"], "2001:db8::/48"),
        (["192.0.2.1", "192.0.3.1"], None),
        (["2001:db8::/48", "2001:db8::1"], None),
        (["alice", "bob"], None),
        (["192.0.2.0/24", "192.0.2.0/24"], None),
    ],
)
def test_kinds(hosts, expected):
    """Addresses and smaller networks of both families count; other ids and networks that are as wide do not."""
    found = make(offenders=2)
    assert expected == [found.add(host, 1.0) for host in hosts][-1]


def test_off_by_default():
    """Without a number of offenders nothing is ever widened."""
    found = Neighbours(BanPrefix(), 600.0)
    assert not any(found.add(f"192.0.2.{n}", 1.0) for n in range(200))


def test_forgotten():
    """Who was unbanned does not count, and a network that was unbanned begins afresh."""
    found = make()
    found.add("192.0.2.1", 1.0)
    found.add("192.0.2.2", 2.0)
    found.forget("192.0.2.1")
    assert None is found.add("192.0.2.3", 3.0)
    found.forget("192.0.2.0/24")
    assert () == found.members("192.0.2.0/24")


def test_bounded():
    """Neither many networks nor many offenders in one take memory without end; the newest are kept."""
    found = make(offenders=10**6)
    for number in range(MOST_MEMBERS + 10):
        found.add(f"2001:db8:0:{number:x}::1", 1.0)
    assert MOST_MEMBERS == len(found.members("2001:db8::/48"))
    for number in range(MOST_NETWORKS + 1):
        found.add(f"2a00:{number:x}::1", 2.0)
    assert () == found.members("2001:db8::/48")
