"""The shipped configuration: every jail and every action in it can be used as it is."""

from __future__ import annotations

import os
import re
import runpy
import shutil

import pytest

from banguard.actions import verify
from banguard.actions.tags import DYNAMIC
from banguard.config import load
from banguard.config.schema import ActionKind
from banguard.errors import ActionError
from support import samples


def _jails() -> list[str]:
    directory = os.path.join(samples.CONFIG, "jail.d")
    names = []
    for entry in sorted(os.listdir(directory)):
        if entry.endswith(".conf"):
            with open(os.path.join(directory, entry), encoding="utf-8") as file:
                names += re.findall(r"^\[(.+)\]$", file.read(), re.MULTILINE)
    return names


def _actions() -> list[str]:
    found = (entry.removesuffix(".conf") for entry in os.listdir(os.path.join(samples.CONFIG, "action.d")))
    return sorted(name for name in found if not name.endswith("common"))


JAILS = _jails()


@pytest.fixture
def directory(tmp_path):
    """A copy of the shipped configuration, whose jails all read one log that exists."""
    copy = str(tmp_path / "config")
    shutil.copytree(samples.CONFIG, copy)
    return copy


def _enable(directory: str, text: str = "") -> None:
    log = os.path.join(directory, "some.log")
    open(log, "w").close()
    with open(os.path.join(directory, "jail.local"), "w", encoding="utf-8") as file:
        file.write(text)
        file.writelines(f"[{jail}]\nenabled = true\nlogpath = {log}\n" for jail in JAILS)


def test_nothing_is_switched_on():
    """As it is shipped, the configuration is clean and runs no jail."""
    config = load(samples.CONFIG)
    assert () == config.problems
    assert {} == dict(config.jails)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[DEFAULT]\naction = %(action_mw)s\n",
        "[DEFAULT]\naction = %(action_mwl)s\n",
        "[DEFAULT]\nbanaction = iptables-multiport\nbanaction_allports = iptables-allports\n",
        "[DEFAULT]\nmode = aggressive\n",
        "[DEFAULT]\nbackend = systemd\n",
        "[DEFAULT]\nbantime.increment = true\nbantime.maxtime = 5w\nbantime = -1\n",
    ],
    ids=["as it is", "mw", "mwl", "iptables", "aggressive", "journal", "increment"],
)
def test_every_jail_can_be_switched_on(directory, text):
    """`enabled = true` is all that a shipped jail needs, with any of the usual settings."""
    _enable(directory, text)
    config = load(directory)
    assert [] == [str(problem) for problem in config.problems]
    assert sorted(JAILS) == sorted(config.jails)
    for jail in config.jails.values():
        assert jail.filter.failregex or jail.filter.fields, jail.name
        assert jail.actions, jail.name
        assert "<rules-" not in "".join(jail.filter.failregex)
        assert "<more-" not in "".join(jail.filter.failregex)


@pytest.mark.parametrize("action", _actions())
def test_every_action_can_be_used(directory, action):
    """Each shipped action can stand in `banaction`, and no tag in it is left that nothing fills."""
    _enable(directory, f"[DEFAULT]\nbanaction = {action}\nbanaction_allports = {action}\n")
    config = load(directory)
    assert [] == [str(problem) for problem in config.problems]
    known = {*DYNAMIC, "fq-hostname"}
    for jail in config.jails.values():
        for used in jail.actions:
            if used.kind is not ActionKind.COMMAND:
                continue
            text = "\n".join(used.commands.values())
            tags = set(re.findall(r"<([^<>\s]+)>", text))
            filled = {name.partition("?")[0] for name in used.properties} | set(used.properties.values())
            assert set() == tags - known - filled, used.name


def test_users_settings_win(directory):
    """Values in jail.local and in any file of jail.d that the user adds come after those that are shipped."""
    with open(os.path.join(directory, "jail.d", "flask-8080.conf"), "w", encoding="utf-8") as file:
        file.write("[flask-auth]\nenabled = true\nport = 8080\nmaxretry = 2\nlogpath = /tmp/access_log\n")
    jail = load(directory, only=["flask-auth"]).jails["flask-auth"]
    assert 2 == jail.maxretry
    assert ["/tmp/access_log"] == [path.pattern for path in jail.logpath]
    assert "8080" == jail.actions[0].properties["port"]


@pytest.mark.parametrize(
    "action",
    [
        'abuseipdb[abuseipdb_apikey="k", abuseipdb_category="18,22"]',
        'cloudflare-token[cfzone="z", cftoken="t"]',
        'cloudflare[cfuser="me@example.org", cftoken="t"]',
        'blocklist_de[email="%(sender)s", service="%(__name__)s", apikey="k"]',
        'xarf-login-attack[service=%(__name__)s, sender="%(sender)s", port="%(port)s"]',
        "smtp.py[host=mail.example.org, dest=me@example.org, sender=bg@example.org, ssl=True]",
        "csf",
        "npf",
    ],
)
def test_actions_as_users_write_them(directory, action):
    """Beside the firewall, with options; nothing is wrong with them, and they can be carried out."""
    _enable(directory, f"[DEFAULT]\naction = %(action_)s\n         {action}\n")
    config = load(directory, only=["sshd"])
    assert [] == [str(problem) for problem in config.problems]
    first, second = config.jails["sshd"].actions
    assert "nftables" == first.name
    assert () == verify(second)


@pytest.mark.parametrize(
    "action", ["abuseipdb", "cloudflare-token", "cloudflare", "blocklist_de", "ipthreat", "netscaler"]
)
def test_a_service_without_its_key_is_refused(directory, action):
    """At load, with the name of what is missing."""
    _enable(directory, f"[DEFAULT]\naction = {action}\n")
    (used,) = load(directory, only=["sshd"]).jails["sshd"].actions
    with pytest.raises(ActionError, match="is missing; the service asks for it"):
        verify(used)


@pytest.mark.parametrize(
    ("address", "name", "leads_to", "expected"),
    [
        ("66.249.66.1", "crawl-66-249-66-1.googlebot.com", "66.249.66.1", True),
        ("2001:4860:4801:10::1", "crawl.googlebot.com", "2001:4860:4801:10:0:0:0:1", True),
        ("192.0.2.66", "crawl-66-249-66-1.googlebot.com", "66.249.66.1", False),
        ("192.0.2.66", "googlebot.com.example.net", "192.0.2.66", False),
        ("192.0.2.66", "evilgooglebot.com", "192.0.2.66", False),
        ("192.0.2.66", None, "192.0.2.66", False),
        ("no address", "crawl.googlebot.com", "192.0.2.66", False),
    ],
)
def test_the_true_googlebot_is_told_by_its_name(monkeypatch, address, name, leads_to, expected):
    """An address is Google's when its name is one of Google's and leads back to it."""

    def name_of(_address):
        if name is None:
            raise OSError("no name")
        return name, [], []

    monkeypatch.setattr("socket.gethostbyaddr", name_of)
    monkeypatch.setattr("socket.getaddrinfo", lambda _name, _port: [(0, 0, 0, "", (leads_to, 0))])
    path = os.path.join(samples.CONFIG, "filter.d", "ignorecommands", "apache-fakegooglebot")
    assert expected is runpy.run_path(path)["is_google"](address)
