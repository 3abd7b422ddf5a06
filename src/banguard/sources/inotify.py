"""Thread that waits for inotify events, through pyinotify."""

from __future__ import annotations

import errno
import importlib
import logging
import os
import select
import struct
import threading
import warnings
from collections.abc import Iterable, Iterator, Mapping
from types import ModuleType

from banguard.clock import Clock
from banguard.errors import SourceError
from banguard.message import tell, why
from banguard.model import SourceTrouble
from banguard.sources.base import LogStats, PrefilterFor, Publish, Subscription
from banguard.sources.front import Front
from banguard.sources.hub import Hub

logger = logging.getLogger("banguard.filter")

_RESCAN_EVERY = 60.0
_DISCOVER_PAUSE = 0.1
_GATHER = 0.002
_POLL_SHORTEST, _POLL_LONGEST, _POLL_GROWTH = 0.2, 1.0, 1.25
_POLL_DISCOVER = 5.0
_READ = 65536
_EVENT = struct.Struct("iIII")

# inotify(7)
_MODIFY = 0x2
_MOVED_FROM, _MOVED_TO, _CREATE, _DELETE = 0x40, 0x80, 0x100, 0x200
_DELETE_SELF, _MOVE_SELF = 0x400, 0x800
_UNMOUNT, _Q_OVERFLOW, _IGNORED = 0x2000, 0x4000, 0x8000
_ONLYDIR, _MASK_ADD = 0x01000000, 0x20000000

_ITSELF = _DELETE_SELF | _MOVE_SELF
_ENTRIES = _CREATE | _DELETE | _MOVED_FROM | _MOVED_TO
_LOST = _ITSELF | _UNMOUNT | _IGNORED

# Changes made on another machine, or below the file system, cause no event here.
_REMOTE = ("nfs", "cifs", "smb", "9p", "afs", "ceph", "gluster", "lustre", "fuse", "vboxsf", "virtiofs", "ocfs2", "gfs")


def _load() -> ModuleType:
    """Import pyinotify, without its side effects; SourceError when it is not there."""
    try:
        with warnings.catch_warnings():
            # It imports asyncore, which is deprecated, and gone in Python 3.12 (pyasyncore brings it back).
            warnings.simplefilter("ignore")
            module = importlib.import_module("pyinotify")
    except ImportError as error:
        missing = "pyasyncore" if error.name == "asyncore" else "pyinotify"
        raise SourceError(
            tell(
                "backend inotify needs {missing}: apt-get install python3-{missing}, or pip install {missing}",
                missing=missing,
            )
        ) from None
    except Exception as error:  # noqa: BLE001  UnsupportedPythonVersionError and its like, raised at import
        raise SourceError(tell("backend inotify: pyinotify cannot be used: {reason}", reason=why(error))) from None
    # Importing it put a handler for the standard error output on its logger.
    module.log.handlers.clear()
    module.log.setLevel(logging.WARNING)
    return module


