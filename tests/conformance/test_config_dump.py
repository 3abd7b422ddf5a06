"""What configurations come to, compared with `fail2ban-client -d` of an installed fail2ban, option by option."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess

import pytest

from banguard.config import load, stream
from banguard.duration import parse
from conformance.config_fuzz import NAMES, Generator

CLIENT = "/usr/bin/fail2ban-client"
INSTALLED = "/etc/fail2ban"

pytestmark = pytest.mark.skipif(
    not (os.path.exists(CLIENT) and os.path.isdir(INSTALLED)),
    reason="fail2ban is not installed: nothing to compare with",
)

OWN = {"logtarget", "dbfile", "allowipv6"}
"""Options of the server that are banguard's own on purpose (paths), or that fail2ban 1.0 does not have."""

EARLIER = re.compile(r"\?family=")
"""An option in brackets stands for both families, as in fail2ban 1.1; in 1.0 only for the first. See the last test."""


def theirs(directory: str) -> list[list[object]]:
    done = subprocess.run([CLIENT, "-c", directory, "-d"], capture_output=True, text=True, timeout=120, check=True)
    return [ast.literal_eval(line) for line in done.stdout.splitlines() if line.startswith("[")]


def ours(directory: str) -> list[list[object]]:
    config = load(directory)
    assert () == config.errors
    return stream(config)


def settings(commands: list[list[object]]) -> dict[tuple[object, ...], object]:
    """Return each setting by its name: lists in their order, actions as their properties."""
    found: dict[tuple[object, ...], object] = {}
    for command in commands:
        match command:
            case ["set", str(option), value]:
                if option not in OWN:
                    found["server", option] = plain(option, value)
            case ["set", jail, option, *values] if str(option).startswith("add"):
                found.setdefault((jail, option), [])
                found[jail, option] += [values]
            case ["multi-set", jail, "action", action, properties]:
                found[jail, "action", action] = dict(properties)
            case ["multi-set", jail, option, values]:
                found.setdefault((jail, option), [])
                found[jail, option] += [[value] for value in values]
            case ["set", jail, option, *values]:
                found[jail, option] = plain(option, *values)
            case ["add" | "start", *names]:
                found[command[0], *names] = True
            case _:
                found[str(command),] = True
    return found


def plain(option: object, *values: object) -> object:
    """Return durations as seconds and all else as it is, so that `1d` equals 86400."""
    value = values[0] if len(values) == 1 else values
    if option in {"findtime", "bantime", "dbpurgeage", "bantime.maxtime", "bantime.rndtime"}:
        return float(parse(str(value)))
    return value


def compare(directory: str) -> int:
    expected, actual = settings(theirs(directory)), settings(ours(directory))
    assert sorted(map(str, expected)) == sorted(map(str, actual))
    for name, value in expected.items():
        assert value == actual[name], name
    return len(expected)


@pytest.fixture
def directory(tmp_path):
    target = tmp_path / "fail2ban"
    shutil.copytree(INSTALLED, target, ignore=lambda folder, names: [name for name in names if name.endswith(".local")])
    shutil.rmtree(target / "jail.d", ignore_errors=True)
    (tmp_path / "x.log").touch()
    return target


def jails_of(directory) -> list[str]:
    text = (directory / "jail.conf").read_text()
    return [name for name in re.findall(r"^\[([^\]]+)\]", text, re.MULTILINE) if name not in {"INCLUDES", "DEFAULT"}]


def test_every_stock_jail_has_the_same_options_regexes_and_actions(directory, tmp_path, capsys):
    """With all jails of the package enabled at once, each option, regex, command and property is what fail2ban makes of it."""
    names = jails_of(directory)
    local = "".join(
        f"[{name}]\nenabled = true\nlogpath = {tmp_path}/x.log\n" for name in names if name != "pass2allow-ftp"
    )
    (directory / "jail.local").write_text(local)
    count = compare(str(directory))
    assert len(names) > 50
    with capsys.disabled():
        print(f"\n{len(names)} jails, {count} settings are the same")


@pytest.mark.parametrize("action", ["action_", "action_mw", "action_mwl", "action_xarf"])
@pytest.mark.parametrize("banaction", ["iptables-multiport", "nftables", "firewallcmd-ipset", "pf", "ufw"])
def test_every_shortcut_with_every_kind_of_firewall(directory, tmp_path, action, banaction):
    """The shortcuts of jail.conf come to the same actions, whatever the firewall."""
    (directory / "jail.local").write_text(
        f"[DEFAULT]\nbanaction = {banaction}\naction = %({action})s\n"
        f"[sshd]\nenabled = true\nlogpath = {tmp_path}/x.log\nport = 22,2222\n"
        f"[asterisk]\nenabled = true\nlogpath = {tmp_path}/x.log\n"
    )
    compare(str(directory))


