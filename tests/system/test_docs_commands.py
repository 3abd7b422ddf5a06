"""Every command that README.md and docs/ show is run on a made-up machine, or is known not to run here."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys

import pytest

import banguard.control.commands  # noqa: F401  fills the table
from banguard.cli.completion import LOCAL
from banguard.cli.reference import PROGRAMS
from banguard.control.table import TABLE
from support.foreign import LOGMON, SCRIPT
from support.machine import BIN, checkout, dying
from support.samples import CONFIG

PAGES = ["README.md", *sorted(f"docs/{name}" for name in os.listdir(checkout("docs")) if name.endswith(".md"))]

NOT_HERE = {
    r"make (install|demo|test|check|deb|wheel)\b": "builds or tests this checkout; tests of their own do that",
    r"(sudo )?(apt|apt-get|dpkg|dnf|apk) ": "changes the packages of the machine",
    r"pipx? ": "fetches packages",
    r"systemctl |journalctl |systemd-analyze ": "there is no systemd in a namespace",
    r"docker( |-compose)": "there is no Docker in a namespace",
    r"banguard-regex systemd-journal": "there is no journal in a namespace",
    r"git |ssh |scp ": "needs another machine",
    r"(iptables|ufw|firewall-cmd|conntrack|ss|tail|logger|curl) ": "looks at the machine with a program of its own",
}
"""Commands that cannot run here, and why; it is checked at least that they are commands."""

ENDLESS = r"banguard-client (watch|top)\b"
"""Commands that go on until they are interrupted."""

MAY_SAY_NO = r"banguard-client .*\b(why|explain|history|backtest|self-test|check|banned|import)\b|banguard-regex "
"""Commands that answer a question: status 1 is an answer too."""

JAILS = """\
[sshd]
enabled = true
[dovecot]
enabled = true
[postfix]
enabled = true
[recidive]
enabled = true
"""
LINES = """\
{NOW} web1 sshd[811]: Failed password for root from 192.0.2.1 port 51022 ssh2
{NOW} web1 sshd[812]: Accepted password for mary from 192.0.2.9 port 51023 ssh2
"""
MAIL = """\
{NOW} mx dovecot: imap-login: Disconnected: (auth failed, 1 attempts in 2 secs): user=<mary>, method=PLAIN, rip=192.0.2.1
{NOW} mx postfix/smtpd[7]: NOQUEUE: reject: RCPT from unknown[192.0.2.2]: 554 5.7.1 <a@example.com>: Relay access denied
{NOW} mx postfix/smtpd[8]: warning: unknown[192.0.2.3]: SASL LOGIN authentication failed: authentication failure
"""
FILES = {
    "/etc/banguard/jail.local": JAILS,
    "/etc/ipblock/ipblock.conf": "60,tcp/8080,sshd.*: Failed password for .+ from ([0-9.]+)\n",
    "/etc/logmon/logmon.conf": LOGMON.format(log="/var/log/mail.log", script="/etc/logmon/drop.sh"),
    "/etc/logmon/drop.sh": SCRIPT,
    "/var/log/auth.log": LINES,
    "/var/log/syslog": LINES,
    "/var/log/mail.log": MAIL,
    "/var/log/banguard.log": "",
}
STOCK = (
    "[DEFAULT]\nbantime = 10m\nfilter = %(__name__)s\n[sshd]\nport = ssh\nlogpath = /var/log/auth.log\nenabled = true\n"
)


def blocks(page):
    """Yield the commands of each `console` and `sh` block of a page, and the piece of configuration before it."""
    with open(checkout(page), encoding="utf-8") as file:
        text = file.read()
    before = ""
    for kind, body in re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        if kind == "ini":
            before = body
        elif kind == "console":
            joined = body.replace("\\\n", " ")
            yield [line[2:] for line in joined.splitlines() if line.startswith(("$ ", "# "))], before
        elif kind in {"sh", "bash", "shell"}:
            joined = body.replace("\\\n", " ")
            yield [line for line in joined.splitlines() if line.strip() and not line.startswith("#")], before


def commands(page):
    """Return the commands of a page, each with the files that its block takes from the configuration before it."""
    found = []
    for lines, before in blocks(page):
        for line in lines:
            names = re.findall(r"(?<=\./)[\w-]+\.conf\b", line)
            found.append((line, {name: before for name in names}))
    return found


def reason(command):
    """Return why a command cannot run here, None when it can."""
    plain = command.removeprefix(".venv/bin/")
    return next((why for pattern, why in NOT_HERE.items() if re.match(pattern, plain)), None)


SHOWN = [page for page in PAGES if commands(page)]


@pytest.mark.parametrize("page", SHOWN)
def test_the_commands_of_a_page_work(page, tmp_path):
    """Each is carried out in order, beside a server that runs as the page has it; none is a mistake."""
    runnable = [(line, files) for line, files in commands(page) if reason(line) is None]
    if not runnable:
        pytest.skip(f"{page} shows no command that can run here")
    own = any(
        "/etc/banguard" in line and line.startswith(("cp ", "banguard-client import /etc/fail2ban"))
        for line, _ in runnable
    )
    os.symlink(os.path.dirname(BIN), tmp_path / ".venv")
    shutil.copytree(CONFIG, tmp_path / "config")
    files = {path: text for path, text in FILES.items() if not (own and path.startswith("/etc/banguard"))}
    if not os.path.isdir("/etc/fail2ban"):
        files["/etc/fail2ban/jail.conf"] = STOCK
        files["/etc/fail2ban/fail2ban.conf"] = "[Definition]\nloglevel = INFO\n"
    plan = {
        "directory": str(tmp_path),
        "config": CONFIG,
        "files": files,
        "server": not own,
        "commands": [
            {"text": line, "files": needed, "endless": re.search(ENDLESS, line) is not None}
            for line, needed in runnable
        ],
    }
    environment = {name: value for name, value in os.environ.items() if not name.startswith("BANGUARD_")}
    environment |= {"PATH": f"{BIN}:{os.environ['PATH']}", "TZ": "UTC", "LANG": "C.UTF-8"}
    done = subprocess.run(
        dying("unshare", "-n", "-m", "-p", "--fork", "--kill-child=KILL", "--mount-proc", "--propagation", "private",
              sys.executable, checkout("tests", "support", "documented.py")),
        input=json.dumps(plan), capture_output=True, text=True, timeout=150, env=environment, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)
    assert len(results) == len(runnable), results
    wrong = []
    for (line, _), result in zip(runnable, results, strict=True):
        allowed = {0, None} if re.search(ENDLESS, line) else {0, 1} if re.search(MAY_SAY_NO, line) else {0}
        if result["status"] not in allowed or "Traceback" in result["said"]:
            wrong.append(f"{line}\n  status {result['status']}: {result['said']}")
    assert [] == wrong, "\n".join(wrong)


@pytest.mark.parametrize("page", SHOWN)
def test_commands_that_cannot_run_here_exist(page):
    """Of those, words of `make` are in the Makefile, and commands and options of ours in the reference."""
    with open(checkout("Makefile"), encoding="utf-8") as file:
        targets = set(re.findall(r"^([a-z]+):", file.read(), re.MULTILINE))
    for line, _ in commands(page):
        if reason(line) is None:
            continue
        words = shlex.split(line.removeprefix(".venv/bin/"), comments=True)
        if words[0] == "make":
            assert set(words[1:]) <= targets, line
        elif words[0] in PROGRAMS:
            flags = {name for flag in PROGRAMS[words[0]]().flags for name in flag.names}
            given = {word.partition("=")[0] for word in words[1:] if word.startswith("-")}
            assert given <= flags, line
            if words[0] == "banguard-client":
                known = {row.key[0] for row in TABLE.values()} | set(LOCAL) | {"start", "restart", "stop"}
                assert next(word for word in words[1:] if not word.startswith("-")) in known, line


def test_there_are_many():
    """The pages do show commands, and no page is without a way in from the index."""
    assert sum(len(commands(page)) for page in SHOWN) > 25
