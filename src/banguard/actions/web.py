"""
Tell a web service of bans: an HTTP request for each, put together from the options of the action.

`url`, `method`, `header.NAME` and `field.NAME` say what is sent; fields go into a form or into JSON (`body`), where
`field.a.b` is inside `a`. Tags such as `<ip>` and `<matches>` stand for values of the ban in fields, and, quoted, in
the address; no header can hold one. With `unban-url` the end of a ban is told too; where the service names what it made
by an id of its own, `find-url` asks for it, `find-id` says where the answer has it (`result.0.id`), and `<id>` stands
for it. Keys never reach a command line, nor the log.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from banguard import duration
from banguard.actions.base import History, JailNumbers, ReverseLookup, Step
from banguard.actions.tags import TAG, BanTags
from banguard.clock import Clock
from banguard.config.schema import ActionConfig
from banguard.errors import ActionError
from banguard.message import tell
from banguard.model import Change

logger = logging.getLogger("banguard.actions")

LONGEST_REPLY = 65_536
"""Bytes of a reply that are looked at."""

_BODIES = ("form", "json", "none")
_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
_HEADER = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,63}\Z", re.ASCII)
_IN_URL = frozenset({"ip", "id", "fid", "family", "target"})


@dataclass(frozen=True, slots=True)
class Request:
    """What goes over the wire."""

    method: str
    url: str
    headers: Mapping[str, str]
    data: bytes | None
    timeout: float


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back: the status, and the beginning of the text."""

    status: int
    text: str


Sender = Callable[[Request], Reply]
"""Carries out a request; raises ActionError when there is no reply."""


@dataclass(frozen=True, slots=True)
class Service:
    """The properties of an action, checked."""

    url: str
    method: str
    body: str
    headers: Mapping[str, str]
    fields: Mapping[str, str]
    unban_url: str
    unban_method: str
    find_url: str
    find_id: str
    already: str
    longest: int
    timeout: float

    @classmethod
    def of(cls, properties: Mapping[str, str]) -> Service:
        """Read *properties*; raise ActionError naming the option."""

        def text(option: str, default: str = "") -> str:
            return properties.get(option, default).strip()

        for option in text("needs").replace(",", " ").split():
            if not text(option):
                raise ActionError(tell("{option}: is missing; the service asks for it", option=option))
        headers = {
            name.removeprefix("header."): value.strip()
            for name, value in properties.items()
            if name.startswith("header.") and value.strip()
        }
        for name, value in headers.items():
            if _HEADER.match(name) is None or not value.isprintable() or TAG.search(value):
                raise ActionError(tell("header.{name}: {value!r} cannot be a header", name=name, value=value))
        timeout, longest = text("timeout", "30"), text("longest", "1000")
        try:
            seconds = float(duration.parse(timeout))
        except ValueError as error:
            raise ActionError(f"timeout: {error}") from None
        if not longest.isascii() or not longest.isdecimal():
            raise ActionError(tell("longest: expected a number of characters, not {text!r}", text=longest))
        return cls(
            url=_url("url", text("url")),
            method=_one_of("method", text("method", "POST").upper(), _METHODS),
            body=_one_of("body", text("body", "form"), _BODIES),
            headers=headers,
            fields={
                name.removeprefix("field."): value for name, value in properties.items() if name.startswith("field.")
            },
            unban_url=_url("unban-url", text("unban-url")) if text("unban-url") else "",
            unban_method=_one_of("unban-method", text("unban-method", "DELETE").upper(), _METHODS),
            find_url=_url("find-url", text("find-url")) if text("find-url") else "",
            find_id=text("find-id", "id"),
            already=text("already"),
            longest=int(longest),
            timeout=max(1.0, seconds),
        )

    def request(self, method: str, url: str, tags: Mapping[str, str], *, fields: bool) -> Request:
        """Return a request with its tags replaced by *tags*."""
        data, headers = None, {"User-Agent": "banguard", **self.headers}
        if fields and self.fields and self.body != "none":
            values = {name: _filled(value, tags)[-self.longest :] for name, value in self.fields.items()}
            kind, data = _as_json(values) if self.body == "json" else _as_form(values)
            headers["Content-Type"] = kind
        return Request(method, _filled(url, tags, quoted=True), headers, data, self.timeout)


