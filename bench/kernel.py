"""From a line in a log to the address in the kernel's set, with inotify and nftables, in a private network."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time

import daemons

HERE = os.path.dirname(os.path.abspath(__file__))
LINES, THEIR_LINES, MANY, THEIR_MANY = 150, 12, 10_000, 300
FILTER = "[Definition]\nfailregex = ^\\s*bad <HOST>$\ndatepattern = {EPOCH}\n"


def run():
    reason = why_not()
    if reason:
        yield {"what": "line in the log until the kernel drops, nftables", "ours": 0, "unit": "ms", "note": reason}
        return
    ours = measure(peer=False)
    theirs = measure(peer=True) if daemons.PEER else None
    times = sorted(ours["times"])
    row = {
        "what": "line in the log until the kernel has the address",
        "ours": statistics.median(times),
        "unit": "ms median",
    }
    row["note"] = f"99th percentile {times[int(len(times) * 0.99)]:.1f} ms"
    rate = {"what": f"{MANY:,} addresses at once, lines to kernel", "ours": MANY / ours["all"], "unit": "bans/s"}
    if theirs:
        row |= {"peer": "fail2ban", "theirs": statistics.median(theirs["times"])}
        row["ratio"] = row["theirs"] / row["ours"]
        rate |= {"peer": "fail2ban", "theirs": THEIR_MANY / theirs["all"]}
        rate["ratio"] = rate["ours"] / rate["theirs"]
        rate["note"] = f"fail2ban with {THEIR_MANY} addresses"
    yield row
    yield rate


def why_not() -> str:
    if os.geteuid() != 0:
        return "left out: needs root for a private network"
    absent = [name for name in ("unshare", "nft", "setpriv") if shutil.which(name) is None]
    return f"left out: needs {', '.join(absent)}" if absent else ""


def measure(*, peer: bool) -> dict:
    """Run the rest of this in a private network, and return what it prints."""
    import json  # noqa: PLC0415

    inside = ["unshare", "-n", "setpriv", "--pdeathsig", "KILL", sys.executable, __file__, "peer" if peer else "ours"]
    finished = subprocess.run(inside, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=True)
    return json.loads(finished.stdout)


class Monitor:
    """Says when addresses came into a set: reads what `nft monitor` tells."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            ["nft", "monitor", "new", "elements"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
        )
        self.seen: dict[str, float] = {}
        self.changed = threading.Condition()
        threading.Thread(target=self.read, daemon=True).start()

    def read(self) -> None:
        for line in self.process.stdout:
            now = time.perf_counter()
            with self.changed:
                for word in line.replace(",", " ").split():
                    if word.startswith("10."):
                        self.seen[word] = now
                self.changed.notify_all()

    def wait(self, address: str, seconds: float = 60.0) -> float:
        with self.changed:
            assert self.changed.wait_for(lambda: address in self.seen, seconds), f"{address} is not banned"
            return self.seen[address]

    def wait_for_all(self, addresses: set[str], seconds: float = 120.0) -> float:
        with self.changed:
            enough = self.changed.wait_for(
                lambda: len(self.seen) >= len(addresses) and addresses <= self.seen.keys(), seconds
            )
            assert enough, f"{len(addresses - self.seen.keys())} are not banned"
            return max(self.seen[address] for address in addresses)


def inside(peer: bool) -> dict:
    with tempfile.TemporaryDirectory() as directory:
        log = os.path.join(directory, "app.log")
        open(log, "w").close()
        action = "action = nftables[type=allports, name=%(__name__)s]"
        site = daemons.site(directory, {"probe": f"filter = probe\nlogpath = {log}"}, action=action, maxretry=1)
        os.unlink(os.path.join(site, "filter.d"))
        os.mkdir(os.path.join(site, "filter.d"))
        if not peer:
            os.unlink(os.path.join(site, "action.d"))
            os.symlink(os.path.join(daemons.CHECKOUT, "config", "action.d"), os.path.join(site, "action.d"))
        with open(os.path.join(site, "filter.d", "probe.conf"), "w") as file:
            file.write(FILTER)
        monitor = Monitor()
        with daemons.server(directory, site, peer=peer), open(log, "ab", buffering=0) as file:
            times = []
            for number in range(THEIR_LINES if peer else LINES):
                address = f"10.1.{number // 250}.{number % 250 + 1}"
                line = f"{time.time():.3f} bad {address}\n".encode()
                began = time.perf_counter()
                file.write(line)
                times.append((monitor.wait(address) - began) * 1000)
                time.sleep(0.03)
            many = [f"10.2.{number // 250}.{number % 250 + 1}" for number in range(THEIR_MANY if peer else MANY)]
            now = time.time()
            text = "".join(f"{now:.3f} bad {address}\n" for address in many).encode()
            began = time.perf_counter()
            file.write(text)
            took = monitor.wait_for_all(set(many)) - began
        monitor.process.kill()
        return {"times": times, "all": took}


if __name__ == "__main__":
    import json

    print(json.dumps(inside(sys.argv[1] == "peer")))
