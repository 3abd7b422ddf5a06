"""The Debian package, on a copy of this machine's file system that nobody else sees."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time

import pytest

from support.machine import dying, eventually
from support.samples import CHECKOUT

NEEDED = {
    "dpkg-deb": "dpkg",
    "apt-get": "apt",
    "/usr/bin/python3": "python3",
    "/usr/share/doc/python3-pyinotify": "python3-pyinotify",
    "/lib/lsb/init-functions": "sysvinit-utils",
}

SETUP = """
mount -t tmpfs tmpfs {work} && mkdir {work}/upper {work}/work {work}/root &&
mount -t overlay overlay -o lowerdir=/,upperdir={work}/upper,workdir={work}/work {work}/root &&
cd {work}/root &&
mount -t proc proc proc && mount --rbind /dev dev && mount -t tmpfs tmpfs run && mount -t tmpfs tmpfs tmp &&
rm -rf usr/sbin/policy-rc.d etc/banguard var/lib/banguard var/log/banguard.log* && mkdir -p run/lock tmp/old && ln -sf /bin/true usr/sbin/init && ip link set lo up &&
pivot_root . tmp/old && umount -l tmp/old && rmdir tmp/old && echo ok && exec sleep infinity
"""


class Debian:
    """A Debian whose first process dies with the test, and everything in it with that."""

    def __init__(self, work: str) -> None:
        names = ["unshare", "-n", "-m", "-p", "--fork", "--kill-child=KILL", "--propagation", "private"]
        self.holder = subprocess.Popen(
            dying(*names, "sh", "-c", SETUP.format(work=work)), stdout=subprocess.PIPE, text=True
        )
        assert self.holder.stdout is not None
        said = self.holder.stdout.readline()
        if said != "ok\n":
            self.close()
            pytest.skip("this machine cannot lay one file system over another")
        with open(f"/proc/{self.holder.pid}/task/{self.holder.pid}/children", encoding="ascii") as file:
            self.pid = file.read().split()[0]

    def run(self, *argv: str, check: bool = True) -> str:
        """Run a program in there to its end and return what it said."""
        environ = {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "DEBIAN_FRONTEND": "noninteractive",
            "LC_ALL": "C.UTF-8",
            "RUNLEVEL": "2",
            "PREVLEVEL": "N",
        }
        done = subprocess.run(
            ["nsenter", "-t", self.pid, "-n", "-m", "-p", "--", *argv],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=90,
            env=environ, check=False,
        )  # fmt: skip
        assert not check or done.returncode == 0, f"{argv}: {done.returncode}\n{done.stdout}"
        return done.stdout

    def shell(self, command: str, *, check: bool = True) -> str:
        """Run a command line in there."""
        return self.run("sh", "-c", command, check=check)

    def put(self, path: str, content: bytes) -> None:
        """Write a file in there."""
        subprocess.run(
            ["nsenter", "-t", self.pid, "-m", "-p", "--", "sh", "-c", f"cat > {path}"],
            input=content, check=True,
        )  # fmt: skip

    def close(self) -> None:
        """End all in there."""
        self.holder.kill()
        self.holder.wait()
        assert self.holder.stdout is not None
        self.holder.stdout.close()


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """Build packages: `package(version)` returns the content of one."""
    for sign, name in NEEDED.items():
        if not (os.path.exists(sign) if sign.startswith("/") else shutil.which(sign)):
            pytest.skip(f"needs the package {name}")
    directory = tmp_path_factory.mktemp("deb")

    def build(version: str) -> bytes:
        command = [sys.executable, os.path.join(CHECKOUT, "tools", "deb.py"), "--version", version, str(directory)]
        made = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
        with open(made, "rb") as file:
            return file.read()

    return build


@pytest.fixture
def debian(tmp_path):
    """A Debian with an empty log and without the package."""
    made = Debian(str(tmp_path))
    yield made
    made.close()


def attack(debian: Debian, host: str) -> None:
    now = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime())
    line = f"{now} box sshd[7]: Failed password for root from {host} port 22 ssh2"
    debian.shell("".join(f"echo '{line}' >> /var/log/auth.log; " for _ in range(5)))


def banned(debian: Debian) -> str:
    return debian.run("nft", "list", "ruleset", check=False)


def is_up(debian: Debian) -> bool:
    return "pong" in debian.run("banguard-client", "ping", check=False)


def leftovers(debian: Debian) -> list[str]:
    """Return what in the system's directories has our name, or was made by us."""
    found = debian.shell(
        "find /etc /var /run /lib/systemd /usr/bin /usr/lib /usr/share -xdev -iname '*banguard*' 2>/dev/null || true"
    )
    return [path for path in found.splitlines() if not path.startswith(CHECKOUT)]


