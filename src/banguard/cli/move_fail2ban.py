"""Take over what an administrator changed in a configuration of fail2ban: `banguard-client import /etc/fail2ban`."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from banguard.cli import configuration
from banguard.cli.configuration import Voice, lines_of, show
from banguard.cli.fail2ban_files import Found, Kind, package_sums, survey
from banguard.config import load, load_jail
from banguard.config.expand import names_in
from banguard.config.ini import DEFAULT, INCLUDES, IniFile, Sections, Tree, Value, parse_text
from banguard.config.options import (
    ACTION_OPTIONS,
    CUSTOMARY_VARIABLES,
    FILTER_OPTIONS,
    JAIL_OPTIONS,
    SERVER_OPTIONS,
)
from banguard.config.schema import ActionKind, Config, JailConfig, Place, Problem, Severity
from banguard.control.protocol import REFUSED
from banguard.errors import BanguardError, ConfigError
from banguard.message import Message, code_of, tell
from banguard.paths import shipped_directory

FROM_JAIL_CONF = "jail.d/05-fail2ban-jail.conf"
FROM_SERVER_CONF = "banguard.d/fail2ban.conf"
OWN_FILES = ("socket", "pidfile", "dbfile", "logtarget", "syslogsocket")
"""Settings that name files of fail2ban's own."""

COMPARED = ("maxretry", "findtime", "bantime", "usedns", "ignoreip", "ignoreself")

WRITTEN = "written: {path}"
SAME = "unchanged: {path}"
WOULD = "to be written: {path}"
OPTION = "{place}: [{section}] {option} = {value}"
MEANING = "    {meaning}"
SUMMARY = "{written} files taken over, {left} left out, {stock} are as the package has them"

MESSAGES = (WRITTEN, SAME, WOULD, OPTION, MEANING, SUMMARY)

VARIABLE = tell("a variable: what other options refer to")

_FOREIGN = re.compile(
    r"(?P<path>(?:/var)?/(?:etc|run|lib|log|var/lib|var/log)/fail2ban[\w./-]*)|(?P<program>\bfail2ban-(?:client|server|regex)\b)"
)
_LOG = "/var/log/fail2ban.log"


@dataclass(frozen=True, slots=True)
class OptionLine:
    """One option that the administrator set: where, what, and what it does in banguard."""

    place: Place
    section: str
    option: str
    value: str
    meaning: Message


@dataclass(slots=True)
class Plan:
    """What is to be written (*files*, by name below our directory), and what is to be said of it."""

    files: dict[str, bytes] = field(default_factory=dict)
    modes: dict[str, int] = field(default_factory=dict)
    options: list[OptionLine] = field(default_factory=list)
    remarks: list[Problem] = field(default_factory=list)
    left: int = 0
    stock: int = 0

    def say(self, severity: Severity, message: Message, place: Place | None = None, proposal: str = "") -> None:
        """Keep a remark."""
        self.remarks.append(Problem(severity, message, place=place, proposal=proposal))


def run(
    source: str,
    target: str,
    say: Voice,
    *,
    only_check: bool,
    as_json: bool,
    sums: Mapping[str, str] | None = None,
) -> int:
    """
    Take over what was changed in *source* into *target*; return 1 when something of it cannot work, else 0.

    *sums* are those of `make_plan`. With *only_check* nothing is written. Raise ConfigError when *source* is no
    configuration of fail2ban, or a file of another text is in the way: then nothing was written.
    """
    source, target = os.path.abspath(source), os.path.abspath(target)
    if not os.path.isfile(os.path.join(source, "jail.conf")) and not os.path.isfile(os.path.join(source, "jail.local")):
        raise ConfigError("this directory holds no jail.conf and no jail.local", path=source)
    if os.path.realpath(target) in {os.path.realpath(shipped_directory()), os.path.realpath(source)}:
        raise ConfigError("say where to: --to /etc/banguard", path=target)
    plan = make_plan(source, sums)
    with tempfile.TemporaryDirectory(prefix="banguard-import-") as staging:
        staged = _stage(staging, target, plan)
        _enable(plan, source, staged)
        _write_all(staged, plan)
        _compare(plan, source, staged)
        problems = [_moved(each, staged, target) for each in configuration.find(load(staged))]
    conflicts = [name for name, text in plan.files.items() if _bytes(os.path.join(target, name)) not in {None, text}]
    if conflicts and not only_check:
        names = ", ".join(conflicts)
        raise ConfigError(
            f"there are files with another text ({names}); move them away first, nothing was written", path=target
        )
    for name in conflicts:
        message = tell("there is a file of this name with another text", code="import-conflict")
        plan.say(Severity.ERROR, message, Place(os.path.join(target, name), 0), tell("move it away first"))
    new = [name for name, text in plan.files.items() if _bytes(os.path.join(target, name)) != text]
    if not only_check:
        _write_all(target, replace_files(plan, new))
    shown = [*plan.remarks, *(each for each in problems if each.severity is not Severity.NOTE)]
    failed = any(each.severity is Severity.ERROR for each in shown)
    if as_json:
        print(json.dumps(_as_object(plan, shown, new, say, failed=failed, written=not only_check), ensure_ascii=False))
    else:
        _report(plan, shown, new, say, target=target, written=not only_check)
    return REFUSED if failed else 0


