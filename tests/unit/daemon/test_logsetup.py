import json
import logging
import os
import re
import socket
import stat
import sys

import pytest

from banguard.daemon import logsetup
from banguard.daemon.logsetup import LEVELS, LogSetup, escape, level_name, parse_level
from banguard.errors import ControlError

LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} ")


@pytest.fixture
def log():
    """A LogSetup that leaves the loggers as they were."""
    root = logging.getLogger("banguard")
    before = root.level, root.propagate, list(root.handlers)
    setup = LogSetup()
    yield setup
    setup.close()
    root.setLevel(before[0])
    root.propagate = before[1]
    root.handlers[:] = before[2]


def actions():
    return logging.getLogger("banguard.actions")


@pytest.mark.parametrize(
    ("expected", "text"),
    [
        (50, "CRITICAL"),
        (25, "notice"),
        (18, "MSG"),
        (7, "TRACE"),
        (7, "TRACEDEBUG"),
        (5, "heavy"),
        (20, "20"),
        (12, " 12 "),
    ],
)
def test_levels_have_names_and_numbers(expected, text):
    """Names in any case, short names and numbers are understood."""
    assert expected == parse_level(text)


@pytest.mark.parametrize("text", ["", "foo", "0", "51", "-1", "1.5", "²"])
def test_other_levels_are_refused(text):
    """A level that does not exist is named in the error."""
    with pytest.raises(ValueError, match="Invalid log level"):
        parse_level(text)


def test_levels_are_shown_by_their_name():
    """The name as it stands in the log; the number for one in between."""
    assert ["TRACEDEBUG", "INFO", "12"] == [level_name(text) for text in ("trace", "20", "12")]
    assert sorted(LEVELS.values(), reverse=True) == list(LEVELS.values())


@pytest.mark.parametrize(
    ("expected", "text"),
    [
        ("plain ü 日本", "plain ü 日本"),
        ("a\tb", "a\tb"),
        ("a\\nb\\r\\x1b[2J\\x00", "a\nb\r\x1b[2J\x00"),
        ("\\u202e\\udc80\\u2028", "\u202e\udc80\u2028"),
    ],
)
def test_text_is_kept_on_one_line(expected, text):
    """Whatever would begin a new line or command a terminal is an escape."""
    assert expected == escape(text)


# ---- files


def test_a_line_has_the_columns_that_other_programs_read(log, tmp_path):
    """Time with milliseconds, name in 24 columns with the process id, level in 7, message."""
    log.change("INFO", str(tmp_path / "b.log"))
    actions().log(25, "[sshd] Ban %s", "192.0.2.1")
    logging.getLogger("banguard.filter").warning("x")
    first, second = (tmp_path / "b.log").read_text().splitlines()
    assert LINE.match(first)
    assert f"banguard.actions        [{os.getpid()}]: NOTICE  [sshd] Ban 192.0.2.1" == first[24:]
    assert f"banguard.filter         [{os.getpid()}]: WARNING x" == second[24:]


def test_a_new_file_is_for_its_owner(log, tmp_path):
    """A log that did not exist is made with mode 0600; one that did keeps its mode and content."""
    new, old = tmp_path / "new.log", tmp_path / "old.log"
    old.write_text("before\n")
    old.chmod(0o644)
    log.change("INFO", str(new))
    log.change("INFO", str(old))
    actions().info("after")
    assert (0o600, 0o644) == tuple(stat.S_IMODE(path.stat().st_mode) for path in (new, old))
    assert old.read_text().startswith("before\n")
    assert 2 == len(old.read_text().splitlines())


def test_the_level_decides_what_is_written(log, tmp_path):
    """Changing the level takes effect at once."""
    path = tmp_path / "b.log"
    log.change("NOTICE", str(path))
    actions().info("too quiet")
    log.change("heavydebug", str(path))
    actions().log(5, "very detailed")
    assert "HEAVYDEBUG" == log.level
    assert [True] == ["very detailed" in line for line in path.read_text().splitlines()]


def test_one_event_is_one_line(log, tmp_path):
    """Neither hostile text nor a traceback can begin a line of its own."""
    path = tmp_path / "b.log"
    log.change("INFO", str(path))
    forged = "x\n2026-11-20 22:27:27,000 banguard.actions        [1]: NOTICE  [sshd] Ban 192.0.2.66\r\x1b[2K"
    actions().warning("%s", forged)
    try:
        int(forged)
    except ValueError:
        actions().exception("failed")
    actions().warning("undecodable %s", "\udcff")
    lines = path.read_text().splitlines()
    assert 3 == len(lines)
    assert all(line[24:].startswith("banguard.actions ") for line in lines)
    assert "\\n2026-11-20" in lines[0]
    assert "Traceback" in lines[1]
    assert "Ban 192.0.2.66" in lines[1]
    assert "\\udcff" in lines[2]