class Watches:
    """
    The inotify instance and its watches, by way of pyinotify's WatchManager.

    Its notifiers are not used: a file name that is not UTF-8, or an exception, ends their thread. Watch descriptors are
    taken off the file descriptor here; names are decoded so that every name can be told.
    """

    def __init__(self) -> None:
        module = _load()
        self._error: type[Exception] = module.WatchManagerError
        binding = _binding(module)

        class Manager(module.WatchManager):  # type: ignore[misc, name-defined]
            """A WatchManager whose binding does not run `ldconfig` to find the C library."""

            def __init__(self) -> None:
                self._ignore_events = False
                self._exclude_filter = lambda _path: False
                self._wmd: dict[int, object] = {}
                self._inotify_wrapper = binding
                self._fd = binding.inotify_init()

        self._binding = binding
        self._manager = Manager()
        self.descriptor: int = self._manager.get_fd()
        if self.descriptor < 0:
            code = binding.get_errno()
            hint = "; raise fs.inotify.max_user_instances" if code == errno.EMFILE else ""
            raise SourceError(f"backend inotify: {os.strerror(code)}{hint}")

    def add(self, directory: str, mask: int) -> int:
        """Watch *directory*, or more of it; return the watch descriptor. Raises OSError."""
        try:
            added = self._manager.add_watch(directory, mask | _ONLYDIR | _MASK_ADD, quiet=False)
        except self._error:
            code = self._binding.get_errno()
            raise OSError(code, os.strerror(code), directory) from None
        return int(next(iter(added.values())))

    def remove(self, watch: int) -> None:
        """End a watch, if it still is one."""
        try:
            self._manager.rm_watch(watch, quiet=False)
        except self._error:
            self._manager.watches.pop(watch, None)

    def read(self) -> Iterator[tuple[int, int, str]]:
        """Give the events that wait: watch descriptor, mask, name (empty: of the directory itself)."""
        while True:
            try:
                data = os.read(self.descriptor, _READ)
            except BlockingIOError:
                return
            at = 0
            while at < len(data):
                watch, mask, _cookie, length = _EVENT.unpack_from(data, at)
                at += _EVENT.size
                name = data[at : at + length].rstrip(b"\0")
                at += length
                if mask & _IGNORED:
                    self._manager.watches.pop(watch, None)
                yield watch, mask, os.fsdecode(name)
            if len(data) < _READ // 2:
                return

    def close(self) -> None:
        """Close the instance."""
        self._manager.close()


def _binding(module: ModuleType):  # type: ignore[no-untyped-def]  # noqa: ANN202  a class of pyinotify, which is untyped
    """Return pyinotify's binding to the C library, with a descriptor that is not inherited and does not block."""
    import ctypes  # noqa: PLC0415  only here

    class Binding(module._CtypesLibcINotifyWrapper):  # type: ignore[misc, name-defined]  # noqa: SLF001
        def init(self) -> bool:
            self._libc = ctypes.CDLL(None, use_errno=True)
            self._get_errno_func = ctypes.get_errno
            self._libc.inotify_add_watch.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_uint32]
            self._libc.inotify_rm_watch.argtypes = [ctypes.c_int, ctypes.c_int]
            return True

        def _inotify_init(self) -> int:
            return int(self._libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK))

        def _inotify_add_watch(self, descriptor: int, path: str, mask: int) -> int:
            return int(self._libc.inotify_add_watch(descriptor, os.fsencode(path), mask))

    binding = Binding()
    binding.init()
    return binding


def check() -> None:
    """Raise SourceError when inotify cannot be used: pyinotify is missing, or no instance is to be had."""
    if not hasattr(select, "epoll"):
        raise SourceError(tell("backend inotify: this is no Linux; use backend polling"))
    Watches().close()


