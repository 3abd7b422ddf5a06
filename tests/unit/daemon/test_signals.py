import os
import signal
import threading

import pytest

from banguard.daemon.signals import Wish, Wishes


@pytest.fixture
def wishes():
    wishes = Wishes()
    wishes.install()
    yield wishes
    wishes.restore()


@pytest.mark.parametrize(
    ("expected", "number"),
    [
        (Wish.STOP, signal.SIGTERM),
        (Wish.STOP, signal.SIGINT),
        (Wish.RELOAD, signal.SIGHUP),
        (Wish.REOPEN_LOG, signal.SIGUSR1),
    ],
)
def test_each_signal_is_a_wish(wishes, expected, number):
    """A real signal ends the wait with what it stands for."""
    os.kill(os.getpid(), number)
    assert expected == wishes.wait(5)


def test_a_signal_ends_a_wait_that_has_begun(wishes):
    """The main thread does not sleep through a signal."""
    main = threading.get_ident()
    sender = threading.Timer(0.05, lambda: signal.pthread_kill(main, signal.SIGHUP))
    sender.start()
    assert Wish.RELOAD == wishes.wait(10)
    sender.join()


def test_wishes_keep_their_order_and_none_is_lost(wishes):
    """Signals that come together are carried out one after another."""
    for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGHUP):
        os.kill(os.getpid(), number)
    assert [Wish.RELOAD, Wish.REOPEN_LOG, Wish.RELOAD, None] == [wishes.wait(0.01) for _ in range(4)]


def test_stop_comes_before_everything(wishes):
    """Once the end is wished, no reload that waits is begun."""
    wishes.request(Wish.RELOAD)
    wishes.request(Wish.STOP)
    assert (True, [Wish.STOP] * 3) == (wishes.stopping, [wishes.wait(None) for _ in range(3)])


def test_other_threads_may_wish():
    """A command of a client ends the main loop like a signal."""
    wishes = Wishes()
    thread = threading.Thread(target=wishes.request, args=(Wish.STOP,))
    thread.start()
    assert Wish.STOP == wishes.wait(10)
    thread.join()


def test_restoring_puts_back_what_was_there():
    """A program that embeds the server gets its handlers back."""
    before = signal.getsignal(signal.SIGHUP)
    wishes = Wishes()
    wishes.install()
    assert before != signal.getsignal(signal.SIGHUP)
    wishes.restore()
    assert before == signal.getsignal(signal.SIGHUP)


def test_the_main_loop_acts_until_the_end():
    """Each wish is carried out, ticks come in between, STOP is last."""
    wishes = Wishes()
    done = []

    def reload():
        done.append("reload")
        wishes.request(Wish.STOP)

    def tick():
        done.append("tick")
        if done == ["tick"]:
            wishes.request(Wish.RELOAD)

    wishes.run({Wish.RELOAD: reload, Wish.STOP: lambda: done.append("stop")}, every=0.001, tick=tick)
    assert ["tick", "reload", "tick", "stop"] == done
