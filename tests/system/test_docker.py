"""A service behind address translation, as Docker publishes the ports of containers: bans reach what is forwarded."""

from __future__ import annotations

import subprocess
import sys

import pytest

from support.machine import CLIENTS, Namespace, eventually

CONTAINER = "172.31.0.2"
LISTEN = "import socket\ns = socket.create_server(('0.0.0.0', 80))\nwhile True:\n    c, _ = s.accept()\n    c.close()\n"
PUBLISH = f"""
table ip docker {{
    chain published {{
        type nat hook prerouting priority dstnat; policy accept;
        ip daddr 198.51.100.1 tcp dport 8080 dnat to {CONTAINER}:80
    }}
}}
"""


@pytest.fixture
def published(network):
    """A network whose server forwards port 8080 to port 80 of a container."""
    container = Namespace()
    server = network.server
    subprocess.run(
        ["ip", "link", "add", "docker0", "netns", str(server.pid), "type", "veth",
         "peer", "name", "eth0", "netns", str(container.pid)], check=True,
    )  # fmt: skip
    server.run("ip", "addr", "add", "172.31.0.1/24", "dev", "docker0")
    server.run("ip", "link", "set", "docker0", "up")
    container.run("ip", "addr", "add", f"{CONTAINER}/24", "dev", "eth0")
    container.run("ip", "link", "set", "eth0", "up")
    container.run("ip", "route", "add", "default", "via", "172.31.0.1")
    server.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
    server.run("nft", "-f", "-", text=PUBLISH)
    container.start(sys.executable, "-S", "-c", LISTEN)
    eventually(lambda: network.connect(CLIENTS[0], 8080, timeout=0.5) == "open", what="the container answers")
    yield network
    container.close()


@pytest.mark.parametrize(
    ("action", "chain", "blocked"),
    [
        pytest.param("nftables[type=allports]", "input", False, id="input-does-not-see-it"),
        pytest.param("nftables[type=allports]", "input,forward", True, id="forward"),
        pytest.param("nftables[priority=-150, blocktype=drop]", "prerouting", True, id="published-port"),
    ],
)
def test_where_a_ban_has_to_be(published, banguard, tmp_path, action, chain, blocked):
    """A ban in the chain `input` never sees traffic of containers; in `forward`, or before the translation, it does."""
    server = banguard(published.server)
    log = tmp_path / "web.log"
    log.touch()
    server.write(
        "jail.local",
        f"[web]\nenabled = true\nfilter = nginx-http-auth\nlogpath = {log}\nport = 8080\n"
        f"banaction = {action}\nchain = {chain}\n",
    )
    server.start(jails=["web"])
    server.ask("set", "web", "banip", CLIENTS[0])
    server.await_ban("web", CLIENTS[0])
    got = published.connect(CLIENTS[0], 8080, timeout=1.0)
    assert (got != "open") is blocked
    assert "open" == published.connect(CLIENTS[1], 8080)
    server.ask("set", "web", "unbanip", CLIENTS[0])
    eventually(lambda: published.connect(CLIENTS[0], 8080, timeout=1.0) == "open", what="the unban lets it in again")
