"""Route ban changes to the workers of a jail's actions."""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol

from banguard.actions.backend_worker import BackendWorker
from banguard.actions.base import (
    ActionStats,
    FirewallAction,
    Heard,
    History,
    Hold,
    JailAction,
    JailNumbers,
    ReverseLookup,
    native_action,
    native_notification,
)
from banguard.actions.batch import DesiredState, Notices
from banguard.actions.command import CommandAction, Turn
from banguard.actions.jail_worker import JailWorker
from banguard.actions.worker import StartThread, Worker, start_thread
from banguard.clock import Clock, SystemClock
from banguard.config.schema import ActionConfig, ActionKind
from banguard.errors import ActionError
from banguard.model import ActionFailed, Ban, BanChange, Fact
from banguard.run import Cancel

if TYPE_CHECKING:
    from banguard.actions.connections import Connections

logger = logging.getLogger("banguard.actions")

STOP_DEADLINE = 30.0
"""Seconds that stopping everything may take before running commands are ended."""

_LAST_WORDS = 5.0  # seconds after that deadline for threads to notice
_CALL_TIMEOUT = 60.0


class _Route(Protocol):
    """One action of one jail and the worker that serves it."""

    config: ActionConfig
    enforces: bool

    def put(self, change: BanChange) -> None: ...
    def flush(self) -> None: ...
    def check(self) -> None: ...
    def leave(self, keep: bool) -> None: ...
    def stats(self) -> ActionStats: ...
    def holds(self, ban: Ban) -> bool: ...
    def lacks(self, bans: Sequence[Ban]) -> frozenset[str]: ...
    def properties(self) -> Mapping[str, str]: ...
    def methods(self) -> tuple[str, ...]: ...


class _NativeRoute:
    """A member of a backend."""

    enforces = True

    def __init__(self, member: str, config: ActionConfig, worker: BackendWorker) -> None:
        self.member = member
        self.config = config
        self.worker = worker

    def put(self, change: BanChange) -> None:
        self.worker.put(self.member, change)

    def flush(self) -> None:
        self.worker.flush(self.member)

    def check(self) -> None:
        self.worker.check()

    def leave(self, keep: bool) -> None:
        self.worker.leave_member(self.member, keep=keep)

    def stats(self) -> ActionStats:
        return self.worker.stats(self.member) or ActionStats(self.config.name, enforces=True)

    def holds(self, ban: Ban) -> bool:
        return self.worker.holds(self.member, ban)

    def lacks(self, bans: Sequence[Ban]) -> frozenset[str]:
        return self.worker.lacks(self.member, bans)

    def properties(self) -> Mapping[str, str]:
        return MappingProxyType(dict(self.config.properties))

    def methods(self) -> tuple[str, ...]:
        return ("check", "flush")


class _JailRoute:
    """An action with a worker of its own."""

    def __init__(self, config: ActionConfig, action: JailAction, worker: JailWorker) -> None:
        self.config = config
        self.action = action
        self.worker = worker
        self.enforces = worker.keeps_state

    def put(self, change: BanChange) -> None:
        self.worker.put(change)

    def flush(self) -> None:
        self.worker.flush()

    def check(self) -> None:
        self.worker.check()

    def leave(self, keep: bool) -> None:
        del keep  # what commands built has no end of its own and must not stay
        self.worker.leave()

    def stats(self) -> ActionStats:
        return self.worker.stats()

    def holds(self, ban: Ban) -> bool:
        return self.worker.holds(ban)

    def lacks(self, bans: Sequence[Ban]) -> frozenset[str]:
        return self.worker.lacks(bans)

    def properties(self) -> Mapping[str, str]:
        return self.action.properties()

    def methods(self) -> tuple[str, ...]:
        return self.action.methods()


