"""What the tests of sources share: a hub on real files, driven by hand."""

from __future__ import annotations

import pytest

from banguard.config.schema import LogPath
from banguard.inbox import Inbox
from banguard.model import Fact
from banguard.sources.base import Subscription
from banguard.sources.hub import Hub


class Reading:
    """A hub with jails whose lines are collected; every `poll` reads until nothing is left."""

    def __init__(self, clock, **options) -> None:
        self.clock = clock
        self.facts: list[Fact] = []
        self.hub = Hub(clock=clock, publish=self.facts.append, **options)
        self.inboxes: dict[str, Inbox] = {}
        self.taken: dict[str, list] = {}

    def subscribe(self, jail, *patterns, tail=False, inbox=None, **values) -> None:
        if inbox is not None or jail not in self.inboxes:
            self.inboxes[jail] = Inbox() if inbox is None else inbox
        self.taken.setdefault(jail, [])
        logpath = tuple(LogPath(str(pattern), tail) for pattern in patterns)
        self.hub.subscribe(Subscription(jail, self.inboxes[jail], logpath, **{"encoding": "utf-8", **values}))

    def poll(self, changed=None) -> float | None:
        delay = self.hub.poll(changed)
        self.collect()
        while delay == 0:
            delay = self.hub.poll(changed)
            self.collect()
        return delay

    def collect(self) -> None:
        for jail, inbox in self.inboxes.items():
            self.taken[jail] += inbox.get_all(0)

    def blocks(self, jail="j"):
        return [candidates for candidates in self.taken[jail] if candidates.block]

    def lines(self, jail="j") -> list[bytes]:
        """Return the lines of a jail that came since this was asked last."""
        self.poll()
        found = []
        for candidates in self.taken[jail]:
            if candidates.spans is None:
                found += candidates.block.split(b"\n")[:-1]
            else:
                found += [candidates.block[start:end] for start, end in candidates.spans]
        self.taken[jail].clear()
        return found

    def cursors(self, jail="j") -> dict:
        """Return the last position of each log, as a jail keeps it; call before `lines`."""
        self.poll()
        return {candidates.cursor.log: candidates.cursor for candidates in self.taken[jail]}


@pytest.fixture
def reading(clock):
    made = []

    def make(**options) -> Reading:
        made.append(Reading(clock, **options))
        return made[-1]

    yield make
    for each in made:
        each.hub.close()
