"""Tests of banguard.cli.keys."""

from __future__ import annotations

import os
import pty
import signal
import termios

import pytest

from banguard.cli.keys import Keys


@pytest.fixture
def terminal(monkeypatch):
    """A terminal as standard input; yields the side of whoever types."""
    typist, keyboard = pty.openpty()
    with os.fdopen(keyboard, "r") as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        yield typist
        os.close(typist)


def keys(**more):
    return Keys(more.get("suspend", lambda: None), more.get("resume", lambda: None))


@pytest.mark.parametrize("typed", ["q", "\x1b", "\x1b[A"])
def test_a_key_ends_the_wait(terminal, typed):
    """It comes at once, without Enter; a cursor key is told from Escape."""
    with keys() as pressed:
        os.write(terminal, typed.encode())
        assert typed == pressed.wait(10)


def test_the_time_ends_the_wait(terminal):
    """Nothing was typed."""
    with keys() as pressed:
        assert "" == pressed.wait(0)


def test_another_size_ends_the_wait(terminal):
    """The screen is painted anew at once."""
    with keys() as pressed:
        signal.raise_signal(signal.SIGWINCH)
        assert "" == pressed.wait(60)


def test_all_is_as_before(terminal):
    """Terminal and signals."""
    import sys

    numbers = (signal.SIGWINCH, signal.SIGTERM, signal.SIGHUP, signal.SIGTSTP)
    before = termios.tcgetattr(sys.stdin), [signal.getsignal(number) for number in numbers]
    with keys():
        assert before[0] != termios.tcgetattr(sys.stdin)
    assert before == (termios.tcgetattr(sys.stdin), [signal.getsignal(number) for number in numbers])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_being_ended_is_an_exit(terminal, number):
    """So that the terminal is put right on the way out."""
    with keys(), pytest.raises(SystemExit) as caught:
        signal.raise_signal(number)
    assert 128 + number == caught.value.code


def test_without_a_terminal_there_are_no_keys(monkeypatch):
    """What is piped in is nobody's typing."""
    with open(os.devnull) as nothing:
        monkeypatch.setattr("sys.stdin", nothing)
        with keys() as pressed:
            assert "" == pressed.wait(0)


def test_a_pause_gives_the_terminal_back():
    """Ctrl-Z: the screen is put away before the program stops, and taken again when it goes on."""
    child = os.fork()
    if child == 0:
        said = os.open(os.devnull, os.O_RDONLY)
        os.dup2(said, 0)
        import sys

        sys.stdin = open(0)  # noqa: SIM115
        order = []
        with keys(suspend=lambda: order.append("away"), resume=lambda: order.append("back")):
            signal.raise_signal(signal.SIGTSTP)
        os._exit(0 if order == ["away", "back"] else 1)
    _, status = os.waitpid(child, os.WUNTRACED)
    assert os.WIFSTOPPED(status)
    os.kill(child, signal.SIGCONT)
    _, status = os.waitpid(child, 0)
    assert 0 == os.waitstatus_to_exitcode(status)
