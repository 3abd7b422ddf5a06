"""
A program that writes numbered lines and rotates its log; run by the torture test.

Arguments: log, record file of the reader, number of lines, number of rotations, seconds it should take at least, seed.
"""

from __future__ import annotations

import os
import random
import sys
import time

from support.rotating import RotatingLog
from support.torture_reader import numbers_in


def main(path: str, record: str, lines: int, rotations: int, seconds: float, seed: int) -> None:
    chance = random.Random(seed)
    log = RotatingLog(path, keep=200)
    # Numbers are handed to the writer as text: what stands in memory of it is not needed here.
    rotate_at = sorted(chance.sample(range(1, lines), rotations))
    number = 0
    began = time.monotonic()
    while number < lines:
        stop = min(rotate_at[0] if rotate_at else lines, lines, number + chance.randint(1, 40))
        text = "".join(
            f"{time.time():.3f} app[{chance.randint(1, 9)}]: n={each} {'x' * chance.randint(0, 120)}\n"
            for each in range(number + 1, stop + 1)
        ).encode()
        number = stop
        # In pieces that do not end where lines end.
        cuts = sorted(chance.sample(range(1, len(text)), min(len(text) - 1, chance.randint(0, 3))))
        for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True):
            log.write(text[start:end])
        log.written = b"\n"
        ahead = seconds * number / lines - (time.monotonic() - began)
        if ahead > 0.002:
            time.sleep(ahead)
        if rotate_at and number == rotate_at[0]:
            rotate_at.pop(0)
            rotate(log, chance, record, number)
    log.close()


def rotate(log: RotatingLog, chance: random.Random, record: str, number: int) -> None:
    """Rotate in a way that can be exact: what a dead reader cannot get back is done only when it has caught up."""
    kind = chance.choices(["rename", "gzip", "late", "copytruncate", "delete"], [6, 3, 1, 1, 1])[0]
    if kind == "rename":
        log.rename_create()
    elif kind == "gzip":
        log.rename_create(pack=".gz")
    elif kind == "late":
        # Another process of the program still writes to the old file; numbers continue, as they are told apart.
        log.rename_create(late=b"a line of another process, without number\n")
    else:
        wait_for_reader(record, number)
        if kind == "copytruncate":
            log.copytruncate()
        else:
            log.delete_create()


def wait_for_reader(record: str, number: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if numbers_in(record, last=True) == [number]:
            return
        time.sleep(0.01)
    sys.exit(f"the reader did not come as far as {number}")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5]), int(sys.argv[6]))
    os._exit(0)
