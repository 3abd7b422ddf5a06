"""
Thread per backend: gather changes, apply one batch, retry, resync.

A worker's thread starts when there is something to do and ends when there has been nothing for a while. What it does is
`round()`: one order (join, leave, check, …) or one batch; the thread is a short loop around it.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Protocol

from banguard import netaddr
from banguard.actions.base import (
    NOTICE,
    ActionStats,
    FirewallAction,
    FullError,
    GivenUpError,
    JailAction,
    Step,
    TooLargeError,
    UnavailableError,
)
from banguard.actions.batch import DesiredState, Notices, backoff, by_address
from banguard.clock import Clock
from banguard.errors import ActionError
from banguard.model import ActionFailed, Ban, BanChange, Change, Fact

logger = logging.getLogger("banguard.actions")

LINGER = 5.0
"""Seconds an idle thread stays before it ends."""

FLUSH_FROM = 10
"""From so many bans that all end at once on, an action that can flush does so instead of unbanning each."""

StartThread = Callable[[str, Callable[[], None]], threading.Thread]


def start_thread(name: str, body: Callable[[], None]) -> threading.Thread:
    """Run *body* in a new daemon thread."""
    thread = threading.Thread(target=body, name=name, daemon=True)
    thread.start()
    return thread


class Gate(Protocol):
    """Something to wait for before the first order."""

    def wait(self, timeout: float | None = None) -> bool:
        """Wait; return whether it came."""
        ...


class Worker:
    """
    Orders, a thread, and the numbers; what a round does with the changes is up to the two kinds below.

    The lock is needed because changes come from the registry's thread while the worker's own is at work; it is never
    held while an action runs.
    """

    def __init__(
        self, name: str, *, clock: Clock, publish: Callable[[Fact], None], start_thread: StartThread = start_thread
    ) -> None:
        self.name = name
        self.finished = threading.Event()
        self._clock = clock
        self._publish = publish
        self._start_thread = start_thread
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._orders: deque[Callable[[], None]] = deque()
        self._thread: threading.Thread | None = None
        self._busy = False
        self._closing = False
        self._abandoned = False

    # ---- from other threads

    def order(self, order: Callable[[], None]) -> None:
        """Have *order* run in the worker's thread, after those before it and before any further change."""
        with self._lock:
            self._orders.append(order)
            self._wake()

    def ask(self, question: Callable[[], object], timeout: float) -> object:
        """Run *question* in the worker's thread and return its answer; ActionError after *timeout* seconds without."""
        answered = threading.Event()
        answers: list[object] = []
        errors: list[ActionError] = []

        def put() -> None:
            try:
                answers.append(question())
            except ActionError as error:
                errors.append(error)
            finally:
                answered.set()

        self.order(put)
        if not answered.wait(timeout):
            raise ActionError(f"{self.name} is busy; no answer within {timeout:g} s")
        if errors:
            raise errors[0]
        return answers[0] if answers else None

    def close(self) -> None:
        """End the thread once all orders are done; `finished` is set then."""
        with self._lock:
            self._closing = True
            self._wake()

    def abandon(self) -> None:
        """Leave undone what is not begun: the time to stop is over."""
        self._abandoned = True

    def is_idle(self) -> bool:
        """Tell whether there is nothing to do at present; what waits for a retry counts as something to do."""
        with self._lock:
            return not self._busy and not self._orders and not self._waiting()

    def join(self, timeout: float) -> bool:
        """Wait for the end of a closing worker; return whether it came within *timeout* seconds."""
        return self.finished.wait(timeout)

    def _wake(self) -> None:
        """Start the thread, or wake it; with the lock."""
        if self._thread is None:
            self._thread = self._start_thread(self.name, self.run)
        else:
            self._changed.notify_all()

    def _gone(self) -> None:
        """Note that the thread ends; with the lock."""
        self._thread = None
        if self._closing:
            self.finished.set()

    # ---- in the worker's thread

    def run(self) -> None:
        """Body of the thread: rounds, with waiting in between, until there is nothing to do."""
        try:
            while True:
                self.round()
                with self._lock:
                    delay = self._delay()
                    if self._orders or (delay == 0.0 and not self._closing):
                        continue
                    if not self._closing:
                        woken = self._changed.wait(LINGER if delay is None else delay)
                        if woken or delay is not None or self._orders:
                            continue
                    self._gone()
                    return
        except BaseException:
            with self._lock:
                self._gone()  # the next change starts another thread
            raise

    def round(self) -> float | None:
        """Do all orders, then one batch. Return the seconds until there is more to do, None when nothing waits."""
        self._busy = True
        try:
            while True:
                with self._lock:
                    order = self._orders.popleft() if self._orders else None
                if order is None:
                    break
                order()
            if not self._closing:
                self._work()
        finally:
            self._busy = False
        with self._lock:
            return self._delay()

    def _work(self) -> None:
        raise NotImplementedError

    def _delay(self) -> float | None:
        """Seconds until there is something to do; with the lock."""
        raise NotImplementedError

    def _waiting(self) -> int:
        """How many changes are not carried out; with the lock."""
        raise NotImplementedError

    def _report(self, jail: str, action: str, what: str, steps: Sequence[Step], message: str) -> None:
        """Tell operators and observers that *what* failed for *steps* (none: start, stop, …)."""
        hosts = tuple(step.ban.host for step in steps)
        if not hosts:
            logger.error("Failed to %s jail '%s' action '%s': %s", what, jail, action, message)
        elif len(hosts) == 1:
            logger.error(
                "Failed to execute %s jail '%s' action '%s' info '%s': %s", what, jail, action, hosts[0], message
            )
        else:
            shown = ", ".join(hosts[:3]) + (", …" if len(hosts) > 3 else "")
            logger.error(
                "Failed to execute %s jail '%s' action '%s' info %d hosts (%s): %s",
                what, jail, action, len(hosts), shown, message,
            )  # fmt: skip
        self._publish(ActionFailed(self._clock.now(), jail, action, message, hosts))


