"""
Bans as lines of /etc/hosts.deny, for services that ask libwrap.

Our lines end in a mark and are the only ones that are touched; the file is replaced in one step, with its rights and
owner. See hosts_access(5).
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from banguard import netaddr
from banguard.actions.base import UnavailableError
from banguard.actions.plain import PlainFirewall
from banguard.errors import ActionError
from banguard.message import tell

MARK = "# banguard"
_DAEMONS = re.compile(r"[A-Za-z0-9_.@-]+(?:,? [A-Za-z0-9_.@-]+)*\Z", re.ASCII)
_OURS = re.compile(rf"(?P<daemons>[^#:]+): (?P<client>\S+) *{re.escape(MARK)}\s*\Z")


@dataclass(frozen=True, slots=True)
class Spec:
    """Which file, and which services."""

    path: str
    daemons: str

    @classmethod
    def of(cls, properties: Mapping[str, str]) -> Spec:
        """Read *properties*; raise ActionError naming the option."""
        path = properties.get("file", "").strip() or "/etc/hosts.deny"
        if not path.startswith("/") or "\0" in path or "\n" in path:
            raise ActionError(
                tell(
                    "{option}: expected {expected}, not {text!r}",
                    option="file",
                    expected=tell("an absolute path"),
                    text=path,
                )
            )
        daemons = properties.get("daemon_list", "").strip() or "ALL"
        if _DAEMONS.match(daemons) is None:
            raise ActionError(
                tell(
                    "{option}: expected {expected}, not {text!r}",
                    option="daemon_list",
                    expected=tell("names of services or ALL"),
                    text=daemons,
                )
            )
        return cls(path, daemons)


class Files:
    """Files in the form of hosts.deny."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[int, int, int] | None] = {}

    def begin(self, spec: Spec) -> Collection[str]:
        """Return what an earlier run left behind; make sure that the file can be written."""
        held = self.held(spec)
        self._write(spec, dict.fromkeys(held))
        return held

    def end(self, spec: Spec) -> None:
        """Take all of our lines out."""
        self._write(spec, {})
        self._seen.pop(spec.path, None)

    def add(self, spec: Spec, bans: Mapping[str, float | None], now: float) -> None:
        """Add lines."""
        del now
        self._write(spec, dict.fromkeys((*self.held(spec), *bans)))

    def remove(self, spec: Spec, addresses: Sequence[str]) -> None:
        """Take lines out."""
        gone = set(addresses)
        self._write(spec, {one: None for one in self.held(spec) if one not in gone})

    def held(self, spec: Spec) -> Collection[str]:
        """Return the addresses of our lines, in order."""
        found: dict[str, None] = {}
        for line in self._lines(spec.path):
            ours = _OURS.match(line)
            address = netaddr.canonical(_plain(ours["client"])) if ours and ours["daemons"] == spec.daemons else None
            if address is not None:
                found[address] = None
        return found

    def changed(self) -> bool:
        """Tell whether any of the files was touched since we wrote it."""
        return any(seen != _state(path) for path, seen in self._seen.items())

    def _lines(self, path: str) -> list[str]:
        try:
            with open(path, encoding="utf-8", errors="surrogateescape") as file:
                return file.read().splitlines(keepends=True)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise UnavailableError(f"{path}: {error.strerror}") from None

    def _write(self, spec: Spec, addresses: Mapping[str, None]) -> None:
        kept = []
        for line in self._lines(spec.path):
            ours = _OURS.match(line)
            if ours is None or ours["daemons"] != spec.daemons:
                kept.append(line if line.endswith("\n") else f"{line}\n")
        kept += [f"{spec.daemons}: {_client(address)} {MARK}\n" for address in addresses]
        new = f"{spec.path}.banguard-new"
        try:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(new)
            descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
            with open(descriptor, "w", encoding="utf-8", errors="surrogateescape") as file:
                file.writelines(kept)
                with contextlib.suppress(FileNotFoundError):
                    status = os.stat(spec.path)
                    os.fchmod(descriptor, stat.S_IMODE(status.st_mode))
                    os.fchown(descriptor, status.st_uid, status.st_gid)
            try:
                os.replace(new, spec.path)
            except OSError as error:
                if error.errno != 16:  # a file that something is mounted on (EBUSY) cannot be replaced, only rewritten
                    raise
                with open(spec.path, "w", encoding="utf-8", errors="surrogateescape") as file:
                    file.writelines(kept)
                os.unlink(new)
        except OSError as error:
            raise UnavailableError(f"{spec.path}: {error.strerror}") from None
        self._seen[spec.path] = _state(spec.path)


def _state(path: str) -> tuple[int, int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


def _client(address: str) -> str:
    """Return *address* as hosts_access(5) wants it: IPv6 in brackets, networks of IPv4 with their mask."""
    host, slash, bits = address.partition("/")
    if ":" in host:
        return f"[{host}]{slash}{bits}"
    if not slash:
        return host
    mask = (0xFFFFFFFF << (32 - int(bits))) & 0xFFFFFFFF
    return f"{host}/{'.'.join(str(mask >> shift & 255) for shift in (24, 16, 8, 0))}"


def _plain(client: str) -> str:
    return client.replace("[", "").replace("]", "")


class HostsdenyAction(PlainFirewall[Spec]):
    """Lines of hosts.deny for all jails."""

    look_every = 1.0

    def __init__(self, properties: Mapping[str, str]) -> None:
        del properties
        super().__init__(Files(), Spec.of, (4, 6))

    @classmethod
    def place(cls, properties: Mapping[str, str]) -> str:
        """Name the place: the file."""
        return f"hosts.deny {Spec.of(properties).path}"

    @classmethod
    def verify(cls, properties: Mapping[str, str]) -> None:
        """Raise ActionError naming the option when *properties* cannot be used."""
        Spec.of(properties)
