"""
Words that can come next on a command line, for the completion of shells.

The scripts for bash, zsh and fish hold no words of their own: they ask `banguard-client --complete`, which knows the
options and commands from the parsers, the jails from the running server and the filters from the configuration.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from banguard.cli.reference import PROGRAMS, Flag
from banguard.cli.socketpath import socket_path
from banguard.clock import SystemClock
from banguard.control.client import Connection
from banguard.control.protocol import USAGE
from banguard.control.table import TABLE
from banguard.errors import BanguardError
from banguard.paths import default_directory

SCRIPTS = {
    "bash": """\
# bash completion of banguard-client, banguard-server and banguard-regex
_banguard() {
    local line
    COMPREPLY=()
    while IFS= read -r line; do
        COMPREPLY+=("${line%%$'\\t'*}")
    done < <(banguard-client --complete "${COMP_WORDS[@]:0:COMP_CWORD+1}" 2>/dev/null)
}
complete -o default -F _banguard banguard-client banguard-server banguard-regex
""",
    "zsh": """\
#compdef banguard-client banguard-server banguard-regex
local line
local -a found
while IFS= read -r line; do
    found+=("${${line%%$'\\t'*}//:/\\\\:}:${line#*$'\\t'}")
done < <(banguard-client --complete "${(@Q)words[1,CURRENT]}" 2>/dev/null)
if (( ${#found} )); then
    _describe -t words 'banguard' found
else
    _files
fi
""",
    "fish": """\
# fish completion of banguard-client, banguard-server and banguard-regex
function __banguard_complete
    set -l typed (commandline -opc)
    banguard-client --complete $typed (commandline -ct) 2>/dev/null
end
for program in banguard-client banguard-server banguard-regex
    complete -c $program -a '(__banguard_complete)'
end
""",
}
"""The script of each shell."""


@dataclass(frozen=True, slots=True)
class Known:
    """Where words come from that no parser holds: the running jails, the filters, the commands done by the client."""

    jails: Callable[[], Iterable[str]] = tuple
    filters: Callable[[], Iterable[str]] = tuple
    local: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


LOCAL: Mapping[str, Mapping[str, str]] = {
    "backtest": {"": "JAIL", "--from": "TIME", "--to": "TIME", "--json": ""},
    "check": {"--strict": "", "--log": "FILE", "--jail": "JAIL", "--lang": "LANGUAGE", "--json": ""},
    "detect": {"--apply": "", "--root": "DIRECTORY", "--json": ""},
    "import": {"--check": "", "--log": "FILE", "--lang": "LANGUAGE", "--to": "DIRECTORY", "--json": ""},
    "import-bans": {"--json": ""},
    "top": {"-d": "SECONDS", "-n": "COUNT", "--once": "", "--plain": "", "--json": ""},
}
"""
Commands of banguard-client that are not in the server's table: their options, each with what its value is.

No name stands for what is no option.
"""


def main(arguments: Sequence[str]) -> int:
    """Serve `--completion SHELL`, which prints a script, and `--complete WORDS...`; return the exit status."""
    if arguments[0] == "--completion":
        script = SCRIPTS.get(" ".join(arguments[1:]))
        if script is None:
            print(f"--completion takes one of {', '.join(SCRIPTS)}", file=sys.stderr)
            return USAGE
        print(script, end="")
        return 0
    for word, meaning in complete(arguments[1:], Known(_jails, _filters, LOCAL)):
        print(f"{word}\t{meaning}")
    return 0


def _jails() -> Sequence[str]:
    """Return the jails of the server at the usual socket; none when it does not answer at once."""
    try:
        with Connection(socket_path(default_directory()), SystemClock().monotonic) as connection:
            value = connection.ask(["status"], 1.0).value
    except BanguardError:
        return ()
    jails = value.get("jails") if isinstance(value, dict) else None
    return [jail for jail in jails if isinstance(jail, str)] if isinstance(jails, list) else ()


def _filters() -> Sequence[str]:
    """Return the names of the filters in the usual directory."""
    try:
        names = os.listdir(os.path.join(default_directory(), "filter.d"))
    except OSError:
        return ()
    return sorted({name.rpartition(".")[0] for name in names if name.endswith((".conf", ".local"))})


def complete(words: Sequence[str], known: Known) -> list[tuple[str, str]]:
    """
    Return the words that can stand in the place of the last of *words*, each with what it means, in order.

    *words* begin with the name of the program; the last one is what was typed of a word so far, perhaps nothing.
    Nothing is returned where a file or free text belongs.
    """
    program = os.path.basename(words[0]) if words else ""
    if program not in PROGRAMS or len(words) < 2:
        return []
    typed = words[-1]
    flags = PROGRAMS[program]().flags
    before, awaited = _without_flags(words[1:-1], flags)
    if awaited is not None:
        found: Iterable[tuple[str, str]] = ((choice, awaited.help) for choice in awaited.choices)
    elif typed.startswith("-") and not (program == "banguard-client" and before):
        found = ((name, flag.help) for flag in flags for name in flag.names if len(name) > 2 or len(typed) < 2)
    elif program == "banguard-regex":
        found = ((name, "filter") for name in known.filters()) if len(before) == 1 else ()
    elif program == "banguard-server" and not before:
        found = [("start", "Start the server."), *_commands(before, known)]
    else:
        found = _commands(before, known)
    unique = {word: text for word, text in found if word.startswith(typed)}
    return sorted(unique.items())


def _without_flags(words: Sequence[str], flags: Sequence[Flag]) -> tuple[list[str], Flag | None]:
    """Return *words* without options and their values, and the option whose value comes next, if one does."""
    by_name = {name: flag for flag in flags for name in flag.names}
    left: list[str] = []
    awaited: Flag | None = None
    for word in words:
        if awaited is not None:
            awaited = None
        elif word.startswith("-") and not left:
            flag = by_name.get(word)
            awaited = flag if flag is not None and flag.value else None
        else:
            left.append(word)
    return left, awaited


def _commands(before: Sequence[str], known: Known) -> Iterator[tuple[str, str]]:
    """Yield what can follow the words *before* of a command."""
    import banguard.control.commands  # noqa: F401, PLC0415  fills the table

    given = [word for word in before if not word.startswith("--")]
    names = {row.key[1] for row in TABLE.values() if len(row.key) > 1}
    if not before:
        yield from ((word, "") for word in known.local)
    elif before[0] in known.local:
        yield from _local(known.local[before[0]], before[-1], known)
    for row in TABLE.values():
        if not row.help:
            continue
        groups = re.findall(r"\[[^\]]*\]\S*|\S+", row.arguments)
        pattern = row.phrase.split() + [group.strip("[]") for group in groups if not group.startswith("[--")]
        if not all(_fits(word, part) for word, part in zip(given, pattern, strict=False)):
            continue
        if pattern[1:2] == ["<jail>"] and given[1:] and given[1] in names:
            continue  # `set loglevel` is about the server
        if len(given) >= len(row.phrase.split()):
            yield from ((group.strip("[]").split()[0], row.help) for group in groups if group.startswith("[--"))
        if len(given) < len(pattern):
            yield from ((word, row.help) for word in _words(pattern[len(given)], known))
        elif pattern[-1].rstrip("].").endswith(">") and "..." in row.arguments:
            yield from ((word, row.help) for word in _words(pattern[-1], known))


def _local(options: Mapping[str, str], last: str, known: Known) -> Iterator[tuple[str, str]]:
    """Yield what can follow *last* in a command that the client carries out itself."""
    value = options.get(last, "")
    if value == "JAIL":
        yield from ((jail, "jail") for jail in known.jails())
    elif not value and last not in options and "" in options:
        yield from ((jail, "jail") for jail in known.jails())
        yield from ((option, meaning) for option, meaning in options.items() if option)
    elif value == "LANGUAGE":
        from banguard.cli.language import LANGUAGES  # noqa: PLC0415

        yield from ((language, "language") for language in LANGUAGES)
    elif not value:
        yield from ((option, meaning) for option, meaning in options.items())


def _choices(part: str) -> Iterator[tuple[str, bool]]:
    """Yield the words that *part* of a usage is made of, and whether each is to be typed as it stands."""
    inside = False
    for choice in part.replace("[", "").replace("]", "").removesuffix("...").split("|"):
        inside = inside or choice.startswith("<")
        word = choice.strip("<>")
        yield word, not inside or word.startswith("--")
        inside = inside and not choice.endswith(">")


def _fits(word: str, part: str) -> bool:
    """Tell whether *word* can stand where *part* is shown."""
    return any(choice == word or not typed for choice, typed in _choices(part))


def _words(part: str, known: Known) -> Iterator[str]:
    for choice, typed in _choices(part):
        if typed:
            yield choice
        elif choice == "jail":
            yield from known.jails()
