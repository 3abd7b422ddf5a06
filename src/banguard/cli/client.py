"""
banguard-client.

Most commands go to the server as they are; `start`, `restart`, `-t`, `-d`, `-i` and help are done here. What is shown
is made of the reply by `render`. Modules that only some commands need are loaded by these alone: the program is
called from scripts, again and again.
"""

from __future__ import annotations

import getopt
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from banguard.clock import SystemClock
from banguard.control.client import PATIENCE, Connection
from banguard.control.protocol import REFUSED, UNREACHABLE, USAGE, Reply
from banguard.errors import BanguardError, ConfigError, ControlError

if TYPE_CHECKING:
    from banguard.cli.colour import Paint

INTERRUPTED = 130
START_SECONDS = 60.0
STOP_SECONDS = 60.0
RELOAD_SECONDS = 600.0

_SHORT = "c:s:p:bdtivqxfhV"
_LONG = (
    "conf=",
    "socket=",
    "pidfile=",
    "pname=",
    "loglevel=",
    "logtarget=",
    "syslogsocket=",
    "dp",
    "dump-pretty",
    "test",
    "timeout=",
    "str2sec=",
    "completion=",
    "json",
    "lang=",
    "strict",
    "jsonl",
    "color=",
    "no-pager",
    "help",
    "version",
)
OPTIONS_HELP = """\
Usage: banguard-client [OPTIONS] COMMAND...

Asks and commands a running banguard server.

Options:
    -c, --conf DIR          directory of the configuration
    -s, --socket FILE       socket of the server
    -p, --pidfile FILE      pid file of the server, for start
    --pname NAME            name of the server's process, for start
    --loglevel LEVEL        what the server logs, for start
    --logtarget TARGET      where the server logs to: a file, STDOUT, STDERR, SYSOUT, SYSLOG or SYSTEMD-JOURNAL
    --syslogsocket FILE     socket for SYSLOG, or auto
    -d                      print the configuration as a list of commands
    --dp, --dump-pretty     the same, easier to read
    -t, --test              check the configuration; `-t start` and `-t reload` go on when it is good
    -i                      read commands from the terminal
    -b                      start the server in the background (default)
    -f                      start the server in the foreground
    -x                      start although another server answers on the socket
    -v, -q                  say more, say less
    --timeout SECONDS       how long to wait for the server
    --json                  print one JSON object; `watch` prints one for each event
    --jsonl                 print one JSON object a line, one for each row of what is a list
    --color WHEN            always, never, or auto: on terminals, unless NO_COLOR is set
    --no-pager              do not show long output page by page (BANGUARD_PAGER, PAGER, else less)
    --strict                with -t: warnings fail too
    --lang LANGUAGE         with -t: the language, one of en, ja, zh, es, ko, ar, ru
    --completion SHELL      print the completion script for bash, zsh or fish
    --str2sec TEXT          print how many seconds a text such as 1d12h means
    -h, --help              print this help
    -V                      print the version number
    --version               print name and version

check names all that is wrong with the configuration, with file, line and what to do: also what is never read, what
cannot work on this machine, dates in another time zone, jails that can never ban. --strict makes warnings fail, --jail
JAIL looks at one jail, --log FILE tries the rules on a log and counts their hits, --lang chooses the language.

detect names the services that run or have logs here, with the jails for them; --apply enables these, by one file each
in jail.d that is never overwritten, --root DIR looks at another system.

import-bans FILE takes over the bans in a fail2ban database (/var/lib/fail2ban/fail2ban.sqlite3), so that a change of
programs forgets nobody; the jails must run under the same names.

import FILE makes jails and filters of an ipblock.conf or logmon.conf, below the directory of the configuration, and
names each line that cannot be used; --check writes nothing, --log FILE counts the lines that each rule matches, --lang
chooses the language (en, ja, zh, es, ko, ar, ru).

backtest JAIL [LOG...] runs the configuration of a jail over logs of the past (its own when none is named, rotated and
packed ones too), with the time that they tell, and shows who would have been banned, until when, how many failures
would have been kept out, and who of the banned also logged in; --from and --to TIME limit it.

top shows jails, rates, firewalls, logs and the latest bans, again every 2 seconds (-d SECONDS) until q or Ctrl-C, or as
often as -n COUNT says; --once prints it for a pipe, --plain does without the package rich.

Exit status: 0 done, 1 refused or failed, 2 usage, 3 server not reachable, 4 no permission.

Commands:"""


