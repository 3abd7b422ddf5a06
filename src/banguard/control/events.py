"""What happens in the server as plain events, in a bounded queue for whoever watches."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import fields, replace

from banguard.control.api import JsonValue, ServerApi
from banguard.control.values import number
from banguard.inbox import Inbox
from banguard.model import (
    ActionFailed,
    Ban,
    Banned,
    ConfigReloaded,
    Fact,
    FailureFound,
    FirewallLost,
    FirewallMended,
    Origin,
    SourceMended,
    SourceRotated,
    SourceTrouble,
    ThreadCrashed,
    Unbanned,
)

LIMIT = 5_000
"""Events that wait for one slow reader; what comes beyond is counted and left out."""
LINE_LIMIT = 1_000
"""Characters of a log line that an event tells."""

Event = Mapping[str, JsonValue]


class Watch:
    """What one client watches: the queue is told of facts from the beginning to `close`."""

    def __init__(self, api: ServerApi, jails: Collection[str]) -> None:
        self._api = api
        self._queue = EventQueue(jails)
        api.subscribe(self._queue)

    def take(self, timeout: float) -> Sequence[Event] | None:
        """Return the next events, see `EventQueue.take`."""
        return self._queue.take(timeout)

    def close(self) -> None:
        """Keep nothing more."""
        self._api.unsubscribe(self._queue)
        self._queue.close()


class EventQueue:
    """
    An observer of the bus that keeps what happens until it is taken, and counts what there was no room for.

    Called by the threads in which things happen, it neither blocks nor raises. With *jails* only what concerns these,
    or the server as a whole, is kept. The lock guards the count of losses: two threads may lose an event at once.
    """

    def __init__(self, jails: Collection[str] = (), *, limit: int = LIMIT) -> None:
        self._jails = frozenset(jails)
        self._ended = False
        self._inbox: Inbox[Fact] = Inbox(limit)
        self._lock = threading.Lock()
        self._lost = 0

    def __call__(self, fact: Fact) -> None:
        """Keep *fact*, or count it as lost."""
        if self._jails and not self._jails.intersection(_jails_of(fact) or self._jails):
            return
        if isinstance(fact, FailureFound) and len(fact.line) > LINE_LIMIT:
            fact = replace(fact, line=fact.line[:LINE_LIMIT])  # a queue of long lines would be large
        if not self._inbox.offer(fact) and not self._inbox.closed:
            with self._lock:
                self._lost += 1

    def take(self, timeout: float) -> Sequence[Event] | None:
        """
        Return what happened, waiting up to *timeout* seconds for the first.

        Where events were lost, one named `lost` with their `count` stands in their place. After `close` the last event
        is `stopped`, and behind it comes None.
        """
        facts = self._inbox.get_all(timeout)
        with self._lock:
            lost, self._lost = self._lost, 0
        events = [event_of(fact) for fact in facts]
        if lost:
            events.append({"event": "lost", "count": lost})
        if not events and self._inbox.closed:
            if self._ended:
                return None
            self._ended = True
            events.append({"event": "stopped"})
        return events

    def close(self) -> None:
        """Keep nothing more; `take` returns what is there, then None."""
        self._inbox.close()


def event_of(fact: Fact) -> Event:
    """Return *fact* as a client is told of it; `at` is epoch seconds, the log's own for `found`."""
    make = _EVENTS.get(type(fact), _any)
    event = make(fact)
    return {"event": event.pop("event"), "at": number(round(fact.at, 3)), **event}


def _jails_of(fact: Fact) -> Collection[str]:
    """Return the jails that *fact* is about; none when it is about the server as a whole."""
    ban = getattr(fact, "ban", None)
    jail = ban.jail if isinstance(ban, Ban) else getattr(fact, "jail", None)
    return (jail,) if isinstance(jail, str) else getattr(fact, "jails", ())


# ---- one function for each kind of fact


def _any(fact: Fact) -> dict[str, JsonValue]:
    """Return a fact of a kind that stands not in the table: its name and its plain fields."""
    event: dict[str, JsonValue] = {"event": re.sub(r"(?<!^)(?=[A-Z])", "_", type(fact).__name__).lower()}
    ban = getattr(fact, "ban", None)
    if isinstance(ban, Ban):
        event |= _ban(ban)
    for field in fields(fact):
        value = getattr(fact, field.name)
        if isinstance(value, tuple):
            value = [str(item) for item in value]
        if isinstance(value, str | int | float | list):
            event[field.name] = value
    event.pop("at", None)
    return event


def _ban(ban: Ban) -> dict[str, JsonValue]:
    return {
        "jail": ban.jail,
        "id": ban.host,
        "since": number(ban.since),
        "until": number(ban.until),
        "count": ban.count,
        "failures": ban.failures,
        "origin": ban.origin.value,
    }


def _found(fact: FailureFound) -> dict[str, JsonValue]:
    return {"event": "found", "jail": fact.jail, "id": fact.host, "line": fact.line}


def _banned(fact: Banned) -> dict[str, JsonValue]:
    return {"event": "restored" if fact.ban.origin is Origin.RESTORED else "ban", **_ban(fact.ban)}


def _unbanned(fact: Unbanned) -> dict[str, JsonValue]:
    return {"event": "unban", **_ban(fact.ban), "reason": fact.reason}


def _action_failed(fact: ActionFailed) -> dict[str, JsonValue]:
    return {
        "event": "not_enforced" if fact.hosts else "action_failed",
        "jail": fact.jail,
        "action": fact.action,
        "ids": list(fact.hosts),
        "message": fact.message,
    }


def _firewall(fact: FirewallLost | FirewallMended) -> dict[str, JsonValue]:
    lost = isinstance(fact, FirewallLost)
    return {
        "event": "firewall_lost" if lost else "firewall_mended",
        "firewall": fact.firewall,
        "jails": list(fact.jails),
    }


def _log(fact: SourceTrouble | SourceMended | SourceRotated) -> dict[str, JsonValue]:
    if isinstance(fact, SourceTrouble):
        return {"event": "log_lost", "log": fact.log, "message": fact.message}
    return {"event": "log_mended" if isinstance(fact, SourceMended) else "log_rotated", "log": fact.log}


def _crashed(fact: ThreadCrashed) -> dict[str, JsonValue]:
    return {"event": "crashed", "thread": fact.thread, "message": fact.message}


def _reloaded(fact: ConfigReloaded) -> dict[str, JsonValue]:
    return {
        "event": "reload",
        "added": list(fact.added),
        "changed": list(fact.changed),
        "removed": list(fact.removed),
    }


_EVENTS: Mapping[type[Fact], Callable[..., dict[str, JsonValue]]] = {
    FailureFound: _found,
    Banned: _banned,
    Unbanned: _unbanned,
    ActionFailed: _action_failed,
    FirewallLost: _firewall,
    FirewallMended: _firewall,
    SourceTrouble: _log,
    SourceMended: _log,
    SourceRotated: _log,
    ThreadCrashed: _crashed,
    ConfigReloaded: _reloaded,
}
