"""Make the lines by which an attacker would have another host banned: a sample with text of his own in its fields."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from banguard.matching.record import Path, read_record

PLANTED = "192.0.2.66"
"""The address in text chosen by an attacker: never to be taken for the host."""

Span = tuple[int, int]
_NONE: Mapping[str, str] = MappingProxyType({})

# What stands in failures of many services in front of the address, or behind.
_IMITATIONS = (
    "from {0} port 22",
    "from {0}",
    "from [{0}]",
    "rhost={0}",
    "rhost={0} user=root",
    "[client {0}]",
    "client: {0}, server: x",
    "ip={0}",
    "rip={0},",
    "({0})",
    "[{0}]",
    "<{0}>",
    "{0}",
    "{0}:22",
    "SRC={0} ",
)
_QUOTED = re.compile(r"""(?<![\w\\])(?:"(?:[^"\\]|\\.)*"|'[^']*'|<[^<>]*>|\([^()]*\)|\[[^\[\]]*\])""")
_KINDS = {'"': "quoted", "'": "single", "<": "angle", "(": "paren", "[": "bracket"}
_CLOSE = {'"': '"', "'": "'", "<": ">", "(": ")", "[": "]"}
_VALUE = re.compile(r"(?<==)(?![\"'<(\[])[^\s,;\"'<>()\[\]]*")
_WORD = re.compile(r"[^\s\"'<>()\[\],;=|]+")
_HOSTNAME = re.compile(r"(?!\d+(?:\.\d+){3}\Z)(?:[\w-]+\.)+[a-z][\w-]*\.?")
_PLAIN_NUMBER = re.compile(r"[\d.:+-]+")
# What stands for a client's choice in sample lines: names, addresses of mail, paths, agents.
_CHOSEN = re.compile(
    r"(?i)(?:alice|bob|carol|dave|eve|mary|mallory|joe|root|admin|guest|test|nosuch|oracle|ylmf-pc|xx?|y)\Z"
    r"|.*@.*|(?!/(?:etc|usr)/)/.*|https?://.*|Mozilla.*|curl.*"
)


class Field(NamedTuple):
    """
    Where text of others may stand in a line.

    *kind*: `quoted` ("), `single` ('), `angle` (<), `paren`, `bracket`, `value` (behind `=`), `dns` (a host name),
    `name` (any other word that a client chooses), or the name of a group, such as `user`.
    """

    start: int
    end: int
    kind: str


Escape = Callable[[str], str]


