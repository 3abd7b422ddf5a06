"""What the three programs take on their command lines, as data for completion and manual pages."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Flag:
    """An option of a program: its spellings, the name of its value (empty: it takes none), the words it may be."""

    names: tuple[str, ...]
    value: str
    help: str
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Program:
    """One program: what it does, how it is called, its options, and what stands at the end of its help."""

    name: str
    summary: str
    usage: str
    flags: tuple[Flag, ...]
    epilog: str = ""


def client() -> Program:
    """Return banguard-client, without its commands: those are in `banguard.control.table`."""
    from banguard.cli.client import OPTIONS_HELP  # noqa: PLC0415  as below: whoever asks for one needs no other

    head, _, rest = OPTIONS_HELP.partition("\nOptions:\n")
    flags, _, epilog = rest.partition("\n\n")
    usage, _, summary = head.strip().partition("\n\n")
    return Program(
        "banguard-client",
        " ".join(summary.split()),
        usage.partition(": ")[2],
        tuple(_flags_of_help(flags)),
        epilog.removesuffix("Commands:").strip(),
    )


def server() -> Program:
    """Return banguard-server."""
    from banguard.cli.server import make_parser  # noqa: PLC0415

    return _of_parser(make_parser(), "banguard-server [OPTIONS] [COMMAND...]")


def regex() -> Program:
    """Return banguard-regex."""
    from banguard.cli.regex import make_parser  # noqa: PLC0415

    return _of_parser(make_parser(), "banguard-regex [OPTIONS] LOG FILTER|REGEX [IGNOREREGEX]")


def commands_data() -> list[dict[str, str]]:
    """Return the commands of banguard-client that help shows: usage, section, meaning."""
    from banguard.control.commands import TABLE  # noqa: PLC0415

    return [
        {"command": f"{row.phrase} {row.arguments}".rstrip(), "group": row.group, "help": row.help}
        for row in TABLE.values()
        if row.help
    ]


PROGRAMS: Mapping[str, Callable[[], Program]] = MappingProxyType(
    {"banguard-client": client, "banguard-server": server, "banguard-regex": regex}
)
"""The programs by name."""


_FLAG_LINE = re.compile(r"^ {4}(-\S+(?:, -\S+)*)(?: ([A-Z][A-Z0-9|]*))? {2,}(\S.*)$")


def _flags_of_help(text: str) -> list[Flag]:
    found: list[Flag] = []
    for line in text.splitlines():
        matched = _FLAG_LINE.match(line)
        if matched is not None:
            found.append(Flag(tuple(matched[1].split(", ")), matched[2] or "", matched[3]))
        elif found and line.strip():
            last = found.pop()
            found.append(Flag(last.names, last.value, f"{last.help} {line.strip()}", last.choices))
    return found


def _of_parser(parser: argparse.ArgumentParser, usage: str) -> Program:
    flags = tuple(
        Flag(
            tuple(action.option_strings),
            (action.metavar if isinstance(action.metavar, str) else action.dest.upper()) if action.nargs != 0 else "",
            (action.help or "show name and version").replace("%(prog)s", parser.prog),
            tuple(str(choice) for choice in action.choices or ()),
        )
        for action in parser._actions  # noqa: SLF001  argparse has no other list of them
        if action.option_strings and action.help != argparse.SUPPRESS
    )
    return Program(parser.prog, parser.description or "", usage, flags, (parser.epilog or "").strip())
