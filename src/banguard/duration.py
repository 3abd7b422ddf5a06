"""Read and print durations such as `10m` and `1d`."""

from __future__ import annotations


def parse(text: str) -> int | float:
    """
    Return the seconds that *text* stands for.

    Numbers with units (`1d 12h`, `0.5h`, `1m30`), a bare number being seconds, in sums and products with brackets
    (`1h+30min`, `3*4`). The result is an int where all parts are whole, else a float. Raise ValueError on any other text.
    """
    raise NotImplementedError


def format_duration(seconds: float) -> str:
    """Return *seconds* in words of a log line: `1y 2w 3d`, `1w 2d 3h`, `1d 2h 3m`, `1h 30m`, `5m 10s`, `0`."""
    raise NotImplementedError
