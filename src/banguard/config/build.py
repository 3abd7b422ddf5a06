"""Sections to dataclasses; collects every error before giving up."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from banguard.config.schema import Config, FilterConfig, JailConfig, ServerConfig

_NONE: Mapping[str, str] = {}


def load(directory: str, *, overrides: Mapping[str, str] = _NONE, only: Collection[str] | None = None) -> Config:
    """
    Read the whole configuration in *directory*.

    *overrides* are values of the command line for the server (`socket`, `loglevel`, …), *only* names the jails to read
    (None: all that are enabled). Bad content never raises: it is in `Config.problems`. Raise ConfigError when
    *directory* does not exist.
    """
    raise NotImplementedError


def load_server(directory: str, *, overrides: Mapping[str, str] = _NONE) -> ServerConfig:
    """Read the settings of the server alone: for a client that looks for its socket. Raise ConfigError as `load`."""
    raise NotImplementedError


def load_filter(
    directory: str, spec: str, options: Mapping[str, str] = _NONE, *, backend: str = "auto"
) -> FilterConfig:
    """
    Read one filter: *spec* is a name with options (`sshd[mode=aggressive]`) or the path of a file.

    *options* are variables a jail would give it; *backend* decides `logtype` as in a jail. Raise ConfigError when the
    filter is unknown or cannot be expanded.
    """
    raise NotImplementedError


def load_jail(directory: str, name: str) -> JailConfig:
    """Read jail *name* as if it were enabled; raise ConfigError when it is unknown or broken."""
    raise NotImplementedError
