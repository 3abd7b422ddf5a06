"""
A program that reads a log as a jail does, and records each block with its position; run and killed by the torture test.

Arguments: source, log (or for `journald` the directory), record file. Each line of the record is one block: numbers and
cursor together, so that a kill leaves both or neither.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import signal
import sys
import threading

from banguard.clock import SystemClock
from banguard.config.schema import LogPath
from banguard.inbox import Inbox
from banguard.model import Candidates, Cursor
from banguard.sources import Subscription, open_source

_NUMBER = re.compile(rb"^(?:\d+\.\d+ )?(?:\S+ )?app\[\d+\]: n=(\d+)(?: x*)?$", re.MULTILINE)


def records_in(path: str) -> list[dict]:
    """Return what is recorded; a last line without its end was never recorded."""
    try:
        with open(path, "rb") as file:
            data = file.read()
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in data.split(b"\n")[:-1]]


def numbers_in(path: str, *, last: bool = False) -> list[int]:
    """Return all numbers recorded, or only the last one."""
    if last:
        try:
            with open(path, "rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - 2_000_000))
                data = file.read().split(b"\n")[:-1]
        except FileNotFoundError:
            return []
        for line in reversed(data[1:] or data):
            try:
                spans = json.loads(line)["numbers"]
            except ValueError:
                return []
            if spans:
                return [spans[-1][1]]
        return []
    return [
        number for record in records_in(path) for first, end in record["numbers"] for number in range(first, end + 1)
    ]


def spans_of(numbers: list[int]) -> list[list[int]]:
    spans: list[list[int]] = []
    for number in numbers:
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    return spans


def main(name: str, log: str, record: str) -> None:
    known = records_in(record)
    cursor = Cursor(**known[-1]["cursor"]) if known else None
    inbox: Inbox[Candidates] = Inbox()
    stop = threading.Event()
    source = open_source(name, clock=SystemClock(), publish=lambda _fact: None)
    resume = {} if cursor is None else {cursor.log: cursor}
    if name == "journald":
        subscription = Subscription(
            "torture",
            inbox,
            resume=resume,
            findtime=3600,
            journalmatch=(("SYSLOG_IDENTIFIER=app",),),
            backend_options={"journalpath": log},
        )
    else:
        subscription = Subscription(
            "torture", inbox, (LogPath(log),), resume=resume, findtime=3600, date_of=date_of, encoding="utf-8"
        )
    source.subscribe(subscription)
    thread = threading.Thread(target=source.run, args=(stop,))
    thread.start()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    # What a kill left of a line is cut off.
    if os.path.exists(record):
        with open(record, "rb+") as file:
            file.truncate(file.read().rfind(b"\n") + 1)
    target = os.open(record, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    while not stop.is_set():
        for candidates in inbox.get_all(0.1):
            block = candidates.block if candidates.spans is None else b""
            numbers = [int(number) for number in _NUMBER.findall(block)]
            text = json.dumps({"numbers": spans_of(numbers), "cursor": dataclasses.asdict(candidates.cursor)})
            os.write(target, text.encode() + b"\n")
    source.wake()
    thread.join()


def date_of(line: str) -> float | None:
    try:
        return float(line.split(" ", 1)[0])
    except ValueError:
        return None


if __name__ == "__main__":
    main(*sys.argv[1:4])
