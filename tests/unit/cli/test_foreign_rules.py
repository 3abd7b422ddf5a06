"""Rules of ipblock and logmon are understood; each line that is not good is told with its number and reason."""

from __future__ import annotations

import re

import pytest

from banguard.cli import foreign_rules as rules
from banguard.cli.foreign_rules import kind_of, read_ipblock, read_logmon, read_script
from support.foreign import IPBLOCK, LOGMON, SCRIPT

MAIL = LOGMON.format(log="/var/log/mail.log", script="/etc/logmon/drop.sh")


def findings(found):
    return [(each.line, each.message) for each in found.findings]


def test_the_kind_of_a_file():
    """The first line that says something decides."""
    assert kind_of(IPBLOCK) == "ipblock"
    assert kind_of(MAIL) == "logmon"
    assert kind_of("[DEFAULT]\nbantime = 1\n") == ""
    assert kind_of("# nothing\n") == ""


def test_the_broken_lines_of_ipblock():
    """Five broken lines and two without an address are told; the seven others are rules."""
    found = read_ipblock(IPBLOCK, "/l")
    assert findings(found) == [
        (3, rules.TIME),
        (4, rules.PORT),
        (5, rules.TIME),
        (6, rules.NO_ADDRESS),
        (7, rules.PORT),
        (8, rules.REGEX),
        (9, rules.NO_ADDRESS),
    ]
    assert [rule.line for rule in found.rules] == [2, 10, 11, 12, 13, 14, 15]
    first = found.rules[0]
    assert (10800, "tcp", "25", 1, True, "/l") == (
        first.bantime,
        first.protocol,
        first.port,
        first.maxretry,
        first.rearm,
        first.log,
    )


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("nonsense", rules.FORM),
        ("60,icmp/1,x(.)", rules.FORM),
        ("60,tcp,x(.)", rules.FORM),
        ("0,tcp/25,x(.)", rules.TIME),
        ("-5,tcp/25,x(.)", rules.TIME),
        ("6٣,tcp/25,x(.)", rules.TIME),
        ("99999999999999999999,tcp/25,x(.)", rules.TIME),
        ("60,tcp/0,x(.)", rules.PORT),
        ("60,tcp/65536,x(.)", rules.PORT),
        ("60,udp/53,x(?:.)", rules.NO_ADDRESS),
        ("60,udp/53,x[(]y", rules.NO_ADDRESS),
        ("60,udp/53,(?P<a>.)(?P=a)", rules.REGEX),
    ],
)
def test_a_broken_line(line, message):
    """Whatever is wrong is told once, and no rule is made of it."""
    found = read_ipblock(line, "/l")
    assert findings(found) == [(1, message)]
    assert found.rules == []


@pytest.mark.parametrize(
    "regex", [r"a\((.)", r"[(](.)", r"[]()](.)", r"[^](](.)", r"(?:a)(.)", r"(?P<x>.)", r"(?=a)a?(.),(.)", r"a\\(.)"]
)
def test_group_one_is_the_address(regex):
    """Whatever stands before it, the group that catches the address is the first one."""
    (rule,) = read_ipblock(f"60,tcp/25,{regex}", "/l").rules
    assert re.compile(rule.regexes[0]).groupindex["dns"] == 1
    assert re.compile(rule.regexes[0]).groups == re.compile(regex).groups


def test_logmon():
    """How often is from the command; how long, who stays out and the interface are from the script."""
    found = read_logmon(MAIL, {"/etc/logmon/drop.sh": SCRIPT}.get)
    assert [(rule.line, rule.maxretry, rule.findtime, rule.ignore, rule.log) for rule in found.rules] == [
        (3, 3, 21600, ("192.168.0.0/16",), "/var/log/mail.log"),
        (6, 1, 21600, ("192.168.0.0/16",), "/var/log/mail.log"),
        (9, 1, 21600, ("192.168.0.0/16",), "/var/log/mail.log"),
    ]
    assert [(each.line, each.message, each.text, each.is_error) for each in found.findings] == [
        (line, rules.INTERFACE, "eth1", False) for line in (4, 7, 10)
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("(a)\n/s 1 x", [(1, rules.LOG_WANTED), (2, rules.LOG_WANTED)]),
        (":/l\n/s 1 x", [(2, rules.REGEX_WANTED)]),
        (":/l\n(a", [(2, rules.REGEX)]),
        (":/l\n(a\n/s 1 x", [(2, rules.REGEX), (3, rules.REGEX_WANTED)]),
        (":/l\n(a)", [(2, rules.COMMAND_WANTED)]),
        (":/l\n(a)\n(b)\n/s 1 x", [(2, rules.COMMAND_WANTED)]),
        (":/l\n(a)\n:/m", [(2, rules.COMMAND_WANTED)]),
        (":/l\n(a)\n/other 1 x", [(3, rules.NO_BAN)]),
        (":/l\n(a)\n/s x 1", [(3, rules.NO_BAN)]),
        (":/l\n(a)\n/s", [(3, rules.NO_BAN)]),
        (":/l\n(a)\nmail 'root", [(3, rules.NO_BAN)]),
    ],
)
def test_broken_lines_of_logmon(text, expected):
    """Each line that does not lead to a rule is told with its reason."""
    found = read_logmon(text, lambda path: "iptables" if path == "/s" else None)
    assert findings(found) == expected


def test_a_script_is_read(tmp_path):
    """A script that cannot be read is as good as none."""
    (tmp_path / "s").write_text("iptables")
    assert read_script(str(tmp_path / "s")) == "iptables"
    assert read_script(str(tmp_path / "none")) is None
