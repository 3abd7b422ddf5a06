"""
Commands from action.d files.

The text of a command is the administrator's; what comes from a log only ever reaches it as a value (see `tags`). An
action with options for one family (`…?family=inet6`) is started and stopped for each family by itself, and not before
its first ban unless told otherwise.
"""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Callable, Mapping
from types import MappingProxyType

from banguard import duration
from banguard.actions import tags
from banguard.actions.base import GivenUpError, History, JailNumbers, ReverseLookup, Step
from banguard.clock import Clock
from banguard.config.schema import ActionConfig
from banguard.errors import ActionError
from banguard.model import Ban, Change
from banguard.run import Cancel, Finished, shell, signal_name

logger = logging.getLogger("banguard.actions")
_output = logging.getLogger("banguard.utils")  # where operators look for what a program said

COMMANDS = frozenset({
    "actionstart", "actionstop", "actioncheck", "actionrepair", "actionban", "actionunban", "actionreban",
    "actionprolong", "actionflush", "actionreload",
})  # fmt: skip
_SWITCHES = frozenset({"actionstart_on_demand", "actionrepair_on_unban", "norestored"})
_TRUE = frozenset({"1", "on", "true", "yes"})
_METHODS = ("ban", "check", "flush", "reload", "start", "stop", "unban")

DEFAULT_TIMEOUT = 60.0
"""Seconds a command may take unless the action has a property `timeout`."""

_numbers = itertools.count(1)


class Turn:
    """
    Lets commands of the same action.d file go one after another, but waits at most 100 ms for another's.

    Actions of several jails often edit one file (`/etc/hosts.deny`) or one rule set without any locking of their own.
    A command that takes long must not hold up the others, so beyond that time they run side by side.
    """

    PATIENCE = 0.1

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._since = 0.0
        self._holder: object = None

    def take(self, who: object) -> None:
        """Wait for the turn, at most as long as the present holder has been within its 100 ms."""
        patience = self.PATIENCE
        if self._lock.locked():
            patience = max(0.0, min(patience, self._since + self.PATIENCE - self._clock.monotonic()))
        if self._lock.acquire(timeout=patience):
            self._since = self._clock.monotonic()
            self._holder = who

    def give_back(self, who: object) -> None:
        """End the turn of *who*, if it had one."""
        if self._holder is who:
            self._holder = None
            self._lock.release()


