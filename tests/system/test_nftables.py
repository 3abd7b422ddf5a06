"""The native nftables action with the real kernel: it blocks whom it should, in time, and touches nothing else."""

from __future__ import annotations

import json
import os
import sys
import time

import pytest

from banguard import run
from banguard.actions.backend_worker import BackendWorker
from banguard.actions.nftables import NftablesAction
from banguard.clock import SystemClock
from banguard.model import Ban, BanChange, Change
from support.machine import eventually

FOREIGN = """\
table ip mine {
	chain guard {
		type filter hook input priority filter; policy accept;
		ip saddr 203.0.113.9 drop
	}
}
"""


class Firewall:
    """A worker with the nftables action in one machine."""

    def __init__(self, machine, check_every=None):
        self.machine = machine
        self.facts = []
        self.action = NftablesAction({}, runner=self.run)
        self.worker = BackendWorker(
            "nftables", self.action, clock=SystemClock(), publish=self.facts.append, check_every=check_every
        )

    def run(self, argv, **more):
        return run.run(self.machine.argv(*argv), **more)

    def join(self, *bans, member="sshd", **properties):
        properties = {"name": member, "port": "8022", **properties}
        self.worker.join_member(member, member, "nft", properties, bans)
        self.settle()

    def ban(self, *hosts, seconds=600.0, kind=Change.BAN, member="sshd"):
        for host in hosts:
            self.worker.put(member, BanChange(kind, ban(host, seconds)))
        self.settle()

    def settle(self):
        eventually(self.worker.is_idle, what="the worker is done")

    def stats(self, member="sshd"):
        return self.worker.stats(member)

    def ruleset(self):
        return self.machine.run("nft", "list", "ruleset").stdout

    def close(self):
        for member in list(self.worker._members):
            self.worker.leave_member(member)
        self.worker.close()
        assert self.worker.join(20)


def ban(host, seconds=600.0):
    now = time.time()
    return Ban("sshd", host, now, None if seconds is None else now + seconds)


@pytest.fixture
def firewall(machine):
    made = Firewall(machine)
    yield made
    made.close()


@pytest.fixture
def guarded(network):
    """A server that listens on 8022 and 8023 behind our firewall, and the network to try it from."""
    script = (
        "import socket, sys, time\n"
        "held = [socket.create_server(('::', port), family=socket.AF_INET6, dualstack_ipv6=True) for port in (8022, 8023)]\n"
        "print('ready', flush=True)\n"
        "time.sleep(1000)\n"
    )
    network.server.start(sys.executable, "-S", "-c", script)
    eventually(lambda: network.connect("198.51.100.2", 8023) == "open", what="the server listens")
    made = Firewall(network.server)
    yield made, network
    made.close()


def test_a_ban_blocks_only_the_banned_and_only_the_ports_of_the_jail(guarded):
    """IPv4 and IPv6; an unban lets in again; so does the end of the ban, without us."""
    firewall, network = guarded
    firewall.join()
    assert "open" == network.connect("198.51.100.2", 8022)
    firewall.ban("198.51.100.2", "2001:db8::2")
    assert ["refused", "open", "open"] == [
        network.connect("198.51.100.2", 8022),
        network.connect("198.51.100.2", 8023),
        network.connect("198.51.100.3", 8022),
    ]
    assert ["refused", "open"] == [network.connect(source, 8022) for source in ("2001:db8::2", "2001:db8::3")]
    firewall.ban("198.51.100.2", "2001:db8::2", kind=Change.UNBAN)
    assert ["open", "open"] == [network.connect(source, 8022) for source in ("198.51.100.2", "2001:db8::2")]
    firewall.ban("198.51.100.2", seconds=1.0)
    assert "refused" == network.connect("198.51.100.2", 8022)
    eventually(lambda: network.connect("198.51.100.2", 8022) == "open", what="the kernel ends the ban")


def test_networks_cover_their_members(guarded):
    """All of the network, also after one of its members was banned and unbanned by itself."""
    firewall, network = guarded
    firewall.join(blocktype="reject with tcp reset")
    firewall.ban("198.51.100.0/29", "198.51.100.2", "2001:db8::/126")
    firewall.ban("198.51.100.2", kind=Change.UNBAN)
    sources = ("198.51.100.2", "198.51.100.4", "2001:db8::2")
    assert ["refused"] * 3 == [network.connect(source, 8022) for source in sources]
    firewall.ban("198.51.100.0/29", kind=Change.UNBAN)
    assert ["open", "open", "refused"] == [network.connect(source, 8022) for source in sources]


