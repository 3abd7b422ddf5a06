"""
Show banguard at work: the real server, a log that grows, a real firewall in a private network.

Nothing outside a temporary directory and the private network is touched, and nothing is left behind. Ends by itself,
with exit status 0 when everything that is shown really happened.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence

CHECKOUT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BIN = os.path.dirname(sys.executable)
DEADLINE = 20.0

ATTACKER = "203.0.113.7"
ATTACKER6 = "2001:db8:bad::5"
NETWORK6 = "2001:db8:bad::/64"
"""What is banned of IPv6: all that such an attacker can call his own."""
LIAR = "203.0.113.9"
VICTIM = "198.51.100.66"
FORGETFUL = "198.51.100.23"

JAIL = """\
[sshd]
enabled = true
logpath = {log}
maxretry = 3
findtime = 10m
bantime = 10m
banaction = {action}
"""

LINES = (
    f"sshd[811]: Accepted publickey for deploy from {FORGETFUL} port 40022 ssh2: ED25519 SHA256:c2FtcGxl",
    f"sshd[812]: Failed password for root from {ATTACKER} port 51022 ssh2",
    "CRON[813]: pam_unix(cron:session): session opened for user root(uid=0) by (uid=0)",
    f"sshd[814]: Invalid user admin from {ATTACKER6} port 39505",
    f"sshd[814]: Failed password for invalid user admin from {ATTACKER6} port 39505 ssh2",
    f"sshd[815]: Failed password for mary from {FORGETFUL} port 40023 ssh2",
    f"sshd[812]: Failed password for root from {ATTACKER} port 51022 ssh2",
    f"sshd[812]: Failed password for root from {ATTACKER} port 51022 ssh2",
    f"sshd[815]: Accepted password for mary from {FORGETFUL} port 40023 ssh2",
    f"sshd[816]: Failed password for invalid user oracle from {ATTACKER6} port 39511 ssh2",
    f"sshd[818]: Failed password for root from {ATTACKER6} port 39512 ssh2",
    *[f"sshd[817]: Invalid user x from {VICTIM} port 22 ssh2 from {LIAR} port 33793"] * 3,
)


def main() -> int:
    """Run the demonstration; return the exit status."""
    if "--inside" in sys.argv:
        return inside(firewall="--firewall" in sys.argv)
    me = [sys.executable, os.path.abspath(__file__), "--inside"]
    fence = private_network()
    if fence is None:
        print("This machine cannot make a private network with nftables in it (see above for what is missing).")
        print("The demonstration does without a firewall: bans are recorded, and nothing is blocked.\n")
        return subprocess.run(me, check=False).returncode
    return subprocess.run([*fence, *me, "--firewall"], check=False).returncode


def private_network() -> list[str] | None:
    """Return the command that runs another one in a private network; None when this machine cannot."""
    os.environ["PATH"] = os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"
    if any(shutil.which(program) is None for program in ("unshare", "nft", "ip")):
        return None
    flags = ["-n", "-m", "--propagation", "private"] if os.geteuid() == 0 else ["-Urnm"]
    tried = subprocess.run(
        ["unshare", *flags, "nft", "list", "ruleset"], check=False, stdin=subprocess.DEVNULL, capture_output=True
    )
    return ["unshare", *flags] if tried.returncode == 0 else None


def inside(*, firewall: bool) -> int:
    """Show it, in the private network if there is one."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    directory = tempfile.mkdtemp(prefix="banguard-demo-")
    try:
        demo = Demo(directory, firewall=firewall)
        with demo.server():
            demo.show()
        return 0
    except (DemoError, subprocess.SubprocessError) as error:
        print(f"\nThe demonstration failed: {error}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(directory, ignore_errors=True)


class DemoError(Exception):
    """Something that should have happened did not."""


class Demo:
    """One run: a server, its log, and the log it watches."""

    def __init__(self, directory: str, *, firewall: bool) -> None:
        self.firewall = firewall
        self.config = os.path.join(directory, "config")
        self.watched = os.path.join(directory, "auth.log")
        self.log = os.path.join(directory, "banguard.log")
        self.socket = os.path.join(directory, "banguard.sock")
        self.pidfile = os.path.join(directory, "banguard.pid")
        shutil.copytree(os.path.join(CHECKOUT, "config"), self.config)
        for path in (self.watched, self.log):
            write(path, "")
        write(os.path.join(self.config, "banguard.local"), f"[Definition]\ndbfile = {directory}/banguard.sqlite3\n")
        action = "nftables" if firewall else f"dummy[target={directory}/bans.txt]"
        write(os.path.join(self.config, "jail.local"), JAIL.format(log=self.watched, action=action))

    @contextlib.contextmanager
    def server(self) -> Iterator[None]:
        """Run the server; print what it logs of hosts; stop it at the end, in order."""
        if self.firewall:
            subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        argv = [os.path.join(BIN, "banguard-server"), "-f", *self.options, "--logtarget", self.log, "start"]
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        done = threading.Event()
        follower = threading.Thread(target=self.follow, args=(done,))
        follower.start()
        try:
            wait_for(lambda: self.answers(process), "the server answers")
            yield
            self.command("stop")
            status = process.wait(DEADLINE)
            if status != 0:
                raise DemoError(f"the server ended with status {status}")
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait(DEADLINE)
            done.set()
            follower.join()

    @property
    def options(self) -> list[str]:
        """What tells server and client of each other."""
        return ["-c", self.config, "-s", self.socket, "-p", self.pidfile]

    def answers(self, process: subprocess.Popen[bytes]) -> bool:
        """Return whether the server runs its jail."""
        if process.poll() is not None:
            with open(self.log, encoding="utf-8") as file:
                raise DemoError(f"the server did not start:\n{file.read()}")
        return os.path.exists(self.socket) and "sshd" in self.client("status").stdout

    def client(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run banguard-client."""
        argv = [os.path.join(BIN, "banguard-client"), "-c", self.config, "-s", self.socket, *words]
        return subprocess.run(argv, check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20)

    def command(self, *words: str) -> None:
        """Show a command and what it prints; it must succeed."""
        print(f"\n$ banguard-client {' '.join(words)}", flush=True)
        done = self.client(*words)
        print(done.stdout.rstrip("\n") or done.stderr.rstrip("\n"), flush=True)
        if done.returncode != 0:
            raise DemoError(f"banguard-client {' '.join(words)} ended with status {done.returncode}")

    def follow(self, done: threading.Event) -> None:
        """Print what the server's log says about hosts, as it is written."""
        with open(self.log, encoding="utf-8") as file:
            while True:
                last = done.is_set()
                for line in file:
                    if "[sshd]" in line:
                        print(f"    {line.rstrip()}", flush=True)
                if last:
                    return
                done.wait(0.05)

    def bans(self) -> dict[str, bool]:
        """Return who is banned, and whether the firewall enforces it."""
        status = json.loads(self.client("--json", "status", "sshd").stdout)
        return {ban["id"]: ban["enforced"] for ban in status["actions"]["banned"]}

    def show(self) -> None:
        """Attack, watch the bans, ask, unban."""
        print("A log grows; three failures within ten minutes ban for ten minutes.\n", flush=True)
        with open(self.watched, "a", encoding="utf-8") as file:
            for text in LINES:
                line = f"{time.strftime('%b %d %H:%M:%S')} web1 {text}"
                print(f">>> {line}", flush=True)
                file.write(line + "\n")
                file.flush()
                time.sleep(0.15)
        expected = {ATTACKER: True, NETWORK6: True, LIAR: True}
        wait_for(lambda: self.bans() == expected, f"{', '.join(expected)} are banned, and nobody else")
        self.command("status")
        self.command("status", "sshd")
        self.show_firewall(present=list(expected))
        self.command("set", "sshd", "unbanip", ATTACKER)
        self.command("banned")
        wait_for(lambda: self.bans() == {NETWORK6: True, LIAR: True}, "one is free again")
        self.show_firewall(present=[NETWORK6, LIAR], absent=[ATTACKER], quiet=True)
        print(f"\n{VICTIM} stood in the log because {LIAR} called itself that way: not banned.")
        print(f"{FORGETFUL} failed once, then knew the password: not banned.", flush=True)

    def show_firewall(self, *, present: Sequence[str], absent: Sequence[str] = (), quiet: bool = False) -> None:
        """Show the kernel's rules and sets; *present* must be in them, *absent* not."""
        if not self.firewall:
            return

        def rules() -> str:
            return subprocess.run(["nft", "list", "ruleset"], check=True, capture_output=True, text=True).stdout

        def right() -> bool:
            text = rules()
            return all(host in text for host in present) and not any(f" {host} " in text for host in absent)

        wait_for(right, f"the firewall holds {', '.join(present)}")
        if not quiet:
            print(f"\n$ nft list ruleset\n{rules().rstrip()}", flush=True)


def write(path: str, text: str) -> None:
    """Write a file."""
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def wait_for(check: Callable[[], bool], what: str) -> None:
    """Ask *check* again and again until it is true; raise DemoError after a while."""
    end = time.monotonic() + DEADLINE
    while not check():
        if time.monotonic() > end:
            raise DemoError(f"not within {DEADLINE:g} s: {what}")
        time.sleep(0.05)


if __name__ == "__main__":
    sys.exit(main())