class Dispatcher:
    """
    Knows the actions of every jail and tells their workers what changes.

    `emit` and `stats` may be called from any thread and never wait for an action; the methods that change which actions
    there are may be called from any thread, return at once as well, and take effect in the order of the calls. The lock
    is for those: they read the table of routes and replace it.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        publish: Callable[[Fact], None] | None = None,
        history: History | None = None,
        reverse_lookup: ReverseLookup | None = None,
        jail_numbers: JailNumbers | None = None,
        heard: Heard = lambda *_: None,
        allow_ipv6: bool = True,
        start_thread: StartThread = start_thread,
        check_every: float | None = 60.0,
    ) -> None:
        self._clock = clock
        self._publish = publish or (lambda _: None)
        self._history = history
        self._reverse_lookup = reverse_lookup
        self._jail_numbers = jail_numbers
        self._heard = heard
        self._allow_ipv6 = allow_ipv6
        self._start_thread = start_thread
        self._check_every = check_every
        self._lock = threading.RLock()
        self._routes: dict[str, tuple[_Route, ...]] = {}
        self._backends: dict[str, BackendWorker] = {}
        self._turns: dict[str, Turn] = {}
        self._ending: dict[str, list[JailWorker]] = {}  # jail → workers that are still stopping
        self._closing: list[Worker] = []
        self._members = itertools.count(1)
        self._cancel = Cancel()
        self._settled = False
        self._cutting: frozenset[str] = frozenset()  # jails with `kill_connections`
        self._connections: Connections | None = None

    # ---- jails

    def kill_connections(self, jail: str, on: bool) -> None:
        """Cut from now on (or no longer) the open connections of whoever *jail* bans, once the ban is in force."""
        with self._lock:
            self._cutting = self._cutting | {jail} if on else self._cutting - {jail}
            if on and self._connections is None:
                from banguard.actions.connections import Connections  # noqa: PLC0415  few jails want it

                self._connections = Connections(
                    clock=self._clock, publish=self._publish, start_thread=self._start_thread
                )

    def attach(self, jail: str, actions: Sequence[ActionConfig], bans: Sequence[Ban] = ()) -> tuple[str, ...]:
        """
        Start the *actions* of a new jail and give them its *bans*, which count as restored.

        Return what is wrong with actions that cannot be used (logged and published too); the others are started. A jail
        that is attached already is changed as by `reattach`.
        """
        with self._lock:
            if jail in self._routes:
                return self.reattach(jail, actions, bans)
            self._routes[jail] = ()
            return self._extend(jail, actions, bans)

    def reattach(self, jail: str, actions: Sequence[ActionConfig], bans: Sequence[Ban]) -> tuple[str, ...]:
        """
        Change to *actions* on reload.

        Removed ones are flushed and stopped; new ones are started, and those that block are given *bans*, as restored
        ones. Kept ones are told of the reload; when their configuration differs they get the new one, which for
        commands without `actionreload` means to stop with the old and start with the new. Return as `attach`.
        """
        with self._lock:
            names = {action.name: action for action in actions}
            kept: dict[str, _Route] = {}
            for route in self._routes.get(jail, ()):
                config = names.get(route.config.name)
                if config is not None and self._keep(route, config):
                    kept[config.name] = route
                else:
                    self._leave(jail, route)
            self._routes[jail] = tuple(kept.values())
            new = [action for action in actions if action.name not in kept]
            problems = self._extend(jail, new, bans, notify=False)
            order = {name: place for place, name in enumerate(names)}
            self._routes[jail] = tuple(sorted(self._routes[jail], key=lambda route: order[route.config.name]))
            return problems

    def settle(self) -> None:
        """Note that all jails are attached: firewalls drop what an earlier run left and no jail took over."""
        with self._lock:
            self._settled = True
            for worker in self._backends.values():
                worker.settle()

    def detach(self, jail: str, *, keep: bool = False) -> None:
        """Flush and stop the actions of a jail and forget it; *keep* leaves native firewall content in place."""
        with self._lock:
            self._cutting -= {jail}
            for route in reversed(self._routes.pop(jail, ())):
                self._leave(jail, route, keep=keep)

    def emit(self, change: BanChange) -> None:
        """Tell the actions of the ban's jail; never blocks. Changes of jails that are not attached are ignored."""
        for route in self._routes.get(change.ban.jail, ()):
            route.put(change)

    def flush(self, jail: str) -> None:
        """Take all bans of *jail* out of its actions at once (`unban --all`); unbans that follow are harmless."""
        for route in self._routes.get(jail, ()):
            if route.enforces:
                route.flush()

    def check(self, jail: str | None = None) -> None:
        """Have the actions (None: of all jails) check soon that their bans are in force, and repair what is not."""
        for name, routes in list(self._routes.items()):
            if jail is None or name == jail:
                for route in routes:
                    route.check()

    def stats(self, jail: str) -> Mapping[str, ActionStats]:
        """Return action name → numbers; empty for an unknown jail."""
        return MappingProxyType({route.config.name: route.stats() for route in self._routes.get(jail, ())})

    def is_enforced(self, ban: Ban) -> bool:
        """Tell whether every action of the jail that blocks holds *ban*; False when the jail has none that blocks."""
        return not self.not_enforced(ban.jail, (ban,))

    def not_enforced(self, jail: str, bans: Sequence[Ban]) -> frozenset[str]:
        """Return the hosts of those *bans* of *jail* that `is_enforced` denies; asks each action once for all."""
        blocking = [route for route in self._routes.get(jail, ()) if route.enforces]
        if not blocking:
            return frozenset(ban.host for ban in bans)
        return frozenset().union(*(route.lacks(bans) for route in blocking))

    def holds(self, ban: Ban, timeout: float) -> tuple[Hold, ...]:
        """Ask the actions of the jail that block whether they hold *ban*; waits for each, at most *timeout* seconds."""
        found = []
        for route in self._routes.get(ban.jail, ()):
            if not route.enforces:
                continue
            stats, believed = route.stats(), route.holds(ban)
            held, error = None, stats.failed.get(ban.host, "") or stats.last_error
            if isinstance(route, _NativeRoute):
                try:
                    held = route.worker.ask_held(route.member, ban, timeout)
                except ActionError as trouble:
                    error = error or str(trouble)
            found.append(Hold(route.config.name, believed, held, error, stats.lost_at, stats.waiting))
        return tuple(found)

    # ---- single actions

    def names(self, jail: str) -> tuple[str, ...]:
        """Return the names of the jail's actions in order; empty for an unknown jail."""
        return tuple(route.config.name for route in self._routes.get(jail, ()))

    def add(self, jail: str, action: ActionConfig, bans: Sequence[Ban]) -> None:
        """
        Add one action and, if it blocks, give it *bans* as restored.

        Raise ActionError when its name is taken or it cannot be used.
        """
        with self._lock:
            if action.name in self.names(jail):
                raise ActionError(f"The jail '{jail}' has an action '{action.name}' already")
            self._routes[jail] = (*self._routes.get(jail, ()), self._route(jail, action, bans, notify=False))

    def remove(self, jail: str, name: str) -> None:
        """Flush, stop and forget one action."""
        with self._lock:
            route = self._find(jail, name)
            self._routes[jail] = tuple(other for other in self._routes[jail] if other is not route)
            self._leave(jail, route)

    def properties(self, jail: str, name: str) -> Mapping[str, str]:
        """Return the properties of an action: commands and tags, or attributes."""
        return self._find(jail, name).properties()

    def set_property(self, jail: str, name: str, key: str, value: str) -> str:
        """Set a property of an action and return the value it has now."""
        route = self._find(jail, name)
        if isinstance(route, _NativeRoute):
            with self._lock:
                config = replace(route.config, properties={**route.config.properties, key: value})
                native = native_action(config.native)
                native.verify(config.properties)
                if native.place(config.properties) != native.place(route.config.properties):
                    raise ActionError(f"{key}: cannot be changed while the action is in use; reload the jail")
                route.config = config
                route.worker.change_member(route.member, config.properties)
                return value
        assert isinstance(route, _JailRoute)  # noqa: S101  there are two kinds
        action = route.action
        return str(route.worker.ask(lambda: action.set_property(key, value), _CALL_TIMEOUT))

    def methods(self, jail: str, name: str) -> tuple[str, ...]:
        """Return the names of the methods of an action that `call` can call."""
        return self._find(jail, name).methods()

    def call(
        self, jail: str, name: str, method: str, arguments: Mapping[str, object], timeout: float | None = None
    ) -> object:
        """Call a method of an action in its thread and return the result; blocks, at most *timeout* seconds."""
        route = self._find(jail, name)
        if isinstance(route, _JailRoute):
            action = route.action
            return route.worker.ask(lambda: action.call(method, arguments), timeout or _CALL_TIMEOUT)
        if method not in route.methods():
            raise ActionError(f"action {name!r} has no method {method!r}")
        if method == "flush":
            route.flush()
        else:
            route.check()
        return None

    # ---- the whole

    def wait(self, timeout: float) -> bool:
        """Wait until nothing is to be done (True), or *timeout* seconds are over (False)."""
        pause = threading.Event()
        deadline = self._clock.monotonic() + timeout
        while True:
            with self._lock:
                workers = self._workers()
            if all(worker.is_idle() for worker in workers):
                return True
            if self._clock.monotonic() >= deadline:
                return False
            pause.wait(0.01)

    def stop(self, deadline: float = STOP_DEADLINE, *, keep: bool = False) -> bool:
        """
        Detach every jail and end all threads; return whether all of it was done within *deadline* seconds.

        What still runs then is ended. *keep* as in `detach`.
        """
        with self._lock:
            for jail in reversed(list(self._routes)):
                self.detach(jail, keep=keep)
            workers = self._workers()
            for worker in workers:
                worker.close()
        end = self._clock.monotonic() + deadline
        done = all(worker.join(max(0.0, end - self._clock.monotonic())) for worker in workers)
        if not done:
            late = [worker for worker in workers if not worker.finished.is_set()]
            logger.warning("Stopping took more than %.0f s; ending %s", deadline, ", ".join(w.name for w in late))
            for worker in late:
                worker.abandon()
            self._cancel.set()
            if all(worker.join(_LAST_WORDS) for worker in late):
                self._cancel.close()
        else:
            self._cancel.close()
        return done

    # ---- inside

    def _workers(self) -> list[Worker]:
        workers: list[Worker] = [*self._backends.values(), *self._closing]
        if self._connections is not None:
            workers.append(self._connections)
        for routes in self._routes.values():
            workers += [route.worker for route in routes if isinstance(route, _JailRoute)]
        for ending in self._ending.values():
            workers += ending
        return workers

    def _find(self, jail: str, name: str) -> _Route:
        for route in self._routes.get(jail, ()):
            if route.config.name == name:
                return route
        raise ActionError(f"The jail '{jail}' has no action '{name}'")

    def _extend(
        self, jail: str, actions: Sequence[ActionConfig], bans: Sequence[Ban], *, notify: bool = True
    ) -> tuple[str, ...]:
        """Add *actions*; *notify*: notifications are told of *bans* too."""
        problems = []
        for action in actions:
            try:
                if action.name in self.names(jail):
                    raise ActionError("the name is taken by another action of this jail; give it an actname")  # noqa: TRY301
                self._routes[jail] = (*self._routes[jail], self._route(jail, action, bans, notify=notify))
            except ActionError as error:
                message = f"action '{action.name}': {error}"
                logger.error("[%s] %s", jail, message)
                self._publish(ActionFailed(self._clock.now(), jail, action.name, str(error)))
                problems.append(message)
        return tuple(problems)

    def _route(self, jail: str, config: ActionConfig, bans: Sequence[Ban], *, notify: bool) -> _Route:
        """Make the route for an action and set its worker going."""
        if config.kind is ActionKind.NATIVE and native_notification(config.native) is None:
            native = native_action(config.native)
            native.verify(config.properties)
            worker = self._backend(native, config)
            member = f"{jail}/{config.name}/{next(self._members)}"  # one that leaves and its successor are two
            worker.join_member(member, jail, config.name, config.properties, bans)
            return _NativeRoute(member, config, worker)
        return self._jail_route(jail, config, bans, notify=notify)

    def _backend(self, native: type[FirewallAction], config: ActionConfig) -> BackendWorker:
        place = native.place(config.properties)
        worker = self._backends.get(place)
        if worker is None:
            worker = self._backends[place] = BackendWorker(
                place,
                native(config.properties),
                clock=self._clock,
                publish=self._publish,
                start_thread=self._start_thread,
                check_every=self._check_every,
                enforced=self._is_in_force,
                heard=self._heard,
            )
            if self._settled:
                worker.settle()
        return worker

    def _is_in_force(self, bans: Sequence[Ban]) -> None:
        cutting, connections = self._cutting, self._connections
        if cutting and connections is not None:
            connections.cut(ban for ban in bans if ban.jail in cutting)

    def _jail_route(self, jail: str, config: ActionConfig, bans: Sequence[Ban], *, notify: bool) -> _JailRoute:
        workers: list[JailWorker] = []  # the action tells its worker what it lost, and is made first
        action: JailAction
        notification = native_notification(config.native) if config.kind is ActionKind.NATIVE else None
        if notification is not None:
            action = notification(
                config,
                jail,
                clock=self._clock,
                history=self._history,
                reverse_lookup=self._reverse_lookup,
                jail_numbers=self._jail_numbers,
            )
        elif config.kind is ActionKind.PYTHON:
            from banguard.actions.python import PythonAction  # noqa: PLC0415  few have one, and it imports a lot

            action = PythonAction(
                config,
                jail,
                clock=self._clock,
                history=self._history,
                reverse_lookup=self._reverse_lookup,
                jail_numbers=self._jail_numbers,
                cancel=self._cancel,
            )
        else:
            action = CommandAction(
                config,
                jail,
                clock=self._clock,
                allow_ipv6=self._allow_ipv6,
                history=self._history,
                reverse_lookup=self._reverse_lookup,
                jail_numbers=self._jail_numbers,
                lost=lambda which: workers[0].lose(which),  # noqa: PLW0108  it does not exist yet
                cancel=self._cancel,
                turn=self._turns.setdefault(config.path or config.file, Turn(self._clock)),
            )
            action.verify()
        state = DesiredState(config.name) if action.keeps_state else Notices(config.name)
        ending = [worker for worker in self._ending.get(jail, ()) if not worker.finished.is_set()]
        self._ending[jail] = ending
        worker = JailWorker(
            jail,
            config.name,
            action,
            state,
            clock=self._clock,
            publish=self._publish,
            start_thread=self._start_thread,
            after=[other.finished for other in ending] if action.keeps_state else (),
            enforced=self._is_in_force,
        )
        workers.append(worker)
        worker.start(bans if notify or action.keeps_state else ())
        return _JailRoute(config, action, worker)

    def _keep(self, route: _Route, config: ActionConfig) -> bool:
        """Give a kept action its new configuration; return False when it has to be made anew instead."""
        old = route.config
        if old == config:
            if isinstance(route, _JailRoute):
                route.worker.reload()
            return True
        if isinstance(route, _NativeRoute) and config.kind is ActionKind.NATIVE and old.native == config.native:
            native = native_action(config.native)
            try:
                native.verify(config.properties)
                same = native.place(old.properties) == native.place(config.properties)
            except ActionError:
                return False
            if same:
                route.config = config
                route.worker.change_member(route.member, config.properties)
            return same
        if (
            isinstance(route, _JailRoute)
            and isinstance(route.action, CommandAction)
            and config.kind is ActionKind.COMMAND
        ):
            return self._reconfigure(route, route.action, config)
        return False

    def _reconfigure(self, route: _JailRoute, action: CommandAction, config: ActionConfig) -> bool:
        """Give a command action with `actionreload` its new parameters in place."""
        if not any(
            config.commands.get(name, "").strip() for name in config.commands if name.startswith("actionreload")
        ):
            return False
        try:
            changed = action.like(config)
        except ActionError:
            return False
        if changed is None:
            return False
        route.config = config
        route.worker.order(lambda: action.adopt(changed))
        route.worker.reload()
        return True

    def _leave(self, jail: str, route: _Route, *, keep: bool = False) -> None:
        route.leave(keep)
        if isinstance(route, _JailRoute):
            ending = self._ending.setdefault(jail, [])
            ending[:] = [worker for worker in ending if not worker.finished.is_set()]
            if route.enforces:
                ending.append(route.worker)
            else:
                self._closing = [worker for worker in self._closing if not worker.finished.is_set()]
                self._closing.append(route.worker)


def verify(action: ActionConfig) -> tuple[str, ...]:
    """
    Check *action* as far as that is possible without running anything; raise ActionError saying what is wrong.

    Return remarks about what can be run and yet looks like a mistake.
    """
    if action.kind is ActionKind.NATIVE:
        (native_notification(action.native) or native_action(action.native)).verify(action.properties)
    elif action.kind is ActionKind.PYTHON:
        from banguard.actions.python import load_class  # noqa: PLC0415  few have one, and it imports a lot

        load_class(action.path)
    else:
        command = CommandAction(action, "", clock=SystemClock())
        command.verify()
        return command.remarks()
    return ()
