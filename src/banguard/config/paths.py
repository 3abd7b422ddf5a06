"""Where things lie when nobody says otherwise: the names of `banguard.paths`, which the client uses without us."""

from __future__ import annotations

from banguard.paths import (
    LOGFILE,
    default_dbfile,
    default_directory,
    default_pidfile,
    default_socket,
    distribution,
    shipped_directory,
)

__all__ = [
    "LOGFILE",
    "default_dbfile",
    "default_directory",
    "default_pidfile",
    "default_socket",
    "distribution",
    "shipped_directory",
]
