"""The iptables action: bans as rules of iptables and ip6tables, seen from a client."""

from __future__ import annotations

import json
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
banprefix.ipv6 = 128
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


FLAVOURS = ("nft", "legacy")
PROGRAMS = ("iptables", "ip6tables", "iptables-restore", "ip6tables-restore")


@pytest.fixture(params=FLAVOURS)
def flavour(request, tmp_path):
    """Return a directory with iptables of one kind, to come first on the path."""
    directory = tmp_path / "bin"
    directory.mkdir()
    for name in PROGRAMS:
        first, dash, rest = name.partition("-")
        program = shutil.which(f"{first}-{request.param}{dash}{rest}")
        if program is None:
            pytest.skip(f"needs iptables-{request.param}")
        (directory / name).symlink_to(program)
    return str(directory)


def rules(network, flavour):
    listed = [network.server.run(f"{flavour}/{tool}", "-w", "-S").stdout for tool in ("iptables", "ip6tables")]
    return [sorted(text.splitlines()) for text in listed]


def start(network, banguard, tmp_path, flavour, **values):
    network.server.start(sys.executable, "-S", "-c", LISTEN, "80", "81", "8080")
    eventually(lambda: network.connect(CLIENTS[1], 8080) == "open", what="the ports are open")
    server = banguard(network.server)
    server.env["PATH"] = f"{flavour}:{server.env['PATH']}"
    log = tmp_path / "web.log"
    log.write_text("")
    server.write("jail.local", JAIL.format(log=log, **values))
    server.start(jails=["web"])
    return server, log


@pytest.mark.parametrize(
    ("action", "port", "closed", "open_"),
    [
        ("iptables-multiport", "80,8080", (80, 8080), (81,)),
        ("iptables[type=oneport]", "8080", (8080,), (80,)),
        ("iptables-allports", "80", (80, 81, 8080), ()),
        ("iptables-ipset", "80,8080", (80, 8080), (81,)),
        ("iptables-ipset-proto6-allports", "80", (80, 81, 8080), ()),
    ],
)
def test_bans_reach_the_firewall_and_leave_it(network, banguard, tmp_path, flavour, action, port, closed, open_):
    """A banned client cannot connect to the ports of the jail, only it, and only those; stop leaves no rule."""
    before = rules(network, flavour)
    server, log = start(network, banguard, tmp_path, flavour, port=port, action=action)
    attackers = (CLIENTS[0], CLIENTS6[0])
    with open(log, "a") as file:
        stamp = network.server.run("date", "+%Y-%m-%d %H:%M:%S").stdout.strip()
        file.writelines(f"{stamp} bad {attacker}\n" * 2 for attacker in attackers)
    for attacker, other in zip(attackers, (CLIENTS[1], CLIENTS6[1]), strict=True):
        server.await_ban("web", attacker)
        ports = closed[:1]
        assert ["refused"] * len(ports) == [network.connect(attacker, each) for each in ports]
        assert ["open"] * len(open_) == [network.connect(attacker, each) for each in open_]
        assert "open" == network.connect(other, 80)
        server.ask("set", "web", "unbanip", attacker)
        eventually(lambda attacker=attacker: network.connect(attacker, 80) == "open", what="unbanned")
    server.ask("set", "web", "bantime", "2")
    server.ask("set", "web", "banip", CLIENTS[0])
    eventually(lambda: network.connect(CLIENTS[0], closed[0]) == "refused", what="banned by hand")
    eventually(lambda: network.connect(CLIENTS[0], closed[0]) == "open", what="the ban is over")
    server.ask("set", "web", "bantime", "600")
    server.ask("set", "web", "banip", *attackers, "203.0.113.0/24")
    server.await_ban("web", "203.0.113.0/24")
    server.stop()
    assert before == rules(network, flavour)
    assert "" == network.server.run("ipset", "list", "-n").stdout


@pytest.mark.parametrize(
    ("action", "flush"),
    [
        ("iptables-multiport", "iptables -w -F; iptables -w -X"),
        ("iptables-multiport", "iptables -w -F bg-web; ip6tables -w -F bg-web"),
        ("iptables-ipset", "iptables -w -F; iptables -w -X; ipset destroy"),
        ("iptables-ipset", "iptables -w -F INPUT; ip6tables -w -F INPUT"),
    ],
)
def test_rules_that_somebody_flushed_come_back(network, banguard, tmp_path, flavour, action, flush):
    """Within two seconds everything is in place again, without another ban."""
    server, _ = start(network, banguard, tmp_path, flavour, port="80", action=action)
    server.ask("set", "web", "banip", CLIENTS[0], "203.0.113.0/24")
    eventually(lambda: network.connect(CLIENTS[0], 80) == "refused", what="banned")
    server.await_ban("web", "203.0.113.0/24")
    before = rules(network, flavour)
    network.server.run("sh", "-c", flush, check=False, env=server.env)
    eventually(lambda: rules(network, flavour) == before, within=2.5, what="the rules are back")
    assert "refused" == network.connect(CLIENTS[0], 80)
    server.stop()


def test_a_chain_that_appears_later_is_used(network, banguard, tmp_path, flavour):
    """`DOCKER-USER` is asked for before Docker made it: it is used as soon as it is there."""
    before = rules(network, flavour)
    server, _ = start(network, banguard, tmp_path, flavour, port="80", action="iptables-multiport[blocktype=DROP]")
    server.ask("set", "web", "banip", CLIENTS[0])
    server.stop()
    server.write("jail.d/web.local", "[web]\nchain = INPUT,DOCKER-USER\n")
    server.start(jails=["web"])
    server.await_ban("web", CLIENTS[0]) if "Restore Ban" not in server.read_log() else None
    network.server.run(f"{flavour}/iptables", "-w", "-N", "DOCKER-USER")
    eventually(
        lambda: "DOCKER-USER -p tcp" in " ".join(rules(network, flavour)[0]),
        within=4,
        what="the new chain leads to ours",
    )
    server.stop()
    network.server.run(f"{flavour}/iptables", "-w", "-X", "DOCKER-USER")
    assert before == rules(network, flavour)


def test_a_full_set_is_an_alarm(network, banguard, tmp_path, flavour):
    """A ban for which the set has no room is logged as an error and shown as not enforced; the others hold."""
    server, _ = start(network, banguard, tmp_path, flavour, port="80", action="iptables-ipset[maxelem=2]")
    server.ask("set", "web", "banip", "192.0.2.1", "192.0.2.2")
    server.await_ban("web", "192.0.2.2")
    server.ask("set", "web", "banip", CLIENTS[0])
    server.await_log("the set is full")
    enforced = {
        ban["id"]: ban["enforced"] for ban in json.loads(server.ask("--json", "status", "web"))["actions"]["banned"]
    }
    assert {"192.0.2.1": True, "192.0.2.2": True, CLIENTS[0]: False} == enforced
    server.ask("set", "web", "unbanip", "192.0.2.1")
    server.await_ban("web", CLIENTS[0])
    server.stop()
