"""Show a configuration, or check it, for server and client alike."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence

from banguard.cli.render import clean
from banguard.config import stream
from banguard.config.schema import Config, Problem, Severity
from banguard.control.protocol import USAGE
from banguard.errors import ControlError
from banguard.message import code_of, in_words, tell

IN_JAIL = "{severity}: [{jail}] {message}"
PLAIN = "{severity}: {message}"
PROPOSED = "    proposal: {proposal}"
GOOD = "OK: configuration test is successful"
BAD = "ERROR: test configuration failed"
COUNTED = "{errors} errors, {warnings} warnings, {notes} notes"
SEVERITIES = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.NOTE: "note"}

MESSAGES = (IN_JAIL, PLAIN, PROPOSED, GOOD, BAD, COUNTED, *SEVERITIES.values())
"""What is said in the language of the operator, beside what is found."""


def dump(config: Config, *, pretty: bool = False, as_json: bool = False) -> int:
    """Print the commands that *config* comes to, its errors on standard error; return the exit status."""
    commands = stream(config)
    if as_json:
        print(json.dumps({"commands": commands}, ensure_ascii=False, indent=2 if pretty else None))
    else:
        for command in commands:
            print(_pretty(command) if pretty else command)
    for problem in config.problems:
        print(clean(str(problem)), file=sys.stderr)
    return 1 if config.errors else 0


def check(
    config: Config,
    *,
    as_json: bool = False,
    quiet: bool = False,
    strict: bool = False,
    language: str | None = None,
    environment: Mapping[str, str] = os.environ,
) -> int:
    """
    Examine everything, print what is wrong and the verdict (`-t`); *quiet* leaves warnings out.

    Return 1 when something is wrong, with *strict* also for a warning. Raise ControlError for an unknown *language*.
    """
    say = voice(language, environment)
    problems = [each for each in find(config) if each.severity is not Severity.NOTE]
    failed = has_failed(problems, strict=strict)
    if as_json:
        print(json.dumps(as_object(problems, say, failed=failed), ensure_ascii=False))
        return 1 if failed else 0
    for problem in problems:
        if not quiet or problem.severity is Severity.ERROR:
            for line in lines_of(problem, say):
                show(line, error=True)
    show(say.words(BAD if failed else GOOD))
    return 1 if failed else 0


def find(config: Config) -> tuple[Problem, ...]:
    """Return all that is wrong with *config* on this machine."""
    # All stages are imported, which neither the server nor other commands of the client should have to wait for.
    from banguard.clock import SystemClock  # noqa: PLC0415
    from banguard.daemon.examine import examine  # noqa: PLC0415
    from banguard.jails.resolver import Resolver  # noqa: PLC0415
    from banguard.run import run  # noqa: PLC0415

    clock = SystemClock()
    resolver = Resolver(clock)
    return examine(config, clock=clock, lookup=resolver.addresses, run=lambda argv: run(argv, timeout=10.0))


def has_failed(problems: Sequence[Problem], *, strict: bool) -> bool:
    """Tell whether *problems* are such that a check fails."""
    bad = {Severity.ERROR, Severity.WARNING} if strict else {Severity.ERROR}
    return any(problem.severity in bad for problem in problems)


class Voice:
    """Says messages in one language."""

    def __init__(self, language: str) -> None:
        self._translate: Callable[[str], str] = str
        if language != "en":
            from banguard.cli.language import translator  # noqa: PLC0415  English costs nothing

            self._translate = translator(language)

    def words(self, template: str, /, **values: object) -> str:
        """Return *template* with *values* in the language; messages among them are translated too."""
        return in_words(tell(template, code="", **values), self._translate)

    def text(self, message: str) -> str:
        """Return a message in the language."""
        return in_words(message, self._translate)


def voice(language: str | None, environment: Mapping[str, str]) -> Voice:
    """Return the voice for the *language* asked for, else for that of the environment; ControlError if unknown."""
    if language is None and not any(environment.get(name) for name in ("LC_ALL", "LC_MESSAGES", "LANG")):
        return Voice("en")
    from banguard.cli.language import choose  # noqa: PLC0415

    try:
        return Voice(choose(language, environment))
    except ValueError as error:
        raise ControlError(str(error), status=USAGE) from None


def lines_of(problem: Problem, say: Voice) -> list[str]:
    """Return *problem* in the language: one line in the form of compilers, and one for its proposal."""
    severity = say.words(SEVERITIES[problem.severity])
    if problem.jail:
        rest = say.words(IN_JAIL, severity=severity, jail=problem.jail, message=problem.message)
    else:
        rest = say.words(PLAIN, severity=severity, message=problem.message)
    place = problem.place
    where = "" if place is None else f"{place.path}:{place.line}: " if place.line else f"{place.path}: "
    lines = [where + rest]
    if problem.proposal:
        lines.append(say.words(PROPOSED, proposal=problem.proposal))
    return lines


def as_object(problems: Sequence[Problem], say: Voice, *, failed: bool) -> dict[str, object]:
    """Return *problems* as what JSON shows."""
    found: dict[str, object] = {"ok": not failed, "problems": [_as_json(problem, say) for problem in problems]}
    errors = [problem for problem in problems if problem.severity is Severity.ERROR]
    if errors:
        found["error"] = "\n".join(str(problem) for problem in errors)
    return found


def show(text: str, *, error: bool = False) -> None:
    """Print a line without what could move a cursor, in the encoding of the terminal."""
    stream_ = sys.stderr if error else sys.stdout
    encoding = stream_.encoding or "ascii"
    print(clean(text).encode(encoding, "backslashreplace").decode(encoding), file=stream_)


def _as_json(problem: Problem, say: Voice) -> dict[str, str | int | None]:
    place = problem.place
    return {
        "severity": problem.severity.value,
        "code": code_of(problem.message) or "other",
        "jail": problem.jail or None,
        "file": place.path if place else None,
        "line": (place.line or None) if place else None,
        "message": say.text(problem.message),
        "proposal": say.text(problem.proposal) or None,
    }


def _pretty(command: Sequence[object]) -> str:
    """Return a command with the values of its last word, when that is a list, on lines of their own."""
    if not command or not isinstance(command[-1], list):
        return str(list(command))
    head = "".join(f"{word!r}, " for word in command[:-1])
    values = ",\n    ".join(repr(value) for value in command[-1])
    return f"[{head}[\n    {values}\n]]" if values else f"[{head}[]]"
