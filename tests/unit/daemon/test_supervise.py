"""Tests of banguard.daemon.supervise."""

from __future__ import annotations

import threading

import pytest

from banguard.daemon import supervise
from banguard.model import Fact, ThreadCrashed


@pytest.fixture(autouse=True)
def short_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervise, "FIRST_PAUSE", 0.001)


def test_a_crash_is_told_and_the_body_runs_again(clock, caplog: pytest.LogCaptureFixture) -> None:
    """A body that raises twice is run three times, and each crash is logged and published."""
    runs: list[int] = []
    facts: list[Fact] = []

    def body(stop: threading.Event) -> None:
        runs.append(1)
        if len(runs) < 3:
            raise RuntimeError("broken")

    thread = supervise.Supervised("bg/test", body, clock=clock, publish=facts.append)
    thread.start()
    assert thread.join(5)
    assert 3 == len(runs)
    assert 2 == thread.crashes
    assert [ThreadCrashed, ThreadCrashed] == [type(fact) for fact in facts]
    assert "Thread bg/test crashed" in caplog.text


def test_a_body_told_to_stop_is_not_run_again(clock) -> None:
    """After the word to stop, a crash ends the thread."""
    began = threading.Event()
    runs: list[int] = []

    def body(stop: threading.Event) -> None:
        runs.append(1)
        began.set()
        stop.wait(5)
        raise RuntimeError("on the way out")

    thread = supervise.Supervised("bg/test", body, clock=clock, publish=lambda fact: None)
    thread.start()
    assert began.wait(5)
    assert thread.alive
    thread.tell_to_stop()
    assert thread.join(5)
    assert 1 == len(runs)
