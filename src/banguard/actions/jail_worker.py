"""Thread per command or Python action of a jail: start, tell of one change at a time, stop."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Protocol

from banguard.actions.base import NOTICE, ActionStats, GivenUpError, JailAction, Step
from banguard.actions.batch import DesiredState, Notices
from banguard.actions.worker import StartThread, Worker, start_thread
from banguard.clock import Clock
from banguard.errors import ActionError
from banguard.model import Ban, BanChange, Change, Fact

logger = logging.getLogger("banguard.actions")

BETWEEN_CHECKS = 3.0
"""Seconds at least between two checks of an action."""

FLUSH_FROM = 10
"""From so many bans that all end at once on, an action that can flush does so instead of unbanning each."""


class Gate(Protocol):
    """Something to wait for before the first order."""

    def wait(self, timeout: float | None = None) -> bool:
        """Wait; return whether it came."""
        ...


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
        enforced: Callable[[Sequence[Ban]], None] = lambda _: None,
    ) -> None:
        """*enforced* is told, in the worker's thread, of bans that began to be held; it must not block."""
        super().__init__(f"action-{jail}-{name}", clock=clock, publish=publish, start_thread=start_thread)
        self._jail = jail
        self._action_name = name
        self._action = action
        self._state = state
        self._after = tuple(after)
        self._enforced = enforced
        self._leaving = False
        self._checked = float("-inf")
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
        """Check soon whether the bans are in force; not if that was done a moment ago."""
        now = self._clock.monotonic()
        if self.keeps_state and now - self._checked >= BETWEEN_CHECKS:
            self._checked = now
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
            failed = self._state.failures()
            return ActionStats(
                self._action_name,
                enforces=self.keeps_state,
                applied=self._state.hosts(),
                failed=failed,
                waiting=len(self._state),
                done=self._done,
                errors=self._errors,
                last_error=self._last_error or next(iter(failed.values()), ""),
            )

    def holds(self, ban: Ban) -> bool:
        """Tell whether the action holds *ban*."""
        with self._lock:
            return self._state.holds(ban)

    def lacks(self, bans: Sequence[Ban]) -> frozenset[str]:
        """Return the hosts of those *bans* that the action does not hold."""
        with self._lock:
            return self._state.lacks(bans)

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

    def _carry_out(self, step: Step) -> bool:
        """Carry out *step*; return whether that succeeded."""
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
            return False
        with self._lock:
            recovered = self._state.done([step])
            self._done += 1
            self._last_error = ""
        for one, attempts in recovered:
            logger.info(
                "[%s] %s is now banned by action '%s', after %d failed attempts",
                self._jail, one.ban.host, self._action_name, attempts,
            )  # fmt: skip
        if self.keeps_state and step.kind is Change.BAN:
            self._enforced([step.ban])
        return True

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
                if not self._carry_out(steps[0]):  # whoever does not answer now will not do so for the others
                    logger.warning(
                        "[%s] Action '%s' fails while it stops; %d bans are not told",
                        self._jail, self._action_name, len(self._state),
                    )  # fmt: skip
                    break
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
