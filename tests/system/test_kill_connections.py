"""Open connections of a banned address are cut, and nobody else's."""

from __future__ import annotations

import gzip
import shutil
import sys

import pytest

from support.machine import CLIENTS, CLIENTS6, SERVER, SERVER6, eventually

SERVE = """\
import select, socket
listener = socket.create_server(("::", 7000), family=socket.AF_INET6, dualstack_ipv6=True)
held = []
while True:
    held.append(listener.accept()[0])
"""

# Holds a connection, and says when the other end resets it.
HOLD = """\
import socket, sys
source, target = sys.argv[1:]
held = socket.socket(socket.AF_INET6 if ":" in source else socket.AF_INET)
held.bind((source, 0))
held.connect((target, 7000))
print("open", flush=True)
try:
    held.recv(1)
except OSError as error:
    print(type(error).__name__, flush=True)
"""


def can_destroy():
    try:
        with gzip.open("/proc/config.gz", "rt") as file:
            return "CONFIG_INET_DIAG_DESTROY=y\n" in file.read()
    except OSError:
        return True  # unknown: the test tells


pytestmark = [
    pytest.mark.skipif(shutil.which("ss") is None, reason="needs ss"),
    pytest.mark.skipif(not can_destroy(), reason="the kernel lacks CONFIG_INET_DIAG_DESTROY"),
]


@pytest.fixture
def server(network, banguard, tmp_path):
    network.server.start(sys.executable, "-S", "-c", SERVE)
    eventually(lambda: network.connect(CLIENTS[2], 7000) == "open", what="the port is open")
    made = banguard(network.server)
    log = tmp_path / "app.log"
    log.touch()
    made.write(
        "jail.local",
        f"""[DEFAULT]
filter =
failregex = ^ bad <HOST>$
logpath = {log}
port = 9
ignoreself = false
banprefix.ipv6 = 128
kill_connections = yes
banaction = nftables
[app]
enabled = true
[leaves]
enabled = true
kill_connections = no
""",
    )
    return made.start(jails=["app", "leaves"])


def test_open_connections_are_cut(network, server, tmp_path):
    """IPv4, IPv6 and networks; by the socket, not the rule: the jail blocks another port. Others keep theirs."""
    ends = {}
    for number, source in enumerate((*CLIENTS, *CLIENTS6)):
        ends[source] = tmp_path / f"end{number}"
        target = SERVER6 if ":" in source else SERVER
        network.client.start(sys.executable, "-S", "-c", HOLD, source, target, output=str(ends[source]))
    for end in ends.values():
        eventually(lambda end=end: end.read_text() == "open\n", what="connected")
    server.ask("set", "leaves", "banip", CLIENTS[2], CLIENTS6[2])
    server.await_ban("leaves", CLIENTS6[2])
    server.ask("set", "app", "banip", CLIENTS[0], CLIENTS6[0])
    reset = "open\nConnectionResetError\n"
    for source in (CLIENTS[0], CLIENTS6[0]):
        eventually(lambda source=source: ends[source].read_text() == reset, what=f"{source} is cut")
        server.await_log(f"Cut 1 open connection of {source}")
    assert ["open\n"] * 4 == [ends[source].read_text() for source in (*CLIENTS[1:], *CLIENTS6[1:])]
    # 198.51.100.2/31 is 198.51.100.2 and .3; 2001:db8::2/127 is ::2 and ::3.
    server.ask("set", "app", "banip", "198.51.100.2/31", "2001:db8::2/127")
    for source in (CLIENTS[1], CLIENTS6[1]):
        eventually(lambda source=source: ends[source].read_text() == reset, what=f"{source} is cut with its network")
    assert ["open\n"] * 2 == [ends[source].read_text() for source in (CLIENTS[2], CLIENTS6[2])]
    server.ask("set", "leaves", "kill_connections", "yes")
    server.ask("set", "leaves", "unbanip", CLIENTS[2])
    server.ask("set", "leaves", "banip", CLIENTS[2])
    eventually(lambda: ends[CLIENTS[2]].read_text() == reset, what="it can be switched on while the server runs")
    server.stop()


@pytest.mark.skipif(shutil.which("conntrack") is None, reason="needs conntrack")
def test_tracked_connections_are_forgotten(network, server, tmp_path):
    """What passes through, or is translated, begins anew, and then meets the firewall."""
    network.server.run("nft", "add table inet t; add chain inet t c { type filter hook input priority 0; }")
    network.server.run("nft", "add rule inet t c ct state established counter")
    end = tmp_path / "end"
    network.client.start(sys.executable, "-S", "-c", HOLD, CLIENTS[0], SERVER, output=str(end))
    eventually(lambda: end.exists() and end.read_text() == "open\n", what="connected")

    def tracked():
        return network.server.run("conntrack", "-L", "-s", CLIENTS[0]).stdout

    assert "dport=7000" in tracked()
    server.ask("set", "app", "banip", CLIENTS[0])
    eventually(lambda: not tracked(), what="forgotten")
    server.stop()
