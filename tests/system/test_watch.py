"""`watch` tells what becomes of a real firewall."""

from __future__ import annotations

import json
import subprocess
import sys

from support.machine import end


def test_a_flushed_firewall_is_told_lost_and_mended(machine, banguard, tmp_path):
    """Between the ban and its end: who took the rules away is seen, and that they are back."""
    server = banguard(machine)
    log = tmp_path / "web.log"
    log.touch()
    server.write("jail.local", f"[web]\nenabled = true\nfilter = sshd\nlogpath = {log}\nport = 8080\n")
    server.start(jails=["web"])
    watch = subprocess.Popen(
        machine.argv(sys.executable, "-m", "banguard.cli.client", "-s", str(server.socket), "watch", "web", "--jsonl"),
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert watch.stdout is not None

        def next_event():
            return json.loads(watch.stdout.readline())

        assert "watching" == next_event()["event"]
        server.ask("set", "web", "banip", "192.0.2.7")
        event = next_event()
        assert ("ban", "web", "192.0.2.7", "manual") == (event["event"], event["jail"], event["id"], event["origin"])
        server.await_ban("web", "192.0.2.7")
        machine.run("nft", "flush", "ruleset")
        assert ["firewall_lost", "firewall_mended"] == [next_event()["event"], next_event()["event"]]
        server.ask("set", "web", "unbanip", "192.0.2.7")
        event = next_event()
        assert ("unban", "192.0.2.7", "manual") == (event["event"], event["id"], event["reason"])
    finally:
        end(watch)
        watch.stdout.close()
