"""Tests of banguard.netaddr."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from banguard import netaddr


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("192.0.2.1", "192.0.2.1"),
        (" 192.0.2.1 ", "192.0.2.1"),
        ("192.030.0.6", "192.30.0.6"),
        ("[2001:DB8::0:1]", "2001:db8::1"),
        ("2001:0db8:0000:0000:0000:0000:0000:0001", "2001:db8::1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("::ffff:c000:201", "192.0.2.1"),
        ("192.0.2.77/24", "192.0.2.0/24"),
        ("192.0.2.77/255.255.255.0", "192.0.2.0/24"),
        ("192.0.2.1/32", "192.0.2.1"),
        ("2001:db8::1/64", "2001:db8::/64"),
        ("2001:db8::1/128", "2001:db8::1"),
        ("::ffff:192.0.2.1/120", "192.0.2.0/24"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("999.1.1.1", None),
        ("11:59:50", None),
        ("192.0.2", None),
        ("192.0.2.1.", None),
        ("fe80::1%eth0", None),
        ("192.0.2.1/33", None),
        ("192.0.2.1/255.0.255.0", None),
        ("192.0.2.1/", None),
        ("192.0.2.1/-1", None),
        ("192.0.2.1/²", None),
        ("١٩٢.0.2.1", None),
        ("example.com", None),
        ("", None),
        ("192.0.2.1\x00", None),
    ],
)
def test_canonical(text: str, expected: str | None) -> None:
    """Every spelling of an address gives one text, and what is no address gives none."""
    assert expected == netaddr.canonical(text)


@given(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)))
def test_canonical_agrees_with_the_standard_library(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    """The fast way gives what the ipaddress module gives."""
    mapped = getattr(address, "ipv4_mapped", None)
    expected = str(mapped or address)
    if "." not in expected:
        expected = str(ipaddress.ip_address(expected))
        packed_text = netaddr.canonical(str(address))
        assert packed_text is not None
        assert ipaddress.ip_address(expected) == ipaddress.ip_address(packed_text)
    else:
        assert expected == netaddr.canonical(str(address))


@given(
    st.lists(st.tuples(st.ip_addresses(v=4), st.integers(0, 32)), max_size=6),
    st.ip_addresses(v=4),
)
def test_membership_agrees_with_the_standard_library(
    members: list[tuple[ipaddress.IPv4Address, int]], probe: ipaddress.IPv4Address
) -> None:
    """An AddressSet holds exactly the addresses that lie in one of its networks."""
    networks = [ipaddress.ip_network((address, prefix), strict=False) for address, prefix in members]
    hosts = netaddr.AddressSet(f"{address}/{prefix}" for address, prefix in members)
    for candidate in (probe, *(network[0] for network in networks)):
        assert any(candidate in network for network in networks) == (str(candidate) in hosts)


def test_a_network_lies_in_a_wider_one_and_not_in_a_narrower() -> None:
    """Membership of a network means all of it."""
    hosts = netaddr.AddressSet(["10.1.0.0/16", "2001:db8::/32"])
    assert "10.1.2.0/24" in hosts
    assert "10.0.0.0/8" not in hosts
    assert "2001:db8:1::/48" in hosts
    assert ["10.1.0.0/16", "2001:db8::/32"] == list(hosts)
    assert 2 == len(hosts)


def test_a_member_that_is_no_address_is_refused() -> None:
    """AddressSet takes addresses and networks only."""
    with pytest.raises(ValueError, match="example"):
        netaddr.AddressSet(["example.com"])


@pytest.mark.parametrize(
    ("host", "family", "network", "reverse"),
    [
        ("192.0.2.1", 4, False, "1.2.0.192."),
        ("192.0.2.0/24", 4, True, "0.2.0.192."),
        ("2001:db8::1", 6, False, "1." + "0." * 23 + "8.b.d.0.1.0.0.2."),
        ("alice", None, False, ""),
        ("a/b", None, False, ""),
    ],
)
def test_facts_about_a_host(host: str, family: int | None, network: bool, reverse: str) -> None:
    """Family, being a network, and the reverse form follow from the text alone."""
    assert family == netaddr.family(host)
    assert network == netaddr.is_network(host)
    assert reverse == netaddr.reverse(host)


@pytest.mark.parametrize(
    ("host", "prefix", "expected"),
    [
        ("2001:db8:1:2:3::4", 64, "2001:db8:1:2::/64"),
        ("192.0.2.77", 24, "192.0.2.0/24"),
        ("192.0.2.77", 32, "192.0.2.77"),
        ("alice", 64, "alice"),
    ],
)
def test_network_of(host: str, prefix: int, expected: str) -> None:
    """The network around an address has its host bits cleared; other ids stay as they are."""
    assert expected == netaddr.network_of(host, prefix)


def test_own_addresses_hold_the_loopback() -> None:
    """This machine's own addresses are known, the loopback at least."""
    own = netaddr.own_addresses()
    assert {"127.0.0.1", "::1"} <= own
    assert all(address == netaddr.canonical(address) for address in own)
