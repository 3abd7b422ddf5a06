"""Tests of banguard.cli.top_picture."""

from __future__ import annotations

import pytest

from banguard.cli.top_picture import Rates, as_data, picture, rates


def look(now, *, lines=0, failed=0, banned=0, begun=100.0, **jail):
    return {
        "version": "1.0",
        "now": now,
        "started": begun,
        "jails": [
            {
                "jail": "sshd",
                "filter": {"currently_failed": 1, "total_failed": failed},
                "actions": {"currently_banned": 2, "total_banned": banned},
                "started": True,
                "idle": False,
                "problem": "",
                "not_enforced": 0,
                "enforces": True,
                "action_stats": [
                    {"name": "nft", "enforces": True, "held": 2, "waiting": 0, "errors": 0, "problem": ""},
                    {"name": "mail", "enforces": False, "held": 0, "waiting": 1, "errors": 2, "problem": "no route"},
                ],
                **jail,
            }
        ],
        "logs": [{"log": "/var/log/a", "jails": ["sshd"], "lines": lines, "behind": 0, "problem": ""}],
        "newest": [
            {"jail": "sshd", "id": "192.0.2.1", "since": now - 1, "until": now + 60, "count": 1, "failures": 5, "enforced": True}
        ],
    }  # fmt: skip


def test_rates_are_of_the_time_between_two_looks():
    """Of the server, of each jail, of each log."""
    whole, jails, logs = rates(look(1000.0, lines=10, failed=5, banned=1), look(1004.0, lines=50, failed=7, banned=2))
    assert Rates(10.0, 0.5, 0.25) == whole == jails["sshd"]
    assert {"/var/log/a": 10.0} == logs


@pytest.mark.parametrize(
    "before",
    [
        None,
        look(2000.0),  # a clock that was put back
        look(990.0, begun=50.0),  # another server
        look(990.0, lines=99, failed=99, banned=99),  # a jail that was started anew
        {"now": 990.0, "started": 100.0},  # a jail that is new
    ],
)
def test_what_cannot_be_told_is_not_told(before):
    """Rather no rate than a wrong one."""
    whole, jails, logs = rates(before, look(1000.0, lines=5, failed=5, banned=5))
    assert Rates() == whole == jails["sshd"]
    assert {"/var/log/a": None} == logs


def texts(shown, title):
    return [[cell.text for cell in row] for section in shown.sections if section.title == title for row in section.rows]


def test_a_screen_has_all_there_is():
    """Headline, jails, actions, logs, latest bans."""
    shown = picture(look(1000.0), look(1010.0, lines=20))
    assert [
        "banguard 1.0", "up 15:10", "1 jail", "2 banned", "0 not enforced", "2 lines/s", "0 failures/s", "0 bans/s",
    ] == [cell.text for cell in shown.headline]  # fmt: skip
    assert [["sshd", "2", "0", "0", "1", "0", "2", "0", "0", "reads"]] == texts(shown, "Jails")
    assert [["nft", "2", "0", "0", "works"], ["mail", "-", "1", "2", "no route"]] == texts(
        shown, "Firewalls and other actions"
    )
    assert [["/var/log/a", "2", "", "read"]] == [[row[0], row[1], "", row[3]] for row in texts(shown, "Logs")]
    assert [["sshd", "192.0.2.1", "1:00", "1", "5", "yes"]] == [row[1:] for row in texts(shown, "Latest bans")]


@pytest.mark.parametrize(
    ("expected", "style", "jail"),
    [
        ("reads", "good", {}),
        ("no log", "bad", {"problem": "no log"}),
        ("idle", "warn", {"idle": True}),
        ("not started", "warn", {"started": False}),
        ("nothing blocks", "warn", {"enforces": False}),
    ],
)
def test_the_state_of_a_jail_is_seen(expected, style, jail):
    """What is worst is said."""
    (section,) = (one for one in picture(None, look(1000.0, **jail)).sections if one.title == "Jails")
    assert (expected, style) == (section.rows[0][-1].text, section.rows[0][-1].style)


def test_bans_that_no_firewall_holds_are_red():
    """In the headline and in the row of the jail."""
    shown = picture(None, look(1000.0, not_enforced=3))
    assert "bad" == next(cell.style for cell in shown.headline if cell.text == "3 not enforced")
    assert "3" in [cell.text for cell in shown.sections[0].rows[0] if cell.style == "bad"]


def test_data_are_the_look_with_its_rates():
    """For other programs: null where there is no rate."""
    data = as_data(None, look(1000.0))
    assert {"lines": None, "failures": None, "bans": None} == data["rates"] == data["jails"][0]["rates"]
    data = as_data(look(1000.0), look(1001.0, lines=3))
    assert 3.0 == data["rates"]["lines"] == data["logs"][0]["lines_per_second"]


EVIL = "\x1b]0;owned\x07\x1b[2J\r\n\u202e\x9b\u2028\ud800"


@pytest.mark.parametrize("place", ["jail", "problem", "action", "log", "trouble", "id", "version"])
def test_nothing_hostile_gets_into_a_picture(place):
    """Whatever field it is in, each cell is one line of what can be printed."""
    now = look(1000.0)
    {
        "jail": lambda: now["jails"][0].update(jail=EVIL),
        "problem": lambda: now["jails"][0].update(problem=EVIL),
        "action": lambda: now["jails"][0]["action_stats"][1].update(name=EVIL, problem=EVIL),
        "log": lambda: now["logs"][0].update(log=EVIL),
        "trouble": lambda: now["logs"][0].update(problem=EVIL),
        "id": lambda: now["newest"][0].update(id=EVIL, jail=EVIL),
        "version": lambda: now.update(version=EVIL),
    }[place]()
    shown = picture(None, now)
    cells = [*shown.headline, *(cell for section in shown.sections for row in section.rows for cell in row)]
    assert all(cell.text.isprintable() for cell in cells)


@pytest.mark.parametrize(
    "now", [{}, {"jails": 5, "logs": [7], "newest": {}}, {"jails": [{}], "logs": [{}], "newest": [{}]}]
)
def test_a_look_of_another_shape_does_no_harm(now):
    """Another version of the server is shown somehow."""
    assert picture(None, now).headline
    assert as_data(None, now)
