"""Expand `logpath` globs and tell which directories to watch for changes."""

from __future__ import annotations

import fnmatch
import os
import re
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field

from banguard.sources.rotated import base_names

_MAGIC = re.compile(r"[*?\[]")
_PACKED = (".gz", ".bz2", ".xz", ".zst", ".lz4", ".Z")
_MAX_LINKS = 40


def is_glob(pattern: str) -> bool:
    """Whether *pattern* is more than one path."""
    return _MAGIC.search(pattern) is not None


@dataclass(slots=True)
class Found:
    """
    What some patterns stand for at present.

    *files* maps each pattern to its paths, sorted; a pattern without wildcard always stands for its path. *names* maps
    (real directory, name) to the logs that are concerned when something happens to that name. *watches* maps real
    directories to the names and globs that matter in them; a directory without any matters only itself. *errors* are
    directories that could not be read.
    """

    files: dict[str, tuple[str, ...]] = field(default_factory=dict)
    names: dict[tuple[str, str], set[str]] = field(default_factory=dict)
    watches: dict[str, set[str]] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)

    def matters(self, directory: str, name: str) -> bool:
        """Whether something new under *name* in *directory* may change what the patterns stand for."""
        wanted = self.watches.get(directory, ())
        return name in wanted or any(is_glob(glob) and fnmatch.fnmatchcase(name, glob) for glob in wanted)


def discover(patterns: Iterable[str]) -> Found:
    """
    Expand *patterns* (absolute paths, or shell globs in which `*` does not match a leading dot).

    Directories and special files do not match a glob, nor do compressed files and rotated ones (`x.log.1`) of a log
    that matches as well: they are read as part of that.
    """
    found = Found()
    for pattern in patterns:
        paths: list[str] = []
        parts = os.path.normpath(pattern).strip("/").split("/")
        _walk("/", "/", parts, found, paths)
        if is_glob(pattern):
            found.files[pattern] = _logs_of(paths)
        else:
            found.files[pattern] = (pattern,)
            if paths != [pattern]:
                for path in paths:
                    _rename(found, path, pattern)
    return found


def matches(path: str, pattern: str) -> bool:
    """Whether *path* is, or as a glob could be, what *pattern* stands for."""
    if path == pattern:
        return True
    names, globs = path.split("/"), os.path.normpath(pattern).split("/")
    return len(names) == len(globs) and all(map(fnmatch.fnmatchcase, names, globs))


def any_file(patterns: Iterable[str]) -> bool:
    """Whether any of *patterns* stands for a file that exists."""
    return any(os.path.exists(path) for paths in discover(patterns).files.values() for path in paths)


def _logs_of(paths: list[str]) -> tuple[str, ...]:
    known = set(paths)
    kept = []
    for path in sorted(known):
        directory, name = os.path.split(path)
        if name.endswith(_PACKED) or any(os.path.join(directory, base) in known for base in base_names(name)):
            continue
        kept.append(path)
    return tuple(kept)


def _rename(found: Found, path: str, pattern: str) -> None:
    # A pattern such as `/var//log/x` is known by the name the user gave it.
    for logs in found.names.values():
        if path in logs:
            logs.discard(path)
            logs.add(pattern)


def _walk(shown: str, real: str, parts: list[str], found: Found, paths: list[str]) -> None:
    """Follow *parts* from directory *shown* (as the pattern says), which is *real*; collect files in *paths*."""
    part, rest = parts[0], parts[1:]
    found.watches.setdefault(real, set())
    glob = is_glob(part)
    if glob or not rest or not os.path.lexists(os.path.join(real, part)):
        found.watches[real].add(part)
    for name in _matching(real, part, found) if glob else (part,):
        path = os.path.join(shown, name)
        target = _resolve(real, name, path if not rest else "", found)
        try:
            mode = os.stat(target).st_mode
        except OSError:
            mode = 0
        if rest:
            if stat.S_ISDIR(mode):
                _walk(path, _directory(target, found), rest, found, paths)
        elif not glob or stat.S_ISREG(mode):
            paths.append(path)


def _matching(real: str, part: str, found: Found) -> list[str]:
    try:
        with os.scandir(real) as entries:
            names = [entry.name for entry in entries]
    except OSError as error:
        found.errors[real] = error.strerror or str(error)
        return []
    return [name for name in fnmatch.filter(names, part) if part.startswith(".") or not name.startswith(".")]


def _resolve(real: str, name: str, log: str, found: Found) -> str:
    """Follow symbolic links; note every directory entry on the way, as one whose change concerns *log*."""
    path = os.path.join(real, name)
    for _ in range(_MAX_LINKS):
        directory, entry = os.path.split(path)
        if log:
            found.names.setdefault((directory, entry), set()).add(log)
        try:
            target = os.readlink(path)
        except OSError:
            break
        found.watches.setdefault(directory, set()).add(entry)
        parent, entry = os.path.split(os.path.join(directory, target).rstrip("/"))
        directory = _directory(parent, found)
        if entry in {"", ".", ".."}:
            return _directory(os.path.join(directory, entry), found)
        found.watches.setdefault(directory, set()).add(entry)
        path = os.path.join(directory, entry)
    return path


def _directory(path: str, found: Found) -> str:
    """Return the real path of a directory; note the links that lead there."""
    real, rest, links = "/", path.split("/"), 0
    while rest:
        part = rest.pop(0)
        if part in {"", "."}:
            continue
        if part == "..":
            real = os.path.dirname(real)
            continue
        found.watches.setdefault(real, set())
        full = os.path.join(real, part)
        try:
            target = os.readlink(full)
        except OSError:
            real = full
            continue
        found.watches[real].add(part)
        links += 1
        if links > _MAX_LINKS:
            return full
        if target.startswith("/"):
            real = "/"
        rest[:0] = target.split("/")
    return real
