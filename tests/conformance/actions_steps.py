"""What both servers are made to do with each jail, and how to tell that they are done; shared by the two drivers."""

import os
import subprocess
import time

SERVER_CONFIGURATION = "[Definition]\nloglevel=DEBUG\ndbfile=None\nallowipv6=yes\n"
IPV4 = "192.0.2.9"
IPV6 = "2001:db8::9"


def empty_configuration(work):
    """Make a configuration without jails; return its directory."""
    empty = os.path.join(work, "empty")
    for folder in ("filter.d", "action.d"):
        os.makedirs(os.path.join(empty, folder), exist_ok=True)
    for name, text in (("fail2ban.conf", SERVER_CONFIGURATION), ("jail.conf", "[DEFAULT]\n")):
        with open(os.path.join(empty, name), "w") as file:
            file.write(text)
    return empty


def start(argv):
    """Start a server that dies with us."""
    null = subprocess.DEVNULL
    return subprocess.Popen(["setpriv", "--pdeathsig", "KILL", *argv], stdin=null, stdout=null, stderr=null)


def end(server):
    """Stop the server, by force when it does not."""
    server.terminate()
    try:
        server.wait(20)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def is_busy(pid):
    """Tell whether process *pid* computes, or waits for a processor, or runs programs at present."""
    found = ""
    for task in os.listdir(f"/proc/{pid}/task"):
        try:
            with open(f"/proc/{pid}/task/{task}/children") as file:
                found += file.read()
            with open(f"/proc/{pid}/task/{task}/stat") as file:
                found += file.read().rpartition(") ")[2][0].strip("SIt")
        except OSError:
            continue
    return bool(found.strip())


class Steps:
    """Takes one jail after another through its life, writing `#jail step` into *record* before each step."""

    def __init__(self, record, log, pid):
        self.record = record
        self.log = log
        self.pid = pid

    def run(self, jail, *, load, reload, send):
        """Load the jail, ban, flush, stop; load it again, ban, unban, reload, stop; *send* gives the server a command."""
        self._step(jail, "first start", lambda: load(jail), f"Jail '{jail}' started")
        self._step(jail, "first ban", lambda: send("set", jail, "banip", IPV4), f"[{jail}] Ban {IPV4}")
        self._step(jail, "flush", lambda: send("unban", "--all"), "")
        self._step(jail, "first stop", lambda: send("stop", jail), f"Jail '{jail}' stopped")
        self._step(jail, "start", lambda: load(jail), f"Jail '{jail}' started", times=2)
        self._step(jail, "ban4", lambda: send("set", jail, "banip", IPV4), f"[{jail}] Ban {IPV4}", times=2)
        self._step(jail, "ban6", lambda: send("set", jail, "banip", IPV6), f"[{jail}] Ban {IPV6}")
        self._step(jail, "unban4", lambda: send("set", jail, "unbanip", IPV4), f"[{jail}] Unban {IPV4}")
        self._step(jail, "reload", lambda: reload(jail), "")
        self._step(jail, "stop", lambda: send("stop", jail), f"Jail '{jail}' stopped", times=2)

    def finish(self):
        """Say that all is recorded."""
        self._mark("", "end")

    def _step(self, jail, step, act, pattern, times=1):
        self._mark(jail, step)
        act()
        self._settle(pattern, times)

    def _mark(self, jail, step):
        with open(self.record, "a") as file:
            file.write(f"#{jail} {step}\n")

    def _settle(self, pattern, times):
        """Wait until the log has *pattern* so many times, then until nothing is recorded any more."""
        deadline = time.monotonic() + 4
        while pattern and time.monotonic() < deadline:
            with open(self.log, errors="replace") as file:
                if file.read().count(pattern) >= times:
                    break
            time.sleep(0.02)
        quiet, size = time.monotonic(), -1
        while time.monotonic() - quiet < 0.15:
            now = os.stat(self.record).st_size
            if now != size or is_busy(self.pid):
                quiet, size = time.monotonic(), now
            time.sleep(0.02)
