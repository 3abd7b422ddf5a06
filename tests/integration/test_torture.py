"""
A program writes numbered lines and rotates its log, the reader is killed again and again: every number comes once.

Sizes come from the environment: BANGUARD_TORTURE_LINES, BANGUARD_TORTURE_ROTATIONS, BANGUARD_TORTURE_SECONDS,
BANGUARD_TORTURE_SEED.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable

import pytest

from support.journal import PrivateJournal, why_no_binding, why_no_journald
from support.torture_reader import numbers_in

HERE = os.path.dirname(os.path.abspath(__file__))
SUPPORT = os.path.join(os.path.dirname(HERE), "support")
LINES = int(os.environ.get("BANGUARD_TORTURE_LINES", "20000"))
ROTATIONS = int(os.environ.get("BANGUARD_TORTURE_ROTATIONS", "50"))
SECONDS = float(os.environ.get("BANGUARD_TORTURE_SECONDS", "4"))
SEED = int(os.environ.get("BANGUARD_TORTURE_SEED", "0"))
LIMIT = 60 + 6 * SECONDS


def start(name: str, *arguments: object) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": os.path.dirname(SUPPORT)}
    return subprocess.Popen(
        [sys.executable, os.path.join(SUPPORT, f"{name}.py"), *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=environment,
    )


def end(process: subprocess.Popen[bytes], how: int) -> bytes:
    process.send_signal(how)
    _, errors = process.communicate(timeout=20)
    return errors


def run_and_kill(reader: tuple[object, ...], start_writer: Callable[[], subprocess.Popen[bytes]], total: int) -> int:
    """Keep a reader running, killing it now and then, until the writer is done and all is recorded; count the kills."""
    chance = random.Random(SEED)
    kills = 0
    record = str(reader[-1])
    reading = start("torture_reader", *reader)
    deadline = time.monotonic() + LIMIT
    while not os.path.exists(record) or not os.path.getsize(record):
        assert reading.poll() is None, reading.communicate()[1]
        time.sleep(0.01)
    writer = start_writer()
    try:
        while writer.poll() is None and time.monotonic() < deadline:
            time.sleep(chance.uniform(0.2, 0.9))
            if writer.poll() is None:
                end(reading, signal.SIGKILL)
                kills += 1
                time.sleep(chance.choice([0, 0, 0.1, 0.3]))
                reading = start("torture_reader", *reader)
        _, complaint = writer.communicate(timeout=10)
        assert writer.returncode == 0, complaint
        while numbers_in(record, last=True) != [total] and time.monotonic() < deadline:
            assert reading.poll() is None, reading.communicate()[1]
            time.sleep(0.05)
        time.sleep(0.5)
    finally:
        errors = end(reading, signal.SIGTERM)
        if writer.poll() is None:
            end(writer, signal.SIGKILL)
    assert errors == b""
    return kills


def check(record: str, total: int) -> None:
    numbers = numbers_in(record)
    seen = Counter(numbers)
    lost = [number for number in range(1, total + 1) if number not in seen]
    assert lost == []
    assert [number for number, count in seen.items() if count > 1] == []
    assert numbers == sorted(numbers)
    assert set(seen) == set(range(1, total + 1))


@pytest.mark.timeout(LIMIT + 60)
@pytest.mark.parametrize("source", ["polling", "inotify"])
def test_every_number_once(source, tmp_path):
    """Renamed, compressed, copied and truncated, deleted; killed at any time: each line is seen once, in order."""
    log, record = str(tmp_path / "app.log"), str(tmp_path / "record")
    seed = SEED or random.randrange(10**6)
    print("seed", seed)
    open(log, "wb").close()
    kills = run_and_kill(
        (source, log, record),
        lambda: start("torture_writer", log, record, LINES, ROTATIONS, SECONDS, seed),
        LINES,
    )
    print(f"{LINES} lines, {ROTATIONS} rotations, {kills} kills")
    check(record, LINES)
    assert kills > 0


@pytest.mark.timeout(LIMIT + 60)
@pytest.mark.skipif(bool(why_no_journald()), reason=why_no_journald())
@pytest.mark.skipif(bool(why_no_binding()), reason=why_no_binding())
def test_every_journal_entry_once(tmp_path):
    """The journal is rotated and vacuumed, the reader killed: each entry is seen once, in order."""
    chance = random.Random(SEED or random.randrange(10**6))
    record = str(tmp_path / "record")
    kills = rotations = vacuums = 0
    with PrivateJournal(str(tmp_path)) as journal:
        # The first entry gives the reader a position: what comes later it must not lose.
        journal.send(MESSAGE="n=1", SYSLOG_IDENTIFIER="app", SYSLOG_PID="1")
        reader = ("journald", str(tmp_path / "log"), record)
        reading = start("torture_reader", *reader)
        try:
            number = 1
            steps = sorted(chance.sample(range(2, LINES), 40))
            while number < LINES:
                stop = steps.pop(0) if steps else LINES
                while number < stop:
                    number += 1
                    journal.send(MESSAGE=f"n={number}", SYSLOG_IDENTIFIER="app", SYSLOG_PID=str(number % 9 + 1))
                step = chance.choices(["rotate", "vacuum", "kill"], [5, 1, 3])[0]
                if step == "rotate":
                    journal.rotate()
                    rotations += 1
                elif step == "kill":
                    end(reading, signal.SIGKILL)
                    kills += 1
                    reading = start("torture_reader", *reader)
                else:
                    wait_until_recorded(record, number, reading)
                    journal.rotate()
                    journal.vacuum()
                    vacuums += 1
            wait_until_recorded(record, LINES, reading)
            time.sleep(1)
        finally:
            errors = end(reading, signal.SIGTERM)
    print(f"{LINES} entries, {rotations} rotations, {vacuums} vacuums, {kills} kills")
    assert errors == b""
    check(record, LINES)


def wait_until_recorded(record: str, number: int, reading: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    while numbers_in(record, last=True) != [number]:
        assert reading.poll() is None, reading.communicate()[1]
        assert time.monotonic() < deadline, f"{number} is not recorded"
        time.sleep(0.05)