class CommandAction:
    """The commands of one action of one jail."""

    def __init__(
        self,
        config: ActionConfig,
        jail: str,
        *,
        clock: Clock,
        allow_ipv6: bool = True,
        history: History | None = None,
        reverse_lookup: ReverseLookup | None = None,
        jail_numbers: JailNumbers | None = None,
        lost: Callable[[Callable[[Ban], bool]], None] = lambda _: None,
        cancel: Cancel | None = None,
        turn: Turn | None = None,
    ) -> None:
        self._jail = jail
        self._name = config.name
        self._clock = clock
        self._history = history
        self._reverse_lookup = reverse_lookup
        self._jail_numbers = jail_numbers
        self._lost = lost
        self._cancel = cancel
        self._turn = turn
        self._commands = dict(config.commands)
        self._properties = dict(config.properties)
        self._repair_on_unban = config.repair_on_unban
        self._on_demand = config.start_on_demand
        self.norestored = config.norestored
        self._allow_ipv6 = allow_ipv6
        self._rendered: dict[tuple[str, str], str] = {}
        self._failures: dict[str, str] = {}  # command → how it last failed
        self._started: dict[str, bool] = {}  # family → whether it has had bans
        self._timeout = DEFAULT_TIMEOUT
        self._configure()

    def _configure(self) -> None:
        """Derive what follows from commands and properties; raise ActionError when they cannot be used."""
        self._rendered.clear()
        text = self._properties.get("timeout", "")
        if text:
            try:
                self._timeout = float(duration.parse(text))
            except ValueError as error:
                raise ActionError(f"timeout: {error}") from error
        conditional = tags.is_conditional([*self._commands, *self._properties])
        # One unnamed family when nothing depends on it.
        self._families = (
            ("inet4", "inet6") if conditional and self._allow_ipv6 else ("inet4",) if conditional else ("",)
        )
        self._conditional = conditional
        self._starts_on_demand = conditional if self._on_demand is None else self._on_demand
        self.keeps_state = any(self._render("actionunban", family) for family in self._families)
        self.has_start = not self._starts_on_demand

    def verify(self) -> None:
        """Render every command for every family; raise ActionError when one cannot be."""
        for name in sorted(COMMANDS):
            for family in self._families:
                self._render(name, family)

    def remarks(self) -> tuple[str, ...]:
        """Return what looks like a mistake in the commands, though it can be run."""
        found: dict[str, None] = {}
        for name in sorted(COMMANDS):
            for family in self._families:
                for tag in tags.single_quoted(self._render(name, family)):
                    variable = "BANGUARD_" + tags.variable_of(tag)
                    found[f'{name}: <{tag}> in single quotes is not replaced by its value; use "${variable}"'] = None
        return tuple(found)

    # ---- what a worker calls

    def start(self) -> None:
        """Run `actionstart` for each family, unless that waits for the first ban."""
        if not self._starts_on_demand:
            self._start(self._families)

    def ban(self, step: Step) -> None:
        """Run `actionban`, `actionprolong` or `actionreban`; start the family before, if it is not."""
        if step.kind is Change.EXTEND:
            family = self._family(step.ban)
            if self._render("actionprolong", family):
                self._change("actionprolong", step, family)
            return
        if step.old is not None:
            self.unban(Step(step.member, step.key, step.old, None, restored=step.restored))
        family = self._family(step.ban)
        if family not in self._started:
            self._start((family,))
        name = "actionreban" if step.again and self._render("actionreban", family) else "actionban"
        self._change(name, step, family)
        self._started[family] = True

    def unban(self, step: Step) -> None:
        """Run `actionunban`, if the family is started and had bans."""
        family = self._family(step.ban)
        if self._started.get(family):
            self._change("actionunban", step, family)

    def flush(self) -> bool:
        """Run `actionflush` for each family that has bans; False when there is no such command."""
        families = [family for family, used in self._started.items() if used]
        if not all(self._render("actionflush", family) for family in families):
            return False
        self._each("actionflush", families)
        for family in families:
            self._started[family] = False
        return bool(families)

    def stop(self) -> None:
        """Run `actionstop` for each started family."""
        families = list(self._started)
        self._started.clear()
        self._each("actionstop", families)

    def check(self) -> None:
        """Run `actioncheck` for each started family and repair what it finds missing."""
        for family in list(self._started):
            if (
                self._render("actioncheck", family)
                and not self._run("actioncheck", family, self._fixed(family)).succeeded
            ):
                self._repair(family)

    def reload(self) -> None:
        """Run `actionreload` for each started family."""
        self._each("actionreload", list(self._started))

    # ---- properties and methods by name

    def properties(self) -> Mapping[str, str]:
        """Return commands and tags."""
        shown = {
            "actionname": self._name,
            "timeout": str(self._timeout),
            "norestored": str(self.norestored).lower(),
            "actionrepair_on_unban": str(self._repair_on_unban).lower(),
            "actionstart_on_demand": str(self._starts_on_demand).lower(),
        }
        return MappingProxyType({**dict.fromkeys(sorted(COMMANDS), ""), **shown, **self._properties, **self._commands})

    def set_property(self, key: str, value: str) -> str:
        """Set a command, switch or tag; raise ActionError for a value that cannot be used."""
        before = (dict(self._commands), dict(self._properties))
        if key.partition("?")[0] in COMMANDS:
            self._commands[key] = value
        elif key == "norestored":
            self.norestored = value.lower() in _TRUE
        elif key == "actionrepair_on_unban":
            self._repair_on_unban = value.lower() in _TRUE
        elif key == "actionstart_on_demand":
            self._on_demand = value.lower() in _TRUE
        else:
            self._properties[key] = value
        keeps_state = self.keeps_state
        try:
            self._configure()
            self.verify()
        except ActionError:
            self._commands, self._properties = before
            self._configure()
            raise
        self.keeps_state = keeps_state  # its worker has arranged itself with that
        return self.properties()[key]

    def methods(self) -> tuple[str, ...]:
        """Return what `call` can call."""
        return _METHODS

    def call(self, method: str, arguments: Mapping[str, object]) -> object:
        """Call a method; `ban` and `unban` take the tags of a ban (`{"ip": "192.0.2.1"}`, also inside `aInfo`)."""
        if method not in _METHODS:
            raise ActionError(f"action {self._name!r} has no method {method!r}")
        if method in {"ban", "unban"}:
            inner = arguments.get("aInfo", arguments)
            ban = ban_of(self._jail, inner if isinstance(inner, Mapping) else {}, self._clock.now())
            self.ban(Step("", ban.host, None, ban)) if method == "ban" else self.unban(Step("", ban.host, ban, None))
            return None
        return getattr(self, method)()

    def like(self, config: ActionConfig) -> CommandAction | None:
        """
        Return an action with *config* to `adopt`, None when that would have to be started afresh.

        Raise ActionError when *config* cannot be used.
        """
        other = CommandAction(config, self._jail, clock=self._clock, allow_ipv6=self._allow_ipv6)
        other.verify()
        same = (other.keeps_state, other._families) == (self.keeps_state, self._families)
        return other if same else None

    def adopt(self, other: CommandAction) -> None:
        """Take over the configuration of *other*, and stay started."""
        self._commands = other._commands
        self._properties = other._properties
        self._repair_on_unban = other._repair_on_unban
        self._on_demand = other._on_demand
        self.norestored = other.norestored
        self._configure()

    # ---- inside

    def _family(self, ban: Ban) -> str:
        return tags.family_of(ban) or self._families[0] if self._conditional else ""

    def _render(self, name: str, family: str) -> str:
        """Return the text of a command with its static tags replaced."""
        known = self._rendered.get((name, family))
        if known is None:
            values = {"timeout": f"{self._timeout:g}", **self._commands, **self._properties}
            text = values.get(f"{name}?family={family}") if family else None
            known = tags.expand_static(values.get(name, "") if text is None else text, values, family)
            self._rendered[name, family] = known = known.strip()
        return known

    def _fixed(self, family: str) -> tags.FixedTags:
        return tags.FixedTags(self._jail, self._clock.now(), family)

    def _each(self, name: str, families: list[str] | tuple[str, ...]) -> None:
        """Run a command for each family, the same text only once; all of them, even when one fails."""
        seen: set[str] = set()
        failures = []
        for family in families:
            text = self._render(name, family).replace("<family>", family)
            if text and text not in seen:
                seen.add(text)
                result = self._run(name, family, self._fixed(family))
                if not result.succeeded:
                    failures.append(f"{name}: {result.describe()}")
        if failures:
            raise ActionError("; ".join(failures))

    def _start(self, families: tuple[str, ...]) -> None:
        self._each("actionstart", families)
        for family in families:
            self._started.setdefault(family, False)

    def _change(self, name: str, step: Step, family: str) -> None:
        """Run a command about a ban; on failure check, repair and run it again."""
        if not self._render(name, family):
            return
        values = tags.BanTags(
            step.ban,
            restored=step.restored,
            history=self._history,
            reverse_lookup=self._reverse_lookup,
            jail_numbers=self._jail_numbers,
        )
        result = self._run(name, family, values)
        if result.succeeded:
            return
        if self._render("actioncheck", family) and not self._run("actioncheck", family, self._fixed(family)).succeeded:
            if name == "actionunban" and not self._repair_on_unban:
                logger.error("[%s] Invariant check failed. Unban is impossible.", self._jail)
                raise GivenUpError(f"{name}: {result.describe()}; the rules are gone")
            self._repair(family)
        if not result.cancelled and not result.timed_out:
            result = self._run(name, family, values)
        if not result.succeeded:
            raise ActionError(f"{name}: {result.describe()}")

    def _repair(self, family: str) -> None:
        """Restore what `actioncheck` found missing; what was banned before has to be banned again."""
        logger.error("[%s] Invariant check failed. Trying to restore a sane environment", self._jail)
        if self._render("actionrepair", family):
            if not self._run("actionrepair", family, self._fixed(family)).succeeded:
                logger.critical("[%s] Unable to restore environment", self._jail)
                raise ActionError("actionrepair failed")
        else:
            self._run("actionstop", family, self._fixed(family))  # what can still be removed; it may well fail
            result = self._run("actionstart", family, self._fixed(family))
            if not result.succeeded:
                logger.critical("[%s] Unable to restore environment", self._jail)
                raise ActionError(f"actionstart: {result.describe()}")
        if not self._run("actioncheck", family, self._fixed(family)).succeeded:
            logger.critical("[%s] Unable to restore environment", self._jail)
            raise ActionError("actioncheck still fails after the repair")
        self._lost(lambda ban: self._family(ban) == family)

    def _run(self, name: str, family: str, values: Mapping[str, object]) -> Finished:
        text = self._render(name, family)
        if not text:
            return Finished(0)
        script, variables = tags.fill(text, values)
        if self._turn is not None and self.keeps_state:
            self._turn.take(self)
        try:
            result = shell(script, timeout=self._timeout, environment=variables, cancel=self._cancel)
        finally:
            if self._turn is not None:
                self._turn.give_back(self)
        # The same failure again and again, for each ban and each attempt, is told once.
        said = "" if result.succeeded else result.describe()
        _log(script, result, quiet=result.succeeded or said == self._failures.get(name))
        self._failures[name] = said
        return result


