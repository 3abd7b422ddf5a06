"""
Read INI files, includes and `.local` overlays; remember file and line of each value.

The dialect is that of Python's configparser in strict mode: `key = value` or `key: value`, keys in lower case, `#` and
`;` begin a comment line, `;` after a blank begins a comment within a line, deeper indented lines go on with a value.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from banguard.config import paths
from banguard.config.expand import Scope
from banguard.config.schema import Place
from banguard.errors import ConfigError
from banguard.message import tell

DEFAULT = "DEFAULT"
INCLUDES = "INCLUDES"
KNOWN = "KNOWN/"


class Value(NamedTuple):
    """A value as it stands in a file: text before any expansion, and where; *lines* has the line of each text line."""

    text: str
    path: str
    line: int
    lines: tuple[int, ...] = ()

    @property
    def place(self) -> Place:
        """File and line of the key."""
        return Place(self.path, self.line)


class Fault(NamedTuple):
    """Something a file must not hold; *section* is empty when the file as a whole is meant."""

    message: str
    path: str
    line: int
    section: str = ""


class IniFile(NamedTuple):
    """One file by itself; [DEFAULT] is a section like the others."""

    path: str
    sections: Mapping[str, Mapping[str, Value]]
    faults: Sequence[Fault]


def parse_text(text: str, path: str) -> IniFile:
    """
    Parse the *text* of the file at *path*.

    What is wrong becomes a fault, and reading goes on: of an option that stands twice the last one is kept.
    """
    sections: dict[str, dict[str, Value]] = {}
    faults: list[Fault] = []
    parts: dict[tuple[str, str], tuple[list[str], list[int]]] = {}
    began: dict[str, int] = {}
    section: str | None = None
    value: tuple[list[str], list[int]] | None = None
    indent = 0
    for number, line in enumerate(text.replace("\r\n", "\n").replace("\r", "\n").split("\n"), start=1):
        stripped = line.strip()
        if stripped and stripped[0] in "#;":
            continue
        cut = _comment(line) if ";" in line else -1
        if cut >= 0:
            stripped = line[:cut].strip()
        if not stripped:
            if cut < 0 and value is not None:
                value[0].append("")
                value[1].append(number)
            continue
        depth = len(line) - len(line.lstrip())
        if value is not None and depth > indent:
            value[0].append(stripped)
            value[1].append(number)
            continue
        indent = depth
        value = None
        if stripped[0] == "[" and stripped.rfind("]") > 1:
            section = stripped[1 : stripped.rfind("]")]
            if section in began and section != DEFAULT:
                faults.append(
                    Fault(
                        tell(
                            "section [{section}] stands twice, first in line {began}",
                            code="section-twice",
                            section=section,
                            began=began[section],
                        ),
                        path,
                        number,
                        section,
                    )
                )
            began.setdefault(section, number)
            sections.setdefault(section, {})
            continue
        if section is None:
            faults.append(
                Fault(
                    tell("{text} stands before any [section]", code="line-outside", text=_short(stripped)), path, number
                )
            )
            value = ([], [])  # its further lines belong to it and are dropped with it
            continue
        key, given = _split(stripped)
        if key is None:
            faults.append(
                Fault(
                    tell("neither 'key = value' nor [section]: {text}", code="line-syntax", text=_short(stripped)),
                    path,
                    number,
                    section,
                )
            )
            value = ([], [])
            continue
        if not key:
            faults.append(
                Fault(
                    tell("no name before the value: {text}", code="line-syntax", text=_short(stripped)),
                    path,
                    number,
                    section,
                )
            )
            value = ([], [])
            continue
        if (section, key) in parts:
            first = parts[section, key][1][0]
            faults.append(
                Fault(
                    tell(
                        "option {key!r} stands twice in [{section}], first in line {first}",
                        code="option-twice",
                        key=key,
                        section=section,
                        first=first,
                    ),
                    path,
                    number,
                    section,
                )
            )
        value = parts[section, key] = ([given], [number])
    for (name, key), (texts, numbers) in parts.items():
        if len(texts) == 1:
            sections[name][key] = Value(texts[0], path, numbers[0])
            continue
        joined = "\n".join(texts).rstrip()
        kept = joined.count("\n") + 1
        sections[name][key] = Value(joined, path, numbers[0], tuple(numbers[:kept]) if kept > 1 else ())
    return IniFile(path, sections, faults)


def read_file(path: str) -> IniFile:
    """Parse the file at *path*; one that is not UTF-8 or cannot be read is an empty file with one fault."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            text = file.read()
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        return IniFile(
            path,
            {},
            [
                Fault(
                    tell("is not UTF-8 ({reason}); the file is left out", code="file-encoding", reason=error.reason),
                    path,
                    line,
                )
            ],
        )
    except OSError as error:
        return IniFile(
            path, {}, [Fault(tell("cannot be read: {reason}", code="file-unreadable", reason=error.strerror), path, 0)]
        )
    return parse_text(text, path)


