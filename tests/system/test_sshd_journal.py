"""A real sshd that logs through syslog to a real journal, from which its attacker is banned."""

from __future__ import annotations

import os
import pathlib
import shutil

import pytest

from support.machine import CLIENTS, SERVER, end, eventually
from system.test_sshd_ban import SSHD, login

JOURNALD = "/lib/systemd/systemd-journald"
UNIFIED = "/sys/fs/cgroup/unified" if os.path.isdir("/sys/fs/cgroup/unified") else "/sys/fs/cgroup"

CONF = """\
[Journal]
Storage=volatile
ReadKMsg=no
Audit=
ForwardToSyslog=no
ForwardToWall=no
RateLimitIntervalSec=0
RuntimeMaxUse=64M
RuntimeMaxFileSize=4M
RuntimeKeepFree=1M
"""

SETUP = """
mkdir -p /run/systemd/journal /run/log/journal
mount --bind "$1/journald.conf" /etc/systemd/journald.conf
mkdir "$1/dev" && mount -t tmpfs tmpfs "$1/dev" && mkdir "$1/dev/upper" "$1/dev/work"
ln -s /run/systemd/journal/dev-log "$1/dev/upper/log"
mount -t overlay overlay -o "lowerdir=/dev,upperdir=$1/dev/upper,workdir=$1/dev/work" /dev
"""

JAIL = """\
[sshd]
enabled = true
backend = systemd[journalpath=/run/log/journal]
maxretry = 3
ignoreself = false
"""


def _why_not() -> str | None:
    if not os.path.exists(JOURNALD) or not os.path.exists("/etc/systemd/journald.conf"):
        return "needs systemd-journald"
    if any(shutil.which(program) is None for program in ("sshd", "ssh", "ssh-keygen", "sshpass")):
        return "needs sshd, ssh, ssh-keygen and sshpass"
    if not os.path.exists(f"{UNIFIED}/cgroup.procs"):
        return "needs a unified cgroup hierarchy, by which the journal knows units"
    try:
        from systemd import journal  # noqa: F401
    except ImportError:
        return "needs systemd-python"
    return None


pytestmark = pytest.mark.skipif(_why_not() is not None, reason=_why_not() or "")


@pytest.fixture
def cgroup():
    """A cgroup that looks like the one of ssh.service."""
    slice_ = pathlib.Path(UNIFIED, f"banguard-test-{os.getpid()}.slice")
    unit = slice_ / "ssh.service"
    unit.mkdir(parents=True)
    yield unit
    for directory in (unit, slice_):
        eventually(lambda directory=directory: _removed(directory), what=f"{directory} is empty")


def _removed(directory: pathlib.Path) -> bool:
    try:
        directory.rmdir()
    except OSError:
        return False
    return True


def test_an_attacker_seen_in_the_journal_is_banned(network, banguard, tmp_path, cgroup):
    """The jail reads sshd's entries by their trusted fields, and after maxretry of them the attacker is out."""
    server = network.server
    (tmp_path / "journald.conf").write_text(CONF)
    server.run("sh", "-ec", SETUP, "sh", str(tmp_path))
    server.start(JOURNALD)
    ready = ("test", "-S", "/run/systemd/journal/dev-log")
    eventually(lambda: server.run(*ready, check=False).returncode == 0, what="the journal is there")
    server.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "hostkey"))
    (tmp_path / "sshd_config").write_text(SSHD.format(server=SERVER, server6="2001:db8::1", directory=tmp_path))
    join = 'echo $$ > "$1/cgroup.procs" && exec "$2" -D -f "$3"'
    arguments = (str(cgroup), shutil.which("sshd"), str(tmp_path / "sshd_config"))
    sshd = server.start("sh", "-c", join, "sh", *arguments, output=str(tmp_path / "sshd.out"))
    try:
        eventually(lambda: network.connect(CLIENTS[2], 22) == "open", what="sshd listens")
        guard = banguard(server)
        guard.write("jail.local", JAIL)
        guard.start(jails=["sshd"])
        for _ in range(3):
            assert "Permission denied" in login(network, CLIENTS[0])
        guard.await_ban("sshd", CLIENTS[0], within=30)
        assert network.connect(CLIENTS[0], 22) in {"refused", "timeout"}
        assert "Permission denied" in login(network, CLIENTS[1])
        assert "Journal matches:" in guard.ask("status", "sshd")
        # What any user may write into the journal under sshd's name is not believed.
        forged = f"Failed password for root from {CLIENTS[1]} port 22 ssh2"
        for _ in range(5):
            server.run("logger", "-t", "sshd", forged)
        login(network, CLIENTS[2])
        guard.await_log(f"Found {CLIENTS[2]}", within=30)
        assert f"Found {CLIENTS[1]} " in guard.read_log()
        assert [CLIENTS[0]] == guard.banned("sshd")
        guard.stop()
    finally:
        end(sshd)
