"""What makes banguard fit into a system: manual pages, service files, the log's rotation."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys

import pytest

from support.samples import CHECKOUT

PACKAGING = os.path.join(CHECKOUT, "packaging")


def need(program):
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"needs {program}")
    return found


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Return the directory with all manual pages."""
    directory = tmp_path_factory.mktemp("man")
    subprocess.run([sys.executable, os.path.join(CHECKOUT, "tools", "manpages.py"), str(directory)], check=True)
    return directory


def test_every_page_is_made(pages):
    """There is a page for each program and for each kind of configuration file."""
    assert {
        "banguard-client.1", "banguard-regex.1", "banguard-server.8", "banguard.conf.5", "banguard-jail.5",
        "banguard-filter.5", "banguard-action.5",
    } == {path.name for path in pages.iterdir()}  # fmt: skip


def test_pages_are_well_formed(pages):
    """troff finds nothing wrong with any page."""
    groff = need("groff")
    for path in pages.iterdir():
        done = subprocess.run(
            [groff, "-Kutf8", "-man", "-Tutf8", "-ww", str(path)], capture_output=True, text=True, check=False
        )
        assert (0, "") == (done.returncode, done.stderr), path.name


@pytest.mark.parametrize(
    ("page", "told"),
    [
        ("banguard-client.1", "set <jail> banip [<id>...]"),
        ("banguard-client.1", "--json"),
        ("banguard-server.8", "--loglevel LEVEL"),
        ("banguard-regex.1", "--timezone, --TZ NAME|OFFSET"),
        ("banguard.conf.5", "dbpurgeage"),
        ("banguard-jail.5", "bantime.increment"),
        ("banguard-filter.5", "<HOST>"),
        ("banguard-action.5", "actionprolong"),
    ],
)
def test_pages_tell(pages, page, told):
    """A page shows the options, commands and tags it is about, as one types them."""
    text = (pages / page).read_text()
    plain = re.sub(r"\\f[BRI]", "", text).replace("\\-", "-").replace("\\(aq", "'").replace("\\e", "\\")
    assert told in plain


def test_unit_is_good(tmp_path):
    """systemd finds no fault with the unit, and calls its exposure OK (below 3 of 10)."""
    analyze = need("systemd-analyze")
    unit = tmp_path / "banguard.service"
    with open(os.path.join(PACKAGING, "systemd", "banguard.service"), encoding="utf-8") as file:
        unit.write_text(file.read().replace("/usr/bin/banguard-", "/bin/true #"))
    done = subprocess.run(
        [analyze, "security", "--offline=true", "--threshold=30", str(unit)],
        capture_output=True,
        text=True,
        check=False,
    )
    if "Unknown" in done.stderr or "unrecognized" in done.stderr:
        pytest.skip("this systemd-analyze judges no files")
    assert done.returncode == 0, done.stdout[-300:] + done.stderr


def test_every_start_is_by_a_program_there_is():
    """Service file, init script and log rotation call programs and commands that banguard has."""
    for path, words in {
        "systemd/banguard.service": ["banguard-server -f start", "banguard-client reload"],
        "logrotate.d/banguard": ["banguard-client flushlogs"],
        "init.d/banguard": ["/usr/bin/banguard-client"],
    }.items():
        with open(os.path.join(PACKAGING, path), encoding="utf-8") as file:
            text = file.read()
        assert all(word in text for word in words), path


@pytest.mark.parametrize("script", ["init.d/banguard", "debian/postinst", "debian/prerm", "debian/postrm"])
def test_scripts_are_shell(script):
    """Every script can be read by a plain shell."""
    done = subprocess.run(["sh", "-n", os.path.join(PACKAGING, script)], capture_output=True, text=True, check=False)
    assert (0, "") == (done.returncode, done.stderr)


def test_log_is_rotated(tmp_path):
    """logrotate accepts the file, moves the log aside and has the server open a new one."""
    logrotate = need("logrotate")
    log = tmp_path / "banguard.log"
    log.write_text("a line\n")
    told = tmp_path / "told"
    with open(os.path.join(PACKAGING, "logrotate.d", "banguard"), encoding="utf-8") as file:
        text = file.read()
    text = text.replace("/var/log/banguard.log", str(log)).replace("banguard-client flushlogs", f"echo flushed >{told}")
    rules = tmp_path / "rules"
    rules.write_text(text.replace("640 root adm", "640"))
    rules.chmod(0o644)
    subprocess.run([logrotate, "-f", "-s", str(tmp_path / "state"), str(rules)], check=True, capture_output=True)
    assert "a line\n" == (tmp_path / "banguard.log.1").read_text()
    assert "" == log.read_text()
