"""Thread that drains one jail's inbox."""

from __future__ import annotations

import contextlib
import threading

import pytest

from banguard.clock import SystemClock
from banguard.config.schema import JailConfig
from banguard.inbox import Inbox
from banguard.jails.ignore import IgnoreRules
from banguard.jails.jail import Jail
from banguard.jails.resolver import Resolver
from banguard.jails.watcher import Attempt, Call, Idle, Reconfigure, StoppedError, Watcher
from banguard.matching import FilterRules
from banguard.model import Candidates, Cursor

LOG = "/var/log/test.log"


def rules(failregex="^failed <HOST>$"):
    return FilterRules(failregex=[failregex], datepattern="{NONE}")


class Bench:
    """A watcher in a thread of its own, with its reports."""

    def __init__(self, *, check=None, clock=None):
        self.clock = clock or SystemClock()
        self.inbox = Inbox(16)
        self.reports = Inbox(1000)
        resolver = Resolver(self.clock, own=lambda: frozenset({"::1"}))
        self.config = JailConfig(name="test", maxretry=2, findtime=600.0)
        ignore = IgnoreRules("test", clock=self.clock, resolver=resolver, command="check", run_check=check)
        self.jail = Jail(
            self.config, rules(), clock=self.clock, ignore=ignore, resolver=resolver, publish=lambda fact: None
        )
        self.watcher = Watcher(self.jail, self.inbox, self.reports.put, self.clock)
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.watcher.run, args=(self.stop,))
        self.offset = 0

    def feed(self, *lines):
        block = "".join(f"{line}\n" for line in lines).encode()
        self.offset += len(block)
        self.inbox.put(Candidates(LOG, block, Cursor(LOG, offset=self.offset), self.clock.now(), live=True))

    def ask(self, command):
        self.inbox.put_front(command)
        return command.slot.wait(10)

    def end(self):
        self.stop.set()
        self.inbox.close()
        self.thread.join(10)


@pytest.fixture
def running():
    with contextlib.ExitStack() as stack:

        def make(**options):
            bench = Bench(**options)
            bench.thread.start()
            stack.callback(bench.end)
            return bench

        yield make


def test_decisions_are_reported_at_once(running):
    """A ban does not wait for the half second of ordinary reports."""
    bench = running(clock=None)
    bench.feed("failed 192.0.2.1", "failed 192.0.2.1")
    report = bench.reports.get(10)
    assert ["192.0.2.1"] == [decision.host for decision in report.decisions]
    assert (Cursor(LOG, offset=bench.offset),) == report.cursors


def test_positions_are_reported_soon_and_together(running, clock):
    """Reports without decisions come every half second, with all that happened since."""
    bench = running(clock=clock)
    bench.feed("nothing")
    assert 8 == bench.reports.get(10).cursors[0].offset
    bench.feed("failed 192.0.2.1")
    bench.feed("nothing")
    assert 0 == bench.ask(Call(lambda jail: len(bench.reports)))
    clock.advance(0.5)
    bench.feed("nothing")
    report = bench.reports.get(10)
    while report.cursors[0].offset < bench.offset:
        clock.advance(0.5)
        bench.feed()
        report = bench.reports.get(10)
    assert bench.offset == report.cursors[0].offset


def test_what_waits_is_reported_at_the_end(running, clock):
    """An orderly stop loses neither positions nor counts."""
    bench = running(clock=clock)
    bench.feed("nothing")
    bench.reports.get(10)
    bench.feed("failed 192.0.2.1")
    bench.ask(Call(lambda jail: None))
    while bench.watcher.stats().total_failed == 0:
        bench.ask(Call(lambda jail: None))
    bench.end()
    report = bench.reports.get(0)
    assert (bench.offset, "192.0.2.1") == (report.cursors[0].offset, report.failures[0].host)


def test_attempt_is_counted_and_answered(running):
    """The operator's word counts like lines of a log."""
    bench = running()
    assert 1 == bench.ask(Attempt("192.0.2.1", ("a", "b")))
    assert ("a", "b") == bench.reports.get(10).decisions[0].matches


