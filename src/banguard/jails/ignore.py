"""ignoreip, ignoreself, ignorecommand."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence

from banguard import netaddr
from banguard.clock import Clock
from banguard.config.schema import IgnoreCache
from banguard.jails.resolver import Resolver

logger = logging.getLogger("banguard.filter")

RunCheck = Callable[[str, Mapping[str, str]], int | None]
"""
Runs `ignorecommand`, given the command with its tags and their values (untrusted text, never to become shell text).

Returns the exit status, None when the command could not be run or took too long. Blocks; logs its own trouble.
"""

_NAME = re.compile(r"(?=.*[A-Za-z])[\w-]+(?:\.[\w-]+)*\.?\Z", re.ASCII)
_SEPARATORS = re.compile(r"[\s,]+")
_COMMENT = re.compile(r"(?:^|(?<=\s))[#;].*")
_TAG = re.compile(r"<([A-Za-z][\w.-]*)>")

_CHECK_AGAIN = 1.0
_TRY_AGAIN = 60.0


def is_host_name(text: str) -> bool:
    """Tell whether *text* can be a host name rather than an address or other id."""
    return _NAME.match(text) is not None


def host_tags(host: str) -> dict[str, str]:
    """Return the tags that can be told from *host* alone."""
    family = netaddr.family(host)
    return {
        "ip": host,
        "fid": host,
        "family": "None" if family is None else f"inet{family}",
        "ip-rev": netaddr.reverse(host),
    }


class _Entries:
    """Entries of `ignoreip` by kind: addresses and other ids in one set, networks, names."""

    __slots__ = ("exact", "names", "networks")

    def __init__(self, entries: Iterable[str] = ()) -> None:
        self.exact: set[str] = set()
        self.networks = netaddr.AddressSet()
        self.names: dict[str, None] = {}
        for entry in entries:
            address = netaddr.canonical(entry)
            if address is None:
                self.exact.add(entry)
                if is_host_name(entry):
                    self.names[entry] = None
            else:
                self.exact.add(address)
                if netaddr.is_network(address):
                    self.networks.add(address)


class _File:
    """Entries in a file that is read when first needed, and again when it changed."""

    __slots__ = ("_clock", "_entries", "_next", "_path", "_seen", "spec")

    def __init__(self, spec: str, clock: Clock) -> None:
        path = spec.removeprefix("file:")
        self.spec = spec
        self._path = path.removeprefix("//")
        self._clock = clock
        self._entries = _Entries()
        self._seen: tuple[int, int, int] | None = None
        self._next = float("-inf")

    def entries(self) -> _Entries:
        """Return what the file holds; what it held last when it cannot be read now."""
        now = self._clock.monotonic()
        if now < self._next:
            return self._entries
        self._next = now + _CHECK_AGAIN
        try:
            status = os.stat(self._path)
            seen = (status.st_mtime_ns, status.st_ino, status.st_size)
            if seen != self._seen:
                with open(self._path, encoding="utf-8", errors="replace") as file:
                    self._entries = _Entries(_file_entries(file))
                self._seen = seen
        except (OSError, ValueError) as error:
            self._next = now + _TRY_AGAIN
            logger.error("Cannot read the addresses to ignore from %r: %s", self._path, error)
        return self._entries


def _file_entries(lines: Iterable[str]) -> Iterable[str]:
    for line in lines:
        yield from filter(None, _SEPARATORS.split(_COMMENT.sub("", line)))


class IgnoreRules:
    """
    The hosts that a jail spares, asked in the order: cache, own addresses, addresses, networks/names/files, command.

    Not thread-safe: the registry, which asks for restored bans, gets an instance of its own.
    """

    def __init__(
        self,
        jail: str,
        *,
        clock: Clock,
        resolver: Resolver,
        ignoreip: Sequence[str] = (),
        ignoreself: bool = True,
        command: str = "",
        cache: IgnoreCache | None = None,
        run_check: RunCheck | None = None,
    ) -> None:
        """Entries of *ignoreip* are addresses, networks, host names, `file:PATH`, or other ids."""
        self._jail = jail
        self._clock = clock
        self._resolver = resolver
        self._ignoreself = ignoreself
        self._command = command
        self._run_check = run_check
        self._entries = _Entries(entry for entry in ignoreip if not entry.startswith("file:"))
        self._files = tuple(_File(entry, clock) for entry in ignoreip if entry.startswith("file:"))
        self._cache = cache
        self._verdicts: dict[str, tuple[str | None, float]] = {}
        self._wants_name = "<ip-host>" in command or (cache is not None and "<ip-host>" in cache.key)

    def reason(
        self, host: str, tags: Callable[[], Mapping[str, str]] | None = None, *, command: bool = True
    ) -> str | None:
        """
        Return why *host* is spared (`ignoreself rule`, `ip`, `dns`, `file:…`, `command`), None when it is not.

        *tags* gives further values for `ignorecommand` and for the key of `ignorecache` (log text, untrusted). With
        *command* False neither the command nor the cache is used, so that the answer comes at once.
        """
        if not command:
            return self._by_lists(host)
        cache = self._cache
        if cache is None and not self._command:
            return self._by_lists(host)
        values = self._tags(host, tags)
        key = "" if cache is None else _TAG.sub(lambda tag: values.get(tag[1], tag[0]), cache.key)
        if cache is not None:
            verdict = self._verdicts.get(key)
            if verdict is not None and self._clock.monotonic() < verdict[1]:
                return verdict[0]
        reason = self._by_lists(host)
        if reason == "ip":
            return reason  # as cheap as the cache itself
        if reason is None:
            reason = self._by_command(values)
        if cache is not None:
            self._remember(cache, key, reason)
        return reason

    def reason_within(self, network: str) -> str | None:
        """Return why *network* cannot be banned as a whole: whom the lists spare in it; None if nobody."""
        around = netaddr.AddressSet((network,))
        if any(own in around for own in self._resolver.own_addresses()):
            return "own address"  # whatever ignoreself says: it would lock us out
        lists = [("ip", self._entries), *((file.spec, file.entries()) for file in self._files)]
        for reason, entries in lists:
            if any(entry in around for entry in entries.exact) or entries.networks.touches(network):
                return reason
            if any(address in around for name in entries.names for address in self._resolver.addresses(name)):
                return "dns"
        return None

    def _by_lists(self, host: str) -> str | None:
        if self._ignoreself and host in self._resolver.own_addresses():
            return "ignoreself rule"
        entries = self._entries
        if host in entries.exact:
            return "ip"
        if host in entries.networks:
            return "ip"
        if entries.names and self._is_named(host, entries):
            return "dns"
        for file in self._files:
            entries = file.entries()
            if host in entries.exact or host in entries.networks or self._is_named(host, entries):
                return file.spec
        return None

    def _is_named(self, host: str, entries: _Entries) -> bool:
        return any(host in self._resolver.addresses(name) for name in entries.names)

    def _by_command(self, tags: Mapping[str, str]) -> str | None:
        if not self._command or self._run_check is None:
            return None
        status = self._run_check(self._command, tags)
        if status == 0:
            return "command"
        if status is not None and status != 1:
            logger.error("[%s] ignorecommand ended with status %d: nothing is ignored", self._jail, status)
        return None

    def _tags(self, host: str, tags: Callable[[], Mapping[str, str]] | None) -> Mapping[str, str]:
        values = host_tags(host)
        if tags is not None:
            values.update(tags())
        if self._wants_name:
            values["ip-host"] = self._resolver.name(values["ip"]) or "None"
        return values

    def _remember(self, cache: IgnoreCache, key: str, reason: str | None) -> None:
        self._verdicts.pop(key, None)
        while self._verdicts and len(self._verdicts) >= cache.max_count:
            del self._verdicts[next(iter(self._verdicts))]
        if cache.max_count > 0:
            self._verdicts[key] = (reason, self._clock.monotonic() + cache.max_time)
