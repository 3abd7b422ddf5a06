"""The one table of options: name, parser, default, help text."""

from __future__ import annotations


def parse_option(name: str, text: str) -> object:
    """Return the value of jail option *name* given as *text*, typed as its field in `JailConfig`; raise ValueError."""
    raise NotImplementedError