def test_a_rotated_file_is_reopened(log, tmp_path):
    """After a rename lines still go to the old file until `flush`, then to a new one; none is lost."""
    path, rotated = tmp_path / "b.log", tmp_path / "b.log.1"
    log.change("INFO", str(path))
    actions().info("one")
    path.rename(rotated)
    actions().info("two")
    assert "rolled over" == log.flush()
    actions().info("three")
    assert ["one", "two"] == [line.rsplit(" ", 1)[1] for line in rotated.read_text().splitlines()]
    new = path.read_text()
    assert f"rollover performed on {path}" in new
    assert new.rstrip().endswith("three")


def test_a_file_that_cannot_be_reopened_is_kept(log, tmp_path):
    """The error is reported and the old file goes on being written."""
    folder = tmp_path / "logs"
    folder.mkdir()
    log.change("INFO", str(folder / "b.log"))
    folder.rename(tmp_path / "moved")
    with pytest.raises(ControlError, match="Cannot reopen the log"):
        log.flush()
    actions().info("still here")
    assert "still here" in (tmp_path / "moved" / "b.log").read_text()


@pytest.mark.parametrize(
    ("level", "target"),
    [
        ("foo", "new.log"),
        ("INFO", "missing/new.log"),
        ("INFO", ""),
        ("INFO", "STDERR[format]"),
        ("INFO", "STDERR[datetime=perhaps]"),
        ("INFO", 'STDERR[format="%(nosuch)s"]'),
        ("INFO", 'STDERR[format="%(message"]'),
        ("INFO", "SYSLOG[facility=NOSUCH]"),
    ],
)
def test_a_change_that_cannot_be_changes_nothing(log, tmp_path, monkeypatch, level, target):
    """Level and target stay as they were, and the old target is still written."""
    monkeypatch.chdir(tmp_path)
    log.change("NOTICE", str(tmp_path / "b.log"))
    with pytest.raises(ControlError):
        log.change(level, target)
    actions().warning("still here")
    assert ("NOTICE", str(tmp_path / "b.log")) == (log.level, log.target)
    assert "still here" in (tmp_path / "b.log").read_text()
    assert [str(tmp_path / "b.log")] == [str(path) for path in tmp_path.iterdir()]


def test_a_full_disk_does_not_stop_the_server(log):
    """Records that cannot be written are counted and dropped."""
    log.change("INFO", "/dev/full")
    actions().warning("lost")
    actions().warning("%d", "no number")
    assert 2 == log.lost


# ---- streams


@pytest.mark.parametrize(
    ("pattern", "target", "stream"),
    [
        (r"\d{4}-.*,\d{3} banguard\.actions +\[\d+\]: INFO    hello\n\Z", "STDOUT", "out"),
        (r"\d{4}-.*,\d{3} banguard\.actions +\[\d+\]: INFO    hello\n\Z", "stderr", "err"),
        (r"banguard\.actions        \[\d+\]: INFO    hello\n\Z", "SYSOUT", "out"),
        (r"banguard\.actions        \[\d+\]: INFO    hello\n\Z", "STDERR[datetime=off]", "err"),
        (r"banguard\.actions\[\d+\]: INFO hello\n\Z", "STDERR[datetime=off, padding=off]", "err"),
        (r"INFO\|hello\n\Z", 'STDERR[format="%(levelname)s|%(message)s"]', "err"),
    ],
)
def test_streams_have_their_formats(log, capsys, pattern, target, stream):
    """SYSOUT has no time; options in brackets change the columns."""
    log.change("INFO", target)
    actions().info("hello")
    assert re.match(pattern, getattr(capsys.readouterr(), stream))
    assert "flushed" == log.flush()


def test_reserved_words_are_shown_in_capitals(log):
    """A target is shown as operators know it, with its options."""
    log.change("INFO", "stdout[padding=off]")
    assert "STDOUT[padding=off]" == log.target


def test_a_stream_that_is_gone_is_no_trouble(log, monkeypatch):
    """A daemon may have no standard output at all."""
    log.change("INFO", "STDOUT")
    monkeypatch.setattr(sys, "stdout", None)
    actions().info("nobody hears this")
    assert ("flushed", 0) == (log.flush(), log.lost)


# ---- syslog and journal


