"""Host names to addresses, with cache and timeout (usedns)."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from banguard import netaddr
from banguard.clock import Clock

logger = logging.getLogger("banguard.filter")

V = TypeVar("V")

TIMEOUT = 5.0
TTL = 300.0
NEGATIVE_TTL = 60.0
MAX_ENTRIES = 10_000

_LEAST_PATIENCE = 0.05
_MAX_RUNNING = 16
_LONGEST_NAME = 253  # RFC 1035, in its text form
_NO_SUCH_NAME = frozenset({socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME), socket.EAI_FAIL})


def _system_forward(name: str) -> tuple[str, ...]:
    found = set()
    for info in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM):
        address = netaddr.canonical(str(info[4][0]).partition("%")[0])
        if address is not None:
            found.add(address)
    return tuple(sorted(found))


def _system_backward(address: str) -> str:
    return socket.gethostbyaddr(address)[0]


def _could_be_name(text: str) -> bool:
    """Tell whether *text* may be asked for: getaddrinfo takes `1` or `0x7f.1` for addresses, which nobody wrote."""
    if not text or len(text) > _LONGEST_NAME or "\0" in text:
        return False
    try:
        socket.inet_aton(text)
    except (OSError, UnicodeError):
        return True
    return False


class _Answer(Generic[V]):
    __slots__ = ("until", "value")

    def __init__(self, value: V, until: float) -> None:
        self.value = value
        self.until = until


class _LookUps(Generic[V]):
    """
    One kind of look-up: cache, helper threads, deadline.

    The lock is needed because several jails ask, and the helper threads answer.
    """

    def __init__(
        self,
        clock: Clock,
        function: Callable[[str], V],
        unknown: V,
        *,
        timeout: float,
        ttl: float,
        negative_ttl: float,
        max_entries: int,
    ) -> None:
        self._clock = clock
        self._function = function
        self._unknown = unknown
        self._timeout = timeout
        self._ttl = ttl
        self._negative_ttl = negative_ttl
        self._max_entries = max_entries
        self._patience = timeout
        self._lock = threading.Lock()
        self._answers: dict[str, _Answer[V]] = {}
        self._running: dict[str, threading.Event] = {}
        self.timeouts = 0

    def ask(self, key: str) -> V:
        """Return the answer; the last known one, or the unknown value, when none comes before the deadline."""
        with self._lock:
            answer = self._answers.get(key)
            if answer is not None and self._clock.monotonic() < answer.until:
                return answer.value
            known = self._unknown if answer is None else answer.value
            done = self._running.get(key)
            if done is None:
                if len(self._running) >= _MAX_RUNNING:
                    return known  # every helper hangs already: nobody else shall wait
                done = self._running[key] = threading.Event()
                threading.Thread(target=self._look_up, args=(key, done), name="look-up", daemon=True).start()
            patience = self._patience
        if done.wait(patience):
            self._patience = min(self._timeout, patience * 2)
        else:
            # A dead name server must not cost the jail the full deadline for each of many names.
            self._patience = max(min(_LEAST_PATIENCE, self._timeout), patience / 2)
            self.timeouts += 1
            self._keep(key, known, self._negative_ttl, only_if_running=True)
        with self._lock:
            answer = self._answers.get(key)
            return known if answer is None else answer.value

    def _look_up(self, key: str, done: threading.Event) -> None:
        try:
            value = self._function(key)
            self._keep(key, value, self._ttl if value else self._negative_ttl)
        except socket.gaierror as error:
            if error.errno in _NO_SUCH_NAME:
                self._keep(key, self._unknown, self._negative_ttl)
            else:  # the server is away: what was known is better than nothing
                self._keep_last(key)
        except (socket.herror, UnicodeError, ValueError):
            self._keep(key, self._unknown, self._negative_ttl)
        except OSError:
            self._keep_last(key)
        finally:
            with self._lock:
                self._running.pop(key, None)
            done.set()

    def _keep(self, key: str, value: V, ttl: float, *, only_if_running: bool = False) -> None:
        with self._lock:
            if only_if_running and key not in self._running:
                return  # the answer came just now after all
            self._answers.pop(key, None)
            while len(self._answers) >= self._max_entries:
                del self._answers[next(iter(self._answers))]
            self._answers[key] = _Answer(value, self._clock.monotonic() + ttl)

    def _keep_last(self, key: str) -> None:
        with self._lock:
            answer = self._answers.get(key)
        self._keep(key, self._unknown if answer is None else answer.value, self._negative_ttl)

    def forget(self) -> None:
        with self._lock:
            self._answers.clear()
            self._patience = self._timeout


class Resolver:
    """
    Looks names and addresses up without ever holding its caller longer than the deadline. Any thread may ask.

    Each look-up runs in a helper thread; an answer that comes late is there for the next time. After a missed deadline
    the next one is half as long, down to 0.05 s, and grows again with each answer in time. An answer is kept for *ttl*
    seconds, that there is none for *negative_ttl*; when the name server does not answer, what it said last stays.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        forward: Callable[[str], Sequence[str]] | None = None,
        backward: Callable[[str], str] | None = None,
        own: Callable[[], frozenset[str]] | None = None,
        timeout: float = TIMEOUT,
        ttl: float = TTL,
        negative_ttl: float = NEGATIVE_TTL,
        max_entries: int = MAX_ENTRIES,
    ) -> None:
        """*forward*, *backward* and *own* do the real look-ups (by default the system's) and may raise OSError."""
        self._own_function = own or netaddr.own_addresses

        def lookups(function: Callable[[str], V], unknown: V, negative: float = negative_ttl) -> _LookUps[V]:
            return _LookUps(
                clock,
                function,
                unknown,
                timeout=timeout,
                ttl=ttl,
                negative_ttl=negative,
                max_entries=max_entries,
            )

        ask: Callable[[str], Sequence[str]] = forward or _system_forward
        self._forward: _LookUps[tuple[str, ...]] = lookups(lambda name: _only_addresses(ask(name)), ())
        self._backward: _LookUps[str] = lookups(backward or _system_backward, "")
        self._own: _LookUps[frozenset[str]] = lookups(lambda _key: self._own_function(), frozenset())

    def addresses(self, name: str) -> tuple[str, ...]:
        """Return the canonical addresses of *name*, sorted; none when it has none or no answer came in time."""
        name = name.rstrip(".").lower()
        return self._forward.ask(name) if _could_be_name(name) else ()

    def name(self, address: str) -> str | None:
        """Return the host name of *address*; None when it has none or no answer came in time."""
        if netaddr.family(address) is None or netaddr.is_network(address):
            return None
        return self._backward.ask(address) or None

    def own_addresses(self) -> frozenset[str]:
        """Return the addresses of this host, at most five minutes old; without those of its name when DNS hangs."""
        return self._own.ask("") or netaddr.interface_addresses()

    @property
    def timeouts(self) -> int:
        """How often the deadline was missed."""
        return self._forward.timeouts + self._backward.timeouts + self._own.timeouts

    def forget(self) -> None:
        """Drop all answers (at a full reload)."""
        for kind in (self._forward, self._backward, self._own):
            kind.forget()


def _only_addresses(texts: Sequence[str]) -> tuple[str, ...]:
    return tuple(sorted({address for text in texts if (address := netaddr.canonical(text)) is not None}))
