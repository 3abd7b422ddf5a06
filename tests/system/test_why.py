"""`why` names the cause for which a banned address still gets through: leaks staged with real packets."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest

from support.machine import CLIENTS, CLIENTS6, SERVER, SERVER6, Namespace, end, eventually

JAIL = """\
[web]
enabled = true
filter =
failregex = ^ bad <HOST> user <F-USER>\\S+</F-USER>$
logpath = {log}
maxretry = 3
port = {port}
banaction = {action}
ignoreself = false
banprefix.ipv6 = 128
"""

SERVICE = """\
import select, socket, sys, time
log = open(sys.argv[1], "a", buffering=1)
waiting = [socket.create_server(("::", int(port)), family=socket.AF_INET6, dualstack_ipv6=True) for port in sys.argv[2:]]
doors = set(waiting)
while True:
    for ready in select.select(waiting, [], [])[0]:
        if ready in doors:
            waiting.append(ready.accept()[0])
            continue
        try:
            data, peer = ready.recv(100), ready.getpeername()[0]
        except OSError:
            data = b""
        if data:
            log.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} bad {peer.removeprefix('::ffff:')} user root\\n")
        else:
            waiting.remove(ready)
            ready.close()
"""
"""Takes whatever comes as a bad login of root, and says so in its log."""

ATTACK = """\
import socket, sys, time
source, target, port, way, count = sys.argv[1:]
held = None
for _ in range(int(count)):
    try:
        if held is None:
            held = socket.create_connection((target, int(port)), timeout=0.4, source_address=(source, 0))
        held.sendall(b"x")
    except OSError:
        held = None
    if way == "knock" and held is not None:
        held.close()
        held = None
    time.sleep(0.15)