class _Member:
    """One action of one jail in a backend."""

    __slots__ = ("action", "done", "errors", "jail", "joined", "last_error", "leaving", "properties", "state")

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
    ) -> None:
        super().__init__(name, clock=clock, publish=publish, start_thread=start_thread)
        self._backend = backend
        self._members: dict[str, _Member] = {}
        self._chunk = backend.chunk
        self._check_every = check_every
        self._next_check = float("inf") if check_every is None else clock.monotonic() + check_every
        self._broken = 0  # failed attempts in a row to build; 0: the backend stands
        self._not_before = 0.0

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
                last_error=entry.last_error,
            )

    def holds(self, member: str, ban: Ban) -> bool:
        """Tell whether the firewall holds *ban*."""
        with self._lock:
            entry = self._members.get(member)
            return entry is not None and entry.state.holds(ban)

    # ---- in the worker's thread

    def _waiting(self) -> int:
        return sum(len(entry.state) for entry in self._members.values())

    def _delay(self) -> float | None:
        now = self._clock.monotonic()
        delays = [max(0.0, self._next_check - now)] if self._members and self._next_check != float("inf") else []
        pause = max(0.0, self._not_before - now)
        if self._broken:
            delays.append(pause)
        else:
            waits = [entry.state.next_due(now) for entry in self._members.values() if entry.joined]
            delays += [max(wait, pause) for wait in waits if wait is not None]
        return min(delays, default=None)

    def _work(self) -> None:
        now = self._clock.monotonic()
        if now >= self._next_check:
            self._next_check = float("inf") if self._check_every is None else now + self._check_every
            if any(entry.joined for entry in self._members.values()) and not self._broken:
                self._check()
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

    def _join(self, member: str) -> None:
        entry = self._members.get(member)
        if entry is None or entry.leaving:
            return
        with self._lock:
            steps = entry.state.take_all()
        bans = [step.new for step in steps if step.new is not None]
        try:
            try:
                self._backend.join(member, entry.properties, bans, self._clock.now())
            except TooLargeError:
                self._shrink(len(bans))
                self._backend.join(member, entry.properties, (), self._clock.now())
                entry.joined = True
                with self._lock:
                    entry.state.put_back(steps)
                return
        except ActionError as error:
            # The backend knows the member now; a rebuild will include it.
            self._fail([(entry, steps)], "start", str(error))
            entry.joined = True
            self._break()
            return
        entry.joined = True
        self._succeed(steps)

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

    def _check(self) -> None:
        try:
            intact = self._backend.check()
        except ActionError as error:
            logger.warning("The firewall cannot be checked: %s", error)
            return
        if not intact:
            self._lost()

    def _lost(self) -> None:
        """Plan to build anew at once what the firewall lost."""
        jails = ", ".join(sorted({entry.jail for entry in self._members.values()}))
        logger.warning("The firewall lost the rules of %s (%s); building them anew", self.name, jails)
        self._broken = max(1, self._broken)
        self._not_before = 0.0

    def _break(self) -> None:
        """Plan to build everything anew, later and later."""
        self._broken += 1
        self._not_before = self._clock.monotonic() + backoff(self._broken)

    def _rebuild(self) -> None:
        with self._lock:
            taken = [
                (name, entry, entry.state.take_all()) for name, entry in self._members.items() if not entry.leaving
            ]
        if not taken:
            self._broken = 0
            return
        bans = {name: [step.new for step in steps if step.new is not None] for name, _, steps in taken}
        try:
            try:
                self._backend.rebuild(bans, self._clock.now())
            except TooLargeError:
                self._shrink(sum(len(some) for some in bans.values()))
                self._backend.rebuild(dict.fromkeys(bans, ()), self._clock.now())
                self._broken = 0
                with self._lock:
                    for _, entry, steps in taken:
                        entry.state.put_back(steps)
                return
        except ActionError as error:
            self._fail([(entry, steps) for _, entry, steps in taken], "start", str(error))
            self._break()
            return
        self._broken = 0
        self._succeed([step for _, _, steps in taken for step in steps])
        with self._lock:
            for _, entry, _ in taken:
                entry.last_error = ""

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

    def _fail(self, groups: list[tuple[_Member, list[Step]]], what: str, message: str) -> None:
        now = self._clock.monotonic()
        news = []
        with self._lock:
            for entry, steps in groups:
                news.append((entry, entry.state.failed(steps, message, now), entry.last_error != message))
                entry.errors += 1
                entry.last_error = message
        for entry, some, fresh in news:
            if some or fresh:
                self._report(entry.jail, entry.action, what, some, message)


