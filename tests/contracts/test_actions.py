"""What every firewall action promises, tried on every member of the table with the real thing behind it."""

from __future__ import annotations

import ipaddress
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

import pytest

from banguard import run
from banguard.actions.base import NATIVE_ACTIONS, Step, TellsHeld, TellsSenders, native_action
from banguard.actions.nftables import NftablesAction as NATIVE_NFT
from banguard.actions.senders import WATCH
from banguard.errors import ActionError
from banguard.model import Ban
from support.machine import Namespace, why_not


class Null:
    """Looks into a null action."""

    def __init__(self):
        self.made = native_action("null")({})

    def held(self, member):
        return set(self.made.members.get(member, ()))

    def wreck(self):
        self.made.members.clear()
        self.made.intact = False

    def close(self):
        pass


class Nftables:
    """Looks into the kernel of a private network."""

    def __init__(self):
        self.machine = Namespace()
        self.made = native_action("nftables")({}, runner=self.run)

    def run(self, argv, **more):
        return run.run(self.machine.argv(*argv), **more)

    def held(self, member):
        name = member.partition("/")[0]
        found = set()
        for kind in ("addr4", "addr6", "net4", "net6"):
            done = subprocess.run(
                self.machine.argv("nft", "-j", "list", "set", "inet", "banguard", f"{kind}-{name}"),
                capture_output=True,
                text=True,
                stdin=subprocess.DEVNULL,
            )
            if done.returncode:
                continue
            for entry in json.loads(done.stdout)["nftables"]:
                for element in entry.get("set", {}).get("elem", []):
                    value = element["elem"]["val"] if isinstance(element, dict) and "elem" in element else element
                    if isinstance(value, dict):
                        value = f"{value['prefix']['addr']}/{value['prefix']['len']}"
                    found.add(str(value))
        return found

    def wreck(self):
        self.machine.run("nft", "flush", "ruleset")

    def close(self):
        self.machine.close()


class Iptables:
    """Looks into the chains of a private network."""

    name = "iptables"

    def __init__(self):
        self.machine = Namespace()
        self.made = native_action(self.name)({}, runner=self.run)

    def run(self, argv, **more):
        return run.run(self.machine.argv(*argv), **more)

    def held(self, member):
        rules = "".join(
            self.machine.run(program, "-S", f"bg-{member.partition('/')[0]}", check=False).stdout
            for program in ("iptables", "ip6tables")
        )
        return {str(ipaddress.ip_network(found)).removesuffix("/32").removesuffix("/128")
                for found in re.findall(r"-s (\S+)", rules)}  # fmt: skip

    def wreck(self):
        for program in ("iptables", "ip6tables"):
            self.machine.run(program, "-F")

    def close(self):
        self.machine.close()


class Ipset(Iptables):
    """Looks into the sets of a private network."""

    name = "ipset"

    def held(self, member):
        listed = self.machine.run("ipset", "save").stdout
        return set(re.findall(rf"^add bg-{member.partition('/')[0]}-\S+ (\S+)", listed, re.MULTILINE))


class Routes(Iptables):
    """Looks into the routes of a private network."""

    name = "route"

    def properties(self, name):
        return {"table": str(100 + len(name))}

    def held(self, member):
        table = self.properties(member.partition("/")[0])["table"]
        listed = "".join(
            self.machine.run("ip", family, "route", "show", "table", table, check=False).stdout
            for family in ("-4", "-6")
        )
        return {line.split()[1] for line in listed.splitlines()}

    def wreck(self):
        for family in ("-4", "-6"):
            for table in ("103", "104"):
                self.machine.run("ip", family, "route", "flush", "table", table, check=False)


