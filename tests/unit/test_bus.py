"""Tests of banguard.bus."""

from __future__ import annotations

import logging

import pytest

from banguard.bus import Bus
from banguard.model import Fact, SourceRotated


def test_every_observer_hears_every_fact() -> None:
    """What is published reaches all who listen, and is counted by its kind."""
    bus = Bus()
    first: list[Fact] = []
    second: list[Fact] = []
    bus.subscribe(first.append)
    bus.subscribe(second.append)
    fact = SourceRotated(1.0, "a.log")
    bus.publish(fact)
    bus.unsubscribe(first.append)
    bus.publish(fact)
    assert [fact] == first
    assert [fact, fact] == second
    assert 2 == bus.published["SourceRotated"]


def test_an_observer_that_raises_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    """A broken observer is logged; the publisher goes on and the others still hear."""

    def broken(fact: Fact) -> None:
        raise RuntimeError(str(fact.at))

    bus = Bus()
    heard: list[Fact] = []
    bus.subscribe(broken)
    bus.subscribe(heard.append)
    with caplog.at_level(logging.ERROR):
        bus.publish(Fact(1.0))
    assert [Fact(1.0)] == heard
    assert "An observer failed on Fact" in caplog.text
