"""Make the rules of a filter: for lines of text, or for JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from banguard.matching.rules import FilterRules


class FilterText(Protocol):
    """What a configuration says of a filter; see `FilterRules` and `fields.JsonRules`."""

    @property
    def failregex(self) -> Sequence[str]:
        """Regexes of failures."""
        ...

    @property
    def ignoreregex(self) -> Sequence[str]:
        """Regexes of lines that do not count."""
        ...

    @property
    def successregex(self) -> Sequence[str]:
        """Regexes of successful logins."""
        ...

    @property
    def prefregex(self) -> str:
        """The regex each line has to match."""
        ...

    @property
    def maxlines(self) -> int:
        """Lines that a regex may span."""
        ...

    @property
    def datepattern(self) -> str | None:
        """The form of the date."""
        ...

    @property
    def logformat(self) -> str:
        """`json`, or nothing for text."""
        ...

    @property
    def fields(self) -> Sequence[tuple[str, Sequence[str]]]:
        """Conditions on fields."""
        ...

    @property
    def datefield(self) -> str:
        """The field with the time."""
        ...


def make_rules(
    text: FilterText,
    *,
    usedns: str = "warn",
    timezone: str | None = None,
    journal: bool = False,
    any_year: bool = False,
    successes: bool = False,
) -> FilterRules:
    """
    Compile a filter; *successes*: tell of successful logins too.

    Raise PatternError when one of its regexes, or its date pattern, cannot be used.
    """
    options: dict[str, Any] = {
        "failregex": text.failregex,
        "ignoreregex": text.ignoreregex,
        "successregex": text.successregex if successes else None,
        "prefregex": text.prefregex,
        "maxlines": text.maxlines,
        "datepattern": text.datepattern,
        "usedns": usedns,
        "timezone": timezone,
        "journal": journal,
        "any_year": any_year,
    }
    if text.logformat == "json":
        from banguard.matching.fields import JsonRules  # noqa: PLC0415  few logs hold JSON

        return JsonRules(fields=text.fields, datefield=text.datefield, **options)
    return FilterRules(**options)
