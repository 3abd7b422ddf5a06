from __future__ import annotations

import pytest

from banguard.actions.base import FullError, Step, TooLargeError, UnavailableError
from banguard.actions.nftables import NftablesAction
from banguard.errors import ActionError
from banguard.model import Ban
from banguard.run import Finished

NOW = 1000.0


class Nft:
    """Records what nft would be given; answers are prepared."""

    def __init__(self):
        self.scripts = []
        self.answers = []
        self.table = None  # what an earlier run left, as nft lists it

    def __call__(self, argv, *, stdin=b"", timeout, keep=0):
        if argv[1] == "-t":
            return GONE if self.table is None else Finished(0, self.table)
        self.scripts.append((argv, stdin.decode("ascii").splitlines()))
        return self.answers.pop(0) if self.answers else Finished(0)

    @property
    def last(self):
        return self.scripts[-1][1]


@pytest.fixture
def nft():
    return Nft()


def ban(host="192.0.2.1", until=NOW + 600, **more):
    return Ban("sshd", host, NOW, until, **more)


def joined(nft, *bans, **properties):
    action = NftablesAction(properties, runner=nft)
    action.join("sshd/nft", {"name": "sshd", "port": "ssh", **properties}, bans, NOW)
    return action


def step(new=None, old=None, **more):
    return Step("sshd/nft", (new or old).address, old, new, **more)


def test_a_member_joins_in_one_transaction(nft):
    """Sets, chains and elements; what has ended is left out."""
    joined(nft, ban(), ban("192.0.2.2", None), ban("2001:db8::1"), ban("192.0.2.9", NOW), ban("198.51.100.0/24"))
    ((argv, lines),) = nft.scripts
    assert ["nft", "-f", "-"] == argv
    expected = """\
add table inet banguard
add set inet banguard addr4-sshd { type ipv4_addr; flags timeout; }
add set inet banguard addr6-sshd { type ipv6_addr; flags timeout; }
add set inet banguard net4-sshd { type ipv4_addr; flags interval, timeout; }
add set inet banguard net6-sshd { type ipv6_addr; flags interval, timeout; }
add chain inet banguard ban-sshd
add rule inet banguard ban-sshd ip saddr @addr4-sshd reject
add rule inet banguard ban-sshd ip saddr @net4-sshd reject
add rule inet banguard ban-sshd ip6 saddr @addr6-sshd reject
add rule inet banguard ban-sshd ip6 saddr @net6-sshd reject
add chain inet banguard input-sshd { type filter hook input priority -1; policy accept; }
add rule inet banguard input-sshd meta l4proto { tcp } th dport { 22 } jump ban-sshd
add element inet banguard addr4-sshd { 192.0.2.1 timeout 600s, 192.0.2.2 }
add element inet banguard addr6-sshd { 2001:db8::1 timeout 600s }
flush set inet banguard net4-sshd
add element inet banguard net4-sshd { 198.51.100.0/24 timeout 600s }"""
    assert expected.splitlines() == lines


@pytest.mark.parametrize(
    ("properties", "match"),
    [
        ({}, ""),
        ({"port": "ssh"}, "meta l4proto { tcp } th dport { 22 } "),
        ({"port": "http,https", "protocol": "tcp,udp"}, "meta l4proto { tcp, udp } th dport { 80, 443 } "),
        ({"port": "80:90,443,85:100,101"}, "meta l4proto { tcp } th dport { 80-101, 443 } "),
        ({"port": "5000-5010"}, "meta l4proto { tcp } th dport { 5000-5010 } "),
        ({"port": "0:65535"}, "meta l4proto { tcp } "),
        ({"port": "all", "protocol": "all"}, ""),
        ({"port": "22", "protocol": "all"}, "meta l4proto { tcp, udp, sctp, dccp, udplite } th dport { 22 } "),
        ({"type": "allports", "port": "ssh", "protocol": "tcp"}, "meta l4proto { tcp } "),
        ({"type": "allports", "protocol": "icmp"}, "meta l4proto { icmp } "),
        ({"port": "domain", "protocol": "udp"}, "meta l4proto { udp } th dport { 53 } "),
    ],
)
def test_ports_and_protocols(nft, properties, match):
    """Names become numbers, ranges are joined, everything means no condition."""
    action = NftablesAction({}, runner=nft)
    action.join("m", {"name": "x", "protocol": "all" if not properties else "tcp", **properties}, (), NOW)
    assert f"add rule inet banguard input-x {match}jump ban-x" == nft.last[-1]


