"""Where the configuration and the run-time files lie when nobody says otherwise."""

from __future__ import annotations

import os

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
