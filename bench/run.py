"""
Run the benchmarks, print a table, write bench/results.json.

`python bench/run.py [NAME…]`; without names all. Figures are medians; ratios come from runs taken in turn within this
one call. A peer that is not installed is left out and named. Nothing here fails because something is slow.
"""

from __future__ import annotations

import importlib
import json
import os
import platform
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

BENCHMARKS = ("tester", "live", "kernel", "firewalls", "latency", "rest", "worst")
"""Modules with a function `run() -> list[row]`; a row has what, ours, unit, and maybe peer, theirs, ratio, note."""


def main(names: list[str]) -> int:
    with tempfile.TemporaryDirectory() as directory:
        # Programs that are installed have their bytecode; a checkout may be read-only, or told to write none.
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        os.environ["PYTHONPYCACHEPREFIX"] = directory
        return measure(names)


def measure(names: list[str]) -> int:
    rows: list[dict[str, object]] = []
    for name in names or BENCHMARKS:
        print(f"… {name}", file=sys.stderr, flush=True)
        for row in importlib.import_module(name).run():
            rows.append({"benchmark": name, **row})
            print(line(rows[-1]), flush=True)
    machine = {"python": platform.python_version(), "machine": platform.machine(), "cpus": os.cpu_count()}
    with open(os.path.join(HERE, "results.json"), "w", encoding="utf-8") as file:
        json.dump({"machine": machine, "rows": rows}, file, indent=2)
        file.write("\n")
    return 0


def line(row: dict[str, object]) -> str:
    """Return a row as text: what, our figure, the peer's, and how many times more the peer takes."""
    text = f"{row['what']:<58} {number(row['ours']):>10} {row['unit']:<10}"
    if "theirs" in row:
        text += f" {row['peer']}: {number(row['theirs'])} ({row['ratio']:.1f}x)"
    return f"{text} {row.get('note', '')}".rstrip()


def number(value: object) -> str:
    return f"{value:,.3g}" if isinstance(value, float) and abs(value) < 1000 else f"{value:,.0f}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
