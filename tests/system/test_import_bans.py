"""Taking over from a real fail2ban: what it banned, and until when, stands in the kernel under banguard."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import time

import pytest

from support.machine import eventually

pytestmark = pytest.mark.skipif(shutil.which("fail2ban-server") is None, reason="fail2ban is not installed")

JAILS = """\
[DEFAULT]
backend = polling
filter = none
logpath = {log}
banaction = none
[web]
enabled = true
bantime = 600
[mail]
enabled = true
bantime = -1
[short]
enabled = true
bantime = 1
[gone]
enabled = true
bantime = 600
"""


@pytest.fixture
def database(machine, tmp_path):
    """Return the database that a fail2ban with bans in four jails left behind."""
    home = tmp_path / "fail2ban"
    for folder in ("filter.d", "action.d"):
        (home / folder).mkdir(parents=True)
    log = tmp_path / "empty.log"
    log.touch()
    path = tmp_path / "fail2ban.sqlite3"
    (home / "fail2ban.conf").write_text(f"[Definition]\nloglevel = INFO\ndbfile = {path}\nallowipv6 = yes\n")
    (home / "jail.conf").write_text(JAILS.format(log=log))
    (home / "filter.d" / "none.conf").write_text("[Definition]\nfailregex = ^bad <HOST>$\n")
    machine.run("mount", "-t", "tmpfs", "tmpfs", "/var/lib/fail2ban")
    options = ["-c", str(home), "-s", str(tmp_path / "f.sock"), "-p", str(tmp_path / "f.pid")]
    server = machine.start("fail2ban-server", *options, "--logtarget", str(tmp_path / "f.log"), "-xf", "start")

    def ask(*words):
        return machine.run("fail2ban-client", *options, *words, check=False).stdout

    eventually(lambda: "pong" in ask("ping"), what="fail2ban answers")
    eventually(lambda: "short" in ask("status"), what="fail2ban runs its jails")
    ask("set", "web", "banip", "192.0.2.1", "2001:db8::1")
    ask("set", "mail", "banip", "192.0.2.2", "198.51.100.0/24")
    ask("set", "short", "banip", "192.0.2.3")
    ask("set", "gone", "banip", "192.0.2.4")

    def recorded():
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as connection:
            return len(connection.execute("SELECT ip FROM bips").fetchall()) == 6

    eventually(recorded, what="fail2ban wrote its bans down")
    ask("stop")
    assert server.wait(15) == 0
    return path


def test_nobody_is_forgotten(machine, banguard, database, tmp_path):
    """Bans go on until their own ends, permanent ones for ever, ended ones not at all; missing jails are named."""
    server = banguard(machine)
    log = tmp_path / "empty.log"
    server.write(
        "jail.local",
        "".join(
            f"[{name}]\nenabled = true\nfilter = sshd\nlogpath = {log}\nbackend = polling\nbantime = 10\n"
            for name in ("web", "mail", "short")
        ),
    )
    server.start(jails=["web", "mail", "short"])
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
        expected = {
            (jail, host): None if bantime < 0 else since + bantime
            for jail, host, since, bantime in connection.execute("SELECT jail, ip, timeofban, bantime FROM bips")
            if jail in ("web", "mail")
        }
    assert 4 == len(expected)
    eventually(lambda: time.time() > os.path.getmtime(database) + 1, what="the short ban is over")

    done = server.client("import-bans", str(database))
    assert done.returncode == 1
    assert "gone: 1 bans not taken over" in done.stdout + done.stderr

    found = {
        (jail, ban["id"]): ban["until"]
        for jail in ("web", "mail", "short")
        for ban in json.loads(server.ask("--json", "status", jail))["actions"]["banned"]
    }
    assert set(expected) == set(found)
    for key, until in expected.items():
        assert (until is None) == (found[key] is None)
        assert until is None or abs(until - found[key]) < 1.0
    eventually(
        lambda: all(host in machine.run("nft", "list", "ruleset").stdout for _, host in expected),
        what="the kernel holds every ban",
    )
    assert "192.0.2.3" not in machine.run("nft", "list", "ruleset").stdout

    again = server.client("--json", "import-bans", str(database))
    assert "error" in json.loads(again.stdout)
    assert len(expected) == sum(len(server.banned(jail)) for jail in ("web", "mail", "short"))