def replace_files(plan: Plan, names: Sequence[str]) -> Plan:
    """Return *plan* with no other files than those of *names*."""
    return replace(plan, files={name: plan.files[name] for name in names})


# ---- the plan


def make_plan(source: str, sums: Mapping[str, str] | None = None) -> Plan:
    """Return what is to be taken over from *source*; *sums* as of `survey` (None: those of this machine)."""
    plan = Plan()
    vendor = Tree(shipped_directory())
    ours = [f"{folder}/{name}.conf" for folder in ("filter.d", "action.d") for name in vendor.names(folder, (".conf",))]
    own: list[Found] = []
    for found in survey(source, package_sums() if sums is None else sums, ours):
        _take(plan, source, found, own)
    for found in own:
        _explain(plan, source, found)
    return plan


def _take(plan: Plan, source: str, found: Found, own: list[Found]) -> None:
    """Put one file into the plan, or say why not."""
    name, path = found.name, os.path.join(source, found.name)
    place = Place(path, 0)
    if found.kind is Kind.STOCK:
        plan.stock += 1
        return
    if found.kind is Kind.UNREAD or (found.kind is Kind.UNKNOWN and name.startswith("paths-")):
        plan.left += 1
        plan.say(Severity.NOTE, tell("left out: it is never read", code="import-unread"), place)
        return
    if found.kind is Kind.UNKNOWN:
        plan.left += 1
        message = tell("left out: nothing tells whether it was changed since it was installed", code="import-unknown")
        plan.say(Severity.NOTE, message, place, tell("if it was, copy it to the same place below banguard's directory"))
        return
    text = _bytes(path)
    if text is None:
        plan.left += 1
        plan.say(Severity.ERROR, tell("left out: it cannot be read", code="import-unreadable"), place)
        return
    stem = name.partition("/")[0]
    if found.kind is Kind.CHANGED and name == "jail.conf":
        _changed_jail_conf(plan, source)
    elif stem in {"fail2ban.conf", "fail2ban.local", "fail2ban.d"}:
        _server_file(plan, source, name, text)
    elif stem.startswith("paths-"):
        plan.left += 1
        message = tell("left out: banguard finds these paths in its own jail.conf", code="import-paths")
        plan.say(Severity.WARNING, message, place, tell("put what you changed into [DEFAULT] of jail.local"))
        return
    else:
        plan.files[name] = text
        mode = os.stat(path).st_mode & 0o777
        if mode & 0o111:
            plan.modes[name] = mode
        if found.kind is Kind.CHANGED:
            message = tell("was changed since it was installed, and is taken over as a whole", code="import-changed")
            plan.say(Severity.NOTE, message, place)
    own.append(found)


def _changed_jail_conf(plan: Plan, source: str) -> None:
    """Take over the options of jail.conf that differ from ours, in [DEFAULT] and in jails that are enabled."""
    file = parse_text((_bytes(os.path.join(source, "jail.conf")) or b"").decode("utf-8", "replace"), "jail.conf")
    ours = Tree(shipped_directory()).read("jail") or Sections()
    known = {*ours.defaults, *(name.rpartition("/")[2] for name in ours.defaults)}
    enabled = load(source).jails
    lines = ["# Options of the jail.conf of fail2ban that differ from banguard's, by banguard-client import."]
    for section, options in file.sections.items():
        if section == INCLUDES or (section != DEFAULT and section not in enabled):
            continue
        kept = []
        for option, value in options.items():
            theirs = ours.value(section, option) if section != DEFAULT else ours.defaults.get(option)
            wanted = option in JAIL_OPTIONS or option in CUSTOMARY_VARIABLES
            if not wanted or option.startswith("action") or (theirs is not None and theirs.text == value.text):
                continue
            if names_in([value]) - known - {section}:
                continue  # it is made of variables that are fail2ban's own
            kept.append(f"{option} = {_indented(value.text)}")
        if kept:
            lines += ["", f"[{section}]", *kept]
    message = tell(
        "was changed since it was installed: what differs from banguard's own jail.conf is taken over as {name}",
        code="import-changed",
        name=FROM_JAIL_CONF,
    )
    plan.say(Severity.NOTE, message, Place(os.path.join(source, "jail.conf"), 0))
    plan.files[FROM_JAIL_CONF] = ("\n".join(lines) + "\n").encode()


