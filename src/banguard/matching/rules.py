"""FilterRules: prefregex, failregex, ignoreregex on one line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Status = Literal["matched", "nofail", "ignored", "missed"]


class DatedLine:
    """
    A line whose date was found and cut out.

    *line* is the whole line, *text* what the regexes see, *time* the date in epoch seconds (None when no date was
    found or it is impossible), *template* the name of the date template that found it ("" when none did).
    """

    __slots__ = ("line", "now", "template", "text", "time")

    def __init__(self, line: str, text: str, time: float | None, template: str, now: float) -> None:
        self.line = line
        self.text = text
        self.time = time
        self.template = template
        self.now = now


@dataclass(frozen=True, slots=True)
class Match:
    """
    One failure that a line stands for.

    *kind* is `address` (*id* is canonical, or as written with `usedns=raw`), `name` (*id* is a host name that the jail
    has to look up) or `id` (any text). *host* is the address or name as written. *groups* are the captured groups,
    those of earlier lines of the session included; *lines* the original lines that belong to it; *time* the epoch
    seconds given to `match`; *rule* the number of the failregex, from 1.
    """

    kind: Literal["address", "name", "id"]
    id: str
    host: str
    time: float | None
    groups: Mapping[str, str | None]
    lines: tuple[str, ...]
    rule: int

    @property
    def user(self) -> str | None:
        """The user name caught, None when there is none."""
        return self.groups.get("user")


@dataclass(frozen=True, slots=True)
class LineResult:
    """
    What became of a line.

    `matched`: it is a failure (*matches*); `nofail`: a failregex matched, but it only feeds its session; `ignored`: an
    ignoreregex matched; `missed`: nothing matched. *rule* is the number (from 1) of the failregex that matched, 0 when
    none. *rules* are the numbers of all that matched, more than one only with `check_all`. *rejected* is the text that
    stood where an address must, when that was no address (such a match does not count).
    """

    status: Status
    matches: tuple[Match, ...] = ()
    rule: int = 0
    rules: tuple[int, ...] = ()
    rejected: str = ""


class FilterRules:
    """
    The rules of one jail and what they remember from line to line.

    One instance per jail, not thread-safe: it holds the order of date templates, the buffer of multi-line rules and
    the cache of sessions. `PatternError` when a regex or date pattern cannot be used; its `.pattern` is the user's
    text. `usedns=no` makes <HOST> match addresses only. *maxlines* above 1 matches over the last lines together.
    """

    def __init__(
        self,
        *,
        failregex: Sequence[str],
        ignoreregex: Sequence[str] = (),
        prefregex: str = "",
        maxlines: int = 1,
        datepattern: str | None = None,
        usedns: str = "warn",
        timezone: str | None = None,
        journal: bool = False,
        any_year: bool = False,
    ) -> None:
        raise NotImplementedError

    def date(self, line: str, now: float, given_time: float | None = None) -> DatedLine:
        """
        Find, parse and cut out the date of *line* (which has no newline).

        *now* (epoch seconds) completes dates without year or day. *given_time* is the time of a journal entry: no date
        is then looked for in the text.
        """
        raise NotImplementedError

    def match(self, dated: DatedLine, at: float | None, *, check_all: bool = False) -> LineResult:
        """
        Try prefregex, failregex and ignoreregex, sessions and the multi-line buffer; *at* is the time of the failure.

        With *check_all* every failregex is tried and its hits counted; the result is the same.
        """
        raise NotImplementedError
