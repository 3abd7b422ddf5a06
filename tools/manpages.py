"""
Write the manual pages: `python tools/manpages.py DIRECTORY`.

The pages of the programs and of the configuration files are made from the parsers, the table of commands and the table
of options; those about filters and actions from the pages of docs/.
"""

from __future__ import annotations

import datetime as dt
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping

import banguard
import banguard.control.commands  # fills the table of commands
from banguard.cli.reference import PROGRAMS, Program
from banguard.config.options import JAIL_OPTIONS, SERVER_OPTIONS, Option
from banguard.control.table import GROUPS, TABLE

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

PAGES = ("banguard-client.1", "banguard-regex.1", "banguard-server.8", "banguard.conf.5", "banguard-jail.5",
         "banguard-filter.5", "banguard-action.5")  # fmt: skip

_FILES = (
    ("/etc/banguard/banguard.conf, jail.conf, jail.d/00-*.conf, filter.d, action.d", "What comes with banguard."),
    ("/etc/banguard/banguard.local, jail.local, jail.d/*.local, filter.d/*.local", "Your own values, which win."),
    ("/run/banguard/banguard.sock", "The control socket; only root may use it."),
    ("/var/lib/banguard/banguard.sqlite3", "Bans, positions in logs and failures, over restarts."),
    ("/var/log/banguard.log", "The log."),
)

_STATUS = (
    ("0", "Done."),
    ("1", "Refused or failed."),
    ("2", "The command line is wrong."),
    ("3", "The server cannot be reached."),
    ("4", "No permission."),
)

_SEE_ALSO = {
    name: ", ".join(f"{other[:-2]}({other[-1]})" for other in PAGES if other != name) + ", fail2ban-client(1), nft(8)"
    for name in PAGES
}


def text(line: str) -> str:
    """Return *line* for troff: nothing in it is a request or an escape."""
    line = line.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq").replace("`", "\\(ga")
    return f"\\&{line}" if line.startswith((".", "\\(aq")) else line


def inline(line: str) -> str:
    """Return *line* of Markdown for troff: code and strong words in bold, links as their text."""
    line = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", line)
    parts = re.split(r"(`[^`]+`|\*\*[^*]+\*\*|(?<!\w)\*[^*\s][^*]*\*)", line)
    return "".join(
        f"\\fB{text(part.strip('`*'))}\\fR" if part[:1] in "`*" and len(part) > 2 else text(part) for part in parts
    )


def title(page: str, summary: str) -> Iterator[str]:
    """Yield the head of *page* (`NAME.SECTION`)."""
    name, _, section = page.rpartition(".")
    yield f'.TH "{name.upper()}" "{section}" "{_date()}" "banguard {banguard.__version__}" "banguard"'
    yield from (".SH NAME", f"{text(name)} \\- {text(summary)}")


def _date() -> str:
    """Return the day of the source: that of SOURCE_DATE_EPOCH, else of the changelog."""
    given = os.environ.get("SOURCE_DATE_EPOCH")
    seconds = float(given) if given else os.path.getmtime(os.path.join(ROOT, "CHANGELOG.md"))
    return dt.datetime.fromtimestamp(seconds, dt.UTC).date().isoformat()