def _server_file(plan: Plan, source: str, name: str, text: bytes) -> None:
    """Take over a file of settings of the server, but for the names of files, which stay banguard's own."""
    path = os.path.join(source, name)
    lines = text.decode("utf-8", "replace").splitlines()
    parsed = parse_text("\n".join(lines), path)
    for section, options in parsed.sections.items():
        for option, value in options.items():
            if option in OWN_FILES and section in {"Definition", DEFAULT} and not _is_word(option, value.text):
                for number in (value.line, *value.lines):
                    if not lines[number - 1].startswith("#"):
                        lines[number - 1] = f"# left out: {lines[number - 1]}"
                message = tell(
                    "{option} = {value} is left out: banguard has files of its own",
                    code="import-own-file",
                    option=option,
                    value=value.text,
                )
                plan.say(Severity.NOTE, message, value.place)
    target = "banguard" + name.removeprefix("fail2ban") if name != "fail2ban.conf" else FROM_SERVER_CONF
    plan.files[target] = ("\n".join(lines) + "\n").encode()


def _is_word(option: str, text: str) -> bool:
    return option in {"logtarget", "dbfile", "syslogsocket"} and not text.strip().startswith("/")


# ---- what it means


def _explain(plan: Plan, source: str, found: Found) -> None:
    """Say of each option in one file what it does in banguard, and what in it points to fail2ban."""
    name = found.name
    path = os.path.join(source, name)
    if name == "jail.conf" and FROM_JAIL_CONF in plan.files:
        # Only what was taken of it counts.
        path, text = FROM_JAIL_CONF, plan.files[FROM_JAIL_CONF].decode()
    else:
        text = (_bytes(path) or b"").decode("utf-8", "replace")
    _foreign(plan, path, text)
    if not name.endswith((".conf", ".local")):
        return
    parsed = parse_text(text, path)
    for fault in parsed.faults:
        plan.say(Severity.ERROR, _message(fault.message), Place(fault.path, fault.line))
    folder = name.partition("/")[0]
    kind = {"filter.d": "filter", "action.d": "action"}.get(
        folder, "server" if folder.startswith("fail2ban") else "jail"
    )
    _options(plan, parsed, kind, variables=found.kind is not Kind.CHANGED)


def _options(plan: Plan, parsed: IniFile, kind: str, *, variables: bool) -> None:
    """List the options of a file; without *variables* only those that have a meaning of their own."""
    used = names_in(value for options in parsed.sections.values() for value in options.values())
    for section, options in parsed.sections.items():
        for option, value in options.items():
            meaning = _meaning(kind, section, option, used)
            if not variables and meaning == VARIABLE:
                continue
            plan.options.append(OptionLine(value.place, section, option, _short(value), meaning))


def _meaning(kind: str, section: str, option: str, used: set[str]) -> Message:
    """Return what *option* does in banguard."""
    name = option.partition("?")[0]
    if section == INCLUDES:
        return tell("a file that is read with this one")
    if kind == "server" and name in OWN_FILES:
        return tell("banguard has files of its own")
    tables = {"server": SERVER_OPTIONS, "action": ACTION_OPTIONS, "jail": JAIL_OPTIONS, "filter": JAIL_OPTIONS}
    table = tables[kind]
    if name in table and (kind != "filter" or name in FILTER_OPTIONS):
        return tell(table[name].help)
    if name in used or name in CUSTOMARY_VARIABLES or kind in {"filter", "action"} or section == DEFAULT:
        return VARIABLE
    return tell("banguard does not know it, and nothing in this file refers to it")


