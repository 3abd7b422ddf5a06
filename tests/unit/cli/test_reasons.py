"""Tests of banguard.cli.reasons."""

from __future__ import annotations

import pytest

from banguard.cli.reasons import told
from banguard.cli.render import as_text
from banguard.control.protocol import Reply

BAN = {
    "jail": "sshd", "id": "192.0.2.1", "since": 1000, "until": 4600, "count": 2, "origin": "local", "failures": 5,
    "within": 12.0, "maxretry": 5, "findtime": 600, "lines": [{"line": "bad \x1b[31m", "rule": 3}],
    "rules": [{"number": 3, "regex": "^bad <HOST>", "place": "f.conf:7"}], "enforced": True, "failures_since": 4,
    "last_failure": 1290, "watched": 2, "packets": [{"count": 7, "protocol": "tcp", "target": "198.51.100.1", "port": 22}],
    "walls": [{"action": "nftables", "ports": "ssh", "chains": ["input"], "believed": True, "held": True, "error": ""}],
    "connections": [{"port": 2222, "state": "established"}],
    "causes": [{"kind": "other-port", "certain": True, "message": "it comes to 2222", "proposal": "add it"}],
}  # fmt: skip
WHY = {"host": "192.0.2.1", "now": 1300, "bans": [BAN], "notes": [], "protected": False, "over": None}


def test_a_ban_is_told_line_by_line():
    """Everything that is known, with no control character of a log among it."""
    text = as_text(Reply(WHY, "why"))
    for piece in (
        "192.0.2.1 is banned in [sshd]", "55m left", "5 failures within 12s; 5 within 10m are enough", "3 (f.conf:7): ^bad",
        "[3] bad \\x1b[31m", "holds it, says the firewall itself (ssh; chain input)", "4 failures of it were logged",
        "the last 10s ago", "port 2222: established", "7 to tcp 198.51.100.1 port 22", "cause     it comes to 2222",
        "do        add it",
    ):  # fmt: skip
        assert piece in text, piece
    assert "\x1b" not in text


@pytest.mark.parametrize(
    ("changes", "piece"),
    [
        ({"until": None}, "for ever"),
        ({"id": "192.0.2.0/24"}, "with 192.0.2.0/24"),
        ({"origin": "manual"}, "by hand"),
        ({"causes": []}, "the ban holds"),
        ({"causes": [{"kind": "proxy", "certain": False, "message": "m", "proposal": "p"}]}, "perhaps: m [proxy]"),
        ({"failures_since": 0}, "no failure of it was logged"),
        ({"packets": []}, "packets of it within 2s: none"),
        ({"packets": None}, "cannot be watched"),
        ({"walls": [{"action": "a", "held": False, "ports": "x", "error": "no rights"}]}, "does NOT hold it"),
        ({"walls": [{"action": "a", "held": None, "believed": True, "ports": "x"}]}, "was told of it"),
    ],
)
def test_each_state_has_its_words(changes, piece):
    """For ever, by hand, not held, …"""
    assert piece in "\n".join(told({**WHY, "bans": [{**BAN, **changes}]}))


@pytest.mark.parametrize(
    ("changes", "piece"),
    [
        ({}, "No jail has seen a failure"),
        ({"protected": True}, "option protect"),
        (
            {"notes": [{"jail": "a", "failures": 2, "maxretry": 5, "findtime": 600, "last": 1290}]},
            "[a] 2 of 5 failures",
        ),
        ({"notes": [{"jail": "a", "spared": "ip", "failures": 0}]}, "spared by ip"),
        ({"notes": [{"jail": "a", "observed": True, "failures": 0}]}, "observes only"),
        ({"over": {"jail": "a", "since": 1, "until": 601, "ended": 601, "reason": "expired"}}, "its time was over"),
    ],
)
def test_of_a_host_that_is_not_banned_it_is_told_why_not(changes, piece):
    """Counter, ignore rules, protection, an earlier ban; else what to try."""
    text = "\n".join(told({**WHY, "bans": [], **changes}))
    assert "is not banned" in text
    assert piece in text
