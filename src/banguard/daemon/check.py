"""Check a configuration as far as that is possible without running it."""

from __future__ import annotations

from collections.abc import Iterator

from banguard.actions.dispatch import verify
from banguard.config.schema import Config, JailConfig, Place, Problem, Severity
from banguard.daemon.parts import check_encoding, make_rules
from banguard.daemon.pool import has_files
from banguard.errors import ActionError, ConfigError, SourceError
from banguard.sources import source_name


def check(config: Config, *, logs: bool = True) -> tuple[Problem, ...]:
    """Return everything that is wrong: what was found while reading, and what compiling and rendering shows."""
    found = (problem for jail in config.jails.values() for problem in check_jail(jail, logs=logs))
    return (*config.problems, *found)


def check_jail(jail: JailConfig, *, logs: bool = True) -> Iterator[Problem]:
    """
    Compile the regexes and dates of *jail*, render its actions, look for its log (*logs*).

    Yields a problem for each thing that is wrong.
    """
    journal = jail.backend.lower() in {"systemd", "journald"}
    if jail.backend == "history":
        logs = False
    elif jail.backend.lower() != "auto":
        try:
            source_name(jail.backend)
        except SourceError as error:
            yield _problem(jail, str(error), "backend")
    for test in (lambda: check_encoding(jail), lambda: make_rules(jail, journal=journal)):
        try:
            test()
        except ConfigError as error:
            place = Place(error.path, error.line or 1) if error.path else None
            yield Problem(Severity.ERROR, error.message, jail.name, place)
    for action in jail.actions:
        try:
            verify(action)
        except ActionError as error:
            place = Place(action.path, 1) if action.path else None
            yield Problem(Severity.ERROR, f"action {action.name!r}: {error}", jail.name, place)
    if not logs or journal:
        return
    if jail.logpath and not has_files(jail) and not (jail.filter.journalmatch and jail.systemd_if_nologs):
        patterns = " ".join(path.pattern for path in jail.logpath)
        severity = Severity.WARNING if jail.skip_if_nologs else Severity.ERROR
        yield Problem(
            severity,
            f"Have not found any log file for '{jail.name}' jail: nothing matches {patterns}",
            jail.name,
            jail.places.get("logpath"),
        )
    elif not jail.logpath and not jail.filter.journalmatch and jail.filter.failregex:
        yield Problem(
            Severity.ERROR, "there is no logpath, so nothing can be read", jail.name, jail.places.get("filter")
        )


def _problem(jail: JailConfig, message: str, option: str) -> Problem:
    return Problem(Severity.ERROR, message, jail.name, jail.places.get(option))
