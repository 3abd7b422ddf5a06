"""Tests of banguard.config.action beyond those of whole directories in test_build."""

from __future__ import annotations

from pathlib import Path

import pytest

from banguard.config import load
from banguard.config.schema import ActionConfig

TEXT = """
[Definition]
actionstart = begin <iptables> <name>
actionban = <iptables> -s <ip> -j <blocktype> # <matches>
actionunban =
norestored = true
actionstart_on_demand = false
[Init]
blocktype = REJECT
iptables = iptables <opts>
opts = -w
[Init?family=inet6]
iptables = ip6tables <opts>
"""


@pytest.fixture
def action(tmp_path: Path):
    (tmp_path / "banguard.conf").touch()
    (tmp_path / "action.d").mkdir()
    (tmp_path / "action.d/act.conf").write_text(TEXT)

    def read(brackets: str = "") -> ActionConfig:
        (tmp_path / "jail.conf").write_text(f"[web]\nenabled = true\nfilter =\naction = act{brackets}\n")
        config = load(str(tmp_path))
        assert () == config.errors
        return config.jails["web"].actions[0]

    return read


def test_what_the_configuration_settles_and_what_it_leaves(action) -> None:
    """Static tags are replaced, those of the ban and of the family stay for the run."""
    found = action()
    assert "<iptables> -s <ip> -j REJECT # <matches>" == found.commands["actionban"]
    assert "web" == found.properties["name"]
    assert "ip6tables <opts>" == found.properties["iptables?family=inet6"]
    assert (True, False) == (found.norestored, found.start_on_demand)


def test_brackets_override_parameters_and_definitions(action) -> None:
    """A jail may set a parameter, or even a command."""
    found = action('[blocktype=DROP, actionunban="echo <ip>", actionstart_on_demand=true]')
    assert found.commands["actionban"].endswith("-j DROP # <matches>")
    assert "echo <ip>" == found.commands["actionunban"]
    assert found.start_on_demand is True
