"""banguard-server."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import sys
import threading
from collections.abc import Sequence

from banguard import __version__
from banguard.cli import configuration
from banguard.clock import SystemClock
from banguard.config import default_directory, load
from banguard.config.schema import Config
from banguard.control.api import ReloadRequest
from banguard.control.protocol import Reply, refusal
from banguard.daemon.logsetup import LogSetup
from banguard.daemon.process import Notifier, PidFile, Report, Started, daemonise, give_back_memory, set_process_name
from banguard.daemon.signals import Wish, Wishes
from banguard.errors import BanguardError, ConfigError, ControlError

logger = logging.getLogger("banguard.server")

START_SECONDS = 60.0
TICK_SECONDS = 10.0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program and return its exit status: 0 done, 1 refused or failed, 2 usage."""
    try:
        return _main(list(sys.argv[1:] if argv is None else argv))
    except BrokenPipeError:  # `banguard-server -d | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _main(words: list[str]) -> int:
    options = make_parser().parse_args(words)
    command = options.command
    if command not in ([], ["start"]):
        from banguard.cli.client import main as client  # noqa: PLC0415  only for `banguard-server stop` and the like

        return client(words)
    # In the background the working directory is another one.
    directory = os.path.abspath(options.conf or default_directory())
    overrides = {
        name: os.path.abspath(value) if name in {"socket", "pidfile"} else value
        for name in ("socket", "pidfile", "loglevel", "logtarget", "syslogsocket")
        if (value := getattr(options, name)) is not None
    }
    target = overrides.get("logtarget", "")
    if "/" in target and not target.startswith("/"):
        overrides["logtarget"] = os.path.join(os.getcwd(), target)
    try:
        config = load(directory, overrides=overrides)
    except ConfigError as error:
        print(f"ERROR: {error}", file=sys.stderr)
        return 1
    if options.test:
        try:
            status = configuration.check(
                config,
                as_json=options.json,
                quiet=options.quiet > 0,
                strict=options.strict,
                language=options.lang,
            )
        except ControlError as error:
            print(f"ERROR: {error}", file=sys.stderr)
            return error.status
        if status or not command:
            return status
    if options.dump or options.dump_pretty:
        return configuration.dump(config, pretty=options.dump_pretty, as_json=options.json)
    return _start(
        config,
        overrides,
        patience=None if options.foreground else options.timeout,
        force=options.force,
        name=options.pname,
    )


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="banguard-server",
        description="Watch logs, count failures, ban hosts.",
        epilog="Any other command is sent to the running server, as by banguard-client.",
        add_help=True,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("-c", "--conf", metavar="DIR", help="configuration directory")
    add("-s", "--socket", metavar="FILE", help="control socket")
    add("-p", "--pidfile", metavar="FILE", help="file for the process id")
    add("--pname", metavar="NAME", default="banguard-server", help="name of the process")
    add("--loglevel", metavar="LEVEL", help="CRITICAL, ERROR, WARNING, NOTICE, INFO, DEBUG, …")
    add("--logtarget", metavar="TARGET", help="file, STDOUT, STDERR, SYSOUT, SYSLOG or SYSTEMD-JOURNAL")
    add("--syslogsocket", metavar="FILE", help="socket of syslog, or auto")
    add("-f", dest="foreground", action="store_true", help="stay in the foreground")
    add("-b", dest="background", action="store_true", help="go into the background (the default)")
    add("-x", dest="force", action="store_true", help="remove a socket file that is in the way")
    add("-t", "--test", action="store_true", help="check the whole configuration, and end")
    add("-d", dest="dump", action="store_true", help="show the configuration as a list of commands, and end")
    add("--dp", "--dump-pretty", dest="dump_pretty", action="store_true", help="the same, easier to read")
    add("--json", action="store_true", help="-t and -d as JSON")
    add("--strict", action="store_true", help="with -t: warnings fail too")
    add("--lang", metavar="LANGUAGE", help="with -t: the language, one of en, ja, zh, es, ko, ar, ru")
    add("-v", dest="verbose", action="count", default=0, help="more messages")
    add("-q", dest="quiet", action="count", default=0, help="fewer messages")
    add("--async", dest="asynchronous", action="store_true", help=argparse.SUPPRESS)
    add("--timeout", type=float, default=START_SECONDS, metavar="SECONDS", help="how long the start may take")
    add("-i", dest="interactive", action="store_true", help=argparse.SUPPRESS)
    add("-V", dest="short_version", action="version", version=__version__, help="show the version number")
    add("--version", action="version", version=f"banguard v{__version__}", help="show name and version")
    add("command", nargs=argparse.REMAINDER, help="start (the default), or a command for the running server")
    return parser