def test_life_of_the_package(debian, package):
    """It installs, starts, bans, is upgraded and removed without forgetting a ban, and is purged without a trace."""
    assert [] == leftovers(debian)
    before = banned(debian)
    debian.shell(": > /var/log/auth.log")
    debian.put("/tmp/banguard.deb", package("0.1.0"))
    debian.put("/tmp/newer.deb", package("0.1.0+1"))

    debian.run("apt-get", "install", "-y", "--no-install-recommends", "/tmp/banguard.deb")
    eventually(lambda: is_up(debian), what="the server answers after the installation")
    debian.run("service", "banguard", "status")
    assert "sshd" in debian.run("banguard-client", "status")

    attack(debian, "192.0.2.7")
    eventually(lambda: "192.0.2.7" in banned(debian), what="the kernel holds the ban")
    eventually(lambda: "yes" in debian.run("banguard-client", "banned", "--jail", "sshd"), what="the table says so")
    assert "tcp/ssh" in debian.run("banguard-client", "banned", "--jail", "sshd")
    assert "1 banned" in debian.run("banguard-client", "top", "--once", "-d", "0.1")

    debian.shell("printf '[sshd]\\nbantime = 2h\\n' > /etc/banguard/jail.local")
    debian.run("apt-get", "install", "-y", "--no-install-recommends", "/tmp/newer.deb")
    eventually(lambda: is_up(debian), what="the server answers after the upgrade")
    assert "0.1.0+1" in debian.run("dpkg-query", "-W", "banguard")
    eventually(lambda: "192.0.2.7" in banned(debian), what="the ban outlives the upgrade")
    assert "7200" in debian.run("banguard-client", "get", "sshd", "bantime")

    debian.run("service", "banguard", "stop")
    assert before == banned(debian)
    assert "192.0.2.7" not in banned(debian)
    debian.run("banguard-client", "start")
    eventually(lambda: "192.0.2.7" in banned(debian), what="the ban outlives a start by hand")

    debian.run("apt-get", "remove", "-y", "banguard")
    assert before == banned(debian)
    assert "" == debian.run("pgrep", "-r", "R,S,D", "-f", "banguard-server", check=False)
    assert "[sshd]" in debian.run("cat", "/etc/banguard/jail.local")

    debian.run("apt-get", "purge", "-y", "banguard")
    assert [] == leftovers(debian)
    assert before == banned(debian)

    # Purged at once, while it runs and bans: nothing of it stays either.
    debian.run("apt-get", "install", "-y", "--no-install-recommends", "/tmp/newer.deb")
    eventually(lambda: is_up(debian), what="the server answers after another installation")
    debian.run("banguard-client", "set", "sshd", "banip", "192.0.2.8")
    eventually(lambda: "192.0.2.8" in banned(debian), what="the kernel holds the new ban")
    debian.run("apt-get", "purge", "-y", "banguard")
    assert ([], before) == (leftovers(debian), banned(debian))
    assert "" == debian.run("pgrep", "-r", "R,S,D", "-f", "banguard-server", check=False)


def test_a_build_is_repeatable(package, monkeypatch):
    """The same source makes the same package, byte for byte."""
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1790000000")
    assert package("0.1.0") == package("0.1.0")