def _foreign(plan: Plan, path: str, text: str) -> None:
    """Say where a file names paths or programs of fail2ban."""
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith(("#", ";")):
            continue
        for found in _FOREIGN.finditer(line):
            place = Place(path, number)
            if found["program"]:
                message = tell("it calls {program}", code="import-program", program=found["program"])
                other = found["program"].replace("fail2ban", "banguard")
                plan.say(Severity.WARNING, message, place, tell("the program is {program} now", program=other))
            else:
                message = tell("it names {path}, which is fail2ban's", code="import-path", path=found["path"])
                proposal = tell("the log is {path} now", path="/var/log/banguard.log") if found["path"] == _LOG else ""
                plan.say(Severity.WARNING, message, place, proposal)


# ---- trying it


def _stage(staging: str, target: str, plan: Plan) -> str:
    """Copy *target* to where the plan can be tried, and return that place."""
    staged = os.path.join(staging, "banguard")
    if os.path.isdir(target):
        shutil.copytree(target, staged, symlinks=True)
    else:
        os.mkdir(staged)
    _write_all(staged, plan)
    return staged


def _enable(plan: Plan, source: str, staged: str) -> None:
    """Bring along what enabled jails need of the stock files: that they are enabled, jails and filters we lack."""
    theirs = load(source)
    tree = Tree(staged, shipped_directory())
    ours = tree.read("jail") or Sections()
    lines: list[str] = []
    stock = Tree(source).read("jail") or Sections()
    shipped = Tree(shipped_directory()).read("jail") or Sections()
    for name, jail in theirs.jails.items():
        wanted = [] if _says_enabled(ours, name) else ["enabled = true"]
        if name not in shipped.sections:
            missing = [option for option in stock.own(name) if option not in {"enabled", *ours.own(name)}]
            wanted += [f"{option} = {_indented(_settled(stock.own(name)[option], option, jail))}" for option in missing]
            if missing:
                message = tell("banguard has no jail [{jail}]: yours is taken over", code="import-stock", jail=name)
                plan.say(Severity.NOTE, message)
        if wanted:
            lines += ["", f"[{name}]", *wanted]
        _bring(plan, source, tree, ("filter.d", jail.filter.name), jail.name)
        for action in jail.actions:
            if action.kind is not ActionKind.PYTHON:
                _bring(plan, source, tree, ("action.d", action.file), jail.name)
    if lines:
        before = plan.files.get(FROM_JAIL_CONF, b"# Jails that fail2ban had enabled, by banguard-client import.\n")
        plan.files[FROM_JAIL_CONF] = _joined(before.decode(), lines).encode()


def _joined(before: str, lines: Sequence[str]) -> str:
    """Return *before* with the sections in *lines* added, or their options where the section stands there."""
    text = before.rstrip("\n")
    block: list[str] = []
    for line in (*lines, ""):
        if line:
            block.append(line)
            continue
        if block and f"\n{block[0]}\n" in f"{text}\n":
            text = f"{text}\n".replace(f"\n{block[0]}\n", "\n" + "\n".join(block) + "\n", 1).rstrip("\n")
        elif block:
            text += "\n\n" + "\n".join(block)
        block = []
    return text + "\n"


def _says_enabled(sections: Sections, name: str) -> bool:
    value = sections.value(name, "enabled")
    return value is not None and value.text.strip().lower() in {"1", "on", "true", "yes"}


def _settled(value: Value, option: str, jail: JailConfig) -> str:
    """Return the text of an option of *jail* without variables, which only fail2ban's files have."""
    return jail.texts.get(option, value.text).replace("%", "%%") if "%" in value.text else value.text


def _bring(plan: Plan, source: str, tree: Tree, wanted: tuple[str, str], jail: str) -> None:
    """Take a filter or action of fail2ban (folder and name), with the files it includes, when banguard has none."""
    folder, name = wanted
    if not name or name in tree.names(folder) or f"{folder}/{name}.conf" in plan.files:
        return
    for path in (f"{folder}/{name}.conf", *_includes(source, folder, name)):
        text = _bytes(os.path.join(source, path))
        known = os.path.basename(path).rpartition(".")[0] in tree.names(folder)
        if text is not None and not known:
            plan.files.setdefault(path, text)
    message = tell(
        "banguard has no {name} in {folder}, which [{jail}] uses: yours is taken over",
        code="import-stock",
        name=name,
        folder=folder,
        jail=jail,
    )
    plan.say(Severity.NOTE, message, Place(os.path.join(source, folder, f"{name}.conf"), 0))


