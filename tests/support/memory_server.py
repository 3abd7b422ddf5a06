"""A server in memory that keeps `banguard.control.api.ServerApi`, for tests of commands, socket and client."""

from __future__ import annotations

import contextlib
import re
import threading
from dataclasses import replace

from banguard import netaddr
from banguard.actions import ActionStats
from banguard.bans.store import PastBan
from banguard.bus import Bus
from banguard.clock import SystemClock
from banguard.config.schema import ActionConfig, ActionKind, FilterConfig, JailConfig, LogPath, ServerConfig
from banguard.control import commands
from banguard.control.api import (
    ActiveBan,
    JailView,
    ReloadRequest,
    RulesView,
    duplicate_jail,
    unknown_action,
    unknown_jail,
)
from banguard.control.protocol import refusal
from banguard.control.server import ControlServer, listen
from banguard.control.table import Context
from banguard.daemon.explaining import explain_configured
from banguard.errors import ControlError
from banguard.model import Ban, JailStats, Origin
from banguard.sources import LogStats

NOW = 1_800_000_000.0


class MemoryServer:
    """Behaves as the real one as far as commands can see, with bans in a dict and no thread, log or firewall."""

    def __init__(self, clock=None) -> None:
        self.clock = clock
        self.config = ServerConfig(logtarget="/var/log/banguard.log", dbfile="/var/lib/banguard/b.sqlite3")
        self.configured: dict[str, JailConfig] = {}
        self.jails: dict[str, JailConfig] = {}
        self.started: set[str] = set()
        self.idle: set[str] = set()
        self.bans: dict[str, dict[str, ActiveBan]] = {}
        self.totals: dict[str, int] = {}
        self.attempts: dict[tuple[str, str], int] = {}
        self.reloads: list[ReloadRequest] = []
        self.calls: list[tuple] = []
        self.stopped = threading.Event()
        self.ready = True
        self.bus = Bus()
        self.log_stats: list[LogStats] = []
        self.actions: dict[str, dict[str, ActionStats]] = {}
        self._lock = threading.RLock()

    # ---- for tests

    def with_jail(self, name: str = "sshd", **fields) -> MemoryServer:
        defaults = {
            "filter": FilterConfig(name, failregex=("^bad <HOST>$",)),
            "backend": "polling",
            "logpath": (LogPath("/var/log/a"), LogPath("/var/log/b")),
        }
        config = JailConfig(name, **{**defaults, **fields})
        self.configured[name] = config
        self.add_jail(config)
        self.started.add(name)
        return self

    def put_ban(self, jail: str, host: str, *, since: float = NOW, until: float | None = NOW + 600, **fields) -> None:
        enforced = fields.pop("enforced", True)
        self.bans[jail][host] = ActiveBan(Ban(jail, host, since, until, **fields), enforced)
        self.totals[jail] += 1

    # ---- ServerApi

    def is_ready(self):
        return self.ready

    def server_config(self):
        return self.config

    def change_server(self, edit):
        with self._lock:
            new = edit(self.config)
            if new.loglevel not in ("INFO", "DEBUG", "NOTICE"):
                raise ControlError(f"Invalid log level '{new.loglevel}'")
            self.config = new
            return new

    def flush_logs(self):
        return "rolled over" if self.config.logtarget.startswith("/") else "flushed"

    def reload(self, request):
        self.reloads.append(request)
        if request.jail is not None and request.jail not in self.configured and not request.if_exists:
            raise unknown_jail(request.jail)
        if request.unban:
            for name in [request.jail] if request.jail else list(self.jails):
                self.unban_all(name)
        return ("jail.conf:3: warning: [x] something",)

    def stop(self):
        self.stopped.set()

    def now(self):
        return self.clock.now() if self.clock else NOW

    def started_at(self):
        return NOW - 3600

    def logs(self):
        return tuple(self.log_stats)

    def action_stats(self, jail):
        return self.actions.get(jail, {})

    def subscribe(self, observer):
        self.bus.subscribe(observer)

    def unsubscribe(self, observer):
        self.bus.unsubscribe(observer)

    def jail_names(self):
        return tuple(sorted(self.jails))

    def jail(self, name):
        config = self._jail(name)
        bans = sorted(
            self.bans[name].values(),
            key=lambda active: (active.ban.until is None, active.ban.until or 0, active.ban.host),
        )
        return JailView(
            config,
            backend=config.backend if config.backend != "auto" else "polling",
            stats=JailStats(currently_failed=1, total_failed=7),
            files=() if config.backend == "systemd" else tuple(sorted(path.pattern for path in config.logpath)),
            bans=tuple(bans),
            total_banned=self.totals[name],
            started=name in self.started,
            idle=name in self.idle,
        )

    def rules(self, name):
        rules = self._jail(name).filter
        date = None if not rules.datepattern else (rules.datepattern, "Year-Month-Day")
        return RulesView(
            _expanded(rules.prefregex),
            tuple(map(_expanded, rules.failregex)),
            tuple(map(_expanded, rules.ignoreregex)),
            date,
            tuple(map(_expanded, rules.successregex)),
        )

    def explain(self, line, jail):
        clock = self.clock or SystemClock()
        names = self.jails if jail is None else [jail]
        return tuple(explain_configured(self._jail(name), line, clock) for name in names)

    def why(self, host, watch):
        banned = [{"jail": name, "id": host} for name, bans in self.bans.items() if host in bans]
        return {"host": host, "now": NOW, "bans": banned, "notes": [], "protected": False, "over": None}

    def self_test(self, jail, *, line, write_log):
        self._jail(jail)
        step = {"name": "line", "passed": jail != "broken", "seconds": 0.5, "message": line or "made"}
        return {"jail": jail, "line": line, "passed": step["passed"], "steps": [step]}

    def past(self, host):
        return [PastBan(active.ban) for bans in self.bans.values() for key, active in bans.items() if key == host]

    def add_jail(self, config):
        if config.name in self.jails:
            raise duplicate_jail(config.name)
        self.jails[config.name] = config
        self.bans[config.name] = {}
        self.totals[config.name] = 0

    def start_jail(self, name):
        self._jail(name)
        self.started.add(name)

    def stop_jail(self, name):
        self._jail(name)
        del self.jails[name], self.bans[name], self.totals[name]

    def set_idle(self, name, idle):
        self._jail(name)
        (self.idle.add if idle else self.idle.discard)(name)

    def change_jail(self, name, edit):
        with self._lock:
            new = edit(self._jail(name))
            for regex in (*new.filter.failregex, *new.filter.ignoreregex, *new.filter.successregex):
                try:
                    re.compile(_expanded(regex))
                except re.error as error:
                    raise ControlError(f"Unable to compile regular expression {regex!r}: {error}") from None
            self.jails[name] = new
            return new

    def ban(self, jail, hosts):
        self._jail(jail)
        with self._lock:
            new = [host for host in hosts if host not in self.bans[jail]]
            now = self.clock.now() if self.clock else NOW
            bantime = self.jails[jail].bantime
            for host in new:
                until = None if bantime < 0 else now + bantime
                self.bans[jail][host] = ActiveBan(Ban(jail, host, now, until, origin=Origin.MANUAL), enforced=False)
            self.totals[jail] += len(new)
            return len(new)

    def import_bans(self, jail, bans):
        self._jail(jail)
        with self._lock:
            now = self.clock.now() if self.clock else NOW
            new = [ban for ban in bans if ban.host not in self.bans[jail] and (ban.until is None or ban.until > now)]
            for ban in new:
                self.bans[jail][ban.host] = ActiveBan(ban, enforced=False)
            self.totals[jail] += len(new)
            return len(new)

    def unban(self, jail, hosts):
        if jail is not None:
            self._jail(jail)
        done: dict[str, int] = {}
        for name in [jail] if jail is not None else list(self.jails):
            for host in hosts:
                if self.bans[name].pop(host, None) is not None:
                    done[host] = done.get(host, 0) + 1
        return done

    def unban_all(self, jail):
        names = [jail] if jail is not None else list(self.jails)
        count = 0
        for name in names:
            self._jail(name)
            count += len(self.bans[name])
            self.bans[name].clear()
        return count

    def attempt(self, jail, host, lines):
        config = self._jail(jail)
        if host in netaddr.AddressSet(entry for entry in config.ignoreip if netaddr.canonical(entry)):
            return 0
        key = jail, host
        self.attempts[key] = self.attempts.get(key, 0) + max(1, len(lines))
        return 1

    def add_action(self, jail, action):
        config = self._jail(jail)
        if any(known.name == action.name for known in config.actions):
            raise ControlError(f"Action {action.name} already exists")
        self.jails[jail] = replace(config, actions=(*config.actions, action))

    def delete_action(self, jail, name):
        action = self._action(jail, name)
        config = self.jails[jail]
        self.jails[jail] = replace(config, actions=tuple(known for known in config.actions if known != action))

    def action_properties(self, jail, name):
        action = self._action(jail, name)
        return {"timeout": 60, **action.commands, **action.properties}

    def action_methods(self, jail, name):
        self._action(jail, name)
        return ("ban", "flush", "start", "stop", "unban")

    def set_action_property(self, jail, name, key, value):
        action = self._action(jail, name)
        field = "commands" if key.startswith("action") and action.kind is ActionKind.COMMAND else "properties"
        new = replace(action, **{field: {**getattr(action, field), key: value}})
        config = self.jails[jail]
        actions = tuple(new if known == action else known for known in config.actions)
        self.jails[jail] = replace(config, actions=actions)
        return int(value) if value.isdecimal() else value

    def call_action(self, jail, name, method, arguments):
        self._action(jail, name)
        self.calls.append((jail, name, method, dict(arguments)))
        return True

    def _jail(self, name) -> JailConfig:
        if name not in self.jails:
            raise unknown_jail(name)
        return self.jails[name]

    def _action(self, jail, name) -> ActionConfig:
        for action in self._jail(jail).actions:
            if action.name == name:
                return action
        raise unknown_action(jail, name)


def _expanded(regex: str) -> str:
    return regex.replace("<HOST>", r"(?P<host>\S+)")


@contextlib.contextmanager
def serving(api, path, *, execute=None, **settings):
    """A real control socket at *path* that commands *api*; yields the ControlServer."""
    stop = threading.Event()
    context = Context(api, stop.wait)

    def answer(words):
        try:
            return commands.execute(context, words)
        except ControlError as error:
            return refusal(error)

    server = ControlServer(listen(str(path)), execute or answer, clock=SystemClock(), **settings)
    thread = threading.Thread(target=server.run, args=(stop,), name="control")
    thread.start()
    try:
        yield server
    finally:
        stop.set()
        server.close(grace=1.0)
        thread.join()
