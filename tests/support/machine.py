"""
Private networks and a real server in them, for tests with real components.

Nothing is named and nothing is global: namespaces are held by processes that die with the test process, whatever
happens to it.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from support.samples import CHECKOUT, CONFIG

T = TypeVar("T")
BIN = os.path.dirname(sys.executable)
SERVER = "198.51.100.1"
SERVER6 = "2001:db8::1"
CLIENTS = ("198.51.100.2", "198.51.100.3", "198.51.100.4")
CLIENTS6 = ("2001:db8::2", "2001:db8::3", "2001:db8::4")
PROGRAMS = ("ip", "nft", "unshare", "nsenter", "setpriv", "mount")

os.environ["PATH"] = os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"


def why_not() -> str | None:
    """Return why this machine cannot make private networks with a firewall; None when it can."""
    if os.geteuid() != 0:
        return "needs root"
    absent = [program for program in PROGRAMS if shutil.which(program) is None]
    if absent:
        return f"needs {', '.join(absent)}"
    tried = subprocess.run(
        ["unshare", "-n", "-m", "nft", "list", "ruleset"], stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    return (tried.stderr.strip() or "cannot make private networks") if tried.returncode else None


def eventually(check: Callable[[], T], *, within: float = 15.0, what: str = "") -> T:
    """Ask *check* again and again until it returns something true; fail after *within* seconds."""
    deadline = time.monotonic() + within
    while True:
        result = check()
        if result:
            return result
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within:g} s: {what or getattr(check, '__doc__', None) or check}")
        time.sleep(0.02)


def dying(*argv: str) -> list[str]:
    """Return *argv* so that its process is killed when ours dies."""
    return ["setpriv", "--pdeathsig", "KILL", *argv]


class Namespace:
    """A network and mount namespace of its own, with a /run of its own."""

    def __init__(self) -> None:
        setup = "ip link set lo up && mount -t tmpfs tmpfs /run && mkdir /run/sshd /run/lock && echo ok && exec sleep infinity"
        self.holder = subprocess.Popen(
            dying("unshare", "-n", "-m", "--propagation", "private", "sh", "-c", setup),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.holder.stdout is not None
        assert "ok\n" == self.holder.stdout.readline()
        self.pid = self.holder.pid
        self.started: list[subprocess.Popen[bytes]] = []

    def argv(self, *argv: str) -> list[str]:
        return dying("nsenter", "-t", str(self.pid), "-n", "-m", "--wd=" + os.getcwd(), "--", *argv)

    def run(
        self,
        *argv: str,
        check: bool = True,
        text: str | None = None,
        timeout: float = 30,
        env: dict[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a program in here to its end."""
        return subprocess.run(
            self.argv(*argv), check=check, input=text or "", capture_output=True, text=True, timeout=timeout, env=env
        )

    def start(self, *argv: str, output: str = os.devnull, env: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
        """Start a program in here; it is ended with the namespace."""
        with open(output, "ab") as file:
            process = subprocess.Popen(self.argv(*argv), stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=env)
        self.started.append(process)
        return process

    def close(self) -> None:
        for process in reversed(self.started):
            end(process)
        self.holder.kill()
        self.holder.wait()
        assert self.holder.stdout is not None
        self.holder.stdout.close()


def end(process: subprocess.Popen[bytes], *, by: int = signal.SIGTERM, within: float = 10) -> int:
    """End *process* in order, or by force; return its exit status."""
    if process.poll() is None:
        process.send_signal(by)
        try:
            process.wait(within)
        except subprocess.TimeoutExpired:
            process.kill()
    return process.wait()


class Network:
    """A server and a client machine with a wire between them, IPv4 and IPv6."""

    def __init__(self) -> None:
        self.server, self.client = Namespace(), Namespace()
        ends = ("ip", "link", "add", "veth0", "netns", str(self.server.pid), "type", "veth")
        subprocess.run([*ends, "peer", "name", "veth0", "netns", str(self.client.pid)], check=True)
        self.add(self.server, SERVER, SERVER6)
        self.add(self.client, *CLIENTS, *CLIENTS6)
        for namespace in (self.server, self.client):
            namespace.run("ip", "link", "set", "veth0", "up")

    @staticmethod
    def add(namespace: Namespace, *addresses: str) -> None:
        """Give addresses to one end of the wire."""
        for address in addresses:
            plain = [f"{address}/64", "nodad"] if ":" in address else [f"{address}/24"]
            namespace.run("ip", "addr", "add", plain[0], "dev", "veth0", *plain[1:])

    def connect(self, source: str, port: int, *, target: str | None = None, timeout: float = 2.5) -> str:
        """Connect from *source* to the server: `open`, `refused` or `timeout`."""
        script = (
            "import socket, sys\n"
            "source, target, port, timeout = sys.argv[1:]\n"
            "family = socket.AF_INET6 if ':' in target else socket.AF_INET\n"
            "tried = socket.socket(family)\n"
            "tried.settimeout(float(timeout))\n"
            "tried.bind((source, 0))\n"
            "try:\n"
            "    tried.connect((target, int(port)))\n"
            "    print('open')\n"
            "except ConnectionRefusedError:\n"
            "    print('refused')\n"
            "except OSError as error:\n"
            "    print('timeout' if isinstance(error, TimeoutError) else str(error))\n"
        )
        target = target or (SERVER6 if ":" in source else SERVER)
        return self.client.run(
            sys.executable, "-S", "-c", script, source, target, str(port), str(timeout)
        ).stdout.strip()

    def close(self) -> None:
        self.client.close()
        self.server.close()


class Banguard:
    """A real server with a configuration directory, socket, pid file, log and database of its own."""

    def __init__(self, namespace: Namespace, directory: str, *, config: str = CONFIG) -> None:
        self.namespace = namespace
        self.directory = directory
        self.config = os.path.join(directory, "config")
        self._short = tempfile.mkdtemp(prefix="bg-", dir="/tmp")  # the name of a socket has at most 107 bytes
        self.socket = os.path.join(self._short, "banguard.sock")
        self.pidfile = os.path.join(directory, "banguard.pid")
        self.database = os.path.join(directory, "banguard.sqlite3")
        self.log = os.path.join(directory, "banguard.log")
        self.output = os.path.join(directory, "output")
        self.process: subprocess.Popen[bytes] | None = None
        self.env: dict[str, str] = dict(os.environ)
        shutil.copytree(config, self.config)
        self.write("banguard.local", f"[Definition]\ndbfile = {self.database}\n")

    def write(self, name: str, text: str) -> str:
        """Write a file of the configuration directory."""
        path = os.path.join(self.config, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return path

    @property
    def options(self) -> list[str]:
        return ["-c", self.config, "-s", self.socket, "-p", self.pidfile]

    def start(self, *more: str, jails: Sequence[str] | None = None) -> Banguard:
        """Start the server in the foreground and wait until it answers and *jails* run."""
        argv = [os.path.join(BIN, "banguard-server"), "-f", *self.options, "--logtarget", self.log, *more, "start"]
        self.process = self.namespace.start(*argv, output=self.output, env=self.env)
        eventually(self.answers, what=f"an answer of the server\n{self.read_output()}")
        for jail in jails or ():
            eventually(lambda jail=jail: jail in self.jails(), what=f"jail {jail} runs\n{self.read_log()}")
        return self

    def answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (
            f"the server ended: {self.process.returncode}\n{self.read_output()}\n{self.read_log()}"
        )
        return os.path.exists(self.socket) and self.client("ping").returncode == 0

    def client(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run banguard-client."""
        argv = [os.path.join(BIN, "banguard-client"), "-c", self.config, "-s", self.socket, *words]
        return subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30, env=self.env)

    def ask(self, *words: str) -> str:
        """Run banguard-client, which must succeed; return what it prints."""
        done = self.client(*words)
        assert done.returncode == 0, (words, done.stdout, done.stderr)
        return done.stdout

    def jails(self) -> list[str]:
        """Return the names of the running jails."""
        names: list[str] = json.loads(self.ask("--json", "status"))["jails"]
        return names

    def banned(self, jail: str) -> list[str]:
        """Return who is banned in *jail*."""
        return sorted(ban["id"] for ban in json.loads(self.ask("--json", "status", jail))["actions"]["banned"])

    def read_log(self) -> str:
        return _read(self.log)

    def read_output(self) -> str:
        return _read(self.output)

    def await_log(self, text: str, *, within: float = 15.0) -> str:
        """Wait until *text* stands in the server's log; return its line."""

        def line() -> str:
            return next((line for line in self.read_log().splitlines() if text in line), "")

        try:
            return eventually(line, within=within)
        except AssertionError:
            raise AssertionError(
                f"{text!r} did not appear in the log:\n{self.read_log()}\n{self.read_output()}"
            ) from None

    def await_ban(self, jail: str, host: str, *, within: float = 15.0) -> None:
        """Wait until *host* is banned and the ban is enforced."""
        self.await_log(f"[{jail}] Ban {host}", within=within)

        def enforced() -> bool:
            bans = json.loads(self.ask("--json", "status", jail))["actions"]["banned"]
            return any(ban["id"] == host and ban["enforced"] for ban in bans)

        eventually(enforced, what=f"the ban of {host} is enforced")

    def stop(self) -> None:
        """Stop with the client; the server must end with status 0."""
        assert self.process is not None
        self.ask("stop")
        assert self.process.wait(15) == 0, self.read_log()
        self.process = None

    def close(self) -> None:
        if self.process is not None:
            end(self.process)
        shutil.rmtree(self._short, ignore_errors=True)


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except FileNotFoundError:
        return ""


class Syslog:
    """
    A /dev/log for one namespace that writes stamped lines to a file, as a syslog daemon does.

    The sender's text is `<38>Nov 20 22:27:27 sshd[811]: …`; the host name comes in between.
    """

    def __init__(self, namespace: Namespace, directory: str, file: str, host: str = "web1") -> None:
        self._short = tempfile.mkdtemp(prefix="bg-", dir="/tmp")
        os.chmod(self._short, 0o755)  # noqa: S103  any program may log
        path = os.path.join(self._short, "log")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(path)
        os.chmod(path, 0o666)  # noqa: S103  any program may log
        over = os.path.join(directory, "dev")
        os.mkdir(over)
        namespace.run(
            "sh",
            "-ec",
            'mount -t tmpfs tmpfs "$1" && mkdir "$1/upper" "$1/work" && ln -s "$2" "$1/upper/log" &&'
            ' mount -t overlay overlay -o "lowerdir=/dev,upperdir=$1/upper,workdir=$1/work" /dev',
            "sh",
            over,
            path,
        )
        self._file = open(file, "ab", buffering=0)  # noqa: SIM115  closed in close()
        self._host = host.encode()
        self._thread = threading.Thread(target=self._write, name="syslog")
        self._thread.start()

    def _write(self) -> None:
        while True:
            message = self._socket.recv(65536)
            if not message:
                return
            text = message.partition(b">")[2].rstrip(b"\n\0")
            self._file.write(text[:16] + self._host + b" " + text[16:] + b"\n")

    def close(self) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as own:
            own.sendto(b"", self._socket.getsockname())
        self._thread.join()
        self._socket.close()
        self._file.close()
        shutil.rmtree(self._short)


def checkout(*parts: str) -> str:
    """Return a path in the checkout."""
    return os.path.join(CHECKOUT, *parts)
