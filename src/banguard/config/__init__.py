"""From INI files to one immutable Config."""

from __future__ import annotations

from banguard.config.build import load, load_filter, load_jail, load_server
from banguard.config.diff import ConfigDiff, diff
from banguard.config.options import parse_option
from banguard.config.paths import default_directory
from banguard.config.stream import stream

__all__ = [
    "ConfigDiff",
    "default_directory",
    "diff",
    "load",
    "load_filter",
    "load_jail",
    "load_server",
    "parse_option",
    "stream",
]