@pytest.mark.parametrize(
    ("properties", "message"),
    [
        ({"port": "ssh; flush ruleset"}, "port: 'ssh; flush ruleset' is no port"),
        ({"port": "nosuchservice"}, "port: service 'nosuchservice' is unknown"),
        ({"port": "70000"}, "port: '70000' is larger than 65535"),
        ({"port": "90:80"}, "port: the range '90:80' ends before it begins"),
        ({"port": "22", "protocol": "icmp"}, "protocol: icmp has no ports"),
        ({"protocol": "nosuch"}, "protocol: 'nosuch' is unknown"),
        ({"protocol": "tcp }"}, "protocol: expected tcp, udp"),
        ({"blocktype": "drop; drop"}, "blocktype: expected drop"),
        ({"blocktype": "reject with { }"}, "blocktype: expected drop"),
        ({"chain": "DOCKER-USER"}, "chain: expected one of prerouting, input, forward, not 'docker-user'"),
        ({"chain_hook": "x"}, "chain_hook: expected one of prerouting"),
        ({"priority": "filter }"}, "priority: expected a whole number"),
        ({"table": "a b"}, "table: expected a name"),
        ({"table": "ban\nguard"}, "table: expected a name"),
        ({"size": "many"}, "size: expected a whole number"),
    ],
)
def test_a_bad_option_is_named(nft, properties, message):
    """Nothing reaches nft that was not checked."""
    with pytest.raises(ActionError, match=message):
        NftablesAction.verify(properties)


@pytest.mark.parametrize(
    ("blocktype", "rules"),
    [
        ("drop", 4),
        ("reject with tcp reset", 4),
        ("reject with icmpx type admin-prohibited", 4),
        ("reject with icmp type host-unreachable", 2),
        ("reject  with\ticmpv6 addr-unreachable", 2),
    ],
)
def test_verdicts(nft, blocktype, rules):
    """An ICMP answer exists for one family only."""
    joined(nft, blocktype=blocktype)
    verdict = " ".join(blocktype.split())
    assert rules == len([line for line in nft.last if "add rule inet banguard ban-sshd" in line and verdict in line])


def test_hooks_are_chains_of_their_own(nft):
    """`chain` takes several, in any case; it comes before `chain_hook`."""
    joined(nft, chain="INPUT, forward", chain_hook="prerouting", priority="5", table="other", size="9")
    assert "add chain inet other input-sshd { type filter hook input priority 5; policy accept; }" in nft.last
    assert "add chain inet other forward-sshd { type filter hook forward priority 5; policy accept; }" in nft.last
    assert "add set inet other addr4-sshd { type ipv4_addr; flags timeout; size 9; }" in nft.last
    assert ["nftables other", "nftables banguard"] == [
        NftablesAction.place({"table": "other"}),
        NftablesAction.place({}),
    ]


@pytest.mark.parametrize(
    ("name", "expected"),
    [("sshd", "sshd"), ("my jail; x", "my_jail_x-"), ("ü" * 99, "_-"), ("x" * 60, "x" * 32 + "-")],
)
def test_names_become_words_of_nftables(nft, name, expected):
    """Other characters are replaced, and the name stays unique."""
    action = NftablesAction({}, runner=nft)
    action.join("m", {"name": name}, (), NOW)
    chain = nft.last[-1].split()[-1].removeprefix("ban-")
    assert chain == expected if expected == name else chain.startswith(expected)
    assert chain.isascii()
    assert " " not in chain


