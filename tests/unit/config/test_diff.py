"""Tests of banguard.config.diff."""

from __future__ import annotations

from banguard.config import ConfigDiff, diff
from banguard.config.schema import Config, FilterConfig, JailConfig, Place, ServerConfig


def config(*jails: JailConfig, **server) -> Config:
    return Config("/etc/banguard", ServerConfig(**server), {jail.name: jail for jail in jails})


def test_jails_and_settings_that_differ() -> None:
    """Added, changed, removed, and the names of settings."""
    old = config(JailConfig("a"), JailConfig("b"), JailConfig("c"))
    new = config(JailConfig("b", maxretry=9), JailConfig("c"), JailConfig("d"), loglevel="DEBUG")
    assert ConfigDiff(("d",), ("b",), ("a",), ("loglevel",)) == diff(old, new)


def test_where_a_value_stands_is_no_difference() -> None:
    """Comments and moved lines change nothing."""
    old = config(JailConfig("a", places={"maxretry": Place("x", 1)}, filter=FilterConfig(path="x", places={})))
    new = config(
        JailConfig("a", places={"maxretry": Place("y", 2)}, filter=FilterConfig(path="x", places={"x": Place("x", 1)}))
    )
    assert ConfigDiff() == diff(old, new)
