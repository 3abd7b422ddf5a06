"""Thread that owns all active bans."""

from __future__ import annotations

import logging
import sqlite3
import threading
import time

import pytest

from banguard.bans.registry import (
    AttachJail,
    BanRequest,
    Call,
    ConfigureJail,
    DetachJail,
    JailBans,
    Reach,
    Registry,
    RegistryStoppedError,
    Repeats,
    StillSending,
    UnbanAll,
    UnbanRequest,
)
from banguard.bans.store import MemoryStore
from banguard.bans.store_sqlite import SqliteStore
from banguard.clock import SystemClock
from banguard.config.schema import BanPrefix, BantimeIncrement
from banguard.errors import StoreError
from banguard.model import (
    BanChange,
    BanDecision,
    Banned,
    Change,
    Cursor,
    FailureState,
    JailReport,
    Origin,
    Unbanned,
)

A, B, C = "192.0.2.1", "192.0.2.2", "192.0.2.3"
GROWING = BantimeIncrement(enabled=True)


class BreakableStore(MemoryStore):
    """A store that can be out of order, and notes when it was written to."""

    def __init__(self):
        super().__init__()
        self.broken = False
        self.writes = []
        self.reopened = 0

    def _use(self):
        if self.broken:
            raise StoreError("disk on fire")

    def reopen(self):
        self.reopened += 1
        self._use()

    def write(self, batch):
        self._use()
        super().write(batch)
        self.writes.append(batch)

    def replace(self, jails, batch):
        self._use()
        super().replace(jails, batch)

    def active(self, jail):
        self._use()
        return super().active(jail)

    def offences(self, jail, hosts):
        self._use()
        return super().offences(jail, hosts)

    def history(self, host, jail=None):
        self._use()
        return super().history(host, jail)


class Bench:
    """A registry worked by hand: everything it emits, in order, with the log lines between."""

    def __init__(self, clock, store=None, **options):
        self.clock = clock
        self.store = store or BreakableStore()
        self.changes = []
        self.facts = []
        self.registry = Registry(self.store, self.changes.append, clock, self.facts.append, **options)

    def ask(self, request):
        self.registry.inbox.put(request)
        self.registry.turn()
        return request.slot.wait(0)

    def attach(self, jail="sshd", bantime=600, **options):
        return self.ask(AttachJail(jail, bantime, **options))

    def report(self, *decisions, jail="sshd", cursors=(), failures=()):
        self.registry.inbox.put(JailReport(jail, cursors, failures, decisions))

    def decide(self, *hosts, jail="sshd", age=0.0, **values):
        now = self.clock.now()
        self.report(*[BanDecision(jail, host, now - age, 3, **values) for host in hosts], jail=jail)
        self.registry.turn()

    def advance(self, seconds):
        self.clock.advance(seconds)
        self.registry.turn()

    def told(self):
        told = [(change.kind.value, change.ban.host) for change in self.changes]
        self.changes.clear()
        return told

    def banned(self, jail="sshd"):
        return [ban.host for ban in self.registry.snapshot()[jail].bans]

    def restart(self, **options):
        self.registry.finish()
        return Bench(self.clock, self.store, **options)


@pytest.fixture
def bench(clock):
    return lambda **options: Bench(clock, **options)


@pytest.fixture
def log(caplog):
    caplog.set_level(logging.DEBUG)

    def take(name="banguard.actions"):
        lines = [f"{record.levelno} {record.getMessage()}" for record in caplog.records if record.name == name]
        caplog.clear()
        return lines

    return take


def stamp(at):
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))


# ---- begin


def test_a_decision_becomes_a_ban(bench, log):
    """Logged, emitted, published, shown: with its end counted from the last failure."""
    jail = bench()
    jail.attach()
    jail.decide(A, age=10.0, matches=("x",), data={"user": "root"})
    (change,) = jail.changes
    ban = change.ban
    now = jail.clock.now()
    assert (Change.BAN, False) == (change.kind, change.restored)
    assert ("sshd", A, now - 10, now + 590, 1, Origin.LOCAL, 3, ("x",), {"user": "root"}) == (
        ban.jail,
        ban.host,
        ban.since,
        ban.until,
        ban.count,
        ban.origin,
        ban.failures,
        ban.matches,
        ban.data,
    )
    assert [f"25 [sshd] Ban {A}"] == log()
    assert [Banned(now, ban)] == jail.facts
    assert {"sshd": JailBans((ban,), 1)} == dict(jail.registry.snapshot())


def test_a_ban_is_stored_before_it_is_told(clock):
    """Whoever hears of a ban finds it in the store, with the positions and counts of the same report."""
    store = BreakableStore()
    seen = []
    registry = Registry(
        store,
        lambda change: seen.append((len(store.active("sshd")), store.cursors("sshd"), store.failures("sshd"))),
        clock,
        lambda fact: None,
    )
    registry.inbox.put(AttachJail("sshd"))
    cursor, state = Cursor("log", offset=5), FailureState(B, (1.0,))
    registry.inbox.put(JailReport("sshd", (cursor,), (state,), (BanDecision("sshd", A, clock.now(), 3),)))
    registry.turn()
    assert [(1, [cursor], [state])] == seen


def test_many_decisions_are_one_transaction(bench):
    """A flood costs one commit, and all of it is there."""
    jail = bench()
    jail.attach()
    hosts = [f"10.0.{number // 250}.{number % 250}" for number in range(2000)]
    jail.decide(*hosts)
    assert (1, 2000) == (len(jail.store.writes), len(jail.changes))
    assert sorted(hosts) == jail.banned()


def test_positions_alone_are_written_every_half_second(bench):
    """Progress is cheap; it is written at once only together with a ban."""
    jail = bench()
    jail.attach()
    jail.advance(10)
    for number in range(5):
        jail.report(cursors=(Cursor("log", offset=number),))
        jail.advance(0.2)
    assert [0, 3] == [batch.cursors["sshd", "log"].offset for batch in jail.store.writes]
    jail.report(cursors=(Cursor("log", offset=9),))
    jail.decide(A)
    assert 9 == jail.store.writes[-1].cursors["sshd", "log"].offset