def test_two_actions_with_one_name_do_not_share_sets(nft):
    """The second gets a name of its own."""
    action = joined(nft)
    action.join("other/nft", {"name": "sshd"}, (), NOW)
    assert nft.last[-1].split()[-1].startswith("ban-sshd-")
    assert "delete table inet banguard" not in nft.last


def test_single_bans_and_unbans(nft):
    """A ban is one element; an unban first makes sure that there is something to delete."""
    action = joined(nft)
    action.apply([step(ban(until=NOW + 0.2))], NOW)
    assert ["add element inet banguard addr4-sshd { 192.0.2.1 timeout 1s }"] == nft.last
    action.apply([step(None, ban())], NOW)
    assert [
        "add element inet banguard addr4-sshd { 192.0.2.1 }",
        "delete element inet banguard addr4-sshd { 192.0.2.1 }",
    ] == nft.last


@pytest.mark.parametrize(
    ("one", "words"),
    [
        (step(ban(until=NOW + 900), ban()), "192.0.2.1 timeout 900s"),
        (step(ban(until=None), ban()), "192.0.2.1"),
        (step(ban(until=NOW + 900), again=True), "192.0.2.1 timeout 900s"),
    ],
)
def test_another_end_means_delete_and_add(nft, one, words):
    """Kernels differ in what adding an element again does to its timeout."""
    action = joined(nft)
    action.apply([one], NOW)
    assert [
        "add element inet banguard addr4-sshd { 192.0.2.1 }",
        "delete element inet banguard addr4-sshd { 192.0.2.1 }",
        f"add element inet banguard addr4-sshd {{ {words} }}",
    ] == nft.last


def test_a_ban_that_has_ended_meanwhile_is_taken_out(nft):
    """Late changes do not bring it back."""
    action = joined(nft)
    action.apply([step(ban(until=NOW - 1), ban())], NOW)
    assert "add element inet banguard addr4-sshd { 192.0.2.1 }" == nft.last[0]
    assert nft.last[-1].startswith("delete")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(99_999_999, " timeout 99999999s"), (100_000_000, " timeout 1158d"), (37_000 * 86_400, "")],
)
def test_very_long_bans(nft, seconds, words):
    """nft has its limits; beyond them a ban has no timeout, and its unban ends it."""
    action = joined(nft)
    action.apply([step(ban(until=NOW + seconds))], NOW)
    assert [f"add element inet banguard addr4-sshd {{ 192.0.2.1{words} }}"] == nft.last


def test_many_changes_of_several_jails_are_one_transaction(nft):
    """One statement for each set."""
    action = joined(nft)
    action.join("web/nft", {"name": "web", "port": "http"}, (), NOW)
    steps = [step(ban(f"192.0.2.{n}")) for n in range(3)]
    steps += [Step("web/nft", "2001:db8::1", None, ban("2001:db8::1")), step(None, ban("192.0.2.9"))]
    count = len(nft.scripts)
    action.apply(steps, NOW)
    assert count + 1 == len(nft.scripts)
    assert [
        "add element inet banguard addr4-sshd { 192.0.2.9 }",
        "delete element inet banguard addr4-sshd { 192.0.2.9 }",
        "add element inet banguard addr4-sshd { 192.0.2.0 timeout 600s, 192.0.2.1 timeout 600s, 192.0.2.2 timeout 600s }",
        "add element inet banguard addr6-web { 2001:db8::1 timeout 600s }",
    ] == nft.last


