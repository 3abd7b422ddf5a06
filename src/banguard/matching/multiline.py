"""Rules that need earlier lines: maxlines windows and session ids."""

from __future__ import annotations

import re
from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from banguard.matching.patterns import Found
    from banguard.matching.shapes import Plan

# A session that is silent for so long is over.
SESSION_SECONDS = 300.0
# fail2ban keeps 100 and loses sessions when more are open at a time; an entry takes about 1 KiB.
SESSION_LIMIT = 10_000
# More lines of one session than any action could show are not kept.
SESSION_LINES = 64

_SEVERAL = object()  # stands for more than one user

_SKIPPED = re.compile(r"skiplines\d+\Z")


_ADDRESSES = ("ip4", "ip6", "dns")


class _Session:
    """What is known of one session; thousands of them are kept."""

    __slots__ = ("at", "data", "lines", "pending", "quiet", "quiet_lines", "told", "user")

    def __init__(self, data: dict[str, object], at: float) -> None:
        self.data = data
        self.at = at
        self.user: object = None  # the first one named
        self.lines: tuple[str, ...] = ()  # of a failure whose host is not known yet, or which was just reported
        self.quiet_lines: tuple[str, ...] = ()  # of matches that are no failure by themselves
        self.quiet = False  # the last match was no failure
        self.pending = False  # the last match was a failure of a host not known yet
        self.told = False  # the last failure may come again in other words

    def copy(self) -> _Session:
        """Return another one that knows the same."""
        twin = _Session(dict(self.data), self.at)
        for name in ("lines", "pending", "quiet", "quiet_lines", "told", "user"):
            setattr(twin, name, getattr(self, name))
        return twin


# A session of one line so far: its time, the line, what the rules find in lines of its shape, and the values of this
# one. Most sessions of an attack never get a second line.
_First = tuple[float, str, "Plan", tuple[str, ...]]


def _of_first(first: _First) -> _Session:
    """Return the session as `Sessions.add` leaves it behind the first line."""
    at, line, plan, values = first
    data: dict[str, object] = {**plan.data(values)}
    data.pop("mlfforget", None)
    session = _Session(data, at)
    session.user = data.get("user") or None
    session.quiet = plan.quiet
    if plan.quiet:
        session.quiet_lines = (line,)
    else:
        session.lines = (line,)
        session.told = not plan.again
    return session