def _comment(line: str) -> int:
    """Return where the comment within *line* begins: a `;` at its start or after a blank; -1 for none."""
    found = line.find(";")
    while found > 0 and not line[found - 1].isspace():
        found = line.find(";", found + 1)
    return found


def _split(line: str) -> tuple[str | None, str]:
    """Split at the first `=` or `:`; no key at all (None) when there is neither."""
    equals, colon = line.find("="), line.find(":")
    at = min(equals, colon) if equals >= 0 and colon >= 0 else max(equals, colon)
    if at < 0:
        return None, ""
    return line[:at].rstrip().lower(), line[at + 1 :].strip()


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")


class Sections:
    """
    Several files merged: a later value overwrites an earlier one, which stays known as `known/…`.

    Options of a conditional section `[Init?family=inet6]` are merged into `[Init]` as `option?family=inet6`.
    """

    def __init__(self) -> None:
        self.defaults: dict[str, Value] = {}
        self.sections: dict[str, dict[str, Value]] = {}
        self.faults: list[Fault] = []
        self.files: list[str] = []
        self._earlier: dict[tuple[str, str], list[Value]] = {}
        self._overlaid: set[str] = set()

    def merge(self, file: IniFile) -> None:
        """Put the values of *file* over those that are here."""
        self.files.append(file.path)
        self.faults.extend(file.faults)
        self.defaults.update(file.sections.get(DEFAULT, {}))
        for name, options in file.sections.items():
            if name == DEFAULT:
                continue
            name, question, condition = name.partition("?")
            if name in self.sections:
                self._overlaid.add(name)
            own = self.sections.setdefault(name, {})
            for option, value in options.items():
                key = f"{option}?{condition}" if question else option
                before = own.get(key)
                if before is not None and before is not value:  # a file may be read twice, over two includes
                    self._earlier.setdefault((name, key), []).append(before)
                own[key] = value

    def own(self, section: str) -> Mapping[str, Value]:
        """Return the options of *section* itself, without those of [DEFAULT]; `KNOWN/…` has what it overwrote last."""
        if section.startswith(KNOWN):
            name = section.removeprefix(KNOWN)
            return {key[1]: values[-1] for key, values in self._earlier.items() if key[0] == name}
        return self.sections.get(section, {})

    def value(self, section: str, option: str) -> Value | None:
        """Return the value of *option* in *section*, else in [DEFAULT]."""
        return self.own(section).get(option) or self.defaults.get(option)

    def known(self, section: str, option: str, level: int = 0) -> Value | None:
        """Return what *option* was before its last overwriting (*level* 1: the one before that), if it was anything."""
        earlier = self._earlier.get((section, option), ())
        return earlier[-1 - level] if level < len(earlier) else None

    def is_overlaid(self, section: str) -> bool:
        """Tell whether *section* stands in more than one of the files."""
        return section in self._overlaid

    def values(self) -> Iterable[Value]:
        """Return every value that is here, known ones too."""
        yield from self.defaults.values()
        for options in self.sections.values():
            yield from options.values()
        for earlier in self._earlier.values():
            yield from earlier