"""


class Stage:
    """A server with a service and a jail, an attacker, and what `why` says."""

    def __init__(self, network, banguard, tmp_path, *, port, action="nftables", where=None, services=("80", "2222")):
        self.network = network
        self.log = tmp_path / "web.log"
        self.log.touch()
        (where or network.server).start(sys.executable, "-S", "-c", SERVICE, str(self.log), *services)
        self.server = banguard(network.server)
        self.server.write("jail.local", JAIL.format(log=self.log, port=port, action=action))
        self.server.start(jails=["web"])

    def attack(self, port, *, source=CLIENTS[0], way="knock", count=1000):
        target = SERVER6 if ":" in source else SERVER
        return self.network.client.start(sys.executable, "-S", "-c", ATTACK, source, target, str(port), way, str(count))

    def why(self, host=CLIENTS[0], *more):
        return json.loads(self.server.ask("--json", "why", *more, host))

    def leak(self):
        """Wait until the banned host still fails, and return what is said of it then."""
        self.server.await_ban("web", CLIENTS[0])
        eventually(lambda: self.why(CLIENTS[0], "--watch", "0")["bans"][0]["failures_since"], what="it still fails")
        return self.why(CLIENTS[0], "--watch", "1")["bans"][0]


@pytest.fixture
def stage(network, banguard, tmp_path):
    """Set a stage; the service answers from the beginning."""

    def make(**options):
        made = Stage(network, banguard, tmp_path, **options)
        port = int(options.get("services", ("80", "2222"))[-1])
        if "where" not in options:
            eventually(lambda: network.connect(CLIENTS[1], port) == "open", what="the service answers")
        return made

    return make


def first(ban):
    """Return kind and message of the first cause."""
    assert ban["causes"], ban
    return ban["causes"][0]["kind"], ban["causes"][0]["message"]


def test_another_port(stage):
    """The ban closes port 80, the attacker comes to 2222."""
    made = stage(port="80")
    made.attack(2222)
    ban = made.leak()
    kind, message = first(ban)
    assert "other-port" == kind, ban
    assert "2222" in message
    assert "only 80" in message
    assert ban["enforced"]
    assert ban["walls"][0]["held"] is True
    text = made.server.ask("why", "--watch", "0.2", CLIENTS[0])
    for piece in (
        "is banned in [web]",
        "3 within 10m are enough",
        "rule      1",
        "bad 198.51.100.2 user root",
        "cause",
    ):
        assert piece in text


def test_forwarded_traffic(stage, network):
    """The port is published by a container: the chain `input` never sees its packets."""
    container, server = Namespace(), network.server
    ends = ["ip", "link", "add", "docker0", "netns", str(server.pid), "type", "veth", "peer", "name", "eth0"]
    subprocess.run([*ends, "netns", str(container.pid)], check=True)
    server.run("ip", "addr", "add", "172.31.0.1/24", "dev", "docker0")
    server.run("ip", "link", "set", "docker0", "up")
    container.run("ip", "addr", "add", "172.31.0.2/24", "dev", "eth0")
    container.run("ip", "link", "set", "eth0", "up")
    container.run("ip", "route", "add", "default", "via", "172.31.0.1")
    server.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
    rule = "ip daddr 198.51.100.1 tcp dport 8080 dnat to 172.31.0.2:80"
    chain = "type nat hook prerouting priority dstnat; policy accept;"
    server.run("nft", "-f", "-", text=f"table ip docker {{\nchain published {{\n{chain}\n{rule}\n}}\n}}\n")
    try:
        made = stage(port="8080", where=container, services=("80",))
        made.attack(8080)
        ban = made.leak()
        kind, message = first(ban)
        assert "forwarded" == kind, ban
        assert "172.31.0.2:80" in message
        assert "forward" in ban["causes"][0]["proposal"]
    finally:
        container.close()


@pytest.mark.skipif(shutil.which("iptables") is None, reason="needs iptables")
def test_an_open_connection(stage):
    """A rule before ours lets open connections pass, and the attacker has one since before the ban."""
    made = stage(port="80,2222", action="iptables-multiport")
    server = made.network.server
    accept = ("iptables", "-w", "-I", "INPUT", "1", "-m", "conntrack", "--ctstate", "ESTABLISHED", "-j", "ACCEPT")
    server.run(*accept)
    made.attack(2222, way="hold")
    ban = made.leak()
    kind, message = first(ban)
    assert "open-connection" == kind, ban
    assert "2222" in message
    assert "ESTABLISHED" in message
    assert "kill_connections" in ban["causes"][0]["proposal"]


def test_an_ipv6_twin(stage):
    """The banned machine goes on by its other address, as the same user."""
    made = stage(port="80,2222")
    attacker = made.attack(2222)
    made.server.await_ban("web", CLIENTS[0])
    end(attacker)
    made.attack(2222, source=CLIENTS6[0], count=2)
    eventually(lambda: made.why(CLIENTS[0], "--watch", "0")["bans"][0]["causes"], what="the twin is seen")
    ban = made.why(CLIENTS[0], "--watch", "0.2")["bans"][0]
    kind, message = first(ban)
    assert "twin" == kind, ban
    assert CLIENTS6[0] in message
    assert "'root'" in message


@pytest.mark.parametrize(
    "by_hand",
    [
        pytest.param("delete table inet banguard", id="table"),
        pytest.param(f"delete element inet banguard addr4-web {{ {CLIENTS[0]} }}", id="element"),
    ],
)
def test_a_rule_flushed_by_hand(stage, by_hand):
    """Somebody takes the ban out of the kernel behind banguard's back; it says so and builds it anew."""
    made = stage(port="80,2222")
    made.attack(2222, count=10)
    made.server.await_ban("web", CLIENTS[0])
    assert made.why(CLIENTS[0], "--watch", "0")["bans"][0]["walls"][0]["held"] is True
    made.network.server.run("nft", by_hand)
    kind, message = first(made.why(CLIENTS[0], "--watch", "0")["bans"][0])
    assert "flushed" == kind
    assert "by hand" in message
    eventually(
        lambda: made.why(CLIENTS[0], "--watch", "0")["bans"][0]["walls"][0]["held"] is True, what="it is built anew"
    )


def test_a_ban_that_holds_and_an_address_that_is_not_banned(stage):
    """No cause where nothing gets through; of others the counter is told."""
    made = stage(port="80,2222")
    attacker = made.attack(2222)
    made.server.await_ban("web", CLIENTS[0])
    ban = made.why(CLIENTS[0], "--watch", "1")["bans"][0]
    assert [] == ban["causes"]
    assert (3, True) == (len(ban["lines"]), ban["enforced"])
    assert any(packets["port"] == 2222 for packets in ban["packets"])
    end(attacker)
    made.attack(2222, source=CLIENTS[1], count=1)
    note = eventually(
        lambda: next((note for note in made.why(CLIENTS[1])["notes"] if note["failures"]), None), what="it is counted"
    )
    assert (1, 3) == (note["failures"], note["maxretry"])
    text = made.server.ask("why", CLIENTS[1])
    assert f"{CLIENTS[1]} is not banned" in text
    assert "1 of 3 failures" in text
    made.server.ask("unban", CLIENTS[0])
    assert "it was unbanned by hand" in made.server.ask("why", CLIENTS[0])
    assert "unbanned by hand" in made.server.ask("history", CLIENTS[0])
