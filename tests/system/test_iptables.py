"""The iptables action: bans as rules of iptables and ip6tables, seen from a client."""

from __future__ import annotations

import shutil
import sys

import pytest

from support.machine import CLIENTS, CLIENTS6, eventually

pytestmark = pytest.mark.skipif(shutil.which("iptables") is None, reason="needs iptables")

JAIL = """\
[web]
enabled = true
filter =
failregex = ^ bad <HOST>$
logpath = {log}
maxretry = 2
port = {port}
banaction = {action}
ignoreself = false
"""

LISTEN = """\
import socket, sys
listeners = []
for port in map(int, sys.argv[1:]):
    listener = socket.create_server(('::', port), family=socket.AF_INET6, dualstack_ipv6=True)
    listener.listen(100)
    listeners.append(listener)
import select
while True:
    for ready in select.select(listeners, [], [])[0]:
        ready.accept()[0].close()
"""


@pytest.mark.parametrize(
    ("action", "port", "closed", "open_"),
    [
        ("iptables-multiport", "80,8080", (80, 8080), (81,)),
        ("iptables[type=oneport]", "8080", (8080,), (80,)),
        ("iptables-allports", "80", (80, 81, 8080), ()),
    ],
)
def test_bans_reach_the_firewall_and_leave_it(network, banguard, tmp_path, action, port, closed, open_):
    """A banned client cannot connect to the ports of the jail, only it, and only those; stop leaves no rule."""
    network.server.start(sys.executable, "-S", "-c", LISTEN, "80", "81", "8080")
    eventually(lambda: network.connect(CLIENTS[1], 8080) == "open", what="the ports are open")
    server = banguard(network.server)
    log = tmp_path / "web.log"
    log.write_text("")
    server.write("jail.local", JAIL.format(log=log, port=port, action=action))
    before = [network.server.run(tool, "-w", "-S").stdout for tool in ("iptables", "ip6tables")]
    server.start(jails=["web"])
    attackers = (CLIENTS[0], CLIENTS6[0])
    with open(log, "a") as file:
        stamp = network.server.run("date", "+%Y-%m-%d %H:%M:%S").stdout.strip()
        file.writelines(f"{stamp} bad {attacker}\n" * 2 for attacker in attackers)
    for attacker, other in zip(attackers, (CLIENTS[1], CLIENTS6[1]), strict=True):
        server.await_ban("web", attacker)
        ports = closed if ":" not in attacker else closed[:1]  # the kernel answers refused IPv6 only after a second
        assert ["refused"] * len(ports) == [network.connect(attacker, each) for each in ports]
        assert ["open"] * len(open_) == [network.connect(attacker, each) for each in open_]
        assert "open" == network.connect(other, 80)
        server.ask("set", "web", "unbanip", attacker)
        eventually(lambda attacker=attacker: network.connect(attacker, 80) == "open", what="unbanned")
    server.ask("set", "web", "banip", *attackers)
    for attacker in attackers:
        eventually(lambda attacker=attacker: network.connect(attacker, closed[0]) == "refused", what="banned by hand")
    server.stop()
    after = [network.server.run(tool, "-w", "-S").stdout for tool in ("iptables", "ip6tables")]
    assert before == after


def test_rules_that_somebody_flushed_come_back(network, banguard, tmp_path):
    """When the tables were flushed behind banguard's back, the next ban puts chain, rule and ban in place again."""
    network.server.start(sys.executable, "-S", "-c", LISTEN, "80")
    server = banguard(network.server)
    log = tmp_path / "web.log"
    log.write_text("")
    server.write("jail.local", JAIL.format(log=log, port="80", action="iptables-multiport"))
    server.start(jails=["web"])
    server.ask("set", "web", "banip", CLIENTS[0])
    eventually(lambda: network.connect(CLIENTS[0], 80) == "refused", what="banned")
    network.server.run("sh", "-c", "iptables -w -F; iptables -w -X")
    server.ask("set", "web", "banip", CLIENTS[1])
    eventually(lambda: network.connect(CLIENTS[1], 80) == "refused", what="the second ban holds")
    server.stop()
