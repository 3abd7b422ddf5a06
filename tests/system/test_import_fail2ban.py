"""A changed configuration of the installed fail2ban package, imported by the real client, bans in a running server."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time

import pytest

from support.machine import BIN

pytestmark = pytest.mark.skipif(
    not os.path.isfile("/etc/fail2ban/jail.conf") or not os.path.isdir("/var/lib/dpkg/info"),
    reason="the fail2ban package of Debian is not installed",
)


def client(*words, status=0):
    done = subprocess.run(
        [os.path.join(BIN, "banguard-client"), *words], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout


def test_from_the_package_to_a_ban(banguard, machine, tmp_path):
    """Nothing of the package is copied, all that was changed is; the result passes the check and bans."""
    theirs, ours, log = tmp_path / "fail2ban", tmp_path / "banguard", tmp_path / "auth.log"
    shutil.copytree("/etc/fail2ban", theirs)
    log.write_text("")
    (theirs / "jail.local").write_text(
        f"[DEFAULT]\nbantime = 2h\n[sshd]\nbackend = polling\nmaxretry = 2\nlogpath = {log}\n"
        f"[own]\nenabled = true\nbackend = polling\nlogpath = {log}\nmaxretry = 1\nport = 8080\n"
    )
    (theirs / "filter.d" / "own.conf").write_text("[Definition]\nfailregex = ^ \\S+ own: <HOST> is bad$\n")
    (theirs / "jail.local.bak").write_text("")
    found = json.loads(client("--json", "import", str(theirs), "--check", "--to", str(ours)))
    assert not ours.exists()
    assert {"filter.d/own.conf", "jail.local", "jail.d/05-fail2ban-jail.conf"} == set(found["files"])
    assert found["stock"] > 100
    assert ["import-unread"] == [
        each["code"] for each in found["problems"] if str(each["file"]).endswith("jail.local.bak")
    ]
    meanings = {(each["section"], each["option"]): each["meaning"] for each in found["options"]}
    assert "failures within findtime that lead to a ban" == meanings["sshd", "maxretry"]
    client("import", str(theirs), "--to", str(ours))
    checked = json.loads(client("-c", str(ours), "--json", "check"))
    assert (True, 0) == (checked["ok"], checked["errors"])
    server = banguard(machine, config=str(ours))
    server.start(jails=["sshd", "own"])
    with open(log, "a", encoding="utf-8") as file:
        stamp = time.strftime("%b %d %H:%M:%S")
        line = f"{stamp} web1 sshd[7]: Failed password for root from 192.0.2.7 port 51022 ssh2\n"
        file.write(line + line + f"{stamp} web1 own: 192.0.2.8 is bad\n")
    server.await_ban("sshd", "192.0.2.7")
    server.await_ban("own", "192.0.2.8")
    assert "+ 7200 = " in server.ask("get", "sshd", "banip", "--with-time")
    server.stop()
