"""Tests of banguard.daemon.selftest."""

from __future__ import annotations

import os

import pytest

from banguard.actions.base import Hold
from banguard.bus import Bus
from banguard.config.schema import ActionConfig, FilterConfig, JailConfig
from banguard.daemon import selftest
from banguard.daemon.selftest import ADDRESS, Chain, SelfTest
from banguard.errors import ControlError
from banguard.model import Ban, Banned, FailureFound, Unbanned

CONFIG = JailConfig(
    "web",
    filter=FilterConfig("f", failregex=("^ bad <HOST>$",)),
    maxretry=2,
    ignoreip=("192.0.2.0/24",),
    actions=(ActionConfig("nft", "nftables", properties={"name": "web"}), ActionConfig("mail", "mail")),
)


class Server:
    """Reads the log of the jail when it is asked about bans, as the real one does in threads of its own."""

    def __init__(self, clock):
        self.clock = clock
        self.bus = Bus()
        self.jails = {}
        self.dropped = []
        self.held = False
        self.firewall_works = True
        self.reads = True
        self.log = ""

    def add(self, config):
        self.jails[config.name] = config
        self.log = config.logpath[0].pattern

    def start(self, name):
        assert name in self.jails

    def drop(self, name):
        self.dropped.append(name)
        self.jails.pop(name, None)

    def read(self, name):
        if not self.reads:
            return
        with open(self.log, encoding="utf-8") as file:
            for line in file:
                self.bus.publish(FailureFound(self.clock.now(), name, ADDRESS, line))
        self.held = self.firewall_works
        self.ban = Ban(name, ADDRESS, self.clock.now(), None)
        self.bus.publish(Banned(self.clock.now(), self.ban))

    def unban(self, name, hosts):
        assert [ADDRESS] == list(hosts)
        self.held = False
        self.bus.publish(Unbanned(self.clock.now(), self.ban, "manual"))

    def holds(self, ban, timeout):
        return (Hold("nft", believed=self.held or (not self.firewall_works and ban is self.ban), held=self.held),)

    def test(self, **options):
        chain = Chain(self.add, self.start, self.drop, self.unban, self.holds, lambda _: frozenset({"nft"}))
        made = SelfTest(CONFIG, chain, self.bus, self.clock, **{"line": "", "write_log": "", **options})
        write = made._write

        def written(log, lines):
            said = write(log, lines)
            self.read(made._name)
            return said

        made._write = written
        return made.run()


@pytest.fixture
def server(clock, monkeypatch):
    monkeypatch.setattr(selftest, "PATIENCE", 0.05)
    return Server(clock)


def states(outcome):
    return [(step.name, step.passed) for step in outcome.steps]


def test_all_steps_are_done_in_a_jail_of_its_own(server):
    """With filter and blocking actions of the jail, under another name, sparing nobody; it is gone afterwards."""
    configs = []
    add = server.add
    server.add = lambda config: (configs.append(config), add(config))
    outcome = server.test()
    names = ["line", "jail", "log", "match", "ban", "firewall", "unban", "released", "clean"]
    assert [(name, True) for name in names] == states(outcome)
    (config,) = configs
    assert ("selftest-web", (), 2) == (config.name, config.ignoreip, config.maxretry)
    assert [("nft", "selftest-web")] == [(action.name, action.properties["name"]) for action in config.actions]
    assert ["selftest-web"] == server.dropped
    assert not os.path.exists(os.path.dirname(server.log))


def test_a_step_that_fails_ends_the_test_and_all_is_cleaned(server):
    """What is not read is told; so is a firewall that does not hold."""
    server.reads = False
    outcome = server.test()
    assert [("match", False), ("clean", True)] == states(outcome)[-2:]
    assert not outcome.passed
    assert ["selftest-web"] == server.dropped
    assert not os.path.exists(os.path.dirname(server.log))


def test_a_firewall_that_does_not_hold_the_ban_fails_the_test(server):
    """The step says which action."""
    server.firewall_works = False

    class Slow:
        def __init__(self, clock):
            self._clock = clock

        now = property(lambda self: self._clock.now)

        def monotonic(self):
            self._clock.advance(0.02)
            return self._clock.monotonic()

    server.clock = Slow(server.clock)
    outcome = server.test()
    assert ("firewall", False) == states(outcome)[-2]
    assert "nft does not hold it" in outcome.steps[-2].message


def test_a_line_can_be_given_and_the_own_log_be_used(server, tmp_path):
    """Then no jail is made, and the ban is taken back."""
    log = tmp_path / "web.log"
    log.write_text("before\n")
    server.log = str(log)
    outcome = server.test(line="x 192.0.2.1", write_log=str(log))
    assert outcome.passed
    assert ("before\n" + "x 192.0.2.1\n" * 2) == log.read_text()
    assert [] == server.dropped
    assert "nothing else was made" == outcome.steps[-1].message


def test_a_jail_that_cannot_be_made_is_told(server):
    """The reason is the step's message."""

    def refuse(config):
        raise ControlError("no room")

    server.add = refuse
    outcome = server.test()
    assert ("jail", False) == states(outcome)[1]
    assert "no room" == outcome.steps[1].message