@pytest.mark.parametrize(("age", "level", "extended"), [(2.9, 10, True), (3, 25, True), (59, 25, True), (60, 30, True)])
def test_a_host_that_is_banned_already_is_told_by_how_long(bench, log, age, level, extended):
    """Lines still in the pipe are normal; a failure a minute later means that the ban does not hold."""
    jail = bench()
    jail.attach()
    jail.decide(A)
    log()
    jail.clock.advance(age)
    jail.decide(A)
    assert [f"{level} [sshd] {A} already banned"] == log()
    assert [("ban", A), ("extend", A)] == jail.told()
    assert jail.clock.now() + 600 == jail.registry.snapshot()["sshd"].bans[0].until


def test_an_end_never_comes_earlier_through_a_further_failure(bench):
    """An older failure that comes late changes nothing."""
    jail = bench()
    jail.attach()
    jail.decide(A)
    jail.decide(A, age=100)
    assert [("ban", A)] == jail.told()


def test_two_decisions_on_one_host_in_one_batch(bench):
    """They are told in the order in which they came about."""
    jail = bench()
    jail.attach()
    now = jail.clock.now()
    jail.report(BanDecision("sshd", A, now - 5, 3), BanDecision("sshd", A, now, 3))
    jail.registry.turn()
    assert [("ban", A), ("extend", A)] == jail.told()


def test_actions_are_checked_when_a_ban_does_not_hold(bench):
    """A failure more than 3 s after the ban asks for it, at most every 3 s."""
    checked = []
    jail = bench(recheck=checked.append)
    jail.attach()
    jail.decide(A, B)
    for seconds in (1, 3, 1, 3):
        jail.clock.advance(seconds)
        jail.decide(A, B)
    assert ["sshd", "sshd"] == checked


def test_a_ban_whose_time_is_over_is_not_begun(bench, log):
    """Old lines, read late: nothing to block any more."""
    jail = bench()
    jail.attach()
    jail.decide(A, age=600)
    assert [f"20 [sshd] Ignore {A}, expired bantime"] == log()
    assert ([], []) == (jail.changes, jail.banned())


def test_protected_hosts_are_never_banned(bench, log):
    """Neither by a jail, nor by hand, nor by a peer, nor when only the address is protected."""
    jail = bench(protected={A}.__contains__)
    jail.attach()
    jail.decide(A)
    jail.decide("bob", data={"ip": A})
    assert 0 == jail.ask(BanRequest("sshd", (A,)))
    assert 0 == jail.ask(BanRequest("sshd", (A,), origin=Origin.FLEET))
    assert [] == jail.changes
    assert 4 == len([line for line in log() if "protected" in line])


def test_decisions_of_a_stopped_jail_are_dropped_but_its_positions_kept(bench):
    """The last report of a jail may come after it was detached."""
    jail = bench()
    jail.report(BanDecision("sshd", A, jail.clock.now(), 3), cursors=(Cursor("log", offset=7),))
    jail.registry.turn()
    assert [] == jail.changes
    assert (Cursor("log", offset=7),) == jail.attach().cursors


def test_text_of_a_log_cannot_forge_lines_of_ours(bench, log):
    """An id may hold anything; the log line stays one line."""
    jail = bench()
    jail.attach()
    jail.decide("x\n[sshd] Ban 192.0.2.9\x1b[0m")
    assert ["25 [sshd] Ban x\\n[sshd] Ban 192.0.2.9\\x1b[0m"] == log()


# ---- longer and longer


def test_bans_grow_for_hosts_that_come_back(bench, log):
    """The length is computed before the ban is told, and the log says by how much it grew."""
    jail = bench()
    jail.attach(increment=GROWING)
    lengths = []
    for number in range(4):
        jail.decide(A)
        ban = jail.changes[-1].ban
        lengths.append((ban.count, ban.bantime))
        if number < 3:
            last = ban.since
            jail.advance(ban.bantime)
            log("banguard.observer")
    assert [(1, 600), (2, 1200), (3, 2400), (4, 4800)] == lengths
    now = jail.clock.now()
    assert [
        f"20 [sshd] IP {A} is bad: 3 # last {stamp(last)} - incr 10m to 1h 20m",
        f"25 [sshd] Increase Ban {A} (4 # 1h 20m -> {stamp(now + 4800)})",
    ] == log("banguard.observer")


def test_counts_are_told_without_increment_too(bench):
    """`<bancount>` and `status` know how often; the length stays."""
    jail = bench()
    jail.attach()
    for _ in range(3):
        jail.decide(A)
        jail.advance(600)
    bans = [change.ban for change in jail.changes if change.kind is Change.BAN]
    assert [(1, 600), (2, 600), (3, 600)] == [(ban.count, ban.bantime) for ban in bans]


@pytest.mark.parametrize(("overall", "expected"), [(False, 600), (True, 1200)])
def test_overalljails_counts_bans_everywhere(bench, overall, expected):
    """With it a ban in another jail makes the next one longer here."""
    jail = bench()
    jail.attach("web")
    jail.attach(increment=BantimeIncrement(enabled=True, overalljails=overall))
    jail.decide(A, jail="web")
    jail.clock.advance(5)
    jail.decide(A)
    assert expected == jail.changes[-1].ban.bantime


def test_old_lines_do_not_count_as_a_return(bench):
    """Failures older than the last ban, read once more, repeat that ban and its count."""
    jail = bench()
    jail.attach(increment=GROWING)
    jail.decide(A)
    jail.ask(Call(lambda registry: registry._end(registry._jails["sshd"], A, "expired")))
    jail.decide(A, age=5)
    ban = jail.changes[-1].ban
    assert (1, 600) == (ban.count, ban.bantime)
    assert 1 == jail.store.history(A).bans


def test_the_random_part_comes_from_the_given_source(bench):
    """`bantime.rndtime` makes the end unpredictable; a test gives its own chance."""
    jail = bench(random=lambda: 0.25)
    jail.attach(increment=BantimeIncrement(enabled=True, rndtime=100))
    jail.decide(A)
    jail.advance(600)
    jail.decide(A)
    assert 1225 == jail.changes[-1].ban.bantime


# ---- by hand


