"""
The date detection of an installed fail2ban, asked as a black box in a process of its own.

Run as a script by the Python that can import fail2ban, it answers one JSON line per request; imported, it offers
`Oracle`, which starts that process and asks it. Its clock is the *now* of each request. Requests are `{"op": …}`:

- `detector`: `pattern`, `timezone` → `{"id"}` or `{"error"}`;
- `find`: `id`, `items` (list of `[line, now]`) → list of null or `[start, end, time, name]`; time is a text when
  reading the date raised;
- `order`: `id` → list of `[name, hits]` in the present order.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import types

PYTHON = "/usr/bin/python3"


class Oracle:
    """A running oracle process in time zone *zone*; the years it takes are those of the real now; `close` it."""

    def __init__(self, zone: str, python: str = PYTHON) -> None:
        environment = {**os.environ, "TZ": zone, "PYTHONDONTWRITEBYTECODE": "1"}
        environment.pop("PYTHONPATH", None)
        self._process = subprocess.Popen(
            [python, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            cwd="/",
        )

    def _ask(self, **request: object):
        self._process.stdin.write(json.dumps(request).encode() + b"\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError("the oracle process ended")
        return json.loads(answer)

    def detector(self, pattern: str | None, timezone: str | None = None) -> int:
        """Number of a new detector; ValueError when the oracle refuses it."""
        answer = self._ask(op="detector", pattern=pattern, timezone=timezone)
        if "error" in answer:
            raise ValueError(answer["error"])
        return answer["id"]

    def find(self, detector: int, items: list[tuple[str, float]]) -> list:
        return self._ask(op="find", id=detector, items=items)

    def order(self, detector: int) -> list:
        return self._ask(op="order", id=detector)

    def close(self) -> None:
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
    from fail2ban.server import datedetector
    from fail2ban.server.filter import Filter
    from fail2ban.server.mytime import MyTime

    datedetector.time = types.SimpleNamespace(time=MyTime.time)
    # Weights of templates depend there on whether the defaults were ever used in the process, as they are by any server.
    Filter(None).dateDetector.matchTime("no date")
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
    except Exception as error:
        return ["error", repr(error), None, None]
    if not match:
        return None
    try:
        read = detector.getTime(line, (match, template))
        time = None if read is None else read[0]
    except Exception as error:
        time = repr(error)
    return [*match.span(1), time, template.name]


if __name__ == "__main__":
    serve()
