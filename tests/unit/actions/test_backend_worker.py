from __future__ import annotations

import threading

import pytest

from banguard.actions.backend_worker import BackendWorker
from banguard.actions.base import FullError, TooLargeError, UnavailableError
from banguard.actions.null import NullAction
from banguard.errors import ActionError
from banguard.model import ActionFailed, Ban, BanChange, Change, FirewallLost, FirewallMended


class Backend(NullAction):
    """A null firewall that can be made to fail."""

    chunk = 100

    def __init__(self):
        super().__init__({"chunk": "100"})
        self.log = []
        self.errors = {}  # method → errors still to raise
        self.bad = set()  # addresses that are refused
        self.largest = None

    def _maybe_fail(self, what, number, addresses=()):
        self.log.append((what, number))
        if self.errors.get(what):
            raise self.errors[what].pop(0)
        if self.largest is not None and number > self.largest:
            raise TooLargeError("Message too long")
        if self.bad & set(addresses):
            raise ActionError("refused")

    def join(self, member, properties, bans, now):
        self._maybe_fail("join", len(bans), [ban.address for ban in bans])
        super().join(member, properties, bans, now)

    def leave(self, member):
        self._maybe_fail("leave", 0)
        super().leave(member)

    def forget(self, member):
        self._maybe_fail("forget", 0)
        super().forget(member)

    def apply(self, steps, now):
        self._maybe_fail("apply", len(steps), [step.key for step in steps])
        super().apply(steps, now)

    def rebuild(self, bans, now):
        self._maybe_fail("rebuild", sum(map(len, bans.values())))
        super().rebuild(bans, now)

    def check(self):
        self._maybe_fail("check", 0)
        return super().check()

    def take_log(self):
        log, self.log = self.log, []
        return log


class Machine:
    """A worker without thread, its backend, clock and facts."""

    def __init__(self, clock, **more):
        self.clock = clock
        self.backend = Backend()
        self.facts = []
        self.worker = BackendWorker(
            "null",
            self.backend,
            clock=clock,
            publish=self.facts.append,
            start_thread=lambda *_: threading.Thread(),
            **more,
        )

    def ban(self, host="192.0.2.1", jail="sshd", **more):
        return Ban(jail, host, self.clock.now(), self.clock.now() + 600, **more)

    def join(self, *bans, jail="sshd"):
        self.worker.join_member(f"{jail}/nft", jail, "nft", {}, bans)

    def put(self, *hosts, kind=Change.BAN, jail="sshd"):
        for host in hosts:
            self.worker.put(f"{jail}/nft", BanChange(kind, self.ban(host, jail)))

    def go(self, rounds=50):
        """Rounds as long as something is due at once."""
        for _ in range(rounds):
            delay = self.worker.round()
            if delay != 0.0:
                return delay
        raise AssertionError("never comes to rest")

    def stats(self, jail="sshd"):
        return self.worker.stats(f"{jail}/nft")

    @property
    def held(self):
        return {member: set(addresses) for member, addresses in self.backend.members.items()}


@pytest.fixture
def machine(clock):
    return Machine(clock)


def many(number, base=1):
    return [f"10.{base}.{n // 256}.{n % 256}" for n in range(number)]


def test_a_member_joins_with_all_its_bans_in_one_transaction(machine):
    """Restoring is one step, whatever the number."""
    machine.join(*[machine.ban(host) for host in many(500)])
    assert machine.go() is None
    assert [("join", 500)] == machine.backend.take_log()
    assert 500 == len(machine.stats().applied)
    assert 0 == machine.stats().waiting


def test_changes_of_all_jails_share_a_transaction(machine):
    """What waits when the worker comes to it is one batch."""
    machine.join()
    machine.join(jail="web")
    machine.go()
    machine.backend.take_log()
    machine.put(*many(10))
    machine.put(*many(20, 2), jail="web")
    machine.go()
    assert [("apply", 30)] == machine.backend.take_log()
    assert (10, 20) == (len(machine.stats().applied), len(machine.stats("web").applied))


def test_more_than_a_chunk_is_several(machine):
    """No transaction is larger than the backend says."""
    machine.join()
    machine.go()
    machine.backend.take_log()
    machine.put(*many(250))
    machine.go()
    assert [("apply", 100), ("apply", 100), ("apply", 50)] == machine.backend.take_log()


