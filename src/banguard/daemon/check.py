"""Check a configuration as far as that is possible without running it."""

from __future__ import annotations

from collections.abc import Iterator

from banguard.actions.dispatch import verify
from banguard.config.schema import Config, JailConfig, Place, Problem, Severity
from banguard.daemon.parts import check_encoding, deaf, make_rules
from banguard.daemon.pool import has_files
from banguard.errors import ActionError, ConfigError, SourceError
from banguard.matching import FilterRules
from banguard.message import tell, why
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
            yield _problem(jail, tell("{reason}", code="backend-unusable", reason=why(error)), "backend")
    try:
        check_encoding(jail)
    except ConfigError as error:
        yield _refused(jail, error)
    try:
        yield from _hazards(jail, make_rules(jail, journal=journal))
    except ConfigError as error:
        yield _refused(jail, error)
    if (message := deaf(jail)) and jail.actions:
        yield Problem(Severity.WARNING, message, jail.name, jail.places.get("bantime.quiet"))
    for action in jail.actions:
        try:
            verify(action)
        except ActionError as error:
            place = Place(action.path, 1) if action.path else None
            message = tell("action {name!r}: {reason}", code="action-broken", name=action.name, reason=why(error))
            yield Problem(Severity.ERROR, message, jail.name, place)
    if not logs or journal:
        return
    if jail.logpath and not has_files(jail) and not (jail.filter.journalmatch and jail.systemd_if_nologs):
        patterns = " ".join(path.pattern for path in jail.logpath)
        severity = Severity.WARNING if jail.skip_if_nologs else Severity.ERROR
        yield Problem(
            severity,
            tell(
                "Have not found any log file for '{jail}' jail: nothing matches {patterns}",
                code="log-missing",
                jail=jail.name,
                patterns=patterns,
            ),
            jail.name,
            jail.places.get("logpath"),
        )
    elif not (jail.logpath or jail.filter.journalmatch) and (jail.filter.failregex or jail.filter.fields):
        message = tell("there is no logpath, so nothing can be read", code="log-none")
        yield Problem(Severity.ERROR, message, jail.name, jail.places.get("filter"))


def _hazards(jail: JailConfig, rules: FilterRules) -> Iterator[Problem]:
    """Warn of each regex that a line could keep busy."""
    for name, pattern in rules.patterns:
        if not (pattern.explodes or pattern.unbounded):
            continue
        then = tell("it is matched with bounded effort, which is slower")
        if pattern.unbounded:
            then = tell("it cannot be matched with bounded effort either, so that one line could stop the server")
        message = tell(
            "{option} {regex!r}: the time for a line can double with each of its characters, {then}; "
            "repeat no group that holds a repeat",
            code="regex-slow",
            option=name.partition("[")[0],
            regex=pattern.text,
            then=then,
        )
        place = jail.filter.places.get(name) or jail.places.get("filter")
        yield Problem(Severity.WARNING, message, jail.name, place)


def _refused(jail: JailConfig, error: ConfigError) -> Problem:
    place = Place(error.path, error.line or 1) if error.path else None
    return Problem(Severity.ERROR, error.message, jail.name, place)


def _problem(jail: JailConfig, message: str, option: str) -> Problem:
    return Problem(Severity.ERROR, message, jail.name, jail.places.get(option))
