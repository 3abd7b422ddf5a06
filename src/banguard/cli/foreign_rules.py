"""Read the rules of ipblock.conf and logmon.conf: what is good, and what is wrong with each other line."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass, field

FORM = "line {line}: error: expected seconds,protocol/port,regex: {text}"
TIME = "line {line}: error: the ban time is not a whole number of seconds above 0: {text}"
PORT = "line {line}: error: the port is not a number from 1 to 65535: {text}"
REGEX = "line {line}: error: the regex is not valid: {text}"
NO_ADDRESS = "line {line}: error: the regex catches no address, it has no group: {text}"
LOG_WANTED = "line {line}: error: no log file (:/path) stands before this line: {text}"
REGEX_WANTED = "line {line}: error: a regex in parentheses is expected here: {text}"
COMMAND_WANTED = "line {line}: error: no command follows this regex: {text}"
NO_BAN = "line {line}: error: the command is no readable script that counts and bans with iptables: {text}"
INTERFACE = "line {line}: note: the ban was for one network interface, now it is for all: {text}"

MESSAGES = (FORM, TIME, PORT, REGEX, NO_ADDRESS, LOG_WANTED, REGEX_WANTED, COMMAND_WANTED, NO_BAN, INTERFACE)


@dataclass(frozen=True, slots=True)
class Finding:
    """Something to tell about one line (from 1): one of `MESSAGES`, and the text it speaks of."""

    message: str
    line: int
    text: str

    @property
    def is_error(self) -> bool:
        """Tell whether the line could not be taken over."""
        return self.message is not INTERFACE


@dataclass(frozen=True, slots=True)
class Rule:
    """
    One rule: a host that *regexes* (failregex, for any line of *log*) catch *maxretry* times is banned.

    *search* is the regex as it was written. *findtime* and *bantime* are seconds. An empty *port* means all ports.
    """

    line: int
    search: str
    regexes: tuple[str, ...]
    log: str
    bantime: int
    maxretry: int = 1
    findtime: int = 600
    protocol: str = ""
    port: str = ""
    ignore: tuple[str, ...] = ()
    rearm: bool = False


@dataclass(slots=True)
class Found:
    """What a file holds: good rules, and findings in the order of the lines."""

    rules: list[Rule] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    def say(self, message: str, line: int, text: str) -> None:
        """Keep a finding."""
        self.findings.append(Finding(message, line, text))


def kind_of(text: str) -> str:
    """Return `ipblock` or `logmon`, by the first line that says something; an empty string for neither."""
    for line in text.splitlines():
        word = line.strip()
        if word and not word.startswith("#"):
            if word.startswith(":"):
                return "logmon"
            return "ipblock" if word.count(",") > 1 else ""
    return ""


# ---- ipblock: seconds,protocol/port,regex


def read_ipblock(text: str, log: str) -> Found:
    """Return the rules of an ipblock.conf, whose log is *log*; the address is what group 1 of a regex catches."""
    found = Found()
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        parts = line.split(",", 2)
        service = re.fullmatch(r"\s*(tcp|udp)/(.+)", parts[1]) if len(parts) == 3 else None
        if service is None:
            found.say(FORM, number, line)
            continue
        regex = _compiled(parts[2])
        if regex is None:
            found.say(REGEX, number, line)
        elif not _is_number(parts[0], 1 << 31):
            found.say(TIME, number, line)
        elif not _is_number(service[2], 65535):
            found.say(PORT, number, line)
        elif not regex.groups:
            found.say(NO_ADDRESS, number, line)
        elif _compiled(_catch_host(parts[2])) is None:
            # It refers to its first group by the name that was changed.
            found.say(REGEX, number, line)
        else:
            found.rules.append(
                Rule(
                    line=number,
                    search=parts[2],
                    regexes=(_catch_host(parts[2]),),
                    log=log,
                    bantime=int(parts[0]),
                    protocol=service[1],
                    port=str(int(service[2])),
                    rearm=True,
                )
            )
    return found


def _catch_host(regex: str) -> str:
    """Return *regex* with its first group called `dns`."""
    in_class = False
    position = 0
    while position < len(regex):
        letter = regex[position]
        if letter == "\\":
            position += 1
        elif in_class:
            in_class = letter != "]"
        elif letter == "[":
            in_class = True
            # A bracket that closes is itself a member when it comes first.
            position += re.compile(r"\^?\]?").match(regex, position + 1).end() - position - 1  # type: ignore[union-attr]
        elif letter == "(":
            named = re.compile(r"\(\?P<\w+>").match(regex, position)
            if named is not None:
                return f"{regex[:position]}(?P<dns>{regex[named.end() :]}"
            if regex[position + 1 : position + 2] != "?":
                return f"{regex[:position]}(?P<dns>{regex[position + 1 :]}"
        position += 1
    return regex


# ---- logmon: `:log`, `(regex)`, command with the line in the place of `<%%%%>`

BESIDE = r"(?<![\w.:\-])<ADDR>(?!\.?[\w\-\[]|:\S)"
"""An address that is no part of a host name, and not the name that stands before an address in brackets."""

ReadScript = Callable[[str], str | None]


def read_script(path: str) -> str | None:
    """Return the text of a script, None when it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(1 << 20)
    except OSError:
        return None