def test_chunks_are_halved_until_they_fit(machine):
    """A socket buffer may be small; all is applied all the same."""
    machine.backend.largest = 30
    machine.join()
    machine.put(*many(100))
    machine.go()
    assert {"sshd/nft": set(many(100))} == machine.held
    assert max(number for what, number in machine.backend.take_log()[3:]) <= 30
    assert {} == machine.stats().failed


def test_a_join_too_large_is_filled_afterwards(machine):
    """The rules at once, the bans in portions."""
    machine.backend.largest = 40
    machine.join(*[machine.ban(host) for host in many(200)])
    machine.go()
    assert {"sshd/nft": set(many(200))} == machine.held
    assert ("join", 0) in machine.backend.take_log()


def test_a_rebuild_too_large_is_filled_afterwards(machine):
    """As for joining."""
    machine.join(*[machine.ban(host) for host in many(200)])
    machine.go()
    machine.backend.largest = 40
    machine.backend.intact = False
    machine.worker.check()
    machine.go()
    assert {"sshd/nft": set(many(200))} == machine.held
    assert ("rebuild", 0) in machine.backend.take_log()


def test_a_flushed_firewall_is_built_anew(machine, caplog):
    """The check finds it; everything comes back in one transaction."""
    machine.join(*[machine.ban(host) for host in many(5)])
    machine.go()
    machine.backend.members.clear()
    machine.backend.intact = False
    machine.put("192.0.2.7")
    machine.worker.check()
    machine.go()
    assert {"sshd/nft": {*many(5), "192.0.2.7"}} == machine.held
    assert ["join", "check", "rebuild"] == [what for what, _ in machine.backend.take_log()]
    assert ["The firewall lost the rules of null (sshd); building them anew"] == [
        r.getMessage() for r in caplog.records
    ]


def test_a_refused_batch_leads_to_a_check_and_a_rebuild(machine):
    """When the rules are gone, nothing is counted as failed."""
    machine.join(machine.ban("192.0.2.1"))
    machine.go()
    machine.backend.take_log()
    machine.backend.intact = False
    machine.backend.errors = {"apply": [ActionError("No such file or directory")]}
    machine.put("192.0.2.2", "192.0.2.3")
    machine.go()
    assert [("apply", 2), ("check", 0), ("rebuild", 3)] == machine.backend.take_log()
    assert ({}, 0) == (machine.stats().failed, machine.stats().errors)
    now = machine.clock.now()
    assert [FirewallLost(now, "null", ("sshd",)), FirewallMended(now, "null", ("sshd",))] == machine.facts


def test_a_firewall_that_cannot_be_reached_is_told_once(machine):
    """It is lost with the first failure and mended with the first success, however many attempts lie between."""
    machine.join()
    machine.go()
    machine.backend.errors = {"apply": [UnavailableError("no")], "rebuild": [UnavailableError("no")] * 3}
    machine.put("192.0.2.1")
    for _ in range(6):
        machine.go()
        machine.clock.advance(100)
    told = [type(fact).__name__ for fact in machine.facts if not isinstance(fact, ActionFailed)]
    assert ["FirewallLost", "FirewallMended"] == told


def test_one_bad_element_does_not_hold_up_the_others(machine):
    """The batch is halved until it is found; it is tried again later and reported once."""
    machine.join()
    machine.go()
    machine.put(*many(20))
    machine.backend.bad = {"10.1.0.13"}
    assert 1.0 == machine.go()
    assert 19 == len(machine.held["sshd/nft"])
    assert {"10.1.0.13": "refused"} == machine.stats().failed
    assert ("refused", 1) == (machine.stats().last_error, machine.stats().waiting)
    for _ in range(3):
        machine.clock.advance(100)
        machine.go()
    assert [("10.1.0.13",)] == [fact.hosts for fact in machine.facts if isinstance(fact, ActionFailed)]
    machine.backend.bad = set()
    machine.clock.advance(100)
    assert machine.go() is None
    assert 20 == len(machine.held["sshd/nft"])
    assert ({}, "") == (machine.stats().failed, machine.stats().last_error)


def test_a_bad_element_at_the_start_does_not_keep_the_others_out(machine):
    """The rules come first then, and the bans in portions."""
    machine.backend.bad = {"10.1.0.13"}
    machine.join(*[machine.ban(host) for host in many(20)])
    machine.go()
    assert 19 == len(machine.held["sshd/nft"])
    assert {"10.1.0.13": "refused"} == machine.stats().failed


