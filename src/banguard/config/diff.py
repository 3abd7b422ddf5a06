"""Compare two Configs: jails added, changed, removed."""

from __future__ import annotations

from dataclasses import dataclass

from banguard.config.schema import Config


@dataclass(frozen=True, slots=True)
class ConfigDiff:
    """Names of jails in the order of their Config; *server* names the fields of ServerConfig that differ."""

    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    server: tuple[str, ...] = ()


def diff(old: Config, new: Config) -> ConfigDiff:
    """Return what is different in *new*; where a value stands (file, line) is no difference."""
    raise NotImplementedError