def test_drop_and_all_ports(guarded):
    """Other verdicts, and jails that look at no port."""
    firewall, network = guarded
    firewall.join(type="allports", protocol="all", blocktype="drop")
    firewall.ban("198.51.100.2")
    assert ["timeout", "timeout"] == [network.connect("198.51.100.2", port, timeout=0.5) for port in (8022, 8023)]
    assert "open" == network.connect("198.51.100.3", 8023)


def test_other_ports_on_reload_keep_the_bans(guarded):
    """The new port is blocked, the old one free."""
    firewall, network = guarded
    firewall.join(ban("198.51.100.2"))
    firewall.worker.change_member("sshd", {"name": "sshd", "port": "8023"})
    firewall.settle()
    assert ["open", "refused"] == [network.connect("198.51.100.2", port) for port in (8022, 8023)]


def test_only_our_table_is_touched(firewall, machine):
    """What others made stands before, during and after; our table goes with the last jail."""
    machine.run("nft", "-f", "-", text=FOREIGN)
    machine.run("nft", "add", "table", "inet", "banguard")
    machine.run("nft", "add", "set", "inet", "banguard", "addr4-sshd", "{ type ipv6_addr; }")
    firewall.join(ban("192.0.2.1"))
    firewall.join(ban("192.0.2.2"), member="web")
    assert FOREIGN in firewall.ruleset()
    assert "192.0.2.1" in firewall.ruleset()
    firewall.worker.leave_member("sshd")
    firewall.settle()
    assert "sshd" not in firewall.ruleset()
    assert "192.0.2.2" in firewall.ruleset()
    firewall.worker.leave_member("web")
    firewall.settle()
    assert FOREIGN == firewall.ruleset()
    assert [] == firewall.facts


def test_a_table_left_behind_is_replaced(machine):
    """After a crash the next start neither fails nor keeps what is over."""
    first = Firewall(machine)
    first.join(ban("192.0.2.1"), ban("192.0.2.2"))
    first.worker.leave_member("sshd", keep=True)
    first.close()
    assert "192.0.2.1" in first.ruleset()
    second = Firewall(machine)
    second.join(ban("192.0.2.2"))
    assert "192.0.2.1" not in second.ruleset()
    assert "192.0.2.2" in second.ruleset()
    second.close()
    assert "" == second.ruleset()


def test_bans_for_ever_and_other_ends(firewall, machine):
    """No timeout without an end; a longer or shorter one replaces the old."""

    def elements():
        listing = machine.run("nft", "-j", "list", "set", "inet", "banguard", "addr4-sshd").stdout
        found = next(entry["set"] for entry in json.loads(listing)["nftables"] if "set" in entry).get("elem", [])
        plain = [element["elem"] if isinstance(element, dict) else {"val": element} for element in found]
        return {element["val"]: element.get("timeout") for element in plain}

    firewall.join()
    firewall.ban("192.0.2.1", seconds=None)
    firewall.ban("192.0.2.2", seconds=600)
    assert {"192.0.2.1": None, "192.0.2.2": 600} == elements()
    firewall.ban("192.0.2.2", seconds=9000, kind=Change.EXTEND)
    firewall.ban("192.0.2.1", seconds=60)
    assert {"192.0.2.1": 60, "192.0.2.2": 9000} == elements()
    firewall.ban("192.0.2.2", seconds=None)
    assert {"192.0.2.1": 60, "192.0.2.2": None} == elements()


def test_unbans_of_what_the_kernel_dropped_harm_no_other_change(firewall, machine):
    """One transaction with an unban that comes late, and with bans."""
    firewall.join()
    firewall.ban("192.0.2.1", "192.0.2.0/28", seconds=0.3)
    eventually(lambda: "192.0.2" not in firewall.ruleset().partition("chain")[0], what="the kernel drops the elements")
    steps = len(firewall.facts)
    for kind, host in ((Change.UNBAN, "192.0.2.1"), (Change.UNBAN, "192.0.2.0/28"), (Change.BAN, "192.0.2.7")):
        firewall.worker.put("sshd", BanChange(kind, ban(host)))
    firewall.settle()
    assert ({"192.0.2.7"}, steps) == (firewall.stats().applied, len(firewall.facts))