def test_ban_by_hand(bench, log):
    """From now, without failures, with the count of those that are new."""
    jail = bench()
    jail.attach()
    assert 2 == jail.ask(BanRequest("sshd", (A, "::FFFF:192.0.2.2", A)))
    assert 1 == jail.ask(BanRequest("sshd", (A, "10.1.2.3/8", "")))
    assert [(A, 0), (B, 0), ("10.0.0.0/8", 0)] == [(change.ban.host, change.ban.failures) for change in jail.changes]
    assert {Origin.MANUAL} == {change.ban.origin for change in jail.changes}
    assert [f"25 [sshd] Ban {host}" for host in (A, B, "10.0.0.0/8")] == log()


@pytest.mark.parametrize(("bantime", "expected"), [(None, 600), (5, 5), (-1, -1)])
def test_ban_by_hand_for_a_given_time(bench, bantime, expected):
    """None is the jail's, a negative number for ever."""
    jail = bench()
    jail.attach()
    jail.ask(BanRequest("sshd", (A,), bantime=bantime))
    assert expected == jail.changes[0].ban.bantime


def test_ban_by_hand_in_an_unknown_jail_is_an_error(bench):
    """The sender hears of it; the registry goes on."""
    jail = bench()
    with pytest.raises(KeyError):
        jail.ask(BanRequest("none", (A,)))
    assert () == jail.attach().bans


def test_a_longer_ban_by_hand_extends_a_shorter_one(bench):
    """For ever beats any time; nothing beats for ever."""
    jail = bench()
    jail.attach()
    jail.decide(A)
    assert 0 == jail.ask(BanRequest("sshd", (A,), bantime=100))
    assert 0 == jail.ask(BanRequest("sshd", (A,), bantime=-1))
    assert 0 == jail.ask(BanRequest("sshd", (A,), bantime=9999))
    assert [("ban", A), ("extend", A)] == jail.told()
    assert None is jail.registry.snapshot()["sshd"].bans[0].until


def test_bans_of_the_fleet_pass_the_ignore_rules(bench, log):
    """A peer cannot ban whom this server spares; an operator can."""
    jail = bench()
    jail.attach(ignored={A: "ip", B: True}.get)
    assert 1 == jail.ask(BanRequest("sshd", (A, B, C), bantime=60, origin=Origin.FLEET, since=jail.clock.now() - 10))
    assert [f"20 [sshd] Ignore {A} by ip", f"20 [sshd] Ignore {B} by ignore rules"] == log("banguard.filter")
    assert [(C, jail.clock.now() + 50)] == [(change.ban.host, change.ban.until) for change in jail.changes]
    assert 1 == jail.ask(BanRequest("sshd", (A,)))


def test_unban_by_hand(bench, log):
    """Told to the actions, gone from the store, forgotten as an offender."""
    jail = bench()
    jail.attach(increment=GROWING)
    jail.attach("web")
    jail.decide(A, B)
    jail.decide(A, jail="web")
    jail.told(), log()
    assert {A: 1} == jail.ask(UnbanRequest("sshd", (A, C)))
    assert [f"25 [sshd] Unban {A}"] == log()
    assert ([("unban", A)], [B], [A]) == (jail.told(), jail.banned(), jail.banned("web"))
    assert isinstance(jail.facts[-1], Unbanned)
    assert "manual" == jail.facts[-1].reason
    assert {A: 1, B: 1} == jail.ask(UnbanRequest(None, (A, B)))
    jail.clock.advance(1)
    jail.decide(A)
    assert (1, 600) == (jail.changes[-1].ban.count, jail.changes[-1].ban.bantime)


def test_unban_may_leave_the_past_alone(bench):
    """An installation that wants escalation to survive a manual unban can have it."""
    jail = bench(forget_on_unban=False)
    jail.attach()
    jail.decide(A)
    jail.ask(UnbanRequest("sshd", (A,)))
    jail.clock.advance(1)
    jail.decide(A)
    assert 2 == jail.changes[-1].ban.count


@pytest.mark.parametrize(
    ("exact", "expected"), [(False, {A: 1, "192.0.2.64/26": 1, "192.0.2.0/24": 1}), (True, {"192.0.2.0/24": 1})]
)
def test_unban_of_a_network(bench, exact, expected):
    """It means itself and all that is banned inside, unless asked for exactly."""
    jail = bench()
    jail.attach()
    jail.ask(BanRequest("sshd", (A, "198.51.100.1", "192.0.2.64/26", "192.0.2.0/24", "some id")))
    assert expected == jail.ask(UnbanRequest(None, ("192.0.2.77/24",), exact=exact))


def test_unban_forgets_hosts_that_are_not_banned_now(bench):
    """The next ban of such a host is its first again."""
    jail = bench()
    jail.attach()
    jail.decide(A)
    jail.advance(600)
    assert {} == jail.ask(UnbanRequest("sshd", (A,)))
    assert 0 == jail.store.history(A).bans


@pytest.mark.parametrize("name", ["sshd", None])
def test_unban_all(bench, name):
    """Every ban ends and every past is forgotten, in one jail or in all."""
    jail = bench()
    jail.attach()
    jail.attach("web")
    jail.decide(A, B)
    jail.decide(C, jail="web")
    jail.told()
    number = 2 if name else 3
    assert number == jail.ask(UnbanAll(name))
    assert ([("unban", A), ("unban", B), ("unban", C)][:number]) == jail.told()
    assert ([], [C] if name else []) == (jail.banned(), jail.banned("web"))
    assert (0, 1 if name else 0) == (jail.store.history(A).bans, jail.store.history(C).bans)


def test_unban_all_of_an_unknown_jail_is_an_error(bench):
    """A typing error must not read as success."""
    with pytest.raises(KeyError):
        bench().ask(UnbanAll("none"))


# ---- ends


def test_bans_end_at_their_time(bench, log):
    """Each at its own end, in that order; the store forgets them as active."""
    jail = bench()
    jail.attach()
    jail.decide(B)
    jail.clock.advance(1)
    jail.decide(A)
    jail.told(), log()
    jail.advance(598.9)
    assert [] == jail.told()
    jail.advance(0.2)
    assert [("unban", B)] == jail.told()
    jail.advance(1)
    assert ([("unban", A)], []) == (jail.told(), jail.banned())
    assert [f"25 [sshd] Unban {B}", f"25 [sshd] Unban {A}"] == log()
    jail.advance(1)
    assert [] == jail.store.active("sshd")
    assert ["expired", "expired"] == [fact.reason for fact in jail.facts if isinstance(fact, Unbanned)]


