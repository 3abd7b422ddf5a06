"""
Find the socket of the server without reading the whole configuration.

The client needs one value of one file, and is called from scripts again and again. What is written plainly is read
plainly here; whatever is not (includes, references, values on several lines, anything odd) is left to the reader of the
configuration, which decides the same in the plain cases.
"""

from __future__ import annotations

import os
import re

from banguard import paths

_SECTION = re.compile(r"\[([^]]+)\]\s*\Z")
_PLAIN = re.compile(r"socket\s*[=:]\s*(/[\w./+@-]+)\s*\Z", re.IGNORECASE | re.ASCII)
_OTHER = re.compile(r"syslogsocket\s*[=:]", re.IGNORECASE)


def socket_path(directory: str) -> str:
    """Return the socket that the configuration in *directory* names; ConfigError when there is no such directory."""
    found = plain_socket(directory)
    if found is None:
        from banguard.config import load_server  # noqa: PLC0415  the slow way

        found = load_server(directory).socket
    return found


def plain_socket(directory: str) -> str | None:
    """Return the socket when it can be told from plain lines, None when the whole reader has to be asked."""
    files = _files(directory)
    if not files:
        return None
    found = paths.default_socket()
    if os.environ.get("BANGUARD_SOCKET"):
        return found  # said later than what stands in a file
    for path in files:
        try:
            with open(path, encoding="utf-8") as file:
                lines = file.read().splitlines()
        except (OSError, ValueError):
            return None
        value = _value(lines)
        if value is None:
            return None
        found = value or found
    return found


def _files(directory: str) -> list[str]:
    """Return the files of banguard.conf in the order in which they are read; none when it is not that simple."""
    first = os.path.join(directory, "banguard.conf")
    folder = os.path.join(directory, "banguard.d")
    if not os.path.isfile(first):
        return []
    more = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    local = os.path.join(directory, "banguard.local")
    return [
        first,
        *(os.path.join(folder, name) for name in more if name.endswith(".conf")),
        *([local] if os.path.exists(local) else []),
        *(os.path.join(folder, name) for name in more if name.endswith(".local")),
    ]


def _value(lines: list[str]) -> str | None:
    """Return the socket that one file names, empty when it names none, None when that is not plain."""
    section = found = ""
    for position, line in enumerate(lines):
        if not line.strip() or line.startswith(("#", ";")):
            continue
        header = _SECTION.match(line)
        if header:
            section = header[1]
            if section.lower() == "includes":
                return None
            continue
        if "socket" not in line.lower() or _OTHER.match(line):
            continue
        plain = _PLAIN.match(line)
        # A value goes on in the next indented line, whatever comments and blank lines stand between.
        rest = (other for other in lines[position + 1 :] if other.strip() and other.lstrip()[0] not in "#;")
        following = next(rest, "")
        if plain is None or found or section != "Definition" or following[:1].isspace():
            return None
        found = plain[1]
    return found
