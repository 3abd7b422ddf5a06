"""One jail: rules, ignore list, failure counter. No thread."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from banguard.clock import Clock
from banguard.config.schema import JailConfig
from banguard.jails.ignore import IgnoreRules
from banguard.jails.resolver import Resolver
from banguard.model import Candidates, Cursor, Fact, FailureState, JailReport, JailStats

if TYPE_CHECKING:
    from banguard.matching import FilterRules

Offender = Callable[[str], tuple[int, float] | None]
"""Tells how often a host was banned here before and when last (epoch seconds); None when never."""


class Jail:
    """Turns candidate lines into failures and ban decisions. Used by one thread."""

    def __init__(
        self,
        config: JailConfig,
        rules: FilterRules,
        *,
        clock: Clock,
        ignore: IgnoreRules,
        resolver: Resolver,
        publish: Callable[[Fact], None],
        offender: Offender | None = None,
    ) -> None:
        """*offender* is asked for each failure when `bantime.increment` is on: known offenders count more."""
        raise NotImplementedError

    @property
    def name(self) -> str:
        """The jail's name."""
        raise NotImplementedError

    def feed(self, candidates: Candidates, go_on: Callable[[], bool] | None = None) -> bool:
        """
        Count the failures in *candidates*.

        A block that takes long (host names, `ignorecommand`) calls *go_on* between lines about four times a second;
        when that says False the block is given up and False is returned: no further report must then be made.
        """
        raise NotImplementedError

    def attempt(self, host: str, lines: Sequence[str] = ()) -> int:
        """Count one failure of *host* per line, at least one; return 1, or 0 when the ignore rules spare it."""
        raise NotImplementedError

    def report(self) -> JailReport | None:
        """Return what came of everything fed since the last report; None when nothing did."""
        raise NotImplementedError

    def reconfigure(self, config: JailConfig, rules: FilterRules | None = None, ignore: IgnoreRules | None = None) -> None:
        """Put a new configuration in force; counts and positions stay."""
        raise NotImplementedError

    def restore(self, states: Sequence[FailureState]) -> None:
        """Take over what the failure counter held when the last report was made in an earlier run."""
        raise NotImplementedError

    def cursors(self) -> tuple[Cursor, ...]:
        """Return the positions behind the last lines counted, one per log."""
        raise NotImplementedError

    def stats(self) -> JailStats:
        """Return the jail's numbers as of now."""
        raise NotImplementedError
