"""ignoreip, ignoreself, ignorecommand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from banguard.clock import Clock
from banguard.config.schema import IgnoreCache
from banguard.jails.resolver import Resolver

RunCheck = Callable[[str, Mapping[str, str]], int | None]
"""
Runs `ignorecommand`: the command with its tags, the values of the tags (untrusted text: they must not become shell text).

Returns the exit status, None when the command could not be run or took too long. Blocks; logs its own trouble.
"""


class IgnoreRules:
    """The hosts that a jail spares, in the order: cache, own addresses, addresses, networks/names/files, command."""

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
        raise NotImplementedError

    def reason(self, host: str, tags: Callable[[], Mapping[str, str]] | None = None, *, command: bool = True) -> str | None:
        """
        Return why *host* is spared (`ignoreself rule`, `ip`, `dns`, `file:…`, `command`), None when it is not.

        *tags* gives the values for `ignorecommand` and the key of `ignorecache`; by default those of the host alone.
        With *command* False the command is not run (nor the cache used), so that the answer comes at once.
        """
        raise NotImplementedError