class Options:
    """What the command line says: options, and the words of the command."""

    def __init__(self) -> None:
        self.given: dict[str, str] = {}
        self.verbosity = 0
        self.json = False
        self.jsonl = False
        self.color = "auto"
        self.pager = True
        self.command: list[str] = []

    def has(self, *names: str) -> bool:
        """Tell whether one of these options was given."""
        return any(name in self.given for name in names)

    def value(self, *names: str) -> str | None:
        """Return the value of the option of these names, None when it was not given."""
        return next((self.given[name] for name in names if name in self.given), None)


_ANYWHERE = ("--json", "--jsonl")
_OF_WORDS = ("set", "multi-set", "echo", "server-stream", "config-error")
"""Commands whose further words are anybody's text: options of the client stand before these."""


def parse(argv: Sequence[str]) -> Options:
    """
    Return what *argv* says; ControlError (status 2) for what is no option.

    `--json` and `--jsonl` may stand anywhere, the options of how to show a reply also behind commands that show one.
    """
    options = Options()
    options.jsonl = "--jsonl" in argv
    options.json = options.jsonl or "--json" in argv
    try:
        given, words = getopt.getopt([word for word in argv if word not in _ANYWHERE], _SHORT, list(_LONG))
        if words and words[0] not in _OF_WORDS:
            words, shown = _without_show(words)
            given += getopt.getopt(shown, "", ["color=", "no-pager"])[0]
    except getopt.GetoptError as error:
        raise ControlError(f"{error}; see banguard-client --help", status=USAGE) from None
    for name, value in given:
        options.given[name] = value
        options.verbosity += {"-v": 1, "-q": -1}.get(name, 0)
    options.pager = "--no-pager" not in options.given
    options.color = options.given.get("--color", "auto")
    if options.color not in ("auto", "always", "never"):
        raise ControlError(f"--color takes auto, always or never, not {options.color!r}", status=USAGE)
    options.command = words
    return options