def test_networks_that_others_cover_are_left_out_and_come_back(nft):
    """nft refuses an overlap; the set is filled anew at each change."""
    action = joined(nft, ban("10.1.0.0/16"), ban("10.2.0.0/16", None))
    action.apply([step(ban("10.0.0.0/8", NOW + 50))], NOW)
    assert [
        "flush set inet banguard net4-sshd",
        "add element inet banguard net4-sshd { 10.0.0.0/8 timeout 50s }",
    ] == nft.last
    action.apply([step(None, ban("10.0.0.0/8", NOW + 50))], NOW)
    assert "add element inet banguard net4-sshd { 10.1.0.0/16 timeout 600s, 10.2.0.0/16 }" == nft.last[-1]
    action.apply([step(None, ban("10.1.0.0/16")), step(None, ban("10.2.0.0/16"))], NOW)
    assert ["flush set inet banguard net4-sshd"] == nft.last


def test_everything_is_two_halves(nft):
    """nft takes no /0 in a set."""
    action = joined(nft, ban("0.0.0.0/0"), ban("::/0", None))
    assert "add element inet banguard net4-sshd { 0.0.0.0/1 timeout 600s, 128.0.0.0/1 timeout 600s }" in nft.last
    assert "add element inet banguard net6-sshd { ::/1, 8000::/1 }" in nft.last
    assert action is not None


@pytest.mark.parametrize("key", ["alice", "192.0.2.1; flush ruleset", "192.0.2.01", "192.0.2.1/24", "fe80::1%eth0", ""])
def test_only_canonical_addresses_reach_nft(nft, key):
    """Anything else is an error before nft is started."""
    action = joined(nft)
    count = len(nft.scripts)
    with pytest.raises(ActionError, match="is no address"):
        action.apply([Step("sshd/nft", key, None, ban())], NOW)
    assert count == len(nft.scripts)


def test_leaving_removes_ours_and_the_table_with_the_last(nft):
    """Whether or not something is missing already."""
    action = joined(nft)
    action.join("web/nft", {"name": "web"}, (), NOW)
    action.leave("sshd/nft")
    removed = [line for line in nft.last if line.startswith("delete")]
    assert [
        "delete chain inet banguard input-sshd",
        "delete chain inet banguard ban-sshd",
        "delete set inet banguard addr4-sshd",
        "delete set inet banguard addr6-sshd",
        "delete set inet banguard net4-sshd",
        "delete set inet banguard net6-sshd",
    ] == removed
    action.leave("web/nft")
    assert ["add table inet banguard", "delete table inet banguard"] == nft.last
    count = len(nft.scripts)
    action.leave("web/nft")
    assert count == len(nft.scripts)


def test_forgetting_leaves_the_firewall_alone(nft):
    """Bans may outlive the server."""
    action = joined(nft)
    count = len(nft.scripts)
    action.forget("sshd/nft")
    assert count == len(nft.scripts)


def test_joining_again_replaces_the_member(nft):
    """New ports on reload: old chains out and new ones in, with the bans, in one transaction."""
    action = joined(nft)
    action.join("sshd/nft", {"name": "sshd", "port": "2222"}, [ban()], NOW)
    assert nft.last.index("delete chain inet banguard input-sshd") < nft.last.index(
        "add rule inet banguard input-sshd meta l4proto { tcp } th dport { 2222 } jump ban-sshd"
    )
    assert "add element inet banguard addr4-sshd { 192.0.2.1 timeout 600s }" == nft.last[-1]


def test_rebuild_is_everything_in_one_transaction(nft):
    """All members, whatever was there."""
    action = joined(nft)
    action.join("web/nft", {"name": "web"}, (), NOW)
    action.rebuild({"sshd/nft": [ban()], "web/nft": [ban("2001:db8::1")]}, NOW)
    assert "delete table inet banguard" == nft.last[1]
    assert "add element inet banguard addr4-sshd { 192.0.2.1 timeout 600s }" in nft.last
    assert "add element inet banguard addr6-web { 2001:db8::1 timeout 600s }" == nft.last[-1]