def _includes(source: str, folder: str, name: str) -> Iterator[str]:
    """Yield the files that one includes, and those that these include."""
    waiting, seen = [f"{name}.conf"], set()
    while waiting:
        each = waiting.pop()
        text = _bytes(os.path.join(source, folder, each))
        if each in seen or text is None:
            continue
        seen.add(each)
        includes = parse_text(text.decode("utf-8", "replace"), each).sections.get(INCLUDES, {})
        waiting += [word for value in includes.values() for word in value.text.split()]
        if each != f"{name}.conf":
            yield f"{folder}/{each}"


def _compare(plan: Plan, source: str, staged: str) -> None:
    """Say what limits of enabled jails are others in banguard, and which jails are enabled there only."""
    theirs, ours = load(source), load(staged)
    for name, jail in theirs.jails.items():
        mine = ours.jails.get(name)
        if mine is None:
            continue
        for option in COMPARED:
            before, after = getattr(jail, option), getattr(mine, option)
            if before != after:
                message = tell(
                    "[{jail}] {option} was {before} and is {after} now, as banguard's own files say",
                    code="import-differs",
                    jail=name,
                    option=option,
                    before=_word(before),
                    after=_word(after),
                )
                plan.say(Severity.NOTE, message)
    for name in ours.jails:
        if name not in theirs.jails:
            message = tell("[{jail}] is enabled in banguard, and was not before", code="import-differs", jail=name)
            plan.say(Severity.NOTE, message)
    _missing(plan, theirs, ours, staged)


def _missing(plan: Plan, theirs: Config, ours: Config, staged: str) -> None:
    for name in theirs.jails:
        if name in ours.jails or any(problem.jail == name for problem in ours.errors):
            continue
        try:
            load_jail(staged, name)
            reason = tell("it is not enabled there")
        except BanguardError as error:
            reason = tell("{reason}", reason=str(error))
        message = tell("[{jail}] does not run in banguard: {reason}", code="import-lost", jail=name, reason=reason)
        plan.say(Severity.ERROR, message)


# ---- telling


def _report(
    plan: Plan, shown: Iterable[Problem], new: Sequence[str], say: Voice, *, target: str, written: bool
) -> None:
    for each in plan.options:
        where = f"{each.place.path}:{each.place.line}"
        show(say.words(OPTION, place=where, section=each.section, option=each.option, value=each.value))
        show(say.words(MEANING, meaning=each.meaning))
    for problem in shown:
        for line in lines_of(problem, say):
            show(line)
    for name in plan.files:
        words = SAME if name not in new else WRITTEN if written else WOULD
        show(say.words(words, path=os.path.join(target, name)))
    show(say.words(SUMMARY, written=len(plan.files), left=plan.left, stock=plan.stock))


def _as_object(
    plan: Plan, shown: Sequence[Problem], new: Sequence[str], say: Voice, *, failed: bool, written: bool
) -> dict[str, object]:
    options = [
        {
            "file": each.place.path,
            "line": each.place.line,
            "section": each.section,
            "option": each.option,
            "value": each.value,
            "meaning": say.text(each.meaning),
        }
        for each in plan.options
    ]
    return {
        **configuration.as_object(shown, say, failed=failed),
        "kind": "fail2ban",
        "options": options,
        "files": list(plan.files),
        "written": list(new) if written else [],
        "left_out": plan.left,
        "stock": plan.stock,
    }


def _moved(problem: Problem, staged: str, target: str) -> Problem:
    """Return *problem* with the place where its file will be."""
    place = problem.place
    if place is None or not place.path.startswith(staged):
        return problem
    return replace(problem, place=Place(target + place.path.removeprefix(staged), place.line))


def _write_all(directory: str, plan: Plan) -> None:
    for name, text in plan.files.items():
        path = os.path.join(directory, name)
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as file:
                file.write(text)
            if name in plan.modes:
                os.chmod(path, plan.modes[name])
        except OSError as error:
            raise ConfigError(f"cannot be written: {error.strerror}", path=path) from None


def _bytes(path: str) -> bytes | None:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return None


def _message(text: str) -> Message:
    return text if isinstance(text, Message) and code_of(text) else tell("{reason}", code="other", reason=text)


def _indented(text: str) -> str:
    return text.replace("\n", "\n    ")


def _short(value: Value) -> str:
    text = " ".join(value.text.split())
    return text if len(text) <= 80 else text[:77] + "..."


def _word(value: object) -> str:
    if isinstance(value, tuple):
        return " ".join(map(str, value)) or "-"
    return f"{value:g}" if isinstance(value, float) else str(value)