def test_reconfigure_takes_hold_before_the_next_line(running):
    """After the reply new rules are in force."""
    bench = running()
    bench.ask(Reconfigure(bench.config, rules("^refused <HOST>$")))
    bench.feed("failed 192.0.2.1", "failed 192.0.2.1", "refused 192.0.2.2", "refused 192.0.2.2")
    assert ["192.0.2.2"] == [decision.host for decision in bench.reports.get(10).decisions]


def test_a_call_returns_or_raises_where_it_was_asked_for(running):
    """An error belongs to who sent the command; the jail goes on."""
    bench = running()
    assert "test" == bench.ask(Call(lambda jail: jail.name))
    with pytest.raises(ZeroDivisionError):
        bench.ask(Call(lambda jail: 1 / 0))
    assert 1 == bench.ask(Attempt("192.0.2.1"))


def test_an_idle_jail_reads_nothing_and_goes_on_where_it_stood(running):
    """What arrives while idle is thrown away; the position told is that of the last line counted."""
    bench = running()
    bench.feed("nothing")
    expected = (Cursor(LOG, offset=bench.offset),)
    while bench.ask(Call(lambda jail: jail.stats().lines)) == 0:
        pass
    assert expected == bench.ask(Idle(on=True))
    assert bench.watcher.idle
    bench.feed("failed 192.0.2.1", "failed 192.0.2.1")
    while len(bench.inbox):
        bench.ask(Call(lambda jail: None))
    assert expected == bench.ask(Idle(on=False))
    assert not bench.watcher.idle
    bench.feed("failed 192.0.2.1", "failed 192.0.2.1")
    found = []
    while not found:
        found = [decision.host for decision in bench.reports.get(10).decisions]
    assert ["192.0.2.1"] == found
    assert 2 == bench.watcher.stats().total_failed


def test_stats_are_those_of_the_lines_so_far(running):
    """Other threads see the numbers without disturbing the jail."""
    bench = running()
    bench.feed("failed 192.0.2.1", "nothing", "failed 192.0.2.2")
    while bench.watcher.stats().lines < 3:
        bench.ask(Call(lambda jail: None))
    stats = bench.watcher.stats()
    assert (2, 2, 3, 2) == (stats.currently_failed, stats.total_failed, stats.lines, stats.matched)


def test_a_slow_block_bans_before_it_is_through(running):
    """With a slow `ignorecommand` the first ban goes out while later lines still wait."""
    go_on = threading.Event()
    clock = SystemClock()
    seen = []

    def check(command, tags):
        seen.append(tags["ip"])
        if len(seen) == 3:
            threading.Event().wait(0.3)  # longer than a block may take without a look around
        if tags["ip"] == "192.0.2.9":
            go_on.wait(10)
        return 1

    bench = running(check=check, clock=clock)
    bench.feed(*["failed 192.0.2.1"] * 3, *["failed 192.0.2.2", "failed 192.0.2.9"])
    report = bench.reports.get(10)
    assert ["192.0.2.1"] == [decision.host for decision in report.decisions]
    assert ((), ()) == (report.cursors, report.failures)
    go_on.set()
    assert bench.offset == bench.reports.get(10).cursors[0].offset


def test_a_block_given_up_at_the_end_is_not_reported(running):
    """Half a block must not be stored: it is read again after the restart."""

    def check(command, tags):
        bench.stop.wait(0.3)
        bench.stop.set()
        return 1

    bench = running(check=check)
    bench.feed("failed 192.0.2.1", "failed 192.0.2.2", "failed 192.0.2.3")
    bench.thread.join(10)
    assert not bench.thread.is_alive()
    assert 0 == len(bench.reports)


def test_commands_that_come_too_late_are_refused():
    """Nobody waits for a jail that has ended."""
    bench = Bench()
    bench.stop.set()
    attempt = Attempt("192.0.2.1")
    bench.inbox.put(attempt)
    bench.feed("failed 192.0.2.1")
    bench.watcher.run(bench.stop)
    with pytest.raises(StoppedError):
        attempt.slot.wait(0)
