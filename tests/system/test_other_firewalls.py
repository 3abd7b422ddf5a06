"""firewalld, ufw, routes and hosts.deny, each the real one: they block whom they should, are put right, and are left clean."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys

import pytest

from support.machine import CLIENTS, CLIENTS6, eventually

LISTEN = """\
import select, socket
listeners = [socket.create_server(("::", 80), family=socket.AF_INET6, dualstack_ipv6=True)]
while True:
    for ready in select.select(listeners, [], [])[0]:
        ready.accept()[0].close()
"""

BUS = """\
<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path={path}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/><allow own="*"/><allow send_type="method_call"/><allow send_type="signal"/>
    <allow send_requested_reply="true"/><allow receive_type="method_call"/><allow receive_type="signal"/>
    <allow receive_requested_reply="true"/>
  </policy>
</busconfig>
"""


def need(*programs):
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"needs {program}")


def serve(network):
    network.server.start(sys.executable, "-S", "-c", LISTEN)
    eventually(lambda: network.connect(CLIENTS[1], 80, timeout=0.5) == "open", what="the port is open")


def configure(server, tmp_path, action):
    log = tmp_path / "web.log"
    log.touch()
    server.write(
        "jail.local",
        f"[web]\nenabled = true\nfilter = sshd\nlogpath = {log}\nport = 80\nbantime = 600\nbanaction = {action}\n",
    )


def blocked(network, host):
    return network.connect(host, 80, timeout=0.6) != "open"


def check_bans(network, server, *, ipv6=True):
    """Ban, look from both sides, unban, expire."""
    pairs = [(CLIENTS[0], CLIENTS[1])] + ([(CLIENTS6[0], CLIENTS6[1])] if ipv6 else [])
    for attacker, other in pairs:
        server.ask("set", "web", "banip", attacker)
        server.await_ban("web", attacker)
        assert blocked(network, attacker)
        assert not blocked(network, other)
        server.ask("set", "web", "unbanip", attacker)
        eventually(lambda attacker=attacker: not blocked(network, attacker), what="the unban lets it in")
    server.ask("set", "web", "bantime", "2")
    server.ask("set", "web", "banip", CLIENTS[0])
    eventually(lambda: blocked(network, CLIENTS[0]), what="banned for a moment")
    eventually(lambda: not blocked(network, CLIENTS[0]), what="the ban is over")
    server.ask("set", "web", "bantime", "600")
    server.ask("set", "web", "banip", CLIENTS[0], CLIENTS6[0], "203.0.113.0/24", "203.0.113.0/25")

    def enforced():
        return [each["enforced"] for each in json.loads(server.ask("--json", "status", "web"))["actions"]["banned"]]

    eventually(lambda: enforced() == [True] * 4, what="all four are enforced")


@pytest.fixture(params=["nftables", "iptables"])
def firewalld(request, network, tmp_path):
    """A firewalld on a bus of its own; returns the environment that leads to it, and how to restart it."""
    need("firewalld", "firewall-cmd", "dbus-daemon", "ipset", "iptables")
    conf = tmp_path / "firewalld"
    conf.mkdir()
    (conf / "firewalld.conf").write_text(
        f"DefaultZone=public\nCleanupOnExit=yes\nFirewallBackend={request.param}\nLogDenied=off\n"
    )
    bus = tmp_path / "bus"
    (tmp_path / "bus.conf").write_text(BUS.format(path=bus))
    network.server.start("dbus-daemon", f"--config-file={tmp_path}/bus.conf", "--nofork", "--nopidfile")
    eventually(bus.exists, what="the bus is there")
    environ = {**os.environ, "DBUS_SYSTEM_BUS_ADDRESS": f"unix:path={bus}"}

    def start():
        made = network.server.start(
            "firewalld", "--nofork", "--nopid", "--system-config", str(conf), "--log-file", str(tmp_path / "fw.log"),
            env=environ,
        )  # fmt: skip
        eventually(
            lambda: network.server.run("firewall-cmd", "--state", check=False, env=environ).returncode == 0,
            what="firewalld runs",
        )
        network.server.run("firewall-cmd", "--add-port=80/tcp", env=environ)
        return made

    start()
    return environ


@pytest.mark.parametrize("action", ["firewallcmd-ipset", "firewallcmd-rich-rules"])
def test_firewalld(network, banguard, tmp_path, firewalld, action):
    """Both backends, sets and rich rules; a reload of firewalld, which forgets them, is mended."""
    serve(network)

    def rules():
        words = ("--list-rich-rules",) if "rich" in action else ("--direct", "--get-all-rules")
        return sorted(filter(None, network.server.run("firewall-cmd", *words, env=firewalld).stdout.splitlines()))

    assert [] == rules()
    server = banguard(network.server)
    server.env.update(firewalld)
    configure(server, tmp_path, action)
    server.start(jails=["web"])
    check_bans(network, server)
    before = rules()
    network.server.run("firewall-cmd", "--reload", env=firewalld)
    network.server.run("firewall-cmd", "--add-port=80/tcp", env=firewalld)
    eventually(lambda: len(rules()) == len(before) and blocked(network, CLIENTS[0]), within=20, what="mended")
    assert not blocked(network, CLIENTS[1])
    if action == "firewallcmd-ipset":
        server.ask("set", "web", "bantime.quiet", "1h")
        eventually(lambda: " counters" in network.server.run("ipset", "save").stdout, what="the sets count")
        assert blocked(network, CLIENTS[0])
        listed = network.server.run("ipset", "save").stdout
        assert re.search(rf"add bg-web-a4 {CLIENTS[0]} .*packets [1-9]", listed), listed
    server.stop()
    assert [] == rules()
    assert not blocked(network, CLIENTS[0])
    assert "" == network.server.run("ipset", "list", "-n").stdout


def test_ufw(network, banguard, tmp_path):
    """Rules in front of ufw's own, with our mark; what is flushed comes back, and a stop takes them all out."""
    need("ufw", "iptables")
    for number, path in enumerate(("/etc/ufw", "/etc/default/ufw")):
        copy = str(tmp_path / f"copy{number}")
        subprocess.run(["cp", "-a", path, copy], check=True)
        network.server.run("mount", "--bind", copy, path)
    network.server.run("ufw", "--force", "enable")
    network.server.run("ufw", "allow", "80/tcp")
    serve(network)

    def ours():
        return [line for line in network.server.run("ufw", "show", "added").stdout.splitlines() if "banguard" in line]

    server = banguard(network.server)
    configure(server, tmp_path, "ufw")
    server.start(jails=["web"])
    check_bans(network, server)
    eventually(lambda: len(ours()) == 4, what="four rules")
    network.server.run("sh", "-c", "iptables -w -P INPUT ACCEPT; iptables -w -F; iptables -w -X")
    eventually(lambda: blocked(network, CLIENTS[0]), within=20, what="what was flushed is back")
    assert not blocked(network, CLIENTS[1])
    server.stop()
    assert [] == ours()
    assert not blocked(network, CLIENTS[0])