NASTY = {
    "known": """
[sshd]
failregex = %(known/failregex)s
            ^extra from <HOST>$
ignoreip = 127.0.0.1/8 ::1
           192.0.2.0/24, 198.51.100.1
""",
    "brackets": """
[sshd]
filter = sshd[mode=aggressive, publickey=invalid]
action = iptables-multiport[name=one, port="ssh,2222", protocol=tcp][chain='DOCKER-USER']
         sendmail-whois[name=two, dest="a@example.com, b@example.com", sender=x@example.com]
""",
    "two actions of one kind": """
[sshd]
action = iptables-multiport[name=%(__name__)s-tcp, protocol="tcp", port="ssh"]
         iptables-multiport[name=%(__name__)s-udp, protocol="udp", port="ssh"]
""",
    "percent, comments, odd spacing": """
[DEFAULT]
word = a ; this is a comment
hash = b # this is not
[sshd]
datepattern = ^%%Y-%%m-%%d %%H:%%M:%%S
failregex = ^%(word)s;%(hash)s <HOST>$
  ; a comment among the lines
            ^second <HOST>$

            ^third <HOST>$
FindTime : 1d 12h
bantime=-1
maxretry = 7
maxmatches = 0
""",
    "increment": """
[sshd]
bantime.increment = true
bantime.factor = 2
bantime.multipliers = 1 2 4 8
bantime.maxtime = 5w
bantime.rndtime = 2m
bantime.overalljails = yes
""",
    "other sections, defaults": """
[DEFAULT]
mode = extra
usedns = no
[other]
enabled = false
maxretry = 9
[sshd]
maxretry = %(other/maxretry)s
logencoding = latin-1
ignorecommand = /bin/true <ip> %(__name__)s
ignorecache = key="<ip>", max-count=100, max-time=5m
ignoreself = no
""",
    "multi-line filter": """
[sshd]
filter =
failregex = ^a <HOST>$
            ^b <ADDR> <F-USER>\\S+</F-USER>
ignoreregex = ^c$
maxlines = 3
""",
}


@pytest.mark.parametrize("name", NASTY)
def test_odd_configurations_come_to_the_same(directory, tmp_path, name):
    """References, brackets, comments, percent signs and sections mean what they mean to fail2ban."""
    (directory / "jail.local").write_text(f"[sshd]\nenabled = true\nlogpath = {tmp_path}/x.log tail\n")
    (directory / "jail.d").mkdir()
    (directory / "jail.d" / "z.local").write_text(NASTY[name])
    compare(str(directory))


def test_an_option_in_brackets_stands_for_both_families(directory, tmp_path):
    """`blocktype` given by the jail holds for IPv6 too, as it does from fail2ban 1.1 on; 1.0 bans IPv6 otherwise."""
    (directory / "jail.local").write_text(f"[pass2allow-ftp]\nenabled = true\nlogpath = {tmp_path}/x.log\n")
    (action,) = (value for key, value in settings(ours(str(directory))).items() if key[1:2] == ("action",))
    assert not any(EARLIER.search(name) for name in action if name.startswith("blocktype"))
    assert "-j RETURN" in action["actionban"]


def differs_on_purpose(name: tuple[object, ...], value: object) -> bool:
    """Tell whether a setting of fail2ban 1.0 is one that banguard does not have, or has as in 1.1."""
    if name[1:2] == ("action",) and isinstance(value, dict):
        given = list(value)[: list(value).index("actname")]
        return any("?" in key and key.partition("?")[0] in given for key in value)  # see the test above
    return name[1] in NAMES and name[1] != "maxretry"  # a variable of a filter that comes out as an option of the jail


def told(found: dict[tuple[object, ...], object]) -> dict[tuple[object, ...], object]:
    """Return the settings without options of actions that are false, which may as well not be there."""
    return {
        name: {key: text for key, text in value.items() if text is not False} if isinstance(value, dict) else value
        for name, value in found.items()
    }


def outcome(directory: str) -> list[list[object]] | None:
    """Return what fail2ban makes of *directory*, or None when it refuses it, or takes too long over it."""
    try:
        done = subprocess.run([CLIENT, "-c", directory, "-d"], capture_output=True, text=True, timeout=2)
    except subprocess.TimeoutExpired:
        return None
    commands = [ast.literal_eval(line) for line in done.stdout.splitlines() if line.startswith("[")]
    return commands if done.returncode == 0 and ["start", "j"] in commands else None


def test_generated_configurations_come_to_the_same(tmp_path):
    """Whatever names, sections, overlays, includes and brackets refer to one another by, the outcome is that of fail2ban."""
    compared = 0
    for seed in range(40):
        directory = tmp_path / str(seed)
        for name, text in Generator(seed).files().items():
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            (directory / name).write_text(text)
        commands = outcome(str(directory))
        if commands is not None:
            compared += 1
            expected, actual = settings(commands), settings(stream(load(str(directory))))
            for name in [name for name, value in expected.items() if differs_on_purpose(name, value)]:
                del expected[name]
                actual.pop(name, None)
            assert told(expected) == told(actual), seed
    assert compared > 15