def _without_show(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return *words* without the options of how to show a reply, and these options."""
    kept, shown = [], []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word == "--color":
            shown += [word, *rest[:1]]
            del rest[:1]
        elif word == "--no-pager" or word.startswith("--color="):
            shown.append(word)
        else:
            kept.append(word)
    return kept, shown


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program with the arguments *argv* (None: those of the process) and return its exit status."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    if arguments[:1] in (["--complete"], ["--completion"]):
        from banguard.cli import completion  # noqa: PLC0415  only for this

        return completion.main(arguments)
    as_json = any(word in arguments for word in _ANYWHERE)
    try:
        status = Client(parse(arguments)).run()
        sys.stdout.flush()
        return status
    except ControlError as error:
        return _failed(str(error), error.status, as_json=as_json)
    except BanguardError as error:
        return _failed(str(error), REFUSED, as_json=as_json)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever reads our output has seen enough; let nothing complain when the interpreter ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return REFUSED


def _failed(message: str, status: int, *, as_json: bool) -> int:
    from banguard.cli import render  # noqa: PLC0415  only now

    if as_json:
        print(render.as_json(Reply(error=message, status=status)))
    else:
        print(render.clean(message), file=sys.stderr)
    return status


class Client:
    """One run of the program."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._clock = SystemClock()
        self._path: str | None = None

    def run(self) -> int:
        """Do what the command line says and return the exit status."""
        options, command = self._options, self._options.command
        if options.has("-h", "--help") or command == ["help"]:
            return self._help()
        if options.has("-V", "--version"):
            from banguard import __version__  # noqa: PLC0415  as all below: only this command needs it

            if options.json:
                return self._show(Reply({"version": __version__}))
            print(__version__ if options.has("-V") else f"banguard {__version__}")
            return 0
        if options.has("--str2sec"):
            return self._seconds(options.value("--str2sec") or "")
        if options.has("-d", "--dp", "--dump-pretty"):
            return self._dump()
        if options.has("-t", "--test"):
            status = self._test()
            if status or not command:
                return status
            if command[0] not in ("start", "restart", "reload"):
                raise ControlError("-t goes with start, restart and reload, or without a command", status=USAGE)
        if options.has("-i"):
            return self._interact()
        if not command:
            raise ControlError("There is no command; see banguard-client --help", status=USAGE)
        return self._carry_out(command)

    # ---- commands

    def _carry_out(self, command: Sequence[str]) -> int:
        if command == ["start"]:
            return self._start()
        if command == ["stop"]:
            return self._show(self._stop())
        if command in (["restart"], ["restart", "--unban"]):
            return self._restart(unban=len(command) > 1)
        words = list(command)
        language = self._options.value("--lang")
        if language and words[0] in {"check", "import"}:
            words[1:1] = ["--lang", language]
        if words[0] == "import":
            from banguard.cli import moving  # noqa: PLC0415

            return moving.run(words[1:], self._directory(), os.environ, as_json=self._options.json)
        if words[0] == "check":
            from banguard.cli import checking  # noqa: PLC0415

            return checking.run(
                words[1:],
                self._directory(),
                self._overrides(),
                os.environ,
                as_json=self._options.json,
                quiet=self._options.verbosity < 0,
            )
        if words[0] == "detect":
            from banguard.cli import detect  # noqa: PLC0415

            return detect.run(words[1:], self._directory(), as_json=self._options.json)
        if words[0] == "import-bans":
            if len(words) != 2:
                raise ControlError("import-bans takes the path of a fail2ban database", status=USAGE)
            from banguard.cli.importing import import_bans  # noqa: PLC0415

            return self._show(import_bans(words[1], self._ask, self._patience(PATIENCE)))
        if words[0] == "self-test":
            return self._self_test(words)
        if words[0] == "backtest":
            from banguard.cli import backtest  # noqa: PLC0415

            verbose = self._options.verbosity > 0
            return backtest.run(words[1:], self._directory(), as_json=self._options.json, verbose=verbose)
        if words[0] == "explain":
            from banguard.cli import explaining  # noqa: PLC0415

            return explaining.run(
                words[1:],
                lambda asked: self._ask(asked, PATIENCE),
                self._directory,
                as_json=self._options.json,
                verbose=self._options.verbosity > 0,
            )
        if words[0] == "watch":
            return self._watch(words[1:])
        if words[0] == "top":
            from banguard.cli import top  # noqa: PLC0415

            wish = top.read(words[1:])
            return top.run(
                wish,
                lambda asked: self._ask(asked, self._patience(PATIENCE)),
                paint=self._paint(),
                as_json=self._options.json,
                mark=_mark(),
            )
        if words[0] == "banned" and any(word.startswith("--") for word in words):
            from banguard.cli.bans import fetch  # noqa: PLC0415

            return self._show(fetch(words[1:], lambda asked: self._ask(asked, self._patience(PATIENCE))))
        if words[0] in ("reload", "restart"):
            directory = self._options.value("-c", "--conf")
            if directory is not None:
                words[1:1] = ["--config", os.path.abspath(directory)]
            return self._show(self._ask(words, RELOAD_SECONDS))
        patience = self._patience(PATIENCE)
        if words[0] == "ping" and len(words) == 2:
            patience = _positive(words[1])
        return self._show(self._ask(words, patience))

    def _self_test(self, words: Sequence[str]) -> int:
        """Test the jail that is named, else all; status 0 when everything works."""
        named = [
            word for at, word in enumerate(words[1:], 1) if not word.startswith("--") and words[at - 1] != "--line"
        ]
        patience = self._patience(PATIENCE)
        jails: list[str] = []
        if not named:
            value = self._ask(["status"], patience).value
            listed = value.get("jails") if isinstance(value, dict) else None
            jails = [str(jail) for jail in listed] if isinstance(listed, list) else []
            if not jails:
                raise ControlError("No jail runs", status=REFUSED)
        worst = 0
        for asked in [[*words, jail] for jail in jails] or [list(words)]:
            reply = self._ask(asked, patience)
            status = self._show(reply)
            failed = isinstance(reply.value, dict) and not reply.value.get("passed")
            worst = max(worst, status, REFUSED if failed else 0)
        return worst

    def _show(self, reply: Reply) -> int:
        """Print a reply: what was asked for, or the refusal, on standard output, remarks on standard error."""
        from banguard.cli import render  # noqa: PLC0415

        if reply.kind == "status_jail_cymru":
            from banguard.cli import cymru  # noqa: PLC0415

            cymru.add_origins(reply)
        if self._options.json:
            text = render.as_jsonl(reply) if self._options.jsonl else render.as_json(reply)
            print(text, end="\n" if text else "")
        else:
            self._print(self._text(reply))
            if reply.kind == "reloaded":
                self._talk(render.problems(reply.value))
            if not reply.ok:
                self._talk(f"NOK: {render.clean(repr((reply.error,)))}")
        return reply.status

    def _text(self, reply: Reply) -> str:
        from banguard.cli import render  # noqa: PLC0415

        if reply.kind == "ban_table":
            from banguard.cli.bans import as_text  # noqa: PLC0415

            return as_text(reply.value, room=_room(), paint=self._paint(), mark=_mark())
        text = render.as_text(reply, box_drawing=_is_utf8())
        paint = self._paint() if reply.kind.startswith("status") else None
        return paint.status(text, not_enforced=render.not_enforced(reply)) if paint is not None else text

    def _print(self, text: str) -> None:
        """Print *text* as the terminal can show it, page by page where it is long."""
        encoding = sys.stdout.encoding or "ascii"
        text = text.encode(encoding, "backslashreplace").decode(encoding)
        if self._options.pager and sys.stdout.isatty() and sys.stdin.isatty() and text.count("\n") > 10:
            import shutil  # noqa: PLC0415

            from banguard.cli import pager  # noqa: PLC0415

            program = pager.program(os.environ)
            if text.count("\n") + 1 >= shutil.get_terminal_size().lines and program:
                sys.stdout.flush()
                if pager.show(text + "\n", program, os.environ):
                    return
        print(text)

    def _paint(self) -> Paint:
        from banguard.cli.colour import Paint, is_wanted  # noqa: PLC0415

        return Paint(on=is_wanted(self._options.color, os.environ, terminal=sys.stdout.isatty()))

    def _watch(self, words: Sequence[str]) -> int:
        from banguard.cli import watch  # noqa: PLC0415
        from banguard.clock import ThreadWaker  # noqa: PLC0415

        paint, mark = self._paint(), _mark()

        def show(event: watch.Event) -> str:
            if self._options.json:
                return watch.as_json(event)
            line = watch.as_line(event, room=_room(), paint=paint, mark=mark)
            encoding = sys.stdout.encoding or "ascii"
            return line.encode(encoding, "backslashreplace").decode(encoding)

        def connect() -> Connection:
            return Connection(self._socket(), self._clock.monotonic)

        return watch.Watching(watch.read(words), connect, wait=ThreadWaker().wait, show=show).run()

    def _ask(self, command: Sequence[str], patience: float) -> Reply:
        if patience <= 0:
            raise ControlError("The time to wait must be more than 0 seconds", status=USAGE)
        with Connection(self._socket(), self._clock.monotonic) as connection:
            return connection.ask(command, self._patience(patience))

    def _stop(self) -> Reply:
        """Stop the server and return once its process has ended."""
        patience = self._patience(STOP_SECONDS)
        with Connection(self._socket(), self._clock.monotonic) as connection:
            process = _open_process(connection.server_pid)
            try:
                reply = connection.ask(["stop"], patience)
                if not reply.ok:
                    return reply
                ended = connection.wait_for_end(patience)
                if process is not None:
                    ended = _wait_for_process(process, patience)
            finally:
                if process is not None:
                    os.close(process)
        if not ended:
            return Reply(error=f"The server is still stopping after {patience:g} seconds", status=REFUSED)
        return reply

    def _restart(self, *, unban: bool) -> int:
        try:
            if unban:
                reply = self._ask(["unban", "--all"], PATIENCE)
                if not reply.ok:
                    return self._show(reply)
            reply = self._stop()
            if not reply.ok:
                return self._show(reply)
            if not self._options.json:
                self._show(reply)
        except ControlError as error:
            if error.status != UNREACHABLE:
                raise
            self._talk(str(error))  # nothing to stop
        return self._start()

    def _start(self) -> int:
        """Start the server, in the background unless -f was given, and wait until it is ready."""
        if not self._options.has("-x") and self._answers():
            return self._show(Reply(error="Server already running", status=REFUSED))
        arguments: list[str] = []
        for short, long in (("-c", "--conf"), ("-s", "--socket"), ("-p", "--pidfile")):
            value = self._options.value(short, long)
            if value is not None:
                arguments += [short, os.path.abspath(value)]
        for name in ("--pname", "--loglevel", "--logtarget", "--syslogsocket", "--timeout"):
            value = self._options.value(name)
            if value is not None:
                arguments += [name, value]
        if self._options.has("-x"):
            arguments.append("-x")
        if self._options.has("-f"):
            from banguard.cli.server import main as serve  # noqa: PLC0415

            return serve([*arguments, "-f", "start"])
        from banguard.run import run  # noqa: PLC0415

        # The server itself gives up after the same time; a little later we do.
        patience = self._patience(START_SECONDS)
        done = run([*_server_program(), *arguments, "-b", "start"], timeout=patience + 5)
        said = done.stderr.decode("utf-8", "replace").strip()
        if not done.succeeded and not (done.timed_out and self._answers()):
            if done.returncode in range(1, 5):
                said = said or done.stdout.decode("utf-8", "replace").strip()
                return self._show(Reply(error=said or "The server did not start", status=done.returncode))
            return self._show(Reply(error=f"The server did not start: {done.describe()}", status=REFUSED))
        self._talk(said)
        return self._show(Reply("Server ready"))

    def _answers(self) -> bool:
        try:
            return self._ask(["ping"], 10.0).ok
        except ControlError as error:
            if error.status != UNREACHABLE:
                raise
            return False

    # ---- configuration

    def _dump(self) -> int:
        from banguard.cli import configuration  # noqa: PLC0415
        from banguard.config import load  # noqa: PLC0415

        config = load(self._directory(), overrides=self._overrides())
        pretty = self._options.has("--dp", "--dump-pretty")
        return configuration.dump(config, pretty=pretty, as_json=self._options.json)

    def _test(self) -> int:
        from banguard.cli import configuration  # noqa: PLC0415
        from banguard.config import load  # noqa: PLC0415

        config = load(self._directory(), overrides=self._overrides())
        return configuration.check(
            config,
            as_json=self._options.json,
            quiet=self._options.verbosity < 0,
            strict=self._options.has("--strict"),
            language=self._options.value("--lang"),
        )

    def _directory(self) -> str:
        from banguard.paths import default_directory  # noqa: PLC0415

        return self._options.value("-c", "--conf") or default_directory()

    def _overrides(self) -> dict[str, str]:
        names = {
            "socket": ("-s", "--socket"),
            "pidfile": ("-p", "--pidfile"),
            "loglevel": ("--loglevel",),
            "logtarget": ("--logtarget",),
            "syslogsocket": ("--syslogsocket",),
        }
        given = {name: self._options.value(*options) for name, options in names.items()}
        return {name: value for name, value in given.items() if value is not None}

    def _socket(self) -> str:
        """Return the socket as given, else `$BANGUARD_SOCKET`, else as configured: as the server itself does."""
        if self._path is None:
            self._path = self._options.value("-s", "--socket") or os.environ.get("BANGUARD_SOCKET")
        if not self._path:
            from banguard.cli.socketpath import socket_path  # noqa: PLC0415

            self._path = socket_path(self._directory())
        return self._path

    # ---- the rest

    def _interact(self) -> int:
        """Read commands, one a line, until `exit`, `quit` or the end; return the status of the last one."""
        import shlex  # noqa: PLC0415

        if sys.stdin.isatty():
            import readline  # noqa: F401, PLC0415  gives input() its line editing
        status = 0
        while True:
            try:
                line = input("banguard> " if sys.stdin.isatty() else "")
                words = shlex.split(line)
            except EOFError:
                return status
            except ValueError as error:
                self._talk(f"{error}")
                continue
            if words in (["exit"], ["quit"]):
                return status
            if not words:
                continue
            try:
                status = self._help() if words == ["help"] else self._carry_out(words)
            except (ControlError, ConfigError) as error:
                status = _failed(str(error), getattr(error, "status", REFUSED), as_json=self._options.json)

    def _help(self) -> int:
        """Print the options and all commands."""
        import shutil  # noqa: PLC0415

        from banguard.control.commands import help_text  # noqa: PLC0415

        if self._options.json:
            from banguard.cli.reference import commands_data  # noqa: PLC0415

            return self._show(Reply({"commands": commands_data()}, "help"))
        self._print(f"{OPTIONS_HELP}\n{help_text(max(80, min(shutil.get_terminal_size((100, 24)).columns, 120)))}")
        return 0

    def _seconds(self, text: str) -> int:
        from banguard import duration  # noqa: PLC0415

        try:
            seconds = duration.parse(text)
        except ValueError as error:
            raise ControlError(f"ERROR: {error}") from None
        return self._show(Reply(seconds))

    def _patience(self, default: float) -> float:
        given = self._options.value("--timeout")
        return default if given is None else _positive(given)

    def _talk(self, text: str) -> None:
        """Say something that is not the answer, unless -q was given."""
        if text and self._options.verbosity >= 0 and not self._options.json:
            from banguard.cli import render  # noqa: PLC0415

            print(render.clean(text), file=sys.stderr)


def _is_utf8() -> bool:
    return (sys.stdout.encoding or "ascii").lower().replace("-", "") == "utf8"


def _mark() -> str:
    """Return what stands for the rest of a text that is cut."""
    return "…" if _is_utf8() else "~"


def _room() -> int | None:
    """Return how wide the terminal is, None where output goes elsewhere."""
    if not sys.stdout.isatty():
        return None
    import shutil  # noqa: PLC0415

    return shutil.get_terminal_size().columns


def _positive(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 86400:
        raise ControlError(f"The time to wait must be a number of seconds, not {text!r}", status=USAGE)
    return seconds


def _server_program() -> list[str]:
    """Return how to start banguard-server: the program beside our interpreter, else the package."""
    program = os.path.join(os.path.dirname(sys.executable), "banguard-server")
    return [program] if os.access(program, os.X_OK) else [sys.executable, "-m", "banguard"]


def _open_process(pid: int) -> int | None:
    """Return a descriptor that becomes readable when process *pid* ends (pidfd_open(2)), None where that cannot be."""
    if pid <= 0 or not hasattr(os, "pidfd_open"):
        return None
    try:
        return os.pidfd_open(pid)
    except OSError:
        return None


def _wait_for_process(descriptor: int, patience: float) -> bool:
    import select  # noqa: PLC0415

    return bool(select.select([descriptor], [], [], patience)[0])


if __name__ == "__main__":
    sys.exit(main())
