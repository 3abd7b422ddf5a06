"""Route ban changes to the workers of a jail's actions."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence

from banguard.actions.base import ActionStats, History, JailNumbers, ReverseLookup
from banguard.clock import Clock
from banguard.config.schema import ActionConfig
from banguard.model import Ban, BanChange, Fact

STOP_DEADLINE = 30.0
"""Seconds that stopping everything may take before running commands are ended."""


class Dispatcher:
    """
    Knows the actions of every jail and tells their workers what changes.

    `emit` and `stats` may be called from any thread and never wait for an action; the methods that change which actions
    there are may be called from any thread, return at once as well, and take effect in the order of the calls.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        publish: Callable[[Fact], None] | None = None,
        history: History | None = None,
        reverse_lookup: ReverseLookup | None = None,
        jail_numbers: JailNumbers | None = None,
        allow_ipv6: bool = True,
        start_thread: Callable[[str, Callable[[], None]], threading.Thread] | None = None,
        check_every: float | None = 60.0,
    ) -> None:
        raise NotImplementedError

    def attach(self, jail: str, actions: Sequence[ActionConfig], bans: Sequence[Ban] = ()) -> tuple[str, ...]:
        """
        Start the *actions* of a new jail and give them its *bans*, which count as restored.

        Return what is wrong with actions that cannot be used (logged and published too); the others are started.
        """
        raise NotImplementedError

    def reattach(self, jail: str, actions: Sequence[ActionConfig], bans: Sequence[Ban]) -> tuple[str, ...]:
        """
        Change to *actions* on reload: removed ones are flushed and stopped, new ones started and given *bans* (as
        restored), kept ones get their new parameters and are told of the reload. Return as `attach`.
        """
        raise NotImplementedError

    def detach(self, jail: str, *, keep: bool = False) -> None:
        """Flush and stop the actions of a jail and forget it; *keep* leaves native firewall content in place."""
        raise NotImplementedError

    def emit(self, change: BanChange) -> None:
        """Tell the actions of the ban's jail; never blocks. Changes of jails that are not attached are ignored."""
        raise NotImplementedError

    def flush(self, jail: str) -> None:
        """Take all bans of *jail* out of its actions at once (`unban --all`); single unbans that follow are harmless."""
        raise NotImplementedError

    def check(self, jail: str | None = None) -> None:
        """Have the actions (None: of all jails) check soon that their bans are in force, and repair what is not."""
        raise NotImplementedError

    def stats(self, jail: str) -> Mapping[str, ActionStats]:
        """Return action name → numbers; empty for an unknown jail."""
        raise NotImplementedError

    def is_enforced(self, ban: Ban) -> bool:
        """Tell whether every action of the jail that blocks holds *ban*; False when the jail has none that blocks."""
        raise NotImplementedError

    # ---- single actions, for `set JAIL addaction …` and the like; ActionError for unknown ones and bad values

    def names(self, jail: str) -> tuple[str, ...]:
        """Return the names of the jail's actions in order; empty for an unknown jail."""
        raise NotImplementedError

    def add(self, jail: str, action: ActionConfig, bans: Sequence[Ban]) -> None:
        """Add one action and give it *bans* as restored."""
        raise NotImplementedError

    def remove(self, jail: str, name: str) -> None:
        """Flush, stop and forget one action."""
        raise NotImplementedError

    def properties(self, jail: str, name: str) -> Mapping[str, str]:
        """Return the properties of an action."""
        raise NotImplementedError

    def set_property(self, jail: str, name: str, key: str, value: str) -> str:
        """Set a property of an action and return the value it has now."""
        raise NotImplementedError

    def methods(self, jail: str, name: str) -> tuple[str, ...]:
        """Return the names of the methods of an action that `call` can call."""
        raise NotImplementedError

    def call(
        self, jail: str, name: str, method: str, arguments: Mapping[str, object], timeout: float | None = None
    ) -> object:
        """Call a method of an action in its thread and return the result; blocks, at most *timeout* seconds."""
        raise NotImplementedError

    def wait(self, timeout: float) -> bool:
        """Wait until nothing is to be done (True), or *timeout* seconds are over (False)."""
        raise NotImplementedError

    def stop(self, deadline: float = STOP_DEADLINE, *, keep: bool = False) -> bool:
        """
        Detach every jail and end all threads; return whether all of it was done within *deadline* seconds.

        What still runs then is ended. *keep* as in `detach`.
        """
        raise NotImplementedError


def verify(action: ActionConfig) -> None:
    """Check *action* as far as that is possible without running anything; raise ActionError saying what is wrong."""
    raise NotImplementedError
