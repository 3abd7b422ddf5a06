"""The time at which a line counts, or that it is too old to count."""

from __future__ import annotations

import logging
import time

logger = logging.getLogger("banguard.filter")

NEAR = 60.0
"""Seconds a live line may differ from now without a word, and for which an undated line takes the last date."""

DAY = 86400.0

_MAX_SUBJECTS = 1000


def clock_text(at: float) -> str:
    """Return *at* (epoch seconds) as log lines give it: `2026-11-20 22:27:27`, local time."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))


class OnceADay:
    """Says whether something may be said again; keeps the log from filling with one and the same warning."""

    def __init__(self) -> None:
        self._said: dict[str, float] = {}

    def may(self, subject: str, now: float) -> bool:
        """Tell whether *subject* was not said within the last day (*now* in epoch seconds); it counts as said then."""
        said = self._said.get(subject)
        if said is not None and said <= now < said + DAY:
            return False
        if len(self._said) >= _MAX_SUBJECTS:
            self._said.clear()
        self._said[subject] = now
        return True


def judged(date: float, now: float, findtime: float, *, live: bool) -> tuple[float | None, str, str]:
    """
    Return when a line dated *date* counts (None: it is skipped), what is remarkable about it, and what follows of that.

    The last two are empty when nothing is: the subject is `future`, `old`, `old live` or `late`.
    """
    if date > now:
        return now, "future" if live and date > now + NEAR else "", "it counts as of now"
    if date < now - (max(findtime, NEAR) if live else findtime):
        return None, "old live" if live else "old", "it is skipped, being older than findtime"
    return date, "late" if live and date < now - NEAR else "", "it counts at its own time"


class TimePolicy:
    """
    Decides at which time a line counts.

    A log is *live* once it was read to its end; before that its past is caught up with.

    ==================  ===========================================  =============================================
    date in the line    live                                         catching up
    ==================  ===========================================  =============================================
    up to 60 s old      its own time                                 its own time
    up to findtime old  its own time, a warning a day                its own time
    older               skipped, a warning a day (never a line up    skipped, a warning a day
                        to 60 s old, however short findtime is)
    in the future       now, a warning a day when more than 60 s     now
    none                the last date seen if at most 60 s old,      the last date seen if at most 60 s old,
                        else now                                     else the match does not count
    ==================  ===========================================  =============================================

    A line that arrives late therefore counts where it belongs and is no reason for a ban when the failures lie further
    apart than findtime; fail2ban takes every live line that is more than 60 s off as one of now. The price: a log whose
    dates are off by more than findtime (a wrong time zone) is not counted at all, which is what the warning says.
    """

    def __init__(self, jail: str, findtime: float) -> None:
        self.findtime = findtime
        self._jail = jail
        self._once = OnceADay()

    def dated(self, date: float, now: float, *, live: bool) -> float | None:
        """Return when a line dated *date* counts as of *now* (all in epoch seconds); None: it is to be skipped."""
        if 0.0 <= now - date <= NEAR and now - date <= self.findtime:
            return date
        at, subject, consequence = judged(date, now, self.findtime, live=live)
        if subject:
            self._warn(subject, date, now, consequence)
        return at

    def undated(self, last: float | None, now: float, *, live: bool) -> float | None:
        """Return when a line without a date counts, *last* being the nearest date before it; None: not at all."""
        if last is not None and last >= now - NEAR:
            return min(last, now)
        return now if live else None

    def warn_undated(self, now: float, *, counted: bool) -> None:
        """Tell, once a day, of a match in a line without a date."""
        if self._once.may("undated", now):
            logger.warning(
                "[%s] A line without a usable date matched and %s. Check datepattern with banguard-regex.",
                self._jail,
                "counts as of now" if counted else "does not count, because the log is not read to its end yet",
            )

    def _warn(self, subject: str, date: float, now: float, consequence: str) -> None:
        if not self._once.may(subject, now):
            return
        off = abs(now - date)
        logger.warning(
            "[%s] A log entry of %s is %.0f seconds %s now: %s.%s",
            self._jail,
            clock_text(date),
            off,
            "before" if date < now else "after",
            consequence,
            "" if subject == "old" else " Check the clocks, the time zone (logtimezone) and how the log gets here.",
        )
