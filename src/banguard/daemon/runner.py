"""One running jail: its thread, its rules, its place in sources, registry and actions."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Literal, TypeVar

from banguard import netaddr
from banguard.actions.senders import WATCH
from banguard.bans.registry import AttachJail, ConfigureJail, DetachJail, JailBans, Reach, Repeats
from banguard.bans.store import Offences
from banguard.clock import Clock
from banguard.config.schema import ActionConfig, BantimeIncrement, JailConfig
from banguard.control.api import ActiveBan, JailView, RulesView
from banguard.daemon.parts import Services, check_encoding, counts_senders, deaf, make_ignore, make_rules
from banguard.daemon.supervise import Supervised
from banguard.errors import ControlError
from banguard.inbox import Inbox
from banguard.jails.ignore import IgnoreRules
from banguard.jails.jail import Jail
from banguard.jails.watcher import Attempt, Call, Idle, Message, Reconfigure, Watcher
from banguard.matching import FilterRules
from banguard.model import Ban, Cursor, JailReport, JailStats
from banguard.sources import Source, Subscription

if TYPE_CHECKING:
    from banguard.daemon.why import JailAccess
    from banguard.jails.explain import Explanation, Sequel
    from banguard.matching.prefilter import Wanted

T = TypeVar("T")

logger = logging.getLogger("banguard.jail")
filter_logger = logging.getLogger("banguard.filter")

PATIENCE = 30.0
"""Seconds to wait for the reply of a thread."""

BLOCKS = 8
"""Blocks that may wait for a jail; more wait in the log itself."""

_BACKEND_NAMES = {"inotify": "pyinotify", "journald": "systemd"}
"""How a source is called in `status` and in the log: the words of the option `backend` that scripts know."""


class JailRunner:
    """
    A jail from the moment its configuration was found usable until it is stopped.

    Only the server's structural methods (one at a time) call `start`, `stop`, `change` and `set_idle`.
    """

    def __init__(self, config: JailConfig, source_name: str, source: Source | None, services: Services) -> None:
        """Compile everything; raise ConfigError, having touched nothing, when the jail cannot work."""
        check_encoding(config)
        self.config = config
        self.source_name = source_name
        self.idle = False
        self.problem = ""
        self._source = source
        self._services = services
        self._rules_view, rules = self._compile(config)
        self._wanted = _WantedBy(rules, config.logencoding)
        self._inbox: Inbox[Message] = Inbox(BLOCKS)
        self._jail = Jail(
            config,
            rules,
            clock=services.clock,
            ignore=make_ignore(config, services),
            resolver=services.resolver,
            publish=services.publish,
            offender=services.offender(config.name, config),
        )
        self._watcher = Watcher(self._jail, self._inbox, self._report, services.clock)
        self._thread: Supervised | None = None

    @property
    def name(self) -> str:
        """The jail's name."""
        return self.config.name

    @property
    def started(self) -> bool:
        """Whether the jail reads and bans."""
        return self._thread is not None

    @property
    def backend(self) -> str:
        """The backend in use, in the words of the option."""
        return _BACKEND_NAMES.get(self.source_name, self.source_name)

    # ---- life

    def start(self) -> None:
        """Restore the jail's bans, start its actions, its thread and its reading."""
        config, services = self.config, self._services
        logger.info("Creating new jail '%s'", self.name)
        if self.backend:
            logger.info("Initiated '%s' backend", self.backend)
        filter_logger.info("  maxRetry: %s", config.maxretry)
        filter_logger.info("  findtime: %s", _plain(config.findtime))
        logging.getLogger("banguard.actions").info("  banTime: %s", config.bantime)
        filter_logger.info("  encoding: %s", "UTF-8" if config.logencoding == "auto" else config.logencoding)

        if message := deaf(config):
            logger.warning("[%s] %s", self.name, message)
        if config.observe:
            logger.warning("Jail '%s' observes only (mode.observe): it bans nobody", self.name)

        def take(bans: tuple[Ban, ...]) -> None:
            self.problem = "; ".join(services.dispatcher.attach(self.name, _acting(config), bans))

        services.dispatcher.kill_connections(self.name, config.kill_connections)
        ignored = self._is_ignored(config)
        attach = AttachJail(
            self.name, config.bantime, _growing(config), ignored=ignored, take=take, reach=_reach(config, ignored)
        )
        services.registry.inbox.put(attach)
        attached = attach.slot.wait(PATIENCE)
        self._jail.restore(attached.failures)
        self._subscribe(attached.cursors)
        self._thread = Supervised(
            f"bg/{self.name}"[:15], self._watcher.run, clock=services.clock, publish=services.publish
        )
        self._thread.start()
        logger.info("Jail '%s' started", self.name)

    def stop(self, *, keep: bool = False) -> None:
        """
        Stop reading, count what was taken, leave the registry, take the actions down.

        The bans stay in the store. *keep* leaves what native firewall actions hold in place.
        """
        if self._thread is None:
            return
        if self._source is not None:
            self._source.unsubscribe(self.name)
        self._thread.tell_to_stop()
        self._inbox.close()
        if not self._thread.join(PATIENCE):
            logger.error("The thread of jail '%s' does not end; going on without it", self.name)
        self._thread = None
        detach = DetachJail(self.name, repeal=False)
        self._services.registry.inbox.put(detach)
        detach.slot.wait(PATIENCE)
        self._services.dispatcher.detach(self.name, keep=keep)
        logger.info("Jail '%s' stopped", self.name)

    def set_idle(self, idle: bool) -> None:
        """Suspend the jail, or let it go on from where it was."""
        if idle == self.idle or self._thread is None:
            self.idle = idle
            return
        if idle:
            if self._source is not None:
                self._source.unsubscribe(self.name)
            message = Idle(on=True)
            self._inbox.put_front(message)
            message.slot.wait(PATIENCE)
        else:
            message = Idle(on=False)
            self._inbox.put_front(message)
            self._subscribe(message.slot.wait(PATIENCE))
        self.idle = idle

    # ---- changes

    def change(self, config: JailConfig) -> None:
        """
        Put *config* in force (same name and backend) without touching failure counts, positions and bans.

        Raise ConfigError, changing nothing, when it cannot work.
        """
        old = self.config
        check_encoding(config)
        rules: FilterRules | None = None
        view = self._rules_view
        if _rules_differ(old, config):
            view, rules = self._compile(config)
        ignore = make_ignore(config, self._services)
        self.config = config
        self._rules_view = view
        # Before the rules are in force: no block may be scanned for the old ones and then be tried with these.
        self._wanted = _WantedBy(rules or self._wanted.rules, config.logencoding)
        if self._thread is None:
            self._jail.reconfigure(config, rules, ignore)
            return
        message = Reconfigure(config, rules, ignore)
        self._inbox.put_front(message)
        message.slot.wait(PATIENCE)
        self._services.dispatcher.kill_connections(self.name, config.kill_connections)
        if _banning_differs(old, config):
            ignored = self._is_ignored(config)
            configure = ConfigureJail(
                self.name, config.bantime, _growing(config), ignored=ignored, reach=_reach(config, ignored)
            )
            self._services.registry.inbox.put(configure)
            configure.slot.wait(PATIENCE)
            if _acting(old) != _acting(config):
                self.change_actions(config)
        if _reading_differs(old, config) and not self.idle:
            message_cursors = Idle(on=self.idle)
            self._inbox.put_front(message_cursors)
            self._subscribe(message_cursors.slot.wait(PATIENCE))

    def change_actions(self, config: JailConfig) -> None:
        """Put the actions of *config* in force and give new ones the current bans."""
        self.config = replace(self.config, actions=config.actions)
        if self._thread is not None:
            wrong = self._services.dispatcher.reattach(self.name, _acting(self.config), self.bans.bans)
            self.problem = "; ".join(wrong)

    def attempt(self, host: str, lines: tuple[str, ...]) -> int:
        """Count failures of *host* and return 1, or 0 when it is ignored; ControlError when the jail does not run."""
        if self._thread is None:
            raise ControlError(f"The jail '{self.name}' is not started")
        message = Attempt(host, lines)
        self._inbox.put_front(message)
        return message.slot.wait(PATIENCE)

    # ---- looks

    def explain(self, line: str) -> Explanation:
        """Return how the jail would treat *line* now; counts nothing. ControlError when it does not answer."""
        from banguard.daemon.explaining import sequel  # noqa: PLC0415  only when asked
        from banguard.jails.explain import Surroundings, explain  # noqa: PLC0415

        config, services = self.config, self._services
        offender = services.offender(config.name, config)

        def banned(host: str) -> float | Literal[False] | None:
            ends = [ban.until for ban in self.bans.bans if host in netaddr.AddressSet((ban.host,)) or host == ban.host]
            return ends[0] if ends else False

        def follow(host: str, at: float) -> Sequel:
            past = None if offender is None else offender(host)
            return sequel(config, None if past is None else Offences(*past), at)

        around = Surroundings(
            foresee=lambda host, at: self.ask(lambda jail: jail.foresee(host, at)),
            learn=lambda rules, session: self.ask(lambda jail: rules.learn(jail.rules, session)),
            banned=banned,
            protected=services.protected,
            sequel=follow,
        )

        def explained(*, journal: bool) -> Explanation:
            return explain(
                line,
                config,
                make_rules(replace(config, success_forgets=True), journal=journal),
                clock=services.clock,
                ignore=make_ignore(config, services),
                resolver=services.resolver,
                around=around,
                running=True,
            )

        if self.source_name != "journald":
            return explained(journal=False)
        # An entry of the journal has no date in its text; a line that was shown by other programs does.
        found = explained(journal=True)
        if found.verdict != "missed":
            return found
        shown = explained(journal=False)
        return found if shown.verdict == "missed" else shown

    def access(self) -> JailAccess:
        """Return what `daemon.why` asks of the jail."""
        from banguard.daemon.why import JailAccess  # noqa: PLC0415  only when asked

        rules = make_ignore(self.config, self._services)
        return JailAccess(
            self.config, self.bans, self.idle, self.ask, lambda host: rules.reason(host, command=False) or ""
        )

    def ask(self, function: Callable[[Jail], T]) -> T:
        """Have *function* called with the jail in its thread and return the result; it must be quick."""
        if self._thread is None:
            return function(self._jail)
        call = Call(function)
        self._inbox.put_front(call)
        try:
            return call.slot.wait(PATIENCE)  # type: ignore[return-value]  # what the function returned
        except TimeoutError:
            raise ControlError(f"The jail '{self.name}' is busy and did not answer in time") from None

    @property
    def bans(self) -> JailBans:
        """The jail's bans as of now."""
        return self._services.registry.snapshot().get(self.name) or JailBans()

    @property
    def rules_view(self) -> RulesView:
        """The regexes in force."""
        return self._rules_view

    def stats(self) -> JailStats:
        """Return the jail's numbers as of a moment ago."""
        return self._watcher.stats()

    def view(self) -> JailView:
        """Return the jail at this moment."""
        held = self.bans
        files: tuple[str, ...] = ()
        if self._source is not None and self.source_name != "journald":
            files = tuple(sorted(self._source.files(self.name)))
        loose = self._services.dispatcher.not_enforced(self.name, held.bans)
        return JailView(
            config=self.config,
            backend=self.backend,
            stats=self.stats(),
            files=files,
            bans=tuple(ActiveBan(ban, ban.host not in loose) for ban in held.bans),
            total_banned=held.total,
            observed=held.observed,
            started=self.started,
            idle=self.idle,
            problem=self.problem,
        )

    # ---- inside

    def _report(self, report: JailReport) -> None:
        self._services.registry.inbox.put(report)

    def _wants(self) -> Wanted | None:
        return self._wanted()

    def _compile(self, config: JailConfig) -> tuple[RulesView, FilterRules]:
        rules = make_rules(config, journal=self.source_name == "journald")
        pattern = config.filter.datepattern
        view = RulesView(
            prefregex=rules.prefix.regex if rules.prefix is not None else "",
            failregex=tuple(rule.regex for rule in rules.failures),
            ignoreregex=tuple(rule.regex for rule in rules.ignores),
            successregex=tuple(rule.regex for rule in rules.successes),
            date=None if pattern is None else (pattern, rules.detector.description),
        )
        return view, rules

    def _is_ignored(self, config: JailConfig) -> IsIgnored:
        # The registry asks from its own thread, so the rules here are an instance of its own.
        return IsIgnored(config, self._services)

    def _subscribe(self, cursors: tuple[Cursor, ...]) -> None:
        if self._source is None:
            return
        config = self.config
        self._source.subscribe(
            Subscription(
                jail=config.name,
                inbox=self._inbox,
                logpath=config.logpath,
                encoding=config.logencoding,
                resume={cursor.log: cursor for cursor in cursors},
                findtime=config.findtime,
                date_of=DateOf(config, self._services.clock),
                journalmatch=config.filter.journalmatch,
                backend_options=config.backend_options,
                wanted=self._wants,
            )
        )