def read_logmon(text: str, script: ReadScript = read_script) -> Found:
    """
    Return the rules of a logmon.conf whose commands are scripts that count addresses and ban with iptables.

    How many count, how long, which addresses stay out and the interface are read from command and script.
    """
    found = Found()
    log = ""
    pending: tuple[int, str] | None = None
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        if line.startswith((":", "(")) and pending is not None:
            found.say(COMMAND_WANTED, *pending)
            pending = None
        if line.startswith(":"):
            log = line[1:].strip()
        elif not log:
            found.say(LOG_WANTED, number, line)
        elif line.startswith("("):
            if line.endswith(")") and _compiled(line) is not None:
                pending = (number, line)
            else:
                found.say(REGEX, number, line)
                pending = (0, line)
        elif pending is None:
            found.say(REGEX_WANTED, number, line)
        else:
            if pending[0]:
                _logmon_rule(found, log, pending, (number, line), script)
            else:
                found.say(REGEX_WANTED, number, line)
            pending = None
    if pending is not None and pending[0]:
        found.say(COMMAND_WANTED, *pending)
    return found


def _logmon_rule(found: Found, log: str, regex: tuple[int, str], command: tuple[int, str], script: ReadScript) -> None:
    try:
        words = shlex.split(command[1])
    except ValueError:
        words = []
    text = script(words[0]) if len(words) > 1 and os.path.isabs(words[0]) else None
    if text is None or "iptables" not in text or not _is_number(words[1], 10000):
        found.say(NO_BAN, *command)
        return
    window = re.search(r"(?m)^\s*\w*CACHE_TIME=(\d+)\s*$", text)
    left_out = re.findall(r"grep\s+-v\s+[\"']?((?:\d{1,3}\.){1,3})", text)
    for interface in sorted(set(re.findall(r"iptables\s+-[AI]\b.*?\s-i\s+(\S+)", text))):
        found.say(INTERFACE, command[0], interface)
    inner = regex[1]
    found.rules.append(
        Rule(
            line=regex[0],
            search=inner,
            regexes=(rf"{inner}[^\[]*\[<ADDR>\]", rf"{inner}[^\[]*?{BESIDE}"),
            log=log,
            # The rules stayed until a nightly run found them quiet: a day; who goes on is banned again.
            bantime=86400,
            maxretry=int(words[1]),
            findtime=int(window[1]) if window else 21600,
            ignore=tuple(dict.fromkeys(map(_network, left_out))),
        )
    )


def _network(prefix: str) -> str:
    """Return the network of addresses that begin with *prefix*, such as `192.168.`."""
    parts = prefix.strip(".").split(".")
    return ".".join([*parts, *["0"] * (4 - len(parts))]) + f"/{8 * len(parts)}"


def _compiled(regex: str) -> re.Pattern[str] | None:
    try:
        return re.compile(regex)
    except re.error:
        return None


def _is_number(text: str, most: int) -> bool:
    text = text.strip()
    return text.isascii() and text.isdigit() and len(text) < 11 and 0 < int(text) <= most
