"""Build the object graph from a Config; start and stop it in order."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields, replace
from typing import TYPE_CHECKING, TypeVar

from banguard import __version__
from banguard.actions import ActionStats, Dispatcher
from banguard.actions.base import NOTICE
from banguard.bans.registry import BanRequest, ImportBans, Registry, StillSending, UnbanAll, UnbanRequest
from banguard.bans.registry import Call as RegistryCall
from banguard.bus import Bus
from banguard.clock import Clock
from banguard.config import load
from banguard.config.schema import ActionConfig, Config, JailConfig, ServerConfig
from banguard.config.server import is_fail2ban
from banguard.control.api import (
    JailView,
    JsonValue,
    ReloadRequest,
    RulesView,
    duplicate_jail,
    unknown_action,
    unknown_jail,
)
from banguard.daemon import reload as reloading
from banguard.daemon.check import check
from banguard.daemon.logsetup import LogSetup
from banguard.daemon.parts import Services, allow_ipv6, open_store, run_check, with_own_log
from banguard.daemon.pool import SourcePool, has_files, with_journal_where_no_log
from banguard.daemon.protected import Protected
from banguard.daemon.runner import PATIENCE, JailRunner
from banguard.daemon.supervise import Supervised
from banguard.errors import ActionError, ConfigError, ControlError, SourceError, StoreError
from banguard.inbox import Slot
from banguard.jails.jail import Offender
from banguard.jails.resolver import Resolver
from banguard.model import Ban, ConfigReloaded, Fact
from banguard.sources import LogStats

if TYPE_CHECKING:
    from banguard.bans.store import PastBan
    from banguard.jails.explain import Explanation

logger = logging.getLogger("banguard.server")
jail_logger = logging.getLogger("banguard.jail")

T = TypeVar("T")


class App:
    """
    The running server: keeps `control.api.ServerApi`.

    One lock guards the structure (which jails there are, the configuration in force): commands that change it come
    from several control threads and must take turns. Looking needs no lock: the tables are replaced as a whole.
    """

    def __init__(
        self,
        config: Config,
        *,
        clock: Clock,
        log: LogSetup,
        on_stop: Callable[[], None],
        overrides: Mapping[str, str] | None = None,
    ) -> None:
        """*log* sets up logging, *on_stop* is called when a client asks the server to stop."""
        self._config = config = with_journal_where_no_log(with_own_log(config))
        self._server = config.server
        self._overrides = dict(overrides or {})
        self._clock = clock
        self._started_at = clock.now()
        self._log = log
        self._on_stop = on_stop
        self._structure = threading.RLock()
        self._jails: Mapping[str, JailRunner] = {}
        self._ready = False
        self._pulse: Slot[object] | None = None
        self.bus = Bus()
        self._resolver = Resolver(clock)
        self._pool = SourcePool(clock, self.bus.publish)
        self._dispatcher = Dispatcher(
            clock=clock,
            publish=self.bus.publish,
            history=self._history,
            reverse_lookup=self._resolver.name,
            jail_numbers=self._jail_numbers,
            heard=self._still_sending,
            allow_ipv6=allow_ipv6(config.server.allowipv6),
        )
        logger.info("-" * 50)
        logger.info("Starting banguard v%s", __version__)
        if is_fail2ban(config.directory):
            logger.info(
                "Running the configuration of fail2ban in %s with our own socket %s and database %s",
                config.directory,
                config.server.socket,
                config.server.dbfile,
            )
        self._open_registry(config.server)

    def _open_registry(self, config: ServerConfig) -> None:
        clock, publish = self._clock, self.bus.publish
        self._pulse = None
        self._store = open_store(config)
        self._registry = Registry(
            self._store,
            self._dispatcher.emit,
            clock,
            publish,
            recheck=self._dispatcher.check,
            protected=Protected(config.protect, clock),
        )
        self._registry_thread = Supervised("bg/registry", self._registry.run, clock=clock, publish=publish)
        self._registry_thread.start()
        self._services = Services(
            clock=clock,
            publish=publish,
            resolver=self._resolver,
            registry=self._registry,
            dispatcher=self._dispatcher,
            run_check=run_check,
            offender=self._offender,
            protected=Protected(config.protect, clock),
        )

    def _close_registry(self) -> None:
        self._registry_thread.tell_to_stop()
        self._registry.inbox.close()
        if not self._registry_thread.join(PATIENCE):
            # It writes still; to take the file away under it would end the process at once, and lose what it writes.
            logger.error("The registry of bans did not stop in time")
            return
        try:
            self._store.close()
        except StoreError as error:
            logging.getLogger("banguard.database").error("%s", error)

    # ---- life

    def start(self) -> tuple[str, ...]:
        """Start everything that can start; return what is wrong with the rest, a line each."""
        wrong = [str(problem) for problem in self._config.errors]
        for problem in self._config.problems:
            level = logging.ERROR if problem in self._config.errors else logging.WARNING
            logger.log(level, "%s", problem)
        for config in self._config.jails.values():
            try:
                self._start_new(config)
            except (ConfigError, SourceError, ControlError, TimeoutError) as error:
                logger.error("Errors in jail '%s'. Skipping... %s", config.name, error)
                wrong.append(f"[{config.name}] {error}")
        self._dispatcher.settle()
        self._ready = True
        logger.info("Server ready")
        return tuple(wrong)

    def shut_down(self) -> None:
        """
        Stop reading, count and keep what was read, take all bans out of the firewall, close the store.

        With `keep_rules` bans stay in the firewall, until their time is over or the next server takes them over.
        """
        logger.info("Shutdown in progress...")
        keep = self._server.keep_rules
        if keep:
            logger.info("The firewall keeps its rules")
        with self._structure:
            self._ready = False
            logger.info("Stopping all jails")
            for runner in self._jails.values():
                self._attempt_stop(runner, keep=keep)
            self._jails = {}
            self._pool.stop()
            self._dispatcher.stop(keep=keep)
            self._close_registry()
        logger.info("Exiting banguard")

    def _start_new(self, config: JailConfig) -> None:
        reads_files = bool(config.logpath) and config.backend.lower() not in {"systemd", "journald", "history"}
        if reads_files and not has_files(config):
            if config.skip_if_nologs:
                jail_logger.log(NOTICE, "Have not found any log file for '%s' jail. Skipping...", config.name)
                return
            jail_logger.error("Have not found any log file for '%s' jail; it waits for one", config.name)
        source_name, source = self._pool.choose(config)
        runner = JailRunner(config, source_name, source, self._services)
        runner.start()
        self._jails = {**self._jails, config.name: runner}

    def _attempt_stop(self, runner: JailRunner, *, keep: bool) -> None:
        try:
            runner.stop(keep=keep)
        except TimeoutError:
            logger.error("Jail '%s' did not stop in time", runner.name)

    # ---- the server as a whole

    def is_ready(self) -> bool:
        """Tell whether all jails that can start are started."""
        return self._ready

    def server_config(self) -> ServerConfig:
        """Return the server's options in force."""
        return self._server

    def change_server(self, edit: Callable[[ServerConfig], ServerConfig]) -> ServerConfig:
        """Put `edit(current)` in force, see `ServerApi`."""
        with self._structure:
            old = self._server
            new = edit(old)
            changed = {
                field.name for field in fields(ServerConfig) if getattr(old, field.name) != getattr(new, field.name)
            }
            if "dbfile" in changed and self._jails:
                raise ControlError("Cannot change database when there are jails present")
            if changed & {"loglevel", "logtarget", "syslogsocket"}:
                self._log.change(new.loglevel, new.logtarget, new.syslogsocket)
                new = replace(new, loglevel=self._log.level, logtarget=self._log.target)
            if "dbfile" in changed:
                self._close_registry()
                self._open_registry(new)
            if changed & {"dbmaxmatches", "dbpurgeage"}:
                self._ask_registry(lambda _: self._set_store(new))
            if "stacksize" in changed:
                threading.stack_size(new.stacksize * 1024)
            self._server = new
            return new

    def _set_store(self, config: ServerConfig) -> None:
        self._store.max_matches = config.dbmaxmatches
        self._store.purge_age = config.dbpurgeage

    def flush_logs(self) -> str:
        """Reopen the log when it is a file, else flush it."""
        return self._log.flush()

    def reload(self, request: ReloadRequest) -> tuple[str, ...]:
        """Read the configuration and put the differences in force, see `ServerApi`."""
        with self._structure:
            directory = request.directory or self._config.directory
            try:
                config = load(directory, overrides=self._overrides)
            except ConfigError as error:
                raise ControlError(str(error)) from None
            config = with_journal_where_no_log(with_own_log(config))
            config = replace(config, problems=check(config, logs=False))
            reloading.refuse_if_broken(config, request)
            running = {name: runner.config for name, runner in self._jails.items()}
            plan = reloading.plan(running, config, request)
            return self._carry_out(plan, config, request)

    def _carry_out(self, plan: reloading.ReloadPlan, config: Config, request: ReloadRequest) -> tuple[str, ...]:
        if request.jail is None:
            logger.info("Reload all jails")
            self._resolver.forget()
        else:
            logger.info("Reload jail '%s'", request.jail)
        wrong: list[str] = []
        if request.unban:
            for name in plan.concerned:
                self.unban_all(name)
        for name in (*plan.stop, *plan.restart):
            self.stop_jail(name)
        for name in plan.change:
            runner = self._jails[name]
            new = config.jails[name]
            # A reload puts every option back to what the files say, what was set at run time included.
            runner.change(replace(new, actions=runner.config.actions))
            runner.change_actions(new)
            logger.info("Jail '%s' reloaded", name)
        for name in plan.kept:
            self._jails[name].change_actions(config.jails[name])  # unchanged; `actionreload` is to run
        for name in config.jails:
            if name in plan.start or name in plan.restart:
                try:
                    self._start_new(config.jails[name])
                except (ConfigError, SourceError, ControlError, TimeoutError) as error:
                    logger.error("Errors in jail '%s'. Skipping... %s", name, error)
                    wrong.append(f"[{name}] {error}")
        if request.jail is None:
            self._config = config
            self.change_server(
                lambda old: replace(config.server, dbfile=old.dbfile, socket=old.socket, pidfile=old.pidfile)
            )
        self.bus.publish(ConfigReloaded(self._clock.now(), plan.start, (*plan.change, *plan.restart), plan.stop))
        logger.info("Reload finished.")
        return (*wrong, *(str(problem) for problem in config.problems))

    def stop(self) -> None:
        """Ask the server to stop in order."""
        self._on_stop()

    # ---- looking on

    def now(self) -> float:
        """Return the server's own time, in epoch seconds."""
        return self._clock.now()

    def started_at(self) -> float:
        """Return when the server was started, in epoch seconds."""
        return self._started_at

    def logs(self) -> tuple[LogStats, ...]:
        """Return the numbers of every log that is read."""
        return self._pool.logs()

    def action_stats(self, jail: str) -> Mapping[str, ActionStats]:
        """Return the numbers of the jail's actions."""
        return self._dispatcher.stats(jail)

    def subscribe(self, observer: Callable[[Fact], None]) -> None:
        """Tell *observer* of every fact from now on."""
        self.bus.subscribe(observer)

    def unsubscribe(self, observer: Callable[[Fact], None]) -> None:
        """Tell *observer* of nothing more."""
        self.bus.unsubscribe(observer)

    # ---- jails

    def jail_names(self) -> tuple[str, ...]:
        """Return the names of all jails, sorted."""
        return tuple(sorted(self._jails))

    def jail(self, name: str) -> JailView:
        """Return the jail as it is now."""
        return self._runner(name).view()

    def rules(self, name: str) -> RulesView:
        """Return the compiled regexes."""
        return self._runner(name).rules_view

    def explain(self, line: str, jail: str | None) -> tuple[Explanation, ...]:
        """Return how jails would treat *line*, see `ServerApi`."""
        runners = list(self._jails.values()) if jail is None else [self._runner(jail)]
        return tuple(runner.explain(line) for runner in runners if jail is not None or runner.started)

    def why(self, host: str, watch: float) -> Mapping[str, JsonValue]:
        """Return why *host* is banned or not, see `ServerApi`."""
        from banguard.daemon.traffic import Network  # noqa: PLC0415  only when asked
        from banguard.daemon.why import Inquiry  # noqa: PLC0415

        inquiry = Inquiry(
            clock=self._clock,
            network=Network(self._clock),
            holds=self._dispatcher.holds,
            past=self._registry.past,
            protected=self._services.protected,
        )
        jails = {name: runner.access() for name, runner in self._jails.items() if runner.started}
        return asdict(inquiry.why(host, jails, watch))

    def self_test(self, jail: str, *, line: str, write_log: bool) -> Mapping[str, JsonValue]:
        """Test the chain of *jail* with failures of 192.0.2.1, see `ServerApi`."""
        from banguard.daemon.selftest import Chain, SelfTest  # noqa: PLC0415  only when asked

        runner = self._runner(jail)
        files = runner.view().files
        if write_log and not files:
            raise ControlError(f"The jail '{jail}' reads no log file that lines could be written to")
        chain = Chain(
            self.add_jail,
            self.start_jail,
            self._drop_jail,
            self.unban,
            self._dispatcher.holds,
            lambda name: frozenset(stats.name for stats in self._dispatcher.stats(name).values() if stats.enforces),
        )
        test = SelfTest(runner.config, chain, self.bus, self._clock, line=line, write_log=files[0] if write_log else "")
        return asdict(test.run())

    def _drop_jail(self, name: str) -> None:
        """Stop a jail and forget all that the store knows of it."""
        if name in self._jails:
            self.unban_all(name)
            self.stop_jail(name)
        self._ask_registry(lambda registry: registry.forget(name))

    def past(self, host: str) -> Sequence[PastBan]:
        """Return the bans of *host* that are remembered, see `ServerApi`."""
        return self._registry.past(host)

    def add_jail(self, config: JailConfig) -> None:
        """Create a jail that is not started yet."""
        with self._structure:
            if config.name in self._jails:
                raise duplicate_jail(config.name)
            try:
                source_name, source = self._pool.choose(config)
                runner = JailRunner(config, source_name, source, self._services)
            except (ConfigError, SourceError) as error:
                raise ControlError(str(error)) from None
            self._jails = {**self._jails, config.name: runner}

    def start_jail(self, name: str) -> None:
        """Start a jail made by `add_jail`."""
        with self._structure:
            runner = self._runner(name)
            if not runner.started:
                runner.start()

    def stop_jail(self, name: str) -> None:
        """Stop and remove a jail."""
        with self._structure:
            runner = self._runner(name)
            self._jails = {other: jail for other, jail in self._jails.items() if other != name}
            runner.stop()

    def set_idle(self, name: str, idle: bool) -> None:
        """Suspend or resume reading and banning of a jail."""
        with self._structure:
            self._runner(name).set_idle(idle)

    def change_jail(self, name: str, edit: Callable[[JailConfig], JailConfig]) -> JailConfig:
        """Put `edit(current)` in force, see `ServerApi`."""
        with self._structure:
            runner = self._runner(name)
            new = edit(runner.config)
            try:
                runner.change(new)
            except ConfigError as error:
                raise ControlError(error.message) from None
            except TimeoutError:
                raise ControlError(f"The jail '{name}' is busy; the change will be carried out later") from None
            return new

    def _runner(self, name: str) -> JailRunner:
        try:
            return self._jails[name]
        except KeyError:
            raise unknown_jail(name) from None

    # ---- bans

    def ban(self, jail: str, hosts: Sequence[str]) -> int:
        """Ban *hosts* now and return how many were not banned before."""
        self._runner(jail)
        request = BanRequest(jail, tuple(hosts))
        self._registry.inbox.put_front(request)
        return request.slot.wait(PATIENCE)

    def import_bans(self, jail: str, bans: Sequence[Ban]) -> int:
        """Take over *bans* that another program had, see `ServerApi`."""
        self._runner(jail)
        request = ImportBans(jail, tuple(replace(ban, jail=jail) for ban in bans))
        self._registry.inbox.put_front(request)
        return request.slot.wait(PATIENCE)

    def unban(self, jail: str | None, hosts: Sequence[str]) -> Mapping[str, int]:
        """End the bans of exactly these *hosts*, see `ServerApi`."""
        if jail is not None:
            self._runner(jail)
        request = UnbanRequest(jail, tuple(hosts), exact=True)
        self._registry.inbox.put_front(request)
        return request.slot.wait(PATIENCE)

    def unban_all(self, jail: str | None) -> int:
        """End all bans of *jail* (None: of all jails)."""
        if jail is not None:
            self._runner(jail)
        for name in self.jail_names() if jail is None else (jail,):
            self._dispatcher.flush(name)
        request = UnbanAll(jail)
        self._registry.inbox.put_front(request)
        return request.slot.wait(PATIENCE)

    def attempt(self, jail: str, host: str, lines: Sequence[str]) -> int:
        """Count failures of *host*."""
        return self._runner(jail).attempt(host, tuple(lines))

    # ---- actions

    def add_action(self, jail: str, action: ActionConfig) -> None:
        """Add an action, start it, give it the current bans."""
        with self._structure:
            runner = self._runner(jail)
            if action.name in self._dispatcher.names(jail):
                raise ControlError(f"The jail '{jail}' already has an action '{action.name}'")
            self._acting(lambda: self._dispatcher.add(jail, action, runner.bans.bans))
            runner.config = replace(runner.config, actions=(*runner.config.actions, action))

    def delete_action(self, jail: str, name: str) -> None:
        """Take the bans out of an action, stop and remove it."""
        with self._structure:
            runner = self._runner_with_action(jail, name)
            self._acting(lambda: self._dispatcher.remove(jail, name))
            kept = tuple(action for action in runner.config.actions if action.name != name)
            runner.config = replace(runner.config, actions=kept)

    def action_properties(self, jail: str, name: str) -> Mapping[str, JsonValue]:
        """Return what `get J action A PROP` can ask for."""
        self._runner_with_action(jail, name)
        return self._acting(lambda: self._dispatcher.properties(jail, name))

    def action_methods(self, jail: str, name: str) -> tuple[str, ...]:
        """Return the names of what `call_action` can call."""
        self._runner_with_action(jail, name)
        return self._acting(lambda: self._dispatcher.methods(jail, name))

    def set_action_property(self, jail: str, name: str, key: str, value: str) -> JsonValue:
        """Set a command, tag or attribute of an action and return the value it has now."""
        self._runner_with_action(jail, name)
        return self._acting(lambda: self._dispatcher.set_property(jail, name, key, value))

    def call_action(self, jail: str, name: str, method: str, arguments: Mapping[str, JsonValue]) -> JsonValue:
        """Call a method of an action with keyword arguments and return its result."""
        self._runner_with_action(jail, name)
        result = self._acting(lambda: self._dispatcher.call(jail, name, method, arguments))
        return result if isinstance(result, str | int | float | bool | None) else str(result)

    def _runner_with_action(self, jail: str, name: str) -> JailRunner:
        runner = self._runner(jail)
        if name not in self._dispatcher.names(jail) and name not in {action.name for action in runner.config.actions}:
            raise unknown_action(jail, name)
        return runner

    @staticmethod
    def _acting(step: Callable[[], T]) -> T:
        try:
            return step()
        except ActionError as error:
            raise ControlError(str(error)) from None
        except TimeoutError:
            raise ControlError("The action is busy and did not answer in time") from None

    def is_alive(self) -> bool:
        """Tell whether the registry, through which every ban goes, has answered what was put to it the last time."""
        if self._pulse is not None and not self._pulse.filled:
            return False
        call = RegistryCall(lambda _: None)
        self._registry.inbox.put_front(call)
        self._pulse = call.slot
        return True

    # ---- callables for the stages

    def _ask_registry(self, function: Callable[[Registry], None]) -> None:
        call = RegistryCall(function)
        self._registry.inbox.put_front(call)
        call.slot.wait(PATIENCE)

    def _history(self, host: str, jail: str | None) -> tuple[Sequence[str], int]:
        try:
            history = self._store.history(host, jail)
        except StoreError:
            return (), 0
        return history.matches, history.failures

    def _still_sending(self, jail: str, hosts: Mapping[str, float]) -> None:
        self._registry.inbox.put(StillSending(jail, hosts))

    def _jail_numbers(self, jail: str) -> Mapping[str, int]:
        runner = self._jails.get(jail)
        if runner is None:
            return {}
        stats, bans = runner.stats(), runner.bans
        return {
            "banned": len(bans.bans),
            "banned_total": bans.total,
            "found": stats.currently_failed,
            "found_total": stats.total_failed,
        }

    def _offender(self, jail: str, config: JailConfig) -> Offender | None:
        if not config.increment.enabled:
            return None
        where = None if config.increment.overalljails else jail

        def ask(host: str) -> tuple[int, float] | None:
            try:
                found = self._store.offences(where, (host,)).get(host)
            except StoreError:
                return None
            return None if found is None else (found.count, found.last)

        return ask
