"""Tests of banguard.actions.mail: what is sent to whom, and what never can be."""

from __future__ import annotations

import email
import email.policy

import pytest

from banguard.actions.base import Step
from banguard.actions.mail import HOUR, MailAction
from banguard.config.schema import ActionConfig, ActionKind
from banguard.errors import ActionError
from banguard.model import Ban
from banguard.run import Finished

HOSTILE = [
    "'; touch /tmp/x; #",
    "`touch /tmp/x` $(touch /tmp/x)",
    "x\nBcc: victim@example.net\n\n~!touch /tmp/x\n.\nQUIT",
    "x\r\nSubject: forged\r\n",
    "\x00\x1b[31m%s%n <ip> <matches>",
    "ü\udcff" + "A" * 5000,
]


class Outbox:
    """A sendmail that keeps what it is given, and a whois."""

    def __init__(self):
        self.calls = []
        self.mails = []
        self.status = 0
        self.whois = b"whose: somebody\n\x1b[2Jx\n~!touch /tmp/x\n"

    def __call__(self, argv, *, stdin=b"", timeout, keep=0):
        self.calls.append(argv)
        if argv[0] == "whois":
            return Finished(0, self.whois)
        if not self.status:
            self.mails.append(email.message_from_bytes(stdin, policy=email.policy.default))
        return Finished(self.status, stderr=b"no")


@pytest.fixture
def outbox():
    return Outbox()


def make(clock, outbox, **properties):
    config = ActionConfig(
        "mail", "mail", ActionKind.NATIVE, native="mail",
        properties={"name": "sshd", "dest": "root@example.org", "sender": "bg@example.org", **properties},
    )  # fmt: skip
    return MailAction(config, "sshd", clock=clock, runner=outbox)


def step(host="192.0.2.1", **more):
    ban = Ban("sshd", host, 1000.0, 1600.0, failures=5, **more)
    return Step("m", host, None, ban)


def test_a_mail_for_a_ban(clock, outbox):
    """Who is told, from whom, of what."""
    make(clock, outbox, sendername="The guard").ban(step())
    (mail,) = outbox.mails
    assert "The guard <bg@example.org>" == mail["From"]
    assert "root@example.org" == mail["To"]
    assert mail["Subject"].startswith("[banguard] sshd: banned 192.0.2.1 on ")
    assert "auto-generated" == mail["Auto-Submitted"]
    assert "banned 192.0.2.1 after 5 failures" in mail.get_content()
    assert [["/usr/sbin/sendmail", "-i", "-t", "-f", "bg@example.org"]] == outbox.calls


@pytest.mark.parametrize("text", HOSTILE)
def test_text_of_a_log_is_only_text(clock, outbox, text):
    """Whatever stands in a log line, a captured name or an id: one mail, to the same people, with the same headers."""
    plain = make(clock, outbox, lines="matches")
    plain.ban(step(matches=("harmless",)))
    action = make(clock, outbox, lines="matches", whois="yes")
    action.ban(step(host=text, matches=(text, text), data={"user": text, "ip": "192.0.2.1"}))
    first, second = outbox.mails
    assert first.keys() == second.keys()
    assert (first["To"], first["From"]) == (second["To"], second["From"])
    assert 1 == len(second.get_all("Subject"))
    body = second.get_content()
    assert not [char for char in body if not char.isprintable() and char != "\n"]
    assert all(len(line) < 998 for line in body.splitlines())
    assert ["sendmail", "whois", "sendmail"] == [argv[0].rpartition("/")[2] for argv in outbox.calls]
    assert ["whois", "192.0.2.1"] == outbox.calls[1]


def test_whois_and_lines(clock, outbox, tmp_path):
    """Whose address it is and the newest lines with it; another address that begins alike is another one."""
    log = tmp_path / "auth.log"
    log.write_text("a 192.0.2.1 b\nc 192.0.2.10 d\ne 1192.0.2.1 f\ng [192.0.2.1]:22 h\n")
    make(clock, outbox, whois="yes", lines="log", logpath=f"{log} {tmp_path}/none").ban(step())
    body = outbox.mails[0].get_content()
    assert "whose: somebody" in body
    assert "a 192.0.2.1 b" in body
    assert "g [192.0.2.1]:22 h" in body
    assert "192.0.2.10" not in body
    assert "1192" not in body
    assert "No such file" in body


def test_no_answer_of_whois(clock, outbox):
    """A whois that says nothing costs nothing but a remark."""
    outbox.whois = b""
    make(clock, outbox, whois="yes").ban(step())
    assert "no answer" in outbox.mails[0].get_content()


def test_many_bans_are_gathered(clock, outbox):
    """Beyond so many mails an hour, bans wait for the next mail, which tells of all of them."""
    action = make(clock, outbox, **{"per-hour": "2"})
    for number in range(6):
        action.ban(step(f"192.0.2.{number}"))
    assert 2 == len(outbox.mails)
    clock.advance(HOUR + 1)
    action.ban(step("192.0.2.99"))
    assert 3 == len(outbox.mails)
    assert "banned 5 hosts" in outbox.mails[2]["Subject"]
    assert all(f"192.0.2.{number}" in outbox.mails[2].get_content() for number in (2, 3, 4, 5, 99))
    action.ban(step("192.0.2.100"))
    assert 4 == len(outbox.mails)


def test_what_is_gathered_is_told_at_the_end(clock, outbox):
    """A stop forgets nobody."""
    action = make(clock, outbox, **{"per-hour": "1"})
    for number in range(3):
        action.ban(step(f"192.0.2.{number}"))
    action.stop()
    assert "banned 2 hosts" in outbox.mails[-1]["Subject"]


def test_notices(clock, outbox):
    """Start and stop are told when that is wanted, and not otherwise."""
    for wanted in ("yes", "no"):
        action = make(clock, outbox, notices=wanted)
        assert action.has_start is (wanted == "yes")
        action.start()
        action.stop()
    assert ["started", "stopped"] == [mail["Subject"].split()[2] for mail in outbox.mails]


def test_a_mail_that_cannot_be_sent_is_an_error(clock, outbox):
    """The worker is told, and tries again."""
    outbox.status = 75
    action = make(clock, outbox)
    with pytest.raises(ActionError, match="sendmail"):
        action.ban(step())
    outbox.status = 0
    action.ban(step())
    assert 1 == len(outbox.mails)


@pytest.mark.parametrize(
    ("option", "text"),
    [
        ("dest", "root; touch x"),
        ("dest", "-oQ/tmp"),
        ("sender", "a\nb@example.org"),
        ("transport", "pigeon"),
        ("lines", "all"),
        ("ssl", "maybe"),
        ("host", "mail.example.org:70000"),
        ("per-hour", "0"),
        ("timeout", "soon"),
        ("mailcmd", "'"),
    ],
)
def test_what_cannot_be_meant_is_refused(option, text):
    """A bad property is named."""
    with pytest.raises(ActionError, match="port" if option == "host" else option):
        MailAction.verify({option: text})


def test_old_commands_are_understood(clock, outbox):
    """A `mailcmd` with sender and recipient in it, as old configurations have, leads to the same mail."""
    make(clock, outbox, mailcmd='/usr/sbin/sendmail -f "bg@example.org" "root@example.org"').ban(step())
    assert ["/usr/sbin/sendmail", "-t", "-f", "bg@example.org"] == outbox.calls[0]
    assert "root@example.org" == outbox.mails[0]["To"]
