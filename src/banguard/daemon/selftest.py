"""
Test the whole chain of a jail with failures of 192.0.2.1: log, match, ban, firewall, unban.

By default a jail of its own is made for it, with the filter and the blocking actions of the one to be tested and a log
in a private directory, and run by the same server; mails and reports are not sent, and nothing is left behind: jail,
log, bans and what the store knew of them are gone afterwards. With `write_log` the lines go into the jail's own log.
192.0.2.1 belongs to nobody (RFC 5737).
"""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from banguard.actions.base import Hold
from banguard.bus import Bus
from banguard.clock import Clock
from banguard.config.schema import ActionConfig, BanPrefix, BantimeIncrement, JailConfig, LogPath
from banguard.daemon.parts import make_rules
from banguard.errors import BanguardError, ControlError
from banguard.matching.specimen import specimens
from banguard.model import Ban, Banned, Fact, FailureFound, Unbanned

ADDRESS = "192.0.2.1"
PATIENCE = 15.0
"""Seconds that a step may take."""

BANTIME = 60
"""Length of the ban in a jail made for the test: should all else fail, it ends by itself."""

_LONGEST_NAME = 20


@dataclass(frozen=True, slots=True)
class Step:
    """One step: what was done, whether it worked, how many seconds it took, what is to be said of it."""

    name: str
    passed: bool
    seconds: float
    message: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a test."""

    jail: str
    line: str
    passed: bool
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Chain:
    """What the server does for a test; each is a method of the server."""

    add_jail: Callable[[JailConfig], None]
    start_jail: Callable[[str], None]
    drop_jail: Callable[[str], None]
    unban: Callable[[str, Sequence[str]], object]
    holds: Callable[[Ban, float], Sequence[Hold]]
    blocks: Callable[[str], frozenset[str]]


class _FailedError(Exception):
    """A step did not work; the rest is not tried."""


class _Hearing:
    """Collects the facts about the address in one jail."""

    def __init__(self, jail: str, clock: Clock) -> None:
        self._jail = jail
        self._clock = clock
        self._news = threading.Condition()
        self.failures = 0
        self.ban: Ban | None = None
        self.unbanned = False

    def __call__(self, fact: Fact) -> None:
        with self._news:
            if isinstance(fact, FailureFound) and (fact.jail, fact.host) == (self._jail, ADDRESS):
                self.failures += 1
            elif isinstance(fact, Banned) and (fact.ban.jail, fact.ban.host) == (self._jail, ADDRESS):
                self.ban = fact.ban
            elif isinstance(fact, Unbanned) and (fact.ban.jail, fact.ban.host) == (self._jail, ADDRESS):
                self.unbanned = True
            self._news.notify_all()

    def wait(self, check: Callable[[], bool], seconds: float) -> bool:
        """Wait until *check* is true; return whether it is within *seconds*."""
        with self._news:
            return self._news.wait_for(check, seconds)


class SelfTest:
    """One test of one jail."""

    def __init__(self, config: JailConfig, chain: Chain, bus: Bus, clock: Clock, *, line: str, write_log: str) -> None:
        """*line* stands for one made from the regexes; *write_log* is the jail's log to write to, or nothing."""
        self._config = config
        self._chain = chain
        self._bus = bus
        self._clock = clock
        self._line = line
        self._write_log = write_log
        self._name = config.name if write_log else f"selftest-{config.name}"[:_LONGEST_NAME]
        self._steps: list[Step] = []

    def run(self) -> Outcome:
        """Do all steps; the first that fails ends it, and what was made is taken away in any case."""
        directory = ""
        hearing = _Hearing(self._name, self._clock)
        self._bus.subscribe(hearing)
        lines: list[str] = []
        made = False
        try:
            lines = self._do("line", self._lines)
            log = self._write_log
            if not log:
                directory = tempfile.mkdtemp(prefix="banguard-selftest-")
                log = os.path.join(directory, "selftest.log")
                with open(log, "w", encoding="utf-8"):
                    pass
                made = True
                self._do("jail", lambda: self._make_jail(log))
            self._do("log", lambda: self._write(log, lines))
            self._do("match", lambda: self._matched(hearing, len(lines)))
            self._do("ban", lambda: self._banned(hearing))
            self._do("firewall", lambda: self._held(hearing))
            self._do("unban", lambda: self._unban(hearing))
            self._do("released", lambda: self._released(hearing))
        except _FailedError:
            pass
        finally:
            self._bus.unsubscribe(hearing)
            self._clean(hearing, made, directory)
        return Outcome(
            self._config.name, lines[0] if lines else "", all(step.passed for step in self._steps), tuple(self._steps)
        )

    def _do(self, name: str, work: Callable[[], tuple[str, object]]) -> list[str]:
        """Do one step; return the lines that it gives, if it does."""
        began = self._clock.monotonic()
        try:
            message, value = work()
            passed = True
        except (BanguardError, OSError, TimeoutError) as error:
            message, value, passed = str(error), None, False
        self._steps.append(Step(name, passed, self._clock.monotonic() - began, message))
        if not passed:
            raise _FailedError
        return value if isinstance(value, list) else []

    # ---- the steps: each returns what is to be said, or raises

    def _lines(self) -> tuple[str, object]:
        count = max(1, self._config.maxretry)
        if self._line:
            return "the line that was given", [self._line] * count
        # A line with the date in it, also where the jail reads the journal, whose entries have it beside them.
        rules = make_rules(self._config, journal=False)
        lines = specimens(rules, ADDRESS, self._clock.now(), count)
        if not lines:
            raise ControlError(
                f"no line that the filter takes for a failure of {ADDRESS} can be made from its regexes; give one of "
                f"the log with --line, its address replaced by {ADDRESS}"
            )
        return f"made from the failregex: {lines[0]}", lines

    def _make_jail(self, log: str) -> tuple[str, object]:
        blocking = self._chain.blocks(self._config.name)
        actions = tuple(self._renamed(action) for action in self._config.actions if action.name in blocking)
        config = replace(
            self._config,
            name=self._name,
            backend="polling",
            backend_options={},
            logpath=(LogPath(log),),
            logencoding="utf-8",
            skip_if_nologs=False,
            findtime=max(self._config.findtime, BANTIME),
            bantime=BANTIME,
            increment=BantimeIncrement(),
            prefix=BanPrefix(),
            ignoreip=(),
            ignoreself=False,
            ignorecommand="",
            ignorecache=None,
            observe=False,
            actions=actions,
        )
        self._chain.add_jail(config)
        self._chain.start_jail(self._name)
        left = [action.name for action in self._config.actions if action.name not in blocking]
        quiet = f"; left out, for they only tell: {', '.join(left)}" if left else ""
        names = ", ".join(action.name for action in actions) or "none"
        return f"[{self._name}] with the filter {config.filter.name}, actions {names}{quiet}", None

    def _renamed(self, action: ActionConfig) -> ActionConfig:
        return replace(action, properties={**action.properties, "name": self._name})

    def _write(self, log: str, lines: Sequence[str]) -> tuple[str, object]:
        with open(log, "a", encoding="utf-8") as file:
            file.write("".join(f"{line}\n" for line in lines))
        return f"{len(lines)} lines written to {log}", None

    def _matched(self, hearing: _Hearing, count: int) -> tuple[str, object]:
        if not hearing.wait(lambda: hearing.failures >= count or hearing.ban is not None, PATIENCE):
            raise ControlError(f"only {hearing.failures} of {count} lines were found within {PATIENCE:.0f} s")
        return f"{hearing.failures} failures of {ADDRESS} found", None

    def _banned(self, hearing: _Hearing) -> tuple[str, object]:
        if not hearing.wait(lambda: hearing.ban is not None, PATIENCE):
            raise ControlError(f"{ADDRESS} was not banned within {PATIENCE:.0f} s; see `banguard-client why {ADDRESS}`")
        return f"{ADDRESS} is banned", None

    def _held(self, hearing: _Hearing) -> tuple[str, object]:
        holds = self._await(hearing, lambda hold: hold.believed and hold.held is not False)
        if not holds:
            raise ControlError("the jail has no action that blocks: its bans have no effect")
        wrong = [hold for hold in holds if not hold.believed or hold.held is False]
        if wrong:
            raise ControlError(
                "; ".join(f"{hold.action} does not hold it: {hold.error or 'no reason'}" for hold in wrong)
            )
        said = [f"{hold.action} {'holds it' if hold.held else 'was told of it, and cannot be asked'}" for hold in holds]
        return "; ".join(said), None

    def _unban(self, hearing: _Hearing) -> tuple[str, object]:
        self._chain.unban(self._name, [ADDRESS])
        if not hearing.wait(lambda: hearing.unbanned, PATIENCE):
            raise ControlError(f"{ADDRESS} was not unbanned within {PATIENCE:.0f} s")
        return f"{ADDRESS} is unbanned", None

    def _released(self, hearing: _Hearing) -> tuple[str, object]:
        holds = self._await(hearing, lambda hold: not hold.believed and not hold.held)
        wrong = [hold.action for hold in holds if hold.believed or hold.held]
        if wrong:
            raise ControlError(f"{', '.join(wrong)} still hold it")
        return "nothing holds it any more", None

    def _await(self, hearing: _Hearing, wanted: Callable[[Hold], bool]) -> Sequence[Hold]:
        """Ask the actions again and again until all are as *wanted*; return what they said last."""
        ban = hearing.ban
        assert ban is not None  # noqa: S101  the step before made sure
        end = self._clock.monotonic() + PATIENCE
        while True:
            holds = self._chain.holds(ban, PATIENCE)
            if all(map(wanted, holds)) or self._clock.monotonic() > end:
                return holds
            hearing.wait(lambda: False, 0.02)

    def _clean(self, hearing: _Hearing, made: bool, directory: str) -> None:
        began = self._clock.monotonic()
        try:
            if made:
                self._chain.drop_jail(self._name)
            elif hearing.ban is not None and not hearing.unbanned:
                self._chain.unban(self._name, [ADDRESS])
            message, passed = ("jail and log are removed" if made else "nothing else was made"), True
        except (BanguardError, OSError, TimeoutError) as error:
            message, passed = str(error), False
        if directory:
            shutil.rmtree(directory, ignore_errors=True)
        self._steps.append(Step("clean", passed, self._clock.monotonic() - began, message))
