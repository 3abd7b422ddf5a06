"""A Config as the list of commands that `-d` prints."""

from __future__ import annotations

from banguard.config.schema import Config


def stream(config: Config) -> list[list[object]]:
    """Return the commands, in order, that would set up a server as *config* says: settings, jails, starts."""
    raise NotImplementedError
