"""Bad configuration, bad logs, bad clients: the server says what is wrong, stays up, and bans afterwards."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import socket
import subprocess
import time

import pytest

from support.machine import Namespace, eventually

JAIL = """\
[{name}]
enabled = true
filter =
failregex = ^ bad <ADDR>$
logpath = {log}
maxretry = 1
"""


def stamp() -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S")


def say(log, host: str) -> None:
    with open(log, "ab") as file:
        file.write(f"{stamp()} bad {host}\n".encode())


@pytest.fixture
def site(machine, banguard, tmp_path):
    server = banguard(machine)
    log = tmp_path / "good.log"
    log.write_text("")
    server.good = log
    server.write("jail.local", JAIL.format(name="good", log=log))
    return server


def still_bans(server, host: str = "192.0.2.1") -> None:
    say(server.good, host)
    server.await_ban("good", host)


def add(server, text: str) -> None:
    with open(os.path.join(server.config, "jail.local"), "a") as file:
        file.write(text)


def test_a_broken_regex_stops_only_its_jail(site, tmp_path):
    """A regex that does not compile is named with file and line; the other jail starts and bans."""
    other = tmp_path / "other.log"
    other.write_text("")
    add(site, JAIL.format(name="broken", log=other).replace("bad <ADDR>", "bad (<ADDR>"))
    line = next(
        n
        for n, text in enumerate(pathlib.Path(site.config, "jail.local").read_text().splitlines(), 1)
        if "bad (" in text
    )
    tested = site.client("-t")
    assert tested.returncode != 0
    assert f"jail.local:{line}" in tested.stdout + tested.stderr
    site.start(jails=["good"])
    assert ["good"] == site.jails()
    assert "broken" in site.read_log() + site.read_output()
    still_bans(site)
    site.stop()


def test_a_misspelt_key_is_a_warning_with_a_suggestion(site):
    """A key that is no option is named with file, line and the option that was probably meant; the jail runs."""
    add(site, "maxretyr = 7\n")
    tested = site.client("-t")
    assert tested.returncode == 0, tested.stdout + tested.stderr
    words = tested.stdout + tested.stderr
    assert "maxretyr" in words
    assert "maxretry" in words
    assert "jail.local:7" in words
    site.start(jails=["good"])
    still_bans(site)
    site.stop()


def test_a_broken_file_at_reload_changes_nothing(site):
    """Reload with a broken configuration is refused with the reason; the jail goes on and keeps its bans."""
    site.start(jails=["good"])
    still_bans(site)
    text = pathlib.Path(site.config, "jail.local").read_text()
    for broken in ("this is no option\n", "maxretry = %(nothing)s\n", "maxretry = 2\n[good]\n"):
        site.write("jail.local", text + broken)
        refused = site.client("reload")
        assert refused.returncode == 1, (broken, refused.stdout, refused.stderr)
        assert "jail.local" in refused.stdout + refused.stderr, (broken, refused.stdout, refused.stderr)
        assert ["192.0.2.1"] == site.banned("good")
    still_bans(site, "192.0.2.2")
    site.write("jail.local", text)
    assert "OK" == site.ask("reload").strip()
    assert ["192.0.2.1", "192.0.2.2"] == site.banned("good")
    site.stop()


def test_logs_that_cannot_be_read(site, tmp_path):
    """A log that is a directory, or that vanishes, is reported; the other jail bans, and the log is read when it is back."""
    vanishing = tmp_path / "vanishing.log"
    vanishing.write_text("")
    directory = tmp_path / "directory.log"
    directory.write_text("")
    add(site, JAIL.format(name="vanishing", log=vanishing) + JAIL.format(name="directory", log=directory))
    site.start(jails=["good", "vanishing", "directory"])
    vanishing.unlink()
    directory.unlink()
    directory.mkdir()
    still_bans(site)
    vanishing.write_text("")
    say(vanishing, "192.0.2.2")
    site.await_ban("vanishing", "192.0.2.2")
    directory.rmdir()
    directory.write_text("")
    say(directory, "192.0.2.3")
    site.await_ban("directory", "192.0.2.3")
    site.stop()


def test_hostile_bytes_in_a_log(site):
    """NUL, invalid UTF-8, a 10 MB line without end, lone CR and escape sequences neither stop the jail nor reach the log raw."""
    site.start(jails=["good"])
    with open(site.good, "ab") as file:
        file.write(f"{stamp()} bad 192.0.2.7\0\n".encode())
        file.write(stamp().encode() + b" bad \xff\xfe\x80 192.0.2.8\n")
        file.write(stamp().encode() + b" bad 192.0.2.9\rbad\r\n")
        file.write(b"\x1b[2J\x1b]0;owned\x07\n" + "\N{RIGHT-TO-LEFT OVERRIDE}\N{SNOWMAN}\n".encode())
        for _ in range(10):
            file.write(b"x" * 1_000_000)
    with open(site.good, "ab") as file:
        file.write(b"\n")
    still_bans(site)
    assert ["192.0.2.1"] == site.banned("good")
    assert "\x1b" not in site.read_log()
    assert "\0" not in site.read_log()
    site.stop()


def test_a_full_disk_under_the_database(machine, banguard, tmp_path):
    """When the database cannot be written any more, bans are made all the same, and that is said; later they are kept."""
    server = banguard(machine)
    disk = tmp_path / "disk"
    disk.mkdir()
    machine.run("mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(disk))
    server.write("banguard.local", f"[Definition]\ndbfile = {disk}/banguard.sqlite3\n")
    log = tmp_path / "good.log"
    log.write_text("")
    server.good = log
    server.write("jail.local", JAIL.format(name="good", log=log))
    server.start(jails=["good"])
    still_bans(server)
    machine.run("sh", "-c", f"dd if=/dev/zero of={disk}/filler bs=4k 2>/dev/null; sync", check=False)
    hosts = [f"198.51.100.{n}" for n in range(1, 40)]
    with open(log, "ab") as file:
        file.writelines(f"{stamp()} bad {host} \n".replace(" \n", "\n").encode() for host in hosts)
    eventually(lambda: set(hosts) <= set(server.banned("good")), what="all are banned")
    assert "disk is full" in server.read_log() or "database" in server.read_log()
    machine.run("rm", f"{disk}/filler")
    still_bans(server, "192.0.2.2")
    server.stop()
    server.start(jails=["good"])
    eventually(lambda: "192.0.2.2" in server.banned("good"), what="the ban was kept")
    server.stop()


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"\n",
        b"\0" * 1000,
        os.urandom(5000),
        b"\x80\x04\x95<F2B_END_COMMAND>",
        b'{"command": ' + b"[" * 50_000 + b"\n",
        b'{"command": ["status"]',
        b'{"command": ["set", "good", "addfailregex", "("]}\n',
        b'{"command": 7}\n',
        b"[1,2,3]\n",
        b"x" * 3_000_000,
    ],
    ids=["nothing", "newline", "zeros", "random", "pickle", "deep", "half", "refused", "type", "array", "long"],
)
def test_garbage_on_the_socket(site, sent):
    """Whatever is sent to the control socket, the server answers the next client and bans."""
    site.start(jails=["good"])
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(site.socket)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            client.sendall(sent)
            client.shutdown(socket.SHUT_WR)
            while client.recv(65536):
                pass
    assert "pong" in site.ask("ping")
    still_bans(site)
    site.stop()


def test_many_idle_clients_do_not_lock_others_out(site):
    """Connections that say nothing do not keep the next client from being answered."""
    site.start(jails=["good"])
    idle = [socket.socket(socket.AF_UNIX) for _ in range(40)]
    try:
        for client in idle:
            client.settimeout(5)
            with contextlib.suppress(OSError):
                client.connect(site.socket)
        assert "pong" in site.ask("ping")
    finally:
        for client in idle:
            client.close()
    still_bans(site)
    site.stop()


def test_stop_leaves_nothing_behind(machine, site):
    """After stop: no process, no socket, no pid file, no rule; the client says that nobody answers (status 3)."""
    before = machine.run("nft", "list", "ruleset").stdout
    site.start(jails=["good"])
    still_bans(site)
    assert before != machine.run("nft", "list", "ruleset").stdout
    pid = int(pathlib.Path(site.pidfile).read_text())
    site.stop()
    assert before == machine.run("nft", "list", "ruleset").stdout
    assert not os.path.exists(site.socket)
    assert not os.path.exists(site.pidfile)
    assert not _runs(pid)
    gone = site.client("status")
    assert 3 == gone.returncode, gone.stderr
    as_json = site.client("--json", "status")
    assert "error" in json.loads(as_json.stdout)
    assert 3 == as_json.returncode


def test_a_second_server_is_refused(site):
    """A server on the same socket is not started while the first one runs; the first one is not disturbed."""
    site.start(jails=["good"])
    argv = [
        os.path.join(os.path.dirname(os.sys.executable), "banguard-server"),
        "-f",
        *site.options,
        "--logtarget",
        "STDERR",
        "start",
    ]
    second = subprocess.run(
        site.namespace.argv(*argv), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30
    )
    assert second.returncode != 0
    assert "pong" in site.ask("ping")
    still_bans(site)
    site.stop()


def _runs(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_killed_server_starts_again_where_it_was(machine: Namespace, site):
    """After `kill -9` a new server takes over: the ban is still there, and lines written meanwhile are read, once."""
    site.start(jails=["good"])
    still_bans(site)
    assert site.process is not None
    site.process.kill()
    site.process.wait()
    assert "192.0.2.1" in machine.run("nft", "list", "ruleset").stdout
    say(site.good, "192.0.2.2")
    site.start("-x", jails=["good"])
    site.await_ban("good", "192.0.2.2")
    assert ["192.0.2.1", "192.0.2.2"] == site.banned("good")
    assert 1 == site.read_log().count("[good] Found 192.0.2.1")
    assert 1 == site.read_log().count("[good] Found 192.0.2.2")
    site.stop()
