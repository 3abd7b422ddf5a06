"""Take over the rules of other programs: `banguard-client import FILE`."""

from __future__ import annotations

import json
import os
import re
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from banguard.cli.foreign_rules import Found, Rule, kind_of, read_ipblock, read_logmon
from banguard.cli.language import choose, translator
from banguard.cli.render import clean
from banguard.control.protocol import REFUSED, USAGE
from banguard.errors import ConfigError, ControlError

HITS = "line {line}: the rule matches {count} lines of the log: {text}"
SUMMARY = "{rules} rules taken over, {left} lines left out"
WRITTEN = "written: {path}"
SAME = "unchanged: {path}"

MESSAGES = (HITS, SUMMARY, WRITTEN, SAME)

USAGE_TEXT = "import FILE|DIRECTORY [--check] [--to DIRECTORY] [--log FILE] [--lang LANGUAGE]"
SYSLOG = "/var/log/syslog"


def run(words: Sequence[str], directory: str, environment: Mapping[str, str], *, as_json: bool = False) -> int:
    """
    Carry out `import` with *words*, writing below *directory*; return the exit status: 1 when a line was left out.

    Raise ControlError for bad usage, ConfigError for a file that cannot be read, is no such file, or is in the way.
    """
    path, options = _arguments(words)
    directory = options.get("--to", directory)
    try:
        language = choose(options.get("--lang"), environment)
    except ValueError as error:
        raise ControlError(str(error), status=USAGE) from None
    if os.path.isdir(path):
        from banguard.cli import move_fail2ban  # noqa: PLC0415  rules need none of it
        from banguard.cli.configuration import Voice  # noqa: PLC0415

        return move_fail2ban.run(path, directory, Voice(language), only_check="--check" in options, as_json=as_json)
    say = translator(language)
    text = _read(path)
    kind = kind_of(text)
    if not kind:
        raise ConfigError("this is neither an ipblock.conf nor a logmon.conf", path=path)
    log = options.get("--log")
    found = read_ipblock(text, log or SYSLOG) if kind == "ipblock" else read_logmon(text)
    hits = _hits(found.rules, log) if log else {}
    files = {} if "--check" in options or not found.rules else make_files(kind, found.rules)
    written = write(directory, files)
    left = len({finding.line for finding in found.findings if finding.is_error})
    if as_json:
        findings = [
            {
                "line": each.line,
                "error": each.is_error,
                "message": say(each.message).format(line=each.line, text=each.text),
            }
            for each in found.findings
        ]
        reply: dict[str, object] = {"kind": kind, "rules": len(found.rules), "left_out": left, "findings": findings}
        print(json.dumps({**reply, "hits": hits, "written": written}, ensure_ascii=False))
    else:
        for line in _report(found, hits):
            _print(say(line[0]).format(**line[1]))
        for name in files:
            _print(say(WRITTEN if name in written else SAME).format(path=os.path.join(directory, name)))
        _print(say(SUMMARY).format(rules=len(found.rules), left=left))
    return REFUSED if left else 0


def make_files(kind: str, rules: Sequence[Rule]) -> dict[str, str]:
    """Return name → text of the filters and the jails that do what *rules* of a file of that *kind* did."""
    groups: dict[tuple[object, ...], list[Rule]] = {}
    for rule in rules:
        key = (rule.log, rule.bantime, rule.maxretry, rule.findtime, rule.protocol, rule.port, rule.ignore, rule.rearm)
        groups.setdefault(key, []).append(rule)
    files: dict[str, str] = {}
    jails = [f"# Made from {kind}.conf by banguard-client import.\n"]
    for group in groups.values():
        name = f"{kind}-{group[0].line}"
        regexes = "\n            ".join(escape(regex) for rule in group for regex in rule.regexes)
        files[f"filter.d/{name}.conf"] = (
            f"# Lines {', '.join(str(rule.line) for rule in group)} of {kind}.conf.\n"
            f"[Definition]\nfailregex = {regexes}\nignoreregex =\ndatepattern = {{^LN-BEG}}\n"
        )
        jails.append(_jail(name, group[0]))
    files[f"jail.d/{kind}.conf"] = "\n".join(jails)
    return files


