"""Tests of banguard.cli.bans."""

from __future__ import annotations

import pytest

from banguard.cli import bans
from banguard.cli.bans import Wish, address_key, as_text, fetch, read, remaining
from banguard.cli.colour import Paint
from banguard.cli.render import clock_text
from banguard.control.protocol import Reply
from banguard.errors import ControlError

NOW = 1_800_000_000
PLAIN = Paint(on=False)


def row(host, **more):
    return {
        "id": host, "jail": "sshd", "ports": "tcp/ssh", "since": NOW - 60, "until": NOW + 540, "count": 1,
        "failures": 5, "enforced": True, "origin": "local", **more,
    }  # fmt: skip


def server(*rows):
    return lambda request: Reply({"now": NOW, "bans": [dict(row) for row in rows]}, "ban_table")


def ids(words, *rows):
    return [row["id"] for row in fetch(words, server(*rows)).value["bans"]]


@pytest.mark.parametrize(
    ("expected", "words"),
    [
        (Wish(("banned", "--table")), ["--table"]),
        (Wish(("banned", "--table", "--jail", "web", "192.0.2.0/24")), ["--jail", "web", "192.0.2.0/24"]),
        (
            Wish(("banned", "--table"), sort="since", reverse=True, limit=3),
            ["--sort=since", "--reverse", "--limit", "3"],
        ),
        (Wish(("banned", "--table"), sort="name", names=True), ["--sort", "name"]),
        (Wish(("banned", "--table"), country=True, not_enforced=True), ["--country", "--not-enforced"]),
    ],
)
def test_words_are_read(expected, words):
    """What the server can do stands in the request, the rest is done here."""
    assert expected == read(words)


@pytest.mark.parametrize(
    "words", [["--sort"], ["--sort", "x"], ["--limit", "0"], ["--limit", "x"], ["--jail"], ["--foo"], ["--table=yes"]]
)
def test_other_words_are_refused(words):
    """A wrong option is a mistake of usage, and said before anybody is asked."""
    with pytest.raises(ControlError) as caught:
        read(words)
    assert 2 == caught.value.status


def test_any_option_means_the_table():
    """The plain command keeps the text that scripts read."""
    assert [False, False, True, True] == [
        bans.is_table(words) for words in ([], ["192.0.2.1"], ["--jail", "x"], ["192.0.2.1", "--table"])
    ]


@pytest.mark.parametrize(
    ("expected", "words"),
    [
        (["9.0.0.1", "10.0.0.1", "2001:db8::1", "user"], ["--sort", "address"]),
        (["user", "2001:db8::1", "10.0.0.1", "9.0.0.1"], ["--sort", "address", "--reverse"]),
        (["10.0.0.1", "9.0.0.1", "user", "2001:db8::1"], ["--sort", "ends"]),
        (["2001:db8::1", "9.0.0.1", "10.0.0.1", "user"], ["--sort", "count"]),
        (["2001:db8::1"], ["--not-enforced"]),
        (["10.0.0.1", "9.0.0.1"], ["--limit", "2"]),
    ],
)
def test_rows_are_put_in_order(expected, words):
    """Addresses by their number, times by their number, for ever at the end; then as many as wanted."""
    rows = (
        row("10.0.0.1", until=NOW + 1, count=3),
        row("user", until=NOW + 3, count=4),
        row("2001:db8::1", until=None, count=1, enforced=False),
        row("9.0.0.1", until=NOW + 2, count=2),
    )
    assert expected == ids(words, *rows)


def test_names_are_asked_for(monkeypatch):
    """Only with `--names`; who has none stands without."""
    names = {"192.0.2.1": "one.example"}

    def lookup(address):
        if address not in names:
            raise OSError("unknown")
        return names[address], [], []

    monkeypatch.setattr("socket.gethostbyaddr", lookup)
    rows = row("192.0.2.1"), row("192.0.2.2")
    assert ["one.example", None] == [row["name"] for row in fetch(["--names"], server(*rows)).value["bans"]]
    assert "name" not in fetch(["--table"], server(*rows)).value["bans"][0]


def test_a_refusal_is_passed_on():
    """The server's answer is the answer."""
    refused = Reply(error="Sorry", status=1)
    assert refused == fetch(["--jail", "x"], lambda _: refused)


def test_addresses_are_ordered_by_number():
    """IPv4, IPv6, others; a network stands at its first address."""
    texts = ["z", "2001:db8::", "10.0.0.0/8", "9.255.0.0", "::1", "10.0.0.1"]
    assert ["9.255.0.0", "10.0.0.0/8", "10.0.0.1", "::1", "2001:db8::", "z"] == sorted(texts, key=address_key)


@pytest.mark.parametrize(
    ("expected", "seconds"),
    [("0:00", -5), ("0:59", 59), ("9:58", 598), ("2:00:00", 7200), ("3d 4:05:06", 3 * 86400 + 4 * 3600 + 306)],
)
def test_the_time_to_go_is_short(expected, seconds):
    """Minutes and seconds, hours and days where there are any."""
    assert expected == remaining(seconds)


def test_the_table():
    """Address, jail, ports, times, count, failures, whether in force."""
    began, ends = clock_text(NOW - 60), clock_text(NOW + 540)
    value = {"now": NOW, "bans": [row("192.0.2.1"), row("2001:db8::1", until=None, enforced=False, ports="")]}
    assert (
        "ADDRESS      JAIL  PORTS    SINCE                ENDS                    IN  COUNT  FAILURES  ENFORCED\n"
        f"192.0.2.1    sshd  tcp/ssh  {began}  {ends}   9:00      1         5  yes\n"
        f"2001:db8::1  sshd  -        {began}  never                never      1         5  no"
    ) == as_text(value, room=None, paint=PLAIN)
    assert (
        "ADDRESS      JAIL  PORTS       IN  ENFORCED\n"
        "192.0.2.1    sshd  tcp/ssh   9:00  yes\n"
        "2001:db8::1  sshd  -        never  no"
    ) == as_text(value, room=48, paint=PLAIN)
    assert "Nobody is banned." == as_text({"now": NOW, "bans": []}, room=None, paint=PLAIN)


EVIL = "\x1b]0;owned\x07\x1b[2J\r\n192.0.2.9\u202e\x9b\u2028\ud800"


@pytest.mark.parametrize("key", ["id", "jail", "ports", "name", "country", "count", "failures"])
def test_nothing_hostile_reaches_the_terminal(key):
    """Whatever field it is in: a name that DNS gives is as hostile as a log."""
    text = as_text({"now": NOW, "bans": [{**row("192.0.2.1"), key: EVIL}]}, room=None, paint=PLAIN)
    assert [] == [char for char in text if not char.isprintable() and char != "\n"]
    assert 2 == len(text.splitlines())


@pytest.mark.parametrize(
    "value", [None, 5, {}, {"bans": [5]}, {"bans": [{}]}, {"bans": [{"since": 1e300, "until": 1e300}]}]
)
def test_a_reply_of_another_shape_does_no_harm(value):
    """It is shown somehow."""
    assert isinstance(as_text(value, room=80, paint=PLAIN), str)
