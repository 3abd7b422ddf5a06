"""Check whether the actions of jails can work on this machine: programs, the kernel's part, ports."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from banguard.actions.command import COMMANDS
from banguard.actions.tags import expand_static
from banguard.config.options import did_you_mean
from banguard.config.schema import ActionConfig, ActionKind, Config, Place, Problem, Severity
from banguard.errors import ActionError
from banguard.message import Message, tell
from banguard.run import Finished

Which = Callable[[str], "str | None"]
Run = Callable[[Sequence[str]], Finished]


@dataclass(frozen=True, slots=True)
class Need:
    """What a native action runs: the programs, a harmless question that shows whether the kernel plays, the package."""

    programs: tuple[str, ...]
    question: tuple[str, ...]
    package: str


NEEDS: Mapping[str, Need] = MappingProxyType(
    {
        "nftables": Need(("nft",), ("nft", "list", "tables"), "nftables"),
        "iptables": Need(("iptables",), ("iptables", "-w", "5", "-n", "-L", "INPUT", "1"), "iptables"),
        "ipset": Need(("ipset", "iptables"), ("ipset", "list", "-n"), "ipset"),
        "firewalld": Need(("firewall-cmd",), ("firewall-cmd", "--state"), "firewalld"),
        "firewalld-rich-rules": Need(("firewall-cmd",), ("firewall-cmd", "--state"), "firewalld"),
        "ufw": Need(("ufw",), ("ufw", "status"), "ufw"),
        "route": Need(("ip",), ("ip", "route", "show"), "iproute2"),
        "hostsdeny": Need((), (), ""),
        "ipfw": Need(("ipfw",), ("ipfw", "list"), ""),
        "pf": Need(("pfctl",), ("pfctl", "-s", "info"), ""),
        "null": Need((), (), ""),
    }
)
"""The native actions of `banguard.actions.base`, and what each needs."""

INSTEAD = (
    ("nftables", "nft"),
    ("iptables-multiport", "iptables"),
    ("firewallcmd-ipset", "firewall-cmd"),
    ("ufw", "ufw"),
)
"""Values of `banaction`, the best first, and the program each needs."""

_BUILT_IN = frozenset((
    "!", "[", "[[", "{", "}", "(", ")", ".", ":", "alias", "bg", "break", "case", "cd", "command", "continue", "do",
    "done", "echo", "elif", "else", "esac", "eval", "exec", "exit", "export", "false", "fg", "fi", "for", "function",
    "getopts", "hash", "if", "in", "jobs", "kill", "local", "printf", "pwd", "read", "readonly", "return", "set",
    "shift", "test", "then", "times", "trap", "true", "type", "ulimit", "umask", "unalias", "unset", "until", "wait",
    "while",
))  # fmt: skip
_OPENING = frozenset(("!", "{", "(", "do", "then", "else", "elif", "if", "while", "until", "exec", "command"))
_SEPARATORS = frozenset((";", "&", "&&", "|", "||", "(", ")", "{", "}", ";;"))
_TAG = re.compile(r"<[\w./-]+>")
_PORT = re.compile(r"(\d+)(?:[:-](\d+))?")


def check_actions(
    config: Config, *, which: Which, run: Run, services: Callable[[], frozenset[str]]
) -> Iterator[Problem]:
    """
    Yield what keeps the actions of *config* from working here, each thing once for all jails that have it.

    *run* asks the kernel: it is called with programs that change nothing. *services* gives the names of ports.
    """
    missing: dict[Message, tuple[list[str], ActionConfig]] = {}
    answers: dict[tuple[str, ...], Finished] = {}
    for jail in config.jails.values():
        for action in jail.actions:
            for message in (*_programs(action, which), *_kernel(action, which, run, answers)):
                missing.setdefault(message, ([], action))[0].append(jail.name)
            yield from _ports(jail.name, action, services)
    for message, (jails, action) in missing.items():
        only = jails[0] if len(set(jails)) == 1 else ""
        text = message
        if not only:
            text = tell("{text}; that concerns {jails}", text=message, jails=", ".join(dict.fromkeys(jails)))
        place = config.jails[jails[0]].places.get("action") if only else _place(action)
        yield Problem(Severity.WARNING, text, only, place, _instead(action, which))


def _place(action: ActionConfig) -> Place | None:
    return Place(action.path, 0) if action.path else None


def _instead(action: ActionConfig, which: Which) -> str:
    """Return what to do where the programs of *action* cannot be used."""
    other = next((name for name, program in INSTEAD if name != action.file and which(program)), "")
    package = NEEDS[action.native].package if action.native in NEEDS else ""
    if package and other:
        return tell("install {package}, or say banaction = {other}", package=package, other=other)
    if package:
        return tell("install {package}", package=package)
    return ""


def _programs(action: ActionConfig, which: Which) -> Iterator[Message]:
    for program in dict.fromkeys(programs_of(action)):
        if which(program) is None:
            yield tell(
                "action {action}: the program {program} is not there",
                code="program-missing",
                action=action.file,
                program=program,
            )


def _kernel(
    action: ActionConfig, which: Which, run: Run, answers: dict[tuple[str, ...], Finished]
) -> Iterator[Message]:
    need = NEEDS.get(action.native) if action.kind is ActionKind.NATIVE else None
    if need is None or not need.question or any(which(program) is None for program in need.programs):
        return
    if need.question not in answers:
        answers[need.question] = run(need.question)
    answer = answers[need.question]
    if not answer.succeeded:
        yield tell(
            "action {action}: {command} fails, so nobody can be banned: {reason}",
            code="kernel-refuses",
            action=action.file,
            command=" ".join(need.question),
            reason=answer.describe(),
        )


# ---- programs of shell text


def programs_of(action: ActionConfig) -> Iterator[str]:
    """Yield the programs that *action* runs; those of shell text as far as they are plain to see."""
    if action.native == "mail" and action.properties.get("transport", "sendmail").strip() != "smtp":
        yield (action.properties.get("mailcmd", "").split() or ["/usr/sbin/sendmail"])[0]
    if action.kind is ActionKind.NATIVE:
        yield from NEEDS[action.native].programs if action.native in NEEDS else ()
        return
    for name, text in action.commands.items():
        command, _, condition = name.partition("?")
        if command not in COMMANDS:
            continue
        try:
            rendered = expand_static(text, action.properties, condition.partition("=")[2])
        except ActionError:
            continue  # has been told of
        yield from programs_in(rendered)


def programs_in(script: str) -> Iterator[str]:
    """Yield the first words of the commands in shell text; nothing of text that is not plain enough to tell."""
    if "<<" in script or re.search(r"\bcase\b|\bfunction\b|\(\)|`|\$\(", script):
        return
    script = _TAG.sub("%", script.replace("\\\n", " ").replace("\n", " ; "))
    lexer = shlex.shlex(script, posix=True, punctuation_chars=True)
    lexer.wordchars += "$%@+:,[]!{}^"
    lexer.commenters = ""
    try:
        words = list(lexer)
    except ValueError:
        return
    first, redirected = True, False
    for word in words:
        if redirected:
            redirected = False
        elif word and set(word) <= set("<>&|;()") and set(word) & set("<>"):
            redirected = True
        elif word in _SEPARATORS or (word and set(word) <= set(";&|()")):
            first = True
        elif first and re.fullmatch(r"\w+=.*", word):
            continue
        elif first:
            first = word in _OPENING
            if word not in _BUILT_IN and re.fullmatch(r"[\w./+-]+", word) and not word[0].isdigit():
                yield word


def available(program: str) -> str | None:
    """Return where *program* is, looked for as a shell does it, and in the directories of the administrator too."""
    import shutil  # noqa: PLC0415  only a check wants it

    path = os.environ.get("PATH", "")
    return shutil.which(program, path=os.pathsep.join((path, "/usr/sbin", "/sbin", "/usr/local/sbin")))


# ---- ports


def _ports(jail: str, action: ActionConfig, services: Callable[[], frozenset[str]]) -> Iterator[Problem]:
    """Yield ports of a command's action that are none; native actions look at theirs themselves."""
    if action.kind is not ActionKind.COMMAND or "port" not in action.properties:
        return
    for word in filter(None, re.split(r"[\s,]+", action.properties["port"])):
        message = wrong_port(word, services())
        if message is not None:
            yield Problem(Severity.WARNING, message, jail, _place(action))


def wrong_port(word: str, known: Iterable[str]) -> Message | None:
    """Return what is wrong with *word* as a port or a range of ports; None when nothing is."""
    numbers = _PORT.fullmatch(word)
    if numbers is not None:
        low, high = int(numbers[1]), int(numbers[2] or numbers[1])
        if high <= 65535 and low <= high:
            return None
        return tell("port: {word!r} is no port", code="port-unknown", word=word)
    if word.startswith("<") or word.lower() in {"all", "any"}:
        return None
    names = frozenset(known)
    for name in word.split(":"):
        if not name.isdigit() and name not in names:
            return tell(
                "port: no service of the name {name!r} is in /etc/services{hint}",
                code="port-unknown",
                name=name,
                hint=did_you_mean(name, names),
            )
    return None


def read_services(path: str = "/etc/services") -> frozenset[str]:
    """Return the names and aliases in a file in the form of services(5); none when it cannot be read."""
    names: set[str] = set()
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            for line in file:
                words = line.partition("#")[0].split()
                if len(words) > 1:
                    names.update((words[0], *words[2:]))
    except OSError:
        return frozenset()
    return frozenset(names)
