"""Tests of banguard.daemon.traffic."""

from __future__ import annotations

import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from banguard.daemon.traffic import Connection, Forward, Network, covers, hooks_of, packet, port_ranges
from banguard.run import Finished

HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"


def word(address):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    packed = socket.inet_pton(family, address)
    return "".join(f"{value:08X}" for value in struct.unpack(f"={len(packed) // 4}I", packed))


def row(local, port, remote, state):
    return f"   0: {word(local)}:{port:04X} {word(remote)}:D431 {state:02X} 00000000:00000000 00:00000000 0 0 0 1\n"


@pytest.fixture
def network(tmp_path, clock):
    """A network whose kernel tables are files, and whose programs answer as told."""
    (tmp_path / "tcp").write_text(
        HEAD
        + row("0.0.0.0", 22, "0.0.0.0", 10)
        + row("198.51.100.1", 2222, "192.0.2.1", 1)
        + row("198.51.100.1", 22, "192.0.2.1", 6)
        + row("198.51.100.1", 22, "192.0.2.9", 1)
        + "nonsense\n"
    )
    (tmp_path / "tcp6").write_text(
        HEAD
        + row("::", 80, "::", 10)
        + row("::ffff:198.51.100.1", 80, "::ffff:192.0.2.1", 1)
        + row("::1", 80, "2001:db8::2", 1)
    )
    answers = {}

    def run(argv, **_):
        return answers.get(argv[0], Finished(127))

    made = Network(clock, proc=str(tmp_path), runner=run)
    made.answers = answers
    return made


def test_connections_of_an_address_are_found_in_both_tables(network):
    """Also those that the kernel shows as IPv6; of a network, those of its members."""
    assert {Connection(2222, "established"), Connection(22, "time-wait"), Connection(80, "established")} == set(
        network.connections("192.0.2.1")
    )
    assert (Connection(80, "established"),) == network.connections("2001:db8::2")
    assert 4 == len(network.connections("192.0.2.0/24"))
    assert () == network.connections("203.0.113.1")


def test_ports_that_are_listened_on_and_who_is_connected(network):
    """Of both families."""
    assert {22, 80} == network.listening()
    assert ("192.0.2.9",) == network.peers(((22, 22),))


def test_rules_that_forward_are_found_in_nft_and_iptables(network):
    """With ports and target; rules of other kinds are left out."""
    network.answers["nft"] = Finished(
        0,
        b"table ip docker {\n chain x {\n  ip daddr 198.51.100.1 tcp dport 8080 dnat to 172.31.0.2:80\n  accept\n }\n}\n",
    )
    network.answers["iptables"] = Finished(
        0,
        b"-P PREROUTING ACCEPT\n-A DOCKER ! -i br0 -p tcp -m tcp --dport 443 -j DNAT --to-destination 172.17.0.2:443\n",
    )
    found = network.forwards()
    assert [("8080", "172.31.0.2:80"), ("443", "172.17.0.2:443")] == [(one.ports, one.target) for one in found]
    assert found[0].concerns(((8000, 9000),))
    assert found[0].concerns(None)
    assert not found[0].concerns(((22, 22),))
    assert Forward("", "x", "").concerns(((22, 22),))


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ("-A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT\n-A INPUT -j bg-web\n", 1),
        ("-A INPUT -j bg-web\n-A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT\n", 0),
        ("-A INPUT -i lo -j ACCEPT\n-A INPUT -s 10.0.0.0/8 -j ACCEPT\n-A INPUT -j bg-web\n", 0),
        ("-A INPUT -s 192.0.2.0/24 -j ACCEPT\n-A INPUT ! -s 10.0.0.0/8 -j ACCEPT\n-A INPUT -j bg-web\n", 2),
        ("-A INPUT -j ACCEPT\n", 0),
    ],
)
def test_rules_before_ours_count_when_they_may_take_the_traffic(network, rules, expected):
    """Those behind ours, for the loopback or for other sources do not."""
    network.answers["iptables"] = Finished(0, rules.encode())
    assert expected == len(network.rules_before("192.0.2.1", ["bg-web"]))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ssh,2222", ((22, 22), (2222, 2222))),
        ("5060:5069", ((5060, 5069),)),
        ("0:65535", None),
        ("", None),
        ("no-such-service", ()),
    ],
)
def test_ports_of_an_option(text, expected):
    """Names, numbers and ranges; nothing means all."""
    found = port_ranges(text)
    assert expected == (None if found is None else tuple(found))
    assert covers(found, 22) is (expected is None or (22, 22) in expected)


@pytest.mark.parametrize(
    ("properties", "expected"),
    [
        ({}, ("input",)),
        ({"chain": "INPUT,FORWARD"}, ("input", "forward")),
        ({"chain_hook": "prerouting"}, ("prerouting",)),
    ],
)
def test_chains_of_an_action(properties, expected):
    """In lower case; input when nothing is said."""
    assert expected == hooks_of(properties)


def test_packets_are_read():
    """Source, protocol, target and port, of both families."""
    four = bytes([0x45, *bytes(8), 6, 0, 0]) + socket.inet_aton("192.0.2.1") + socket.inet_aton("198.51.100.1")
    assert ("192.0.2.1", "tcp", "198.51.100.1", 2222) == packet(four + struct.pack("!HH", 4000, 2222))
    six = bytes([0x60, *bytes(5), 58, 0])
    six += socket.inet_pton(socket.AF_INET6, "2001:db8::2") + socket.inet_pton(socket.AF_INET6, "2001:db8::1")
    assert ("2001:db8::2", "icmp", "2001:db8::1", 0) == packet(six)
    assert packet(four) is None


@given(st.binary(max_size=80))
def test_any_bytes_are_survived(data):
    """What is no packet is none."""
    found = packet(data)
    assert found is None or len(found) == 4