def test_a_clock_that_is_set(bench):
    """Forward: bans end early. Back: they last longer by as much. Nothing is lost or told twice."""
    jail = bench()
    jail.attach()
    jail.decide(A)
    jail.clock.time -= 86400
    jail.advance(700)
    assert ([("ban", A)], [A]) == (jail.told(), jail.banned())
    jail.clock.time += 86400
    jail.registry.turn()
    assert [("unban", A)] == jail.told()


def test_bans_for_ever_do_not_end(bench):
    """`bantime = -1`."""
    jail = bench()
    jail.attach(bantime=-1)
    jail.decide(A)
    jail.advance(1e9)
    assert [A] == jail.banned()


def test_bans_are_shown_by_their_end(bench):
    """Ends first to last, equal ends by host, those for ever at the end."""
    jail = bench()
    jail.attach()
    jail.ask(BanRequest("sshd", ("e",), bantime=-1))
    jail.ask(BanRequest("sshd", ("d", "b"), bantime=50))
    jail.ask(BanRequest("sshd", ("c",), bantime=20))
    jail.ask(BanRequest("sshd", ("a",), bantime=-1))
    assert ["c", "b", "d", "a", "e"] == jail.banned()
    assert 5 == jail.registry.snapshot()["sshd"].total


# ---- change of settings


@pytest.mark.parametrize(("bantime", "left"), [(60, 50), (6000, 5990), (-1, None)])
def test_a_changed_bantime_moves_the_ends_that_follow_it(bench, bantime, left):
    """Shorter, longer, for ever; bans with a length of their own stay."""
    jail = bench()
    jail.attach()
    jail.decide(A)
    jail.ask(BanRequest("sshd", (B,), bantime=1000))
    jail.clock.advance(10)
    jail.told()
    assert 1 == jail.ask(ConfigureJail("sshd", bantime))
    assert [("extend", A)] == jail.told()
    until = {ban.host: ban.until for ban in jail.registry.snapshot()["sshd"].bans}
    now = jail.clock.now()
    assert {A: None if left is None else now + left, B: now + 990} == until
    assert 0 == jail.ask(ConfigureJail("sshd", bantime))


def test_a_bantime_so_short_that_bans_are_over_ends_them(bench):
    """They end at once, and are not extended first."""
    jail = bench()
    jail.attach()
    jail.decide(A)
    jail.clock.advance(100)
    jail.told()
    jail.ask(ConfigureJail("sshd", 60))
    assert ([("unban", A)], []) == (jail.told(), jail.banned())


def test_attaching_again_changes_the_settings_and_tells_the_bans(bench):
    """A reload does not restore anything twice."""
    jail = bench()
    jail.attach()
    jail.decide(A)
    attached = jail.attach(bantime=1200)
    assert ([A], 1) == ([ban.host for ban in attached.bans], jail.registry.snapshot()["sshd"].total)
    assert jail.clock.now() + 1200 == attached.bans[0].until


# ---- restart


def test_bans_are_restored(bench, log):
    """With the end, count and data they had; told as restored; not counted again."""
    first = bench()
    first.attach()
    first.decide(A, matches=("x",), data={"user": "root"})
    first.report(cursors=(Cursor("log", offset=9),), failures=(FailureState(B, (1.0,)),))
    first.registry.turn()
    log()
    second = first.restart()
    second.clock.advance(100)
    attached = second.attach()
    before = first.changes[0].ban
    (ban,) = attached.bans
    assert (before.since, before.until, 1, ("x",), {"user": "root"}, Origin.RESTORED) == (
        ban.since,
        ban.until,
        ban.count,
        ban.matches,
        ban.data,
        ban.origin,
    )
    assert ((Cursor("log", offset=9),), (FailureState(B, (1.0,)),)) == (attached.cursors, attached.failures)
    assert [BanChange(Change.BAN, ban, restored=True)] == second.changes
    assert [f"25 [sshd] Restore Ban {A}"] == log()
    assert 1 == second.registry.snapshot()["sshd"].total
    second.advance(500)
    second.decide(A)
    assert 2 == second.changes[-1].ban.count


def test_restored_bans_can_be_left_to_the_caller(bench):
    """Whoever takes them at once gets all of them before the reply, and is not told of each again."""
    first = bench()
    first.attach()
    first.decide(A)
    second = first.restart()
    taken = []
    second.attach(take=taken.extend)
    assert [A] == [ban.host for ban in taken]
    assert [] == second.changes
    assert 1 == len(second.facts)


def test_a_ban_that_ended_meanwhile_is_not_restored(bench):
    """It is taken out of the store without a word."""
    first = bench()
    first.attach()
    first.decide(A)
    second = first.restart()
    second.clock.advance(600)
    assert () == second.attach().bans
    second.advance(1)
    assert ([], []) == (second.changes, second.store.active("sshd"))


@pytest.mark.parametrize(
    ("bantime", "options", "left"),
    [
        (600, {}, 500),
        (6000, {}, 500),
        (200, {}, 100),
        (50, {}, None),
        (-1, {}, 500),
        (50, {"increment": GROWING}, 500),
        (50, {"increment": BantimeIncrement(enabled=True, maxtime=300)}, 200),
    ],
)
def test_restored_bans_are_cut_to_the_present_bantime(bench, bantime, options, left):
    """Never made longer; with increment only `maxtime` cuts."""
    first = bench()
    first.attach()
    first.decide(A)
    second = first.restart()
    second.clock.advance(100)
    bans = second.attach(bantime=bantime, **options).bans
    assert ([] if left is None else [second.clock.now() + left]) == [ban.until for ban in bans]