class IsIgnored:
    """Tells the registry whether a jail's ignore rules spare a host; the rules are made when first asked."""

    def __init__(self, config: JailConfig, services: Services) -> None:
        self._config = config
        self._services = services
        self._rules: IgnoreRules | None = None

    def __call__(self, host: str) -> bool:
        """Ask the lists only: a command would hold the registry up."""
        return self._known().reason(host, command=False) is not None

    def within(self, network: str) -> str | None:
        """Return why *network* cannot be banned as a whole."""
        return self._known().reason_within(network)

    def _known(self) -> IgnoreRules:
        if self._rules is None:
            self._rules = make_ignore(self._config, self._services)
        return self._rules


class _WantedBy:
    """Tells a source what lines hold that *rules* say something of; found out when first asked."""

    def __init__(self, rules: FilterRules, encoding: str) -> None:
        self.rules = rules
        self._encoding = encoding
        self._answer: tuple[Wanted | None] | None = None

    def __call__(self) -> Wanted | None:
        """Return it; None when that is any line."""
        if self._answer is None:
            from banguard.matching.prefilter import wanted  # noqa: PLC0415  a jail without a file needs none

            self._answer = (wanted(self.rules, self._encoding),)
        return self._answer[0]


class DateOf:
    """Tells a source the date of a line; has a date detector of its own, made when first asked."""

    def __init__(self, config: JailConfig, clock: Clock) -> None:
        self._config = config
        self._clock = clock
        self._rules: FilterRules | None = None

    def __call__(self, line: str) -> float | None:
        """Return epoch seconds, None when the line has no date."""
        if self._rules is None:
            bare = replace(
                self._config,
                filter=replace(
                    self._config.filter, failregex=(), ignoreregex=(), successregex=(), prefregex="", fields=()
                ),
            )
            self._rules = make_rules(bare, journal=False)
        return self._rules.date(line, self._clock.now()).time