class InotifySource:
    """
    Watches the directories of the logs, for all jails in one thread; at rest it sleeps.

    Directories that cannot be watched (limits of the system, missing rights, network file systems) are polled by the
    same thread, and that is said once. Everything is looked at again every minute, and when events were lost.
    """

    name = "inotify"

    def __init__(
        self,
        *,
        clock: Clock,
        publish: Publish,
        prefilter_for: PrefilterFor | None = None,
        hub: Hub | None = None,
    ) -> None:
        self._wake = -1
        check()
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._clock = clock
        self._publish = publish
        self._hub = hub or Hub(clock=clock, publish=publish, prefilter_for=prefilter_for)
        self._front = Front(self.wake)
        self._watches: Watches | None = None
        # real directory → watch, mask, device and inode; and back
        self._watched: dict[str, tuple[int, int, tuple[int, int]]] = {}
        self._directories: dict[int, set[str]] = {}
        self._polled: dict[str, str] = {}
        self._poll_interval = _POLL_SHORTEST
        self._poll_at = 0.0
        self._poll_discover_at = 0.0
        self._rescan_at = 0.0
        self._discover_at: float | None = None
        self._last_discover = -1.0

    def subscribe(self, subscription: Subscription) -> None:
        """Begin to read for a jail (see Source.subscribe)."""
        self._front.order(lambda: self._hub.subscribe(subscription))

    def unsubscribe(self, jail: str) -> None:
        """Hand out nothing more to *jail*."""
        self._front.order(lambda: self._hub.unsubscribe(jail), wait=True)

    def wake(self) -> None:
        """End the present wait."""
        os.eventfd_write(self._wake, 1)

    def files(self, jail: str) -> tuple[str, ...]:
        """Return the logs that are read for *jail*."""
        return self._hub.files(jail)

    def snapshot(self) -> tuple[LogStats, ...]:
        """Return the numbers of every log."""
        return self._hub.snapshot()

    def run(self, stop: threading.Event) -> None:
        """Read until *stop* is set."""
        self._forget_watches()
        self._watches = Watches()
        try:
            with self._front.serving():
                self._rescan_at = 0.0
                changed: set[str] | None = None
                while not stop.is_set():
                    delay = self._round(changed)
                    changed = self._wait(delay)
        finally:
            self._forget_watches()
        self._hub.close()

    def __del__(self) -> None:
        if self._wake >= 0:
            os.close(self._wake)

    def _forget_watches(self) -> None:
        if self._watches is not None:
            self._watches.close()
        self._watches = None
        self._watched.clear()
        self._directories.clear()

    # ---- one round

    def _round(self, changed: set[str] | None) -> float:
        """Read what is new; return how many seconds to wait for events."""
        now = self._clock.monotonic()
        ordered = self._front.carry_out()
        if now >= self._rescan_at:
            self._rescan_at = now + _RESCAN_EVERY
            self._check_watched()
            self._discover(now)
            changed = None
        elif ordered:
            changed = None
        elif self._discover_at is not None and now >= self._discover_at:
            self._discover(now)
            changed = None
        if changed is None:
            self._arm()
        if self._polled and now >= self._poll_at:
            changed = self._add_polled(changed, now)
        blocks = self._hub.blocks
        due = self._hub.poll(changed)
        if self._hub.blocks != blocks:
            self._poll_interval = _POLL_SHORTEST
            if due != 0:
                # Lines come in bursts: let a few gather, so that a busy log does not cost a wake-up per line.
                self._wait_for(self._wake, _GATHER)
        times = [self._rescan_at - now]
        if due is not None:
            times.append(due)
        if self._discover_at is not None:
            times.append(self._discover_at - now)
        if self._polled:
            times.append(self._poll_at - now)
        return max(0.0, min(times))

    def _discover(self, now: float) -> None:
        self._hub.discover()
        self._discover_at = None
        self._last_discover = now

    def _add_polled(self, changed: set[str] | None, now: float) -> set[str] | None:
        """Add the logs that no event will tell of."""
        self._poll_interval = min(_POLL_LONGEST, self._poll_interval * _POLL_GROWTH)
        self._poll_at = now + self._poll_interval
        if now >= self._poll_discover_at:
            self._poll_discover_at = now + _POLL_DISCOVER
            self._discover(now)
            self._arm()
        if changed is None:
            return None
        names = self._hub.found.names
        return changed.union(*(logs for (directory, _), logs in names.items() if directory in self._polled))

    def _wait(self, seconds: float) -> set[str] | None:
        """Wait for events; return the logs that changed, None for all."""
        assert self._watches is not None  # noqa: S101  only called by run
        poll = select.poll()
        poll.register(self._watches.descriptor, select.POLLIN)
        poll.register(self._wake, select.POLLIN)
        poll.poll(seconds * 1000)
        self._drain_wake()
        return self._take_events(self._watches.read())

    def _wait_for(self, descriptor: int, seconds: float) -> None:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        poll.poll(seconds * 1000)

    def _drain_wake(self) -> None:
        try:
            os.eventfd_read(self._wake)
        except BlockingIOError:
            return

    def _take_events(self, events: Iterable[tuple[int, int, str]]) -> set[str] | None:
        changed: set[str] = set()
        found = self._hub.found
        rescan = False
        for watch, mask, name in events:
            if mask & _Q_OVERFLOW:
                logger.warning("inotify events were lost; looking at all logs")
                rescan = True
            elif mask & _LOST and not name:
                rescan = self._forget(watch) or rescan
            for directory in self._directories.get(watch, ()) if name else ():
                changed |= found.names.get((directory, name), set())
                if mask & _ENTRIES and self._discover_at is None and found.matters(directory, name):
                    self._discover_at = max(self._clock.monotonic(), self._last_discover + _DISCOVER_PAUSE)
        if rescan:
            self._rescan_at = 0.0
        return changed

    # ---- watches

    def _forget(self, watch: int) -> bool:
        """Forget a watch whose directory is gone or moved; return whether it was one of ours."""
        directories = self._directories.pop(watch, None)
        if directories is None:
            return False
        for directory in directories:
            self._watched.pop(directory, None)
        assert self._watches is not None  # noqa: S101  only called while run holds it
        self._watches.remove(watch)
        return True

    def _check_watched(self) -> None:
        """Forget watches whose directory is another one now, which no event told."""
        for directory, (watch, _, ident) in list(self._watched.items()):
            try:
                status = os.stat(directory)
            except OSError:
                self._forget(watch)
                continue
            if (status.st_dev, status.st_ino) != ident:
                self._forget(watch)

    def _arm(self) -> None:
        """Watch what is to be watched at present; what came while that was done is discovered as well."""
        for _ in range(5):
            if not self._arm_once():
                return
            self._hub.discover()

    def _arm_once(self) -> bool:
        assert self._watches is not None  # noqa: S101  only called while run holds it
        wanted = self._wanted()
        for directory in [known for known in self._watched if known not in wanted]:
            watch, _, _ = self._watched.pop(directory)
            self._directories[watch].discard(directory)
            if not self._directories[watch]:
                del self._directories[watch]
                self._watches.remove(watch)
        for directory in [known for known in self._polled if known not in wanted]:
            del self._polled[directory]
        remote = _remote_mounts()
        added = False
        for directory, mask in wanted.items():
            known = self._watched.get(directory)
            if (known is not None and known[1] & mask == mask) or directory in self._polled:
                continue
            kind = _kind_of(directory, remote)
            if kind:
                self._poll_instead(directory, f"changes on a {kind} file system are not told")
                continue
            try:
                watch = self._watches.add(directory, mask)
                status = os.stat(directory)
            except (FileNotFoundError, NotADirectoryError):
                # Gone meanwhile: its parent tells, or the next look at all.
                self._rescan_at = min(self._rescan_at, self._clock.monotonic() + 1.0)
                continue
            except OSError as error:
                hint = "; raise fs.inotify.max_user_watches" if error.errno == errno.ENOSPC else ""
                self._poll_instead(directory, f"{error.strerror}{hint}")
                continue
            self._watched[directory] = (watch, mask | (known[1] if known else 0), (status.st_dev, status.st_ino))
            self._directories.setdefault(watch, set()).add(directory)
            added = True
        return added

    def _wanted(self) -> Mapping[str, int]:
        found = self._hub.found
        with_logs = {directory for directory, _ in found.names}
        wanted = {}
        for directory, names in found.watches.items():
            mask = _ITSELF
            if names:
                mask |= _ENTRIES
            if directory in with_logs:
                mask |= _MODIFY
            wanted[directory] = mask
        return wanted

    def _poll_instead(self, directory: str, reason: str) -> None:
        message = f"Cannot watch {directory} ({reason}); polling it"
        logger.warning(message)
        self._publish(SourceTrouble(self._clock.now(), directory, message))
        self._polled[directory] = reason
        self._poll_at = 0.0


def _remote_mounts() -> dict[str, str]:
    """Return the mount points of file systems without events, and their types (proc(5), mountinfo)."""
    found = {}
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as table:
            for line in table:
                before, _, after = line.partition(" - ")
                kind = after.split(" ", 1)[0]
                point = before.split(" ")[4].replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\")
                found[point] = kind if kind.startswith(_REMOTE) else ""
    except (OSError, IndexError):
        return {}
    return found if any(found.values()) else {}


def _kind_of(directory: str, mounts: Mapping[str, str]) -> str:
    """Return the type of a remote file system that *directory* lies on, empty when it is a local one."""
    while mounts:
        if directory in mounts:
            return mounts[directory]
        if directory == "/":
            break
        directory = os.path.dirname(directory)
    return ""
