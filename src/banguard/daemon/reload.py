"""Plan which jails start, stop, change or restart on a reload."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from banguard.config import diff
from banguard.config.schema import Config, JailConfig
from banguard.control.api import ReloadRequest, unknown_jail
from banguard.errors import ControlError


@dataclass(frozen=True, slots=True)
class ReloadPlan:
    """
    The steps of a reload, names of jails in the order of the configuration.

    *stop* are gone from the configuration (or are no longer enabled), *start* are new, *change* keep running with
    another configuration, *restart* are stopped and started again, *kept* are in the request and need no step.
    """

    stop: tuple[str, ...] = ()
    start: tuple[str, ...] = ()
    change: tuple[str, ...] = ()
    restart: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()

    @property
    def concerned(self) -> tuple[str, ...]:
        """The running jails that the request is about."""
        return (*self.stop, *self.change, *self.restart, *self.kept)


def refuse_if_broken(config: Config, request: ReloadRequest) -> None:
    """Raise ControlError with every error, a line each, when *config* must not be put in force."""
    errors = [
        str(problem)
        for problem in config.errors
        if request.jail is None or not problem.jail or problem.jail == request.jail
    ]
    if errors:
        raise ControlError("\n".join([*errors, "The configuration has errors; nothing was changed"]))


def plan(running: Mapping[str, JailConfig], config: Config, request: ReloadRequest) -> ReloadPlan:
    """
    Compare the jails *running* (with what was set at run time) with *config*.

    Raise `unknown_jail` when the request names a jail that is neither configured nor, with `if_exists`, running.
    """
    if request.jail is not None and request.jail not in config.jails and not request.if_exists:
        raise unknown_jail(request.jail)

    def wanted(name: str) -> bool:
        return request.jail in (None, name)

    found = diff(Config(config.directory, config.server, running), config)
    restart = [name for name in config.jails if name in running and wanted(name) and request.restart]
    # Another backend is another source with other positions: such a jail cannot simply go on.
    restart += [
        name
        for name in found.changed
        if wanted(name) and name not in restart and _reads_otherwise(running[name], config.jails[name])
    ]
    changed = tuple(name for name in found.changed if wanted(name) and name not in restart)
    return ReloadPlan(
        stop=tuple(name for name in found.removed if wanted(name)),
        start=tuple(name for name in found.added if wanted(name)),
        change=changed,
        restart=tuple(restart),
        kept=tuple(
            name
            for name in config.jails
            if name in running and wanted(name) and name not in changed and name not in restart
        ),
    )


def _reads_otherwise(old: JailConfig, new: JailConfig) -> bool:
    return (old.backend, dict(old.backend_options)) != (new.backend, dict(new.backend_options))
