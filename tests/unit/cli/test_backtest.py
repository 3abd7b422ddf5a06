"""Tests of banguard.cli.backtest."""

from __future__ import annotations

import gzip
import io
import json
import sys
import time

import pytest

from banguard.cli import backtest
from banguard.cli.client import main


@pytest.fixture
def site(tmp_path):
    """A configuration with a jail, and a log in two parts, the older one packed."""
    directory = tmp_path / "config"
    (directory / "filter.d").mkdir(parents=True)
    (directory / "filter.d" / "demo.conf").write_text(
        "[Definition]\nfailregex = ^ bad <HOST>$\nsuccessregex = ^ welcome <HOST>$\n"
    )
    log = tmp_path / "demo.log"
    (directory / "jail.conf").write_text(
        f"[demo]\nfilter = demo\nlogpath = {log}\nmaxretry = 3\nfindtime = 1h\nbantime = 1h\n"
    )
    now = time.time()

    def line(ago, text):
        return f"{time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(now - ago))} {text}\n"

    old = line(9000, "bad 192.0.2.1") + line(8990, "bad 192.0.2.1") + line(8980, "welcome 192.0.2.1")
    (tmp_path / "demo.log.1.gz").write_bytes(gzip.compress(old.encode()))
    log.write_text(line(8970, "bad 192.0.2.1") + line(8960, "bad 192.0.2.1") + line(100, "quiet"))
    return directory, log


def test_rotated_and_packed_logs_of_the_jail_are_one_log(site, capsys):
    """Without a log the jail's own are read, oldest first; the failures of both parts count together."""
    directory, log = site
    assert 0 == main(["-c", str(directory), "backtest", "demo", "--json"])
    data = json.loads(capsys.readouterr().out)
    assert [f"{log}.1.gz", str(log)] == data["logs"]
    (ban,) = data["bans"]
    assert ("192.0.2.1", 3, 1, 1) == (ban["id"], ban["failures"], ban["kept_out"], ban["logins"])
    assert (6, 3, 1, ["192.0.2.1"]) == (data["lines"], data["failures"], data["kept_out"], data["banned_with_login"])


def test_named_logs_are_read_in_the_order_of_their_dates(site, capsys):
    """However they are named; the text tells of bans, of what was kept out and of logins."""
    directory, log = site
    assert 0 == main(["-c", str(directory), "backtest", "demo", str(log), f"{log}.1.gz"])
    out = capsys.readouterr().out
    for piece in ("1 bans of 1 hosts", "1 would have been kept out", "192.0.2.1", "also logged in: 192.0.2.1"):
        assert piece in out


def test_a_time_of_the_log_can_be_chosen(site, capsys):
    """With --from and --to, as dates or moments."""
    directory, _ = site
    assert 0 == main(
        ["-c", str(directory), "backtest", "--from", "2001-01-01", "--to", "2001-02-01T10:00", "demo", "--json"]
    )
    assert [] == json.loads(capsys.readouterr().out)["bans"]


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        ([], 2, "name of a jail"),
        (["nope"], 1, "unknown jail 'nope'"),
        (["demo", "/no/such.log"], 1, "cannot read /no/such.log"),
        (["demo", "/tmp"], 2, "is a directory"),
        (["demo", "--from"], 2, "takes a time"),
        (["demo", "--from", "yesterday"], 2, "no time such as"),
        (["demo", "--fast"], 2, "does not know --fast"),
    ],
)
def test_what_cannot_be_done_is_said(site, words, status, said, capsys):
    """Status 2 for the command line, 1 for what it names."""
    assert status == main(["-c", str(site[0]), "backtest", *words])
    assert said in capsys.readouterr().err


def test_a_bar_grows_on_a_terminal_only(monkeypatch, clock, tmp_path):
    """For long logs; it is taken away at the end."""
    monkeypatch.setattr(backtest, "LONG", 10)
    monkeypatch.setenv("TERM", "xterm")
    log = tmp_path / "log"
    log.write_text("x" * 100)

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    bar = backtest._bar([str(log)], clock)
    clock.advance(1)
    bar.add(50)
    bar.add(1)
    bar.done()
    assert 1 == screen.getvalue().count("[" + "#" * 15)
    assert " 50%  1s left" in screen.getvalue()
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    quiet = backtest._bar([str(log)], clock)
    clock.advance(1)
    quiet.add(50)
    quiet.done()
    assert "" == sys.stderr.getvalue()
