"""
Users' Python actions: a file with `class Action`.

The class is built as `Action(jail, name, **properties)` and has any of `start() stop() ban(info) unban(info)
reban(info) prolong(info) flush() reload(**properties)`. *info* is a lazy mapping of the tags of a ban. Whatever such a
class raises is reported and never harms anything else, nor does one that hangs: it runs in a thread of its own, which
is left alone after a deadline. Files written for fail2ban import its base class; where
fail2ban is not installed for our interpreter, a small class of the same name and manners is put in its place.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import logging
import sys
import threading
import types
from collections.abc import Callable, Iterator, Mapping, MutableMapping

from banguard.actions.base import History, JailNumbers, ReverseLookup, Step
from banguard.actions.command import ban_of
from banguard.actions.tags import BanTags
from banguard.clock import Clock
from banguard.config.schema import ActionConfig
from banguard.errors import ActionError
from banguard.message import tell
from banguard.model import Change
from banguard.run import Cancel

logger = logging.getLogger("banguard.actions")

DEADLINE = 60.0
"""Seconds that a method may take; an attribute `deadline` of the user's object says otherwise."""

MAKING = 10.0
"""Seconds that making the object may take: whoever starts the jail waits for it."""

_LOOK = 0.25  # seconds between two looks whether the server wants to stop

_FOREIGN = "fail2ban"
_import_lock = threading.Lock()  # sys.modules is shared by all threads that load actions


class ActionBase:
    """What users' actions derive from; all methods may be overridden."""

    def __init__(self, jail: JailFace, name: str) -> None:
        self._jail = jail
        self._name = name
        self._logSys = logging.getLogger(f"banguard.{type(self).__module__.rpartition('.')[2]}")

    def start(self) -> None:
        """Prepare; called once before anything else."""

    def stop(self) -> None:
        """Undo what `start` did."""

    def ban(self, aInfo: Mapping[str, object]) -> None:  # noqa: N803  the name that users' classes use
        """Ban a host."""

    def reban(self, aInfo: Mapping[str, object]) -> None:  # noqa: N803
        """Ban a host again after the action lost it."""
        self.ban(aInfo)

    def unban(self, aInfo: Mapping[str, object]) -> None:  # noqa: N803
        """End a ban."""


