"""Show a configuration, or check it, for server and client alike."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

from banguard.cli.render import clean
from banguard.config import stream
from banguard.config.schema import Config, Problem, Severity


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


def check(config: Config, *, as_json: bool = False, quiet: bool = False) -> int:
    """Compile and render everything, print what is wrong and the verdict; *quiet* leaves warnings out."""
    from banguard.daemon.check import check as find  # noqa: PLC0415  imports all stages

    problems = find(config)
    errors = [problem for problem in problems if problem.severity is Severity.ERROR]
    if as_json:
        found: dict[str, object] = {"ok": not errors, "problems": [_as_json(problem) for problem in problems]}
        if errors:
            found["error"] = "\n".join(str(problem) for problem in errors)
        print(json.dumps(found, ensure_ascii=False))
        return 1 if errors else 0
    for problem in errors if quiet else problems:
        print(clean(str(problem)), file=sys.stderr)
    print("ERROR: test configuration failed" if errors else "OK: configuration test is successful")
    return 1 if errors else 0


def _as_json(problem: Problem) -> dict[str, str | int | None]:
    place = problem.place
    return {
        "severity": problem.severity.value,
        "jail": problem.jail or None,
        "file": place.path if place else None,
        "line": place.line if place else None,
        "message": problem.message,
    }


def _pretty(command: Sequence[object]) -> str:
    """Return a command with the values of its last word, when that is a list, on lines of their own."""
    if not command or not isinstance(command[-1], list):
        return str(list(command))
    head = "".join(f"{word!r}, " for word in command[:-1])
    values = ",\n    ".join(repr(value) for value in command[-1])
    return f"[{head}[\n    {values}\n]]" if values else f"[{head}[]]"
