"""Processor time per line of the running server, beside fail2ban's server on the same configuration and log."""

from __future__ import annotations

import os
import tempfile

import daemons
import logs

WEB = """
apache-badbots apache-botsearch apache-fakegooglebot apache-noscript apache-overflows nginx-bad-request nginx-botsearch
nginx-http-auth nginx-limit-req php-url-fopen
"""
SERVICES = """
sshd dovecot postfix proftpd pure-ftpd vsftpd wuftpd sendmail-auth sendmail-reject sieve cyrus-imap courier-auth
courier-smtp named-refused asterisk dropbear perdition solid-pop3d stunnel xinetd-fail
"""
LINES, THEIR_LINES = 1_000_000, 150_000


def run():
    known = {entry.removesuffix(".conf") for entry in os.listdir(os.path.join(daemons.FILTERS, "filter.d"))}
    services = [name for name in SERVICES.split() if name in known]
    web = [name for name in WEB.split() if name in known]
    auth = "".join(logs.sshd(LINES, failures=0.01, logins=0.03)).encode()
    pages = "".join(logs.access(LINES // 4, probes=0.01)).encode()
    single = yield from compared("live server, quiet log, one sshd jail", ["sshd"], auth)
    yield from compared(f"live server, access log, {len(web)} web filters at once", web, pages, LINES // 4, 40_000)
    many = measure(services, auth)
    yield {
        "what": f"live server, quiet log, {len(services)} jails of as many services",
        "ours": many / LINES * 1e6,
        "unit": "µs/line CPU",
        "peer": "one jail",
        "theirs": single / LINES * 1e6,
        "ratio": single / many,
        "note": f"{many / single:.2f} times the processor time of one jail",
    }


def compared(what: str, filters: list[str], text: bytes, lines: int = LINES, their_lines: int = THEIR_LINES):
    ours = measure(filters, text)
    row = {"what": what, "ours": ours / lines * 1e6, "unit": "µs/line CPU"}
    if daemons.PEER:
        part = b"".join(text.splitlines(keepends=True)[-their_lines:])
        theirs = measure(filters, part, peer=True)
        row |= {"peer": "fail2ban-server", "theirs": theirs / their_lines * 1e6}
        row["ratio"] = row["theirs"] / row["ours"]
    else:
        row["note"] = "fail2ban is not installed"
    yield row
    return ours


def measure(filters: list[str], text: bytes, *, peer: bool = False) -> float:
    with tempfile.TemporaryDirectory() as directory:
        log = os.path.join(directory, "app.log")
        open(log, "w").close()
        config = daemons.site(directory, {name: f"filter = {name}\nlogpath = {log}" for name in filters})
        with daemons.server(directory, config, peer=peer) as pid:
            return daemons.cost(pid, log, text)