def test_a_firewall_that_does_not_answer_is_tried_again_as_a_whole(machine):
    """No bisection; later and later; then everything is built anew."""
    machine.join(machine.ban("192.0.2.1"))
    machine.go()
    machine.backend.take_log()
    machine.backend.errors = {"apply": [UnavailableError("nft: not found")], "rebuild": [UnavailableError("still")]}
    machine.put(*many(50))
    assert 1.0 == machine.go()
    machine.put("192.0.2.9")
    assert 1.0 == machine.go()
    assert [("apply", 50)] == machine.backend.take_log()
    assert 50 == len(machine.stats().failed)
    machine.clock.advance(1.0)
    assert 2.0 == machine.go()
    machine.clock.advance(2.0)
    machine.clock.time -= 3
    assert machine.go() is None
    assert [("rebuild", 52), ("rebuild", 52)] == machine.backend.take_log()
    assert 52 == len(machine.held["sshd/nft"])
    assert {} == machine.stats().failed


def test_a_member_that_cannot_join_joins_with_the_rebuild(machine):
    """Where nft is missing at start, everything is there once it came."""
    machine.backend.errors = {"join": [UnavailableError("nft: not found")]}
    machine.join(machine.ban("192.0.2.1"))
    assert 1.0 == machine.go()
    assert {"192.0.2.1": "nft: not found"} == machine.stats().failed
    machine.clock.advance(1.0)
    assert machine.go() is None
    assert {"192.0.2.1"} == machine.stats().applied


def test_a_full_set_is_told_as_such(machine):
    """No bisection, no rebuild: an alarm, and another try later."""
    machine.join()
    machine.go()
    machine.backend.take_log()
    machine.backend.errors = {"apply": [FullError("the set is full")]}
    machine.put(*many(50))
    assert 1.0 == machine.go()
    assert [("apply", 50)] == machine.backend.take_log()
    assert "the set is full" == machine.stats().last_error
    assert [50] == [len(fact.hosts) for fact in machine.facts]


def test_a_firewall_that_cannot_be_checked_is_left_alone(machine, caplog):
    """A warning, no rebuild."""
    machine.join()
    machine.go()
    machine.backend.errors = {"check": [UnavailableError("no")]}
    machine.worker.check()
    machine.go()
    assert ["The firewall cannot be checked: no"] == [record.getMessage() for record in caplog.records]


def test_a_refusal_whose_reason_cannot_be_found_counts_as_unavailable(machine):
    """When the check fails too, all is tried again later."""
    machine.join()
    machine.go()
    machine.backend.errors = {"apply": [ActionError("no")], "check": [UnavailableError("no")]}
    machine.put("192.0.2.1")
    assert 1.0 == machine.go()
    machine.clock.advance(1.0)
    assert machine.go() is None
    assert {"192.0.2.1"} == machine.stats().applied


def test_regular_checks(clock):
    """Every so many seconds while there is a member."""
    machine = Machine(clock, check_every=60.0)
    assert machine.go() is None
    machine.join()
    assert 60.0 == machine.go()
    clock.advance(60.0)
    assert 60.0 == machine.go()
    assert ["join", "check"] == [what for what, _ in machine.backend.take_log()]


def test_leaving(machine):
    """The member's bans go; changes for it are ignored from then on."""
    machine.join(machine.ban("192.0.2.1"))
    machine.join(machine.ban("192.0.2.1", "web"), jail="web")
    machine.go()
    machine.worker.leave_member("sshd/nft")
    machine.worker.leave_member("sshd/nft")
    machine.put("192.0.2.2")
    machine.go()
    assert {"web/nft": {"192.0.2.1"}} == machine.held
    assert machine.stats() is None
    machine.worker.leave_member("web/nft", keep=True)
    machine.worker.leave_member("absent")
    machine.go()
    assert ["join", "join", "leave", "forget"] == [what for what, _ in machine.backend.take_log()]


def test_leaving_that_fails_is_reported_and_the_rest_is_built_anew(machine):
    """Nobody is left with half of the rules."""
    machine.join()
    machine.join(machine.ban("192.0.2.1", "web"), jail="web")
    machine.go()
    machine.backend.errors = {"leave": [ActionError("no")]}
    machine.worker.leave_member("sshd/nft")
    assert 1.0 == machine.go()
    assert [("sshd", "nft", "no")] == [
        (fact.jail, fact.action, fact.message) for fact in machine.facts if isinstance(fact, ActionFailed)
    ]
    machine.clock.advance(1.0)
    machine.go()
    assert {"web/nft": {"192.0.2.1"}} == machine.held