class WebAction:
    """The reports of one jail to one service; used by one thread."""

    def __init__(
        self,
        config: ActionConfig,
        jail: str,
        *,
        clock: Clock,
        history: History | None = None,
        reverse_lookup: ReverseLookup | None = None,
        jail_numbers: JailNumbers | None = None,
        sender: Sender | None = None,
    ) -> None:
        """Raise ActionError naming the option when the properties cannot be used."""
        del clock
        self._jail = jail
        self._history = history
        self._reverse_lookup = reverse_lookup
        self._jail_numbers = jail_numbers
        self._send = sender or send
        self._properties = dict(config.properties)
        self._service = Service.of(self._properties)
        self.keeps_state = bool(self._service.unban_url)
        self.norestored = config.norestored
        self.has_start = False

    @classmethod
    def verify(cls, properties: Mapping[str, str]) -> None:
        """Raise ActionError naming the option when *properties* cannot be used."""
        Service.of(properties)

    def start(self) -> None:
        """Do nothing."""

    def stop(self) -> None:
        """Do nothing."""

    def ban(self, step: Step) -> None:
        """Tell of a ban; of one that only lasts longer there is nothing to tell."""
        if step.kind is Change.EXTEND:
            return
        service = self._service
        reply = self._send(service.request(service.method, service.url, self._tags(step), fields=True))
        if service.already and service.already in reply.text:
            return
        _check(reply)

    def unban(self, step: Step) -> None:
        """Tell of the end of a ban; what the service does not know any more has ended already."""
        service, tags = self._service, self._tags(step)
        if not service.unban_url:
            return
        if service.find_url:
            found = self._send(service.request("GET", service.find_url, tags, fields=False))
            _check(found)
            tags = self._tags(step, id=_dig(found.text, service.find_id))
            if not tags["id"]:
                return
        reply = self._send(service.request(service.unban_method, service.unban_url, tags, fields=False))
        if reply.status != 404:
            _check(reply)

    def flush(self) -> bool:
        """Do nothing: bans are taken back one by one."""
        return False

    def check(self) -> None:
        """Do nothing."""

    def reload(self) -> None:
        """Do nothing."""

    def properties(self) -> Mapping[str, str]:
        """Return the settable properties, but for what looks like a secret."""
        secret = re.compile("key|token|password|auth", re.IGNORECASE)
        return {key: value for key, value in self._properties.items() if not secret.search(key)}

    def set_property(self, key: str, value: str) -> str:
        """Set one and return the value it has now."""
        changed = {**self._properties, key: value}
        service = Service.of(changed)
        if bool(service.unban_url) is not self.keeps_state:
            raise ActionError(tell("unban-url: cannot be changed while the action is in use; reload the jail"))
        self._properties, self._service = changed, service
        return value

    def methods(self) -> tuple[str, ...]:
        """There are none to call."""
        return ()

    def call(self, method: str, arguments: Mapping[str, object]) -> object:
        """Raise ActionError: there is nothing to call."""
        del arguments
        raise ActionError(tell("the action has no method {method!r}", method=method))

    def _tags(self, step: Step, **more: str) -> Mapping[str, str]:
        return _Texts(
            more,
            BanTags(
                step.ban,
                restored=step.restored,
                history=self._history,
                reverse_lookup=self._reverse_lookup,
                jail_numbers=self._jail_numbers,
            ),
        )


