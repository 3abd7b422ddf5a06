"""From the decision to the kernel, by nftables, ipset and iptables: many bans, one, one among many, a start."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time

import daemons

from banguard.actions import Dispatcher
from banguard.bans.registry import AttachJail, BanRequest, Registry
from banguard.bans.store_sqlite import SqliteStore
from banguard.clock import SystemClock
from banguard.config.schema import ActionConfig, ActionKind

MANY, RESTORED, SINGLE = 10_000, 20_000, 20
PRESENT = {"nftables": 50_000, "ipset": 50_000, "iptables": 5_000}
THEIRS = {
    "nftables": "nftables[type=allports]",
    "ipset": "iptables-ipset-proto6-allports",
    "iptables": "iptables-allports",
}
THEIR_MANY, THEIR_SINGLE = 200, 10


def run():
    reason = why_not()
    if reason:
        yield {"what": "decisions until the kernel has them", "ours": 0, "unit": "s", "note": reason}
        return
    few = f"fail2ban with {THEIR_MANY}, times"
    for kind, present in PRESENT.items():
        ours = measure(kind, "ours")
        theirs = measure(kind, "peer") if daemons.PEER else {}
        for key, what, unit, note in (
            ("many", f"{kind}: {MANY:,} bans at once", "s", f"{few} {MANY // THEIR_MANY}"),
            ("single", f"{kind}: one ban", "ms median", ""),
            ("restored", f"{kind}: {RESTORED:,} bans at a start", "s", f"{few} {RESTORED // THEIR_MANY}"),
            ("among", f"{kind}: one ban with {present:,} present", "ms median", f"fail2ban with {THEIR_MANY} present"),
        ):  # fmt: skip
            row = {"what": what, "ours": ours[key], "unit": unit}
            if key in theirs:
                row |= {"peer": "fail2ban", "theirs": theirs[key], "ratio": theirs[key] / ours[key]}
                row |= {"note": note} if note else {}
            yield row
    ours = measure("nftables", "beside")
    yield {
        "what": "nftables: one ban beside an action that sleeps 600 s",
        "ours": ours["beside"],
        "unit": "ms median",
        "note": f"alone {ours['alone']:.1f} ms",
    }


def why_not() -> str:
    if os.geteuid() != 0:
        return "left out: needs root for a private network"
    absent = [name for name in ("unshare", "nft", "ipset", "iptables", "setpriv") if shutil.which(name) is None]
    return f"left out: needs {', '.join(absent)}" if absent else ""


def measure(kind: str, who: str) -> dict:
    """Run the rest of this in a private network, and return what it prints."""
    inside = ["unshare", "-n", "setpriv", "--pdeathsig", "KILL", sys.executable, __file__, kind, who]
    finished = subprocess.run(inside, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=True)
    return json.loads(finished.stdout)


def addresses(number: int, net: int) -> list[str]:
    return [f"10.{net + each // 65536}.{each // 256 % 256}.{each % 256}" for each in range(number)]


# ---- ours: the registry with a database, the actions and the kernel, in this process


class Ours:
    """A registry and its actions, which tell when a ban is in force."""

    def __init__(self, directory: str, actions: list, jail: str = "probe") -> None:

        clock = SystemClock()
        self.jail = jail
        self.in_force: set[str] = set()
        self.changed = threading.Condition()
        self.dispatcher = Dispatcher(clock=clock)
        self.dispatcher._is_in_force = self.note  # noqa: SLF001  nothing else tells so soon
        self.registry = Registry(
            SqliteStore(os.path.join(directory, "bans.sqlite3")), self.dispatcher.emit, clock, lambda _: None
        )
        self.stop_event = threading.Event()
        self.thread = threading.Thread(target=self.registry.run, args=(self.stop_event,))
        self.thread.start()
        attach = AttachJail(jail, 3600, take=lambda bans: self.dispatcher.attach(jail, actions, bans) and None)
        self.registry.inbox.put(attach)
        attach.slot.wait(60)

    def note(self, bans) -> None:
        with self.changed:
            self.in_force.update(ban.host for ban in bans)
            self.changed.notify_all()

    def wait(self, hosts) -> None:
        wanted = set(hosts)
        with self.changed:
            assert self.changed.wait_for(lambda: wanted <= self.in_force, 120), "not banned"

    def ban(self, hosts) -> float:
        """Return the seconds from the decision until all *hosts* are in the kernel."""

        began = time.perf_counter()
        self.registry.inbox.put(BanRequest(self.jail, tuple(hosts)))
        self.wait(hosts)
        return time.perf_counter() - began

    def single(self, net: int, number: int = SINGLE) -> float:
        """Return the median of single bans, in milliseconds."""
        times = []
        for host in addresses(number, net):
            time.sleep(0.03)
            times.append(self.ban([host]) * 1000)
        return statistics.median(times)

    def close(self) -> None:
        self.stop_event.set()
        self.registry.inbox.close()
        self.thread.join(60)
        self.dispatcher.stop(2)


def native(kind: str):

    properties = {"name": "probe", "type": "allports", "maxelem": "200000"}
    return ActionConfig(kind, kind, ActionKind.NATIVE, native=kind, properties=properties)


def ours(kind: str) -> dict:
    with tempfile.TemporaryDirectory() as directory:
        one = Ours(directory, [native(kind)])
        one.dispatcher.wait(30)
        found = {"single": one.single(1), "many": one.ban(addresses(MANY, 2))}
        one.ban(addresses(RESTORED - MANY - SINGLE, 3))
        one.close()
        began = time.perf_counter()
        again = Ours(directory, [native(kind)])
        again.wait(addresses(MANY, 2) + addresses(RESTORED - MANY - SINGLE, 3))
        found["restored"] = time.perf_counter() - began
        if PRESENT[kind] > RESTORED:
            again.ban(addresses(PRESENT[kind] - RESTORED, 4))
            found["among"] = again.single(9)
            again.close()
            return found
        again.close()
    with tempfile.TemporaryDirectory() as directory:
        fewer = Ours(directory, [native(kind)])
        fewer.ban(addresses(PRESENT[kind], 4))
        found["among"] = fewer.single(9)
        fewer.close()
    return found


def beside() -> dict:

    sleeper = ActionConfig("sleeper", "sleeper", commands={"actionban": "sleep 600", "actionunban": "true"})
    found = {}
    for key, actions in (("alone", [native("nftables")]), ("beside", [sleeper, native("nftables")])):
        with tempfile.TemporaryDirectory() as directory:
            one = Ours(directory, actions)
            one.dispatcher.wait(5 if key == "alone" else 0.5)
            one.ban(["10.8.0.1"])
            found[key] = one.single(1)
            one.close()
    return found


# ---- fail2ban's: its server, asked by its socket


UNREACHABLE = ("--reject-with", "icmp-port-unreachable")
SEEN = {
    "nftables": lambda address: ["nft", "get", "element", "inet", "f2b-table", "addr-set-probe", f"{{ {address} }}"],
    "ipset": lambda address: ["ipset", "test", "f2b-probe", address],
    "iptables": lambda address: ["iptables", "-w", "-C", "f2b-probe", "-s", address, "-j", "REJECT", *UNREACHABLE],
}  # fmt: skip


def peer(kind: str) -> dict:
    with tempfile.TemporaryDirectory() as directory:
        log = os.path.join(directory, "app.log")
        open(log, "w").close()
        options = f"filter = common\nfailregex = ^never <HOST>$\nlogpath = {log}"
        action = f"action = {THEIRS[kind]}" if "[" in THEIRS[kind] else f"action = {THEIRS[kind]}[name=probe]"
        action = action.replace("type=allports]", "type=allports, name=probe]")
        site = daemons.site(directory, {"probe": options}, action=action, database="peer.sqlite3")
        control = ["fail2ban-client", "-c", site, "-s", os.path.join(directory, "peer.sock"), "-i"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}

        def ban(hosts) -> float:
            began = time.perf_counter()
            client.stdin.write(f"set probe banip {' '.join(hosts)}\n")
            client.stdin.flush()
            wait(hosts[-1])
            return time.perf_counter() - began

        def wait(host) -> None:
            deadline = time.monotonic() + 120
            while subprocess.run(SEEN[kind](host), capture_output=True, stdin=subprocess.DEVNULL).returncode:
                assert time.monotonic() < deadline, f"{host} is not banned"

        def single(net) -> float:
            times = []
            for host in addresses(THEIR_SINGLE, net):
                time.sleep(0.1)
                times.append(ban([host]) * 1000)
            return statistics.median(times)

        with (
            daemons.server(directory, site, peer=True),
            subprocess.Popen(control, stdin=subprocess.PIPE, text=True, **quiet) as client,
        ):
            ban(["10.7.0.1"])
            found = {"single": single(1)}
            found["many"] = ban(addresses(THEIR_MANY, 2)) * (MANY / THEIR_MANY)
            found["among"] = single(3)
            client.stdin.close()
        times = []

        def look() -> None:
            for host in (addresses(1, 1)[0], addresses(THEIR_SINGLE, 3)[-1]):  # in the order in which they are restored
                wait(host)
                times.append(time.perf_counter())

        looking = threading.Thread(target=look)
        looking.start()
        with daemons.server(directory, site, peer=True):
            looking.join()
        found["restored"] = (times[1] - times[0]) * RESTORED / (THEIR_MANY + 2 * THEIR_SINGLE)
        return found


if __name__ == "__main__":
    kind, who = sys.argv[1:]
    print(json.dumps(beside() if who == "beside" else peer(kind) if who == "peer" else ours(kind)))