def ban_of(jail: str, values: Mapping[str, object], now: float) -> Ban:
    """Make a ban out of the tags a caller gave by hand."""
    host = str(values.get("ip", values.get("fid", "")))
    if not host:
        raise ActionError('this needs an address: {"ip": "192.0.2.1"}')
    matches = str(values.get("matches", ""))
    failures = values.get("failures", 0)
    return Ban(
        jail,
        host,
        now,
        None,
        failures=failures if isinstance(failures, int) else 0,
        matches=tuple(matches.splitlines()),
    )


def _log(script: str, result: Finished, *, quiet: bool) -> None:
    """Log what a command did: at DEBUG when *quiet*, else at ERROR."""
    level = logging.DEBUG if quiet else logging.ERROR
    if not _output.isEnabledFor(level) or result.cancelled:
        return
    number = f"{next(_numbers):08x}"
    if not result.succeeded:
        _output.log(level, "%s -- exec: %s", number, _one_line(script))
    for stream, data in (("stdout", result.stdout), ("stderr", result.stderr)):
        for line in data.decode("utf-8", "replace").splitlines():
            if line.strip():
                _output.log(level, "%s -- %s: %r", number, stream, line[:2000])
    if result.timed_out:
        _output.log(level, "%s -- timed out after %.0f seconds.", number, result.seconds)
    elif result.returncode < 0:
        name = signal_name(-result.returncode)
        _output.log(level, "%s -- killed with %s (return code: %d)", number, name, result.returncode)
    elif result.returncode > 128:
        name = signal_name(result.returncode - 128)
        _output.log(level, "%s -- killed with %s (return code: %d)", number, name, result.returncode)
    else:
        _output.log(level, "%s -- returned %d", number, result.returncode)
    if result.returncode == 127:
        _output.log(level, "%s -- 127 means: a program was not found. Is it installed, and in our PATH?", number)


def _one_line(text: str) -> str:
    return text if text.isprintable() else repr(text)
