"""Tests of banguard.actions.hostsdeny; with a real sshd in tests/system."""

from __future__ import annotations

import os

import pytest

from banguard.actions.base import Step
from banguard.actions.hostsdeny import HostsdenyAction
from banguard.errors import ActionError
from banguard.model import Ban


def ban(host):
    return Ban("sshd", host, 1000.0, None)


def test_lines(tmp_path):
    """IPv6 stands in brackets, IPv4 networks have a mask; what others wrote, and the rights of the file, stay."""
    path = tmp_path / "hosts.deny"
    path.write_text("# mine\nALL: 203.0.113.5")
    path.chmod(0o604)
    made = HostsdenyAction({})
    made.join("m", {"file": str(path), "daemon_list": "sshd, vsftpd"}, [ban("192.0.2.1")], 1000.0)
    made.apply([Step("m", host, None, ban(host)) for host in ("2001:db8::1", "2001:db8::/64", "10.0.0.0/9")], 1000.0)
    assert [
        "# mine",
        "ALL: 203.0.113.5",
        "sshd, vsftpd: 192.0.2.1 # banguard",
        "sshd, vsftpd: [2001:db8::1] # banguard",
        "sshd, vsftpd: [2001:db8::]/64 # banguard",
        "sshd, vsftpd: 10.0.0.0/255.128.0.0 # banguard",
    ] == path.read_text().splitlines()
    assert 0o604 == path.stat().st_mode & 0o777
    made.leave("m")
    assert "# mine\nALL: 203.0.113.5\n" == path.read_text()
    assert ["hosts.deny"] == os.listdir(tmp_path)


def test_a_file_that_is_not_there_is_made(tmp_path):
    """The first ban makes the file."""
    path = tmp_path / "hosts.deny"
    made = HostsdenyAction({})
    made.join("m", {"file": str(path)}, [ban("192.0.2.1")], 1000.0)
    assert "ALL: 192.0.2.1 # banguard\n" == path.read_text()


def test_a_planted_link_is_not_followed(tmp_path):
    """Somebody who puts a link where the new file is written gains nothing."""
    path, victim = tmp_path / "hosts.deny", tmp_path / "victim"
    victim.write_text("untouched")
    (tmp_path / "hosts.deny.banguard-new").symlink_to(victim)
    HostsdenyAction({}).join("m", {"file": str(path)}, [ban("192.0.2.1")], 1000.0)
    assert "untouched" == victim.read_text()
    assert "192.0.2.1" in path.read_text()


@pytest.mark.parametrize(
    ("option", "text"), [("file", "hosts.deny"), ("file", "/a\nb"), ("daemon_list", "ALL: x"), ("daemon_list", "a#b")]
)
def test_what_cannot_be_meant_is_refused(option, text):
    """A bad property is named."""
    with pytest.raises(ActionError, match=option):
        HostsdenyAction.verify({option: text})