@pytest.mark.parametrize(("bantime", "expected"), [(600, 600), (-1, -1)])
def test_bans_for_ever_are_cut_as_well(bench, bantime, expected):
    """A jail that does not ban for ever any more lets its old prisoners go in time."""
    first = bench()
    first.attach(bantime=-1)
    first.decide(A)
    (ban,) = first.restart().attach(bantime=bantime).bans
    assert expected == ban.bantime


def test_a_length_that_was_asked_for_is_not_cut(bench):
    """An operator's word outlives restarts, twice."""
    first = bench()
    first.attach()
    first.ask(BanRequest("sshd", (A, B), bantime=-1))
    second = first.restart()
    second.attach(bantime=10)
    third = second.restart()
    assert [-1, -1] == [ban.bantime for ban in third.attach(bantime=10).bans]


def test_restored_bans_pass_the_ignore_rules(bench, log):
    """Whoever was put on the list meanwhile is free."""
    first = bench()
    first.attach()
    first.decide(A, B)
    second = first.restart(protected={B}.__contains__)
    assert () == second.attach(ignored={A: "dns"}.get).bans
    assert [f"20 [sshd] Ignore {A} by dns"] == log("banguard.filter")
    assert () == second.restart().attach().bans


def test_detach_keeps_the_bans_for_later(bench, log):
    """A stopped jail repeals its bans, and finds them again when it is started."""
    jail = bench()
    jail.attach()
    jail.decide(A)
    jail.told(), log()
    assert [A] == [ban.host for ban in jail.ask(DetachJail("sshd"))]
    assert ([f"25 [sshd] Repeal Ban {A}"], [], {}) == (log(), jail.told(), dict(jail.registry.snapshot()))
    jail.advance(1000)
    assert [] == jail.told()
    assert () == jail.ask(DetachJail("sshd"))
    jail.clock.time -= 1000
    assert [A] == [ban.host for ban in jail.attach().bans]


def test_detach_without_repeal_says_nothing(bench, log):
    """At the end of the server bans stay in force."""
    jail = bench()
    jail.attach()
    jail.decide(A)
    jail.facts.clear(), log()
    jail.ask(DetachJail("sshd", repeal=False))
    assert ([], []) == (log(), jail.facts)


# ---- a store out of order


def test_a_broken_store_never_stops_banning(bench, log):
    """Told once; bans, ends and unbans go on; everything is written when it can be again, and that is told."""
    jail = bench()
    jail.attach()
    jail.report(failures=(FailureState("before", (1.0,)),))
    jail.decide("before", "ends")
    jail.store.broken = True
    jail.decide(A, B)
    jail.report(cursors=(Cursor("log", offset=5),), failures=(FailureState(C, (1.0,)),))
    jail.registry.turn()
    assert {B: 1, "ends": 1} == jail.ask(UnbanRequest("sshd", (B, "ends")))
    assert 1 == jail.ask(BanRequest("sshd", (C,)))
    for _ in range(20):
        jail.advance(1)
    assert "disk on fire" in jail.registry.store_error
    told = log("banguard.database")
    assert 1 == len(told)
    assert "40" == told[0][:2]
    jail.store.broken = False
    jail.advance(5)
    assert ["25 The ban store can be used again"] == log("banguard.database")
    assert "" == jail.registry.store_error
    second = jail.restart()
    attached = second.attach()
    assert sorted([A, C, "before"]) == sorted(ban.host for ban in attached.bans)
    assert (Cursor("log", offset=5),) == attached.cursors
    assert (FailureState("before", (1.0,)), FailureState(C, (1.0,))) == attached.failures
    assert [1, 0] == [second.store.history(host).bans for host in (A, B)]


def test_a_store_that_cannot_be_opened_at_first(bench):
    """Bans of the earlier run come back as soon as it can be; those of now are not lost."""
    first = bench()
    first.attach()
    first.decide(A, B)
    first.store.broken = True
    second = first.restart()
    assert () == second.attach().bans
    second.clock.advance(1)
    second.decide(A, C)
    second.advance(5)
    assert [("ban", A), ("ban", C)] == second.told()
    second.store.broken = False
    second.advance(5)
    assert ([("ban", B)], [B, A, C]) == (second.told(), second.banned())
    assert sorted([A, B, C]) == sorted(stored.ban.host for stored in second.store.active("sshd"))


def test_bans_keep_growing_while_the_store_is_broken(bench):
    """What is known in memory counts as the past."""
    jail = bench()
    jail.attach(increment=GROWING)
    jail.store.broken = True
    for expected in (600, 1200, 2400):
        jail.decide(A)
        assert expected == jail.changes[-1].ban.bantime
        jail.advance(expected)


def test_what_waits_for_a_broken_store_is_bounded(bench, monkeypatch):
    """Failure counts are given up before memory is; afterwards none of them stay in the store half true."""
    monkeypatch.setattr("banguard.bans.registry._MAX_WAITING_FAILURES", 10)
    monkeypatch.setattr("banguard.bans.registry._MAX_WAITING_HISTORY", 10)
    jail = bench()
    jail.attach()
    jail.report(failures=(FailureState("old", (1.0,)),))
    jail.registry.turn()
    jail.store.broken = True
    jail.decide(*[f"host{number}" for number in range(30)])
    for number in range(25):
        jail.report(failures=(FailureState(f"failed{number}", (1.0,)),))
        jail.registry.turn()
    assert len(jail.registry._waiting.failures) <= 11
    jail.store.broken = False
    jail.advance(5)
    assert 30 == len(jail.store.active("sshd"))
    assert len(jail.store.failures("sshd")) <= 11
    assert "old" not in [state.host for state in jail.store.failures("sshd")]
    jail.store.broken = True
    jail.clock.advance(600)
    jail.registry.turn()
    jail.decide(A)
    jail.store.broken = False
    jail.advance(5)
    assert [A] == [stored.ban.host for stored in jail.store.active("sshd")]


def test_a_file_locked_by_somebody_else(clock, tmp_path, log):
    """The real thing: bans go on while another process holds the file, and are all in it afterwards."""
    path = str(tmp_path / "bans")
    jail = Bench(clock, SqliteStore(path, busy_seconds=0.05))
    jail.attach()
    jail.decide(A)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    jail.decide(B)
    jail.advance(5)
    assert [("ban", A), ("ban", B)] == jail.told()
    other.execute("ROLLBACK")
    other.close()
    jail.advance(5)
    assert [A, B] == sorted(stored.ban.host for stored in jail.store.active("sshd"))
    assert 2 == len(log("banguard.database"))
    jail.registry.finish()