class Sessions:
    """
    Failures that several lines of one session make together.

    The lines of a session share the text of `<F-MLFID>`. A line may be no failure by itself (`nofail`), may tell that
    access was gained after all (`mlfgained`) or that the session is over (`mlfforget`). Two users in one session make
    a failure of it all the same. A line may tell again (`mlfagain`) what the failure before it in the session told, and
    makes none then. Holds at most *limit* sessions; the one silent for longest goes first, and `lost` counts those that
    went before they were silent for *seconds*. Not thread-safe.
    """

    def __init__(self, *, limit: int = SESSION_LIMIT, seconds: float = SESSION_SECONDS) -> None:
        self._limit = limit
        # So many go at once when there is no room: to find the oldest takes longer than to drop it.
        self._surplus = limit // 128
        self._seconds = seconds
        self._sessions: OrderedDict[str, _Session | _First] = OrderedDict()
        self._now = 0.0
        # Before that time no session can be over.
        self._stale_at = float("-inf")
        self.lost = 0

    def __len__(self) -> int:
        return len(self._sessions)

    def add(
        self, key: str, data: dict[str, object], line: str, at: float | None
    ) -> tuple[dict[str, object], tuple[str, ...]] | None:
        """
        Take a match of session *key*; return the data and the lines of the failure it makes, None when it makes none.

        *data* are the groups of the match, which belong to the session from now on; *line* is the original line, *at*
        its time in epoch seconds (None: that of the line before). It is the time of the lines that ages a session, not
        the clock: a log that is read at once
        gives the failures that it gave while it grew, also where a process id comes again after days.
        """
        now = self._now = self._now if at is None else at
        gained = bool(data.get("mlfgained"))
        over = bool(data.pop("mlfforget", None))
        again = bool(data.get("mlfagain"))
        quiet = gained or bool(data.get("nofail"))
        user = data.get("user")
        session = self._find(key, now)
        several = False
        if session is None:
            session = _Session(data, now)
            if not over:
                self._keep(key, session)
            known = data
        else:
            if gained:
                session.pending = False
            if not session.quiet and not session.pending:
                session.lines = ()
            known = session.data
            if any(data.get(name) for name in _ADDRESSES):
                # The line has an address of its own: one of another family, of a line before, is not its host.
                for name in _ADDRESSES:
                    known.pop(name, None)
            for name, value in data.items():
                if value is not None:
                    known[name] = value
            if over:
                del self._sessions[key]
            several = session.user is _SEVERAL
        if user and session.user != user:
            several = several or session.user is not None
            session.user = _SEVERAL if several else user
        if session.pending or several:
            quiet = gained = session.pending = False
        session.quiet = quiet
        if quiet:
            if not over:
                session.quiet_lines = (*session.quiet_lines[1 - SESSION_LINES :], line)
            return None
        if again and session.told:
            session.told = False
            return None
        lines = (*session.quiet_lines, *session.lines) if session.quiet_lines else session.lines
        session.quiet_lines = ()
        if not gained:
            lines = (*lines, line) if lines else (line,)
        session.lines = lines = lines[-SESSION_LINES:]
        if not (known.get("ip4") or known.get("ip6") or known.get("dns") or known.get("fid")):
            session.pending = True
            return None
        session.told = not again
        return known.copy(), lines

    def clear(self) -> None:
        """Forget all sessions."""
        self._sessions.clear()

    def learn(self, other: Sessions, key: str) -> None:
        """Take over what *other* knows of session *key*, if it does."""
        session = other._sessions.get(key)
        if session is not None:
            self._sessions[key] = session if isinstance(session, tuple) else session.copy()

    def lines(self, key: str) -> tuple[str, ...]:
        """Return the lines of session *key* that wait for another one: quiet ones, and those without a host."""
        session = self._sessions.get(key)
        if isinstance(session, tuple):
            return (session[1],)
        return () if session is None else (*session.quiet_lines, *session.lines)

    def begin(self, key: str, plan: Plan, values: tuple[str, ...], line: str, at: float) -> bool:
        """
        Take a line as `add` does when it is the first of its session; tell whether it is.

        It has an address, unless it is *quiet* by its plan; whether it makes a failure is then plain.
        """
        sessions = self._sessions
        session = sessions.get(key)
        if session is not None:
            before = session[0] if isinstance(session, tuple) else session.at
            if before > at - self._seconds:
                return False
            del sessions[key]
        self._now = at
        if not plan.over:
            if at >= self._stale_at or len(sessions) >= self._limit:
                self._drop(at)
            sessions[key] = (at, line, plan, values)
        return True

    def _find(self, key: str, now: float) -> _Session | None:
        session = self._sessions.get(key)
        if session is None:
            return None
        if isinstance(session, tuple):
            session = self._sessions[key] = _of_first(session)
        if session.at <= now - self._seconds:
            del self._sessions[key]
            return None
        session.at = now
        self._sessions.move_to_end(key)
        return session

    def _keep(self, key: str, session: _Session) -> None:
        if session.at >= self._stale_at or len(self._sessions) >= self._limit:
            self._drop(session.at)
        self._sessions[key] = session

    def _drop(self, at: float) -> None:
        """Drop the sessions that are over at that time, and the oldest when there is no room for another."""
        room = self._limit if len(self._sessions) < self._limit else self._limit - self._surplus
        while self._sessions:
            oldest = next(iter(self._sessions.values()))
            began = oldest[0] if isinstance(oldest, tuple) else oldest.at
            stale = began <= at - self._seconds
            if not stale and len(self._sessions) < room:
                self._stale_at = began + self._seconds
                break
            self._sessions.popitem(last=False)
            self.lost += not stale
        else:
            self._stale_at = at + self._seconds


class LineWindow:
    """
    The last *maxlines* lines, matched as one text; lines that took part in a match leave it.

    Each line is held as its text without the date and as the original. Lines that `<SKIPLINES>` passed over stay.
    """

    def __init__(self, maxlines: int) -> None:
        self._maxlines = maxlines
        self._lines: list[tuple[str, str]] = []

    def add(self, text: str, line: str) -> str:
        """Take a line, let go the oldest if there are too many, and return the whole subject, each line ended."""
        self._lines.append((text + "\n", line))
        del self._lines[: -self._maxlines]
        return "".join(text for text, _ in self._lines)

    def subject(self, text: str, line: str) -> str:
        """Return what `add` would, and take nothing."""
        return self.copy().add(text, line)

    def copy(self) -> LineWindow:
        """Return another one that holds the same lines."""
        twin = LineWindow(self._maxlines)
        twin._lines = list(self._lines)
        return twin

    def matched(self, found: Found) -> tuple[int, ...]:
        """Return the indices of the lines that the match *found* covers; it is a match of the subject given last."""
        begin, end = found.span()
        if (found[0] or "").startswith("\n") and end > begin + 1:
            begin += 1  # the end of a line that is not meant itself
        skipped = [found.span(name) for name in found.re.groupindex if _SKIPPED.match(name)]
        indices = []
        start = 0
        for index, (text, _) in enumerate(self._lines):
            stop = start + len(text)
            touched = start < max(end, begin + 1) and stop > begin
            if touched and not any(left <= start and stop <= right for left, right in skipped):
                indices.append(index)
            start = stop
        return tuple(indices)

    def texts(self, indices: tuple[int, ...]) -> str:
        """Return the text of these lines, each ended."""
        return "".join(self._lines[index][0] for index in indices)

    def take(self, indices: tuple[int, ...]) -> tuple[str, ...]:
        """Remove these lines and return them as they were written."""
        taken = tuple(self._lines[index][1] for index in indices)
        self._lines = [line for index, line in enumerate(self._lines) if index not in indices]
        return taken
