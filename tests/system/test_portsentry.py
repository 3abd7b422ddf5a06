"""A walk-through with PortSentry's alerts: an own filter is tried out, and a jail on it bans with ipfw."""

from __future__ import annotations

import os
import stat
import subprocess
import time

import pytest

from support.machine import BIN, eventually

LINES = """\
Feb 27 14:46:13 ns portsentry[181]: attackalert: Host 205.210.31.91 has been blocked via dropped route using command: "/bin/echo 'block in log on external_interface from 205.210.31.91/32 to any' | /sbin/ipf -f -"
Feb 27 14:46:13 ns portsentry[181]: attackalert: Connect from host: 205.210.31.91/205.210.31.91 to TCP port: 1080
Feb 27 14:46:13 ns portsentry[181]: attackalert: Host: 205.210.31.91 is already blocked. Ignoring
Feb 27 15:09:32 ns portsentry[183]: attackalert: Connect from host: 134.33.73.4/134.33.73.4 to UDP port: 161
Feb 27 15:09:32 ns portsentry[183]: attackalert: Host 134.33.73.4 has been blocked via wrappers with string: "ALL: 134.33.73.4"
Feb 27 15:16:07 ns portsentry[181]: attackalert: Connect from host: vmi3077151.contaboserver.net/94.72.103.91 to TCP port: 1080
Feb 27 15:16:07 ns portsentry[181]: attackalert: Host 94.72.103.91 has been blocked via wrappers with string: "ALL: 94.72.103.91"
Feb 27 15:42:05 ns portsentry[181]: attackalert: Connect from host: tumndes.com/165.154.59.118 to TCP port: 32772
Feb 27 15:42:05 ns portsentry[181]: attackalert: Host: 165.154.59.118 is already blocked. Ignoring
Feb 27 15:42:05 ns portsentry[181]: attackalert: Connect from host: tumndes.com/165.154.59.118 to TCP port: 32772
Feb 27 15:42:06 ns portsentry[181]: attackalert: Connect from host: tumndes.com/165.154.59.118 to TCP port: 32772
"""
CONNECTS = LINES.count("Connect from host:")
HOSTS = ("205.210.31.91", "134.33.73.4", "94.72.103.91", "165.154.59.118")

FILTER = r"""
[Definition]

failregex = ^.* portsentry\[\d+\]: attackalert: Connect from host: [^/]+/<HOST> to (?:TCP|UDP) port: \d+$

ignoreregex =

datepattern = {^LN-BEG}
"""

JAIL = """
[portsentry]
enabled = true
filter = portsentry
logpath = {log}
banaction = ipfw
maxretry = 1
bantime = 2592000
"""

IPFW = """\
#!/bin/sh
echo "ipfw $*" >>'{record}'
"""


def regex(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [os.path.join(BIN, "banguard-regex"), *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize("shipped", [False, True], ids=["own filter", "shipped filter"])
def test_trying_the_filter(banguard, machine, tmp_path, shipped):
    """banguard-regex counts one failure per `Connect from host:` line, and says so in the known layout."""
    server = banguard(machine)
    log = tmp_path / "messages"
    log.write_text(LINES)
    path = f"{server.config}/filter.d/portsentry.conf"
    if not shipped:
        server.write("filter.d/portsentry.conf", FILTER)
    done = regex("-c", server.config, str(log), path)
    assert 0 == done.returncode, done.stderr
    lines = done.stdout.splitlines()
    assert "Running tests" in lines
    assert f"Use         log file : {log}" in lines
    assert f"Failregex: {CONNECTS} total" in lines
    assert "Ignoreregex: 0 total" in lines
    missed = LINES.count("\n") - CONNECTS
    assert f"Lines: {CONNECTS + missed} lines, 0 ignored, {CONNECTS} matched, {missed} missed" in lines
    if not shipped:
        assert (
            rf"|   1) [{CONNECTS}] ^.* portsentry\[\d+\]: attackalert: Connect from host: [^/]+/<HOST> to (?:TCP|UDP) port: \d+$"
            in lines
        )
        assert any(line.startswith(f"|  [{CONNECTS + missed}] {{^LN-BEG}}(?:DAY )?MON Day") for line in lines), (
            done.stdout
        )


def test_banning_with_ipfw(banguard, machine, tmp_path):
    """One alert bans for a month, with the commands of ipfw; unbanip takes the address out of the table again."""
    server = banguard(machine)
    log = tmp_path / "messages"
    log.write_text("")
    record = tmp_path / "ipfw.calls"
    record.write_text("")
    programs = tmp_path / "bin"
    programs.mkdir()
    fake = programs / "ipfw"
    fake.write_text(IPFW.format(record=record))
    fake.chmod(fake.stat().st_mode | stat.S_IXUSR)
    server.env["PATH"] = f"{programs}:{server.env['PATH']}"
    server.write("filter.d/portsentry.conf", FILTER)
    server.write("jail.local", JAIL.format(log=log))
    assert regex("-c", server.config, str(log), "portsentry").returncode == 0
    dump = server.client("-d")
    assert 0 == dump.returncode
    assert "ipfw" in dump.stdout
    server.start(jails=["portsentry"])
    with open(log, "a") as file:
        file.writelines(time.strftime("%b %d %H:%M:%S") + line[15:] + "\n" for line in LINES.splitlines())
    for host in HOSTS:
        server.await_ban("portsentry", host)
    calls = record.read_text().splitlines()
    assert "ipfw -q table bg_portsentry create type addr" in calls
    assert "ipfw -q add 100 deny tcp from table(bg_portsentry) to me // bg_portsentry" in calls
    for host in HOSTS:
        assert 1 == calls.count(f"ipfw -q table bg_portsentry add {host}")
    with_time = server.ask("get", "portsentry", "banip", "--with-time")
    assert 4 == with_time.count(" + 2592000 = "), with_time
    assert "1" == server.ask("set", "portsentry", "unbanip", HOSTS[0]).strip()
    eventually(
        lambda: f"ipfw -q table bg_portsentry delete {HOSTS[0]}" in record.read_text(), what="the table entry is gone"
    )
    assert "OK" == server.ask("reload").strip()
    assert set(HOSTS[1:]) == set(server.banned("portsentry"))
    server.stop()
    assert "ipfw -q table bg_portsentry destroy" in record.read_text().splitlines()
