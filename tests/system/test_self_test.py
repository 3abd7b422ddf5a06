"""`self-test`: failures of 192.0.2.1 through a running server and a real firewall, with nothing left behind."""

from __future__ import annotations

import json
import sqlite3

import pytest

JAIL = """\
[web]
enabled = true
filter =
failregex = {regex}
logpath = {log}
maxretry = 3
port = 80
action = nftables[name=web, port=80]
    told[name=web]
ignoreip = 192.0.2.0/24
"""
TOLD = "[Definition]\nactionban = echo <ip> >> {path}\n"


@pytest.fixture
def server(machine, banguard, tmp_path):
    def make(regex="^ bad login of <F-USER>\\S+</F-USER> from <HOST>$"):
        made = banguard(machine)
        log = tmp_path / "web.log"
        log.touch()
        made.write("jail.local", JAIL.format(regex=regex, log=log))
        made.write("action.d/told.conf", TOLD.format(path=tmp_path / "told"))
        return made.start(jails=["web"])

    return make


def test_every_step_works_and_nothing_is_left(server, machine, tmp_path):
    """From the log to the kernel and back; rules, store, log and mails are as before."""
    made = server()
    rules = machine.run("nft", "list", "ruleset").stdout
    done = made.client("--json", "self-test", "web")
    data = json.loads(done.stdout)
    assert data["passed"], data
    assert 0 == done.returncode
    names = ["line", "jail", "log", "match", "ban", "firewall", "unban", "released", "clean"]
    assert names == [step["name"] for step in data["steps"]]
    assert "nftables holds it" in data["steps"][5]["message"]
    assert "only tell: told" in data["steps"][1]["message"]
    assert rules == machine.run("nft", "list", "ruleset").stdout
    assert ["web"] == made.jails()
    assert not (tmp_path / "told").exists()
    assert "" == (tmp_path / "web.log").read_text()
    with sqlite3.connect(made.database) as store:
        for table in ("active", "history", "offenders", "cursors", "failures"):
            assert [] == store.execute(f"SELECT * FROM {table} WHERE jail <> 'web'").fetchall()
    store.close()
    text = made.ask("self-test")
    assert "[web] passed" in text
    assert "ok   firewall" in text


def test_a_filter_that_no_line_can_be_made_for_is_said_to_be_one(server):
    """Status 1, and what to do; with a line of the log it works."""
    made = server("^ (?=.*checksum 77)bad (?!x)[a-z]{3}(?<=abc) <HOST>$")
    done = made.client("self-test", "web")
    assert 1 == done.returncode
    assert "--line" in done.stdout
    assert "FAIL line" in done.stdout


def test_the_log_of_the_jail_itself_can_be_used(server, tmp_path):
    """With --write-log the lines are there afterwards, and the ban is not."""
    made = server()
    made.write("jail.local", (tmp_path / "banguard0/config/jail.local").read_text().replace("ignoreip", "#ignoreip"))
    made.ask("reload")
    done = made.client("--json", "self-test", "--write-log", "web")
    data = json.loads(done.stdout)
    assert data["passed"], data
    assert 3 == (tmp_path / "web.log").read_text().count("192.0.2.1")
    assert [] == made.banned("web")
    assert ["web"] == made.jails()
