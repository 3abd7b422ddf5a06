"""The registry with a store against a naive model, over any course of events."""

from __future__ import annotations

import math
import shutil
import tempfile

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from banguard.bans.registry import (
    AttachJail,
    BanRequest,
    ConfigureJail,
    DetachJail,
    Registry,
    UnbanAll,
    UnbanRequest,
)
from banguard.bans.store import MemoryStore
from banguard.bans.store_sqlite import SqliteStore
from banguard.config.schema import BantimeIncrement, JailConfig
from banguard.errors import StoreError
from banguard.jails.ignore import IgnoreRules
from banguard.jails.jail import Jail
from banguard.jails.resolver import Resolver
from banguard.matching import FilterRules
from banguard.model import BanDecision, Candidates, Change, Cursor, FailureState, JailReport

HOSTS = ("192.0.2.1", "192.0.2.2", "192.0.2.200", "198.51.100.1", "2001:db8::1", "some id")
JAILS = ("sshd", "web")
INCREMENTS = {
    "sshd": BantimeIncrement(),
    "web": BantimeIncrement(enabled=True, maxtime=5000.0),
}


class Clock:
    def __init__(self):
        self.time = 1_800_000_000.0
        self.ticks = 0.0

    def now(self):
        return self.time

    def monotonic(self):
        return self.ticks


class _Breakable:
    """A store that fails when told to."""

    broken = False

    def _use(self):
        if self.broken:
            raise StoreError("out of order")

    def reopen(self):
        self._use()
        super().reopen()

    def write(self, batch):
        self._use()
        super().write(batch)

    def replace(self, jails, batch):
        self._use()
        super().replace(jails, batch)

    def active(self, jail):
        self._use()
        return super().active(jail)

    def offences(self, jail, hosts):
        self._use()
        return super().offences(jail, hosts)


class BreakableMemory(_Breakable, MemoryStore):
    pass


class BreakableSqlite(_Breakable, SqliteStore):
    pass


class Model:
    """What should be: plain dicts, no heap, no store."""

    def __init__(self):
        self.bantime = dict.fromkeys(JAILS, 600)
        self.active = {jail: {} for jail in JAILS}  # host → [since, until, count, kind]
        self.past = {jail: {} for jail in JAILS}  # host → (count, last)
        self.unsaved = {jail: {} for jail in JAILS}  # the same, since the store is broken
        self.cursors = {}
        self.failures = {}

    def length(self, jail, count):
        first = math.inf if self.bantime[jail] < 0 else self.bantime[jail]
        increment = INCREMENTS[jail]
        if not increment.enabled or count < 1 or first == math.inf:
            return first
        return min(max(first, first * 2 ** min(count, 20)), increment.maxtime)

    def begin(self, jail, host, at, now, given, *, broken):
        first = self.length(jail, 0)
        ban = self.active[jail].get(host)
        if ban is not None:
            until = at + (first if given is None else math.inf if given < 0 else given)
            if until > ban[1]:
                ban[1], ban[3] = until, "own" if given is None else "given"
            return False
        count, last = (self.unsaved if broken else self.past)[jail].get(host, (0, -math.inf))
        again = at <= last
        if again:
            count -= 1
        length, kind = self.length(jail, count), "jail"
        if given is not None:
            length, kind = math.inf if given < 0 else given, "given"
        elif length != first:
            kind = "own"
        if at + length <= now:
            return False
        count = max(0, count) + 1
        self.active[jail][host] = [at, at + length, count, kind]
        if not again:
            self.past[jail][host] = self.unsaved[jail][host] = (count, at)
        return True

    def forget(self, jail, host):
        self.past[jail].pop(host, None)
        self.unsaved[jail].pop(host, None)

    def expire(self, now):
        for bans in self.active.values():
            for host in [host for host, ban in bans.items() if ban[1] <= now]:
                del bans[host]

    def restart(self, jail, now):
        increment, first = INCREMENTS[jail], self.length(jail, 0)
        limit = first if not increment.enabled else increment.maxtime
        for ban in self.active[jail].values():
            if ban[3] != "given":
                if first != math.inf and ban[1] - ban[0] > limit:
                    ban[1] = ban[0] + limit
                ban[3] = "own"
        self.expire(now)


