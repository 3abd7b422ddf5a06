"""Tests of banguard.cli.watch."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from banguard.cli.client import main
from banguard.cli.colour import Paint
from banguard.cli.render import clock_text
from banguard.cli.watch import Wish, as_json, as_line, read
from banguard.control.protocol import encode_request
from banguard.errors import ControlError
from banguard.model import Ban, Banned, FailureFound, SourceRotated
from support.memory_server import MemoryServer, serving

PLAIN = Paint(on=False)
AT = 1_800_000_000
WHEN = clock_text(AT)


@pytest.mark.parametrize(
    ("expected", "words"),
    [
        (Wish(), []),
        (Wish(("sshd", "web"), follow=True), ["sshd", "--follow", "web"]),
        (Wish(count=3), ["-n", "3"]),
        (Wish(count=1), ["--count", "1"]),
    ],
)
def test_words_are_read(expected, words):
    """Jails, and how long to go on."""
    assert expected == read(words)


@pytest.mark.parametrize("words", [["-n"], ["-n", "0"], ["-n", "x"], ["--foo"], ["-x"]])
def test_other_words_are_refused(words):
    """A mistake of usage."""
    with pytest.raises(ControlError) as caught:
        read(words)
    assert 2 == caught.value.status


BAN = {"jail": "sshd", "id": "192.0.2.1", "until": AT, "count": 1, "failures": 5, "origin": "local"}


@pytest.mark.parametrize(
    ("expected", "event"),
    [
        (
            "sshd        found         192.0.2.1  bad line",
            {"event": "found", "jail": "sshd", "id": "192.0.2.1", "line": "bad line"},
        ),
        (f"sshd        ban           192.0.2.1  5 failures, until {WHEN}", {"event": "ban", **BAN}),
        (f"sshd        ban           192.0.2.1  by hand, until {WHEN}", {"event": "ban", **BAN, "origin": "manual"}),
        (
            "sshd        restored      192.0.2.1  5 failures, for ever, ban 3 of this address",
            {"event": "restored", **BAN, "until": None, "count": 3},
        ),
        ("sshd        unban         192.0.2.1  expired", {"event": "unban", **BAN, "reason": "expired"}),
        (
            "sshd        not enforced  a, b, c and 1 more  nft: no",
            {"event": "not_enforced", "jail": "sshd", "ids": ["a", "b", "c", "d"], "action": "nft", "message": "no"},
        ),
        ("-           firewall lost  nft (a, b)", {"event": "firewall_lost", "firewall": "nft", "jails": ["a", "b"]}),
        ("-           log lost      gone", {"event": "log_lost", "log": "/a", "message": "gone"}),
        ("-           log mended    /a", {"event": "log_mended", "log": "/a"}),
        ("-           reload        added a; removed b, c", {"event": "reload", "added": ["a"], "removed": ["b", "c"]}),
        ("-           reload        nothing changed", {"event": "reload"}),
        (
            "-           lost          7 events were lost here: they were not read in time",
            {"event": "lost", "count": 7},
        ),
        ("-           stopped       the server stops", {"event": "stopped"}),
        ("-           would ban     id=192.0.2.1  why=x", {"event": "would_ban", "id": "192.0.2.1", "why": "x"}),
    ],
)
def test_each_event_has_its_line(expected, event):
    """When, where, what, who."""
    assert f"{WHEN}  {expected}" == as_line({**event, "at": AT}, room=None, paint=PLAIN)


def test_a_line_fits_the_terminal():
    """Long log lines are cut, colours take no room."""
    event = {"event": "ban", **BAN, "at": AT}
    assert 40 == len(as_line(event, room=40, paint=PLAIN))
    painted = as_line(event, room=40, paint=Paint(on=True))
    for code in ("\x1b[0m", "\x1b[2m", "\x1b[1;31m"):
        assert code in painted
        painted = painted.replace(code, "")
    assert as_line(event, room=40, paint=PLAIN) == painted


EVIL = "\x1b]0;owned\x07\x1b[2J\r\n2026 sshd ban\u202e\x9b\u2028\ud800\x7f"


@pytest.mark.parametrize(
    "key", ["event", "jail", "id", "line", "reason", "message", "action", "log", "firewall", "new"]
)
@pytest.mark.parametrize("kind", ["found", "ban", "unban", "not_enforced", "firewall_lost", "log_lost", "crashed"])
def test_nothing_hostile_reaches_the_terminal(key, kind):
    """Neither as text nor as JSON, whatever field it is in."""
    event = {"event": kind, **BAN, "at": AT, "ids": [EVIL], "jails": [EVIL], key: EVIL}
    for line in (as_line(event, room=None, paint=PLAIN), as_json(event)):
        assert [] == [char for char in line if not char.isprintable()]


# ---- from end to end


@pytest.fixture
def api():
    return MemoryServer().with_jail("sshd").with_jail("web")


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "b.sock")


def until(check):
    deadline = time.monotonic() + 10
    while not check():
        assert time.monotonic() < deadline
        threading.Event().wait(0.005)


@contextlib.contextmanager
def watching(path, *words, **more):
    """The client as a program of its own that watches; ended by force in the end."""
    process = subprocess.Popen(
        [sys.executable, "-m", "banguard.cli.client", "-s", path, "watch", *words],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def publish_ban(api, host="192.0.2.1", jail="sshd"):
    api.bus.publish(Banned(float(AT), Ban(jail, host, float(AT), None)))


def test_events_come_as_they_happen(api, path):
    """As JSON, one a line, the first when the subscription stands; `-n` ends it."""
    with serving(api, path), watching(path, "--json", "-n", "2", "sshd") as process:
        assert "watching" == json.loads(process.stdout.readline())["event"]
        publish_ban(api, jail="web")
        publish_ban(api)
        api.bus.publish(FailureFound(float(AT), "sshd", "192.0.2.2", EVIL[:-2]))
        lines = [json.loads(line) for line in process.stdout]
        assert [("ban", "192.0.2.1"), ("found", "192.0.2.2")] == [(line["event"], line["id"]) for line in lines]
        assert (0, "") == (process.wait(10), process.stderr.read())


def test_the_end_of_the_server_ends_it(api, path):
    """With the word that it stops, and status 0."""
    with serving(api, path) as server, watching(path) as process:
        assert "watching" in process.stdout.readline()
        server.close(grace=5.0)
        assert "stopped" in process.stdout.readline()
        assert (0, "") == (process.wait(10), process.stderr.read())
        server.close = lambda grace: None


def test_following_outlives_the_server(api, path):
    """`--follow` comes back when the server does."""
    with watching(path, "--follow", "--jsonl") as process:
        assert "waiting for the server" in process.stderr.readline()
        for _ in range(2):
            with serving(api, path):
                assert "watching" == json.loads(process.stdout.readline())["event"]
                publish_ban(api)
                assert "ban" == json.loads(process.stdout.readline())["event"]
            assert "stopped" == json.loads(process.stdout.readline())["event"]


def test_ctrl_c_ends_it_quietly(api, path):
    """Status 130, no traceback; the server forgets the watcher."""
    with serving(api, path), watching(path) as process:
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert (130, "") == (process.wait(10), process.stderr.read())
        until(lambda: not api.bus._observers)


def test_a_broken_pipe_ends_it_quietly(api, path):
    """`watch | head -1`: nothing is said about it."""
    read_end, write_end = os.pipe()
    with serving(api, path):
        process = subprocess.Popen(
            [sys.executable, "-m", "banguard.cli.client", "-s", path, "watch"],
            stdout=write_end, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        os.close(write_end)
        with open(read_end) as lines:
            lines.readline()
        until(lambda: publish_ban(api) or process.poll() is not None)
        assert "" == process.communicate()[1]


@pytest.mark.parametrize(("status", "words"), [(1, ["nope"]), (2, ["--foo"])])
def test_what_cannot_be_watched_is_an_error(api, path, capsys, status, words):
    """With --json as an object on standard output."""
    with serving(api, path):
        assert status == main(["-s", path, "watch", *words])
        assert capsys.readouterr().err
        assert status == main(["-s", path, "--jsonl", "watch", *words])
        assert ["error"] == list(json.loads(capsys.readouterr().out))


# ---- readers that are slow, or never read


def raw(path):
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.settimeout(10)
    sock.connect(path)
    sock.sendall(encode_request(["watch"]))
    return sock


def test_a_slow_reader_loses_events_and_is_told_how_many(api, path):
    """Publishing goes on at full speed; what the reader then reads accounts for every event."""
    with serving(api, path), raw(path) as sock:
        until(lambda: api.bus._observers)
        for number in range(40_000):
            api.bus.publish(SourceRotated(float(number), "/var/log/" + "x" * 200))
        stream = sock.makefile()
        assert "watching" == json.loads(stream.readline())["value"]["event"]
        seen = lost = 0
        while seen + lost < 40_000:
            event = json.loads(stream.readline())["value"]
            lost += event.get("count", 0)
            seen += event["event"] == "log_rotated"
        assert 40_000 == seen + lost
        assert lost > 0
        stream.close()


def test_a_reader_that_never_reads_does_not_hold_up_the_end(api, path):
    """The server closes in time though the reader's socket is full."""
    with serving(api, path) as server, raw(path):
        until(lambda: api.bus._observers)
        for number in range(20_000):
            api.bus.publish(SourceRotated(float(number), "/var/log/" + "x" * 200))
        began = time.monotonic()
        server.close(grace=30.0)
        assert time.monotonic() - began < 10
        assert () == api.bus._observers
        server.close = lambda grace: None


def test_there_are_only_so_many_watchers(api, path):
    """The ninth is refused; commands are still answered."""
    with serving(api, path), contextlib.ExitStack() as stack:
        socks = [stack.enter_context(raw(path)) for _ in range(8)]
        until(lambda: 8 == len(api.bus._observers))
        with raw(path) as ninth:
            assert b"watching already" in ninth.recv(4096)
        assert 0 == main(["-s", path, "ping"])
        socks[0].close()
        until(lambda: 7 == len(api.bus._observers))
        with raw(path) as another:
            assert b'"watching"' in another.recv(4096)