class HostsDeny:
    """Looks into a file."""

    def __init__(self):
        self.directory = tempfile.TemporaryDirectory()
        self.path = os.path.join(self.directory.name, "hosts.deny")
        with open(self.path, "w", encoding="ascii") as file:
            file.write("# mine\nsshd: 203.0.113.99\n")
        self.made = native_action("hostsdeny")({})

    def properties(self, name):
        return {"file": self.path, "daemon_list": name}

    def held(self, member):
        with open(self.path, encoding="ascii") as file:
            lines = file.read().splitlines()
        assert lines[:2] == ["# mine", "sshd: 203.0.113.99"] or "wrecked" in lines[0]
        start = f"{member.partition('/')[0]}: "
        clients = [
            line.split()[1].replace("[", "").replace("]", "")
            for line in lines
            if line.startswith(start) and line.endswith("# banguard")
        ]
        return {str(ipaddress.ip_network(client)).removesuffix("/32").removesuffix("/128") for client in clients}

    def wreck(self):
        with open(self.path, "w", encoding="ascii") as file:
            file.write("# wrecked\n")

    def close(self):
        self.directory.cleanup()


class Bsd:
    """A stand-in for ipfw or pfctl, which keeps tables as the real one does; the real ones run on BSD only."""

    def __init__(self):
        self.tables = {}
        self.rules = {}
        self.made = native_action(self.name)({}, runner=self.run)

    def run(self, argv, *, stdin=b"", **_):
        return self.answer(list(argv), stdin.decode())

    def properties(self, name):
        return {"table": name}

    def held(self, member):
        name = member.partition("/")[0]
        return set(self.tables.get(name, self.tables.get(f"banguard/{name}", ())))

    def wreck(self):
        self.tables.clear()
        self.rules.clear()

    def close(self):
        pass


class Ipfw(Bsd):
    name = "ipfw"

    def answer(self, argv, text):
        words = [word for word in argv[1:] if word != "-q"]
        if words == ["/dev/stdin"]:
            results = [self.answer(["ipfw", *line.split()], "") for line in text.splitlines()]
            return next((result for result in results if result.returncode), run.Finished(0))
        match words:
            case ["table", table, "create", *_]:
                known = table in self.tables
                self.tables.setdefault(table, set())
                return run.Finished(71 if known else 0)
            case ["table", table, *_] if table not in self.tables:
                return run.Finished(71, stderr=b"ipfw: No such table")
            case ["table", table, "flush"]:
                self.tables[table].clear()
            case ["table", table, "list"]:
                return run.Finished(0, "".join(f"{one} 0\n" for one in sorted(self.tables[table])).encode())
            case ["table", table, "add", address]:
                if address in self.tables[table]:
                    return run.Finished(71, stderr=b"ipfw: record already exists")
                self.tables[table].add(address)
            case ["table", table, "delete", address]:
                if address not in self.tables[table]:
                    return run.Finished(71, stderr=b"ipfw: record not found")
                self.tables[table].discard(address)
            case ["table", table, "destroy"]:
                del self.tables[table]
            case ["list"]:
                rules = [f"{number:05d} {text}\n" for number in sorted(self.rules) for text in self.rules[number]]
                return run.Finished(0, "".join((*rules, "65535 deny ip from any to any\n")).encode())
            case ["delete", number]:
                if self.rules.pop(int(number), None) is None:
                    return run.Finished(69, stderr=b"ipfw: rule not found")
            case ["add", number, *rest]:
                self.rules.setdefault(int(number), []).append(" ".join(rest))
            case _:
                return run.Finished(64, stderr=f"unknown: {words}".encode())
        return run.Finished(0)


class Pf(Bsd):
    name = "pf"

    def answer(self, argv, text):
        words = argv[1:]
        assert words[:2] == ["-q", "-a"]
        anchor = words[2]
        match words[3:]:
            case ["-f", "-"]:
                self.rules[anchor] = text
                self.tables.setdefault(anchor, set())
            case ["-F", "all"]:
                self.rules.pop(anchor, None)
                self.tables.pop(anchor, None)
            case ["-sr"]:
                return run.Finished(0, self.rules.get(anchor, "").encode())
            case ["-t", _, "-T", *_] if anchor not in self.tables:
                return run.Finished(255, stderr=b"pfctl: Table does not exist.")
            case ["-t", _, "-T", "flush"]:
                self.tables[anchor].clear()
            case ["-t", _, "-T", "show"]:
                return run.Finished(0, "".join(f"   {one}\n" for one in sorted(self.tables[anchor])).encode())
            case ["-t", _, "-T", "add", *addresses]:
                self.tables[anchor].update(text.split() if addresses == ["-f", "-"] else addresses)
            case ["-t", _, "-T", "delete", *addresses]:
                self.tables[anchor].difference_update(text.split() if addresses == ["-f", "-"] else addresses)
            case _:
                return run.Finished(1, stderr=f"unknown: {words}".encode())
        return run.Finished(0)