class Tree:
    """
    The directories files come from: *directory*, and *vendor* for what that one lacks.

    Parsed files are kept, since many jails share filters and actions; one Tree serves one load.
    """

    def __init__(self, directory: str, vendor: str | None = None) -> None:
        self.directory = directory
        self.vendor = vendor if vendor is not None and os.path.realpath(vendor) != os.path.realpath(directory) else None
        self._files: dict[str, IniFile] = {}
        self._merged: dict[str, Sections | None] = {}

    def find(self, name: str) -> list[str]:
        """
        Return the existing files of logical *name* (`jail`, `filter.d/sshd`, or an absolute path) in reading order.

        `NAME.conf`, `NAME.d/*.conf`, `NAME.local`, `NAME.d/*.local`; those of the vendor, `.conf` only, come first when
        the directory has no `NAME.conf`.
        """
        found: list[str] = []
        base = os.path.join(self.directory, name)
        if self.vendor and not os.path.isabs(name) and not os.path.isfile(base + ".conf"):
            vendor = os.path.join(self.vendor, name)
            found += [path for path in (vendor + ".conf",) if os.path.isfile(path)]
            found += _listed(vendor + ".d", ".conf")
        found += [path for path in (base + ".conf",) if os.path.isfile(path)]
        found += _listed(base + ".d", ".conf")
        found += [path for path in (base + ".local",) if os.path.isfile(path)]
        found += _listed(base + ".d", ".local")
        return found

    def file(self, name: str) -> str | None:
        """Return the path of the plain file *name* in the directory, else of the vendor, else None."""
        for base in (self.directory, self.vendor):
            if base is not None and os.path.isfile(os.path.join(base, name)):
                return os.path.join(base, name)
        return None

    def names(self, folder: str, suffixes: Sequence[str] = (".conf", ".local")) -> set[str]:
        """Return the names that exist in *folder* (`filter.d`), without extension."""
        names: set[str] = set()
        for base in (self.directory, self.vendor):
            if base is not None:
                for suffix in suffixes:
                    names.update(
                        os.path.basename(path)[: -len(suffix)] for path in _listed(os.path.join(base, folder), suffix)
                    )
        return names

    def read(self, name: str) -> Sections | None:
        """Return logical *name* merged with its overlays and includes, or None when it has no file."""
        if name not in self._merged:
            paths = self.find(name)
            self._merged[name] = self.merged(paths, os.path.dirname(name)) if paths else None
        return self._merged[name]

    def merged(self, paths: Sequence[str], folder: str = "") -> Sections:
        """Return the files at *paths* merged in order, each with its includes and its `.local` sibling."""
        sections = Sections()
        for path in paths:
            self._expand(path, folder, (), frozenset(paths), sections)
        return sections

    def _expand(self, path: str, folder: str, chain: tuple[str, ...], listed: frozenset[str], into: Sections) -> None:
        """Merge *into* what *path* stands for: the files before, itself, the files after, its `.local`."""
        if path in chain:  # an include of itself, over whatever way
            return
        chain = (*chain, path)
        file = self.parsed(path)
        includes = file.sections.get(INCLUDES, {})
        for name in self._included(file, includes.get("before"), folder, into):
            self._expand(name, folder, chain, listed, into)
        into.merge(file)
        for name in self._included(file, includes.get("after"), folder, into):
            self._expand(name, folder, chain, listed, into)
        for local in self._siblings(path):
            if local not in listed:
                self._expand(local, folder, chain, listed, into)

    def _included(self, file: IniFile, names: Value | None, folder: str, into: Sections) -> list[str]:
        """Return the existing files that *names* of [INCLUDES] means; missing ones are allowed and left out."""
        if names is None:
            return []
        alone = Sections()
        alone.merge(file)
        try:
            constants = {"banguard_distribution": paths.distribution()} if "%(" in names.text else {}
            text = Scope(alone, INCLUDES, constants=constants).expand(names.text, names.place)
        except ConfigError as error:
            into.faults.append(Fault(error.message, names.path, names.line, INCLUDES))
            return []
        folders = [os.path.dirname(file.path), os.path.join(self.directory, folder)]
        if self.vendor is not None:
            folders.append(os.path.join(self.vendor, folder))
        found = []
        for name in filter(None, (line.strip() for line in text.split("\n"))):
            # os.path.join gives an absolute name as it is.
            candidates = [os.path.normpath(os.path.join(base, name)) for base in folders]
            # Of a file that is not there, the overlay may be all the same.
            overlays = [local for path in candidates for local in self._siblings(path)]
            found += [path for path in (*candidates, *overlays) if os.path.isfile(path)][:1]
        return found

    def _siblings(self, path: str) -> list[str]:
        """Return the `.local` overlays of the file at *path*: beside it, and in the directory for one of the vendor."""
        stem, extension = os.path.splitext(path)
        if extension == ".local":
            return []
        candidates = [stem + ".local"]
        if self.vendor is not None and path.startswith(self.vendor + os.sep):
            # The overlay of a vendor file belongs to the administrator's directory.
            candidates = [os.path.join(self.directory, os.path.relpath(stem, self.vendor) + ".local")]
        return [name for name in candidates if os.path.isfile(name)]

    def parsed(self, path: str) -> IniFile:
        """Return the file at *path*, parsed once."""
        if path not in self._files:
            self._files[path] = read_file(path)
        return self._files[path]


def _listed(folder: str, suffix: str) -> list[str]:
    """Return the files of *folder* that end in *suffix*, by name, hidden ones left out; none without such a folder."""
    try:
        names = os.listdir(folder)
    except OSError:
        return []
    return [os.path.join(folder, name) for name in sorted(names) if name.endswith(suffix) and name[0] != "."]
