"""Made-up logs of sshd, the same for the same seed."""

from __future__ import annotations

import random
import time

USERS = ("root", "admin", "test", "oracle", "git", "alice", "bob")


def stamp(at: float) -> str:
    return time.strftime("%b %e %H:%M:%S", time.localtime(at))


def sshd(lines: int, *, failures: float, logins: float, seed: int = 1, now: float | None = None) -> list[str]:
    """Return *lines* of auth.log: shares of *failures* and of successful *logins*, and other programs between."""
    chance = random.Random(seed)
    begin = (time.time() if now is None else now) - 300
    made = []
    for number in range(lines):
        head = f"{stamp(begin + 280 * number / lines)} web1 "
        pid, port = 1000 + number % 30000, 1024 + chance.randrange(60000)
        host = f"198.51.{chance.randrange(256)}.{chance.randrange(1, 255)}"
        user = chance.choice(USERS)
        draw = chance.random()
        if draw < failures:
            text = f"sshd[{pid}]: Failed password for {user} from {host} port {port} ssh2"
        elif draw < failures + logins:
            text = (
                f"sshd[{pid}]: Accepted publickey for {user} from {host} port {port} ssh2: ED25519 SHA256:{seed:043d}"
            )
        else:
            text = (
                f"CRON[{pid}]: pam_unix(cron:session): session opened for user root(uid=0) by (uid=0)",
                f"systemd[1]: Started session-{number}.scope - Session {number} of User {user}.",
                f"sudo: {user} : TTY=pts/0 ; PWD=/home/{user} ; USER=root ; COMMAND=/usr/bin/ls",
                f"kernel: [{number}.123456] eth0: link up at 1000 Mbps",
            )[number % 4]
        made.append(head + text + "\n")
    return made


PATHS = (
    "/",
    "/index.html",
    "/static/app.css",
    "/static/app.js",
    "/img/logo.png",
    "/api/v1/items?page=2",
    "/blog/2026/11/a-day",
)
AGENTS = (
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36",
    "curl/7.88.1",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X)",
)
PROBES = ("/wp-login.php", "/phpmyadmin/scripts/setup.php", "/.env", "/cgi-bin/test.cgi")


def access(lines: int, *, probes: float, seed: int = 1, now: float | None = None) -> list[str]:
    """Return *lines* of an access log of nginx or apache (the combined format): pages, and a share of *probes*."""
    chance = random.Random(seed)
    begin = (time.time() if now is None else now) - 300
    made = []
    for number in range(lines):
        when = time.strftime("%d/%b/%Y:%H:%M:%S %z", time.localtime(begin + 280 * number / lines))
        host = f"198.51.{chance.randrange(256)}.{chance.randrange(1, 255)}"
        is_probe = chance.random() < probes
        path, status = (chance.choice(PROBES), 404) if is_probe else (chance.choice(PATHS), 200)
        made.append(
            f'{host} - - [{when}] "GET {path} HTTP/1.1" {status} {chance.randrange(100, 90000)} '
            f'"https://example.com/" "{chance.choice(AGENTS)}"\n'
        )
    return made
