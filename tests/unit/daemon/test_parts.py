"""Tests of banguard.daemon.parts."""

from __future__ import annotations

from pathlib import Path

import pytest

from banguard.bans.store import MemoryStore
from banguard.config.schema import (
    ActionConfig,
    ActionKind,
    BantimeIncrement,
    Config,
    FilterConfig,
    JailConfig,
    LogPath,
    Place,
    ServerConfig,
)
from banguard.daemon.parts import allow_ipv6, check_encoding, deaf, make_rules, open_store, run_check, with_own_log
from banguard.errors import ConfigError


def test_rules_follow_the_configuration() -> None:
    """`usedns = no` makes <HOST> match addresses only; maxlines and date pattern are those of the filter."""
    rules = make_rules(
        JailConfig("a", usedns="no", filter=FilterConfig(failregex=("^bad <HOST>$",), datepattern="{EPOCH}")),
        journal=False,
    )
    dated = rules.date("1800000000 bad 192.0.2.1", 1_800_000_000.0)
    assert 1_800_000_000.0 == dated.time
    assert (
        "missed"
        == make_rules(JailConfig("a", usedns="no", filter=FilterConfig(failregex=("^bad <HOST>$",))), journal=True)
        .match(rules.date("bad example.com", 1.0), 1.0)
        .status
    )


def test_a_pattern_that_cannot_be_used_is_reported_with_its_place() -> None:
    """File and line of the regex are in the error."""
    rules = FilterConfig(ignoreregex=("ok", "(bad"), places={"ignoreregex[1]": Place("filter.d/x.conf", 9)})
    with pytest.raises(ConfigError) as caught:
        make_rules(JailConfig("a", filter=rules), journal=False)
    assert ("filter.d/x.conf", 9) == (caught.value.path, caught.value.line)


def test_an_encoding_must_exist() -> None:
    """`auto` and codecs that Python knows are taken, others are named in the error."""
    check_encoding(JailConfig("a"))
    check_encoding(JailConfig("a", logencoding="latin-1"))
    with pytest.raises(ConfigError, match="klingon"):
        check_encoding(JailConfig("a", logencoding="klingon"))


@pytest.mark.parametrize(
    ("command", "expected"),
    [("test <ip> = 192.0.2.1", 0), ("test <ip> = 192.0.2.2", 1), ("exit 2", None), ("no-such-program-here", None)],
)
def test_the_ignore_command_answers_with_its_exit_status(command: str, expected: int | None) -> None:
    """0 ignores, 1 does not, anything else is an error and no answer."""
    assert expected == run_check(command, {"ip": "192.0.2.1"})


def test_log_text_never_becomes_part_of_the_ignore_command(tmp_path: Path) -> None:
    """A captured value with shell text in it is a value and nothing more."""
    trap = tmp_path / "trap"
    assert 0 == run_check('test "<F-USER>" != x', {"F-USER": f"$(touch {trap}); touch {trap} `touch {trap}`"})
    assert not trap.exists()


@pytest.mark.parametrize(("setting", "expected"), [("yes", True), ("no", False), ("1", True)])
def test_ipv6_as_the_option_says(setting: str, expected: bool) -> None:
    """A plain word decides; only `auto` looks at the machine."""
    assert expected == allow_ipv6(setting)
    assert allow_ipv6("auto") in {True, False}


def test_the_store_is_what_dbfile_names(tmp_path: Path) -> None:
    """A path is a database with that name, `None` and `:memory:` are kept in memory."""
    assert isinstance(open_store(ServerConfig(dbfile="None")), MemoryStore)
    assert isinstance(open_store(ServerConfig(dbfile=":memory:")), MemoryStore)
    store = open_store(ServerConfig(dbfile=str(tmp_path / "sub" / "db")))
    assert (tmp_path / "sub" / "db").exists()
    store.close()


def test_a_store_that_cannot_be_opened_does_not_stop_the_server(tmp_path: Path, caplog) -> None:
    """The trouble is logged, the store is there and is tried again later."""
    store = open_store(ServerConfig(dbfile=str(tmp_path)))
    assert "bans are kept in memory" in caplog.text
    store.close()


def test_a_jail_that_reads_the_log_of_fail2ban_reads_ours() -> None:
    """A `recidive` jail of a fail2ban configuration finds the bans where they are told of now."""
    server = ServerConfig(logtarget="/var/log/banguard.log", stands_for="/var/log/fail2ban.log")
    jails = {
        "recidive": JailConfig("recidive", logpath=(LogPath("/var/log/fail2ban.log", tail=True), LogPath("/x"))),
        "sshd": JailConfig("sshd", logpath=(LogPath("/var/log/auth.log"),)),
    }
    changed = with_own_log(Config("/etc/fail2ban", server, jails)).jails
    assert (LogPath("/var/log/banguard.log", tail=True), LogPath("/x")) == changed["recidive"].logpath
    assert jails["sshd"] == changed["sshd"]
    plain = Config("/etc/banguard", ServerConfig(), jails)
    assert plain is with_own_log(plain)


def test_a_condition_that_cannot_be_used_is_reported_with_its_place() -> None:
    """File and line of the regex of a field, or of the field whose name is wrong, are in the error."""
    place = Place("filter.d/x.conf", 9)
    for option, regex, key in (("field.ip", "(<HOST>", "field.ip[0]"), ("field.a..b", "<HOST>", "field.a..b")):
        rules = FilterConfig(logformat="json", fields=((option, (regex,)),), places={key: place})
        with pytest.raises(ConfigError) as caught:
            make_rules(JailConfig("a", filter=rules), journal=False)
        assert ("filter.d/x.conf", 9) == (caught.value.path, caught.value.line)


def native(name: str) -> ActionConfig:
    return ActionConfig(name, name, ActionKind.NATIVE, native=name)


@pytest.mark.parametrize(
    ("is_deaf", "quiet", "actions"),
    [
        (False, None, ()),
        (False, 0.0, (native("route"),)),
        (False, 60.0, (native("nftables"),)),
        (False, 60.0, (native("mail"), native("route"), native("ipset"))),
        (True, 60.0, (native("mail"), native("route"))),
        (True, 60.0, (ActionConfig("own", "own", commands={"actionban": "true"}),)),
        (True, 60.0, (native("nosuch"),)),
    ],
)
def test_who_still_sends_has_to_be_told_by_a_firewall(
    is_deaf: bool, quiet: float | None, actions: tuple[ActionConfig, ...]
) -> None:
    """`bantime.quiet` has no effect where none can, and the message names those that could."""
    message = deaf(JailConfig("a", increment=BantimeIncrement(quiet=quiet), actions=actions))
    assert is_deaf is bool(message)
    assert is_deaf is message.endswith("these can: nftables, iptables, ipset, firewalld")
