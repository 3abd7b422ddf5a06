"""A private journal: systemd-journald in a mount namespace of its own, and journal files made of given entries."""

from __future__ import annotations

import ctypes
import os
import pathlib
import shutil
import signal
import socket
import struct
import subprocess
import time
import uuid
from typing import Self

JOURNALD = "/lib/systemd/systemd-journald"
REMOTE = "/lib/systemd/systemd-journal-remote"

_CONFIGURATION = """[Journal]
Storage=volatile
ReadKMsg=no
Audit=
ForwardToSyslog=no
ForwardToKMsg=no
ForwardToConsole=no
ForwardToWall=no
RateLimitIntervalSec=0
SyncIntervalSec=1s
RuntimeMaxUse=64M
RuntimeMaxFileSize=4M
RuntimeKeepFree=1M
"""

_SETUP = r"""
set -e
mkdir -p /run/systemd/journal /run/log/journal
mount --bind "$D/sock" /run/systemd/journal
mount --bind "$D/log" /run/log/journal
[ -d /var/log/journal ] && mount --bind "$D/novar" /var/log/journal
mount --bind "$D/journald.conf" /etc/systemd/journald.conf
[ -d /etc/systemd/journald.conf.d ] && mount --bind "$D/novar" /etc/systemd/journald.conf.d || true
exec /lib/systemd/systemd-journald
"""


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def why_no_journald() -> str:
    """Return why a private journald cannot run here, empty when it can."""
    if not os.path.exists(JOURNALD):
        return "systemd-journald is not installed"
    if os.geteuid() != 0:
        return "needs root for a mount namespace"
    if not os.path.exists("/etc/systemd/journald.conf"):
        return "no /etc/systemd/journald.conf to put a private one over"
    tried = subprocess.run(["unshare", "-m", "--propagation", "private", "true"], capture_output=True, check=False)
    return "" if tried.returncode == 0 else f"no mount namespace: {tried.stderr.decode().strip()}"


def why_no_binding() -> str:
    try:
        import systemd.journal  # noqa: F401
    except ImportError:
        return "the journal binding (systemd-python) is not installed"
    return ""


class PrivateJournal:
    """A real journald whose sockets and files lie in *directory*; it dies with the test."""

    def __init__(self, directory: str) -> None:
        self.directory = pathlib.Path(directory)
        for name in ("sock", "log", "novar"):
            (self.directory / name).mkdir(parents=True, exist_ok=True)
        (self.directory / "journald.conf").write_text(_CONFIGURATION)

    def start(self) -> None:
        for name in ("socket", "stdout", "dev-log", "io.systemd.journal"):
            (self.directory / "sock" / name).unlink(missing_ok=True)
        with open(self.directory / "out", "wb") as out:
            self.process = subprocess.Popen(
                ["unshare", "-m", "--propagation", "private", "bash", "-c", _SETUP],
                env={**os.environ, "D": str(self.directory)},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                preexec_fn=_die_with_parent,  # noqa: PLW1509  one prctl, before any exec
            )
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            if list((self.directory / "log").glob("*/system.journal")) and (self.directory / "sock/stdout").exists():
                return
            time.sleep(0.02)
        raise RuntimeError(f"journald did not start: {(self.directory / 'out').read_text()}")

    @property
    def path(self) -> str:
        return str(next((self.directory / "log").glob("*")))

    def send(self, **fields: object) -> None:
        message = bytearray()
        for key, value in fields.items():
            data = value if isinstance(value, bytes) else str(value).encode()
            message += key.encode() + b"\n" + struct.pack("<Q", len(data)) + data + b"\n"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.sendto(bytes(message), str(self.directory / "sock/socket"))

    def run(self, *command: str) -> None:
        subprocess.run(
            ["nsenter", "-t", str(self.process.pid), "-m", "--", *command], check=True, capture_output=True, timeout=30
        )

    def sync(self) -> None:
        self.run("journalctl", "--sync")

    def rotate(self) -> None:
        self.run("journalctl", "--rotate")

    def vacuum(self) -> None:
        self.run("journalctl", "--vacuum-time=1s")

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(10)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class JournalFiles:
    """Journal files with entries of any time, made by systemd-journal-remote; no rights needed."""

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self._boot = uuid.uuid4().hex
        self._machine = uuid.uuid4().hex
        self._started: float | None = None
        os.makedirs(directory, exist_ok=True)

    def add(self, *entries: dict[str, object], name: str = "system") -> None:
        """Append entries; each has `at` (epoch seconds), and fields: text, bytes, or a list of several values."""
        exported = bytearray()
        for entry in entries:
            fields = dict(entry)
            at = float(fields.pop("at"))  # type: ignore[arg-type]
            if self._started is None:
                self._started = at - 1000
            exported += self._export(fields, at)
        subprocess.run(
            [REMOTE, "-o", os.path.join(self.directory, f"{name}.journal"), "-"],
            input=bytes(exported),
            capture_output=True,
            check=True,
            timeout=60,
        )

    def _export(self, fields: dict[str, object], at: float) -> bytes:
        stamps = {
            "__REALTIME_TIMESTAMP": round(at * 1e6),
            # It must grow with the time: the reader orders entries of one boot by it.
            "__MONOTONIC_TIMESTAMP": round((at - self._started) * 1e6),
            "_BOOT_ID": self._boot,
            "_MACHINE_ID": self._machine,
        }
        out = bytearray()
        for key, values in {**stamps, **fields}.items():
            for value in values if isinstance(values, list) else [values]:
                data = value if isinstance(value, bytes) else str(value).encode()
                if any(byte < 32 and byte != 9 for byte in data):
                    out += key.encode() + b"\n" + struct.pack("<Q", len(data)) + data + b"\n"
                else:
                    out += key.encode() + b"=" + data + b"\n"
        return bytes(out + b"\n")

    def rotate(self, number: int) -> None:
        """Rename the file as journald archives it."""
        os.rename(
            os.path.join(self.directory, "system.journal"),
            os.path.join(self.directory, f"system@{self._machine}-{number:016x}-{number:016x}.journal"),
        )

    def remove(self) -> None:
        shutil.rmtree(self.directory)


def why_no_remote() -> str:
    return "" if os.path.exists(REMOTE) else "systemd-journal-remote is not installed"