class CallingMap(MutableMapping[str, object]):
    """A dictionary whose values may be functions without parameters: reading such a value calls it."""

    def __init__(self, *others: Mapping[str, object], **values: object) -> None:
        self._values: dict[str, object] = dict(*others, **values)

    def __getitem__(self, key: str) -> object:
        value = self._values[key]
        return value() if callable(value) else value

    def __setitem__(self, key: str, value: object) -> None:
        self._values[key] = value

    def __delitem__(self, key: str) -> None:
        del self._values[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def copy(self) -> CallingMap:
        """Return a copy; functions stay functions."""
        return CallingMap(self._values)

    def __add__(self, other: Mapping[str, object]) -> CallingMap:
        values = other._values if isinstance(other, CallingMap) else dict(other)
        return CallingMap({**self._values, **values})


class JailFace:
    """What a user's action sees of its jail: its name, and the ban time through `actions.getBanTime()`."""

    def __init__(self, name: str, bantime: Callable[[], int]) -> None:
        self.name = name
        self.actions = types.SimpleNamespace(getBanTime=bantime)
        self.database = None


class _Info(MutableMapping[str, object]):
    """The mapping that users' methods get: the lazy tags of a ban, and whatever they put over them."""

    def __init__(self, tags: BanTags) -> None:
        self._tags = tags
        self._own: dict[str, object] = {}

    def __getitem__(self, key: str) -> object:
        return self._own[key] if key in self._own else self._tags[key]

    def __setitem__(self, key: str, value: object) -> None:
        self._own[key] = value

    def __delitem__(self, key: str) -> None:
        del self._own[key]

    def __contains__(self, key: object) -> bool:
        return key in self._own or key in set(self._tags)

    def __iter__(self) -> Iterator[str]:
        yield from self._tags
        yield from (key for key in self._own if key not in set(self._tags))

    def __len__(self) -> int:
        return len(set(self._tags) | set(self._own))

    def copy(self) -> _Info:
        """Return a copy that can be changed by itself."""
        copied = _Info(self._tags)
        copied.update(self._own)
        return copied


class _Loader(importlib.machinery.SourceFileLoader):
    """Loads a file without writing bytecode beside it: the directory belongs to the configuration."""

    def set_data(self, path: str, data: bytes, *, _mode: int = 0o666) -> None:  # type: ignore[override]
        del path, data, _mode


class PythonAction:
    """One Python action of one jail."""

    def __init__(
        self,
        config: ActionConfig,
        jail: str,
        *,
        clock: Clock,
        history: History | None = None,
        reverse_lookup: ReverseLookup | None = None,
        jail_numbers: JailNumbers | None = None,
        cancel: Cancel | None = None,
    ) -> None:
        self._jail = jail
        self._cancel = cancel
        self._stuck: tuple[str, threading.Thread] | None = None
        self._action: object = None
        self._name = config.name
        self._clock = clock
        self._history = history
        self._reverse_lookup = reverse_lookup
        self._jail_numbers = jail_numbers
        self._bantime = 600
        action_class = load_class(config.path)
        self._keywords = {key: value for key, value in config.properties.items() if key not in {"name", "actname"}}
        face = JailFace(jail, lambda: self._bantime)
        self._action = self._guard("start", lambda: action_class(face, config.name, **self._keywords))
        self.keeps_state = self._overrides("unban")
        self.has_start = self._overrides("start")
        self.norestored = config.norestored or bool(getattr(self._action, "norestored", False))

    def start(self) -> None:
        """Call `start`."""
        self._call("start")

    def ban(self, step: Step) -> None:
        """Call `ban`, `reban` or `prolong`."""
        if step.kind is Change.EXTEND:
            if hasattr(self._action, "prolong"):
                self._call("prolong", self._info(step))
            return
        if step.old is not None:
            self.unban(Step(step.member, step.key, step.old, None, restored=step.restored))
        self._call("reban" if step.again and hasattr(self._action, "reban") else "ban", self._info(step))

    def unban(self, step: Step) -> None:
        """Call `unban`."""
        self._call("unban", self._info(step))

    def flush(self) -> bool:
        """Call `flush`, where there is one."""
        if not self._overrides("flush"):
            return False
        return self._call("flush") is not False

    def stop(self) -> None:
        """Call `stop`."""
        self._call("stop")

    def check(self) -> None:
        """Nothing that could be checked."""

    def reload(self) -> None:
        """Call `reload` with the properties, where there is one."""
        if hasattr(self._action, "reload"):
            self._guard("reload", lambda: self._action.reload(**self._keywords))  # type: ignore[attr-defined]

    def properties(self) -> Mapping[str, str]:
        """Return the plain public attributes."""
        return {name: str(value) for name, value in self._attributes().items()}

    def set_property(self, key: str, value: str) -> str:
        """Set an attribute; raise ActionError when there is none of that name."""
        if key not in self._attributes():
            raise ActionError(f"action {self._name!r} has no property {key!r}")
        self._guard("set", lambda: setattr(self._action, key, value))
        return str(getattr(self._action, key))

    def methods(self) -> tuple[str, ...]:
        """Return the public methods."""
        return tuple(
            sorted(name for name in dir(self._action) if not name.startswith("_") and callable(self._attribute(name)))
        )

    def call(self, method: str, arguments: Mapping[str, object]) -> object:
        """Call a public method; `ban`, `unban` and the like take the tags of a ban."""
        if method not in self.methods():
            raise ActionError(f"action {self._name!r} has no method {method!r}")
        if method in {"ban", "reban", "unban", "prolong"}:
            inner = arguments.get("aInfo", arguments)
            ban = ban_of(self._jail, inner if isinstance(inner, Mapping) else {}, self._clock.now())
            return self._call(method, self._info(Step("", ban.host, None, ban)))
        return self._guard(method, lambda: getattr(self._action, method)(**arguments))

    # ---- inside

    def _info(self, step: Step) -> _Info:
        self._bantime = step.ban.bantime
        return _Info(
            BanTags(
                step.ban,
                restored=step.restored,
                history=self._history,
                reverse_lookup=self._reverse_lookup,
                jail_numbers=self._jail_numbers,
            )
        )

    def _attribute(self, name: str) -> object:
        try:
            return getattr(self._action, name)
        except Exception:  # noqa: BLE001  a property of the user's class may raise anything
            return None

    def _attributes(self) -> dict[str, object]:
        names = [name for name in dir(self._action) if not name.startswith("_")]
        values = {name: self._attribute(name) for name in names}
        return {name: value for name, value in values.items() if isinstance(value, str | int | float | bool)}

    def _overrides(self, method: str) -> bool:
        """Tell whether the user's class has *method* of its own."""
        for known in type(self._action).__mro__:
            if method in vars(known):
                return known.__name__ != "ActionBase"
        return False

    def _call(self, method: str, *arguments: object) -> object:
        found = getattr(self._action, method, None)
        if found is None:
            return None
        return self._guard(method, lambda: found(*arguments))

    def _guard(self, what: str, function: Callable[[], object]) -> object:
        """
        Call *function* in a thread; whatever it raises becomes an ActionError, and so does its deadline.

        A thread cannot be ended from outside. While one hangs, no other call is made: the object is in use.
        """
        if self._stuck is not None and self._stuck[1].is_alive():
            raise ActionError(tell("{what}: an earlier {earlier} still hangs", what=what, earlier=self._stuck[0]))
        results: list[object] = []
        errors: list[BaseException] = []

        def work() -> None:
            try:
                results.append(function())
            except BaseException as error:  # noqa: BLE001  also SystemExit: it is the user's code
                errors.append(error)

        thread = threading.Thread(target=work, name=f"python-{self._name}"[:15], daemon=True)
        thread.start()
        self._await(what, thread)
        if not errors:
            return results[0]
        error = errors[0]
        logger.debug("[%s] Python action %s: %s failed", self._jail, self._name, what, exc_info=error)
        raise ActionError(f"{what}: {type(error).__name__}: {error}") from error

    def _await(self, what: str, thread: threading.Thread) -> None:
        seconds = MAKING if self._action is None else self._deadline()
        end = self._clock.monotonic() + seconds
        while thread.is_alive():
            left = end - self._clock.monotonic()
            cancelled = self._cancel is not None and self._cancel.is_set
            if left <= 0 or cancelled:
                self._stuck = what, thread
                if cancelled:
                    raise ActionError(tell("{what}: left alone because banguard stops", what=what))
                raise ActionError(
                    tell("{what}: no end within {seconds:g} s; it is left alone", what=what, seconds=seconds)
                )
            thread.join(min(left, _LOOK))

    def _deadline(self) -> float:
        value = self._attribute("deadline")
        return float(value) if isinstance(value, int | float) and value > 0 else DEADLINE


def load_class(path: str) -> Callable[..., object]:
    """Return the class `Action` of the Python file *path*; raise ActionError when that is not possible."""
    name = "banguard_action_" + "".join(c if c.isalnum() else "_" for c in path)
    spec = importlib.util.spec_from_file_location(name, path, loader=_Loader(name, path))
    if spec is None or spec.loader is None:
        raise ActionError(f"{path}: is no Python file")
    module = importlib.util.module_from_spec(spec)
    with _import_lock:
        _provide_base()
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
        except Exception as error:
            del sys.modules[name]
            raise ActionError(f"{path}: cannot be loaded: {type(error).__name__}: {error}") from error
    found = getattr(module, "Action", None)
    if not callable(found):
        raise ActionError(f"{path}: has no class Action")
    action_class: Callable[..., object] = found
    return action_class


def _provide_base() -> None:
    """Make the import of fail2ban's base class work where fail2ban is not installed."""
    if _FOREIGN in sys.modules or importlib.util.find_spec(_FOREIGN) is not None:
        return
    contents: dict[str, Mapping[str, object]] = {
        _FOREIGN: {},
        f"{_FOREIGN}.helpers": {"getLogger": logging.getLogger},
        f"{_FOREIGN}.server": {},
        f"{_FOREIGN}.server.action": {"ActionBase": ActionBase, "CallingMap": CallingMap},
        f"{_FOREIGN}.server.actions": {"ActionBase": ActionBase, "CallingMap": CallingMap},
    }
    for name, values in contents.items():
        module = types.ModuleType(name, "Stand-in for actions that were written for fail2ban.")
        module.__path__ = []
        vars(module).update(values)
        sys.modules[name] = module
        parent, _, last = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], last, module)