KINDS = {
    "null": Null, "nftables": Nftables, "iptables": Iptables, "ipset": Ipset, "route": Routes, "hostsdeny": HostsDeny,
    "ipfw": Ipfw, "pf": Pf,
}  # fmt: skip
WITHOUT_RIGHTS = {"null", "hostsdeny", "ipfw", "pf"}
PROGRAM = {"iptables": "iptables-restore", "ipset": "ipset"}
ELSEWHERE = {"firewalld", "firewalld-rich-rules", "ufw"}
"""Members whose programs take long to start: tests/system/test_other_firewalls.py tries them in one go."""


@pytest.fixture(params=sorted(KINDS))
def firewall(request):
    reason = why_not() if request.param not in WITHOUT_RIGHTS else None
    program = PROGRAM.get(request.param)
    if reason is None and program is not None and shutil.which(program) is None:
        reason = f"needs {program}"
    if reason is not None:
        pytest.skip(reason)
    made = KINDS[request.param]()
    yield made
    made.close()


PROPERTIES = {"name": "sshd", "port": "ssh"}
HOSTS = {"192.0.2.1", "2001:db8::1", "198.51.100.0/24", "2001:db8:1::/48"}


def ban(host, seconds=600.0):
    now = time.time()
    return Ban("sshd", host, now, None if seconds is None else now + seconds)


def step(host, old=None, new=None, member="sshd/nft", **more):
    return Step(member, host, old, new, **more)


def properties(firewall, member):
    """Return the properties of a member; jails of one list are tried in the unit test of `plain`."""
    name = member.partition("/")[0]
    more = getattr(firewall, "properties", dict)
    return {**PROPERTIES, "name": name, **(more(name) if more is not dict else {})}


def join(firewall, *hosts, member="sshd/nft"):
    firewall.made.join(member, properties(firewall, member), [ban(host) for host in hosts], time.time())


def test_every_member_of_the_table_is_tried_here():
    """A new action needs a way to look into it."""
    assert set(NATIVE_ACTIONS) == set(KINDS) | ELSEWHERE


def test_joining_brings_the_bans(firewall):
    """Addresses and networks of both families; what has ended is left out."""
    join(firewall, *HOSTS)
    assert HOSTS == firewall.held("sshd/nft")
    bans = [ban("192.0.2.1", None), ban("192.0.2.2", -1.0)]
    firewall.made.join("web/nft", properties(firewall, "web/nft"), bans, time.time())
    assert {"192.0.2.1"} == firewall.held("web/nft")
    assert HOSTS == firewall.held("sshd/nft")
    assert firewall.made.check()


def test_steps_change_what_is_held(firewall):
    """Bans, unbans, and other ends."""
    join(firewall)
    firewall.made.apply([step(host, new=ban(host)) for host in sorted(HOSTS)], time.time())
    assert HOSTS == firewall.held("sshd/nft")
    firewall.made.apply([step(host, old=ban(host), new=ban(host, None)) for host in sorted(HOSTS)], time.time())
    assert HOSTS == firewall.held("sshd/nft")
    firewall.made.apply([step(host, old=ban(host)) for host in sorted(HOSTS)], time.time())
    assert set() == firewall.held("sshd/nft")


def test_doing_it_again_is_no_error(firewall):
    """Removing what is gone, adding what is there."""
    join(firewall, "192.0.2.1")
    for _ in range(2):
        firewall.made.apply([step("192.0.2.1", new=ban("192.0.2.1"), again=True)], time.time())
    assert {"192.0.2.1"} == firewall.held("sshd/nft")
    for _ in range(2):
        firewall.made.apply([step(host, old=ban(host)) for host in sorted(HOSTS)], time.time())
    assert set() == firewall.held("sshd/nft")


