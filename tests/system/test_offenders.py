"""Bans that fit the offender, from the log to the kernel: networks, ends that move, hosts that come back everywhere."""

from __future__ import annotations

import json
import time

from support.machine import eventually

FILTER = "[Definition]\nfailregex = ^ failed <ADDR>$\n"


def fail(log, *hosts):
    with open(log, "a", encoding="ascii") as file:
        for host in hosts:
            file.write(time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime()) + f" failed {host}\n")


def bans(server, jail):
    return {ban["id"]: ban for ban in json.loads(server.ask("--json", "status", jail))["actions"]["banned"]}


def test_networks_rearm_and_repeats(machine, banguard, tmp_path):
    """An IPv6 /64 is banned as one, then a whole /48 and /24; a further failure moves the end; repeats are banned."""
    server = banguard(machine)
    log = tmp_path / "app.log"
    log.touch()
    server.write("filter.d/app.conf", FILTER)
    server.write(
        "jail.local",
        f"""[DEFAULT]
filter = app
logpath = {log}
maxretry = 1
bantime = 1h
bantime.rearm = true
banprefix.offenders = 3
ignoreip = 203.0.113.200
[one]
enabled = true
[two]
enabled = true
[again]
enabled = true
backend = history
filter =
logpath =
maxretry = 2
findtime = 1h
banaction = nftables[type=allports]
""",
    )
    server.start(jails=["one", "two", "again"])

    def ruleset():
        return machine.run("nft", "list", "ruleset").stdout

    fail(log, "2001:db8:0:1::5", "192.0.2.1")
    server.await_ban("one", "2001:db8:0:1::/64")
    eventually(lambda: "2001:db8:0:1::/64" in ruleset(), what="the kernel holds the network")
    server.await_ban("two", "192.0.2.1")
    server.await_ban("again", "192.0.2.1")

    first = bans(server, "one")["192.0.2.1"]["until"]
    eventually(lambda: time.time() > first - 3600 + 1.1, what="a second has passed")
    fail(log, "192.0.2.1")
    eventually(lambda: bans(server, "one")["192.0.2.1"]["until"] > first, what="the ban starts again")

    fail(log, "192.0.2.2", "192.0.2.3", "2001:db8:0:2::1", "2001:db8:0:3::1")
    server.await_ban("one", "192.0.2.0/24")
    server.await_ban("one", "2001:db8::/48")
    eventually(lambda: "192.0.2.0/24" in ruleset() and "2001:db8::/48" in ruleset(), what="the kernel holds them")

    fail(log, "203.0.113.1", "203.0.113.2", "203.0.113.3", "203.0.113.4")
    server.await_ban("one", "203.0.113.4")
    assert "203.0.113.0/24" not in bans(server, "one")  # ignoreip has somebody in there

    server.ask("set", "one", "unbanip", "192.0.2.2")
    held = bans(server, "one")
    assert "192.0.2.1" in held
    assert not held.keys() & {"192.0.2.2", "192.0.2.0/24"}
    assert not server.read_log().count("Traceback")
