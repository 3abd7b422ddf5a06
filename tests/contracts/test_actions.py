"""What every firewall action promises, tried on every member of the table with the real thing behind it."""

from __future__ import annotations

import ipaddress
import json
import re
import shutil
import subprocess
import time

import pytest

from banguard import run
from banguard.actions.base import NATIVE_ACTIONS, Step, native_action
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


KINDS = {"null": Null, "nftables": Nftables, "iptables": Iptables, "ipset": Ipset}
PROGRAM = {"iptables": "iptables-restore", "ipset": "ipset"}


@pytest.fixture(params=sorted(NATIVE_ACTIONS))
def firewall(request):
    reason = why_not() if request.param != "null" else None
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


def join(firewall, *hosts, member="sshd/nft"):
    properties = {**PROPERTIES, "name": member.partition("/")[0]}
    firewall.made.join(member, properties, [ban(host) for host in hosts], time.time())


def test_every_member_of_the_table_is_tried_here():
    """A new action needs a way to look into it."""
    assert set(NATIVE_ACTIONS) == set(KINDS)


def test_joining_brings_the_bans(firewall):
    """Addresses and networks of both families; what has ended is left out."""
    join(firewall, *HOSTS)
    assert HOSTS == firewall.held("sshd/nft")
    firewall.made.join("web/nft", {"name": "web"}, [ban("192.0.2.1", None), ban("192.0.2.2", -1.0)], time.time())
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
    assert {"192.0.2.2"} == firewall.held("sshd/nft")
