"""
Report bans by mail, through `sendmail` or by SMTP.

A message is made by `email.message`, never by a shell: nothing that stands in a log can become a header, a recipient
or a command. At most so many mails an hour go out; bans beyond that are gathered and told together in the next one.
"""

from __future__ import annotations

import logging
import re
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from banguard import duration, netaddr, run
from banguard.actions import tags
from banguard.actions.base import History, JailNumbers, ReverseLookup, Step, UnavailableError
from banguard.actions.tags import BanTags
from banguard.clock import Clock
from banguard.config.schema import ActionConfig
from banguard.errors import ActionError
from banguard.message import tell, why
from banguard.model import Ban

if TYPE_CHECKING:
    from email.message import EmailMessage

logger = logging.getLogger("banguard.actions")

HOUR = 3600.0
MOST_GATHERED = 1000
"""Bans that one mail tells of at most; of more only the number is told."""

MOST_TEXT = 100_000
"""Characters of log lines or of whois in one mail."""

LONGEST_LINE = 900
"""Characters of a line: SMTP allows 998 (RFC 5322, 2.1.1)."""

_TRUE = frozenset({"1", "on", "true", "yes"})
_LINES = ("none", "matches", "ipmatches", "ipjailmatches", "log")
_SECURITY = ("no", "starttls", "tls")
_ADDRESS = re.compile(r"[^\s<>,;:\"'\x00-\x1f\x7f]+\Z")
_TAIL_BYTES = 4 * 1024 * 1024

Runner = Callable[..., run.Finished]


@dataclass(frozen=True, slots=True)
class Letterhead:
    """The properties of the action, checked."""

    name: str
    sender: str
    sendername: str
    recipients: tuple[str, ...]
    transport: str
    program: tuple[str, ...]
    host: str
    port: int
    security: str
    user: str
    password: str
    timeout: float
    whois: tuple[str, ...]
    lines: str
    logpath: tuple[str, ...]
    most_lines: int
    notices: bool
    per_hour: int

    @classmethod
    def of(cls, properties: Mapping[str, str]) -> Letterhead:
        """Read *properties*; raise ActionError naming the option."""

        def text(option: str, default: str = "") -> str:
            return tags.expand_static(properties.get(option, "").strip() or default, {})

        transport = text("transport", "sendmail")
        if transport not in {"sendmail", "smtp"}:
            raise ActionError(
                tell(
                    "{option}: expected one of {known}, not {text!r}",
                    option="transport",
                    known="sendmail, smtp",
                    text=transport,
                )
            )
        lines = text("lines", "none")
        if lines not in _LINES:
            raise ActionError(
                tell(
                    "{option}: expected one of {known}, not {text!r}",
                    option="lines",
                    known=", ".join(_LINES),
                    text=lines,
                )
            )
        security = text("ssl", "no").lower()
        security = {"true": "tls", "yes": "tls", "false": "no", "1": "tls", "0": "no"}.get(security, security)
        if security not in _SECURITY:
            raise ActionError(
                tell(
                    "{option}: expected one of {known}, not {text!r}",
                    option="ssl",
                    known=", ".join(_SECURITY),
                    text=security,
                )
            )
        host, _, port = text("host", "localhost").partition(":")
        return cls(
            name=text("name", "default"),
            sender=_address("sender", text("sender", "banguard")),
            sendername=_printable(text("sendername", "banguard"), 200),
            recipients=tuple(_address("dest", word) for word in re.split(r"[\s,]+", text("dest", "root")) if word),
            transport=transport,
            program=tuple(_words("mailcmd", text("mailcmd", "/usr/sbin/sendmail -i -t"))),
            host=host or "localhost",
            port=_number("port", port or text("smtp_port", "465" if security == "tls" else "25"), 65535),
            security=security,
            user=text("user"),
            password=properties.get("password", ""),
            timeout=_seconds("timeout", text("timeout", "60")),
            whois=tuple(_words("whois", text("whois-program", "whois"))) if text("whois").lower() in _TRUE else (),
            lines=lines,
            logpath=tuple(properties.get("logpath", "").split()) if lines == "log" else (),
            most_lines=_number("log-lines", text("log-lines", "50"), 10_000),
            notices=text("notices", "no").lower() in _TRUE,
            per_hour=_number("per-hour", text("per-hour", "60"), 100_000),
        )


def _address(option: str, text: str) -> str:
    if _ADDRESS.match(text) is None or text.startswith("-"):
        raise ActionError(tell("{option}: {text!r} is no mail address", option=option, text=text))
    return text


def _number(option: str, text: str, most: int) -> int:
    if not text.isascii() or not text.isdecimal() or not 0 < int(text) <= most:
        raise ActionError(
            tell("{option}: expected a number from 1 to {most}, not {text!r}", option=option, most=most, text=text)
        )
    return int(text)


