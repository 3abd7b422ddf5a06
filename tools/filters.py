"""
Write docs/filters.md: the services for which there is a jail, from the files in config/jail.d and config/filter.d.

`--write` writes the page; without it, the exit status says whether it is current.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping

from banguard.config import load
from banguard.config.ini import Value, read_file
from banguard.config.schema import JailConfig

CHECKOUT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
CONFIG = os.path.join(CHECKOUT, "config")
PAGE = os.path.join(CHECKOUT, "docs", "filters.md")

HEAD = """\
# Services

The jails that come with banguard, all off until you switch them on in `jail.local`:

```ini
[sshd]
enabled = true
```

`banguard-client detect` names those whose services run or have logs on this machine, and `detect --apply` enables them.
Where several logs are listed in the file of a jail, one that exists is enough; here stands the first, as on Debian.
`journal` means that the filter also knows its service in the journal (`backend = systemd`, or by itself when there is
no log file). Modes and options go into the jail (`mode = aggressive`) or with the filter
(`filter = caddy[status=404]`); what they mean stands at the top of the filter's file in `filter.d`.

This page is made from the files by `make docs`.

| service | jail | log | ports | modes, options |
|---|---|---|---|---|
"""

_CHOICE = re.compile(r"<([\w-]+)-<(\w+)>>")
_OPTION = re.compile(r"# {1,3}(\w+) += ")


def header(path: str) -> list[str]:
    """Return the lines of the remark at the beginning of a file."""
    lines = []
    with open(path, encoding="utf-8") as file:
        for line in file:
            if not line.startswith("#"):
                break
            lines.append(line.rstrip("\n"))
    return lines


def service(path: str) -> str:
    """Return what a filter is for: the first paragraph of its remark."""
    words: list[str] = []
    for line in header(path):
        text = line.lstrip("# ")
        if not text:
            break
        words.append(text)
    return " ".join(words).rstrip(".:")


def options(path: str) -> list[str]:
    """Return the options of a filter, each with its values where it chooses among some."""
    found: dict[str, list[str]] = {}
    file = read_file(path)
    own = {name: value.text for section in file.sections.values() for name, value in section.items()}
    for text in own.values():
        for stem, option in _CHOICE.findall(text):
            if option != "logtype":
                values = [name[len(stem) + 1 :] for name in own if name.startswith(f"{stem}-")]
                found.setdefault(option, []).extend(value for value in values if "<" not in value)
    for line in header(path):
        named = _OPTION.match(line)
        if named and (named[1] in own or named[1] in found):
            found.setdefault(named[1], [])
    shown = []
    for name, values in found.items():
        # The value in the file is the one that holds when nobody says otherwise.
        usual = own.get(name, "")
        rest = [value for value in dict.fromkeys(values) if value != usual]
        words = [usual, *rest] if usual in values else rest
        shown.append(f"`{name}`: {', '.join(words)}" if words else f"`{name}`")
    return shown


def row(jail: JailConfig, own: Mapping[str, Value]) -> str:
    """Return the line of one jail; *own* is what its section says."""
    path = os.path.join(CONFIG, "filter.d", f"{jail.filter.name}.conf")
    logs = [entry.pattern for entry in jail.logpath]
    log = f"`{logs[0]}`" + (" …" if len(logs) > 1 else "") if logs else ""
    places = [log, "journal"] if jail.filter.journalmatch else [log]
    said = {name: own[name].text for name in ("port", "protocol", "banaction") if name in own}
    port = said.get("port", "all").replace("0:65535", "all")
    if "allports" in said.get("banaction", ""):
        port = "all"
    protocol = said.get("protocol", "tcp")
    cells = (
        service(path),
        f"`{jail.name}`",
        ", ".join(filter(None, places)) or "the bans of the others",
        port.replace(",", ", ") + ("" if protocol == "tcp" or port == "all" else f" ({protocol})"),
        "; ".join(options(path)),
    )
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def page() -> str:
    """Return the text of the page."""
    sections: dict[str, Mapping[str, Value]] = {}
    for name in sorted(os.listdir(os.path.join(CONFIG, "jail.d"))):
        if name.endswith(".conf"):
            sections.update(read_file(os.path.join(CONFIG, "jail.d", name)).sections)
    before = os.environ.get("BANGUARD_DISTRIBUTION")
    os.environ["BANGUARD_DISTRIBUTION"] = "debian"
    try:
        jails = load(CONFIG, disabled=True).jails
    finally:
        os.environ.pop("BANGUARD_DISTRIBUTION")
        if before is not None:
            os.environ["BANGUARD_DISTRIBUTION"] = before
    rows = [row(jails[name], own) for name, own in sections.items() if name in jails]
    return HEAD + "".join(f"{line}\n" for line in sorted(rows, key=str.lower))


def main() -> int:
    """Run the program; return its exit status."""
    current = page()
    if "--write" in sys.argv[1:]:
        with open(PAGE, "w", encoding="utf-8") as file:
            file.write(current)
        return 0
    with open(PAGE, encoding="utf-8") as file:
        is_current = file.read() == current
    if not is_current:
        print("docs/filters.md is not current: make docs")
    return int(not is_current)


if __name__ == "__main__":
    sys.exit(main())
