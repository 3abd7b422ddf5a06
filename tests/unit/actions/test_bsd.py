"""Tests of banguard.actions.bsd; stand-ins that keep tables are tried in tests/contracts."""

from __future__ import annotations

import pytest

from banguard.actions.bsd import IpfwAction, IpfwSpec, PfAction, PfSpec
from banguard.errors import ActionError


def test_ipfw_rules():
    """A rule for each protocol, with the ports, and a comment by which it is found again."""
    spec = IpfwSpec.of({"name": "web", "port": "http,8000:8080", "protocol": "tcp,udp", "blocktype": "unreach port"})
    assert [
        "add 100 unreach port tcp from table(bg_web) to me http,8000-8080 // bg_web",
        "add 100 unreach port udp from table(bg_web) to me http,8000-8080 // bg_web",
    ] == spec.rules(100)
    assert ["add 7 deny ip from table(3) to me // 3"] == IpfwSpec.of({"table": "3", "protocol": "all"}).rules(7)


def test_pf_rules():
    """A table that persists, and a rule for each protocol."""
    spec = PfSpec.of({"name": "web", "port": "80,443", "protocol": "tcp"})
    assert ("banguard/web", "banguard-web") == (spec.anchor, spec.table)
    assert (
        "table <banguard-web> persist counters\n"
        "block drop quick proto tcp from <banguard-web> to any port { 80, 443 }\n"
    ) == spec.rules()
    assert spec.rules() != PfSpec.of({"name": "web", "type": "allports", "protocol": "all"}).rules()


@pytest.mark.parametrize("kind", [IpfwAction, PfAction])
@pytest.mark.parametrize(("option", "text"), [("port", "80; x"), ("protocol", "tcp;x")])
def test_traffic_is_checked(kind, option, text):
    """Nothing but names and numbers becomes part of a rule."""
    with pytest.raises(ActionError, match=option):
        kind.verify({option: text})


@pytest.mark.parametrize(
    ("kind", "option", "text"),
    [
        (IpfwAction, "table", "a b"),
        (IpfwAction, "rulenum", "many"),
        (IpfwAction, "blocktype", "deny;x"),
        (PfAction, "block", "block <x>"),
    ],
)
def test_what_cannot_be_meant_is_refused(kind, option, text):
    """A bad property is named."""
    with pytest.raises(ActionError, match=option):
        kind.verify({option: text})