def _seconds(option: str, text: str) -> float:
    try:
        return float(duration.parse(text))
    except ValueError as error:
        raise ActionError(tell("{option}: {reason}", option=option, reason=why(error))) from None


def _words(option: str, text: str) -> list[str]:
    import shlex  # noqa: PLC0415  only where mail is sent

    try:
        words = shlex.split(text)
    except ValueError as error:
        raise ActionError(tell("{option}: {reason}", option=option, reason=why(error))) from None
    if not words:
        raise ActionError(tell("{option}: there is no program", option=option))
    return words


def _printable(text: str, longest: int) -> str:
    """Return *text* as one line without control characters."""
    shown = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text[:longest])
    return shown if len(text) <= longest else f"{shown}…"


def _lines(lines: Sequence[str]) -> list[str]:
    """Return lines of a log fit for the text of a mail; what is too much is left out, and that said."""
    kept: list[str] = []
    room = MOST_TEXT
    for line in lines:
        shown = _printable(line, LONGEST_LINE)
        room -= len(shown) + 1
        if room < 0:
            kept.append("(and more)")
            break
        kept.append(shown)
    return kept


class MailAction:
    """Mails of one jail; a notification, used by one thread."""

    keeps_state = False

    def __init__(
        self,
        config: ActionConfig,
        jail: str,
        *,
        clock: Clock,
        history: History | None = None,
        reverse_lookup: ReverseLookup | None = None,
        jail_numbers: JailNumbers | None = None,
        runner: Runner = run.run,
    ) -> None:
        """Raise ActionError naming the option when the properties cannot be used."""
        self._jail = jail
        self._clock = clock
        self._history = history
        self._reverse_lookup = reverse_lookup
        self._jail_numbers = jail_numbers
        self._run = runner
        self._properties = dict(config.properties)
        self._head = Letterhead.of(self._properties)
        self._sent: deque[float] = deque()
        self._gathered: list[Ban] = []
        self._more = 0
        self.norestored = True
        self.has_start = self._head.notices

    @classmethod
    def verify(cls, properties: Mapping[str, str]) -> None:
        """Raise ActionError naming the option when *properties* cannot be used."""
        Letterhead.of(properties)

    # ---- what happens

    def start(self) -> None:
        """Tell that the jail was started, if that is wanted."""
        if self._head.notices:
            self._send(f"{self._head.name}: started", [f"The jail {self._head.name} was started."])

    def stop(self) -> None:
        """Tell of what is gathered, and that the jail was stopped, if that is wanted."""
        if self._gathered:
            self._tell_gathered([])
        if self._head.notices:
            self._send(f"{self._head.name}: stopped", [f"The jail {self._head.name} was stopped."])

    def ban(self, step: Step) -> None:
        """Tell of a ban, at once or later with others."""
        ban = step.ban
        now = self._clock.monotonic()
        while self._sent and self._sent[0] <= now - HOUR:
            self._sent.popleft()
        if len(self._sent) >= self._head.per_hour:
            if not self._gathered:
                logger.warning(
                    "[%s] %d mails were sent within an hour; further bans are gathered for the next one",
                    self._jail, self._head.per_hour,
                )  # fmt: skip
            if len(self._gathered) < MOST_GATHERED:
                self._gathered.append(ban)
            else:
                self._more += 1
            return
        if self._gathered:
            self._tell_gathered([ban])
        else:
            self._tell(ban)
        self._sent.append(now)

    def unban(self, step: Step) -> None:
        """Do nothing: the end of a ban is no news."""

    def flush(self) -> bool:
        """Do nothing."""
        return False

    def check(self) -> None:
        """Do nothing."""

    def reload(self) -> None:
        """Do nothing."""

    def properties(self) -> Mapping[str, str]:
        """Return the settable properties, but for the password."""
        return {key: value for key, value in self._properties.items() if key != "password"}

    def set_property(self, key: str, value: str) -> str:
        """Set one and return the value it has now."""
        changed = {**self._properties, key: value}
        self._head = Letterhead.of(changed)
        self._properties = changed
        return value

    def methods(self) -> tuple[str, ...]:
        """There are none to call."""
        return ()

    def call(self, method: str, arguments: Mapping[str, object]) -> object:
        """Raise ActionError: there is nothing to call."""
        del arguments
        raise ActionError(f"the mail action has no method {method!r}")

    # ---- text

    def _tell(self, ban: Ban) -> None:
        head = self._head
        host = _printable(ban.host, 200)
        length = "for ever" if ban.until is None else f"for {duration.format_duration(max(0.0, ban.until - ban.since))}"
        body = [
            f"The jail {head.name} banned {host} after {ban.failures} failures, {length}.",
            *(f"It was banned {ban.count} times by now." for _ in range(ban.count > 1)),
        ]
        found = self._log_lines(ban)
        if found:
            body += [
                "",
                {"log": f"Last lines with {host}:"}.get(head.lines, "The lines that led to this:"),
                *_lines(found),
            ]
        if head.whois and netaddr.family(ban.address) is not None:
            body += ["", f"About {host}, as whois says:", *self._whois(ban.address)]
        self._send(f"{head.name}: banned {host}", body)

    def _tell_gathered(self, newest: list[Ban]) -> None:
        bans = [*self._gathered, *newest]
        number = len(bans) + self._more
        body = [f"The jail {self._head.name} banned {number} hosts since the last mail:", ""]
        body += [f"{_printable(ban.host, 200)}  after {ban.failures} failures" for ban in bans]
        if self._more:
            body.append(f"and {self._more} more")
        self._send(f"{self._head.name}: banned {number} hosts", body)
        self._gathered.clear()
        self._more = 0

    def _log_lines(self, ban: Ban) -> Sequence[str]:
        kind = self._head.lines
        if kind == "none":
            return ()
        if kind == "log":
            return [*ban.matches, *(line for path in self._head.logpath for line in self._tail(path, ban.address))]
        if kind == "matches":
            return ban.matches
        made = BanTags(
            ban,
            history=self._history,
            reverse_lookup=self._reverse_lookup,
            jail_numbers=self._jail_numbers,
        )
        return str(made[kind]).splitlines()

    def _tail(self, path: str, address: str) -> list[str]:
        """Return the newest lines of the log *path* with *address* in them."""
        try:
            with open(path, "rb") as file:
                size = file.seek(0, 2)
                file.seek(max(0, size - _TAIL_BYTES))
                block = file.read(_TAIL_BYTES)
        except OSError as error:
            return [f"({path}: {error.strerror})"]
        wanted = re.compile(rb"(?<![\w.:])" + re.escape(address.encode()) + rb"(?![\w:]|\.\d)")
        lines = [line for line in block.split(b"\n") if wanted.search(line)][-self._head.most_lines :]
        return [line.decode("utf-8", "replace") for line in lines]

    def _whois(self, address: str) -> list[str]:
        result = self._run([*self._head.whois, address], timeout=20.0, keep=MOST_TEXT)
        if not result.stdout:
            return [f"(no answer: {_printable(result.describe(), 200)})"]
        return _lines(result.stdout.decode("utf-8", "replace").splitlines())

    # ---- sending

    def _message(self, subject: str, body: Sequence[str]) -> EmailMessage:
        import email.message  # noqa: PLC0415  heavy, and most servers send no mail
        import email.policy  # noqa: PLC0415
        import email.utils  # noqa: PLC0415

        head = self._head
        where = tags.expand_static("<fq-hostname>", {})
        message = email.message.EmailMessage(policy=email.policy.SMTP)
        message["Subject"] = _printable(f"[banguard] {subject} on {where}", 300)
        message["From"] = email.utils.formataddr((head.sendername, head.sender))
        message["To"] = ", ".join(head.recipients)
        message["Date"] = email.utils.formatdate(self._clock.now())
        message["Message-ID"] = email.utils.make_msgid("banguard")
        message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no out-of-office replies
        message.set_content("\n".join((*body, "")), charset="utf-8")
        return message

    def _send(self, subject: str, body: Sequence[str]) -> None:
        message = self._message(subject, body)
        if self._head.transport == "smtp":
            self._by_smtp(message)
        else:
            self._by_sendmail(message)

    def _by_sendmail(self, message: EmailMessage) -> None:
        head = self._head
        program, *words = head.program
        # Recipients come from the message, the sender from the option, whatever an old `mailcmd` has of them.
        given = [word for word, before in zip(words, ["", *words], strict=False) if "-f" not in {word, before}]
        words = [word for word in given if word.startswith("-") and word != "-t"] + ["-t", "-f", head.sender]
        text = message.as_bytes().replace(b"\r\n", b"\n")
        result = self._run([program, *words], stdin=text, timeout=head.timeout)
        if not result.succeeded:
            kind = UnavailableError if result.returncode in {126, 127} else ActionError
            raise kind(f"{program}: {result.describe()}")

    def _by_smtp(self, message: EmailMessage) -> None:
        import smtplib  # noqa: PLC0415  heavy, and most servers send no mail

        head = self._head
        try:
            connect = smtplib.SMTP_SSL if head.security == "tls" else smtplib.SMTP
            with connect(head.host, head.port, timeout=head.timeout) as server:
                if head.security == "starttls":
                    server.starttls()
                if head.user:
                    server.login(head.user, head.password)
                server.send_message(message, head.sender, list(head.recipients))
        except (OSError, smtplib.SMTPException) as error:
            raise ActionError(f"SMTP to {head.host}:{head.port}: {_printable(str(error), 300)}") from None
