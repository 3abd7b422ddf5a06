from __future__ import annotations

import threading

import pytest

from banguard.actions import worker as module
from banguard.actions.base import Step
from banguard.actions.worker import Worker
from banguard.clock import SystemClock
from banguard.errors import ActionError
from banguard.model import ActionFailed, Ban


class Plain(Worker):
    """Counts what waits and does it."""

    def __init__(self, **more):
        super().__init__("plain", **{"clock": SystemClock(), "publish": lambda _: None, **more})
        self.waiting = 0
        self.done = []

    def put(self, number):
        with self._lock:
            self.waiting += number
            self._wake()

    def _work(self):
        with self._lock:
            number, self.waiting = self.waiting, 0
        self.done.append(number)

    def _delay(self):
        return 0.0 if self.waiting else None

    def _waiting(self):
        return self.waiting


@pytest.fixture
def short_linger(monkeypatch):
    monkeypatch.setattr(module, "LINGER", 0.05)


def ended(worker):
    """Wait for the end of the worker's thread."""
    thread = worker._thread
    if thread is not None:
        thread.join(10)
    return worker._thread is None


def test_no_thread_before_there_is_something_to_do(short_linger):
    """The thread comes with the first change, goes when idle, and comes again."""
    worker = Plain()
    assert worker._thread is None
    worker.put(3)
    assert ended(worker)
    worker.put(4)
    assert ended(worker)
    assert 7 == sum(worker.done)
    assert worker.is_idle()


def test_orders_run_in_order_and_before_changes():
    """One after another, in the worker's thread."""
    worker = Plain()
    seen = []
    for number in range(3):
        worker.order(lambda number=number: seen.append((number, threading.current_thread().name)))
    worker.close()
    assert worker.join(10)
    assert [(0, "plain"), (1, "plain"), (2, "plain")] == seen


def test_ask_returns_the_answer_or_the_error():
    """A question from another thread is answered in the worker's."""
    worker = Plain()
    assert "plain" == worker.ask(lambda: threading.current_thread().name, 10)

    def fail():
        raise ActionError("no")

    with pytest.raises(ActionError, match="no"):
        worker.ask(fail, 10)
    hold = threading.Event()
    worker.order(lambda: hold.wait(10))
    with pytest.raises(ActionError, match="plain is busy; no answer within 0.05 s"):
        worker.ask(lambda: 1, 0.05)
    hold.set()
    worker.close()
    assert worker.join(10)


def test_closing_does_all_orders_first():
    """What was ordered before is carried out; a closed worker ends at once."""
    worker = Plain()
    hold = threading.Event()
    seen = []
    worker.order(lambda: hold.wait(10))
    worker.order(lambda: seen.append(1))
    worker.close()
    assert not worker.join(0.01)
    hold.set()
    assert worker.join(10)
    assert [1] == seen


def test_a_crash_ends_the_thread_and_the_next_change_starts_another():
    """What nobody foresaw stops one round, not the worker."""
    crashed = []

    def start(name, body):
        def guarded():
            try:
                body()
            except RuntimeError as error:
                crashed.append(str(error))

        thread = threading.Thread(target=guarded, name=name)
        thread.start()
        return thread

    def fail():
        raise RuntimeError("unforeseen")

    worker = Plain(start_thread=start)
    worker.order(fail)
    assert ended(worker)
    worker.put(5)
    worker.close()
    assert worker.join(10)
    assert ["unforeseen"] == crashed


def test_idle_means_nothing_under_way():
    """Neither orders nor changes nor a round."""
    worker = Plain()
    hold, began = threading.Event(), threading.Event()
    worker.order(lambda: (began.set(), hold.wait(10)))
    assert began.wait(10)
    assert not worker.is_idle()
    hold.set()
    worker.close()
    assert worker.join(10)
    assert worker.is_idle()


@pytest.mark.parametrize(
    ("hosts", "line"),
    [
        ([], "Failed to ban jail 'j' action 'a': why"),
        (["192.0.2.1"], "Failed to execute ban jail 'j' action 'a' info '192.0.2.1': why"),
        (["1", "2", "3", "4"], "Failed to execute ban jail 'j' action 'a' info 4 hosts (1, 2, 3, …): why"),
    ],
)
def test_reports(caplog, hosts, line):
    """One line, and one fact with all hosts."""
    facts = []
    worker = Plain(publish=facts.append)
    worker._report("j", "a", "ban", [Step("m", host, None, Ban("j", host, 0.0, None)) for host in hosts], "why")
    assert [line] == [record.getMessage() for record in caplog.records]
    assert [("j", "a", "why", tuple(hosts))] == [
        (fact.jail, fact.action, fact.message, fact.hosts) for fact in facts if isinstance(fact, ActionFailed)
    ]