GONE = Finished(1, stderr=b"/dev/stdin:1:1-2: Error: Could not process rule: No such file or directory\n")


def test_the_check_changes_nothing_and_needs_every_rule(nft):
    """It only asks whether one more rule could follow the last."""
    action = joined(nft, chain="input,forward")
    assert action.check()
    argv, lines = nft.scripts[-1]
    assert ["nft", "-c", "-f", "-"] == argv
    assert [
        "add rule inet banguard ban-sshd index 3 accept",
        "add rule inet banguard input-sshd index 0 accept",
        "add rule inet banguard forward-sshd index 0 accept",
    ] == lines
    nft.answers = [GONE]
    assert not action.check()
    nft.answers = [Finished(127)]
    with pytest.raises(UnavailableError):
        action.check()


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (Finished(127, stderr=b"nft: not found"), UnavailableError),
        (Finished(1, stderr=b"Operation not permitted (you must be root)"), UnavailableError),
        (Finished(-15, timed_out=True), UnavailableError),
        (Finished(1, stderr=b"netlink: Error: Message too long"), TooLargeError),
        (Finished(1, stderr=b"Error: Could not process rule: Too many open files in system"), FullError),
        (GONE, ActionError),
    ],
)
def test_what_nft_says_is_told_apart(nft, answer, error):
    """So that the worker knows whether to wait, to halve, or to look closer."""
    action = joined(nft)
    nft.answers = [answer]
    with pytest.raises(ActionError) as caught:
        action.apply([step(ban())], NOW)
    assert error is type(caught.value)


def test_unbans_from_a_full_set(nft):
    """There is no room for adding first, so they are deleted as they are."""
    action = joined(nft)
    full = Finished(1, stderr=b"Error: Could not process rule: Too many open files in system")
    nft.answers = [full]
    action.apply([step(None, ban())], NOW)
    assert ["delete element inet banguard addr4-sshd { 192.0.2.1 }"] == nft.last
    nft.answers = [full]
    with pytest.raises(FullError, match="the set is full"):
        action.apply([step(ban())], NOW)


def test_networks_are_remembered_only_when_the_transaction_passed(nft):
    """What failed is not there."""
    action = joined(nft)
    nft.answers = [GONE]
    with pytest.raises(ActionError):
        action.apply([step(ban("10.0.0.0/8"))], NOW)
    action.apply([step(ban("10.1.0.0/16"))], NOW)
    assert "add element inet banguard net4-sshd { 10.1.0.0/16 timeout 600s }" == nft.last[-1]


LEFT = b"""table inet banguard {
\tset addr4-sshd {
\t\ttype ipv4_addr
\t\tflags timeout
\t}

\tset seen4-sshd {
\t}

\tset addr4-gone {
\t}

\tchain ban-sshd {
\t\tip saddr @addr4-sshd reject
\t}

\tchain forward-sshd {
\t}

\tchain ban-gone {
\t}
}
"""


def test_what_an_earlier_run_left_is_taken_over(nft):
    """In the transaction that puts the new in its place; the rest stays until all jails have joined."""
    nft.table = LEFT
    action = joined(nft, ban())
    assert [
        "flush chain inet banguard forward-sshd",
        "flush chain inet banguard ban-sshd",
        "delete chain inet banguard forward-sshd",
        "delete chain inet banguard ban-sshd",
        "delete set inet banguard addr4-sshd",
        "delete set inet banguard seen4-sshd",
        "add table inet banguard",
    ] == nft.last[:7]
    action.join("web/nft", {"name": "web"}, (), NOW)
    assert not any("gone" in line for line in nft.last)
    action.sweep()
    assert [
        "flush chain inet banguard ban-gone",
        "delete chain inet banguard ban-gone",
        "delete set inet banguard addr4-gone",
    ] == nft.last
    number = len(nft.scripts)
    action.sweep()
    assert number == len(nft.scripts)
