"""A configuration directory with any number of jails, each with a log of its own."""

from __future__ import annotations

import os


def make(directory: str, *, jails: int, backend: str, maxretry: int = 5, action: str = "") -> None:
    os.makedirs(os.path.join(directory, "filter.d"), exist_ok=True)
    with open(os.path.join(directory, "filter.d", "probe.conf"), "w") as file:
        file.write("[Definition]\nfailregex = ^\\s*bad <HOST>$\ndatepattern = {EPOCH}\n")
    with open(os.path.join(directory, "jail.conf"), "w") as file:
        file.write(
            f"[DEFAULT]\nbackend = {backend}\nfilter = probe\nmaxretry = {maxretry}\nignoreself = no\n{action}\n"
        )
        for number in range(jails):
            log = os.path.join(directory, f"log{number}")
            open(log, "a").close()
            file.write(f"[jail{number}]\nenabled = true\nlogpath = {log}\n")
