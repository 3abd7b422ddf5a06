"""The Python package, built and used away from the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import zipfile

import pytest

from support.machine import Namespace, eventually, why_not
from support.samples import CHECKOUT

pytest.importorskip("hatchling", reason="the build back end hatchling is not installed")


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Return the directory that a freshly built wheel was unpacked into."""
    directory = tmp_path_factory.mktemp("wheel")
    # A copy, for a build leaves files beside the source.
    names = ("src", "config", "pyproject.toml", "README.md", "LICENSE")
    source = directory / "source"
    source.mkdir()
    subprocess.run(["cp", "-r", *(os.path.join(CHECKOUT, name) for name in names), str(source)], check=True)
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(directory),
        ".",
    ]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    (wheel,) = directory.glob("*.whl")
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(directory / "unpacked")
    return directory / "unpacked"


def run(installed, program, *words):
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(installed), "BANGUARD_SOCKET": str(installed / "none")}
    code = f"import sys; from banguard.cli.{program} import main; sys.exit(main(sys.argv[1:]))"
    return subprocess.run(
        [sys.executable, "-c", code, *words], cwd="/", env=environ, capture_output=True, text=True, check=False
    )


def test_configuration_is_inside(installed):
    """A filter is found by its name though there is no /etc/banguard: the wheel brings the configuration."""
    if os.path.isdir("/etc/banguard"):
        pytest.skip("there is a configuration on this machine")
    line = "Nov 20 22:27:27 web1 sshd[811]: Failed password for root from 192.0.2.1 port 51022 ssh2"
    done = run(installed, "regex", line, "sshd")
    assert ("", 0) == (done.stderr, done.returncode)
    assert "1 matched" in done.stdout


def test_it_is_the_wheel_that_runs(installed):
    """The modules come from the wheel, its files of data and its mark for type checkers with them."""
    code = "import banguard, sys; sys.stdout.write(banguard.__file__)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd="/",
        env={"PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert str(installed / "banguard" / "__init__.py") == done.stdout
    assert (installed / "banguard" / "py.typed").exists()
    assert (installed / "banguard" / "_config" / "jail.conf").exists()


def test_programs(installed):
    """The wheel installs the three programs."""
    (points,) = installed.glob("*.dist-info/entry_points.txt")
    text = points.read_text()
    assert all(f"banguard-{name} = banguard.cli.{name}:main" in text for name in ("server", "client", "regex"))


def test_the_server_checks_the_shipped_configuration(installed):
    """`banguard-server -t` finds nothing wrong with what the wheel brings."""
    done = run(installed, "server", "-t")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.system
def test_life_in_an_environment_of_its_own(installed, tmp_path):
    """As pipx installs it, with the shipped configuration and a `jail.local`: it starts, bans, shows, stops, is gone."""
    reason = why_not()
    if reason:
        pytest.skip(reason)
    home, conf = tmp_path / "home", tmp_path / "conf"
    (wheel,) = installed.parent.glob("*.whl")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(home)], check=True)
    command = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(home / "bin" / "python"),
        "install",
        "-q",
        "--no-index",
        "--no-deps",
    ]
    subprocess.run([*command, str(wheel)], check=True, capture_output=True)
    (shipped,) = home.glob("lib/python3*/site-packages/banguard/_config")
    subprocess.run(["cp", "-r", str(shipped), str(conf)], check=True)
    log = tmp_path / "auth.log"
    log.write_text("")
    (conf / "banguard.local").write_text(
        f"[Definition]\nsocket = {tmp_path}/b.sock\npidfile = {tmp_path}/b.pid\nlogtarget = {tmp_path}/b.log\n"
        f"dbfile = {tmp_path}/b.sqlite3\n"
    )
    (conf / "jail.local").write_text(f"[sshd]\nenabled = true\nbackend = polling\nlogpath = {log}\n")
    place = Namespace()

    def client(*words):
        return place.run(
            str(home / "bin" / "banguard-client"), "-c", str(conf), *words, env={"PATH": os.environ["PATH"]}
        ).stdout

    try:
        assert "" == place.run("nft", "list", "ruleset").stdout
        assert "Server ready\n" == client("start")
        with log.open("a") as file:
            now = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime())
            file.write(f"{now} box sshd[7]: Failed password for root from 192.0.2.7 port 22 ssh2\n" * 5)
        eventually(lambda: "192.0.2.7" in place.run("nft", "list", "ruleset").stdout, what="the kernel holds the ban")
        assert "192.0.2.7" in client("banned", "--table")
        assert "1 banned" in client("top", "--once", "-d", "0.1")
        assert "Shutdown successful\n" == client("stop")
        assert "192.0.2.7" not in place.run("nft", "list", "ruleset").stdout
    finally:
        place.run(str(home / "bin" / "banguard-client"), "-c", str(conf), "stop", check=False)
        place.close()
    subprocess.run([*command[:5], "uninstall", "-q", "-y", "banguard"], check=True, capture_output=True)
    assert [] == [path for path in home.rglob("*banguard*") if "__pycache__" not in path.parts]
