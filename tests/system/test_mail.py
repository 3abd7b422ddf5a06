"""Mails of the real server, to a real SMTP server and through a sendmail."""

from __future__ import annotations

import asyncio
import email
import email.policy
import os
import socket
import threading
import time

import pytest

from support.machine import eventually

smtp = pytest.importorskip("aiosmtpd.smtp", reason="aiosmtpd is not installed")

EVIL = "x' `touch {dir}/evil` $(touch {dir}/evil); touch {dir}/evil"


class Sink:
    """An SMTP server on loopback, with a thread of its own; keeps what it gets."""

    def __init__(self):
        self.mails = []
        self.loop = asyncio.new_event_loop()
        self.ready = threading.Event()
        self.thread = threading.Thread(target=self._run)
        self.thread.start()
        assert self.ready.wait(10)

    async def handle_DATA(self, server, session, envelope):  # noqa: N802  the name that aiosmtpd calls
        del server, session
        self.mails.append((envelope, email.message_from_bytes(envelope.content, policy=email.policy.default)))
        return "250 taken"

    def _run(self):
        asyncio.set_event_loop(self.loop)
        with socket.socket() as listening:
            listening.bind(("127.0.0.1", 0))
            self.port = listening.getsockname()[1]
            server = self.loop.run_until_complete(
                self.loop.create_server(lambda: smtp.SMTP(self, loop=self.loop, hostname="sink"), sock=listening)
            )
            self.ready.set()
            self.loop.run_forever()
            server.close()
            self.loop.run_until_complete(server.wait_closed())
            for task in asyncio.all_tasks(self.loop):
                task.cancel()
            self.loop.run_until_complete(asyncio.sleep(0))
        self.loop.close()

    def close(self):
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)


@pytest.fixture
def sink():
    made = Sink()
    yield made
    made.close()


class Host:
    """This machine, as a place for a server whose mails go to loopback here."""

    def __init__(self):
        self.started = []

    def start(self, *argv, output=os.devnull, env=None):
        import subprocess

        from support.machine import dying

        with open(output, "ab") as file:
            process = subprocess.Popen(dying(*argv), stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=env)
        self.started.append(process)
        return process


FILTER = "[Definition]\nfailregex = ^ failed <ADDR> as <F-USER>.*</F-USER>$\n"


def fail(log, host, user, times=1):
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime())
    with open(log, "a", encoding="utf-8") as file:
        file.write(f"{stamp} failed {host} as {user}\n" * times)


def test_by_smtp(banguard, tmp_path, sink):
    """A ban is reported to a real SMTP server, with its lines, which give no orders; a restored ban is not told again."""
    server = banguard(Host())
    log = tmp_path / "app.log"
    log.touch()
    server.write("filter.d/app.conf", FILTER)
    server.write(
        "jail.local",
        f"""[app]
enabled = true
logpath = {log}
maxretry = 2
action = smtp[name=app, host="127.0.0.1:{sink.port}", dest="ops@example.org root@example.org", sender=bg@example.org]
""",
    )
    server.start(jails=["app"])
    fail(log, "203.0.113.1", EVIL.format(dir=tmp_path), 2)
    eventually(lambda: sink.mails, what="the mail arrives")
    envelope, mail = sink.mails[0]
    assert ["ops@example.org", "root@example.org"] == envelope.rcpt_tos
    assert "bg@example.org" == envelope.mail_from
    assert "banned 203.0.113.1" in mail["Subject"]
    assert "touch" in mail.get_content()
    assert not (tmp_path / "evil").exists()
    server.stop()
    server.start(jails=["app"])
    server.await_log("Restore Ban 203.0.113.1")
    fail(log, "203.0.113.2", "bob", 2)
    eventually(lambda: len(sink.mails) > 1, what="the next mail arrives")
    assert ["203.0.113.1", "203.0.113.2"] == [mail["Subject"].split()[3] for _, mail in sink.mails]
    server.stop()


def test_by_sendmail(banguard, tmp_path):
    """`action_mwl` mails through sendmail -t what whois and the log say, and a ban in the firewall never waits for it."""
    server = banguard(Host())
    log = tmp_path / "app.log"
    log.touch()
    tools = tmp_path / "tools"
    tools.mkdir()
    for name, text in {
        "sendmail": f'printf "%s\\n" "$@" > {tmp_path}/words; cat > {tmp_path}/mail.new; mv {tmp_path}/mail.new {tmp_path}/mail',
        "whois": "printf 'owner: somebody\\n~!touch %s/evil\\n' " + str(tmp_path),
    }.items():
        (tools / name).write_text(f"#!/bin/sh\n{text}\n")
        (tools / name).chmod(0o755)
    server.write("filter.d/app.conf", FILTER)
    server.write("action.d/none.conf", "[Definition]\nnative = null\n")
    server.write(
        "action.d/sendmail-common.local", f"[Init]\nmailcmd = {tools}/sendmail -i -t\nwhois-program = {tools}/whois\n"
    )
    server.write(
        "jail.local",
        f"""[app]
enabled = true
logpath = {log}
maxretry = 2
banaction = none
action = %(action_mwl)s
destemail = ops@example.org
sender = bg@example.org
""",
    )
    server.start(jails=["app"])
    fail(log, "203.0.113.1", EVIL.format(dir=tmp_path), 2)
    server.await_ban("app", "203.0.113.1")
    eventually((tmp_path / "mail").exists, what="the mail is handed over")
    mail = email.message_from_bytes((tmp_path / "mail").read_bytes(), policy=email.policy.default)
    assert ("ops@example.org", "bg@example.org") == (mail["To"], mail["From"].addresses[0].addr_spec)
    assert ["-i", "-t", "-f", "bg@example.org"] == (tmp_path / "words").read_text().split()
    body = mail.get_content()
    assert "owner: somebody" in body
    assert "failed 203.0.113.1 as x'" in body
    assert not (tmp_path / "evil").exists()
    server.stop()