def _acting(config: JailConfig) -> tuple[ActionConfig, ...]:
    """Return the actions of a jail; where it wants to know who still sends, those that can are told to count."""
    if not config.increment.quiet:
        return config.actions
    watch = {WATCH: str(config.increment.listen_every)}
    return tuple(
        replace(action, properties={**action.properties, **watch}) if counts_senders(action) else action
        for action in config.actions
    )


def _growing(config: JailConfig) -> BantimeIncrement:
    """Return how the ban times of a jail grow, without `bantime.quiet` where no action can tell who still sends."""
    return replace(config.increment, quiet=None) if deaf(config) else config.increment


def _reach(config: JailConfig, ignored: IsIgnored) -> Reach:
    """Return how far the bans of a jail go."""
    repeats = Repeats(config.maxretry, config.findtime) if config.backend == "history" else None
    return Reach(config.prefix, config.findtime, config.observe, repeats, spared_in=ignored.within)


def _banning_differs(old: JailConfig, new: JailConfig) -> bool:
    def of(config: JailConfig) -> tuple[object, ...]:
        return (
            config.bantime,
            config.increment,
            config.prefix,
            config.findtime,
            config.maxretry,
            config.ignoreip,
            config.observe,
        )

    return of(old) != of(new)


def _rules_differ(old: JailConfig, new: JailConfig) -> bool:
    def of(config: JailConfig) -> tuple[object, ...]:
        rules = config.filter
        return (
            rules.failregex,
            rules.ignoreregex,
            rules.successregex,
            config.success_forgets,
            rules.prefregex,
            rules.maxlines,
            rules.datepattern,
            rules.logformat,
            rules.fields,
            rules.datefield,
            config.usedns,
            config.logtimezone,
        )

    return of(old) != of(new)


def _reading_differs(old: JailConfig, new: JailConfig) -> bool:
    def of(config: JailConfig) -> tuple[object, ...]:
        return config.logpath, config.logencoding, config.filter.journalmatch, dict(config.backend_options)

    return of(old) != of(new)


def _plain(seconds: float) -> int | float:
    return int(seconds) if seconds == int(seconds) else seconds
