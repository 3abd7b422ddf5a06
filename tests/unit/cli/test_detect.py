"""Tests of banguard.cli.detect."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from banguard.cli import detect
from banguard.config import load
from banguard.errors import ControlError

FAILED = "Nov 20 22:27:27 web1 sshd[811]: Failed password for root from 192.0.2.1 port 51022 ssh2\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A machine with sshd, of which the log tells, with a running nginx, and with MongoDB, which only has a log."""
    files = {
        "var/log/auth.log": FAILED * 3 + "Nov 20 22:27:28 web1 cron[2]: x\n",
        "var/log/nginx/error.log": "",
        "var/log/nginx/access.log": "",
        "var/log/mongodb/mongod.log": "x\n",
        "proc/17/comm": "nginx\n",
        "proc/18/comm": "cat\n",
        "usr/lib/systemd/system/dovecot.service": "",
    }
    for name, text in files.items():
        path = tmp_path / "root" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "root"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration of one's own over the shipped one, with a jail on already."""
    directory = tmp_path / "etc"
    directory.mkdir()
    (directory / "banguard.conf").write_text("")
    (directory / "jail.local").write_text("[nginx-http-auth]\nenabled = true\n")
    return directory


def found(config: Path, root: Path) -> dict[str, detect.Proposal]:
    return {each.jail: each for each in detect.proposals(str(config), str(root))}


def test_services_are_found_by_log_process_and_unit(config: Path, root: Path) -> None:
    """Failures in a shared log, a process, a unit that logs to the journal, or a log of its own: each is a reason."""
    jails = found(config, root)
    sshd = detect.Proposal("sshd", "3 failures in its log", "/var/log/auth.log", 4, 3)
    assert sshd == jails["sshd"]
    assert ("process nginx", "enabled") == (jails["nginx-http-auth"].why, jails["nginx-http-auth"].state)
    assert ("unit dovecot.service", "") == (jails["dovecot"].why, jails["dovecot"].log)
    assert "its log is there" == jails["mongodb-auth"].why
    assert not {"postfix", "proftpd", "pam-generic", "recidive", "traefik-json"} & jails.keys()


def test_an_empty_machine(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where nothing is, nothing is proposed."""
    (tmp_path / "empty").mkdir()
    assert 0 == detect.run(["--root", str(tmp_path / "empty")], str(config))
    assert "No service was found" in capsys.readouterr().out


def test_apply_enables_and_never_overwrites(config: Path, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One file a jail, those that are there stay as they are, and the configuration has the jails then."""
    (config / "jail.d").mkdir()
    (config / "jail.d/local-sshd.local").write_text("[sshd]\nenabled = false\n")
    assert 0 == detect.run(["--apply", f"--root={root}"], str(config))
    shown = capsys.readouterr().out
    assert f"written: {config}/jail.d/local-mongodb-auth.local" in shown
    assert f"left alone, it is there already: {config}/jail.d/local-sshd.local" in shown
    assert "To undo: rm" in shown
    assert "banguard-client reload" in shown
    assert not (config / "jail.d/local-nginx-http-auth.local").exists()
    loaded = load(str(config))
    assert [] == [str(each) for each in loaded.problems]
    assert {"mongodb-auth", "dovecot", "nginx-http-auth"} <= loaded.jails.keys()
    assert "sshd" not in loaded.jails
    assert "systemd" == loaded.jails["dovecot"].backend
    # What is applied is enabled the next time.
    assert "enabled" == found(config, root)["dovecot"].state


def test_json(config: Path, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One object: the jails, and what was written."""
    assert 0 == detect.run(["--root", str(root)], str(config), as_json=True)
    told = json.loads(capsys.readouterr().out)
    (sshd,) = [each for each in told["jails"] if each["jail"] == "sshd"]
    assert ("/var/log/auth.log", 4, 3, "new") == (sshd["log"], sshd["lines"], sshd["failures"], sshd["state"])
    assert ([], []) == (told["written"], told["kept"])


@pytest.mark.parametrize("words", [["--what"], ["x"], ["--root"], ["--root", "/nowhere/at/all"]])
def test_bad_usage(config: Path, words: list[str]) -> None:
    """Words that are none, and a root that is none, are refused."""
    with pytest.raises(ControlError):
        detect.run(words, str(config))
