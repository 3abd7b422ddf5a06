"""
Find the function of a command by its words.

`command` puts a function into the table, `execute` finds and calls it, `help_text` lists them all.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from banguard.control.api import ServerApi
from banguard.control.protocol import USAGE, Reply
from banguard.errors import ControlError

logger = logging.getLogger("banguard.server")

INVALID = "Sorry but the command is invalid"

BASIC = "BASIC"
LOGGING = "LOGGING"
DATABASE = "DATABASE"
JAILS = "JAIL CONTROL"
OPTIONS = "OPTIONS OF A JAIL"
BANS = "BANS"
ACTIONS = "ACTIONS OF A JAIL"
GROUPS = (BASIC, BANS, JAILS, OPTIONS, ACTIONS, LOGGING, DATABASE)
"""The sections of the help text, in order."""


@dataclass(frozen=True, slots=True)
class Context:
    """What commands work with: the server, and how to *wait* some seconds (ended early when the server stops)."""

    api: ServerApi
    wait: Callable[[float], object]


Function = Callable[..., Reply]


@dataclass(frozen=True, slots=True)
class Command:
    """One row of the table: the words that name it, its further arguments as help shows them, and what it does."""

    phrase: str
    arguments: str
    help: str
    group: str
    function: Function

    @property
    def key(self) -> tuple[str, ...]:
        """The words that find it; `*` stands for the name of a jail."""
        return tuple("*" if word.startswith("<") else word for word in self.phrase.split())

    def takes(self, count: int) -> bool:
        """Tell whether *count* arguments can be right."""
        least = len(re.sub(r"\[[^\]]*\]", " ", self.arguments).split())
        return count >= least and ("..." in self.arguments or count <= len(self.arguments.split()))


TABLE: dict[tuple[str, ...], Command] = {}
"""All commands, by the words that find them."""


def command(group: str, phrase: str, arguments: str, text: str) -> Callable[[Function], Function]:
    """
    Put the decorated function into the table.

    *phrase* is what it is called by: words, and `<jail>` for the name of one. *arguments* are what follows, as help
    shows it: `<needed>`, `[<optional>]`, `[<any>...]`. No help *text* means that help does not show it.
    """

    def register(function: Function) -> Function:
        row = Command(phrase, arguments, text, group, function)
        TABLE[row.key] = row
        return function

    return register


def execute(context: Context, words: Sequence[str]) -> Reply:
    """
    Carry out the command *words* and return its reply.

    Raises ControlError: status 2 for a command that does not exist or lacks arguments, 1 for one that is refused.
    """
    row, jail, arguments = _find(words)
    if not row.takes(len(arguments)):
        raise ControlError(INVALID, status=USAGE)
    logger.debug("Command: %s", " ".join(words[:3]))
    return row.function(context, *jail, *arguments)


def _find(words: Sequence[str]) -> tuple[Command, tuple[str, ...], tuple[str, ...]]:
    first = words[0] if words else ""
    if first not in ("set", "get", "multi-set"):
        row = TABLE.get((first,))
        if row is None:
            raise ControlError("Invalid command", status=USAGE)
        return row, (), tuple(words[1:])
    row = TABLE.get(tuple(words[:2]))
    if row is not None:
        return row, (), tuple(words[2:])
    if len(words) < 3:
        raise ControlError(INVALID, status=USAGE)
    row = TABLE.get((first, "*", words[2])) or (TABLE[first, "*", "*"] if first == "multi-set" else None)
    if row is None:
        which = "Invalid command" if first == "get" else f"Invalid command '{words[2]}'"
        raise ControlError(f"{which} (no {first} action or not yet implemented)", status=USAGE)
    return row, (words[1],), tuple(words[2:] if row.key[2] == "*" else words[3:])


def help_text(width: int = 100) -> str:
    """Return all commands with their help, in sections, for a terminal of *width* columns."""
    import textwrap  # noqa: PLC0415  only help needs it

    column = 45
    lines: list[str] = []
    group = ""
    for row in sorted(TABLE.values(), key=lambda row: GROUPS.index(row.group)):
        if not row.help:
            continue
        if row.group != group:
            group = row.group
            lines += ["", " " * column + group]
        usage = f"    {row.phrase} {row.arguments}".rstrip()
        described = textwrap.wrap(row.help, width - column)
        if len(usage) >= column:
            lines.append(usage)
        else:
            lines.append(usage.ljust(column) + described.pop(0))
        lines += [" " * column + line for line in described]
    return "\n".join(lines)
