"""Dovecot's filter edited by an administrator, IPv6 among the ignored addresses, and a mail on each ban."""

from __future__ import annotations

import email
import email.policy
import shutil
import time

import pytest

from support.machine import eventually

FILTER = r"""
[Definition]
failregex = .*(?:pop3-login|imap-login):.*(?:Authentication failure|Aborted login \(auth failed|Aborted login \(tried to use disabled|Disconnected \(auth failed|tried to use disallowed plaintext auth).*\s+rip=<HOST>,.*
ignoreregex =
"""

LINE = "{stamp} nexus01 dovecot: pop3-login: Aborted login (tried to use disallowed plaintext auth): user=<{user}>, rip={host}, lip=218.219.149.234, session=<N7xUFrLjMgBCVa0N>\n"

JAIL = """\
[DEFAULT]
ignoreip = 127.0.0.1 2001:db8:1::/48 2001:db8::7

[dovecot]
enabled = true
logpath = {log}
maxretry = 3
"""

SENDMAIL = """\
#!/bin/sh
{{ echo "argv: $*"; cat; echo "----"; }} >>'{record}'
"""


def attack(log, host, times=3, user=""):
    with open(log, "a") as file:
        file.writelines([LINE.format(stamp=time.strftime("%b %d %H:%M:%S"), host=host, user=user)] * times)


@pytest.mark.parametrize("edited", [True, False], ids=["edited filter", "shipped filter"])
def test_ipv6_among_the_ignored_addresses(machine, banguard, tmp_path, edited):
    """`ignoreip` takes IPv6 addresses and networks: those are never banned, others are."""
    server = banguard(machine)
    log = tmp_path / "mail.log"
    log.write_text("")
    if edited:
        server.write("filter.d/dovecot.conf", FILTER)
    server.write("jail.local", JAIL.format(log=log))
    server.start(jails=["dovecot"])
    for host in ("2001:db8::7", "2001:db8:1:2::3", "127.0.0.1", "66.85.173.13", "2001:db8::8"):
        attack(log, host)
    server.await_ban("dovecot", "66.85.173.13")
    server.await_ban("dovecot", "2001:db8::8")
    assert ["2001:db8::8", "66.85.173.13"] == server.banned("dovecot")
    assert "[dovecot] Ignore 2001:db8::7 by ip" in server.read_log()
    machine_rules = machine.run("nft", "list", "ruleset").stdout
    assert "66.85.173.13" in machine_rules
    assert "2001:db8::8" in machine_rules
    server.stop()


@pytest.mark.skipif(shutil.which("mount") is None, reason="needs mount")
def test_a_mail_on_each_ban(machine, banguard, tmp_path):
    """`action_mwl` writes one mail per ban; hostile log text in it is text, and runs nothing."""
    server = banguard(machine)
    log = tmp_path / "mail.log"
    log.write_text("")
    record = tmp_path / "mails"
    record.write_text("")
    program = tmp_path / "sendmail"
    program.write_text(SENDMAIL.format(record=record))
    program.chmod(0o755)
    hostile = f"x$(touch {tmp_path}/a)`touch {tmp_path}/b`';touch {tmp_path}/c;\"\\n~!touch {tmp_path}/d"
    mails = f'mta = sendmail\ndestemail = ops@example.org\naction = %(action_mwl)s\naction_mwl = %(action_)s\n  %(mta)s-whois-lines[sender="%(sender)s", dest="%(destemail)s", logpath="%(logpath)s", mailcmd="{program} -t", whois-program=true]\n'
    server.write("jail.local", JAIL.format(log=log) + mails)
    server.start(jails=["dovecot"])
    attack(log, "192.0.2.2", user=hostile)
    server.await_ban("dovecot", "192.0.2.2")
    eventually(lambda: "----" in record.read_text(), what="the mail was sent")
    call, _, sent = record.read_text().removesuffix("----\n").partition("\n")
    mail = email.message_from_string(sent, policy=email.policy.default)
    body = mail.get_content()
    assert call.startswith("argv: -t")
    assert mail["Subject"].startswith("[banguard] dovecot: banned 192.0.2.2 on ")
    assert "ops@example.org" == mail["To"]
    assert "The jail dovecot banned 192.0.2.2 after 3 failures, for 1h." in body
    assert hostile in body
    assert [] == [name for name in "abcd" if (tmp_path / name).exists()]
    server.stop()
    assert 1 == record.read_text().count("----")
