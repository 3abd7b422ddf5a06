"""A firewall that somebody else flushed is put right within two seconds, without waiting for the next ban."""

from __future__ import annotations

import time

import pytest

from support.machine import CLIENTS, eventually


@pytest.mark.parametrize(
    "flush",
    [
        ("nft", "flush", "ruleset"),
        ("nft", "delete", "table", "inet", "banguard"),
        ("nft", "flush", "chain", "inet", "banguard", "ban-web"),
        ("nft", "flush", "chain", "inet", "banguard", "input-web"),
    ],
    ids=" ".join,
)
def test_repaired_within_two_seconds(machine, banguard, tmp_path, flush):
    """Whatever is missing of our rules comes back with every ban, and rules of others are left alone."""
    server = banguard(machine)
    log = tmp_path / "web.log"
    log.touch()
    server.write("jail.local", f"[web]\nenabled = true\nfilter = sshd\nlogpath = {log}\nport = 8080\n")
    server.start(jails=["web"])
    for host in (CLIENTS[0], "2001:db8::9", "203.0.113.0/24"):
        server.ask("set", "web", "banip", host)
        server.await_ban("web", host)

    def ruleset():
        return machine.run("nft", "list", "table", "inet", "banguard", check=False).stdout

    def rules():
        return [line.strip() for line in ruleset().splitlines() if "elements" not in line and "timeout" not in line]

    before = rules()
    machine.run(*flush)
    machine.run("nft", "add", "table", "inet", "mine")
    began = time.monotonic()
    eventually(
        lambda: (
            [line for line in rules() if "mine" not in line][: len(before)] == before
            and all(host in ruleset() for host in (CLIENTS[0], "2001:db8::9", "203.0.113.0/24"))
        ),
        within=2.0,
        what="the rules are back",
    )
    assert time.monotonic() - began < 2.0
    assert "table inet mine" in machine.run("nft", "list", "ruleset").stdout
