"""Collect what is wrong in the configuration, each thing once."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from banguard.config.ini import DEFAULT, INCLUDES, Fault
from banguard.config.schema import Place, Problem, Severity
from banguard.errors import ConfigError


class Report:
    """Problems in the order in which they were found."""

    def __init__(self) -> None:
        self._problems: dict[Problem, None] = {}

    @property
    def problems(self) -> tuple[Problem, ...]:
        """All of them."""
        return tuple(self._problems)

    def error(self, message: str, *, jail: str = "", place: Place | None = None) -> None:
        """Keep something that makes *jail* (or the server) unusable."""
        self._problems.setdefault(Problem(Severity.ERROR, message, jail, place))

    def warning(self, message: str, *, jail: str = "", place: Place | None = None) -> None:
        """Keep something that the administrator should look at."""
        self._problems.setdefault(Problem(Severity.WARNING, message, jail, place))

    def raised(self, error: ConfigError, *, jail: str = "", place: Place | None = None) -> None:
        """Keep an error that was raised; *place* is used when it has none of its own."""
        own = Place(error.path, error.line or 0) if error.path is not None else place
        self.error(error.message, jail=jail, place=own)

    def faults(self, faults: Iterable[Fault], *, jail: str = "") -> None:
        """Keep the faults of the files of one filter or action that *jail* uses, or of the server."""
        for fault in faults:
            self.error(fault.message, jail=jail, place=Place(fault.path, fault.line))

    def jail_faults(self, faults: Iterable[Fault], only: Collection[str] | None) -> None:
        """Keep the faults of the files of jails; those within a section belong to that jail, if it is among *only*."""
        for fault in faults:
            jail = fault.section.partition("?")[0]
            if jail in (DEFAULT, INCLUDES):
                jail = ""
            if not jail or only is None or jail in only:
                self.error(fault.message, jail=jail, place=Place(fault.path, fault.line))

    def has_error(self, jail: str) -> bool:
        """Tell whether *jail* has an error."""
        return any(problem.jail == jail and problem.severity is Severity.ERROR for problem in self._problems)

    def raise_first(self) -> None:
        """Raise the first error as ConfigError, if there is any."""
        for problem in self._problems:
            if problem.severity is Severity.ERROR:
                place = problem.place
                raise ConfigError(
                    problem.message, path=place.path if place else None, line=place.line or None if place else None
                )