def test_route(network, banguard, tmp_path):
    """Nothing is sent to a banned address any more; a deleted route comes back within seconds."""
    serve(network)
    network.server.run("ip", "route", "add", "blackhole", "203.0.113.77")
    server = banguard(network.server)
    configure(server, tmp_path, "route[blocktype=blackhole]")
    server.start(jails=["web"])
    check_bans(network, server)
    network.server.run("ip", "route", "del", "blackhole", CLIENTS[0])
    eventually(lambda: blocked(network, CLIENTS[0]), within=3, what="the route is back")
    server.stop()
    left = network.server.run("ip", "route", "show", "type", "blackhole").stdout.split()
    assert ["blackhole", "203.0.113.77"] == left[:2]
    assert CLIENTS[0] not in left


def test_hosts_deny(network, banguard, tmp_path):
    """A real sshd with libwrap refuses the banned address before any word; the file is left as it was."""
    need("sshd", "ssh-keygen")
    if b"libwrap" not in subprocess.run(["ldd", shutil.which("sshd")], capture_output=True, check=False).stdout:
        pytest.skip("this sshd does not ask libwrap")
    deny = tmp_path / "hosts.deny"
    deny.write_text("# mine\nftpd: 203.0.113.5\n")
    network.server.run("mount", "--bind", str(deny), "/etc/hosts.deny")
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    config = tmp_path / "sshd_config"
    config.write_text(f"Port 22\nHostKey {key}\nPidFile none\nUsePAM no\nStrictModes no\n")
    network.server.start(shutil.which("sshd"), "-D", "-e", "-f", str(config))
    eventually(lambda: network.connect(CLIENTS[1], 22, timeout=0.5) == "open", what="sshd is up")

    def greeted(host):
        script = (
            "import socket, sys; s = socket.socket(socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET);"
            "s.settimeout(1.5); s.bind((sys.argv[1], 0)); s.connect((sys.argv[2], 22));"
            "print(s.recv(4).decode(errors='replace'))"
        )
        target = "2001:db8::1" if ":" in host else "198.51.100.1"
        done = network.client.run(sys.executable, "-S", "-c", script, host, target, check=False)
        return "SSH-" in done.stdout

    server = banguard(network.server)
    configure(server, tmp_path, "hostsdeny")
    server.start(jails=["web"])
    for attacker, other in ((CLIENTS[0], CLIENTS[1]), (CLIENTS6[0], CLIENTS6[1])):
        server.ask("set", "web", "banip", attacker)
        server.await_ban("web", attacker)
        assert not greeted(attacker)
        assert greeted(other)
    deny.write_text("# mine\nftpd: 203.0.113.5\n")
    eventually(lambda: not greeted(CLIENTS[0]), within=3, what="our lines are back")
    server.ask("set", "web", "unbanip", CLIENTS[0])
    eventually(lambda: greeted(CLIENTS[0]), what="unbanned")
    server.stop()
    assert "# mine\nftpd: 203.0.113.5\n" == deny.read_text()
    assert json.dumps(sorted(os.listdir(tmp_path))).count("banguard-new") == 0