class RegistryMachine(RuleBasedStateMachine):
    """Failures, bans, unbans, expiries, restarts, clock steps, a store that fails."""

    def make_store(self):
        return BreakableMemory(max_matches=3, purge_age=1e12)

    @initialize()
    def begin(self):
        self.folder = tempfile.mkdtemp(prefix="banguard-model-")
        self.clock = Clock()
        self.model = Model()
        self.firewall = {jail: {} for jail in JAILS}
        self.broken = False
        self.start(self.make_store())

    def start(self, store):
        self.store = store
        self.registry = Registry(store, self.emit, self.clock, lambda fact: None)
        for jail in JAILS:
            attached = self.ask(AttachJail(jail, self.model.bantime[jail], INCREMENTS[jail]))
            expected = {log: cursor for (name, log), cursor in self.model.cursors.items() if name == jail}
            assert expected == {cursor.log: cursor for cursor in attached.cursors}
            expected = {host: state for (name, host), state in self.model.failures.items() if name == jail}
            assert expected == {state.host: state for state in attached.failures}

    def teardown(self):
        if hasattr(self, "registry"):
            self.registry.finish()
            shutil.rmtree(self.folder)

    def emit(self, change):
        """A firewall that knows only what it is told, and insists that it makes sense."""
        held = self.firewall[change.ban.jail]
        if change.kind is Change.BAN:
            assert change.ban.host not in held
            held[change.ban.host] = change.ban
        elif change.kind is Change.EXTEND:
            assert change.ban.host in held
            held[change.ban.host] = change.ban
        else:
            del held[change.ban.host]

    def ask(self, request):
        self.registry.inbox.put(request)
        self.registry.turn()
        return request.slot.wait(0)

    def pass_time(self, wall, ticks):
        self.clock.time += wall
        self.clock.ticks += ticks
        self.registry.turn()
        self.model.expire(self.clock.time)

    # ---- rules

    @rule(
        jail=st.sampled_from(JAILS),
        decided=st.lists(st.tuples(st.sampled_from(HOSTS), st.sampled_from([0, 1, 50, 599, 600, 5000])), max_size=4),
        offset=st.integers(0, 1000),
        failed=st.sampled_from(HOSTS),
        times=st.integers(0, 3),
    )
    def report(self, jail, decided, offset, failed, times):
        now = self.clock.time
        cursor = Cursor(f"log of {jail}", offset=offset)
        state = FailureState(failed, (now,) * times)
        decisions = tuple(BanDecision(jail, host, now - age, 3) for host, age in decided)
        self.registry.inbox.put(JailReport(jail, (cursor,), (state,), decisions))
        known = {host: (self.model.unsaved if self.broken else self.model.past)[jail].get(host) for host, _ in decided}
        self.registry.turn()
        self.model.cursors[jail, cursor.log] = cursor
        self.model.failures[jail, failed] = state
        if not times:
            del self.model.failures[jail, failed]
        for host, age in decided:
            # The past of a host is looked up once for the whole batch.
            past = self.model.unsaved if self.broken else self.model.past
            if known[host] is not None and host not in self.model.active[jail]:
                past[jail][host] = known[host]
            self.model.begin(jail, host, now - age, now, None, broken=self.broken)

    @rule(
        jail=st.sampled_from(JAILS),
        hosts=st.lists(st.sampled_from(HOSTS), min_size=1, max_size=3, unique=True),
        bantime=st.sampled_from([None, None, 5, 3000, -1]),
    )
    def ban(self, jail, hosts, bantime):
        number = self.ask(BanRequest(jail, tuple(hosts), bantime=bantime))
        now = self.clock.time
        begun = [self.model.begin(jail, host, now, now, bantime, broken=self.broken) for host in hosts]
        assert sum(begun) == number

    @rule(
        jail=st.sampled_from([None, *JAILS]),
        host=st.sampled_from([*HOSTS, "192.0.2.0/24", "2001:db8::/32"]),
        exact=st.booleans(),
    )
    def unban(self, jail, host, exact):
        ended = self.ask(UnbanRequest(jail, (host,), exact=exact))
        inside = {
            "192.0.2.0/24": HOSTS[:3],
            "2001:db8::/32": HOSTS[4:5],
        }.get(host, (host,))
        jails = JAILS if jail is None else (jail,)
        expected = {}
        for name in jails:
            for one in (host,) if exact else inside:
                if self.model.active[name].pop(one, None):
                    expected[one] = expected.get(one, 0) + 1
        for name in jails:
            for one in {host, *expected}:
                self.model.forget(name, one)
        assert expected == ended

    @rule(jail=st.sampled_from([None, *JAILS]))
    def unban_all(self, jail):
        jails = JAILS if jail is None else (jail,)
        assert sum(len(self.model.active[name]) for name in jails) == self.ask(UnbanAll(jail))
        for name in jails:
            for known in (self.model.active, self.model.past, self.model.unsaved):
                known[name].clear()

    @rule(seconds=st.sampled_from([0.1, 1, 60, 599, 601, 3601]))
    def wait(self, seconds):
        self.pass_time(seconds, seconds)
        if not self.broken:
            self.model.unsaved = {jail: {} for jail in JAILS}

    @rule(seconds=st.sampled_from([-3600, -1, 1, 3600]))
    def set_clock(self, seconds):
        self.pass_time(seconds, 0)

    @rule(jail=st.sampled_from(JAILS), bantime=st.sampled_from([60, 600, 6000, -1]))
    def configure(self, jail, bantime):
        self.ask(ConfigureJail(jail, bantime, INCREMENTS[jail]))
        if bantime != self.model.bantime[jail]:
            self.model.bantime[jail] = bantime
            for ban in self.model.active[jail].values():
                if ban[3] == "jail":
                    ban[1] = ban[0] + self.model.length(jail, 0)
        self.model.expire(self.clock.time)

    @precondition(lambda self: not self.broken)
    @rule()
    def break_store(self):
        self.pass_time(1, 1)  # what only waited for its half second is written
        self.store.broken = self.broken = True
        self.model.unsaved = {jail: {} for jail in JAILS}

    @precondition(lambda self: self.broken)
    @rule()
    def mend_store(self):
        self.store.broken = self.broken = False
        self.pass_time(5, 5)

    @precondition(lambda self: not self.broken)
    @rule(jail=st.sampled_from(JAILS))
    def stop_and_start_jail(self, jail):
        self.ask(DetachJail(jail))
        self.firewall[jail] = {}
        self.ask(AttachJail(jail, self.model.bantime[jail], INCREMENTS[jail]))
        self.model.restart(jail, self.clock.time)

    @precondition(lambda self: not self.broken)
    @rule(kill=st.booleans())
    def restart(self, kill):
        if kill:
            self.pass_time(1, 1)
        else:
            self.registry.finish()
        self.firewall = {jail: {} for jail in JAILS}
        for jail in JAILS:
            self.model.restart(jail, self.clock.time)
        self.start(self.next_store())
        self.model.unsaved = {jail: {} for jail in JAILS}

    def next_store(self):
        return self.store

    # ---- what must hold

    @invariant()
    def snapshot_firewall_and_model_agree(self):
        if not hasattr(self, "registry"):
            return
        for jail in JAILS:
            expected = {host: (ban[0], ban[1], ban[2]) for host, ban in self.model.active[jail].items()}
            shown = self.registry.snapshot()[jail].bans
            found = {ban.host: (ban.since, math.inf if ban.until is None else ban.until, ban.count) for ban in shown}
            assert expected == found
            assert list(shown) == sorted(shown, key=lambda ban: (ban.until or math.inf, ban.host))
            assert {ban.host: ban for ban in shown} == self.firewall[jail]


