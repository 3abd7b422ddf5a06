"""Tests of banguard.cli.server."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from banguard import __version__
from banguard.cli import server


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "filter.d").mkdir()
    (tmp_path / "filter.d/x.conf").write_text("[Definition]\nfailregex = ^bad <HOST>$\n")
    (tmp_path / "x.log").touch()
    (tmp_path / "jail.conf").write_text(
        f"[x]\nenabled = true\nfilter = x\nbackend = polling\nmaxretry = 3\nlogpath = {tmp_path}/x.log\n"
    )
    return tmp_path


def arguments(directory: Path, *more: str) -> list[str]:
    return [
        "-c",
        str(directory),
        "-s",
        f"{directory}/sock",
        "-p",
        f"{directory}/pid",
        "--logtarget",
        f"{directory}/log",
        *more,
    ]


def test_a_clean_configuration_passes(directory: Path, capsys) -> None:
    """-t says so in the words that scripts look for."""
    assert 0 == server.main(["-c", str(directory), "-t"])
    assert "OK: configuration test is successful" in capsys.readouterr().out


def test_everything_wrong_is_listed_with_file_and_line(directory: Path, capsys) -> None:
    """-t compiles the regexes, and lists all errors, not only the first."""
    (directory / "jail.local").write_text(
        f"[x]\nfailregex = ^a <HOST>$\n            (b <HOST>\n[y]\nenabled = true\nfilter = z\nlogpath = {directory}/x.log\n"
    )
    assert 1 == server.main(["-c", str(directory), "-t"])
    printed = capsys.readouterr()
    assert "ERROR: test configuration failed" in printed.out
    assert f"{directory}/jail.local:3: error: [x]" in printed.err
    assert f"{directory}/jail.local:6: error: [y]" in printed.err
    assert 1 == server.main(["-c", str(directory), "-t", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert not found["ok"]
    assert {("x", 3), ("y", 6)} == {
        (problem["jail"], problem["line"]) for problem in found["problems"] if problem["severity"] == "error"
    }


def test_the_effective_configuration_can_be_seen(directory: Path, capsys) -> None:
    """-d prints a command a line, --dp and --json the same in other forms."""
    assert 0 == server.main(["-c", str(directory), "-d"])
    assert "['set', 'x', 'maxretry', 3]" in capsys.readouterr().out.splitlines()
    assert 0 == server.main(["-c", str(directory), "-d", "--json"])
    assert ["set", "x", "maxretry", 3] in json.loads(capsys.readouterr().out)["commands"]


def test_a_directory_that_is_not_there(tmp_path: Path, capsys) -> None:
    """The error names the directory."""
    assert 1 == server.main(["-c", str(tmp_path / "none"), "-t"])
    assert "none" in capsys.readouterr().err


def test_nothing_starts_when_no_jail_can(directory: Path, capsys) -> None:
    """With every enabled jail broken there is nothing to run: status 1, and the reasons."""
    (directory / "jail.local").write_text("[x]\nfilter = nothing\n")
    assert 1 == server.main(arguments(directory, "-f"))
    assert "nothing" in capsys.readouterr().err


def test_versions(capsys) -> None:
    """-V gives the bare number."""
    with pytest.raises(SystemExit) as ended:
        server.main(["-V"])
    assert 0 == ended.value.code
    assert f"{__version__}\n" == capsys.readouterr().out


@pytest.mark.parametrize("how", ["-f", "-b"])
def test_a_server_starts_answers_and_ends_on_a_signal(directory: Path, how: str) -> None:
    """In the foreground and in the background: ready, answering, pid file there; TERM ends it and leaves nothing."""
    program = [sys.executable, "-m", "banguard"]
    environment = {**os.environ, "STATE_DIRECTORY": str(directory / "state")}
    started = subprocess.Popen(
        [*program, *arguments(directory, how, "start")],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        if how == "-b":
            assert 0 == started.wait(30)
        pause = threading.Event()
        for _ in range(1500):
            if (directory / "log").exists() and "Server ready" in (directory / "log").read_text():
                break
            pause.wait(0.02)
        pid = int((directory / "pid").read_text())
        if how == "-f":
            assert started.pid == pid
        done = subprocess.run(
            [sys.executable, "-m", "banguard", *arguments(directory, "ping")],
            capture_output=True,
            text=True,
            timeout=30,
        )
        assert (0, "Server replied: pong\n") == (done.returncode, done.stdout)
        second = subprocess.run([*program, *arguments(directory, "-f")], capture_output=True, text=True, timeout=30)
        assert 1 == second.returncode
        assert "already running" in second.stderr
        os.kill(pid, signal.SIGTERM)
        if how == "-f":
            assert 0 == started.wait(30)
        for _ in range(1500):
            if not (directory / "pid").exists():
                break
            pause.wait(0.02)
        assert not (directory / "sock").exists()
        assert not (directory / "pid").exists()
    finally:
        started.kill()
        started.wait()