def test_leaving_and_joining_again_keeps_the_order(machine):
    """A restarted jail has its new bans, not none."""
    machine.join(machine.ban("192.0.2.1"))
    machine.go()
    machine.worker.leave_member("sshd/nft")
    machine.join(machine.ban("192.0.2.2"))
    machine.put("192.0.2.3")
    machine.go()
    assert {"sshd/nft": {"192.0.2.2", "192.0.2.3"}} == machine.held


def test_other_properties_keep_the_bans(machine):
    """A reload with another port."""
    machine.join(machine.ban("192.0.2.1"))
    machine.go()
    machine.worker.change_member("sshd/nft", {"port": "2222"})
    machine.go()
    assert {"sshd/nft": {"192.0.2.1"}} == machine.held


def test_flush_ends_all_bans_of_one_jail(machine, caplog):
    """In few transactions, and only of this jail."""
    machine.join(*[machine.ban(host) for host in many(50)])
    machine.join(machine.ban("192.0.2.1", "web"), jail="web")
    machine.go()
    with caplog.at_level(25):
        machine.worker.flush("sshd/nft")
    machine.go()
    assert {"sshd/nft": set(), "web/nft": {"192.0.2.1"}} == machine.held
    assert ["[sshd] Flush ticket(s) with nft"] == [record.getMessage() for record in caplog.records]
    assert ("apply", 50) == machine.backend.take_log()[-1]


def test_an_id_that_is_no_address_is_reported(machine):
    """A firewall cannot block a name; its address, when the ban has one, it can."""
    alice, bob = machine.ban("alice"), machine.ban("bob", data={"ip": "192.0.2.4"})
    machine.join(alice, bob)
    machine.worker.put("sshd/nft", BanChange(Change.BAN, alice))
    machine.worker.put("sshd/nft", BanChange(Change.UNBAN, alice))
    machine.go()
    assert {"sshd/nft": {"192.0.2.4"}} == machine.held
    assert ["'alice' is no address"] * 2 == [fact.message for fact in machine.facts]
    assert (False, True) == (machine.worker.holds("sshd/nft", alice), machine.worker.holds("sshd/nft", bob))
    assert {"bob"} == machine.stats().applied


def test_an_unban_is_applied_too(machine):
    """What ended is taken out."""
    machine.join(machine.ban("192.0.2.1"), machine.ban("192.0.2.2"))
    machine.go()
    machine.put("192.0.2.1", kind=Change.UNBAN)
    machine.go()
    assert {"sshd/nft": {"192.0.2.2"}} == machine.held


def test_bans_that_begin_to_be_held_are_told(clock):
    """Once each, when they are in force; longer bans, ends and failures are not."""
    told = []
    machine = Machine(clock, enforced=lambda bans: told.extend(ban.host for ban in bans))
    machine.join(machine.ban("192.0.2.1"))
    machine.backend.bad = {"192.0.2.3"}
    machine.put("192.0.2.2", "192.0.2.3")
    assert [] == told
    machine.go()
    assert ["192.0.2.1", "192.0.2.2"] == told
    clock.advance(5)
    machine.worker.put("sshd/nft", BanChange(Change.UNBAN, machine.ban("192.0.2.1")))
    held = machine.ban("192.0.2.2")
    machine.worker.put("sshd/nft", BanChange(Change.EXTEND, Ban("sshd", "192.0.2.2", held.since - 5, None)))
    machine.go()
    assert ["192.0.2.1", "192.0.2.2"] == told


class Listening(Backend):
    """A firewall that tells who sends: what a test puts into `sent`."""

    def __init__(self):
        super().__init__()
        self.sent = {}

    def senders(self, member, now):
        self._maybe_fail("senders", 0)
        return self.sent


@pytest.fixture
def listening(clock):
    heard = []
    made = Machine(clock, heard=lambda jail, hosts: heard.append((jail, dict(hosts))))
    made.heard = heard
    made.backend = made.worker._backend = Listening()
    return made


