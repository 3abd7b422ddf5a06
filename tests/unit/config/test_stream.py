"""Tests of banguard.config.stream; tests/conformance compares it with the real thing."""

from __future__ import annotations

from banguard.config import stream
from banguard.config.schema import ActionConfig, Config, FilterConfig, JailConfig, LogPath, ServerConfig


def test_a_jail_as_commands() -> None:
    """Added first, regexes one by one or many at once, actions with their properties, started last."""
    jail = JailConfig(
        "web",
        backend="polling",
        filter=FilterConfig(failregex=("^a <HOST>$", "^b <HOST>$"), ignoreregex=("c",)),
        logpath=(LogPath("/none/x.log", tail=True),),
        texts={"backend": "polling"},
        actions=(ActionConfig("act", "act", commands={"actionban": "do <ip>"}, properties={"name": "web"}),),
    )
    commands = stream(Config("/etc/banguard", ServerConfig(), {"web": jail}))
    assert ["add", "web", "polling"] in commands
    assert ["multi-set", "web", "addfailregex", ["^a <HOST>$", "^b <HOST>$"]] in commands
    assert ["set", "web", "addignoreregex", "c"] in commands
    assert ["set", "web", "addaction", "act"] in commands
    assert ["multi-set", "web", "action", "act", [["actionban", "do <ip>"], ["name", "web"]]] in commands
    assert ["start", "web"] == commands[-1]
    assert commands.index(["add", "web", "polling"]) < commands.index(["set", "web", "addaction", "act"])