def test_a_file_destroyed_while_running(clock, tmp_path):
    """Everything that is banned is in the new file; the old one is set aside."""
    path = str(tmp_path / "bans")
    jail = Bench(clock, SqliteStore(path))
    jail.attach()
    jail.decide(*[f"192.0.2.{number}" for number in range(200)], matches=("x" * 500,))
    jail.store.close()
    jail.store.reopen()
    with open(path, "r+b") as file:
        file.write(b"\xff" * 100_000)
    jail.store._writer.execute("PRAGMA shrink_memory")
    for number in range(4):
        jail.decide(f"198.51.100.{number}")
        jail.advance(5)
    assert 204 == len(jail.banned()) == len(jail.store.active("sshd"))
    assert (tmp_path / "bans.damaged-1").exists()
    jail.registry.finish()


def test_old_bans_are_purged_soon_after_the_start_and_hourly(bench):
    """The store does not grow for ever."""
    jail = bench()
    jail.attach()
    jail.decide(A)
    jail.store.purge_age = 10.0
    jail.advance(59)
    assert 1 == jail.store.history(A).bans
    jail.advance(1)
    assert 0 == jail.store.history(A).bans
    jail.decide(B)
    jail.advance(3599)
    assert 1 == jail.store.history(B).bans
    jail.advance(1)
    assert 0 == jail.store.history(B).bans


# ---- for other threads


def test_history_and_offender_answer_other_threads(bench):
    """Actions ask for lines of earlier bans, jails for known offenders; a broken store has no answer."""
    jail = bench()
    jail.attach()
    jail.decide(A, matches=("x",))
    known = jail.registry.offender("sshd")
    assert ((("x",), 3), (1, jail.clock.now()), None) == (jail.registry.history(A, None), known(A), known(B))
    jail.store.broken = True
    assert (((), 0), None) == (jail.registry.history(A, "sshd"), known(A))


def test_call_runs_in_the_registry_and_returns_its_result(bench):
    """`set dbmaxmatches` and the like."""
    jail = bench()
    jail.attach()
    assert ("sshd",) == jail.ask(Call(lambda registry: registry.attached()))
    jail.ask(Call(lambda registry: setattr(registry.store, "max_matches", 2)))
    assert 2 == jail.store.max_matches
    with pytest.raises(ZeroDivisionError):
        jail.ask(Call(lambda registry: 1 / 0))


def test_the_thread(tmp_path):
    """Requests are answered while it runs; at its end everything is stored and late requests are refused."""
    changes = []
    clock = SystemClock()
    registry = Registry(SqliteStore(str(tmp_path / "bans")), changes.append, clock, lambda fact: None)
    stop = threading.Event()
    thread = threading.Thread(target=registry.run, args=(stop,))
    thread.start()
    attach = AttachJail("sshd", 0.2)
    registry.inbox.put(attach)
    attach.slot.wait(10)
    request = BanRequest("sshd", (A,))
    registry.inbox.put_front(request)
    assert 1 == request.slot.wait(10)
    deadline = clock.monotonic() + 10
    while len(changes) < 2 and clock.monotonic() < deadline:
        stop.wait(0.01)
    assert [Change.BAN, Change.UNBAN] == [change.kind for change in changes]
    request = BanRequest("sshd", (B,), bantime=1000)
    registry.inbox.put(request)
    stop.set()
    registry.inbox.close()
    thread.join(10)
    assert not thread.is_alive()
    assert 1 == request.slot.wait(0)
    again = Registry(SqliteStore(str(tmp_path / "bans")), changes.append, clock, lambda fact: None)
    attach = AttachJail("sshd", 600)
    again.inbox.put(attach)
    again.turn()
    assert [B] == [ban.host for ban in attach.slot.wait(0).bans]
    again.finish()


def test_requests_that_come_after_the_end_are_refused(clock):
    """Nobody waits for a registry that has stopped."""
    late = UnbanAll(None)
    registry = Registry(BreakableStore(), lambda change: registry.inbox.put(late), clock, lambda fact: None)
    registry.inbox.put(AttachJail("sshd"))
    registry.inbox.put(BanRequest("sshd", (A,)))
    registry.finish()
    with pytest.raises(RegistryStoppedError):
        late.slot.wait(0)


# ---- bans that fit the offender


def hit(bench, host, at=None, jail="sshd"):
    bench.registry.inbox.put(JailReport(jail, hits={host: bench.clock.now() if at is None else at}))
    bench.registry.turn()


def test_rearm_starts_the_time_again(bench):
    """A further failure during a ban moves its end to its whole length from then; the begin stays."""
    bench = bench()
    bench.attach(increment=BantimeIncrement(rearm=True))
    bench.decide(A)
    (ban,) = bench.registry.snapshot()["sshd"].bans
    bench.advance(500)
    hit(bench, A)
    bench.advance(500)
    assert [A] == bench.banned()
    (longer,) = bench.registry.snapshot()["sshd"].bans
    assert (ban.since, ban.until + 500) == (longer.since, longer.until)
    assert [("ban", A), ("extend", A)] == bench.told()
    bench.advance(100)
    assert [] == bench.banned()


def test_rearm_uses_the_grown_length(bench):
    """A ban that grew for an old offender starts again in its own length."""
    bench = bench()
    bench.attach(increment=BantimeIncrement(enabled=True, rearm=True))
    bench.decide(A)
    bench.advance(601)
    bench.decide(A)
    bench.advance(1000)
    hit(bench, A)
    (ban,) = bench.registry.snapshot()["sshd"].bans
    assert 1200 == ban.until - bench.clock.now()


def test_hits_of_hosts_that_are_not_banned_mean_nothing(bench):
    """Failures before the ban, and of others, move no end."""
    bench = bench()
    bench.attach(increment=BantimeIncrement(rearm=True))
    bench.decide(A)
    bench.told()
    hit(bench, B)
    hit(bench, A, bench.clock.now() - 50)
    assert [] == bench.told()


