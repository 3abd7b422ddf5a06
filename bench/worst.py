"""The dearest line of 64 KiB for each shipped filter."""

from __future__ import annotations

import os
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "tests"))

from support import samples, worst_lines  # noqa: E402  the samples belong to the tests

SECONDS = 45.0
FILLINGS = ("a", " ", "1.", "(", "from ", "::")


def run():
    deadline = time.monotonic() + SECONDS
    found = []
    left_out = []
    for name in samples.names():
        if time.monotonic() > deadline or not os.path.exists(os.path.join(samples.SAMPLES, f"{name}.log")):
            left_out.append(name)
            continue
        rules, lines = worst_lines.of_shipped(name)
        seconds, label = worst_lines.dearest(rules, lines[:1], fillings=FILLINGS, places=3)
        found.append((seconds * 1000, name, label))
    milliseconds, name, label = max(found)
    slow = sum(each[0] > 10 for each in found)
    note = f"{name}, {label}; {slow} of {len(found)} filters above 10 ms"
    if left_out:
        note += f"; no time for {len(left_out)} filters"
    yield {"what": "dearest line of 64 KiB, all shipped filters", "ours": milliseconds, "unit": "ms", "note": note}
