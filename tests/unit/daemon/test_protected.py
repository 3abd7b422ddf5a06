"""Tests of banguard.daemon.protected, on files such as the kernel, login and logind write."""

from __future__ import annotations

import struct

import pytest

from banguard.daemon.protected import AGAIN, Protected

ROUTE = """\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0
eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
"""
ROUTE6 = (
    "00000000000000000000000000000000 00 00000000000000000000000000000000 00 "
    "20010db8000000000000000000000001 00000400 00000001 00000000 00000003     eth0\n"
    "20010db8000000000000000000000000 40 00000000000000000000000000000000 00 "
    "00000000000000000000000000000000 00000100 00000001 00000000 00000001     eth0\n"
)


class Clock:
    def __init__(self):
        self.time = 0.0

    def monotonic(self):
        return self.time


def record(kind, host):
    return struct.pack("<hxxi32s4s32s256shhiii4I20x", kind, 1, b"pts/0", b"0", b"root", host, 0, 0, 0, 0, 0, 0, 0, 0, 0)


@pytest.fixture
def files(tmp_path):
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "route").write_text(ROUTE)
    (tmp_path / "net" / "ipv6_route").write_text(ROUTE6)
    (tmp_path / "utmp").write_bytes(record(7, b"198.51.100.7") + record(8, b"198.51.100.8") + record(7, b":0") + b"cut")
    (tmp_path / "systemd" / "sessions").mkdir(parents=True)
    (tmp_path / "systemd" / "sessions" / "3").write_text("UID=0\nREMOTE=1\nREMOTE_HOST=2001:db8:1::7\n")
    return tmp_path


def make(files, *words, clock=None):
    return Protected(words, clock or Clock(), proc=str(files), run=str(files))


@pytest.mark.parametrize(
    ("expected", "words"),
    [
        ({"192.0.2.1", "2001:db8::1"}, ("gateway",)),
        ({"198.51.100.7", "2001:db8:1::7"}, ("sessions",)),
        ({"192.0.2.1", "2001:db8::1", "198.51.100.7", "2001:db8:1::7"}, ("gateway", "sessions")),
        (set(), ()),
    ],
)
def test_addresses(files, expected, words):
    """Routers, and hosts of those who are logged in; not of those who left, nor displays."""
    assert expected == set(make(files, *words).addresses())


def test_hosts_and_networks(files):
    """A protected host is never banned, nor a network that it is in; others and ids are."""
    protected = make(files, "gateway", "sessions")
    asked = ("192.0.2.1", "192.0.2.0/24", "198.51.100.7", "2001:db8::/64", "192.0.2.2", "198.51.100.8", "alice")
    assert [True, True, True, True, False, False, False] == [protected(host) for host in asked]


def test_renewed(files):
    """A session that begins later is known after a few seconds."""
    clock = Clock()
    protected = make(files, "sessions", clock=clock)
    assert not protected("203.0.113.1")
    (files / "systemd" / "sessions" / "4").write_text("REMOTE_HOST=203.0.113.1\n")
    assert not protected("203.0.113.1")
    clock.time += AGAIN
    assert protected("203.0.113.1")


def test_nothing_there(tmp_path):
    """A system that has none of these files protects nobody, without an error."""
    assert [] == list(make(tmp_path / "none", "gateway", "sessions").addresses())
