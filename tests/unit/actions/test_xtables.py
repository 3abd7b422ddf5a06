"""Tests of banguard.actions.xtables: what is read from properties, and which programs are run."""

from __future__ import annotations

import pytest

from banguard.actions.base import FullError, UnavailableError
from banguard.actions.xtables import Chains, Spec, Tables, error_of, identifier
from banguard.errors import ActionError
from banguard.run import Finished


def done(stdout=b"", stderr=b"", returncode=0, **more):
    return Finished(returncode, stdout, stderr, **more)


def spec(**properties):
    return Spec.of({"name": "web", "port": "80", **properties})


@pytest.mark.parametrize(
    ("expected", "properties"),
    [
        (("-p tcp -m multiport --dports 80,443 ",), {"port": "http,https"}),
        (("-p tcp -m multiport --dports 5060:5069 ", "-p udp -m multiport --dports 5060:5069 "),
         {"port": "5060-5069", "protocol": "tcp,udp"}),
        (("-p tcp ",), {"type": "allports"}),
        (("-p udp ",), {"port": "0:65535", "protocol": "udp"}),
        (("",), {"protocol": "all", "type": "allports"}),
        (("-p tcp -m conntrack --ctstate NEW -m multiport --dports 22 ",), {"port": "ssh", "state": "new"}),
        (("-p icmp ",), {"protocol": "icmp", "type": "allports"}),
    ],
)  # fmt: skip
def test_traffic(expected, properties):
    """Ports, ranges, protocols and states become matches."""
    assert expected == spec(**properties).matches


def test_many_ports_take_several_rules():
    """One rule holds fifteen ports, a range counts as two."""
    ports = ",".join(str(port) for port in range(1000, 1016)) + ",2000:2010"
    first, second = spec(port=ports).matches
    assert 15 == first.count(",") + 1
    assert second.endswith("--dports 1015,2000:2010 ")


@pytest.mark.parametrize(
    ("option", "text"),
    [
        ("port", "htpt"),
        ("port", "70000"),
        ("port", "20:10"),
        ("port", "80; rm -rf /"),
        ("protocol", "tpc"),
        ("protocol", "tcp -j ACCEPT"),
        ("chain", "INPUT; x"),
        ("chain", "-F"),
        ("blocktype", "DROP; x"),
        ("blocktype", "DROP\n-A"),
        ("returntype", "$(x)"),
        ("type", "someports"),
    ],
)
def test_what_cannot_be_meant_is_refused(option, text):
    """A bad property is named; nothing of it could become part of a rule."""
    with pytest.raises(ActionError, match=option):
        spec(**{option: text})


def test_ports_need_a_protocol():
    """A port of all protocols is no port."""
    with pytest.raises(ActionError, match="has no ports"):
        spec(protocol="icmp")


@pytest.mark.parametrize(
    ("four", "six", "properties"),
    [
        ("REJECT", "REJECT", {}),
        ("DROP", "DROP", {"blocktype": "drop"}),
        ("REJECT --reject-with icmp-port-unreachable", "REJECT --reject-with icmp6-port-unreachable",
         {"blocktype": "REJECT --reject-with icmp-port-unreachable"}),
        ("REJECT --reject-with tcp-reset", "REJECT --reject-with tcp-reset",
         {"blocktype": "REJECT --reject-with tcp-reset"}),
        ("DROP", "REJECT", {"blocktype": "DROP", "blocktype?family=inet6": "REJECT"}),
    ],
)  # fmt: skip
def test_verdicts(four, six, properties):
    """IPv6 has the like verdict, or one of its own."""
    assert {4: four, 6: six} == dict(spec(**properties).verdicts)


def test_chains_are_named_in_either_way():
    """`input` of nftables is `INPUT`; other names stay as they are."""
    assert ("INPUT", "FORWARD", "DOCKER-USER") == spec(chain="input, forward DOCKER-USER").hooks


def test_names_fit():
    """A name that is too long, or has characters of its own, becomes a short one of its own."""
    names = [identifier(name) for name in ("sshd", "a" * 40, "a" * 41, "x y", "x;y")]
    assert "sshd" == names[0]
    assert 5 == len(set(names))
    assert all(len(name) <= 20 for name in names)


@pytest.mark.parametrize(
    ("kind", "result"),
    [
        (UnavailableError, done(returncode=127)),
        (UnavailableError, done(returncode=4, stderr=b"Permission denied (you must be root)")),
        (FullError, done(returncode=1, stderr=b"ipset v7.17: Error in line 1: Hash is full, cannot add more elements")),
        (ActionError, done(returncode=1, stderr=b"Bad rule")),
    ],
)
def test_errors(kind, result):
    """What a program said tells whether trying again, smaller or at all makes sense."""
    assert kind is type(error_of(result))


class Programs:
    """Answers as iptables does; notes what it is asked."""

    def __init__(self, *, version=b"iptables v1.8.9 (nf_tables)", six=True, rules=b""):
        self.version = version
        self.six = six
        self.rules = rules
        self.known = set()  # chains that are there
        self.calls = []

    def __call__(self, argv, *, stdin, timeout, keep):
        self.calls.append((argv, stdin.decode()))
        if argv[1:] == ["-V"]:
            return done(self.version)
        if argv[0].startswith("ip6") and not self.six:
            return done(returncode=3, stderr=b"can't initialize ip6tables table `filter'")
        if argv[-1] == "-S":
            return done(self.rules)
        if "-C" in argv or "-L" in argv:
            there = "-L" in argv and ("INPUT" in argv or self.known & set(argv))
            return done(returncode=0 if there else 1)
        return done()


