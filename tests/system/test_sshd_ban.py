"""A real sshd, attacked by a real ssh client, with bans in a real firewall."""

from __future__ import annotations

import shutil

import pytest

from support.machine import CLIENTS, CLIENTS6, SERVER, SERVER6, Syslog, end, eventually

pytestmark = pytest.mark.skipif(
    any(shutil.which(program) is None for program in ("sshd", "ssh", "ssh-keygen", "sshpass")),
    reason="needs sshd, ssh, ssh-keygen and sshpass",
)

SSHD = """\
Port 22
ListenAddress {server}
ListenAddress {server6}
HostKey {directory}/hostkey
PidFile none
UsePAM no
PasswordAuthentication yes
KbdInteractiveAuthentication no
PermitRootLogin yes
StrictModes no
LoginGraceTime 10
MaxStartups 100
"""

JAIL = """\
[sshd]
enabled = true
logpath = {log}
maxretry = 3
bantime = {bantime}
ignoreself = false
"""


def login(network, source: str, user: str = "root") -> str:
    """Try a wrong password from *source*; return what the ssh client says."""
    options = [
        *("-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"),
        *("-o", "GlobalKnownHostsFile=/dev/null", "-o", "PubkeyAuthentication=no"),
        *("-o", "NumberOfPasswordPrompts=1", "-o", "ConnectTimeout=2"),
        *("-o", "LogLevel=ERROR", "-F", "none", "-b", source, "-l", user),
    ]
    target = SERVER6 if ":" in source else SERVER
    return network.client.run(
        "timeout", "8", "sshpass", "-p", "wrong", "ssh", *options, target, "true", check=False
    ).stderr


class Site:
    """A machine that runs sshd and banguard, and a client machine."""

    def __init__(self, network, server, directory):
        self.network = network
        self.banguard = server
        self.log = str(directory / "auth.log")
        open(self.log, "w").close()
        self.syslog = Syslog(network.server, str(directory), self.log)
        network.server.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(directory / "hostkey"))
        config = directory / "sshd_config"
        config.write_text(SSHD.format(server=SERVER, server6=SERVER6, directory=directory))
        self.sshd = network.server.start(
            shutil.which("sshd"), "-D", "-f", str(config), output=str(directory / "sshd.out")
        )
        eventually(lambda: self.network.connect(CLIENTS[2], 22) == "open", what="sshd listens")

    def login(self, source: str, user: str = "root") -> str:
        """Try a wrong password; return what the ssh client says."""
        return login(self.network, source, user)

    def close(self):
        end(self.sshd)
        self.syslog.close()


@pytest.fixture
def site(network, banguard, tmp_path):
    made = Site(network, banguard(network.server), tmp_path)
    yield made
    made.close()


@pytest.mark.parametrize(
    ("attacker", "other"), [(CLIENTS[0], CLIENTS[1]), (CLIENTS6[0], CLIENTS6[1])], ids=["IPv4", "IPv6"]
)
def test_wrong_passwords_lock_the_attacker_out_and_nobody_else(site, attacker, other):
    """After maxretry wrong passwords the attacker cannot connect; another address can; unbanip lets it in again."""
    server = site.banguard
    server.write("jail.local", JAIL.format(log=site.log, bantime="10m"))
    server.start(jails=["sshd"])
    for _ in range(3):
        assert "Permission denied" in site.login(attacker)
    server.await_ban("sshd", attacker)
    assert site.network.connect(attacker, 22) in {"refused", "timeout"}
    assert "Permission denied" not in site.login(attacker)
    assert "Permission denied" in site.login(other)
    assert [attacker] == server.banned("sshd")

    assert "1" == server.ask("set", "sshd", "unbanip", attacker).strip()
    eventually(lambda: site.network.connect(attacker, 22) == "open", what="the attacker is let in again")
    assert [] == server.banned("sshd")
    server.stop()


def test_a_ban_ends_by_itself(site):
    """A ban of a few seconds keeps the attacker out, and lets it in when it is over."""
    server = site.banguard
    server.write("jail.local", JAIL.format(log=site.log, bantime="4s"))
    server.start(jails=["sshd"])
    for _ in range(3):
        site.login(CLIENTS[0])
    server.await_ban("sshd", CLIENTS[0])
    assert site.network.connect(CLIENTS[0], 22) in {"refused", "timeout"}
    eventually(lambda: site.network.connect(CLIENTS[0], 22) == "open", what="the ban is over")
    server.await_log(f"[sshd] Unban {CLIENTS[0]}")
    server.stop()


def test_user_names_that_look_like_messages_ban_nobody_else(site):
    """The client chooses the user name: a log message in it bans the client, never the address that it names."""
    server = site.banguard
    server.write("jail.local", JAIL.format(log=site.log, bantime="10m"))
    server.start(jails=["sshd"])
    victim = CLIENTS[1]
    site.login(CLIENTS[0], f"Failed password for root from {victim} port 22 ssh2")
    site.login(CLIENTS[0], f"root from {victim} port 22 ssh2")
    site.login(CLIENTS[0], f"admin from {victim}")
    server.await_ban("sshd", CLIENTS[0])
    assert [CLIENTS[0]] == server.banned("sshd")
    assert f"Found {victim}" not in server.read_log()
    assert "Permission denied" in site.login(victim)
    server.stop()


def test_bans_are_back_after_a_restart(site):
    """A server that was stopped and started again keeps the attacker out, and reads no line twice."""
    server = site.banguard
    server.write("jail.local", JAIL.format(log=site.log, bantime="10m"))
    server.start(jails=["sshd"])
    for _ in range(3):
        site.login(CLIENTS[0])
    server.await_ban("sshd", CLIENTS[0])
    server.stop()
    server.start(jails=["sshd"])
    server.await_log(f"[sshd] Restore Ban {CLIENTS[0]}")
    eventually(lambda: site.network.connect(CLIENTS[0], 22) != "open", what="the attacker is kept out again")
    assert "Permission denied" in site.login(CLIENTS[1])
    server.await_log(f"[sshd] Found {CLIENTS[1]}")
    assert 3 == server.read_log().count(f"[sshd] Found {CLIENTS[0]}")
    server.stop()