def test_who_still_sends_is_asked_at_intervals(listening, clock):
    """Hosts of the bans that are held, by the address or network; also when there is none, so that time goes on."""
    listening.worker.join_member("sshd/nft", "sshd", "nft", {"quiet_watch": "5"}, [listening.ban("192.0.2.1")])
    listening.join(listening.ban("192.0.2.1", "web"), jail="web")
    listening.worker.put("sshd/nft", BanChange(Change.BAN, listening.ban("alice", data={"ip": "192.0.2.1"})))
    listening.worker.put("sshd/nft", BanChange(Change.BAN, listening.ban("192.0.2.0/24")))
    assert 5.0 == listening.go()
    listening.backend.sent = {"192.0.2.1": 7.0, "192.0.2.0/24": 8.0, "203.0.113.1": 9.0}
    clock.advance(4.9)
    listening.go()
    assert [] == listening.heard
    clock.advance(0.1)
    assert 5.0 == listening.go()
    assert [("sshd", {"192.0.2.1": 7.0, "alice": 7.0, "192.0.2.0/24": 8.0})] == listening.heard
    listening.backend.sent = {}
    clock.advance(5)
    listening.go()
    assert ("sshd", {}) == listening.heard[1]


def test_a_firewall_that_cannot_tell_is_told_of_once(listening, clock, caplog):
    """Bans end at their time then; nothing else suffers."""
    listening.worker.join_member("sshd/nft", "sshd", "nft", {"quiet_watch": "5"}, [listening.ban()])
    listening.go()
    listening.backend.errors["senders"] = [ActionError("no list")] * 2
    for _ in range(3):
        clock.advance(5)
        listening.go()
    assert 1 == caplog.text.count("cannot tell who still sends: no list")
    assert [("sshd", {})] == listening.heard
    assert 0 == listening.stats().errors


def test_a_firewall_that_does_not_stand_is_not_asked(listening, clock):
    """It is built anew first; without the property, or bans, nobody asks either."""
    listening.backend.errors["join"] = [UnavailableError("no nft")]
    listening.worker.join_member("sshd/nft", "sshd", "nft", {"quiet_watch": "5"}, [listening.ban()])
    listening.backend.errors["rebuild"] = [UnavailableError("no nft")]
    for _ in range(2):
        listening.go()
        clock.advance(5)
    assert "senders" not in [what for what, _ in listening.backend.take_log()]
    listening.go()
    clock.advance(5)
    listening.go()
    assert [("sshd", {})] == listening.heard
    listening.put("192.0.2.1", kind=Change.UNBAN)
    listening.go()
    clock.advance(5)
    listening.go()
    assert 1 == len(listening.heard)


def test_what_an_earlier_run_left_goes_when_all_have_joined(machine, caplog):
    """Not before; for members that join later, at once."""
    machine.join()
    machine.go()
    sweeps = []
    machine.backend.sweep = lambda: sweeps.append(set(machine.backend.members))
    machine.join(jail="web")
    machine.worker.settle()
    machine.go()
    assert [{"sshd/nft", "web/nft"}] == sweeps
    machine.join(jail="ftp")
    machine.go()
    assert [{"sshd/nft", "web/nft", "ftp/nft"}] == sweeps[1:]

    def fail():
        raise ActionError("busy")

    machine.backend.sweep = fail
    machine.join(jail="last")
    machine.go()
    assert "What an earlier run left in null cannot be removed: busy" in caplog.text
    assert "last/nft" in machine.held


class Asked(Backend):
    """A firewall that says what it holds."""

    def held(self, member, key):
        return key in self.members.get(member, {})


def ask(machine, ban):
    """Ask from another thread, as a command does, while the worker works."""
    answers = []
    asking = threading.Thread(target=lambda: answers.append(machine.worker.ask_held("sshd/nft", ban, 20)))
    asking.start()
    while asking.is_alive():
        machine.worker.round()
        asking.join(0.01)
    return answers


def test_the_firewall_itself_is_asked(machine, caplog):
    """What it does not hold any more is told, and built anew."""
    machine.backend = machine.worker._backend = Asked()
    ban = machine.ban()
    machine.join(ban)
    machine.go()
    assert [True] == ask(machine, ban)
    assert 0.0 == machine.stats().lost_at
    machine.backend.members["sshd/nft"].clear()
    assert [False] == ask(machine, ban)
    machine.go()
    assert [True] == ask(machine, ban)
    assert machine.clock.now() == machine.stats().lost_at
    assert "building them anew" in caplog.text
    assert [False] == ask(machine, machine.ban("192.0.2.9"))


def test_one_that_cannot_be_asked_says_nothing(machine):
    """Neither yes nor no."""
    machine.join(machine.ban())
    assert machine.worker.ask_held("sshd/nft", machine.ban(), 1) is None