def test_without_ipv6():
    """Where there is no ip6tables, IPv4 is still had."""
    assert (4,) == Tables(Programs(six=False)).families
    assert (4, 6) == Tables(Programs()).families


def test_no_iptables_at_all():
    """Without the program there is nothing to be had, which is said."""
    with pytest.raises(UnavailableError):
        _ = Tables(lambda *_, **__: done(returncode=127)).families


@pytest.mark.parametrize("legacy", [False, True])
def test_changes_by_others(legacy):
    """The generation tells of changes of the nf_tables kind; the legacy kind is always looked at."""
    generation = [5]
    programs = Programs(version=b"iptables v1.8.9 (legacy)" if legacy else b"iptables v1.8.9 (nf_tables)")
    tables = Tables(programs, generation=lambda: generation[0])
    assert tables.families
    tables.settled()
    assert legacy is tables.changed()
    generation[0] += 1
    assert tables.changed()


def test_one_transaction_for_a_chain():
    """A chain is built with its rules, its way back and its way in, at once."""
    programs = Programs(six=False)
    chains = Chains(Tables(programs, generation=lambda: None), lambda *_: ["-s 192.0.2.1 -j DROP"])
    chains.add("m", spec())
    argv, text = programs.calls[-1]
    assert ["iptables-restore", "-w", "5", "--noflush"] == argv
    assert [
        "*filter", ":bg-web - [0:0]", "-A bg-web -s 192.0.2.1 -j DROP", "-A bg-web -j RETURN",
        "-I INPUT 1 -p tcp -m multiport --dports 80 -j bg-web", "COMMIT",
    ] == text.splitlines()  # fmt: skip


@pytest.mark.parametrize(
    ("stands", "rules"),
    [
        (True, b"-P INPUT ACCEPT\n-N bg-web\n-A INPUT -p tcp -j bg-web\n-A bg-web -s 1.2.3.4/32 -j DROP\n-A bg-web -j RETURN\n"),
        (False, b"-P INPUT ACCEPT\n-N bg-web\n-A bg-web -j RETURN\n"),
        (False, b"-P INPUT ACCEPT\n-N bg-web\n-A INPUT -p tcp -j bg-web\n"),
        (False, b"-P INPUT ACCEPT\n"),
    ],
)  # fmt: skip
def test_what_stands(stands, rules):
    """A chain stands when it is led to and leads back."""
    chains = Chains(Tables(Programs(six=False, rules=rules), generation=lambda: 1), lambda *_: ())
    chains.specs["m"] = spec()
    assert stands is chains.stand()


def test_a_hook_that_is_not_there_is_no_fault():
    """DOCKER-USER counts once it exists."""
    there = b"-P INPUT ACCEPT\n-N bg-web\n-A INPUT -j bg-web\n-A bg-web -j RETURN\n"
    for rules, stands in ((there, True), (there + b"-N DOCKER-USER\n", False)):
        chains = Chains(Tables(Programs(six=False, rules=rules), generation=lambda: 1), lambda *_: ())
        chains.specs["m"] = spec(chain="INPUT,DOCKER-USER")
        assert stands is chains.stand()


LISTED = b"""\
-P INPUT ACCEPT
-N bg-web
-N bg-gone
-N bg-foreign
-N bg-empty
-N f2b-sshd
-A INPUT -p tcp -m multiport --dports 80 -j bg-web
-A INPUT -p tcp -m multiport --dports 22 -j bg-gone
-A FORWARD -p tcp -j bg-gone
-A INPUT -j bg-foreign
-A bg-web -j RETURN
-A bg-gone -s 192.0.2.1/32 -j DROP
-A bg-gone -j RETURN
-A bg-foreign -m set --match-set x src -j DROP
-A bg-foreign -j RETURN
-A f2b-sshd -j RETURN
"""


def test_chains_of_an_earlier_run_are_swept():
    """Those of our kind that nobody has, with what leads there; no others."""
    programs = Programs(six=False, rules=LISTED)
    chains = Chains(Tables(programs, generation=lambda: 1), lambda *_: (), lambda _, rule: rule.startswith("-s "))
    chains.specs["m"] = spec()
    assert ["bg-gone"] == chains.sweep()
    assert [
        "*filter", "-D INPUT -p tcp -m multiport --dports 22 -j bg-gone", "-D FORWARD -p tcp -j bg-gone",
        "-F bg-gone", "-X bg-gone", "COMMIT",
    ] == programs.calls[-1][1].splitlines()  # fmt: skip


def test_a_chain_that_is_there_is_led_to_anew():
    """By the ports of now, in the transaction that fills it."""
    programs = Programs(six=False, rules=LISTED)
    programs.known = {"bg-web"}
    chains = Chains(Tables(programs, generation=lambda: None), lambda *_: ())
    chains.add("m", spec())
    text = programs.calls[-1][1]
    assert [
        "*filter", ":bg-web - [0:0]", "-A bg-web -j RETURN",
        "-D INPUT -p tcp -m multiport --dports 80 -j bg-web",
        "-I INPUT 1 -p tcp -m multiport --dports 80 -j bg-web", "COMMIT",
    ] == text.splitlines()  # fmt: skip