def _jail(name: str, rule: Rule) -> str:
    lines = [
        f"[{name}]",
        "enabled = true",
        f"filter = {name}",
        "backend = auto",
        f"logpath = {rule.log.replace('%', '%%')}",
        f"maxretry = {rule.maxretry}",
        f"findtime = {rule.findtime}",
        f"bantime = {rule.bantime}",
        "usedns = no",
    ]
    if rule.port:
        lines += [f"port = {rule.port}", f"protocol = {rule.protocol}"]
    else:
        lines += ["banaction = %(banaction_allports)s"]
    if rule.rearm:
        lines += ["bantime.rearm = yes"]
    if rule.ignore:
        lines += [f"ignoreip = {' '.join(('127.0.0.1/8', '::1', *rule.ignore))}"]
    return "\n".join(lines) + "\n"


def escape(regex: str) -> str:
    """Return *regex* so that a file gives it back: `%` doubled, no tag and no comment in it by accident."""
    regex = regex.replace("%", "%%").replace(" ;", r"\x20;").replace("\t;", r"\t;")
    regex = re.sub(r"(?<!\(\?P)(?<!\(\?)<(?!ADDR>)", r"\\x3c", regex)
    return f"(?:){regex}" if regex.startswith(("#", ";", " ", "\t")) else regex


def write(directory: str, files: Mapping[str, str]) -> list[str]:
    """Write *files* below *directory*, all or none, and return which are new; a file with another text is an error."""
    new: list[str] = []
    for name, text in files.items():
        path = os.path.join(directory, name)
        if not os.path.lexists(path):
            new.append(name)
        elif _read(path) != text:
            raise ConfigError("the file exists with another text; move it away first, nothing was written", path=path)
    for name in new:
        path = os.path.join(directory, name)
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "x", encoding="utf-8") as file:
                file.write(files[name])
        except OSError as error:
            raise ConfigError(f"cannot be written: {error.strerror}", path=path) from None
    return new


def _hits(rules: Iterable[Rule], log: str) -> dict[int, int]:
    """Return line of the rule → how many lines of the file *log* its regex matches."""
    compiled = {rule.line: re.compile(rule.search) for rule in rules}
    counts = Counter(dict.fromkeys(compiled, 0))
    try:
        with open(log, encoding="utf-8", errors="replace") as file:
            for line in file:
                counts.update(number for number, regex in compiled.items() if regex.search(line))
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", path=log) from None
    return dict(counts)


def _report(found: Found, hits: Mapping[int, int]) -> list[tuple[str, dict[str, object]]]:
    lines: list[tuple[int, str, dict[str, object]]] = [
        (each.line, each.message, {"line": each.line, "text": each.text}) for each in found.findings
    ]
    searched = {rule.line: rule.search for rule in found.rules}
    lines += [(line, HITS, {"line": line, "count": count, "text": searched[line]}) for line, count in hits.items()]
    return [(message, values) for _, message, values in sorted(lines, key=lambda each: each[:2])]


def _arguments(words: Sequence[str]) -> tuple[str, dict[str, str]]:
    options: dict[str, str] = {}
    paths: list[str] = []
    rest = iter(words)
    for word in rest:
        if word == "--check":
            options[word] = ""
        elif word in ("--log", "--lang", "--to"):
            value = next(rest, None)
            if value is None:
                raise ControlError(f"{word} takes a value; usage: {USAGE_TEXT}", status=USAGE)
            options[word] = value
        elif word.startswith("-"):
            raise ControlError(f"there is no option {word}; usage: {USAGE_TEXT}", status=USAGE)
        else:
            paths.append(word)
    if len(paths) != 1:
        raise ControlError(f"usage: {USAGE_TEXT}", status=USAGE)
    return paths[0], options


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except UnicodeDecodeError as error:
        raise ConfigError(f"is not UTF-8 ({error.reason})", path=path) from None
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", path=path) from None


def _print(text: str) -> None:
    encoding = sys.stdout.encoding or "ascii"
    print(clean(text).encode(encoding, "backslashreplace").decode(encoding))
