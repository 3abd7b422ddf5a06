"""What a newcomer runs first."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile

import pytest

from support.machine import checkout


@pytest.mark.parametrize("firewall", [True, False], ids=["in a private network", "without a firewall"])
def test_the_demonstration(firewall):
    """The demonstration shows bans, status and firewall, ends by itself with status 0 and leaves nothing behind."""
    temporary = tempfile.mkdtemp(prefix="bg-", dir="/tmp")
    done = subprocess.run(
        [sys.executable, checkout("tools", "demo.py"), *([] if firewall else ["--inside"])],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=55,
        env={**os.environ, "TMPDIR": temporary},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for host in ("203.0.113.7", "203.0.113.9", "2001:db8:bad::/64"):
        assert f"NOTICE  [sshd] Ban {host}\n" in done.stdout
    assert "Ban 198.51.100." not in done.stdout
    assert "   |- Currently banned:\t3\n" in done.stdout
    assert firewall == ("$ nft list ruleset\ntable inet " in done.stdout)
    assert "Shutdown successful" in done.stdout
    os.rmdir(temporary)  # fails when anything is left in it
