"""`bantime.quiet`: bans last as long as the firewall hears from who is banned, by nftables, ipset and iptables."""

from __future__ import annotations

import shutil
import sys
import time

import pytest

from support.machine import CLIENTS, CLIENTS6, SERVER, SERVER6, eventually

pytestmark = pytest.mark.skipif(
    not (shutil.which("iptables") and shutil.which("ipset")), reason="needs iptables and ipset"
)

# Sends a datagram to each port every 0.3 s, until it is killed.
KNOCK = """\
import socket, sys, time
source, target, *ports = sys.argv[1:]
sending = socket.socket(socket.AF_INET6 if ":" in source else socket.AF_INET, socket.SOCK_DGRAM)
sending.bind((source, 0))
while True:
    for port in map(int, ports):
        try:
            sending.sendto(b"x", (target, port))
        except OSError:
            pass
    time.sleep(0.3)
"""

JAILS = {"nft": ("nftables", 81), "set": ("iptables-ipset", 82), "rule": ("iptables-multiport[blocktype=DROP]", 83)}


def test_a_ban_lasts_while_packets_come(network, banguard, tmp_path):
    """Who is silent is free soon; who goes on sending stays banned far beyond bantime, and until he is silent."""
    server = banguard(network.server)
    log = tmp_path / "app.log"
    log.touch()
    jails = "".join(
        f"[{name}]\nenabled = true\nport = {port}\nbanaction = {action}\n" for name, (action, port) in JAILS.items()
    )
    server.write(
        "jail.local",
        f"""[DEFAULT]
filter =
failregex = ^ bad <HOST>$
logpath = {log}
protocol = udp
ignoreself = false
banprefix.ipv6 = 128
bantime = 1
bantime.quiet = 3
{jails}[deaf]
enabled = true
banaction = route
""",
    )
    server.start(jails=[*JAILS, "deaf"])
    assert "[deaf] bantime.quiet has no effect" in server.read_log()
    ports = [str(port) for _, port in JAILS.values()]
    loud, silent = (CLIENTS[0], CLIENTS6[0], "198.51.100.4/31"), (CLIENTS[1], CLIENTS6[1])
    knocking = [
        network.client.start(sys.executable, "-S", "-c", KNOCK, source, SERVER6 if ":" in source else SERVER, *ports)
        for source in (CLIENTS[0], CLIENTS6[0], CLIENTS[2])  # the last one is in the banned network
    ]
    began = time.monotonic()
    for jail in JAILS:
        server.ask("set", jail, "banip", *loud, *silent)
    everybody, loudly = sorted((*loud, *silent)), sorted(loud)
    assert [everybody] * 3 == [server.banned(jail) for jail in JAILS]
    eventually(lambda: all(server.banned(jail) == loudly for jail in JAILS), what="who is silent is free")
    assert 4.5 <= time.monotonic() - began <= 8.0  # 3 s of quiet, and two readings
    eventually(lambda: time.monotonic() - began > 10.0, what="more than twice the time is over")
    assert [loudly] * 3 == [server.banned(jail) for jail in JAILS]
    assert all(f"[{jail}] Unban {host}" not in server.read_log() for jail in JAILS for host in loud)
    for process in knocking:
        process.kill()
    ended = time.monotonic()
    eventually(lambda: not any(server.banned(jail) for jail in JAILS), what="all are free")
    assert 3.5 <= time.monotonic() - ended <= 8.5
    server.stop()


def test_listening_can_be_switched_while_the_server_runs(machine, banguard, tmp_path):
    """The firewall counts as long as somebody wants to know, and the bans stay."""
    server = banguard(machine)
    (tmp_path / "app.log").touch()
    server.write(
        "jail.local",
        f"""[DEFAULT]
filter =
failregex = ^ bad <HOST>$
logpath = {tmp_path}/app.log
[nft]
enabled = true
banaction = nftables
[set]
enabled = true
banaction = iptables-ipset
""",
    )
    server.start(jails=["nft", "set"])

    def counting():
        listed = machine.run("sh", "-c", "nft list ruleset; ipset save").stdout
        held = listed.count("192.0.2.1 ")
        return ("seen4-nft" in listed, " counters" in listed, held)

    for jail in ("nft", "set"):
        server.ask("set", jail, "banip", "192.0.2.1")
        server.await_ban(jail, "192.0.2.1")
    assert (False, False, 2) == counting()
    for jail in ("nft", "set"):
        assert "86400" in server.ask("set", jail, "bantime.quiet", "1d")
    eventually(lambda: counting() == (True, True, 2), what="it counts")
    for jail in ("nft", "set"):
        server.ask("set", jail, "bantime.quiet", "")
    eventually(lambda: counting() == (False, False, 2), what="it counts no longer")
    server.stop()
