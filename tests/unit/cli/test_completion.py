"""Completion offers what the parsers accept at that place, and nothing else."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from banguard.cli import completion
from banguard.cli.completion import SCRIPTS, Known, complete
from banguard.control.protocol import USAGE

KNOWN = Known(
    lambda: ("sshd", "nginx"),
    lambda: ("sshd", "postfix", "portsentry"),
    {"import-bans": {}, "rehearse": {"": "JAIL", "--to": "TIME"}, "check": {"--jail": "JAIL", "--strict": ""}},
)


def words(*typed):
    return [word for word, _ in complete(typed, KNOWN)]


@pytest.mark.parametrize(
    ("expected", "typed"),
    [
        (["start", "stats", "status", "stop"], ["banguard-client", "st"]),
        (["import-bans"], ["banguard-client", "imp"]),
        (["--jail", "--strict"], ["banguard-client", "check", ""]),
        (["--to", "nginx", "sshd"], ["banguard-client", "rehearse", ""]),
        (["nginx", "sshd"], ["banguard-client", "check", "--jail", ""]),
        (["--all", "nginx", "sshd"], ["banguard-client", "status", ""]),
        (["--restart"], ["banguard-client", "reload", "--r"]),
        (["sshd"], ["banguard-client", "reload", "--restart", "ss"]),
        (["off", "on"], ["banguard-client", "set", "sshd", "idle", ""]),
        (["nginx"], ["banguard-client", "get", "ngi"]),
        (["loglevel"], ["banguard-client", "set", "logl"]),
        ([], ["banguard-client", "set", "loglevel", "ban"]),
        (["maxlines", "maxmatches", "maxretry"], ["banguard-client", "set", "sshd", "max"]),
        (["--loglevel", "--logtarget"], ["banguard-client", "--log"]),
        ([], ["banguard-client", "-s", ""]),
        (["status"], ["banguard-client", "-s", "/tmp/socket", "statu"]),
        (["no", "raw", "warn", "yes"], ["banguard-regex", "--usedns", ""]),
        ([], ["banguard-regex", ""]),
        (["portsentry", "postfix"], ["banguard-regex", "/var/log/mail.log", "p"]),
        (["portsentry", "postfix"], ["banguard-regex", "-v", "--usedns", "no", "/var/log/mail.log", "p"]),
        (["start", "stats", "status", "stop"], ["/usr/bin/banguard-server", "st"]),
        ([], ["banguard-client", "--foo"]),
        ([], ["ls", ""]),
        ([], []),
    ],
)
def test_words(expected, typed):
    """What can stand at the end of the line is offered, sorted."""
    assert expected == words(*typed)


def test_meaning():
    """Each word comes with what it means."""
    assert [("--usedns", "yes, warn, no or raw")] == complete(["banguard-regex", "--usedn"], KNOWN)


@pytest.mark.parametrize("shell", SCRIPTS)
def test_script_is_good(shell, tmp_path):
    """The shell itself finds no fault with its script."""
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"{shell} is not installed")
    path = tmp_path / "script"
    path.write_text(SCRIPTS[shell])
    done = subprocess.run([program, "-n", str(path)], capture_output=True, text=True, check=False)
    assert (0, "") == (done.returncode, done.stderr)


def test_bash_completes(tmp_path):
    """In a real bash the words of the program arrive whole, blanks and patterns in them included."""
    if shutil.which("bash") is None:
        pytest.skip("bash is not installed")
    path = tmp_path / "script"
    path.write_text(SCRIPTS["bash"])
    ask = f"""
        banguard-client() {{ {sys.executable} -m banguard.cli.client "$@"; }}
        source {path}
        COMP_WORDS=(banguard-client status --a); COMP_CWORD=2
        _banguard
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    environ = {**os.environ, "BANGUARD_SOCKET": str(tmp_path / "none")}
    done = subprocess.run(["bash", "-c", ask], capture_output=True, text=True, check=False, env=environ)
    assert ("--all\n", "") == (done.stdout, done.stderr)


def test_unknown_shell(capsys):
    """A shell that there is no script for is a usage error that names those there are."""
    assert USAGE == completion.main(["--completion", "tcsh"])
    assert "bash, zsh, fish" in capsys.readouterr().err


def test_no_server_no_jails(monkeypatch, tmp_path, capsys):
    """Without a server there are no jails to offer, and no error either."""
    monkeypatch.setenv("BANGUARD_SOCKET", str(tmp_path / "none"))
    assert completion.main(["--complete", "banguard-client", "status", ""]) == 0
    assert "--all" in capsys.readouterr().out
