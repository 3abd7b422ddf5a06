from __future__ import annotations

import threading

import pytest

from banguard.actions.base import GivenUpError
from banguard.actions.batch import DesiredState, Notices
from banguard.actions.jail_worker import FLUSH_FROM, JailWorker
from banguard.errors import ActionError
from banguard.model import Ban, BanChange, Change


class Action:
    """Writes down what it is told; can be made to fail."""

    def __init__(self, *, keeps_state=True, norestored=False, has_start=True, flushes=False):
        self.keeps_state = keeps_state
        self.norestored = norestored
        self.has_start = has_start
        self.flushes = flushes
        self.log = []
        self.errors = {}
        self.meanwhile = None

    def _note(self, what, word=""):
        self.log.append(f"{what} {word}".strip())
        if self.meanwhile is not None:
            hook, self.meanwhile = self.meanwhile, None
            hook()
        if self.errors.get(what):
            raise self.errors[what].pop(0)

    def start(self):
        self._note("start")

    def ban(self, step):
        what = "reban" if step.again else step.kind.value
        self._note(what, step.key + ("*" if step.restored else ""))

    def unban(self, step):
        self._note("unban", step.key)

    def flush(self):
        if self.flushes:
            self._note("flush")
        return self.flushes

    def stop(self):
        self._note("stop")

    def check(self):
        self._note("check")

    def reload(self):
        self._note("reload")

    def take(self):
        log, self.log = self.log, []
        return log


class Machine:
    """A worker without thread."""

    def __init__(self, clock, after=(), **more):
        self.clock = clock
        self.facts = []
        self.action = Action(**more)
        state = DesiredState("act") if self.action.keeps_state else Notices("act")
        self.worker = JailWorker(
            "sshd",
            "act",
            self.action,
            state,
            clock=clock,
            publish=self.facts.append,
            start_thread=lambda *_: threading.Thread(),
            after=after,
        )

    def put(self, *hosts, kind=Change.BAN, restored=False, **more):
        for host in hosts:
            self.worker.put(BanChange(kind, ban(host, **more), restored=restored))

    def go(self):
        for _ in range(500):
            delay = self.worker.round()
            if delay != 0.0:
                return delay
        raise AssertionError("never comes to rest")


def ban(host="192.0.2.1", since=100.0, until=700.0, **more):
    return Ban("sshd", host, since, until, **more)


@pytest.fixture
def machine(clock):
    return Machine(clock)


def test_a_plain_life(machine):
    """Start, bans in order, unbans, stop."""
    machine.worker.start([])
    machine.put("192.0.2.1", "192.0.2.2")
    machine.go()
    machine.put("192.0.2.1", kind=Change.UNBAN)
    machine.put("192.0.2.2", kind=Change.EXTEND, until=900.0)
    machine.go()
    machine.worker.leave()
    machine.worker.leave()
    machine.put("192.0.2.9")
    machine.go()
    expected = ["start", "ban 192.0.2.1", "ban 192.0.2.2", "unban 192.0.2.1", "extend 192.0.2.2"]
    assert [*expected, "unban 192.0.2.2", "stop"] == machine.action.take()
    assert machine.worker.keeps_state


def test_no_thread_for_an_action_that_has_nothing_to_do(clock):
    """An action that starts on demand waits for its first ban."""
    machine = Machine(clock, has_start=False)
    machine.worker.start([])
    assert machine.worker._thread is None
    machine.put("192.0.2.1")
    assert machine.worker._thread is not None


def test_restored_bans_are_given_as_such_or_spared(clock):
    """`norestored` actions hear of new bans only."""
    machine = Machine(clock)
    machine.worker.start([ban("192.0.2.1")])
    machine.put("192.0.2.2", restored=True)
    machine.put("192.0.2.3")
    machine.go()
    assert ["start", "ban 192.0.2.1*", "ban 192.0.2.2*", "ban 192.0.2.3"] == machine.action.take()
    machine = Machine(clock, norestored=True, keeps_state=False)
    machine.worker.start([ban("192.0.2.1")])
    machine.put("192.0.2.2", restored=True)
    machine.put("192.0.2.3")
    machine.go()
    assert ["start", "ban 192.0.2.3"] == machine.action.take()