@pytest.mark.parametrize(
    "accident",
    ["flush ruleset", "flush table inet banguard", "flush chain inet banguard ban-sshd", "delete table inet banguard"],
)
def test_accidents_are_found_and_mended(guarded, accident):
    """Whoever flushes what: the check sees it, and everybody who was banned is so again."""
    firewall, network = guarded
    firewall.join(ban("198.51.100.2"))
    firewall.machine.run("nft", *accident.split())
    assert "open" == network.connect("198.51.100.2", 8022)
    firewall.worker.check()
    firewall.settle()
    assert "refused" == network.connect("198.51.100.2", 8022)
    firewall.machine.run("nft", *accident.split())
    firewall.ban("198.51.100.3")  # a change finds out, too, when the sets are gone
    if accident not in {"flush chain inet banguard ban-sshd", "flush table inet banguard"}:
        assert ["refused", "refused"] == [network.connect(f"198.51.100.{n}", 8022) for n in (2, 3)]


def test_a_flushed_rule_set_heals_by_itself(machine):
    """The regular check needs nobody."""
    firewall = Firewall(machine, check_every=0.1)
    firewall.worker.join_member("sshd", "sshd", "nft", {"name": "sshd"}, [ban("192.0.2.1")])
    eventually(lambda: "192.0.2.1" in firewall.ruleset())
    machine.run("nft", "flush", "ruleset")
    eventually(lambda: "192.0.2.1" in firewall.ruleset(), what="the rules come back")
    firewall.close()


def test_a_full_set_is_an_alarm_and_not_silence(firewall):
    """Those who fit are banned, the others are told as not enforced; room that comes free is used."""
    firewall.join(size="3")
    firewall.ban("192.0.2.1", "192.0.2.2", "192.0.2.3")
    firewall.worker.put("sshd", BanChange(Change.BAN, ban("192.0.2.4")))
    eventually(lambda: firewall.stats().failed, what="the failure shows")
    assert "192.0.2.4" in firewall.stats().failed
    assert firewall.stats().last_error.startswith("the set is full")
    eventually(lambda: ["the set is full"] == [fact.message[:15] for fact in firewall.facts], what="one alarm")
    firewall.worker.put("sshd", BanChange(Change.UNBAN, ban("192.0.2.1")))
    eventually(lambda: firewall.stats().applied == {"192.0.2.2", "192.0.2.3", "192.0.2.4"}, what="it moves up")
    assert ({}, "") == (firewall.stats().failed, firewall.stats().last_error)


@pytest.mark.parametrize("hook", ["prerouting", "input", "forward", "input,forward", "INPUT,FORWARD"])
@pytest.mark.parametrize("blocktype", ["drop", "reject", "reject with icmpx type admin-prohibited", "accept"])
def test_every_hook_and_verdict_is_accepted_by_nft(firewall, hook, blocktype):
    """What passes our checks passes nft's."""
    if hook == "prerouting" and "reject" in blocktype:
        pytest.skip("old kernels reject only in input, forward and output")
    firewall.join(ban("192.0.2.1"), chain=hook, blocktype=blocktype, protocol="tcp,udp", port="ssh,http,6000:6100")
    assert [] == firewall.facts
    assert {"192.0.2.1"} == firewall.stats().applied


def test_without_rights_nothing_is_claimed(machine):
    """Bans that nft refuses show as not enforced, with the reason."""
    firewall = Firewall(machine)
    firewall.run = lambda argv, **more: run.run(
        machine.argv("setpriv", "--reuid=65534", "--clear-groups", "--inh-caps=-all", *argv), **more
    )
    firewall.action._run = firewall.run
    firewall.worker.join_member("sshd", "sshd", "nft", {"name": "sshd"}, [ban("192.0.2.1")])
    eventually(lambda: firewall.stats().failed, what="the failure shows")
    assert "Operation not permitted" in firewall.stats().failed["192.0.2.1"]
    assert frozenset() == firewall.stats().applied
    firewall.close()


def test_many_bans_are_fast(machine, tmp_path):
    """20,000 bans restored, 10,000 at once, one among 50,000: all in a fraction of what single commands take."""
    script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "nftables_times.py")
    found = json.loads(machine.run(sys.executable, script, timeout=100).stdout)
    print(found)
    assert found["restore_20000"] < 10
    assert found["ban_10000"] < 10
    assert found["single_of_50000"] < 0.5
    assert found["rebuild_50020"] < 15
    assert found["stop_with_50020"] < 5