class _Texts(Mapping[str, str]):
    """The tags of a ban as text, made when they are asked for."""

    def __init__(self, more: Mapping[str, str], tags: BanTags) -> None:
        self._more = more
        self._tags = tags

    def __getitem__(self, name: str) -> str:
        if name in self._more:
            return self._more[name]
        if name == "target":  # how services call what is banned
            address = str(self._tags["ip"])
            return "ip_range" if "/" in address else "ip6" if ":" in address else "ip"
        return str(self._tags[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._tags)

    def __len__(self) -> int:
        return len(self._tags)


def send(request: Request) -> Reply:
    """Carry out *request* with the standard library; redirections are not followed."""
    import urllib.error  # noqa: PLC0415  heavy, and few have such an action
    import urllib.request  # noqa: PLC0415

    class Stay(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *_: object) -> None:
            return None

    opener = urllib.request.build_opener(Stay)
    made = urllib.request.Request(  # noqa: S310  the scheme is checked when the action is read
        request.url, request.data, dict(request.headers), method=request.method
    )
    try:
        with opener.open(made, timeout=request.timeout) as answer:
            return Reply(answer.status, answer.read(LONGEST_REPLY).decode("utf-8", "replace"))
    except urllib.error.HTTPError as error:
        with error:
            return Reply(error.code, error.read(LONGEST_REPLY).decode("utf-8", "replace"))
    except (OSError, ValueError) as error:
        host = request.url.split("/")[2]
        reason = getattr(error, "reason", None) or error
        raise ActionError(tell("{host}: {reason}", host=host, reason=str(reason))) from None


def _check(reply: Reply) -> None:
    if not 200 <= reply.status < 300:
        said = "".join(char if char.isprintable() else " " for char in reply.text)
        raise ActionError(
            tell("the service answered {status}: {said}", status=reply.status, said=" ".join(said.split())[:300])
        )


def _filled(template: str, tags: Mapping[str, str], *, quoted: bool = False) -> str:
    """Return *template* with its tags replaced, in one pass; unknown ones stay."""

    def value_of(match: re.Match[str]) -> str:
        try:
            value = tags[match[1]]
        except KeyError:
            return match[0]
        return _quoted(value) if quoted else value

    return TAG.sub(value_of, template)


def _quoted(value: str) -> str:
    from urllib.parse import quote  # noqa: PLC0415  heavy, and few have such an action

    return quote(value, safe="")


def _as_form(values: Mapping[str, str]) -> tuple[str, bytes]:
    from urllib.parse import urlencode  # noqa: PLC0415  heavy, and few have such an action

    return "application/x-www-form-urlencoded", urlencode(values, errors="replace").encode("ascii")


def _as_json(values: Mapping[str, str]) -> tuple[str, bytes]:
    whole: dict[str, object] = {}
    for name, value in values.items():
        place = whole
        *outer, last = name.split(".")
        for part in outer:
            inner = place.setdefault(part, {})
            if not isinstance(inner, dict):
                raise ActionError(tell("field.{name}: {part!r} is a text already", name=name, part=part))
            place = inner
        place[last] = value
    return "application/json", json.dumps(whole).encode("ascii")


def _dig(text: str, path: str) -> str:
    """Return what stands at *path* (`result.0.id`) of a JSON text; empty when there is no such thing."""
    try:
        found: object = json.loads(text)
    except ValueError:
        return ""
    for part in path.split("."):
        if isinstance(found, dict):
            found = found.get(part)
        elif isinstance(found, list) and part.isdecimal() and int(part) < len(found):
            found = found[int(part)]
        else:
            return ""
    return str(found) if isinstance(found, str | int) else ""


def _url(option: str, text: str) -> str:
    host = text.partition("://")[2].partition("/")[0]
    bad = not text.startswith(("https://", "http://")) or not host or not text.isascii() or not text.isprintable()
    if bad or " " in text or TAG.search(host):
        raise ActionError(tell("{option}: expected an address of the web, not {text!r}", option=option, text=text))
    for match in TAG.finditer(text):
        if match[1] not in _IN_URL:
            raise ActionError(tell("{option}: {tag} cannot stand in an address", option=option, tag=match[0]))
    return text


def _one_of(option: str, word: str, words: tuple[str, ...]) -> str:
    if word not in words:
        raise ActionError(
            tell("{option}: expected one of {words}, not {word!r}", option=option, words=", ".join(words), word=word)
        )
    return word