def test_a_failed_ban_is_tried_again_and_visible_until_then(machine, caplog):
    """Later and later, reported once, and said when it worked at last."""
    machine.action.errors = {"ban": [ActionError("no"), ActionError("no")]}
    machine.put("192.0.2.1")
    assert 1.0 == machine.go()
    stats = machine.worker.stats()
    assert ({"192.0.2.1": "no"}, 1, "no", frozenset()) == (stats.failed, stats.waiting, stats.last_error, stats.applied)
    assert not machine.worker.holds(ban())
    machine.clock.advance(1.0)
    assert 2.0 == machine.go()
    machine.clock.advance(2.0)
    with caplog.at_level("INFO"):
        assert machine.go() is None
    assert "[sshd] 192.0.2.1 is now banned by action 'act', after 2 failed attempts" in caplog.messages
    assert [("no", ("192.0.2.1",))] == [(fact.message, fact.hosts) for fact in machine.facts]
    stats = machine.worker.stats()
    assert ({}, 0, "", {"192.0.2.1"}) == (stats.failed, stats.waiting, stats.last_error, stats.applied)
    assert (1, 2) == (stats.done, stats.errors)
    assert machine.worker.holds(ban())


def test_one_failing_ban_does_not_hold_up_the_next(machine):
    """It waits for its time, the others go on."""
    machine.action.errors = {"ban": [ActionError("no")]}
    machine.put("192.0.2.1", "192.0.2.2")
    machine.go()
    assert ["ban 192.0.2.1", "ban 192.0.2.2"] == machine.action.take()


def test_an_unban_given_up_is_not_tried_again(machine):
    """Where the rules are gone, so is the ban."""
    machine.put("192.0.2.1")
    machine.go()
    machine.action.errors = {"unban": [GivenUpError("gone")]}
    machine.put("192.0.2.1", kind=Change.UNBAN)
    assert machine.go() is None
    assert frozenset() == machine.worker.stats().applied


def test_a_failed_notice_is_reported_and_not_repeated(clock):
    """Mail is not sent twice."""
    machine = Machine(clock, keeps_state=False)
    machine.action.errors = {"ban": [ActionError("no server")]}
    machine.put("192.0.2.1", "192.0.2.2")
    machine.put("192.0.2.1", kind=Change.UNBAN)
    assert machine.go() is None
    assert ["ban 192.0.2.1", "ban 192.0.2.2"] == machine.action.take()
    assert ["no server"] == [fact.message for fact in machine.facts]
    stats = machine.worker.stats()
    assert (False, 1, 0) == (stats.enforces, stats.errors, stats.waiting)


def test_what_waits_is_still_told_before_the_stop(clock):
    """The mail about the last ban is sent."""
    machine = Machine(clock, keeps_state=False)
    machine.put("192.0.2.1", "192.0.2.2")
    machine.worker.leave()
    machine.go()
    assert ["ban 192.0.2.1", "ban 192.0.2.2", "stop"] == machine.action.take()


def test_nothing_more_is_begun_once_the_time_to_stop_is_over(clock):
    """Abandoned is abandoned."""
    for keeps_state in (True, False):
        machine = Machine(clock, keeps_state=keeps_state)
        machine.put("192.0.2.1")
        if keeps_state:
            machine.go()
            machine.action.take()
        machine.worker.leave()
        machine.worker.abandon()
        machine.go()
        assert [] == machine.action.take()


def test_many_bans_that_end_at_once_are_flushed(clock):
    """Where the action can flush; one or two are unbanned."""
    machine = Machine(clock, flushes=True)
    hosts = [f"192.0.2.{n}" for n in range(FLUSH_FROM)]
    machine.put(*hosts)
    machine.go()
    machine.action.take()
    machine.put(*hosts, kind=Change.UNBAN)
    machine.go()
    assert ["flush"] == machine.action.take()
    assert (0, frozenset()) == (machine.worker.stats().waiting, machine.worker.stats().applied)
    machine.put("192.0.2.1")
    machine.go()
    machine.put("192.0.2.1", kind=Change.UNBAN)
    machine.go()
    assert ["ban 192.0.2.1", "unban 192.0.2.1"] == machine.action.take()