# ---- the running server


def _start(config: Config, overrides: dict[str, str], *, patience: float | None, force: bool, name: str) -> int:
    """Run the server, in the background when *patience* says how many seconds its start may take."""
    fatal = [problem for problem in config.errors if not problem.jail]
    if config.errors and (fatal or not config.jails):
        for problem in config.errors:
            print(problem, file=sys.stderr)
        print("ERROR: the server is not started", file=sys.stderr)
        return 1
    report: Report | None = None
    if patience is not None:
        outcome = daemonise(patience)
        if isinstance(outcome, Started):
            if outcome.message:
                print(outcome.message, file=sys.stderr if outcome.status else sys.stdout)
            return outcome.status
        report = outcome
    set_process_name(name)
    _allow_many_files()
    log = LogSetup("fail2ban" if config.server.stands_for else "banguard")
    try:
        server = config.server
        log.change(server.loglevel, server.logtarget, server.syslogsocket)
        return _serve(config, overrides, log=log, report=report, force=force)
    except BanguardError as error:
        logger.critical("%s", error)
        if report is not None:
            report.send(1, f"ERROR: {error}")
        else:
            print(f"ERROR: {error}", file=sys.stderr)
        return 1
    finally:
        log.close()


def _serve(config: Config, overrides: dict[str, str], *, log: LogSetup, report: Report | None, force: bool) -> int:
    from banguard.control.commands import Context, execute  # noqa: PLC0415  a parent that daemonises needs none of it
    from banguard.control.server import ControlServer, inherited, listen  # noqa: PLC0415
    from banguard.daemon.app import App  # noqa: PLC0415
    from banguard.daemon.supervise import Supervised  # noqa: PLC0415

    clock = SystemClock()
    wishes = Wishes()
    ending = threading.Event()
    pidfile = PidFile(config.server.pidfile)
    pidfile.acquire()
    notifier = Notifier(os.environ, clock=clock)
    try:
        listener = inherited(dict(os.environ), os.getpid()) or listen(config.server.socket, force=force)
        app = App(config, clock=clock, log=log, on_stop=lambda: wishes.request(Wish.STOP), overrides=overrides)
        context = Context(app, ending.wait)

        def answer(words: tuple[str, ...]) -> Reply:
            try:
                return execute(context, words)
            except ControlError as error:
                return refusal(error)
            except TimeoutError:
                return Reply(error="The server is busy; the command may still be carried out", status=1)

        control = ControlServer(listener, answer, clock=clock)
        control_thread = Supervised("bg/control", control.run, clock=clock, publish=app.bus.publish)
        wishes.install()
        control_thread.start()
        try:
            wrong = app.start()
            give_back_memory()
            if report is not None:
                report.send(1 if wrong else 0, "\n".join([*wrong, "Server ready"]))
            notifier.ready(_status_line(app.jail_names()))

            def reload() -> None:
                notifier.reloading()
                try:
                    app.reload(ReloadRequest())
                except (ControlError, TimeoutError) as error:
                    for line in str(error).splitlines():
                        logger.error("Reload: %s", line)
                notifier.ready(_status_line(app.jail_names()))

            def reopen() -> None:
                try:
                    log.flush()
                except ControlError as error:
                    logger.error("%s", error)

            def tick() -> None:
                if app.is_alive():
                    notifier.watchdog()
                else:
                    logger.error("The registry of bans has not answered for a while")

            wishes.run(
                {Wish.RELOAD: reload, Wish.REOPEN_LOG: reopen},
                every=notifier.watchdog_seconds or TICK_SECONDS,
                tick=tick,
            )
            notifier.stopping()
        finally:
            ending.set()
            control.refuse("The server is stopping")
            app.shut_down()
            control_thread.tell_to_stop()
            control.wake()
            control.close()
            control_thread.join(5.0)
            wishes.restore()
    finally:
        pidfile.release()
    return 0


def _allow_many_files() -> None:
    """Raise the soft limit of open files to the hard one: every log that is followed is kept open."""
    import resource  # noqa: PLC0415  not wanted by a parent that daemonises

    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _status_line(jails: Sequence[str]) -> str:
    return f"{len(jails)} jail{'' if len(jails) == 1 else 's'}: {', '.join(jails)}" if jails else "no jails"