def test_earlier_bans_are_forgotten_one_by_one(bench):
    """With decay, who stays away for long is banned as if he had been banned less often."""
    bench = bench()
    bench.attach(increment=BantimeIncrement(enabled=True, decay=10_000))
    for _ in range(3):
        bench.decide(A)
        bench.advance(5000)
    bench.advance(20_000)
    bench.decide(A)
    (ban,) = bench.registry.snapshot()["sshd"].bans
    assert (2, 1200) == (ban.count, ban.until - ban.since)  # three times before, twice decayed


WIDE = Reach(BanPrefix(offenders=3), 600.0)


def test_enough_offenders_ban_their_network(bench, log):
    """The third offender of a /24 within findtime bans the network; the members stay banned beside it."""
    bench = bench()
    bench.attach(reach=WIDE)
    bench.decide("192.0.2.1", "198.51.100.9")
    bench.decide("192.0.2.2")
    bench.decide("192.0.2.3")
    assert {"192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.0/24", "198.51.100.9"} == set(bench.banned())
    (network,) = (ban for ban in bench.registry.snapshot()["sshd"].bans if "/" in ban.host)
    assert ("192.0.2.1 192.0.2.2 192.0.2.3", 3) == (network.data["members"], network.failures)


@pytest.mark.parametrize("asked", ["192.0.2.0/24", "192.0.2.2", "192.0.2.77"])
def test_a_network_is_undone_by_an_unban(bench, asked):
    """Unbanning the network, a member or anybody in it ends the ban of the network; other members stay banned."""
    bench = bench()
    bench.attach(reach=WIDE)
    bench.decide("192.0.2.1", "192.0.2.2", "192.0.2.3")
    bench.ask(UnbanRequest("sshd", (asked,), exact=True))
    expected = {"192.0.2.1", "192.0.2.2", "192.0.2.3"} - {asked}
    assert expected == set(bench.banned())
    bench.decide("192.0.2.4")
    assert "192.0.2.0/24" not in bench.banned()  # it takes as many new offenders again


def test_a_network_banned_by_hand_is_not_undone_by_one_address(bench):
    """What an operator asked for by name ends only when it is named."""
    bench = bench()
    bench.attach(reach=WIDE)
    bench.ask(BanRequest("sshd", ("192.0.2.0/24",)))
    bench.ask(UnbanRequest("sshd", ("192.0.2.1",)))
    assert ["192.0.2.0/24"] == bench.banned()


def test_no_network_with_a_spared_address(bench, log):
    """A network that holds an ignored or a protected address is not banned as a whole."""
    bench = bench()
    spared = Reach(BanPrefix(offenders=2), 600.0, spared_in=lambda network: "ip" if network == "192.0.2.0/24" else None)
    bench.attach(reach=spared)
    bench.decide("192.0.2.1", "192.0.2.2", "192.0.2.3")
    bench.decide("198.51.100.1", "198.51.100.2")
    assert ["198.51.100.0/24"] == [host for host in bench.banned() if "/" in host]


def test_restored_bans_are_neighbours_too(clock):
    """After a restart the offenders of before count on."""
    store = MemoryStore()
    first = Bench(clock, store)
    first.attach(reach=WIDE)
    first.decide("192.0.2.1", "192.0.2.2")
    first.registry.finish()
    second = Bench(clock, store)
    second.attach(reach=WIDE)
    second.decide("192.0.2.3")
    assert "192.0.2.0/24" in second.banned()


def test_who_is_banned_everywhere_is_banned_for_coming_back(bench):
    """A jail of repeats bans a host at its third ban in other jails within findtime, its own bans not counted."""
    bench = bench()
    bench.attach()
    bench.attach("web")
    bench.attach("recidive", 604800, reach=Reach(repeats=Repeats(3, 86400.0)))
    for jail in ("sshd", "web"):
        bench.decide(A, jail=jail)
    assert [] == bench.banned("recidive")
    bench.advance(700)
    bench.decide(A, B, jail="web")
    assert [A] == bench.banned("recidive")
    assert ("ban", A) in bench.told()


def test_long_ago_is_no_repeat(bench):
    """Bans before findtime do not count, nor does anybody the jail's ignore rules spare."""
    bench = bench()
    bench.attach()
    bench.attach("recidive", 600, reach=Reach(repeats=Repeats(2, 1000.0)), ignored=lambda host: host == B)
    bench.decide(A)
    bench.advance(2000)
    bench.decide(A, B)
    bench.advance(700)
    bench.decide(B)
    assert [] == bench.banned("recidive")


def test_repeats_are_known_without_a_store(bench):
    """While the store is out of order, what waits for it counts."""
    bench = bench()
    bench.attach()
    bench.attach("recidive", 600, reach=Reach(repeats=Repeats(2, 86400.0)))
    bench.store.broken = True
    bench.decide(A)
    bench.advance(700)
    bench.decide(A)
    assert [A] == bench.banned("recidive")


def heard(bench, hosts, jail="sshd"):
    return bench.ask(StillSending(jail, hosts))


def until(bench, host=A):
    (end,) = [ban.until - bench.clock.now() for ban in bench.registry.snapshot()["sshd"].bans if ban.host == host]
    return end


QUIET = BantimeIncrement(quiet=2000.0)
"""Read every 60 s, so a ban lasts 2120 s after a packet."""


def test_a_quiet_host_is_banned_for_bantime_or_that_long(bench):
    """The failure that led to the ban was a packet, too; the longer of the two counts."""
    bench = bench()
    bench.attach(bantime=600, increment=QUIET)
    bench.attach("long", bantime=5000, increment=QUIET)
    bench.attach("ever", bantime=-1, increment=QUIET)
    bench.decide(A)
    bench.decide(A, jail="long")
    bench.decide(A, jail="ever")
    assert 2120 == until(bench)
    assert [5000.0, None] == [
        ban.until and ban.until - ban.since for jail in ("long", "ever") for ban in bench.registry.snapshot()[jail].bans
    ]
    bench.ask(ConfigureJail("sshd", 3000, QUIET))
    assert 3000 == until(bench)
    bench.ask(ConfigureJail("sshd", 60, QUIET))
    assert 2120 == until(bench)


