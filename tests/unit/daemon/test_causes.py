"""Tests of banguard.daemon.causes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from banguard.actions.base import Hold
from banguard.daemon.causes import Evidence, Twin, Wall, causes
from banguard.daemon.traffic import Connection, Forward, Packets

HELD = Hold("nftables", believed=True, held=True)
WALL = Wall(HELD, "ssh", ((22, 22),), ("input",))
EVERY = Wall(HELD, "all ports", None, ("input",))
FORWARD = Forward("8080", "172.31.0.2:80", "tcp dport 8080 dnat to 172.31.0.2:80")
TWIN = Twin("2001:db8::2", 4, "root", banned=False)
BASE = Evidence("sshd", "192.0.2.1", 1000.0, (WALL,), user="root", packets=(), listening=frozenset({22, 2222}))
ESTABLISHED = "-A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT"


@pytest.mark.parametrize(
    ("found", "kind", "certain"),
    [
        ({}, "", False),
        ({"walls": ()}, "no-firewall", True),
        ({"walls": (replace(WALL, hold=replace(HELD, held=False)),)}, "flushed", True),
        ({"walls": (replace(WALL, hold=replace(HELD, lost_at=1500.0)),)}, "flushed", True),
        ({"walls": (replace(WALL, hold=replace(HELD, lost_at=500.0)),)}, "", False),
        ({"walls": (replace(WALL, hold=Hold("x", believed=False, held=None, error="no rights")),)}, "not-held", True),
        ({"walls": (replace(WALL, hold=replace(HELD, believed=False, held=False, lost_at=1500.0)),)}, "flushed", True),
        ({"connections": (Connection(2222, "established"),)}, "other-port", True),
        ({"connections": (Connection(2222, "established"),), "walls": (EVERY,)}, "open-connection", False),
        ({"packets": (Packets("tcp", "198.51.100.1", 2222, 3),)}, "other-port", True),
        ({"packets": (Packets("tcp", "198.51.100.1", 22, 3),)}, "", False),
        ({"failures": 3}, "other-port", False),
        ({"failures": 3, "walls": (EVERY,)}, "proxy", False),
        ({"failures": 3, "walls": (EVERY,), "packets": None}, "unknown", False),
        ({"failures": 3, "connections": (Connection(22, "established"),)}, "open-connection", True),
        ({"failures": 3, "walls": (EVERY,), "before": ("-A INPUT -p tcp -j ACCEPT",)}, "other-rule", True),
        ({"failures": 3, "walls": (EVERY,), "forwards": (FORWARD,)}, "forwarded", False),
        ({"packets": (Packets("tcp", "a", 8080, 3),), "walls": (EVERY,), "forwards": (FORWARD,)}, "forwarded", True),
        (
            {"failures": 1, "walls": (replace(EVERY, hooks=("input", "forward")),), "forwards": (FORWARD,)},
            "proxy",
            False,
        ),
        ({"failures": 1, "forwards": (FORWARD,), "connections": (Connection(22, "time-wait"),)}, "unknown", False),
        (
            # Docker's own proxy listens on the published port, and the jail was given that of the container.
            {
                "failures": 1,
                "packets": (Packets("tcp", "a", 8080, 3),),
                "forwards": (FORWARD,),
                "listening": frozenset({22, 8080}),
            },
            "forwarded",
            True,
        ),
        (
            {
                "packets": (Packets("tcp", "a", 8080, 3),),
                "forwards": (FORWARD,),
                "walls": (EVERY,),
                "listening": frozenset({8080}),
            },
            "forwarded",
            False,
        ),
        ({"twins": (TWIN,)}, "twin", True),
        ({"twins": (replace(TWIN, user="bob"),)}, "twin", False),
        ({"twins": (replace(TWIN, banned=True),)}, "twin", False),
        ({"twins": (TWIN,), "failures": 2, "walls": (EVERY,)}, "proxy", False),
    ],
)
def test_the_evidence_names_the_cause(found, kind, certain):
    """The first cause is the likeliest; what holds has none."""
    named = causes(replace(BASE, **found))
    assert kind == (named[0].kind if named else "")
    assert certain is (named[0].certain if named else False)
    assert all(cause.message and cause.proposal for cause in named)


def test_the_rule_that_lets_open_connections_pass_is_shown():
    """Together with what cuts them."""
    (cause,) = causes(replace(BASE, failures=1, connections=(Connection(22, "established"),), before=(ESTABLISHED,)))
    assert ESTABLISHED in cause.message
    assert "ss -K dst 192.0.2.1" in cause.proposal


def test_a_proxy_is_named_by_who_connects_instead():
    """The peers of the service are candidates."""
    (cause,) = causes(replace(BASE, failures=3, walls=(EVERY,), peers=("10.0.0.9",)))
    assert "10.0.0.9" in cause.message
