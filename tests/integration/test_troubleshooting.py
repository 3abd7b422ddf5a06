"""Every command that docs/troubleshooting.md shows can be run as it stands there."""

from __future__ import annotations

import os
import re
import shlex

import pytest

from banguard.cli.client import main
from support.memory_server import MemoryServer, serving
from support.samples import CHECKOUT, CONFIG

with open(os.path.join(CHECKOUT, "docs", "troubleshooting.md"), encoding="utf-8") as page:
    TEXT = page.read()
COMMANDS = sorted(
    {line for block in re.findall(r"^```sh\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL) for line in block.splitlines()}
    | set(re.findall(r"\| `(banguard-client [^`]+)` \|", TEXT))
)


def test_there_are_some():
    """Each symptom has a command, and each has a section."""
    assert len(COMMANDS) > 12
    anchors = re.findall(r"\]\(#([^)]+)\)", TEXT)
    sections = {
        re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in re.findall(r"^## (.+)$", TEXT, re.M)
    }
    assert set(anchors) <= sections


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_runs(command, tmp_path, capsys, monkeypatch):
    """With a server that has the jail: it is understood, and answered without an error of usage."""
    monkeypatch.setenv("BANGUARD_CONFIG", CONFIG)
    log = tmp_path / "auth.log"
    log.write_text("Nov 21 07:44:08 web1 sshd[811]: Failed password for root from 192.0.2.1 port 22 ssh2\n")
    path = tmp_path / "s"
    words = shlex.split(command.replace("/var/log/auth.log", str(log)))
    assert "banguard-client" == words[0]
    with serving(MemoryServer().with_jail("sshd"), path):
        monkeypatch.setenv("BANGUARD_SOCKET", str(path))
        status = main(words[1:])
    said = capsys.readouterr()
    assert status in (0, 1), said.err
    assert (said.out + said.err).strip()
    assert "NOK" not in said.err
