"""Tests of banguard.actions.firewalld; with the real firewalld in tests/system."""

from __future__ import annotations

import pytest

from banguard.actions.base import UnavailableError
from banguard.actions.firewalld import DirectRules, FirewalldAction, RichRules, RichRulesAction, RichSpec
from banguard.actions.xtables import Spec
from banguard.errors import ActionError
from banguard.run import Finished


def test_rules():
    """A rule for each port and protocol; IPv6 has its own reasons."""
    spec = RichSpec.of({"port": "80,8000:8080", "protocol": "tcp"})
    assert [
        "rule family='ipv4' source address='192.0.2.1' port port='80' protocol='tcp' reject type='icmp-port-unreachable'",
        (
            "rule family='ipv4' source address='192.0.2.1' port port='8000-8080' protocol='tcp'"
            " reject type='icmp-port-unreachable'"
        ),
    ] == spec.rules("192.0.2.1")
    assert ["rule family='ipv6' source address='2001:db8::1' reject type='icmp6-port-unreachable'"] == RichSpec.of(
        {"type": "allports"}
    ).rules("2001:db8::1")
    assert "log prefix='bg' level='info'" in RichSpec.of({"logprefix": "bg", "blocktype": "drop"}).rules("192.0.2.1")[0]


def test_many_bans_are_few_calls():
    """Bans with the same time that is left are added in one call, which ends them by itself."""
    calls = []

    def runner(argv, **_):
        calls.append(argv)
        return Finished(0)

    made = RichRules(runner)
    spec = RichSpec.of({"zone": "public", "type": "allports", "blocktype": "drop"})
    made.begin(spec)
    made.add(spec, {"192.0.2.1": 1600.0, "192.0.2.2": 1600.0, "192.0.2.3": None}, 1000.0)
    assert [5, 3] == [len(argv) for argv in calls]
    assert ["firewall-cmd", "--zone=public", "--timeout=600"] == calls[0][:3]
    calls.clear()
    made.add(spec, {"192.0.2.1": 2000.0}, 1000.0)
    assert ["--remove-rich-rule", "--timeout"] == [argv[2].partition("=")[0] for argv in calls]


def test_firewalld_that_does_not_run():
    """252 means that firewalld is not running: no use in trying address by address."""
    made = RichRules(lambda *_, **__: Finished(252, stderr=b"FirewallD is not running"))
    spec = RichSpec.of({})
    made.begin(spec)
    with pytest.raises(UnavailableError, match="firewalld"):
        made.add(spec, {"192.0.2.1": None}, 1000.0)


@pytest.mark.parametrize(
    ("option", "text"),
    [("zone", "a b"), ("port", "80'"), ("protocol", "tcp'"), ("blocktype", "drop' x"), ("logprefix", "a'b")],
)
def test_what_cannot_be_meant_is_refused(option, text):
    """A bad property is named, and no quote gets into a rule."""
    with pytest.raises(ActionError, match=option):
        RichRulesAction.verify({option: text})


def test_sets_have_a_place_of_their_own():
    """Jails with firewalld's sets share one worker, apart from plain ipset."""
    assert "firewalld" == FirewalldAction.place({})


def test_direct_rules_that_nobody_has_are_removed():
    """Of a jail that is gone, or for ports of before; rules of others are never touched."""
    rules = [
        "ipv4 filter INPUT_direct 0 -p tcp -m multiport --dports 80 -m set --match-set bg-web-a4 src -j REJECT",
        "ipv4 filter INPUT_direct 0 -p tcp -m multiport --dports 22 -m set --match-set bg-web-a4 src -j REJECT",
        "ipv6 filter INPUT_direct 0 -p tcp -m set --match-set bg-gone-n6 src -j DROP",
        "ipv4 filter INPUT 0 -m set --match-set mine src -j DROP",
    ]
    calls = []

    def runner(argv, **_):
        calls.append(argv)
        return Finished(0, "\n".join(rules).encode() if argv[-1] == "--get-all-rules" else b"(legacy)")

    made = DirectRules(runner)
    spec = Spec.of({"name": "web", "port": "80"})
    made.add("m", spec)
    assert [rules[1].split()] == [argv[3:] for argv in calls if "--remove-rule" in argv]
    calls.clear()
    assert ["bg-gone"] == made.sweep()
    assert [rules[2].split()] == [argv[3:] for argv in calls if "--remove-rule" in argv]