@pytest.fixture
def datagrams(tmp_path):
    """A datagram socket at a path, as syslog and the journal have one."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.settimeout(5)
    sock.bind(str(tmp_path / "log"))
    yield sock
    sock.close()


def test_syslog_gets_priority_and_tag(log, tmp_path, datagrams):
    """No time and no padding: syslog has its own; DAEMON is facility 3."""
    log.change("DEBUG", "SYSLOG", str(tmp_path / "log"))
    for level in (50, 40, 30, 25, 20, 10):
        actions().log(level, "[sshd] Ban\n192.0.2.1")
    got = [datagrams.recv(9000).decode() for _ in range(6)]
    assert f"<29>banguard.actions[{os.getpid()}]: NOTICE [sshd] Ban\\n192.0.2.1" == got[3]
    assert ["<26>", "<27>", "<28>", "<29>", "<30>", "<31>"] == [text[:4] for text in got]


def test_syslog_takes_a_facility(log, tmp_path, datagrams):
    """LOCAL0 is facility 16; `LOG_` before the name does not matter."""
    log.change("INFO", "SYSLOG[facility=LOG_LOCAL0]", str(tmp_path / "log"))
    actions().info("x")
    assert datagrams.recv(9000).startswith(b"<134>")


def test_syslog_may_be_restarted(log, tmp_path, datagrams):
    """A new socket at the same path is found again; what came between is lost and counted."""
    log.change("INFO", "SYSLOG", str(tmp_path / "log"))
    datagrams.close()
    os.unlink(tmp_path / "log")
    actions().info("lost")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as again:
        again.settimeout(5)
        again.bind(str(tmp_path / "log"))
        actions().info("found")
        assert again.recv(9000).endswith(b"found")
    assert 1 == log.lost


def test_very_long_messages_are_cut(log, tmp_path, datagrams):
    """A datagram holds what syslog takes."""
    log.change("INFO", "SYSLOG", str(tmp_path / "log"))
    actions().info("x" * 100_000)
    assert 8192 == len(datagrams.recv(200_000))


def test_a_missing_syslog_is_refused(log, tmp_path):
    """The old target stays."""
    log.change("INFO", "STDERR")
    with pytest.raises(ControlError, match="Cannot log to SYSLOG"):
        log.change("INFO", "SYSLOG", str(tmp_path / "nothing"))
    assert ("STDERR", "auto") == (log.target, log.syslogsocket)


def test_the_syslog_socket_can_be_changed_alone(log, tmp_path, datagrams):
    """With the target SYSLOG the new socket is used at once."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.settimeout(5)
        other.bind(str(tmp_path / "other"))
        log.change("INFO", "SYSLOG", str(tmp_path / "log"))
        log.change("INFO", "SYSLOG", str(tmp_path / "other"))
        actions().info("here")
        assert other.recv(9000).endswith(b"here")


def test_the_journal_gets_fields(log, tmp_path, datagrams, monkeypatch):
    """Message, priority, identifier and logger are fields of their own; text cannot make further ones."""
    monkeypatch.setattr(logsetup, "_JOURNAL_SOCKET", str(tmp_path / "log"))
    log.change("INFO", "SYSTEMD-JOURNAL")
    actions().log(25, "[sshd] Ban x\nPRIORITY=0")
    fields = dict(line.split("=", 1) for line in datagrams.recv(9000).decode().splitlines())
    assert f"banguard.actions[{os.getpid()}]: NOTICE [sshd] Ban x\\nPRIORITY=0" == fields["MESSAGE"]
    assert ("5", "banguard", "banguard.actions") == (
        fields["PRIORITY"],
        fields["SYSLOG_IDENTIFIER"],
        fields["LOGGER"],
    )


def test_messages_of_other_packages_stay_out(log, tmp_path):
    """Only loggers of banguard write into its log."""
    log.change("INFO", str(tmp_path / "b.log"))
    logging.getLogger("asyncio").info("not ours")
    assert "" == (tmp_path / "b.log").read_text()


def test_json_in_a_message_stays_as_it_is(log, tmp_path):
    """Printable text is never changed."""
    log.change("INFO", str(tmp_path / "b.log"))
    actions().info("%s", json.dumps({"a": "ü\\n"}))
    assert '{"a": "\\u00fc\\\\n"}' in (tmp_path / "b.log").read_text()


def test_the_log_can_look_like_that_of_another_program(tmp_path):
    """Tools that know fail2ban's log by `fail2ban.actions` find it when its configuration is run."""
    setup = LogSetup("fail2ban")
    root = logging.getLogger("banguard")
    try:
        setup.change("INFO", str(tmp_path / "log"))
        actions().log(25, "[sshd] Ban 192.0.2.1")
    finally:
        setup.close()
        root.propagate = True
    assert " fail2ban.actions        [" in (tmp_path / "log").read_text()
