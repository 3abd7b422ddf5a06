"""The slow twin of all prefilters, and which engines are there."""

from __future__ import annotations

import importlib
from collections.abc import Sequence

from banguard.matching.prefilter import ENGINES, Spans, Wanted


def engines() -> list[str]:
    """Return the engines that can be used here."""
    found = []
    for name, place in ENGINES.items():
        try:
            importlib.import_module(place.partition(":")[0])
        except ImportError:
            continue
        found.append(name)
    return found


def look_at_each_line(wanted: Sequence[Wanted], block: bytes) -> list[Spans]:
    """Do as a scanner does, one line after the other."""
    found: list[list[tuple[int, int]]] = [[] for _ in wanted]
    start = 0
    for line in block.split(b"\n"):
        lower = line.lower()
        for spans, (any_of, and_of) in zip(found, wanted, strict=True):
            if any(each in lower for each in any_of) and (not and_of or any(each in lower for each in and_of)):
                spans.append((start, start + len(line)))
        start += len(line) + 1
    return [tuple(spans) for spans in found]
