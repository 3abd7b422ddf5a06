"""
The date detection of an installed fail2ban, asked as a black box in a process of its own.

Run as a script by the Python that can import fail2ban, it answers one JSON line per request; imported, it offers
`Oracle`, which starts that process and asks it. Every request is `{"op": …}`:

- `detector`: `pattern`, `timezone`, `any_year` → `{"id", "names"}` or `{"error"}`;
- `find`: `id`, `items` (list of `[line, now]`) → list of null or `[start, end, time, index, name]`;
- `hits`: `id` → list of `[name, hits]` in the present order.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

PYTHON = "/usr/bin/python3"


class Oracle:
    """A running oracle process; `close` it."""

    def __init__(self, zone: str, any_year: bool = False, python: str = PYTHON) -> None:
        environment = {**os.environ, "TZ": zone, "PYTHONDONTWRITEBYTECODE": "1"}
        environment.pop("PYTHONPATH", None)
        self._process = subprocess.Popen(
            [python, __file__, "any" if any_year else "near"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            cwd="/",
        )

    def ask(self, **request: object) -> object:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request).encode() + b"\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError("the oracle process ended")
        return json.loads(answer)

    def detector(self, pattern: str | None, timezone: str | None = None) -> int:
        """Number of a new detector; ValueError when the oracle refuses it."""
        answer = self.ask(op="detector", pattern=pattern, timezone=timezone)
        assert isinstance(answer, dict)
        if "error" in answer:
            raise ValueError(answer["error"])
        return int(answer["id"])

    def find(self, detector: int, items: list[tuple[str, float]]) -> list:
        answer = self.ask(op="find", id=detector, items=items)
        assert isinstance(answer, list)
        return answer

    def hits(self, detector: int) -> list:
        answer = self.ask(op="hits", id=detector)
        assert isinstance(answer, list)
        return answer

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=10)
        self._process.stdout.close()


def missing(python: str = PYTHON) -> str:
    """Why there is no oracle here; empty when there is one."""
    if not os.access(python, os.X_OK):
        return f"{python} is not there"
    probe = subprocess.run([python, "-c", "import fail2ban.server.datedetector"], capture_output=True, cwd="/")
    return "" if probe.returncode == 0 else f"{python} cannot import fail2ban"


def serve() -> None:
    from fail2ban.server.filter import Filter
    from fail2ban.server.mytime import MyTime

    if sys.argv[1] == "any":
        from fail2ban.server.strptime import _updateTimeRE

        MyTime.setAlternateNow(0)
        _updateTimeRE()
    detectors = []
    for request in sys.stdin:
        asked = json.loads(request)
        answer: object
        if asked["op"] == "detector":
            owner = Filter(None)
            try:
                if asked["timezone"] is not None:
                    owner.setLogTimeZone(asked["timezone"])
                if asked["pattern"] is not None:
                    owner.setDatePattern(asked["pattern"])
                answer = {"id": len(detectors)}
                detectors.append(owner.dateDetector)
            except Exception as error:
                answer = {"error": repr(error)}
        elif asked["op"] == "find":
            answer = [_find(detectors[asked["id"]], MyTime, line, now) for line, now in asked["items"]]
        else:
            answer = [[item.template.name, item.hits] for item in detectors[asked["id"]].templates]
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def _find(detector, clock, line, now):
    clock.setTime(now)
    try:
        match, template = detector.matchTime(line)
        if not match:
            return None
        start, end = match.span(1)
    except Exception as error:
        return ["error", repr(error), None, None]
    try:
        read = detector.getTime(line, (match, template))
        time = None if read is None else read[0]
    except Exception as error:
        time = repr(error)
    return [start, end, time, template.name]


if __name__ == "__main__":
    serve()
