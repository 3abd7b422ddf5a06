"""The sources in use: which serves a jail, and their threads."""

from __future__ import annotations

import glob
import logging
from collections.abc import Callable
from dataclasses import replace

from banguard.clock import Clock
from banguard.config import load_jail
from banguard.config.schema import Config, JailConfig, Problem, Severity
from banguard.daemon.supervise import Supervised
from banguard.errors import ConfigError, SourceError
from banguard.message import tell, why
from banguard.model import Fact
from banguard.sources import LogStats, Source, check_source, open_source, resolve
from banguard.sources.screen import prefilter_for

logger = logging.getLogger("banguard.jail")

_PATIENCE = 10.0


class SourcePool:
    """Opens each kind of source when the first jail wants it, and runs it in a thread of its own."""

    def __init__(self, clock: Clock, publish: Callable[[Fact], None]) -> None:
        self._clock = clock
        self._publish = publish
        self._open: dict[str, tuple[Source, Supervised]] = {}

    def choose(self, config: JailConfig) -> tuple[str, Source | None]:
        """
        Return the name of the source for a jail, and the source, running.

        A jail without anything to read gets none: it bans only what is asked for by hand. A backend that cannot work
        here gives way to the next one, with a warning; SourceError when the journal is wanted and cannot be read.
        """
        if not config.logpath and not config.filter.journalmatch and config.backend.lower() in {"auto", "polling"}:
            return "", None
        if config.backend == "history":  # the registry itself is what it looks at
            return "history", None
        name = choose_name(config)
        try:
            return name, self._get(name)
        except SourceError as error:
            if name != "inotify":
                raise
            logger.warning("[%s] %s; using polling", config.name, error)
            return "polling", self._get("polling")

    def logs(self) -> tuple[LogStats, ...]:
        """Return the numbers of every log that is read; any thread may ask."""
        return tuple(log for source, _ in tuple(self._open.values()) for log in source.snapshot())

    def stop(self) -> None:
        """End all sources and their threads."""
        for source, thread in self._open.values():
            thread.tell_to_stop()
            source.wake()
        for name, (_, thread) in self._open.items():
            if not thread.join(_PATIENCE):
                logger.error("The source %s does not end; going on without it", name)
        self._open = {}

    def _get(self, name: str) -> Source:
        if name not in self._open:
            source = open_source(name, clock=self._clock, publish=self._publish, prefilter_for=prefilter_for)
            thread = Supervised(f"bg/{name}", source.run, clock=self._clock, publish=self._publish)
            self._open[name] = (source, thread)
            thread.start()
        return self._open[name][0]


def choose_name(config: JailConfig) -> str:
    """Return the table name of the source a jail wants; SourceError for an unknown backend, or one that cannot work."""
    try:
        return resolve(config.backend, has_files=has_files(config), has_journalmatch=bool(config.filter.journalmatch))
    except SourceError as error:
        if config.backend.lower() not in {"inotify", "pyinotify"}:
            raise
        logger.warning("[%s] %s; using polling", config.name, error)
        return "polling"


def with_journal_where_no_log(config: Config) -> Config:
    """
    Let jails with `backend = auto` read the journal where no log file exists and the filter names a journalmatch.

    Their filters are read again: lines of the journal have another prefix (`logtype = journal`).
    """
    jails = dict(config.jails)
    problems = list(config.problems)
    for name, jail in config.jails.items():
        wants = jail.backend.lower() == "auto" and jail.systemd_if_nologs and jail.filter.journalmatch
        if not wants or has_files(jail):
            continue
        try:
            check_source("journald")
            jails[name] = load_jail(config.directory, name, backend="systemd")
        except SourceError as error:
            message = tell("no log file, and {reason}", code="backend-unusable", reason=why(error))
            problems.append(Problem(Severity.WARNING, message, name, jail.places.get("logpath")))
        except ConfigError as error:
            problems.append(Problem(Severity.ERROR, why(error), name, jail.places.get("filter")))
            del jails[name]
    return replace(config, jails=jails, problems=tuple(problems))


def has_files(config: JailConfig) -> bool:
    """Tell whether any file matches the jail's `logpath` now."""
    return any(next(glob.iglob(path.pattern), None) is not None for path in config.logpath)