def terms(rows: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Yield a list of terms, already for troff, with what each means."""
    for term, meaning in rows:
        yield from (".TP", f"\\fB{term}\\fR", text(meaning) or "\\&")


def program(page: str, made: Program) -> Iterator[str]:
    """Yield the page of a program."""
    yield from title(page, made.summary.rstrip("."))
    yield from (".SH SYNOPSIS", f"\\fB{text(made.usage)}\\fR")
    yield from (".SH DESCRIPTION", text(made.summary))
    for paragraph in made.epilog.split("\n\n"):
        yield from (".PP", *(text(line.strip()) for line in paragraph.splitlines()))
    yield ".SH OPTIONS"
    for flag in made.flags:
        names = ", ".join(text(name) for name in flag.names)
        yield from terms([(names + (f"\\fR \\fI{text(flag.value)}" if flag.value else ""), flag.help)])
    if made.name == "banguard-client":
        yield ".SH COMMANDS"
        for group in GROUPS:
            yield f".SS {group}"
            rows = [row for row in TABLE.values() if row.group == group and row.help]
            yield from terms((text(f"{row.phrase} {row.arguments}".strip()), row.help) for row in rows)
    yield from (".SH EXIT STATUS", *terms(_STATUS))


def options(page: str, summary: str, introduction: str, table: Mapping[str, Option]) -> Iterator[str]:
    """Yield the page of a configuration file from its *table* of options."""
    yield from title(page, summary)
    yield ".SH DESCRIPTION"
    yield from markdown(introduction)
    yield ".SH OPTIONS"
    for option in table.values():
        meaning = option.help[:1].upper() + option.help[1:] + "."
        default = _shown(option.default)
        yield from terms([(text(option.name), meaning + (f" Without it: {default}." if default else ""))])


def _shown(value: object) -> str:
    """Return a default as one would write it, empty when there is none worth a word."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return f"{value:g}"
    if isinstance(value, str):
        return value
    return str(getattr(value, "name", ""))


def document(page: str, summary: str, path: str) -> Iterator[str]:
    """Yield the page made of a page of docs/."""
    with open(os.path.join(ROOT, "docs", path), encoding="utf-8") as file:
        body = file.read().partition("\n")[2]
    yield from title(page, summary)
    yield ".SH DESCRIPTION"
    yield from markdown(body)


def markdown(body: str) -> Iterator[str]:
    """Yield what docs/ uses of Markdown, for troff: headings, paragraphs, lists, tables, fenced text."""
    fenced = False
    paragraph = headed = True  # troff begins a paragraph after each heading by itself
    for line in body.strip().splitlines():
        if line.startswith("```"):
            yield from (".fi", ".RE") if fenced else (*(() if headed else (".PP",)), ".RS 4", ".nf")
            fenced, paragraph, headed = not fenced, False, False
        elif fenced:
            yield text(line)
        elif not line.strip():
            paragraph = headed
        elif line.startswith("#"):
            yield f".SH {inline(line.lstrip('# ')).upper()}"
            headed = True
        elif line.startswith("|"):
            cells = [inline(cell.strip()) for cell in re.split(r"(?<!\\)\|", line.strip("|"))]
            if not set(line) <= set("|-: ") and "".join(cells):
                yield from (".TP", cells[0] or "\\&", ", ".join(cell for cell in cells[1:] if cell) or "\\&")
            paragraph = headed = False
        elif (item := re.match(r"(?:-|(\d+)\.) +(.*)", line)) is not None:
            yield from (f".IP {item[1]}. 4" if item[1] else ".IP \\(bu 2", inline(item[2]))
            paragraph, headed = True, False
        else:
            if not paragraph:
                yield ".PP"
            yield inline(line.strip())
            paragraph, headed = True, False


_SERVER = """
The settings of banguard-server, in the section `[Definition]`. Files are read in the order `banguard.conf`,
`banguard.d/*.conf`, `banguard.local`, `banguard.d/*.local`; the last value of an option counts. Times are seconds, or
`90s`, `10m`, `1h`, `2d`, `3w`.
"""

_JAIL = """
A jail is a section of `jail.conf`, `jail.d/*.conf`, `jail.local` or `jail.d/*.local`, read in this order; the last
value of an option counts. What `[DEFAULT]` says holds for all jails. `%(name)s` is the value of another option. This is
enough of a jail:

```
[sshd]
enabled  = true
logpath  = /var/log/auth.log
maxretry = 5
findtime = 10m
bantime  = 1h
```

Times are seconds, or `90s`, `10m`, `1h`, `2d`, `3w`; -1 is for ever.
"""


def page(name: str) -> str:
    """Return the source of one page."""
    stem = name.rpartition(".")[0]
    if stem in PROGRAMS:
        lines = program(name, PROGRAMS[stem]())
    elif stem == "banguard.conf":
        lines = options(name, "settings of banguard-server", _SERVER, SERVER_OPTIONS)
    elif stem == "banguard-jail":
        lines = options(name, "jails of banguard", _JAIL, JAIL_OPTIONS)
    elif stem == "banguard-filter":
        lines = document(name, "filters of banguard", "writing-a-filter.md")
    else:
        lines = document(name, "actions of banguard", "writing-an-action.md")
    tail = [".SH FILES", *terms((text(path), meaning) for path, meaning in _FILES), ".SH SEE ALSO"]
    return "\n".join([*lines, *tail, text(_SEE_ALSO[name]), ""])


def main(arguments: list[str]) -> int:
    """Write all pages into the directory given."""
    if len(arguments) != 1:
        print("usage: manpages.py DIRECTORY", file=sys.stderr)
        return 2
    os.makedirs(arguments[0], exist_ok=True)
    for name in PAGES:
        with open(os.path.join(arguments[0], name), "w", encoding="utf-8") as file:
            file.write(page(name))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
