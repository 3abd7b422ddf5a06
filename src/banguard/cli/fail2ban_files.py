"""Tell which files in a directory of fail2ban are as its package has them, and which the administrator made."""

from __future__ import annotations

import enum
import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from banguard.config.unread import is_put_aside
from banguard.errors import ConfigError

DPKG = "/var/lib/dpkg"
PACKAGE = "fail2ban"
HOME = "etc/fail2ban/"


class Kind(enum.Enum):
    """Where a file comes from: the package; the package, but edited; the administrator; nobody reads it; unknown."""

    STOCK = "stock"
    CHANGED = "changed"
    OWN = "own"
    UNREAD = "unread"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Found:
    """A file, by its *name* relative to the directory."""

    name: str
    kind: Kind


def package_sums(root: str = DPKG) -> Mapping[str, str]:
    """
    Return name → MD5 of the files that the package put below /etc/fail2ban, by dpkg's own records; empty without.

    Configuration files stand in the field Conffiles of the file `status` (dpkg-query(1)), others in `info/*.md5sums`.
    """
    sums: dict[str, str] = {}
    for line in _conffiles(_lines(os.path.join(root, "status"))):
        path, _, rest = line.strip().partition(" ")
        sums[path.lstrip("/")] = rest.split(" ")[0]
    for line in _lines(os.path.join(root, "info", f"{PACKAGE}.md5sums")):
        digest, _, path = line.strip().partition("  ")
        sums.setdefault(path, digest)
    return {path.removeprefix(HOME): digest for path, digest in sums.items() if path.startswith(HOME)}


def _conffiles(lines: Iterable[str]) -> Iterator[str]:
    """Yield the lines of the field Conffiles of the package."""
    inside = listed = False
    for line in lines:
        if line.startswith("Package:"):
            inside = line.split() == ["Package:", PACKAGE]
        if not line.startswith(" "):
            listed = inside and line.startswith("Conffiles:")
        elif listed:
            yield line


def _lines(path: str) -> Iterator[str]:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            yield from file
    except OSError:
        return


def survey(directory: str, sums: Mapping[str, str], ours: Iterable[str]) -> list[Found]:
    """
    Return every file below *directory*, by name.

    *sums* are those of the package. Without them a file counts as unknown when it has the name of one of *ours*, or is
    one of the files that every fail2ban has; its overlays (`.local`) and all others are the administrator's.
    """
    ours = frozenset(ours)
    found = []
    for base, folders, names in os.walk(directory, onerror=_refuse):
        folders.sort()
        for name in names:
            path = os.path.join(base, name)
            relative = os.path.relpath(path, directory)
            found.append(Found(relative, _kind(path, relative, sums, ours)))
    return sorted(found, key=lambda each: each.name)


def _kind(path: str, name: str, sums: Mapping[str, str], ours: frozenset[str]) -> Kind:
    if name in sums:
        return Kind.STOCK if _digest(path) == sums[name] else Kind.CHANGED
    base = os.path.basename(name)
    if is_put_aside(name) or base.startswith(".") or not os.path.isfile(path) or name.endswith(".pyc"):
        return Kind.UNREAD
    if base.upper().startswith("README"):
        return Kind.UNREAD
    folder = name.partition("/")[0] if "/" in name else ""
    nested = name.count("/") > 1
    if not nested and not name.endswith((".conf", ".local")) and not (folder == "action.d" and name.endswith(".py")):
        return Kind.UNREAD
    stock = name in ours or (not folder and name.endswith(".conf"))
    return Kind.UNKNOWN if not sums and stock else Kind.OWN


def _digest(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return hashlib.md5(file.read(), usedforsecurity=False).hexdigest()
    except OSError:
        return ""


def _refuse(error: OSError) -> None:
    raise ConfigError(f"cannot be read: {error.strerror}", path=error.filename)
