"""Find what lies beside the configuration and is never read: files by their names, sections that are no jail."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

from banguard.config.ini import DEFAULT, INCLUDES, Sections, Tree
from banguard.config.options import did_you_mean
from banguard.config.parts import DEFINITION, INIT
from banguard.config.schema import Place, Problem, Severity
from banguard.message import tell

_SUFFIXES: Mapping[str, tuple[str, ...]] = {
    "filter.d": (".conf", ".local"),
    "action.d": (".conf", ".local", ".py"),
    "jail.d": (".conf", ".local"),
    "banguard.d": (".conf", ".local"),
    "fail2ban.d": (".conf", ".local"),
}
_KEPT = (
    ".bak", ".old", ".orig", ".save", ".swp", ".disabled", ".off", ".example", ".sample", ".dist", ".rpmnew",
    ".rpmsave", ".rpmorig", ".dpkg-old", ".dpkg-new", ".dpkg-dist", ".dpkg-bak", ".ucf-old", ".ucf-new", ".ucf-dist",
)  # fmt: skip
"""Endings of files that were put aside on purpose."""


def unread(tree: Tree, used: Mapping[str, frozenset[str]]) -> Iterator[Problem]:
    """
    Yield what is never read in the directory of *tree*.

    *used* gives for `filter.d` and `action.d` the names that some jail uses.
    """
    for folder, suffixes in _SUFFIXES.items():
        yield from _folder(tree, folder, suffixes, used.get(folder, frozenset()))
    yield from _beside(tree)
    yield from _hidden_vendor(tree)
    yield from _sections(tree)


def is_put_aside(name: str) -> bool:
    """Tell whether a file of this name was kept on purpose where it is not read."""
    return name.endswith("~") or name.endswith(_KEPT)


def _folder(tree: Tree, folder: str, suffixes: tuple[str, ...], used: frozenset[str]) -> Iterator[Problem]:
    directory = os.path.join(tree.directory, folder)
    names = _names(directory)
    known = tree.names(folder, suffixes[:1]) if folder in {"filter.d", "action.d"} else set()
    for name in names:
        path = os.path.join(directory, name)
        stem, suffix = os.path.splitext(name)
        if name.upper().startswith("README") or name in {".gitignore", ".gitkeep", "__pycache__"} or suffix == ".pyc":
            continue
        if os.path.isdir(path):
            if suffix in suffixes:
                yield _warn(path, tell("this is a directory, and is never read", code="file-unread"))
        elif suffix not in suffixes:
            yield _wrong_ending(path, suffixes)
        elif name.startswith("."):
            yield _warn(
                path,
                tell("hidden files are never read", code="file-unread"),
                tell("rename it to {name}", name=name.lstrip(".")),
            )
        elif not os.path.exists(path):
            yield _warn(path, tell("this link leads nowhere, so it is never read", code="file-dangling"))
        elif suffix == ".local" and known and stem not in known and stem not in used:
            message = tell(
                "there is no {folder}/{stem}.conf to change, and no jail uses {stem}{hint}",
                code="file-unused",
                folder=folder,
                stem=stem,
                hint=did_you_mean(stem, known),
            )
            yield _warn(path, message)


def _wrong_ending(path: str, suffixes: tuple[str, ...]) -> Problem:
    name = os.path.basename(path)
    message = tell(
        "this file is never read: its name does not end in {known}", code="file-unread", known=", ".join(suffixes)
    )
    if is_put_aside(name):
        return Problem(Severity.NOTE, message, place=Place(path, 0))
    stem = name.rpartition(".")[0] or name
    for suffix in suffixes:  # sshd.conf.txt
        stem = stem.removesuffix(suffix)
    return _warn(path, message, tell("rename it to {name}", name=stem + suffixes[0]))


def _beside(tree: Tree) -> Iterator[Problem]:
    """Yield files beside jail.conf whose names look like that of one that is read."""
    for name in _names(tree.directory):
        path = os.path.join(tree.directory, name)
        stem, suffix = os.path.splitext(name)
        if suffix in {".conf", ".local"} and stem in {"jail", "banguard", "fail2ban"}:
            if not os.path.exists(path):
                yield _warn(path, tell("this link leads nowhere, so it is never read", code="file-dangling"))
            continue
        if os.path.isdir(path) or name.startswith(("paths-", "README")):
            continue
        hint = did_you_mean(name, ("jail.local", "jail.conf", "banguard.local", "banguard.conf"))
        if hint or name.startswith(("jail.", "banguard.", "fail2ban.")):
            severity = Severity.NOTE if is_put_aside(name) else Severity.WARNING
            message = tell("this file is never read{hint}", code="file-unread", hint=hint)
            yield Problem(severity, message, place=Place(path, 0))


def _hidden_vendor(tree: Tree) -> Iterator[Problem]:
    """Yield files that stand in the place of one that comes with banguard, and are another."""
    if tree.vendor is None:
        return
    for folder in ("", "filter.d", "action.d", "jail.d"):
        for name in _names(os.path.join(tree.directory, folder)):
            path, vendor = (os.path.join(base, folder, name) for base in (tree.directory, tree.vendor))
            # Those of jail.d do not hide each other: both are read, unless there is a jail.conf.
            hides = name.endswith(".conf") and folder != "jail.d" and os.path.isfile(vendor) and os.path.isfile(path)
            if hides and _bytes(path) != _bytes(vendor):
                message = tell("it hides the file of this name that comes with banguard", code="file-hides")
                local = os.path.join(folder, name.removesuffix(".conf") + ".local")
                proposal = tell("put what differs into {name}, and updates reach the rest", name=local)
                yield Problem(Severity.NOTE, message, place=Place(path, 0), proposal=proposal)


def _sections(tree: Tree) -> Iterator[Problem]:
    """Yield sections that nothing reads."""
    jails = tree.read("jail") or Sections()
    filters = tree.names("filter.d")
    for name, options in jails.sections.items():
        place = next((value.place for value in options.values()), None)
        if name == INCLUDES or name in filters or "filter" in options or place is None or jails.is_overlaid(name):
            continue
        wanted = options.get("enabled")
        if wanted is not None and wanted.text.strip().lower() in {"1", "on", "true", "yes"}:
            continue  # then it is missed as a filter, with its own words
        if os.path.basename(place.path) == "jail.conf":
            continue
        similar = (DEFAULT,) if name.lower() in {"default", "defaults", "definition", "init"} else ()
        hint = (
            tell("; did you mean {name!r}?", name=DEFAULT)
            if similar
            else did_you_mean(name, [other for other in jails.sections if other != name])
        )
        message = tell(
            "[{section}] is no jail: it is not enabled, and there is no filter of its name{hint}",
            code="section-unknown",
            section=name,
            hint=hint,
        )
        yield Problem(Severity.WARNING, message, place=place)
    for base, known in (("banguard", (DEFINITION, DEFAULT, INCLUDES, "Thread")),):
        yield from _unknown_sections(tree, tree.find(base), known)
    for folder in ("filter.d", "action.d"):
        own = os.path.join(tree.directory, folder)
        paths = [
            os.path.join(own, name) for name in _names(own) if name.endswith((".conf", ".local")) and name[0] != "."
        ]
        yield from _unknown_sections(tree, paths, (DEFINITION, INIT, DEFAULT, INCLUDES), only_similar=True)


def _unknown_sections(
    tree: Tree, paths: list[str], known: tuple[str, ...], *, only_similar: bool = False
) -> Iterator[Problem]:
    for path in paths:
        if not path.startswith(tree.directory) or not os.path.isfile(path):
            continue
        for section, options in tree.parsed(path).sections.items():
            name = section.partition("?")[0]
            hint = did_you_mean(name, known) or next(
                (tell("; did you mean {name!r}?", name=each) for each in known if each.lower() == name.lower()), ""
            )
            if name in known or (only_similar and not hint):
                continue
            place = next((value.place for value in options.values()), Place(path, 0))
            message = tell(
                "section [{section}] means nothing here{hint}", code="section-unknown", section=section, hint=hint
            )
            yield Problem(Severity.WARNING, message, place=place)


def _warn(path: str, message: str, proposal: str = "") -> Problem:
    return Problem(Severity.WARNING, message, place=Place(path, 0), proposal=proposal)


def _names(directory: str) -> list[str]:
    try:
        return sorted(os.listdir(directory))
    except OSError:
        return []


def _bytes(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""