def _backslash(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _logfmt(text: str) -> str:
    return text if re.fullmatch(r"[\w./@^+-]+", text) else f'"{_backslash(text)}"'


def _url(text: str) -> str:
    return re.sub(r"[^\w./:=&?@,;+~-]", lambda found: f"%{ord(found[0]):02X}", text)


ESCAPES: Mapping[str, Escape | None] = {
    "quote": _backslash,
    "single": lambda text: text.replace("\\", "\\\\").replace("'", "\\'"),
    "double": lambda text: text.replace('"', '""'),
    "hex": lambda text: text.replace("\\", "\\x5C").replace('"', "\\x22"),
    "logfmt": _logfmt,
    "xml": html.escape,
    "url": _url,
    "nocolon": lambda text: text.replace(":", ""),
    "word": lambda text: re.sub(r"\s", "_", text),
    "dns": lambda text: re.sub(r"[^\w.-]+", "-", text),
    "helo": lambda text: re.sub(r"[^\w.:\[\]-]", "_", text),
    "smtp": lambda text: text if re.fullmatch(r"[\w.@+-]*", text) else f'"{_backslash(text)}"@example.net',
    "none": None,
}
"""How services write chosen text where it stands; None: nobody can choose it."""


def imitations(samples: Iterable[tuple[str, str]], most: int = 1000) -> list[str]:
    """Return at most *most* texts that look like failures of PLANTED: usual ones, and *samples* (line, host)."""
    texts = dict.fromkeys(form.format(PLANTED) for form in _IMITATIONS)
    for line, host in samples:
        if host:
            whole = line.replace(host, PLANTED)
            at = whole.find(PLANTED)
            for text in (whole, whole.split(": ", 1)[-1], whole[max(0, at - 24) :], whole[max(0, at - 24) : at + 40]):
                texts[text] = None
    return [text for text in texts if text.isprintable() or "\t" in text][:most]


def fields(line: str, kept: Sequence[Span] = (), named: Mapping[str, str] = _NONE) -> list[Field]:
    """
    Return where text of others may stand in *line*: nothing that touches *kept*, and any text that is *named*.

    A named text has its name as its kind.
    """
    found: dict[Span, str] = {}
    for name, text in named.items():
        at = line.find(text) if text else -1
        while at >= 0:
            found[at, at + len(text)] = name
            at = line.find(text, at + 1)
    whole = list(found)
    for quoted in _QUOTED.finditer(line):
        kind, inner = _KINDS[quoted[0][0]], quoted[0][1:-1]
        # What a service says of itself it puts into brackets, too.
        is_text = kind in {"quoted", "single"} and not inner.startswith(("/etc/", "/usr/"))
        if is_text or not inner or any(map(_CHOSEN.match, inner.split())):
            found.setdefault((quoted.start() + 1, quoted.end() - 1), kind)
    for value in _VALUE.finditer(line):
        if not _PLAIN_NUMBER.fullmatch(value[0]):
            found.setdefault(value.span(), "dns" if _HOSTNAME.fullmatch(value[0]) else "value")
    for word in _WORD.finditer(line):
        text = word[0].rstrip(":.")
        if _HOSTNAME.fullmatch(text) and not any(start <= word.start() < end for start, end in found):
            found.setdefault(word.span(), "dns")
        elif _CHOSEN.match(text):
            found.setdefault((word.start(), word.start() + len(text)), "name")
    return [
        Field(start, end, kind)
        for (start, end), kind in found.items()
        if (start, end) in whole or not any(begin <= start and end <= stop for begin, stop in whole)
        if not any((start < stop and begin < end) or begin <= start < stop for begin, stop in kept)
    ]


def attacks(line: str, field: Field, texts: Iterable[str], escape: Escape | None = None) -> Iterator[str]:
    """Yield *line* with *texts* in a *field*: alone, before and behind what stands there, and breaking out of it."""
    head, own, tail = line[: field.start], line[field.start : field.end], line[field.end :]
    close = _CLOSE.get(head[-1:], "")
    escape = escape or ESCAPES.get("dns" if field.kind == "dns" else "") or _as_it_is
    breaks = dict.fromkeys((close, ">", ")", "]", ",", ":"))
    for text in texts:
        for form in (text, f"{own} {text}", f"{text} {own}", f"{own}{text}"):
            yield head + escape(form) + tail
        for out in breaks:
            if out:
                yield head + escape(f"{own}{out} {text}") + tail


def _as_it_is(text: str) -> str:
    return text


def attacks_on_object(line: str, host: str, texts: Iterable[str], kept: Collection[Path] = ()) -> Iterator[str]:
    """Yield a line with a JSON object with *texts* in each of its texts; not in that of the *host*, nor in *kept*."""
    record = read_record(line)
    if record is None:
        return
    whole = json.loads(line[len(record.before) :])
    yield record.before + json.dumps(whole)
    for holder, key, path in _leaves(whole, ()):
        own = holder[key]  # type: ignore[index]
        if not isinstance(own, str) or (host and host in own) or path in kept:
            continue
        for text in texts:
            for form in (text, f"{own} {text}", f'{own}","{text}', f"{text} {own}"):
                holder[key] = form  # type: ignore[index]
                yield record.before + json.dumps(whole)
        holder[key] = own  # type: ignore[index]


def _leaves(value: object, path: Path) -> Iterator[tuple[object, object, Path]]:
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in list(pairs):
        if isinstance(inner, dict | list):
            yield from _leaves(inner, (*path, str(key).lower()))
        else:
            yield value, key, (*path, str(key).lower())
