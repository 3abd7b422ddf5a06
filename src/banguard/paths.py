"""Where the configuration and the run-time files lie when nobody says otherwise."""

from __future__ import annotations

import os
from collections.abc import Sequence

LOGFILE = "/var/log/banguard.log"


def default_directory() -> str:
    """Return `$BANGUARD_CONFIG`, else `/etc/banguard` where it exists, else the shipped directory."""
    chosen = os.environ.get("BANGUARD_CONFIG")
    if chosen:
        return chosen
    return "/etc/banguard" if os.path.isdir("/etc/banguard") else shipped_directory()


def shipped_directory() -> str:
    """Return the directory of the configuration that comes with banguard: of the wheel, else of the checkout."""
    package = os.path.dirname(os.path.abspath(__file__))
    installed = os.path.join(package, "_config")
    if os.path.isdir(installed):
        return installed
    return os.path.join(os.path.dirname(os.path.dirname(package)), "config")


# IDs of os-release(5), as they stand in ID and ID_LIKE, and the name of the file with the paths there.
_DISTRIBUTIONS = {
    "debian": "debian",
    "ubuntu": "debian",
    "fedora": "fedora",
    "rhel": "fedora",
    "centos": "fedora",
    "amzn": "fedora",
    "suse": "opensuse",
    "opensuse": "opensuse",
    "arch": "arch",
    "alpine": "alpine",
    "freebsd": "freebsd",
}


def distribution(files: Sequence[str] = ("/etc/os-release", "/usr/lib/os-release")) -> str:
    """
    Return which of the files paths-NAME.conf is that of this system, as os-release(5) says; `common` for others.

    `$BANGUARD_DISTRIBUTION` chooses another.
    """
    chosen = os.environ.get("BANGUARD_DISTRIBUTION")
    if chosen:
        return chosen
    for path in files:
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                lines = file.read(65536).splitlines()
        except OSError:
            continue
        said = {name: value.strip("\"'").lower() for name, _, value in (line.strip().partition("=") for line in lines)}
        words = (*said.get("ID", "").split(), *said.get("ID_LIKE", "").split())
        return next((_DISTRIBUTIONS[word] for word in words if word in _DISTRIBUTIONS), "common")
    return "common"


def default_socket() -> str:
    """Return `$BANGUARD_SOCKET`, else the socket in the runtime directory."""
    return os.environ.get("BANGUARD_SOCKET") or os.path.join(_runtime_directory(), "banguard.sock")


def default_pidfile() -> str:
    """Return the pid file in the runtime directory."""
    return os.path.join(_runtime_directory(), "banguard.pid")


def default_dbfile() -> str:
    """Return the database in the state directory."""
    return os.path.join(_first("STATE_DIRECTORY", "/var/lib/banguard"), "banguard.sqlite3")


def _runtime_directory() -> str:
    return _first("RUNTIME_DIRECTORY", "/run/banguard")


def _first(variable: str, default: str) -> str:
    """Return the first of the colon-separated directories in *variable* (systemd.exec(5)), else *default*."""
    return os.environ.get(variable, "").partition(":")[0] or default
