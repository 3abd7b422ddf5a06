"""The samples of the shipped filters: tests/filters/NAME.log (see the README there)."""

from __future__ import annotations

import os

from banguard.cli import samples
from banguard.cli.samples import NOW, Sample, epoch, parse

__all__ = ["CHECKOUT", "CONFIG", "NOW", "SAMPLES", "Sample", "epoch", "escapes", "load", "names", "parse", "path"]

CHECKOUT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CONFIG = os.path.join(CHECKOUT, "config")
SAMPLES = os.path.join(CHECKOUT, "tests", "filters")


def names() -> list[str]:
    """Return the names of the shipped filters; files that others include (`*common.conf`) are none."""
    entries = os.listdir(os.path.join(CONFIG, "filter.d"))
    found = (entry.removesuffix(".conf") for entry in entries if entry.endswith(".conf"))
    return sorted(name for name in found if not name.endswith("common"))


def path(name: str) -> str:
    """Return the file of samples of one filter."""
    return os.path.join(SAMPLES, f"{name}.log")


def load(name: str) -> list[Sample]:
    """Read the samples of one filter."""
    return parse(name, _text(name))


def escapes(name: str) -> dict[str, str]:
    """Return how the service writes chosen text, by kind of field."""
    return samples.escapes(name, _text(name))


def _text(name: str) -> str:
    with open(path(name), encoding="utf-8", newline="\n") as file:
        return file.read()
