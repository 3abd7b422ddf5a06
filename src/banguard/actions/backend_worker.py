"""Thread per firewall backend: gather changes, apply one batch, retry, resync."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from banguard import netaddr
from banguard.actions.base import (
    NOTICE,
    ActionStats,
    FirewallAction,
    FullError,
    Heard,
    Step,
    TellsHeld,
    TellsSenders,
    TooLargeError,
    UnavailableError,
)
from banguard.actions.batch import DesiredState, backoff, by_address
from banguard.actions.senders import watch_of
from banguard.actions.worker import StartThread, Worker, start_thread
from banguard.clock import Clock
from banguard.errors import ActionError
from banguard.model import Ban, BanChange, Change, Fact, FirewallLost, FirewallMended

logger = logging.getLogger("banguard.actions")


_TOLD_LOSSES = 4
"""So often in a row a loss is mended at once and told."""


class _Member:
    """One action of one jail in a backend."""

    __slots__ = (
        "action",
        "deaf",
        "done",
        "errors",
        "jail",
        "joined",
        "last_error",
        "leaving",
        "next_reading",
        "properties",
        "state",
    )

    def __init__(self, member: str, jail: str, action: str, properties: Mapping[str, str]) -> None:
        self.jail = jail
        self.action = action
        self.properties = properties
        self.state = DesiredState(member, by_address)
        self.joined = False
        self.leaving = False
        self.done = 0
        self.errors = 0
        self.last_error = ""
        self.next_reading = float("inf")  # of who still sends
        self.deaf = ""  # why the last reading failed


class BackendWorker(Worker):
    """Serves all jails that have their bans in one firewall backend, in shared transactions."""

    def __init__(
        self,
        name: str,
        backend: FirewallAction,
        *,
        clock: Clock,
        publish: Callable[[Fact], None],
        start_thread: StartThread = start_thread,
        check_every: float | None = None,
        enforced: Callable[[Sequence[Ban]], None] = lambda _: None,
        heard: Heard = lambda *_: None,
    ) -> None:
        """
        *enforced* is told, in the worker's thread, of bans that began to be held; it must not block.

        *heard* is told now and then which banned hosts still send (members with the property `WATCH`).
        """
        super().__init__(name, clock=clock, publish=publish, start_thread=start_thread)
        self._backend = backend
        self._members: dict[str, _Member] = {}
        self._chunk = backend.chunk
        self._check_every = check_every
        self._enforced = enforced
        self._heard = heard
        self._next_check = self._next_look = float("inf")
        if check_every is not None:
            self._look_every = min(check_every, backend.look_every)
            self._next_check = clock.monotonic() + check_every
            self._next_look = clock.monotonic() + self._look_every
        self._lost_at = 0.0
        self._losses = 0  # how often in a row a check found that something was lost, right after it was built
        self._broken = 0  # failed attempts in a row to build; 0: the backend stands
        self._not_before = 0.0
        self._settled = False

    # ---- from other threads

    def join_member(
        self, member: str, jail: str, action: str, properties: Mapping[str, str], bans: Sequence[Ban]
    ) -> None:
        """Add an action of a jail with its *bans*."""
        entry = _Member(member, jail, action, properties)
        entry.state.restore([ban for ban in bans if self._is_blockable(entry, ban)])
        with self._lock:
            self._members[member] = entry
            self._orders.append(lambda: self._join(member))
            self._wake()

    def change_member(self, member: str, properties: Mapping[str, str]) -> None:
        """Give a member other *properties*; its bans stay."""
        with self._lock:
            self._members[member].properties = properties
            self._orders.append(lambda: self._join(member))
            self._wake()

    def leave_member(self, member: str, *, keep: bool = False) -> None:
        """Remove a member and, unless *keep*, its bans from the firewall."""
        with self._lock:
            entry = self._members.get(member)
            if entry is None or entry.leaving:
                return
            entry.leaving = True
            self._orders.append(lambda: self._leave(member, entry, keep))
            self._wake()

    def put(self, member: str, change: BanChange) -> None:
        """Note a change; never blocks."""
        with self._lock:
            entry = self._members.get(member)
            if entry is None or entry.leaving:
                return
            if netaddr.family(change.ban.address) is not None:
                entry.state.put(change)
                self._wake()
                return
        if change.kind is not Change.UNBAN:
            self._is_blockable(entry, change.ban)

    def _is_blockable(self, entry: _Member, ban: Ban) -> bool:
        """Tell whether a firewall can hold *ban* at all; report when it cannot."""
        if netaddr.family(ban.address) is not None:
            return True
        step = Step("", ban.host, None, ban)
        self._report(entry.jail, entry.action, "ban", [step], f"{ban.address!r} is no address")
        return False

    def flush(self, member: str) -> None:
        """End all bans of a member."""
        with self._lock:
            entry = self._members.get(member)
            if entry is not None:
                entry.state.want_nothing()
                logger.log(NOTICE, "[%s] Flush ticket(s) with %s", entry.jail, entry.action)
                self._wake()

    def check(self) -> None:
        """Check soon whether the firewall still holds what it should."""
        with self._lock:
            self._next_check = float("-inf")
            self._wake()

    def settle(self) -> None:
        """Note that all jails of this run have joined: what else an earlier run left behind is to go."""
        self.order(self._settle)

    def stats(self, member: str) -> ActionStats | None:
        """Return the numbers of a member."""
        with self._lock:
            entry = self._members.get(member)
            if entry is None:
                return None
            failed = dict(entry.state.failures())
            return ActionStats(
                entry.action,
                enforces=True,
                applied=entry.state.hosts(),
                failed=MappingProxyType(failed),
                waiting=len(entry.state),
                done=entry.done,
                errors=entry.errors,
                last_error=entry.last_error or next(iter(failed.values()), ""),
                lost_at=self._lost_at,
            )

    def holds(self, member: str, ban: Ban) -> bool:
        """Tell whether the firewall holds *ban*."""
        with self._lock:
            entry = self._members.get(member)
            return entry is not None and entry.state.holds(ban)

    def lacks(self, member: str, bans: Sequence[Ban]) -> frozenset[str]:
        """Return the hosts of those *bans* that the firewall does not hold."""
        with self._lock:
            entry = self._members.get(member)
            return frozenset(ban.host for ban in bans) if entry is None else entry.state.lacks(bans)

    def ask_held(self, member: str, ban: Ban, timeout: float) -> bool | None:
        """
        Ask the firewall itself whether it keeps *ban* out; None when it cannot be asked for one.

        Blocks, at most *timeout* seconds; ActionError when it does not say. What turns out to be lost is built anew.
        """
        backend = self._backend
        if not isinstance(backend, TellsHeld):
            return None

        def look() -> bool:
            held = backend.held(member, ban.address)
            if not held and self.holds(member, ban) and not self._broken:
                self._lost()
            return held

        return bool(self.ask(look, timeout))

    # ---- in the worker's thread

    def _waiting(self) -> int:
        return sum(len(entry.state) for entry in self._members.values())

    def _delay(self) -> float | None:
        now = self._clock.monotonic()
        look = min(self._next_check, self._next_look)
        look = min([look, *(entry.next_reading for entry in self._members.values() if entry.joined)])
        delays = [max(0.0, look - now)] if self._members and look != float("inf") else []
        pause = max(0.0, self._not_before - now)
        if self._broken:
            delays.append(pause)
        else:
            waits = [entry.state.next_due(now) for entry in self._members.values() if entry.joined]
            delays += [max(wait, pause) for wait in waits if wait is not None]
        return min(delays, default=None)

    def _work(self) -> None:
        now = self._clock.monotonic()
        if now >= self._next_look:
            self._next_look = now + self._look_every
            if self._stands():
                if self._has_changed():
                    self._next_check = now
                else:
                    self._losses = 0
        if now >= self._next_check:
            self._next_check = float("inf") if self._check_every is None else now + self._check_every
            if self._stands():
                self._check()
        with self._lock:
            curious = [(member, entry) for member, entry in self._members.items() if now >= entry.next_reading]
        for member, entry in curious:
            self._listen(member, entry, now)
        if now < self._not_before:
            return
        if self._broken:
            self._rebuild()
            return
        steps: list[Step] = []
        with self._lock:
            for entry in self._members.values():
                if entry.joined and not entry.leaving and len(steps) < self._chunk:
                    steps += entry.state.take(self._chunk - len(steps), now)
        if steps:
            self._apply(steps)

    def _listen(self, member: str, entry: _Member, now: float) -> None:
        """Find out who still sends; nobody is told of when that fails, and bans end at their time."""
        entry.next_reading = now + watch_of(entry.properties)
        if self._broken or not entry.joined or entry.leaving or not isinstance(self._backend, TellsSenders):
            return
        try:
            senders = self._backend.senders(member, self._clock.now())
        except ActionError as error:
            if entry.deaf != str(error):
                entry.deaf = str(error)
                logger.warning("[%s] Action '%s' cannot tell who still sends: %s", entry.jail, entry.action, error)
            return
        entry.deaf = ""
        with self._lock:
            hosts = {host: at for key, at in senders.items() for host in entry.state.hosts_of(key)}
            held = entry.state.applied
        if held:
            self._heard(entry.jail, hosts)

    def _stands(self) -> bool:
        return not self._broken and any(entry.joined for entry in self._members.values())

    def _join(self, member: str) -> None:
        entry = self._members.get(member)
        if entry is None or entry.leaving:
            return
        with self._lock:
            steps = entry.state.take_all()
        # Should it fail, the backend knows the member all the same; the next rebuild includes it.
        entry.joined = True
        watch = watch_of(entry.properties)
        entry.next_reading = self._clock.monotonic() + watch if watch else float("inf")
        bans = [step.new for step in steps if step.new is not None]
        self._build(
            [(entry, steps)],
            lambda filled: self._backend.join(member, entry.properties, bans if filled else (), self._clock.now()),
        )
        if self._settled and self._stands():
            self._sweep()

    def _settle(self) -> None:
        self._settled = True
        if self._stands():
            self._sweep()

    def _sweep(self) -> None:
        try:
            self._backend.sweep()
        except ActionError as error:
            logger.warning("What an earlier run left in %s cannot be removed: %s", self.name, error)

    def _build(self, taken: Sequence[tuple[_Member, list[Step]]], build: Callable[[bool], None]) -> bool:
        """
        Build rules and elements in one transaction; else the rules alone, to be filled in portions as by any change.

        *build* is told whether to include the elements. Return whether the rules stand.
        """
        steps = [step for _, some in taken for step in some]
        try:
            build(True)
        except UnavailableError as error:
            return self._not_built(taken, error)
        except ActionError as error:
            if not steps:
                return self._not_built(taken, error)
            if isinstance(error, TooLargeError):
                self._shrink(len(steps))
            try:
                build(False)
            except ActionError as second:
                return self._not_built(taken, second)
            with self._lock:
                for entry, some in taken:
                    entry.state.put_back(some)
            return True
        self._succeed(steps)
        return True

    def _not_built(self, taken: Sequence[tuple[_Member, list[Step]]], error: ActionError) -> bool:
        self._fail(taken, "start", str(error))
        self._break()
        return False

    def _leave(self, member: str, entry: _Member, keep: bool) -> None:
        try:
            if keep:
                self._backend.forget(member)
            else:
                self._backend.leave(member)
        except ActionError as error:
            self._report(entry.jail, entry.action, "stop", (), str(error))
            if len(self._members) > 1:
                self._break()
        with self._lock:
            if self._members.get(member) is entry:
                del self._members[member]
            if not self._members:
                self._broken = 0
                self._not_before = 0.0

    def _has_changed(self) -> bool:
        try:
            return self._backend.changed()
        except ActionError:
            return True  # what is wrong is told by the check

    def _check(self) -> None:
        try:
            intact = self._backend.check()
        except ActionError as error:
            logger.warning("The firewall cannot be checked: %s", error)
            return
        if intact:
            self._losses = 0
        else:
            self._lost()

    def _lost(self) -> None:
        """Plan to build anew at once what the firewall lost."""
        self._losses += 1
        self._lost_at = self._clock.now()
        if self._losses <= _TOLD_LOSSES:
            logger.warning(
                "The firewall lost the rules of %s (%s); building them anew", self.name, ", ".join(self._jails())
            )
            if self._losses == _TOLD_LOSSES:
                logger.error("Something takes the rules of %s away again and again; who else manages them?", self.name)
        self._tell_broken()
        self._broken = max(1, self._broken)
        # At once, unless it is lost again and again: then there is somebody to fight with, or nothing to be seen.
        self._not_before = 0.0 if self._losses <= _TOLD_LOSSES else self._clock.monotonic() + backoff(self._losses)

    def _break(self) -> None:
        """Plan to build everything anew, later and later."""
        self._tell_broken()
        self._broken += 1
        self._not_before = self._clock.monotonic() + backoff(self._broken)

    def _tell_broken(self) -> None:
        if not self._broken:
            self._publish(FirewallLost(self._clock.now(), self.name, self._jails()))

    def _jails(self) -> tuple[str, ...]:
        return tuple(sorted({entry.jail for entry in self._members.values()}))

    def _rebuild(self) -> None:
        with self._lock:
            joined = {name: entry for name, entry in self._members.items() if entry.joined and not entry.leaving}
            taken = {name: entry.state.take_all() for name, entry in joined.items()}
        bans = {name: [step.new for step in steps if step.new is not None] for name, steps in taken.items()}

        def build(filled: bool) -> None:
            self._backend.rebuild(bans if filled else dict.fromkeys(bans, ()), self._clock.now())

        if not taken or self._build([(joined[name], steps) for name, steps in taken.items()], build):
            self._broken = 0
            with self._lock:
                for entry in joined.values():
                    entry.last_error = ""
            self._publish(FirewallMended(self._clock.now(), self.name, self._jails()))

    def _apply(self, steps: list[Step]) -> None:
        try:
            self._backend.apply(steps, self._clock.now())
        except TooLargeError as error:
            if len(steps) == 1:
                self._fail(self._by_member(steps), "ban", str(error))
            else:
                self._shrink(len(steps))
                self._put_back(steps)
        except UnavailableError as error:
            self._fail(self._by_member(steps), "ban", str(error))
            self._break()
        except FullError as error:
            self._fail(self._by_member(steps), "ban", str(error))
        except ActionError as error:
            self._examine(steps, error)
        else:
            self._succeed(steps)

    def _examine(self, steps: list[Step], error: ActionError) -> None:
        """Find out why a batch was refused: the rules are gone, or some of its elements are bad."""
        try:
            intact = self._backend.check()
        except ActionError:
            self._fail(self._by_member(steps), "ban", str(error))
            self._break()
            return
        if not intact:
            self._put_back(steps)
            self._lost()
        elif len(steps) == 1:
            self._fail(self._by_member(steps), "unban" if steps[0].new is None else "ban", str(error))
        else:
            half = len(steps) // 2
            self._apply(steps[:half])
            if self._broken:
                self._put_back(steps[half:])
            else:
                self._apply(steps[half:])

    def _shrink(self, tried: int) -> None:
        self._chunk = max(1, min(self._chunk, tried) // 2)
        logger.info("The firewall takes no %d changes at once; trying %d", tried, self._chunk)

    def _by_member(self, steps: Sequence[Step]) -> list[tuple[_Member, list[Step]]]:
        groups: dict[str, list[Step]] = {}
        for step in steps:
            groups.setdefault(step.member, []).append(step)
        return [(self._members[name], some) for name, some in groups.items()]

    def _put_back(self, steps: Sequence[Step]) -> None:
        with self._lock:
            for entry, some in self._by_member(steps):
                entry.state.put_back(some)

    def _succeed(self, steps: Sequence[Step]) -> None:
        with self._lock:
            recovered = []
            for entry, some in self._by_member(steps):
                recovered += [(entry, *one) for one in entry.state.done(some)]
                entry.done += len(some)
                entry.last_error = ""
        for entry, step, attempts in recovered:
            logger.info(
                "[%s] %s is now banned by action '%s', after %d failed attempts",
                entry.jail, step.ban.host, entry.action, attempts,
            )  # fmt: skip
        self._enforced([step.ban for step in steps if step.kind is Change.BAN])

    def _fail(self, groups: Sequence[tuple[_Member, list[Step]]], what: str, message: str) -> None:
        now = self._clock.monotonic()
        news = []
        with self._lock:
            for entry, steps in groups:
                news.append((entry, entry.state.failed(steps, message, now), not steps and entry.last_error != message))
                entry.errors += 1
                entry.last_error = message
        for entry, some, fresh in news:
            if some or fresh:
                self._report(entry.jail, entry.action, what, some, message)
