"""Rules of ipblock and logmon, imported by the real client, ban in a running server as the other program did."""

from __future__ import annotations

import time

from support.foreign import IPBLOCK, LOGMON, SCRIPT, SYSLOG


def _now(line):
    return time.strftime("%b %d %H:%M:%S") + line[15:] + "\n"


def test_ipblock_then_logmon(banguard, machine, tmp_path):
    """Check, import, start, ban from ipblock's log lines; import logmon, reload, ban at the third refusal."""
    server = banguard(machine)
    syslog, mail = tmp_path / "syslog", tmp_path / "mail.log"
    syslog.write_text("")
    mail.write_text("")
    (tmp_path / "ipblock.conf").write_text(IPBLOCK)
    (tmp_path / "drop.sh").write_text(SCRIPT)
    (tmp_path / "logmon.conf").write_text(LOGMON.format(log=mail, script=tmp_path / "drop.sh"))
    rules = str(tmp_path / "ipblock.conf")
    checked = server.client("import", rules, "--check", "--log", str(syslog), "--lang", "ja")
    assert 1 == checked.returncode
    assert "3 行目: エラー: 遮断時間" in checked.stdout
    assert 1 == server.client("import", rules, "--log", str(syslog)).returncode
    server.start(jails=["ipblock-2", "ipblock-11"])
    with open(syslog, "a") as file:
        file.writelines(map(_now, SYSLOG.splitlines()))
    server.await_ban("ipblock-2", "192.168.1.1")
    server.await_ban("ipblock-11", "192.168.1.1")
    assert "+ 10800 = " in server.ask("get", "ipblock-2", "banip", "--with-time")
    assert "+ 60 = " in server.ask("get", "ipblock-11", "banip", "--with-time")
    done = server.client("import", str(tmp_path / "logmon.conf"))
    assert 0 == done.returncode, done.stdout + done.stderr
    assert "OK" == server.ask("reload").strip()
    reject = "Mar 14 12:34:56 mx postfix/smtpd[7]: NOQUEUE: reject: RCPT from unknown[{}]: 554 5.7.1 no"
    hosts = ["203.0.113.5"] * 3 + ["203.0.113.6"] * 2 + ["192.168.1.9"] * 3
    with open(mail, "a") as file:
        file.writelines(_now(reject.format(host)) for host in hosts)
        file.write(_now("Mar 14 12:34:56 mx postfix/smtpd[7]: warning: non-SMTP command from x[203.0.113.7]: GET /"))
    server.await_ban("logmon-3", "203.0.113.5")
    server.await_ban("logmon-6", "203.0.113.7")
    assert ["203.0.113.5"] == list(server.banned("logmon-3"))
    assert {"192.168.1.1"} == set(server.banned("ipblock-2"))
    server.stop()
