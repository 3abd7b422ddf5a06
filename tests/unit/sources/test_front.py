from __future__ import annotations

import threading

import pytest

from banguard.sources.front import Front


def test_orders_are_carried_out_in_their_order():
    """What other threads ask for is done by the thread that carries out, in order, and each wakes it."""
    wakes, done = [], []
    front = Front(lambda: wakes.append(1))
    front.order(lambda: done.append("a"))
    front.order(lambda: done.append("b"))
    assert [] == done
    assert front.carry_out()
    assert (["a", "b"], 2) == (done, len(wakes))
    assert not front.carry_out()


def test_waiting_for_an_order():
    """An order that is waited for has been carried out when the call returns."""
    woken = threading.Event()
    front = Front(woken.set)
    ready, done = threading.Event(), []

    def serve():
        with front.serving():
            ready.set()
            woken.wait(5)
            front.carry_out()

    thread = threading.Thread(target=serve)
    thread.start()
    ready.wait(5)
    front.order(lambda: done.append(1), wait=True)
    assert [1] == done
    thread.join()


def test_nobody_waits_when_nothing_runs():
    """Before the thread runs, and in it, an order is only noted."""
    front = Front(lambda: None)
    front.order(lambda: None, wait=True)
    with front.serving():
        front.order(lambda: None, wait=True)
    assert front.carry_out()


def test_an_order_that_fails_lets_its_sender_go():
    """An error comes out where orders are carried out; who waits is let go."""
    woken = threading.Event()
    front = Front(woken.set)
    ready, errors = threading.Event(), []

    def serve():
        with front.serving():
            ready.set()
            woken.wait(5)
            with pytest.raises(RuntimeError):
                front.carry_out()
            errors.append(1)

    def fail():
        raise RuntimeError

    thread = threading.Thread(target=serve)
    thread.start()
    ready.wait(5)
    front.order(fail, wait=True)
    thread.join()
    assert [1] == errors
