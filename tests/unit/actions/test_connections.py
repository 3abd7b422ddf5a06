from __future__ import annotations

import logging
import threading

import pytest

from banguard.actions.connections import CHUNK, FEW, Connections
from banguard.model import Ban
from banguard.run import Finished


class Programs:
    """Stands in for ss and conntrack: writes down the calls, gives the answers that were put in."""

    def __init__(self):
        self.calls = []
        self.answers = {}

    def __call__(self, argv, **_):
        self.calls.append(" ".join(argv))
        return self.answers.get(" ".join(argv[:2]), Finished(0))

    def take(self):
        calls, self.calls = self.calls, []
        return calls


@pytest.fixture
def programs():
    return Programs()


@pytest.fixture
def connections(clock, programs):
    return Connections(clock=clock, publish=lambda _: None, start_thread=lambda *_: threading.Thread(), runner=programs)


def bans(*addresses, **more):
    return [Ban("sshd", address, 0, None, **more) for address in addresses]


NONE = Finished(1, stderr=b"conntrack v1.4.7 (conntrack-tools): 0 flow entries have been deleted.\n")
SS = "ss -K -H -n -t -u state connected"


def test_all_that_waits_is_cut_at_once(connections, programs):
    """Addresses and networks of both families: one call of ss, one of conntrack for each."""
    programs.answers["conntrack -D"] = NONE
    connections.cut(bans("192.0.2.1"))
    connections.cut(bans("2001:db8::1", "198.51.100.0/24", "2001:db8:1::/64", "192.0.2.1"))
    assert connections.round() is None
    assert [
        f"{SS} ( dst 192.0.2.1 or dst [2001:db8::1] or dst 198.51.100.0/24 or dst [2001:db8:1::/64] )",
        "conntrack -D -s 192.0.2.1",
        "conntrack -D -s 2001:db8::1",
        "conntrack -D -s 198.51.100.0/24",
        "conntrack -D -s 2001:db8:1::/64",
    ] == programs.take()
    assert connections.round() is None
    assert [] == programs.take()


@pytest.mark.parametrize("host", ["192.0.2.1 or dst 0.0.0.0/0", "alice", "", "-K", "192.0.2.01", "$(id)"])
def test_what_is_no_address_reaches_no_program(connections, programs, host):
    """An id may be any text of a log."""
    connections.cut(bans(host))
    connections.round()
    assert [] == programs.take()


def test_an_id_with_an_address_is_cut_by_that(connections, programs):
    """The address of a ban is what counts."""
    connections.cut(bans("alice", data={"ip": "192.0.2.7"}))
    connections.round()
    assert f"{SS} ( dst 192.0.2.7 )" == programs.take()[0]


def test_of_many_addresses_only_those_with_connections_are_asked_for(connections, programs):
    """Thousands of restored bans do not start thousands of programs."""
    many = [f"10.0.{n // 256}.{n % 256}" for n in range(CHUNK + FEW)]
    listing = b"tcp 6 9 ESTABLISHED src=%s dst=192.0.2.9 sport=1 dport=22 src=192.0.2.9 dst=10.0.0.7 sport=22 dport=1\n"
    programs.answers["conntrack -L"] = Finished(0, (listing % b"10.0.0.7") + (listing % b"172.16.0.1"))
    connections.cut(bans(*many))
    connections.round()
    calls = programs.take()
    assert [True, True, False] == [call.startswith(SS) for call in calls[:3]]
    assert ["conntrack -L -f ipv4", "conntrack -L -f ipv6", "conntrack -D -s 10.0.0.7"] == calls[2:]


def test_what_was_cut_is_told(connections, programs, caplog):
    """How many connections each address had; mapped addresses are what they stand for."""
    caplog.set_level(logging.INFO, "banguard.actions")
    programs.answers["ss -K"] = Finished(
        0,
        b"tcp ESTAB 0 0 [::ffff:192.0.2.9]:22 [::ffff:192.0.2.1]:52683\n"
        b"tcp ESTAB 0 0 192.0.2.9:22 192.0.2.1:52684 \n"
        b"udp ESTAB 0 0 [2001:db8::9%eth0]:53 [2001:db8::1]:53\n",
    )
    connections.cut(bans("192.0.2.1", "2001:db8::1"))
    connections.round()
    assert ["Cut 2 open connections of 192.0.2.1", "Cut 1 open connection of 2001:db8::1"] == caplog.messages


def test_without_conntrack_there_is_nothing_to_say(connections, programs, caplog):
    """It is an extra."""
    programs.answers["conntrack -D"] = Finished(127)
    connections.cut(bans("192.0.2.1", "192.0.2.2"))
    connections.round()
    assert 2 == len(programs.take())
    assert [] == caplog.messages


@pytest.mark.parametrize("program", ["ss -K", "conntrack -D"])
def test_a_program_that_fails_is_told_of_once(connections, programs, caplog, program):
    """Whatever is wrong is the same for the next ban."""
    programs.answers[program] = Finished(1, stderr=b"Operation not permitted")
    for _ in range(3):
        connections.cut(bans("192.0.2.1"))
        connections.round()
    assert 1 == len(caplog.messages)
    assert "Operation not permitted" in caplog.text


def test_a_stop_leaves_the_rest_undone(connections, programs):
    """Who is still waiting when the time to stop is over is left alone."""
    connections.abandon()
    connections.cut(bans("192.0.2.1"))
    assert not connections.is_idle()
    connections.round()
    assert [] == programs.take()
    assert connections.is_idle()
