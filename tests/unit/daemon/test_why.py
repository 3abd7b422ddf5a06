"""Tests of banguard.daemon.why."""

from __future__ import annotations

from dataclasses import asdict

import pytest

from banguard.actions.base import Hold
from banguard.bans.registry import JailBans
from banguard.bans.store import PastBan
from banguard.config.schema import ActionConfig, ActionKind, FilterConfig, JailConfig
from banguard.daemon.why import Inquiry, JailAccess
from banguard.model import Ban, FailureState, Grounds

GROUNDS = Grounds((988.0, 1000.0), (2, 2), ((2, "^bad <HOST>$", "f.conf:3"),), 2, 600.0)
BAN = Ban("web", "192.0.2.1", 1000.0, 1600.0, 2, failures=2, matches=("a", "b"), data={"user": "root"}, grounds=GROUNDS)
ACTION = ActionConfig("nft", "nftables", ActionKind.NATIVE, properties={"port": "80", "name": "web"}, native="nftables")


class Quiet:
    """A network in which nothing happens."""

    def __init__(self):
        self.watched = []

    def watch(self, host, seconds):
        self.watched.append((host, seconds))
        return ()

    def connections(self, host):
        return ()

    listening = peers = forwards = rules_before = lambda self, *_: ()


class FakeJail:
    """What the counter of a jail holds."""

    def __init__(self, *states):
        self.states = {state.host: state for state in states}

    def counted(self, host):
        return self.states.get(host)

    def failing(self, after):
        return tuple(state for state in self.states.values() if state.times[-1] > after)


def access(jail, *bans, name="web", again=None, spared="", **config):
    made = JailConfig(name, filter=FilterConfig("f"), maxretry=2, actions=(ACTION,), **config)
    return JailAccess(made, JailBans(bans, again=again or {}), False, lambda function: function(jail), lambda _: spared)


@pytest.fixture
def inquiry(clock):
    clock.advance(1300.0 - clock.now())
    network = Quiet()
    held = {"held": True}

    def holds(ban, timeout):
        return (Hold("nft", believed=True, held=held["held"]),)

    past = []
    made = Inquiry(
        clock=clock, network=network, holds=holds, past=lambda host: past, protected=lambda host: host == "192.0.2.99"
    )
    made.tools = network, held, past
    return made


def test_a_ban_is_told_with_lines_rule_and_count(inquiry):
    """As they were when it was made; asked of the firewall; no cause when nothing comes."""
    found = inquiry.why("192.0.2.1", {"web": access(FakeJail(), BAN)}, 2.0)
    (ban,) = found.bans
    assert [("a", 2), ("b", 2)] == [(line.line, line.rule) for line in ban.lines]
    assert ("f.conf:3", 12.0, 2, 600.0) == (ban.rules[0].place, ban.within, ban.maxretry, ban.findtime)
    assert (True, 0, ()) == (ban.enforced, ban.failures_since, ban.causes)
    assert ("80", ("input",), True) == (ban.walls[0].ports, ban.walls[0].chains, ban.walls[0].held)
    assert [("192.0.2.1", 2.0)] == inquiry.tools[0].watched
    assert asdict(found)["bans"][0]["jail"] == "web"


def test_failures_since_the_ban_are_counted(inquiry):
    """Those of the counter, and those that were enough for another ban; not those of the first moment."""
    state = FailureState("192.0.2.1", (1001.0, 1100.0))
    found = inquiry.why("192.0.2.1", {"web": access(FakeJail(state), BAN, again={"192.0.2.1": (4, 1090.0)})}, 0.0)
    assert (5, 1100.0) == (found.bans[0].failures_since, found.bans[0].last_failure)
    assert [] == inquiry.tools[0].watched


def test_what_the_firewall_does_not_hold_is_the_cause(inquiry):
    """And the ban is not enforced."""
    inquiry.tools[1]["held"] = False
    (ban,) = inquiry.why("192.0.2.1", {"web": access(FakeJail(), BAN)}, 0.0).bans
    assert (False, "flushed") == (ban.enforced, ban.causes[0].kind)


def test_a_twin_is_an_address_of_the_other_family(inquiry):
    """That fails since; one of the same family is somebody else."""
    others = (
        FailureState("2001:db8::2", (900.0, 1100.0), (), {"user": "root"}),
        FailureState("192.0.2.7", (1100.0,), (), {"user": "root"}),
    )
    (ban,) = inquiry.why("192.0.2.1", {"web": access(FakeJail(*others), BAN)}, 0.0).bans
    assert ["twin"] == [cause.kind for cause in ban.causes]
    assert "2001:db8::2: 1 failures" in ban.causes[0].message


def test_a_host_in_a_banned_network_is_banned(inquiry):
    """The ban of the network is shown."""
    whole = Ban("web", "192.0.2.0/24", 1000.0, None)
    (ban,) = inquiry.why("192.0.2.1", {"web": access(FakeJail(), whole)}, 0.0).bans
    assert ("192.0.2.0/24", None, (), ()) == (ban.id, ban.until, ban.lines, ban.rules)


def test_of_a_host_that_is_not_banned_each_jail_is_told(inquiry):
    """Its counter, who spares it, the ban that is over."""
    inquiry.tools[2].append(PastBan(BAN, 1200.0, "manual"))
    jails = {
        "web": access(FakeJail(FailureState("192.0.2.1", (100.0, 1290.0)))),
        "ssh": access(FakeJail(), name="ssh", spared="ip"),
    }
    found = inquiry.why("192.0.2.1", jails, 5.0)
    assert () == found.bans
    assert [("ssh", 0, "ip"), ("web", 1, "")] == [(note.jail, note.failures, note.spared) for note in found.notes]
    assert ("web", 1200.0, "manual") == (found.over.jail, found.over.ended, found.over.reason)
    assert [] == inquiry.tools[0].watched
    assert inquiry.why("192.0.2.99", {}, 0.0).protected
