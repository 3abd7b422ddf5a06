"""The files of the package are told from those of the administrator, by dpkg's records."""

from __future__ import annotations

import hashlib

import pytest

from banguard.cli.fail2ban_files import Found, Kind, package_sums, survey
from banguard.errors import ConfigError


def digest(text):
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def test_the_records_of_dpkg(tmp_path):
    """Configuration files stand in `status`, those of other packages and fields are none of ours."""
    (tmp_path / "info").mkdir()
    (tmp_path / "info" / "fail2ban.md5sums").write_text(f"{'b' * 32}  etc/fail2ban/x.sh\n{'c' * 32}  usr/bin/y\n")
    (tmp_path / "status").write_text(
        f"Package: other\nConffiles:\n /etc/fail2ban/no {'0' * 32}\nStatus: x\n\n"
        f"Package: fail2ban\nStatus: install ok installed\nConffiles:\n /etc/fail2ban/jail.conf {'a' * 32}\n"
        f" /etc/fail2ban/filter.d/old.conf {'d' * 32} obsolete\n /etc/logrotate.d/fail2ban {'e' * 32}\nDescription: x\n"
        f" /etc/fail2ban/description {'0' * 32}\n"
    )
    assert {"jail.conf": "a" * 32, "filter.d/old.conf": "d" * 32, "x.sh": "b" * 32} == package_sums(str(tmp_path))
    assert {} == package_sums(str(tmp_path / "none"))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("jail.conf", Kind.STOCK),
        ("filter.d/sshd.conf", Kind.CHANGED),
        ("jail.local", Kind.OWN),
        ("filter.d/own.conf", Kind.OWN),
        ("filter.d/scripts/own", Kind.OWN),
        ("action.d/own.py", Kind.OWN),
        ("filter.d/own.py", Kind.UNREAD),
        ("filter.d/own.conf.bak", Kind.UNREAD),
        ("jail.d/.hidden.conf", Kind.UNREAD),
        ("README", Kind.UNREAD),
    ],
)
def test_kinds(tmp_path, name, kind):
    """By name and sum."""
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("stock")
    sums = {"jail.conf": digest("stock"), "filter.d/sshd.conf": digest("other")}
    assert [Found(name, kind)] == survey(str(tmp_path), sums, ())


def test_without_records_nothing_is_guessed(tmp_path):
    """What may be the package's is unknown; what can only be the administrator's is that."""
    for name in ("jail.conf", "jail.local", "filter.d/sshd.conf", "filter.d/own.conf"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    found = {each.name: each.kind for each in survey(str(tmp_path), {}, ["filter.d/sshd.conf"])}
    assert {
        "jail.conf": Kind.UNKNOWN,
        "filter.d/sshd.conf": Kind.UNKNOWN,
        "jail.local": Kind.OWN,
        "filter.d/own.conf": Kind.OWN,
    } == found


def test_a_directory_that_is_not_there(tmp_path):
    """It is an error with the path."""
    with pytest.raises(ConfigError, match="none"):
        survey(str(tmp_path / "none"), {}, ())