class SqliteRegistryMachine(RegistryMachine):
    """The same with the file."""

    def make_store(self):
        return BreakableSqlite(f"{self.folder}/bans", max_matches=3, purge_age=1e12)

    def next_store(self):
        self.store.close()  # what a kill leaves open in here would be complained of
        return self.make_store()


TestRegistryInMemory = RegistryMachine.TestCase
TestRegistryInMemory.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestRegistryOnSqlite = SqliteRegistryMachine.TestCase
TestRegistryOnSqlite.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)


class Server:
    """A jail and a registry on one store and one log; lost without a word when killed."""

    def __init__(self, clock, store, log):
        self.clock = clock
        self.log = log
        resolver = Resolver(clock, own=lambda: frozenset({"::1"}))
        self.jail = Jail(
            JailConfig(name="sshd", maxretry=3, findtime=600.0),
            FilterRules(failregex=["^failed <HOST> "], datepattern="{NONE}"),
            clock=clock,
            ignore=IgnoreRules("sshd", clock=clock, resolver=resolver),
            resolver=resolver,
            publish=lambda fact: None,
        )
        self.registry = Registry(store, lambda change: None, clock, lambda fact: None)
        attach = AttachJail("sshd", -1)
        self.registry.inbox.put(attach)
        self.registry.turn()
        attached = attach.slot.wait(0)
        self.jail.restore(attached.failures, attached.cursors)
        self.offset = attached.cursors[0].offset if attached.cursors else 0

    def read(self, size):
        """Hand the next lines to the jail, as a source does."""
        end = self.log.find(b"\n", min(self.offset + size, len(self.log) - 1)) + 1
        block = self.log[self.offset : end]
        self.offset = end
        self.jail.feed(Candidates("log", block, Cursor("log", offset=end), self.clock.now(), live=True))

    def report(self):
        report = self.jail.report()
        if report is not None:
            self.registry.inbox.put(report)

    def bans(self):
        return {ban.host: (ban.failures, ban.matches) for ban in self.registry.snapshot()["sshd"].bans}


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from(HOSTS[:4]), min_size=1, max_size=40),
    st.lists(
        st.tuples(st.sampled_from(["read", "read", "report", "turn", "wait", "kill"]), st.integers(1, 120)), max_size=60
    ),
)
def test_a_kill_at_any_moment_neither_loses_nor_repeats_a_failure(hosts, steps):
    """Whenever the process dies, the next one ends with the bans, counts and lines of one that never died."""
    log = b"".join(f"failed {host} {number}\n".encode() for number, host in enumerate(hosts))
    clock = Clock()
    steady = Server(clock, MemoryStore(), log)
    steady.read(len(log))
    steady.report()
    steady.registry.turn()
    with tempfile.TemporaryDirectory() as folder:
        store = SqliteStore(f"{folder}/bans")
        server = Server(clock, store, log)
        for step, number in steps:
            if step == "read" and server.offset < len(log):
                server.read(number)
            elif step == "report":
                server.report()
            elif step == "turn":
                server.registry.turn()
            elif step == "wait":
                clock.ticks += 1
            elif step == "kill":
                store.close()
                store = SqliteStore(f"{folder}/bans")
                server = Server(clock, store, log)
        if server.offset < len(log):
            server.read(len(log))
        server.report()
        server.registry.turn()
        store.close()
    assert steady.bans() == server.bans()
