"""Jails that can never ban, or do not do what they seem to, are told of."""

from __future__ import annotations

import pytest

from banguard.config.schema import ActionConfig, Config, FilterConfig, JailConfig, LogPath
from banguard.daemon.check_jails import check_doubled, check_settings, installed_units
from banguard.message import code_of

RULES = FilterConfig(failregex=("^<HOST>$",))
SSH = FilterConfig(journalmatch=(("_SYSTEMD_UNIT=sshd.service", "+", "_COMM=sshd"),))


def found(units=frozenset(("ssh.service", "cron.service")), **options):
    problems = check_settings(
        JailConfig("sshd", **options),
        lookup=lambda name: ("192.0.2.1",) if name == "here.example" else (),
        units=lambda: units,
    )
    return [code_of(each.message) for each in problems]


@pytest.mark.parametrize(
    ("codes", "options"),
    [
        ([], {}),
        (["jail-never"], {"bantime": 0}),
        (["value-bad"], {"maxretry": 0}),
        (["jail-never"], {"findtime": 0.0, "maxretry": 3}),
        ([], {"findtime": 0.0, "maxretry": 1}),
        (["jail-never", "jail-never"], {"ignoreip": ("0.0.0.0/0", "::/0")}),
        ([], {"ignoreip": ("192.0.2.0/24", "::1", "here.example")}),
        (["ignoreip-unresolved"], {"ignoreip": ("gone.example",)}),
        (["ignoreip-form"], {"ignoreip": ("192.0.2.300",)}),
        (["ignoreip-file"], {"ignoreip": ("file:/nonexistent/list",)}),
    ],
)
def test_settings(codes, options):
    """Each of these is found, and nothing is said of good ones."""
    assert codes == found(**options)


@pytest.mark.parametrize(
    ("codes", "match", "backend"),
    [
        (["unit-unknown"], (("_SYSTEMD_UNIT=sshd.service",),), "systemd"),
        (["unit-unknown"], (("_SYSTEMD_UNIT=sshd.service", "+", "_COMM=sshd"),), "systemd"),
        ([], (("_SYSTEMD_UNIT=ssh.service",),), "systemd"),
        ([], (("_SYSTEMD_UNIT=ssh.service",), ("_SYSTEMD_UNIT=other.service",)), "systemd"),
        ([], (("SYSLOG_IDENTIFIER=x",),), "systemd"),
        ([], (("_SYSTEMD_UNIT=sshd.service",),), "polling"),
        ([], (("_SYSTEMD_UNIT=user.slice",),), "systemd"),
    ],
)
def test_units(codes, match, backend):
    """A jail all of whose units are unknown reads nothing, when it reads the journal."""
    assert codes == found(filter=FilterConfig(journalmatch=match), backend=backend)
    assert [] == found(units=frozenset(), filter=FilterConfig(journalmatch=match), backend=backend)


def test_an_instance_of_a_template_is_known(tmp_path):
    """`openvpn@work.service` comes from `openvpn@.service`."""
    (tmp_path / "openvpn@.service").touch()
    match = (("_SYSTEMD_UNIT=openvpn@work.service",),)
    units = installed_units((str(tmp_path), "/nonexistent"))
    assert [] == found(units=units, filter=FilterConfig(journalmatch=match), backend="systemd")


@pytest.mark.parametrize(
    ("severity", "options"),
    [
        ("warning", {}),
        ("note", {"bantime": 86400, "maxretry": 20}),
        ("note", {"actions": (ActionConfig("mail", "mail"),)}),
        (None, {"logpath": (LogPath("/var/log/b"),)}),
        (None, {"filter": FilterConfig(failregex=("^no <HOST>$",))}),
    ],
)
def test_doubled_jails(severity, options):
    """Two jails with the same rules on the same log; with other limits or actions that may be meant."""
    log = (LogPath("/var/log/a"),)
    second = JailConfig("b", **{"logpath": log, "filter": RULES, **options})
    config = Config("/etc/x", jails={"a": JailConfig("a", logpath=log, filter=RULES), "b": second})
    problems = list(check_doubled(config))
    assert ([] if severity is None else [(severity, "b", "jail-doubled")]) == [
        (each.severity.value, each.jail, code_of(each.message)) for each in problems
    ]
