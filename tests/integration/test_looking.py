"""What operators see of a server whose logs are hostile: the programs as they are, over a real socket."""

from __future__ import annotations

import ast
import contextlib
import io
import json
import subprocess
import sys
from types import SimpleNamespace

import pytest

from banguard.cli.client import main
from banguard.cli.render import clock_text
from banguard.clock import SystemClock
from support.machine import end, eventually

EVIL = "\x1b]0;owned\x07\x1b[2J\u202e\x9b31m\u2066"
"""A title for the window, an empty screen, text from right to left, a C1 sequence: as the id that a rule captures."""

CONFIGURATION = {
    "banguard.conf": """\
[Definition]
loglevel = INFO
logtarget = {top}/b.log
socket = {top}/b.sock
pidfile = {top}/b.pid
dbfile = {top}/b.sqlite3
""",
    "jail.conf": """\
[DEFAULT]
backend = polling
logpath = {top}/a.log
bantime = 600
[ids]
enabled = true
filter = ids
maxretry = 1
action = null[port="ssh,http", protocol=tcp]
[never]
enabled = true
filter = ids
maxretry = 1000
""",
    "filter.d/ids.conf": "[Definition]\nfailregex = ^ <F-ID>\\S+</F-ID> failed from <ADDR>",
    "action.d/null.conf": "[Definition]\nnative = null\n",
}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A running server with one hostile ban and one hostile host that is counted; yields what runs the client."""
    top = tmp_path_factory.mktemp("looking")
    for name, text in CONFIGURATION.items():
        path = top / "conf" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.format(top=top) if "{top}" in text else text)
    log = top / "a.log"
    log.write_text("")
    process = subprocess.Popen(
        [sys.executable, "-m", "banguard", "-c", str(top / "conf"), "-f", "start"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip

    def client(*words):
        """Run the client in this process, its output as UTF-8."""
        out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", newline="") for _ in range(2))
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = main(["-c", str(top / "conf"), *words])
            out.flush()
            err.flush()
        return SimpleNamespace(
            returncode=status, stdout=out.buffer.getvalue().decode(), stderr=err.buffer.getvalue().decode()
        )

    try:
        eventually(lambda: client("ping").returncode == 0, what="the server answers")
        watch = subprocess.Popen(
            [sys.executable, "-m", "banguard.cli.client", "-c", str(top / "conf"), "watch", "-n", "40"],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert "watching" in watch.stdout.readline()
        with log.open("a") as file:
            file.write(f"{clock_text(SystemClock().now())} {EVIL} failed from 192.0.2.1\n")
        eventually(lambda: "owned" in client("banned").stdout, what="the hostile id is banned")
        client.watch = watch
        client.top = top
        yield client
    finally:
        end(watch)
        watch.stdout.close()
        end(process)


TEXTS = [
    ["status"], ["status", "ids"], ["status", "--all"], ["status", "--all", "short"], ["status", "ids", "stats"], ["stats"],
    ["banned"], ["banned", "--table"], ["banned", EVIL], ["banned", "--table", EVIL], ["get", "ids", "banip"],
    ["get", "ids", "banip", "--with-time"], ["get", "ids", "banip", "\x1b[31m"], ["get", "ids", "banned"],
    ["get", "ids", "banned", EVIL], ["get", "ids", "failregex"], ["get", "ids", "logpath"], ["get", "ids", "actions"],
    ["top", "--once", "-d", "0.1"], ["history", EVIL], ["echo", EVIL], ["status", EVIL], [EVIL], ["get", EVIL, "bantime"],
    ["set", "never", "attempt", "192.0.2.7", EVIL], ["explain", f"{EVIL} failed from 192.0.2.1", "ids"],
]  # fmt: skip


@pytest.mark.parametrize("words", TEXTS, ids=lambda words: " ".join(words).encode("unicode_escape").decode())
@pytest.mark.parametrize("color", ["never", "always"])
def test_no_command_lets_hostile_text_through(server, words, color):
    """Neither on standard output nor on standard error; colours are our own and nothing else."""
    done = server("--color", color, *words)
    text = done.stdout + done.stderr
    for code in ("0", "1", "2", "32", "33", "36", "1;31"):
        text = text.replace(f"\x1b[{code}m", "" if color == "always" else "!")
    assert [] == [char for char in text if not char.isprintable() and char not in "\n\t"], text
    assert "Traceback" not in text


@pytest.mark.parametrize("words", TEXTS, ids=lambda words: " ".join(words).encode("unicode_escape").decode())
@pytest.mark.parametrize("option", ["--json", "--jsonl"])
def test_nor_does_json(server, words, option):
    """Escapes of JSON, one object a line."""
    done = server(option, *words)
    assert "" == done.stderr
    assert done.stdout.replace("\n", "").isprintable()
    assert all(isinstance(json.loads(line), dict) for line in done.stdout.splitlines())


def test_nor_does_watching(server):
    """What was found and banned, line for line."""
    lines = [server.watch.stdout.readline() for _ in range(2)]
    assert "found" == lines[0].split()[3]
    assert all(line.rstrip("\n").isprintable() for line in lines)
    assert all("\\x1b]0;owned\\x07" in line for line in lines)


def test_the_table_names_what_is_closed(server):
    """Address, protocol and port, and the end."""
    (row,) = (json.loads(line) for line in server("--jsonl", "banned", "--table").stdout.splitlines())
    assert ("ids", "tcp/ssh,http", EVIL) == (row["jail"], row["ports"], row["id"])
    assert row["since"] < row["until"]


def test_plain_banned_is_a_python_list(server):
    """For scripts, whatever stands in it."""
    assert [{"ids": [EVIL]}, {"never": []}] == ast.literal_eval(server("banned").stdout)