def test_members_are_apart(firewall):
    """A host may be banned by several jails, and unbanned by one of them."""
    join(firewall, "192.0.2.1")
    join(firewall, "192.0.2.1", member="web/nft")
    firewall.made.apply([step("192.0.2.1", old=ban("192.0.2.1"), member="web/nft")], time.time())
    assert ({"192.0.2.1"}, set()) == (firewall.held("sshd/nft"), firewall.held("web/nft"))
    firewall.made.leave("sshd/nft")
    assert set() == firewall.held("sshd/nft")
    firewall.made.apply([step("192.0.2.7", new=ban("192.0.2.7"), member="web/nft")], time.time())
    assert {"192.0.2.7"} == firewall.held("web/nft")
    firewall.made.leave("web/nft")
    firewall.made.leave("web/nft")


def test_joining_again_replaces(firewall):
    """The member's old bans are gone, others' are not."""
    join(firewall, "192.0.2.1")
    join(firewall, "192.0.2.1", member="web/nft")
    join(firewall, "192.0.2.2")
    assert ({"192.0.2.2"}, {"192.0.2.1"}) == (firewall.held("sshd/nft"), firewall.held("web/nft"))


def test_damage_is_found_and_mended(firewall):
    """The check sees it, the rebuild makes everything anew."""
    join(firewall, "192.0.2.1")
    join(firewall, member="web/nft")
    assert firewall.made.check()
    firewall.wreck()
    assert not firewall.made.check()
    firewall.made.rebuild({"sshd/nft": [ban(host) for host in HOSTS], "web/nft": [ban("192.0.2.9")]}, time.time())
    assert firewall.made.check()
    assert (HOSTS, {"192.0.2.9"}) == (firewall.held("sshd/nft"), firewall.held("web/nft"))


def test_leaving_a_wrecked_firewall(firewall):
    """Stopping never fails because somebody was faster."""
    join(firewall, "192.0.2.1")
    join(firewall, member="web/nft")
    firewall.wreck()
    firewall.made.leave("sshd/nft")
    firewall.made.leave("web/nft")