def test_a_ban_lasts_as_long_as_packets_come(bench):
    """It ends when the last one is so long ago; who was silent is free at his time."""
    bench = bench()
    bench.attach(bantime=600, increment=QUIET)
    bench.decide(A, B)
    last = 0.0
    for second in range(60, 5000, 60):
        bench.advance(60)
        if second <= 3000:
            last = bench.clock.now() - 7
            heard(bench, {A: last})
        else:
            heard(bench, {})
        assert (B in bench.banned()) == (second < 2120)
    assert [A] == bench.banned()
    assert last + 2120 - bench.clock.now() == until(bench)
    bench.advance(until(bench) - 0.5)
    assert [A] == bench.banned()
    bench.advance(1)
    assert [] == bench.banned()


def test_the_firewall_is_told_seldom_and_in_time(bench):
    """Not at every reading: an eighth of the time apart, and for the last packet before the ban would end."""
    bench = bench()
    bench.attach(bantime=600, increment=QUIET)
    bench.decide(A)
    bench.told()
    for _ in range(30):
        bench.advance(60)
        heard(bench, {A: bench.clock.now()})
    assert 1 <= len(bench.told()) <= 1800 / (2120 / 8) + 1
    for _ in range(5):
        bench.advance(60)
        heard(bench, {})
    assert [] == bench.told()
    bench.advance(until(bench) - 100)
    heard(bench, {})
    assert bench.told() in ([], [("extend", A)])
    assert until(bench) > 0


def test_a_packet_at_the_last_moment_counts(bench):
    """Whatever comes before the quiet time is over is read of before the ban ends."""
    bench = bench()
    bench.attach(bantime=600, increment=QUIET)
    bench.decide(A)
    bench.told()
    bench.advance(2059)
    heard(bench, {A: bench.clock.now() - 59})
    assert [("extend", A)] == bench.told()
    assert 2120 - 59 == until(bench)


def test_what_quiet_does_not_touch(bench):
    """Times that somebody gave, bans for ever, hosts that are not banned, jails without the option, times to come."""
    bench = bench()
    bench.attach(bantime=600, increment=QUIET)
    bench.attach("plain", bantime=600)
    bench.ask(BanRequest("sshd", (A,), bantime=50))
    bench.ask(BanRequest("sshd", (B,), bantime=-1))
    bench.decide(A, jail="plain")
    bench.told()
    now = bench.clock.now()
    assert 0 == heard(bench, {A: now, B: now, "192.0.2.77": now})
    assert 0 == heard(bench, {A: now}, jail="plain")
    assert 0 == heard(bench, {A: now}, jail="gone")
    assert [] == bench.told()
    bench.ask(UnbanRequest("sshd", (A, B)))
    bench.decide(A)
    heard(bench, {A: now + 9999})
    assert 2120 == until(bench)
    bench.ask(UnbanRequest("sshd", (A,)))
    bench.decide(A)
    assert 0 == heard(bench, {})


def test_a_restart_keeps_what_packets_made_longer(bench, clock):
    """The end in the store is that of the last time the firewall was told."""
    bench = bench()
    bench.attach(bantime=600, increment=QUIET)
    bench.decide(A)
    bench.advance(2000)
    heard(bench, {A: clock.now()})
    left = until(bench)
    again = bench.restart()
    again.attach(bantime=600, increment=QUIET)
    assert left == until(again) == 2120
    without = again.restart()
    without.attach(bantime=600)
    assert [] == without.banned()


# ---- jails that only observe


def test_a_jail_that_observes_bans_nobody_and_tells_whom_it_would(bench, log):
    """One line for as long as the ban would last, nothing emitted or stored; the snapshot shows it."""
    jail = bench()
    jail.attach(reach=Reach(observe=True))
    jail.decide(A)
    jail.advance(30)
    jail.decide(A)
    assert [f"25 [sshd] Would ban {A}"] == log()
    assert [] == jail.told()
    assert [] == jail.banned()
    (would,) = jail.registry.snapshot()["sshd"].observed
    assert (A, 600, 3) == (would.host, would.bantime, would.failures)
    assert {} == jail.store.offences(None, (A,))
    jail.advance(600)
    jail.decide(A)
    assert [f"25 [sshd] Would ban {A}"] == log()


def test_observing_begins_and_ends_at_run_time(bench):
    """Bans in force stay; once it bans again, nothing is left of what was observed."""
    jail = bench()
    jail.attach()
    jail.decide(A)
    jail.ask(ConfigureJail("sshd", 600, reach=Reach(observe=True)))
    jail.decide(B)
    assert [A] == jail.banned()
    assert [B] == [ban.host for ban in jail.registry.snapshot()["sshd"].observed]
    jail.ask(ConfigureJail("sshd", 600, reach=Reach()))
    jail.decide(B)
    assert [A, B] == jail.banned()
    assert () == jail.registry.snapshot()["sshd"].observed


def test_a_ban_by_hand_holds_in_a_jail_that_observes_and_one_of_the_fleet_does_not(bench):
    """Observing is about what the jail decides by itself, or is told to by other servers."""
    jail = bench()
    jail.attach(reach=Reach(observe=True))
    assert 1 == jail.ask(BanRequest("sshd", (A,)))
    assert 0 == jail.ask(BanRequest("sshd", (B,), origin=Origin.FLEET))
    assert [A] == jail.banned()


def test_a_jail_of_repeats_observes_too(bench, log):
    """It tells whom it would ban for being banned elsewhere."""
    jail = bench()
    jail.attach("a")
    jail.attach("recidive", reach=Reach(repeats=Repeats(1, 600.0), observe=True))
    jail.decide(A, jail="a")
    assert f"25 [recidive] Would ban {A}" in log()
    assert [] == jail.banned("recidive")


def test_what_is_observed_is_bounded(bench):
    """Only the newest are kept."""
    jail = bench()
    jail.attach(reach=Reach(observe=True))
    jail.decide(*(f"192.0.{number // 250}.{number % 250}" for number in range(1100)))
    observed = jail.registry.snapshot()["sshd"].observed
    assert 1000 == len(observed)
    assert "192.0.4.99" == observed[-1].host
