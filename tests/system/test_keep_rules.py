"""`keep_rules`: bans outlive the server in the firewall, end by themselves, and the next start takes them over."""

from __future__ import annotations

import shutil
import sys

import pytest

from support.machine import CLIENTS, SERVER, eventually

pytestmark = pytest.mark.skipif(
    not (shutil.which("iptables") and shutil.which("ipset")), reason="needs iptables and ipset"
)

LISTEN = """\
import select, socket, sys
listeners = [socket.create_server(("", int(port))) for port in sys.argv[1:]]
while True:
    for ready in select.select(listeners, [], [])[0]:
        ready.accept()[0].close()
"""

# Tells which of the ports can be reached.
REACH = """\
import select, socket, sys
source, target, *ports = sys.argv[1:]
tried = {}
for port in ports:
    one = socket.socket()
    one.setblocking(False)
    one.bind((source, 0))
    one.connect_ex((target, int(port)))
    tried[one] = port
done = []
while True:
    ready = select.select([], [one for one in tried if one not in done], [], 0.2)[1]
    if not ready:
        break
    done += ready
print(*(port for one, port in tried.items() if one in done and not one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)))
"""

# Knocks at every port without end, and writes down those that open.
KNOCK = """\
import socket, sys, time
source, target, *ports = sys.argv[1:]
rounds = 0
while True:
    for port in ports:
        with socket.socket() as tried:
            tried.bind((source, 0))
            tried.settimeout(0.02)
            try:
                tried.connect((target, int(port)))
                print("open", port, flush=True)
            except OSError:
                pass
    rounds += 1
    if rounds == 20:
        print("knocking", flush=True)
    time.sleep(0.003)
"""

JAILS = {
    "nft": ("nftables", 81, 600),
    "other": ("nftables", 82, 600),
    "set": ("iptables-ipset", 83, 600),
    "rule": ("iptables-multiport", 84, 600),
    "brief": ("nftables", 85, 4),
    "briefset": ("iptables-ipset", 86, 4),
}
GONE = {"gone": ("nftables", 87, 600), "goneset": ("iptables-ipset", 88, 600), "gonerule": ("iptables", 89, 600)}


def configuration(jails, log):
    head = f"[DEFAULT]\nfilter =\nfailregex = ^ bad <HOST>$\nlogpath = {log}\nignoreself = false\n"
    return head + "".join(
        f"[{name}]\nenabled = true\nport = {port}\nbantime = {seconds}\nbanaction = {action}\n"
        for name, (action, port, seconds) in jails.items()
    )


def reach(network, *ports):
    """Return the ports of the server that the first client reaches."""
    words = network.client.run(sys.executable, "-S", "-c", REACH, CLIENTS[0], SERVER, *map(str, ports)).stdout
    return [int(word) for word in words.split()]


def keep(server, word):
    server.write("banguard.local", f"[Definition]\ndbfile = {server.database}\nkeep_rules = {word}\n")


def test_bans_outlive_the_server(network, banguard, tmp_path):
    """Nobody who stays banned gets through while the server stops, is away, or starts; what nobody wants any more goes."""
    everything = {**JAILS, **GONE}
    network.server.start(sys.executable, "-S", "-c", LISTEN, *(str(port) for _, port, _ in everything.values()))
    eventually(lambda: network.connect(CLIENTS[1], 89) == "open", what="the ports are open")
    server = banguard(network.server)
    log = tmp_path / "app.log"
    log.touch()
    server.write("jail.local", configuration(everything, log))
    keep(server, "yes")
    server.start(jails=list(everything))
    for jail in everything:
        server.ask("set", jail, "banip", CLIENTS[0])
        server.await_ban(jail, CLIENTS[0])

    def reached():
        return reach(network, *(port for _, port, _ in everything.values()))

    assert [] == reached()
    knocked = tmp_path / "knocked"
    long = [str(port) for name, (_, port, seconds) in JAILS.items() if seconds == 600]
    knocking = network.client.start(sys.executable, "-S", "-c", KNOCK, CLIENTS[0], SERVER, *long, output=str(knocked))
    eventually(lambda: knocked.read_text() == "knocking\n", what="somebody knocks")

    server.stop()
    assert "The firewall keeps its rules" in server.read_log()
    eventually(lambda: reached() == [85, 86], what="short bans end without the server, the others do not")
    server.write("jail.local", configuration(JAILS, log))
    server.start(jails=list(JAILS))
    assert [CLIENTS[0]] == server.banned("nft")
    eventually(lambda: reached() == [85, 86, 87, 88, 89], what="what no jail wants is gone")
    listed = network.server.run("sh", "-c", "nft list ruleset; ipset list -n").stdout
    assert "gone" not in listed
    assert "-new" not in listed
    assert network.connect(CLIENTS[1], 81) == "open"
    server.ask("set", "set", "unbanip", CLIENTS[0])
    eventually(lambda: 83 in reached(), what="a ban that was taken over can be lifted")
    server.ask("set", "set", "banip", CLIENTS[0])
    server.await_ban("set", CLIENTS[0])

    knocking.kill()
    assert {"knocking", "open 83"} >= set(knocked.read_text().splitlines())
    keep(server, "no")
    server.ask("reload")
    server.stop()
    assert [port for _, port, _ in everything.values()] == reached()
    left = network.server.run("sh", "-c", "nft list tables; ipset list -n; iptables -S").stdout
    assert "bg-" not in left
    assert "banguard" not in left


def test_a_jail_whose_ports_changed_meanwhile(network, banguard, tmp_path):
    """What leads to the rules that were kept is made anew, and nothing of the old is left."""
    network.server.start(sys.executable, "-S", "-c", LISTEN, "81", "82", "83", "84", "85", "86")
    eventually(lambda: network.connect(CLIENTS[1], 86) == "open", what="the ports are open")
    server = banguard(network.server)
    log = tmp_path / "app.log"
    log.touch()
    actions = ("nftables", "iptables-ipset", "iptables-multiport")
    server.write("jail.local", configuration({f"j{n}": (action, 81 + n, 600) for n, action in enumerate(actions)}, log))
    keep(server, "yes")
    server.start(jails=["j0", "j1", "j2"])
    for n in range(3):
        server.ask("set", f"j{n}", "banip", CLIENTS[0])
        server.await_ban(f"j{n}", CLIENTS[0])
    server.stop()
    changed = {f"j{n}": (f"{action}[maxelem=99]", 84 + n, 600) for n, action in enumerate(actions)}
    server.write("jail.local", configuration(changed, log))
    server.start(jails=["j0", "j1", "j2"])

    def reached():
        return reach(network, *range(81, 87))

    eventually(lambda: reached() == [81, 82, 83], what="the new ports are closed, the old ones open")
    assert "maxelem 99 " in network.server.run("ipset", "save").stdout
    keep(server, "no")
    server.ask("reload")
    server.stop()
    left = network.server.run("sh", "-c", "nft list tables; ipset list -n; iptables -S; ip6tables -S").stdout
    assert "bg-" not in left
    assert "banguard" not in left
