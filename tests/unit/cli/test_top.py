"""Tests of banguard.cli.top."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import struct
import subprocess
import sys
import termios

import pytest

from banguard.cli.client import main
from banguard.cli.colour import Paint
from banguard.cli.top import Wish, choose_screen, read
from banguard.errors import ControlError
from support.memory_server import MemoryServer, serving


@pytest.mark.parametrize(
    ("expected", "words"),
    [
        (Wish(), []),
        (Wish(0.5, 3), ["-d", "0.5", "-n", "3"]),
        (Wish(count=1, once=True), ["--once"]),
        (Wish(plain=True), ["--plain"]),
    ],
)
def test_words_are_read(expected, words):
    """How often, how many times, and how."""
    assert expected == read(words)


@pytest.mark.parametrize("words", [["-d"], ["-d", "0"], ["-d", "nan"], ["-d", "x"], ["-n", "0"], ["sshd"], ["--foo"]])
def test_other_words_are_refused(words):
    """A mistake of usage."""
    with pytest.raises(ControlError) as caught:
        read(words)
    assert 2 == caught.value.status


def test_rich_is_an_extra(monkeypatch):
    """Where it is not installed, or not wanted, the screen is drawn without."""
    assert "top_plain" in type(choose_screen(Wish(plain=True), Paint(on=False), "~")).__module__
    monkeypatch.setitem(sys.modules, "banguard.cli.top_rich", None)
    assert "top_plain" in type(choose_screen(Wish(), Paint(on=False), "~")).__module__


@pytest.fixture
def path(tmp_path):
    api = MemoryServer().with_jail("sshd").with_jail("日本")
    api.put_ban("sshd", "2001:db8::77", enforced=False)
    path = str(tmp_path / "b.sock")
    with serving(api, path):
        yield path


def test_once_is_for_a_pipe(path, capsys):
    """One screen as plain text, all of it."""
    assert 0 == main(["-s", path, "top", "--once", "-d", "0.1"])
    out = capsys.readouterr().out
    assert "\x1b" not in out
    for text in ("2 jails", "1 not enforced", "日本", "2001:db8::77"):
        assert text in out


def test_as_json_each_look_is_a_line(path, capsys):
    """With the rates in it."""
    assert 0 == main(["-s", path, "--json", "top", "-n", "2", "-d", "0.1"])
    first, second = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert ["sshd", "日本"] == [jail["jail"] for jail in first["jails"]]
    assert {"lines", "failures", "bans"} == set(second["rates"])


def test_without_a_server_it_says_so(tmp_path, capsys):
    """Status 3; as JSON an object."""
    assert 3 == main(["-s", str(tmp_path / "none"), "top", "--once"])
    assert "Is banguard running?" in capsys.readouterr().err
    assert 3 == main(["-s", str(tmp_path / "none"), "--json", "top", "--once"])
    assert ["error"] == list(json.loads(capsys.readouterr().out))


class Terminal:
    """A terminal of a size with the client in it."""

    def __init__(self, columns, rows, *words, **environment):
        self.ours, theirs = pty.openpty()
        self.resize(columns, rows)
        self.process = subprocess.Popen(
            ["setsid", "--ctty", sys.executable, "-m", "banguard.cli.client", *words],
            stdin=theirs, stdout=theirs, stderr=theirs,
            env={**os.environ, "TERM": "xterm", "PYTHONIOENCODING": "utf-8", **environment},
        )  # fmt: skip
        os.close(theirs)
        self.text = ""

    def resize(self, columns, rows):
        fcntl.ioctl(self.ours, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def expect(self, text):
        """Read until *text* was written, and return what came before it."""
        while text not in self.text:
            assert select.select([self.ours], [], [], 20)[0], self.text
            try:
                data = os.read(self.ours, 65536)
            except OSError:  # the other side is gone
                data = b""
            assert data, self.text
            self.text += data.decode()
        before, _, self.text = self.text.partition(text)
        return before

    def press(self, keys):
        os.write(self.ours, keys.encode())

    def close(self):
        self.process.kill()
        self.process.wait()
        os.close(self.ours)


@pytest.fixture
def terminal():
    made = []

    def make(*arguments, **environment):
        made.append(Terminal(*arguments, **environment))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.mark.parametrize("more", [["--plain"], []])
def test_a_screen_on_a_terminal(path, terminal, more):
    """Another screen while it runs, as wide as the terminal; `q` ends it and leaves the terminal as it was."""
    screen = terminal(80, 24, "-s", path, "top", "-d", "0.2", *more)
    screen.expect("\x1b[?1049h")
    screen.expect("2001:db8::77")
    screen.press("q")
    screen.expect("\x1b[?1049l")
    assert 0 == screen.process.wait(10)


def test_a_new_size_is_painted_at_once(path, terminal):
    """Without waiting for the next look; narrow terminals get fewer columns."""
    screen = terminal(100, 24, "-s", path, "top", "-d", "60", "--plain", NO_COLOR="1")
    assert "FAILURES/S" in screen.expect("\x1b[J")
    screen.resize(40, 24)
    shown = screen.expect("\x1b[J")
    assert "FAILURES/S" not in shown
    assert "2001:db8::77" in shown
    assert "\x1b[31m" not in shown


def test_ctrl_c_leaves_the_terminal_as_it_was(path, terminal):
    """Status 130 as of any program that is interrupted."""
    screen = terminal(80, 24, "-s", path, "top", "--plain")
    screen.expect("2001:db8::77")
    screen.press("\x03")
    assert "Traceback" not in screen.expect("\x1b[?1049l")
    assert 130 == screen.process.wait(10)


def test_a_dumb_terminal_gets_lines(path, terminal):
    """No sequences at all: screens follow one another."""
    screen = terminal(80, 24, "-s", path, "top", "-n", "1", "-d", "0.1", TERM="dumb")
    assert "\x1b" not in screen.expect("2001:db8::77")
    assert 0 == screen.process.wait(10)


def test_a_server_that_goes_is_waited_for(tmp_path, terminal):
    """On a terminal the screen stays and says so."""
    path = str(tmp_path / "b.sock")
    screen = terminal(120, 24, "-s", path, "top", "-d", "0.1", "--plain")
    screen.expect("waiting for the server")
    with serving(MemoryServer().with_jail("sshd"), path):
        screen.expect("1 jail")
    screen.expect("waiting for the server")
    screen.press("q")
    screen.expect("\x1b[?1049l")


def test_long_output_is_paged(path, terminal, tmp_path):
    """Only on a terminal that is too small for it, by the program that PAGER names; not with --no-pager."""
    pager = tmp_path / "pager"
    pager.write_text("#!/bin/sh\nsed 's/^/paged: /'\n")
    pager.chmod(0o755)
    screen = terminal(80, 10, "-s", path, "help", PAGER=str(pager))
    screen.expect("paged: Usage")
    screen = terminal(80, 10, "-s", path, "--no-pager", "help", PAGER=str(pager))
    assert "paged" not in screen.expect("Usage")
    screen = terminal(80, 60, "-s", path, "status", "--all", PAGER=str(pager))
    assert "paged" not in screen.expect("Status")