def test_networks_that_cover_each_other(firewall):
    """In any order of coming and going; what is not covered by another ban in the end is free."""
    join(firewall)
    networks = ["10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "10.200.0.0/16"]

    def covered(address):
        return any(ipaddress.ip_address(address) in ipaddress.ip_network(held) for held in firewall.held("sshd/nft"))

    for network in reversed(networks):
        firewall.made.apply([step(network, new=ban(network))], time.time())
    assert covered("10.99.0.1")
    firewall.made.apply([step("10.0.0.0/8", old=ban("10.0.0.0/8"))], time.time())
    assert [False, True, True, True] == [covered(a) for a in ("10.99.0.1", "10.1.9.1", "10.1.2.3", "10.200.0.1")]
    firewall.made.apply([step("10.1.0.0/16", old=ban("10.1.0.0/16"))], time.time())
    assert [False, True] == [covered(a) for a in ("10.1.9.1", "10.1.2.3")]


def test_forgetting_a_member_leaves_what_is_there(firewall):
    """Bans may outlive the server; the next one takes the place over."""
    join(firewall, "192.0.2.1")
    held = firewall.held("sshd/nft")
    firewall.made.forget("sshd/nft")
    assert firewall.held("sshd/nft") in (held, set())
    join(firewall, "192.0.2.2")
    firewall.made.sweep()
    assert {"192.0.2.2"} == firewall.held("sshd/nft")


def test_who_can_tell_senders():
    """The firewalls that count packets; the test below tries them."""
    assert {"nftables", "iptables", "ipset", "firewalld"} == {
        name for name in NATIVE_ACTIONS if hasattr(native_action(name), "senders")
    }


SEND = """\
import socket, sys
for source in sys.argv[1:]:
    six = ":" in source
    with socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_DGRAM) as sending:
        sending.bind((source, 0))
        sending.sendto(b"x", ("::1" if six else "127.0.0.1", 9))
"""


@pytest.mark.parametrize("firewall", ["nftables", "iptables", "ipset"], indirect=True)
def test_who_still_sends(firewall):
    """Told by real packets: of addresses and networks of both families, after each change of what is banned."""
    made, machine = firewall.made, firewall.machine
    assert isinstance(made, TellsSenders)
    machine.run("ip", "addr", "add", "2001:db8::5/128", "dev", "lo")
    machine.run("ip", "addr", "add", "2001:db8:1::5/128", "dev", "lo")
    keys = ["127.0.0.5", "127.0.0.6", "2001:db8::5", "127.0.1.0/24", "2001:db8:1::/48", "127.0.2.0/24"]
    wanted = {"name": "sshd", "type": "allports", "protocol": "all", "blocktype": "DROP", WATCH: "60"}
    if isinstance(made, NATIVE_NFT):
        wanted["blocktype"] = "drop"
    member = "sshd/nft"

    def send(*sources):
        machine.run(sys.executable, "-S", "-c", SEND, *sources)

    def senders():
        return {key: at for key, at in made.senders(member, time.time()).items() if key in keys}

    made.join(member, wanted, [ban(key) for key in keys], time.time())
    assert made.check()
    assert {} == senders()
    began = time.time()
    send("127.0.0.5", "2001:db8::5", "127.0.1.7", "2001:db8:1::5", "127.0.0.9")
    ended = time.time()
    first = senders()
    assert {"127.0.0.5", "2001:db8::5", "127.0.1.0/24", "2001:db8:1::/48"} == first.keys()
    assert all(began - 1 <= at <= time.time() for at in first.values())
    assert all(at <= ended + 1 for at in senders().values())  # told again or not: no later packet is made up
    made.apply([step(key, old=ban(key), new=ban(key, 900.0)) for key in keys], time.time())
    time.sleep(1.1)
    later = time.time()
    send("127.0.0.5", "127.0.1.7")
    assert {"127.0.0.5", "127.0.1.0/24"} == {key for key, at in senders().items() if at > later - 0.5}
    made.rebuild({member: [ban(key) for key in keys]}, time.time())
    send("127.0.0.6")
    assert ["127.0.0.6"] == list(senders())
    made.apply([step("127.0.0.6", old=ban("127.0.0.6"))], time.time())
    machine.run("nft", "flush", "ruleset")
    if isinstance(made, NATIVE_NFT):
        with pytest.raises(ActionError):
            made.senders(member, time.time())
    made.leave(member)


def test_a_full_memory_of_senders_opens_no_door():
    """With no room for another sender, its packets are blocked all the same."""
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    firewall = Nftables()
    try:
        wanted = {"name": "sshd", "type": "allports", "protocol": "all", "blocktype": "drop", WATCH: "60"}
        firewall.made.join("m", wanted, [ban("127.0.0.5"), ban("127.0.0.6")], time.time())
        script = "flush chain inet banguard ban-sshd; delete set inet banguard seen4-sshd\n"
        script += "add set inet banguard seen4-sshd { type ipv4_addr; flags dynamic, timeout; timeout 99s; size 1; }\n"
        rules = ["ip saddr @addr4-sshd update @seen4-sshd { ip saddr }", "ip saddr @addr4-sshd counter drop"]
        script += "".join(f"add rule inet banguard ban-sshd {rule}\n" for rule in rules)
        firewall.machine.run("nft", "-f", "-", text=script)
        firewall.machine.run(sys.executable, "-S", "-c", SEND, "127.0.0.5", "127.0.0.6")
        assert (
            "counter packets 2 " in firewall.machine.run("nft", "list", "chain", "inet", "banguard", "ban-sshd").stdout
        )
    finally:
        firewall.close()


def test_the_firewall_says_of_single_addresses_whether_it_holds_them(firewall):
    """As a look into it does; what was taken away behind our back is not held."""
    made = firewall.made
    if not isinstance(made, TellsHeld):
        pytest.skip("it cannot be asked")
    join(firewall, *HOSTS)
    assert HOSTS == {host for host in (*HOSTS, "192.0.2.9") if made.held("sshd/nft", host)}
    made.apply([step("192.0.2.1", old=ban("192.0.2.1"))], time.time())
    assert not made.held("sshd/nft", "192.0.2.1")
    assert not made.held("gone/nft", "198.51.100.0/24")
    assert {"null"} == {name for name in KINDS if not hasattr(native_action(name), "held")}
