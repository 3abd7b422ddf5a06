"""Logs that cannot be read, are not written, or whose dates mislead are told of."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from pathlib import Path

import pytest

from banguard.config.schema import FilterConfig, JailConfig, LogPath
from banguard.daemon.check_logs import check_logs, last_lines
from banguard.daemon.parts import make_rules
from banguard.message import code_of

NOW = 1_700_000_000.0


def stamp(at):
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))


@pytest.fixture
def log(tmp_path):
    """Return how to write a log: the dates of its lines, and when it was last written."""

    def write(*times, written=NOW, form="{} login of root from 192.0.2.1 failed\n", name="auth.log"):
        path = tmp_path / name
        path.write_text("".join(form.format(stamp(at)) for at in times))
        os.utime(path, (written, written))
        return str(path)

    return write


def found(*patterns, datepattern=None, **options):
    jail = JailConfig(
        "sshd",
        logpath=tuple(LogPath(pattern) for pattern in patterns),
        filter=FilterConfig(failregex=("^ login .* <HOST>",), datepattern=datepattern),
        **options,
    )
    problems = check_logs(jail, make_rules(jail, journal=False), NOW)
    return [(code_of(each.message), each.proposal) for each in problems]


def test_a_log_that_is_right(log):
    """Nothing is said of it, whatever the zone of this machine."""
    assert [] == found(log(NOW - 90, NOW - 2))


@pytest.mark.parametrize(
    ("hours", "zone", "proposal"),
    [
        (-2, "UTC", "logtimezone = UTC-02:00"),
        (5.75, "UTC", "logtimezone = UTC+05:45"),
        (1, "UTC+0200", "logtimezone = UTC+03:00"),
        (-2, "UTC+0200", "logtimezone = UTC"),
    ],
)
def test_a_log_in_another_zone(tmp_path, hours, zone, proposal):
    """Dates that are whole quarters of an hour off what the file says are told of, with the zone they are in."""
    path = tmp_path / "auth.log"
    offset = 7200 if zone == "UTC+0200" else 0
    shown = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(NOW - 3 + offset + hours * 3600))
    path.write_text(f"{shown} login of root from 192.0.2.1 failed\n")
    os.utime(path, (NOW, NOW))
    assert [("date-skew", proposal)] == found(str(path), logtimezone=zone)


def test_dates_that_name_their_zone_cannot_be_mended_here(tmp_path):
    """Then the clock of the writer is wrong, not our idea of its zone."""
    path = tmp_path / "auth.log"
    path.write_text(time.strftime("%Y-%m-%dT%H:%M:%S+00:00 login of root\n", time.gmtime(NOW - 3600)))
    os.utime(path, (NOW, NOW))
    ((code, proposal),) = found(str(path))
    assert "date-skew" == code
    assert "clock" in proposal


@pytest.mark.parametrize("seconds", [300, 1000, 3650])
def test_a_quiet_log_is_no_skew(log, seconds):
    """A log whose file was touched some time after its last line does not mean a zone."""
    assert [] == found(log(NOW - seconds))


def test_dates_ahead_of_the_clock(log):
    """A date that lies ahead by no whole quarters is told of as such."""
    assert ["date-ahead"] == [code for code, _ in found(log(NOW + 500))]


def test_dates_that_cannot_be_read(log):
    """Lines without a date, and a datepattern that does not fit while the usual ones would."""
    path = log(NOW, NOW, NOW, form="a line without date {0!r:.0}\n")
    assert ["date-unread"] == [code for code, _ in found(path)]
    path = log(NOW, NOW, NOW)
    assert [("date-unread", "leave datepattern out: the usual forms are found without it")] == found(
        path, datepattern="%d/%b/%Y"
    )
    assert [] == found(path, datepattern="{NONE}")


def test_logs_that_cannot_be_read(tmp_path, log):
    """A link that leads nowhere, a directory, a pipe, one of two patterns without a file: each is named."""
    (tmp_path / "link.log").symlink_to(tmp_path / "gone")
    (tmp_path / "dir").mkdir()
    os.mkfifo(tmp_path / "pipe")
    good = log(NOW)
    assert ["log-dangling"] == [code for code, _ in found(str(tmp_path / "link.log"))]
    assert [("log-directory", f"name the files in it: {tmp_path}/dir/*.log")] == found(str(tmp_path / "dir"))
    assert ["log-special"] == [code for code, _ in found(str(tmp_path / "pipe"))]
    assert ["log-missing"] == [code for code, _ in found(good, str(tmp_path / "no*.log"))]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_logs_that_may_not_be_read():
    """A file, and a directory, that the user may not look into: whoever is asked to read them has to be another."""
    place = Path(tempfile.mkdtemp(prefix="bg-", dir="/tmp"))  # those of pytest are closed to others
    place.chmod(0o711)
    (place / "x.log").touch(mode=0o600)
    (place / "closed").mkdir(mode=0o700)
    (place / "closed" / "y.log").touch()
    os.seteuid(65534)
    try:
        assert ["log-unreadable"] == [code for code, _ in found(str(place / "x.log"))]
        assert ["log-unreadable"] == [code for code, _ in found(str(place / "closed" / "*.log"))]
    finally:
        os.seteuid(0)
        shutil.rmtree(place)


def test_a_log_that_nobody_writes(log):
    """A month without a line is noted."""
    assert ["log-still"] == [code for code, _ in found(log(NOW - 40 * 86400, written=NOW - 40 * 86400))]


def test_a_relative_path(tmp_path, log, monkeypatch):
    """It depends on where the server was started, so it is told of."""
    log(NOW)
    monkeypatch.chdir(tmp_path)
    assert ["log-relative"] == [code for code, _ in found("auth.log")]


def test_the_last_lines_of_a_long_log(tmp_path):
    """Only whole lines near the end are read; compressed files are left alone."""
    path = tmp_path / "long.log"
    path.write_text("".join(f"line {number} {'x' * 200}\n" for number in range(5000)) + "half")
    lines = last_lines(str(path), "auto")
    assert 200 == len(lines)
    assert lines[-1].startswith("line 4999 ")
    assert [] == last_lines(str(tmp_path / "x.gz"), "auto")
    wide = tmp_path / "wide.log"
    wide.write_bytes("eins\nzwei\n".encode("utf-16"))
    assert ["eins", "zwei"] == [line.lstrip("\ufeff") for line in last_lines(str(wide), "utf-16")]
