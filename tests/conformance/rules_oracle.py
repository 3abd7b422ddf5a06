"""
Verdicts of the installed fail2ban, asked as a black box, for comparison.

As a module: `Oracle` runs this file under the system's Python (the one fail2ban is installed for) and exchanges JSON
lines with it. As a program: reads requests, writes verdicts; nothing of banguard is imported there.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

PYTHON = "/usr/bin/python3"
ZONE = "Europe/Zurich"
NOW = 1124013600
PATIENCE = 2.0


class Oracle:
    """A fail2ban in another process."""

    def __init__(self, directory: str = "/etc/fail2ban", now: float = NOW, zone: str = ZONE) -> None:
        self._process = subprocess.Popen(
            [PYTHON, os.path.abspath(__file__), directory, str(now), zone],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            encoding="utf-8",
        )

    @staticmethod
    def missing() -> str:
        """Say why no oracle can be had here; empty when one can."""
        if not os.access(PYTHON, os.X_OK):
            return f"{PYTHON} is absent"
        probe = subprocess.run([PYTHON, "-c", "import fail2ban.server.filter"], capture_output=True)
        return "" if probe.returncode == 0 else "no fail2ban is installed"

    def ask(self, request: dict) -> dict:
        """
        Send one request, return its reply.

        A request holds `filter` and `options`, or `rules` (failregex, ignoreregex, prefregex, maxlines, datepattern),
        also `usedns`, and `lines`: a list of `[line, given_time or null]` that one filter instance gets in order. With
        `apart` each line gets an instance of its own. The
        reply holds `verdicts`: per line a list of failures (`id`, `host`, `time`, `user`, `matches`), null when the line
        kept it busy for too long; or `error`.
        """
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        reply = self._process.stdout.readline()
        if not reply:
            raise RuntimeError("the oracle died")
        return json.loads(reply)

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait(timeout=10)
        self._process.stdout.close()

    def __enter__(self):
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _build(request: dict, directory: str):
    from fail2ban.client.filterreader import FilterReader
    from fail2ban.server.filter import Filter

    class Jail:
        name = "oracle"
        database = None
        idle = False

        def getName(self):
            return self.name

    rules = Filter(Jail())
    rules.checkFindTime = False
    rules.setUseDns(request.get("usedns", "raw"))
    own = request.get("rules")
    if own:
        if own.get("maxlines"):
            rules.setMaxLines(own["maxlines"])
        if own.get("prefregex"):
            rules.prefRegex = own["prefregex"]
        for regex in own.get("failregex", ()):
            rules.addFailRegex(regex)
        for regex in own.get("ignoreregex", ()):
            rules.addIgnoreRegex(regex)
        if own.get("datepattern"):
            rules.setDatePattern(own["datepattern"])
        return rules
    reader = FilterReader(request["filter"], "jail", request.get("options") or {}, basedir=directory)
    reader.read()
    reader.getOptions(None)
    if "logtype" not in (request.get("options") or {}) and hasattr(reader, "applyAutoOptions"):
        reader.applyAutoOptions("")
    for command in reader.convert():
        values = command[3] if command[0] == "multi-set" else command[3:]
        for value in values:
            match command[2]:
                case "prefregex":
                    rules.prefRegex = value
                case "addfailregex":
                    rules.addFailRegex(value)
                case "addignoreregex":
                    rules.addIgnoreRegex(value)
                case "maxlines":
                    rules.setMaxLines(value)
                case "datepattern":
                    rules.setDatePattern(value)
                case "usedns":
                    pass
    return rules


class _TooLongError(BaseException):
    """A line that keeps the regexes busy; no Exception, which would be caught on the way."""


def _alarm(_signal: int, _frame: object) -> None:
    raise _TooLongError


def _verdicts(rules, lines) -> list:
    out = []
    for line, given in lines:
        signal.setitimer(signal.ITIMER_REAL, PATIENCE)
        try:
            # A time that is given means a journal line: no date stands in it.
            found = rules.processLine(("", "", line), given) if given is not None else rules.processLine(line)
        except _TooLongError:
            out.append(None)
            continue
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        failures = []
        for item in found:
            _, fid, at, data = item
            failures.append(
                {
                    "id": str(fid),
                    "host": str(data.get("ip4") or data.get("ip6") or data.get("dns") or data.get("fid") or fid),
                    "ip": str(data["ip"]) if data.get("ip") else None,
                    "time": at,
                    "user": data.get("user"),
                    "matches": ["".join(m) if isinstance(m, (tuple, list)) else m for m in data.get("matches", ())],
                }
            )
        out.append(failures)
    return out


def _serve(directory: str, now: float, zone: str) -> None:
    import logging

    signal.signal(signal.SIGALRM, _alarm)
    logging.disable(logging.CRITICAL)
    from fail2ban.server.mytime import MyTime

    os.environ["TZ"] = zone
    import time

    time.tzset()
    MyTime.setTime(now)
    for text in sys.stdin:
        request = json.loads(text)
        try:
            if request.get("apart"):
                verdicts = [_verdicts(_build(request, directory), [line])[0] for line in request["lines"]]
            else:
                verdicts = _verdicts(_build(request, directory), request["lines"])
            reply = {"verdicts": verdicts}
        except Exception as error:
            reply = {"error": f"{type(error).__name__}: {error}"}
        sys.stdout.write(json.dumps(reply, default=str) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _serve(sys.argv[1], float(sys.argv[2]), sys.argv[3])
