"""Compare two Configs: jails added, changed, removed."""

from __future__ import annotations

from dataclasses import dataclass, fields

from banguard.config.schema import Config, ServerConfig


@dataclass(frozen=True, slots=True)
class ConfigDiff:
    """Names of jails in the order of their Config; *server* names the fields of ServerConfig that differ."""

    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    server: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.removed or self.server)


def diff(old: Config, new: Config) -> ConfigDiff:
    """Return what is different in *new*; how a value is written and where it stands is no difference."""
    return ConfigDiff(
        added=tuple(name for name in new.jails if name not in old.jails),
        changed=tuple(name for name, jail in new.jails.items() if name in old.jails and old.jails[name] != jail),
        removed=tuple(name for name in old.jails if name not in new.jails),
        server=tuple(
            entry.name
            for entry in fields(ServerConfig)
            if getattr(old.server, entry.name) != getattr(new.server, entry.name)
        ),
    )