def test_flush_on_request(clock, caplog):
    """`unban --all`: one flush; the unbans that follow find nothing; what came meanwhile is banned again."""
    machine = Machine(clock, flushes=True)
    machine.put("192.0.2.1", "192.0.2.2")
    machine.go()
    machine.action.take()
    machine.worker.flush()
    machine.put("192.0.2.1", "192.0.2.2", kind=Change.UNBAN)
    machine.action.meanwhile = lambda: machine.put("192.0.2.2", since=200.0)
    with caplog.at_level(25):
        machine.go()
    assert "[sshd] Flush ticket(s) with act" in caplog.messages
    assert ["flush", "reban 192.0.2.2"] == machine.action.take()
    machine.worker.flush()
    machine.worker.flush()
    machine.go()
    assert ["flush"] == machine.action.take()


def test_without_flush_each_is_unbanned(machine):
    """On request, at the end of many, and at the stop."""
    machine.put("192.0.2.1", "192.0.2.2")
    machine.go()
    machine.worker.flush()
    machine.go()
    assert ["ban 192.0.2.1", "ban 192.0.2.2", "unban 192.0.2.1", "unban 192.0.2.2"] == machine.action.take()


def test_a_flush_that_fails_leads_to_single_unbans(clock):
    """Nothing stays behind."""
    machine = Machine(clock, flushes=True)
    machine.put("192.0.2.1")
    machine.go()
    machine.action.errors = {"flush": [ActionError("no")]}
    machine.worker.leave()
    machine.go()
    assert ["ban 192.0.2.1", "flush", "unban 192.0.2.1", "stop"] == machine.action.take()
    assert ["no"] == [fact.message for fact in machine.facts]


def test_what_the_action_lost_is_applied_again(machine, caplog):
    """After a repair; the ban under way is not repeated."""
    machine.put("192.0.2.1", "192.0.2.2")
    machine.go()
    machine.action.take()
    machine.action.meanwhile = lambda: machine.worker.lose(lambda one: True)
    machine.put("192.0.2.3")
    machine.go()
    assert ["ban 192.0.2.3", "reban 192.0.2.1", "reban 192.0.2.2"] == machine.action.take()
    assert "[sshd] Action 'act' lost 2 bans; applying them again" in caplog.messages


@pytest.mark.parametrize("what", ["start", "stop", "check", "reload"])
def test_other_failures_are_reported(machine, what):
    """Start, stop, check and reload."""
    machine.action.errors = {what: [ActionError("no")]}
    if what == "start":
        machine.worker.start([])
    elif what == "stop":
        machine.worker.leave()
    else:
        getattr(machine.worker, what)()
    machine.go()
    assert [("sshd", "act", "no", ())] == [(f.jail, f.action, f.message, f.hosts) for f in machine.facts]
    assert "no" == machine.worker.stats().last_error


def test_checks_are_some_seconds_apart(machine):
    """A flood of reasons to check leads to one check."""
    for _ in range(3):
        machine.worker.check()
    machine.clock.advance(3.0)
    machine.worker.check()
    machine.go()
    assert ["check", "check"] == machine.action.take()


def test_a_notification_is_not_checked(clock):
    """There is nothing it could have lost."""
    machine = Machine(clock, keeps_state=False)
    machine.worker.check()
    machine.go()
    assert [] == machine.action.take()


def test_it_waits_for_what_used_the_same_rules_before(clock):
    """A new action starts when the old one has stopped."""
    gate = threading.Event()
    waited = []

    class Gate:
        def wait(self, timeout=None):
            waited.append(timeout)
            return gate.is_set()

    machine = Machine(clock, after=[Gate()], has_start=False)
    machine.worker.start([])
    machine.put("192.0.2.1")
    machine.go()
    assert [60.0] == waited
    assert ["start", "ban 192.0.2.1"] == machine.action.take()


def test_a_stop_does_not_wait_for_each_notice_that_fails(clock, caplog):
    """What is told when the jail stops is told until one fails; the others are left out, and that is said."""
    machine = Machine(clock, keeps_state=False)
    machine.action.errors["ban"] = [ActionError("timed out")]
    machine.put("192.0.2.1", "192.0.2.2", "192.0.2.3")
    machine.worker.leave()
    machine.worker.round()
    assert ["ban 192.0.2.1", "stop"] == machine.action.take()
    assert "2 bans are not told" in caplog.text