class JailWorker(Worker):
    """Serves one command or Python action of one jail, one change at a time."""

    def __init__(
        self,
        jail: str,
        name: str,
        action: JailAction,
        state: DesiredState | Notices,
        *,
        clock: Clock,
        publish: Callable[[Fact], None],
        start_thread: StartThread = start_thread,
        after: Sequence[Gate] = (),
    ) -> None:
        super().__init__(f"action-{jail}-{name}", clock=clock, publish=publish, start_thread=start_thread)
        self._jail = jail
        self._action_name = name
        self._action = action
        self._state = state
        self._after = tuple(after)
        self._leaving = False
        self._done = 0
        self._errors = 0
        self._last_error = ""

    @property
    def keeps_state(self) -> bool:
        """Whether this is an action that blocks, not a notification."""
        return self._state.keeps_state

    # ---- from other threads

    def start(self, bans: Sequence[Ban]) -> None:
        """Prepare the action and give it the *bans* of an earlier run."""
        with self._lock:
            if not self._action.norestored:
                self._state.restore(bans)
            if self._after or self._action.has_start:
                self._orders.append(self._start)
            if self._orders or len(self._state):
                self._wake()

    def put(self, change: BanChange) -> None:
        """Note a change; never blocks."""
        if change.restored and self._action.norestored and change.kind is not Change.UNBAN:
            return
        with self._lock:
            if not self._leaving:
                self._state.put(change)
                if len(self._state):
                    self._wake()

    def flush(self) -> None:
        """End all bans."""
        with self._lock:
            self._state.want_nothing()
            self._orders.append(self._flush_now)
            self._wake()

    def check(self) -> None:
        """Check soon whether the bans are in force."""
        if self.keeps_state:
            self.order(lambda: self._perform("check", self._action.check))

    def reload(self) -> None:
        """Tell the action of a reload."""
        self.order(lambda: self._perform("reload", self._action.reload))

    def leave(self) -> None:
        """Take out all bans, stop the action, end the thread."""
        with self._lock:
            if self._leaving:
                return
            self._leaving = True
            self._orders.append(self._leave)
            self._closing = True
            self._wake()

    def stats(self) -> ActionStats:
        """Return the numbers."""
        with self._lock:
            return ActionStats(
                self._action_name,
                enforces=self.keeps_state,
                applied=self._state.hosts(),
                failed=self._state.failures(),
                waiting=len(self._state),
                done=self._done,
                errors=self._errors,
                last_error=self._last_error,
            )

    def holds(self, ban: Ban) -> bool:
        """Tell whether the action holds *ban*."""
        with self._lock:
            return self._state.holds(ban)

    # ---- in the worker's thread

    def lose(self, which: Callable[[Ban], bool]) -> None:
        """Note that the action lost the bans that *which* names; they are applied again."""
        with self._lock:
            lost = self._state.lose(which)
        if lost:
            logger.warning("[%s] Action '%s' lost %d bans; applying them again", self._jail, self._action_name, lost)

    def _waiting(self) -> int:
        return len(self._state)

    def _delay(self) -> float | None:
        return self._state.next_due(self._clock.monotonic())

    def _start(self) -> None:
        for gate in self._after:
            gate.wait(60.0)  # what used the same rules before has to be gone; it has its own time-outs
        self._after = ()
        self._perform("start", self._action.start)

    def _work(self) -> None:
        with self._lock:
            flush = self._state.applied >= FLUSH_FROM and self._state.ends_everything()
        if flush and self._flush():
            return
        with self._lock:
            steps = self._state.take(1, self._clock.monotonic())
        for step in steps:
            self._carry_out(step)

    def _carry_out(self, step: Step) -> None:
        try:
            if step.new is None:
                self._action.unban(step)
            else:
                self._action.ban(step)
        except ActionError as error:
            message = str(error)
            with self._lock:
                news = self._state.failed(
                    [step], message, self._clock.monotonic(), final=isinstance(error, GivenUpError)
                )
                self._errors += 1
                self._last_error = message
            if news:
                self._report(self._jail, self._action_name, step.kind.value, news, message)
            return
        with self._lock:
            recovered = self._state.done([step])
            self._done += 1
            self._last_error = ""
        for one, attempts in recovered:
            logger.info(
                "[%s] %s is now banned by action '%s', after %d failed attempts",
                self._jail, one.ban.host, self._action_name, attempts,
            )  # fmt: skip

    def _flush(self) -> bool:
        """Take out everything at once; return whether the action can do that."""
        with self._lock:
            held = self._state.applied
        if not held:
            return False
        try:
            flushed = self._action.flush()
        except ActionError as error:
            self._fail("flush", str(error))
            return False
        if flushed:
            logger.log(NOTICE, "[%s] Flush ticket(s) with %s", self._jail, self._action_name)
            with self._lock:
                self._state.lose()
                self._done += 1
        return flushed

    def _flush_now(self) -> None:
        self._flush()

    def _leave(self) -> None:
        if not self._state.keeps_state:
            while True:
                with self._lock:
                    steps = self._state.take(1, self._clock.monotonic())
                if not steps or self._abandoned:
                    break
                self._carry_out(steps[0])
        else:
            with self._lock:
                self._state.want_nothing()
            if not self._flush():
                with self._lock:
                    steps = self._state.take(len(self._state), float("inf"))
                for step in steps:
                    if not self._abandoned:
                        self._carry_out(step)
        if not self._abandoned:
            self._perform("stop", self._action.stop)

    def _perform(self, what: str, method: Callable[[], None]) -> None:
        try:
            method()
        except ActionError as error:
            self._fail(what, str(error))
        else:
            self._last_error = ""

    def _fail(self, what: str, message: str) -> None:
        with self._lock:
            self._errors += 1
            self._last_error = message
        self._report(self._jail, self._action_name, what, (), message)
