import io
import json
import os
import subprocess
import sys

import pytest

from banguard import __version__
from banguard.cli.client import main, parse
from banguard.config.schema import ActionConfig
from banguard.control.commands import TABLE
from banguard.control.protocol import Reply
from banguard.errors import ControlError
from support.memory_server import NOW, MemoryServer, serving


@pytest.fixture
def socket_path(tmp_path):
    return str(tmp_path / "b.sock")


@pytest.fixture
def api():
    return MemoryServer().with_jail("sshd").with_jail("web")


@pytest.fixture
def client(api, socket_path, capsys):
    """Run the client against a server in memory; returns status, standard output and standard error."""

    def client(*arguments):
        status = main(["-s", socket_path, *arguments])
        out, err = capsys.readouterr()
        return status, out, err

    with serving(api, socket_path):
        yield client


# ---- the command line


def test_options_and_command_are_told_apart():
    """Options end at the first word of the command."""
    options = parse(["-v", "-v", "-s", "/x", "--loglevel", "INFO", "set", "j", "banip", "-x"])
    assert ["set", "j", "banip", "-x"] == options.command
    assert ("/x", "INFO", 2, False) == (
        options.value("-s", "--socket"),
        options.value("--loglevel"),
        options.verbosity,
        options.json,
    )


def test_json_may_stand_anywhere():
    """`status sshd --json` is `--json status sshd`."""
    options = parse(["status", "sshd", "--json"])
    assert (["status", "sshd"], True) == (options.command, options.json)


@pytest.mark.parametrize("arguments", [["--foo"], ["-s"], ["-c"], ["-Z", "status"]])
def test_unknown_options_are_usage_errors(capsys, arguments):
    """Status 2, and words on standard error."""
    assert 2 == main(arguments)
    assert "--help" in capsys.readouterr().err


def test_no_command_is_a_usage_error(capsys):
    """The program says where help is."""
    assert 2 == main([])
    assert "--help" in capsys.readouterr().err
    with pytest.raises(ControlError):
        parse(["--timeout"])


@pytest.mark.parametrize("arguments", [["-h"], ["--help"], ["help"]])
def test_help_lists_options_and_commands(capsys, arguments):
    """Everything stands on standard output, status 0."""
    assert 0 == main(arguments)
    out = capsys.readouterr().out
    for text in ("--json", "Exit status: 0 done", "set <jail> banip", "get <jail> banned", "reload"):
        assert text in out


@pytest.mark.parametrize(("expected", "option"), [(__version__, "-V"), (f"banguard {__version__}", "--version")])
def test_versions_are_printed(capsys, expected, option):
    """Short for machines, long for people."""
    assert 0 == main([option])
    assert f"{expected}\n" == capsys.readouterr().out


def test_durations_are_converted(capsys):
    """`--str2sec` prints seconds, and refuses what is no duration."""
    assert 0 == main(["--str2sec", "1d12h"])
    assert "129600\n" == capsys.readouterr().out
    assert 1 == main(["--str2sec", "__import__('os')"])
    assert capsys.readouterr().out == ""


# ---- commands for the server


@pytest.mark.parametrize(
    ("expected", "words"),
    [
        ("Server replied: pong\n", ["ping"]),
        ("Server replied: pong\n", ["ping", "3"]),
        ("Status\n|- Number of jail:\t2\n`- Jail list:\tsshd, web\n", ["status"]),
        ("2\n", ["set", "sshd", "banip", "192.0.2.1", "2001:db8::5"]),
        ("1\n", ["unban", "192.0.2.77"]),
        ("[{'sshd': ['192.0.2.77']}, {'web': []}]\n", ["banned"]),
        ("Current logging level is 'INFO'\n", ["get", "loglevel"]),
        ("Jail stopped\n", ["stop", "web"]),
        ("\n", ["get", "web", "banip"]),
    ],
)
def test_commands_print_their_text(client, api, expected, words):
    """The reply stands on standard output alone, status 0."""
    api.put_ban("sshd", "192.0.2.77")
    assert (0, expected, "") == client(*words)


@pytest.mark.parametrize(
    ("status", "text", "words"),
    [
        (1, "Sorry but the jail 'nope' does not exist", ["status", "nope"]),
        (1, "not banned: ['192.0.2.9']", ["set", "sshd", "unbanip", "--report-absent", "192.0.2.9"]),
        (2, "Invalid command", ["foo"]),
        (2, "Sorry but the command is invalid", ["set", "sshd"]),
    ],
)
def test_refusals_have_their_status(client, status, text, words):
    """1 refused, 2 usage; the text on standard output as scripts expect it, and once more for people."""
    found, out, err = client(*words)
    assert (status, f"{text}\n") == (found, out)
    assert err.startswith("NOK: (")


@pytest.mark.parametrize("option", ["--json", "--jsonl"])
@pytest.mark.parametrize("phrase", sorted(row.phrase for row in TABLE.values()))
def test_every_command_speaks_json(client, api, phrase, option):
    """Whatever is asked, well or badly, standard output holds JSON objects alone, one a line; errors are `error`."""
    api.with_jail("acts", actions=(ActionConfig("act", "act"),))
    api.put_ban("sshd", "192.0.2.77")
    words = [{"<jail>": "sshd", "<option>": "maxretry"}.get(word, word) for word in phrase.split()]
    for more in ([], ["1"], ["acts", "act"], ["nope", "x", "y"]):
        if words[0] in ("start", "stop", "restart", "sleep") or (words == ["watch"] and more != ["nope", "x", "y"]):
            more = ["--no-such-option", "1", "1"]
        status, out, err = client(option, *words, *more)
        objects = [json.loads(line) for line in out.splitlines()]
        assert all(isinstance(one, dict) for one in objects)
        assert objects or option == "--jsonl"
        assert "" == err
        refused = any("error" in one for one in objects)
        assert (status > 1) <= refused <= (status != 0)  # 1 is also the answer no


@pytest.mark.parametrize("option", ["--json", "--jsonl"])
@pytest.mark.parametrize(
    "words", [["help"], ["-V"], ["--version"], ["--str2sec", "1h"], ["--str2sec", "x"], ["-x", "-y"]]
)
def test_what_the_client_does_itself_speaks_json(client, option, words):
    """Help, versions and mistakes too."""
    status, out, err = client(option, *words)
    objects = [json.loads(line) for line in out.splitlines()]
    assert objects
    assert ("", status != 0) == (err, "error" in objects[0])


@pytest.mark.parametrize(
    ("expected", "words"),
    [
        ([{"jail": "sshd"}, {"jail": "web"}], ["status"]),
        ([{"jail": "sshd", "banned": ["192.0.2.77"]}, {"jail": "web", "banned": []}], ["banned"]),
        ([{"value": "192.0.2.77"}], ["get", "sshd", "banned"]),
        ([{"value": "pong"}], ["ping"]),
        ([{"error": "Sorry but the jail 'nope' does not exist"}], ["status", "nope"]),
        ([], ["banned", "--jail", "web"]),
    ],
)
def test_lists_are_lines_with_jsonl(client, api, expected, words):
    """One object for each thing, so that other programs can go through them."""
    api.put_ban("sshd", "192.0.2.77")
    assert expected == [json.loads(line) for line in client("--jsonl", *words)[1].splitlines()]


def test_banned_stays_as_scripts_know_it(client, api):
    """The plain command and the one with ids are as ever; any option makes the table."""
    api.put_ban("sshd", "192.0.2.77", since=NOW, until=NOW + 600)
    assert "[{'sshd': ['192.0.2.77']}, {'web': []}]\n" == client("banned")[1]
    assert "[['sshd']]\n" == client("banned", "192.0.2.77")[1]
    head, row = client("banned", "--jail", "sshd")[1].splitlines()
    assert ["ADDRESS", "JAIL", "PORTS"] == head.split()[:3]
    assert ["192.0.2.77", "sshd", "-"] == row.split()[:3]
    assert (1, 2) == (client("banned", "--jail", "nope")[0], client("banned", "--sort", "nope")[0])


def test_colours_when_asked_for(client, api):
    """Output that is no terminal is plain unless colours are wanted; the option may stand behind the command."""
    api.put_ban("sshd", "192.0.2.77")
    assert "\x1b" not in client("status", "sshd")[1]
    assert "\x1b[36m192.0.2.77\x1b[0m" in client("status", "sshd", "--color=always")[1]
    assert "\x1b[32myes\x1b[0m" in client("--color", "always", "banned", "--table")[1]
    assert 2 == client("--color", "sometimes", "status")[0]


def test_options_behind_free_text_are_text(client, api):
    """`set`, `echo` and the like take any words."""
    assert "a --color never --no-pager\n" == client("echo", "a", "--color", "never", "--no-pager")[1]


@pytest.mark.parametrize(
    ("status", "expected", "words"),
    [
        (0, {"jails": ["sshd", "web"]}, ["status"]),
        (0, {"jails": {"sshd": ["192.0.2.77"], "web": []}}, ["banned"]),
        (0, {"value": "pong"}, ["ping"]),
        (0, {"value": 3}, ["get", "sshd", "maxretry"]),
        (1, {"error": "Sorry but the jail 'nope' does not exist"}, ["status", "nope"]),
        (2, {"error": "Invalid command"}, ["foo"]),
    ],
)
@pytest.mark.parametrize("last", [False, True])
def test_json_is_one_object_on_standard_output(client, api, status, expected, words, last):
    """With --json nothing else is printed, whatever happens."""
    api.put_ban("sshd", "192.0.2.77")
    found, out, err = client(*(["--json"] * (not last)), *words, *(["--json"] * last))
    assert (status, expected, "") == (found, json.loads(out), err)


def test_the_status_of_a_jail_as_json(client, api):
    """The object has the promised keys; times are epoch seconds, null for ever."""
    api.put_ban("sshd", "192.0.2.77", since=1000.0, until=None, count=2, failures=5, enforced=False)
    _, out, _ = client("status", "sshd", "--json")
    expected = {
        "jail": "sshd",
        "filter": {"currently_failed": 1, "total_failed": 7, "file_list": ["/var/log/a", "/var/log/b"]},
        "actions": {
            "currently_banned": 1,
            "total_banned": 1,
            "banned": [
                {"id": "192.0.2.77", "since": 1000, "until": None, "count": 2, "failures": 5, "enforced": False}
            ],
        },
    }
    assert expected == json.loads(out)


def test_reload_shows_what_was_wrong(client, api):
    """`OK` on standard output, what was survived on standard error, nothing of it with -q."""
    assert (0, "OK\n", "jail.conf:3: warning: [x] something\n") == client("reload")
    assert (0, "OK\n", "") == client("-q", "reload")
    assert [None, None] == [request.directory for request in api.reloads]


def test_reload_takes_the_chosen_directory(client, api, tmp_path, monkeypatch):
    """With -c the server reads that directory, as an absolute path; options of the command stay."""
    monkeypatch.chdir(tmp_path)
    client("-c", "conf", "reload", "--restart", "sshd")
    assert (str(tmp_path / "conf"), True, "sshd") == (
        api.reloads[0].directory,
        api.reloads[0].restart,
        api.reloads[0].jail,
    )


def test_restart_of_a_jail_is_a_reload(client, api):
    """`restart JAIL` goes to the server."""
    assert (0, "OK\n") == client("restart", "sshd")[:2]
    assert (True, "sshd") == (api.reloads[0].restart, api.reloads[0].jail)


def test_a_second_server_is_not_started(client):
    """`start` finds the running one."""
    status, out, _ = client("start")
    assert (1, "Server already running\n") == (status, out)


# ---- the server is not there


@pytest.mark.parametrize("words", [["ping"], ["status"], ["stop"], ["reload"], ["set", "j", "banip", "192.0.2.1"]])
def test_a_server_that_is_not_there_is_status_3(socket_path, capsys, words):
    """Nothing on standard output, the reason on standard error; as JSON on standard output."""
    message = f"Failed to access socket path: {socket_path}. Is banguard running?"
    assert 3 == main(["-s", socket_path, *words])
    assert ("", f"{message}\n") == capsys.readouterr()
    assert 3 == main(["-s", socket_path, "--json", *words])
    assert {"error": message} == json.loads(capsys.readouterr().out)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
def test_a_user_without_rights_is_status_4(client, socket_path):
    """The kernel's refusal has a status of its own."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.setuid(65534)
        os.write(write, str(main(["-q", "-s", socket_path, "ping"])).encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(write)
    assert "4" == os.read(read, 10).decode()
    os.close(read)


@pytest.mark.parametrize("text", ["0", "-1", "x", "nan", "1e9"])
def test_a_wrong_time_to_wait_is_a_usage_error(socket_path, capsys, text):
    """--timeout takes seconds."""
    with serving(MemoryServer(), socket_path):
        assert 2 == main(["-s", socket_path, "--timeout", text, "ping"])
    assert "seconds" in capsys.readouterr().err


def test_a_server_that_hangs_is_given_up(socket_path, capsys):
    """--timeout ends the wait with status 3."""
    import threading

    go = threading.Event()

    def hanging(words):
        go.wait(10)
        return Reply("late")

    with serving(MemoryServer(), socket_path, execute=hanging):
        assert 3 == main(["-s", socket_path, "--timeout", "0.05", "ping"])
        go.set()
    assert "did not answer" in capsys.readouterr().err


# ---- where the socket is


def test_the_environment_names_the_socket(api, socket_path, capsys, monkeypatch):
    """$BANGUARD_SOCKET is used when no option says otherwise."""
    monkeypatch.setenv("BANGUARD_SOCKET", socket_path)
    with serving(api, socket_path):
        assert 0 == main(["ping"])
        assert 3 == main(["-s", socket_path + "x", "ping"])


def test_the_configuration_names_the_socket(api, socket_path, capsys, tmp_path, monkeypatch):
    """Without an option or a variable the socket is that of the configuration, as for the server."""
    monkeypatch.delenv("BANGUARD_SOCKET", raising=False)
    (tmp_path / "banguard.conf").write_text(f"[Definition]\nsocket = {socket_path}\n")
    with serving(api, socket_path):
        assert 0 == main(["-c", str(tmp_path), "ping"])


def test_a_configuration_that_is_not_there_is_an_error(tmp_path, capsys):
    """The directory is named."""
    assert 1 == main(["-c", str(tmp_path / "missing"), "ping"])
    assert "missing" in capsys.readouterr().err


# ---- interactive


def interact(client, monkeypatch, text):
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))
    return client("-i")


def test_commands_are_read_line_by_line(client, monkeypatch):
    """Each line is a command, quoted as in a shell; errors do not end the session, `exit` does."""
    text = "ping\n\nstatus nope\necho 'a  b'\n\"\nhelp\nexit\nping\n"
    status, out, err = interact(client, monkeypatch, text)
    assert 0 == status
    assert out.startswith("Server replied: pong\nSorry but the jail 'nope' does not exist\na  b\n")
    assert 1 == out.count("pong")
    assert "No closing quotation" in err


def test_the_end_of_the_input_ends_the_session(client, monkeypatch):
    """The status is that of the last command."""
    assert 1 == interact(client, monkeypatch, "status nope\n")[0]


# ---- the configuration


@pytest.fixture
def conf(tmp_path):
    directory = tmp_path / "conf"
    (directory / "filter.d").mkdir(parents=True)
    (directory / "action.d").mkdir()
    (directory / "banguard.conf").write_text("[Definition]\nloglevel = INFO\nlogtarget = STDERR\ndbfile = None\n")
    (tmp_path / "a.log").write_text("")
    (directory / "jail.conf").write_text(
        f"[one]\nenabled = true\nfilter = one\nbackend = polling\nlogpath = {tmp_path / 'a.log'}\n"
    )
    (directory / "filter.d" / "one.conf").write_text(
        "[Definition]\nfailregex = ^bad <HOST>$\n            ^worse <HOST>$\n"
    )
    return directory


def test_a_good_configuration_is_said_to_be_good(conf, capsys):
    """-t prints the words that scripts look for, status 0."""
    assert 0 == main(["-c", str(conf), "-t"])
    assert "OK: configuration test is successful\n" == capsys.readouterr().out


def test_a_bad_regex_is_found(conf, capsys):
    """-t compiles everything; each error stands on standard error with its file, the verdict on standard output."""
    (conf / "filter.d" / "one.conf").write_text("[Definition]\nfailregex = ^bad (<HOST>$\n")
    assert 1 == main(["-c", str(conf), "-t"])
    out, err = capsys.readouterr()
    assert "ERROR: test configuration failed\n" == out
    assert "one.conf:2" in err
    assert 1 == main(["-c", str(conf), "--json", "-t"])
    assert "one.conf:2" in json.loads(capsys.readouterr().out)["error"]


def test_a_test_comes_before_the_reload(conf, client, api, capsys):
    """`-t reload` reloads after a good test and not after a bad one."""
    assert (0, "OK: configuration test is successful\nOK\n") == client("-c", str(conf), "-t", "reload")[:2]
    (conf / "filter.d" / "one.conf").write_text("[Definition]\nfailregex = ^bad (<HOST>$\n")
    assert 1 == client("-c", str(conf), "-t", "reload")[0]
    assert 1 == len(api.reloads)


def test_a_test_goes_with_commands_that_use_the_configuration(conf, client):
    """`-t status` is a mistake."""
    assert 2 == client("-c", str(conf), "-t", "status")[0]


def test_the_configuration_is_dumped(conf, capsys):
    """-d prints one command a line as a Python list, --dp the same over more lines, --json an object."""
    assert 0 == main(["-c", str(conf), "-d"])
    lines = capsys.readouterr().out.splitlines()
    assert "['set', 'loglevel', 'INFO']" in lines
    assert "['add', 'one', 'polling']" in lines
    assert 0 == main(["-c", str(conf), "--dp"])
    assert "[\n    '^bad <HOST>$',\n    '^worse <HOST>$'\n]]" in capsys.readouterr().out
    assert 0 == main(["-c", str(conf), "-d", "--json"])
    assert ["add", "one", "polling"] in json.loads(capsys.readouterr().out)["commands"]


# ---- as a program


def test_the_program_ends_quietly_when_nobody_reads(api, socket_path):
    """`banguard-client status | head -0` is no reason for a traceback."""
    read, write = os.pipe()
    os.close(read)
    with serving(api, socket_path):
        done = subprocess.run(
            [sys.executable, "-m", "banguard.cli.client", "-s", socket_path, "status"],
            stdout=write,
            stderr=subprocess.PIPE,
            timeout=30,
        )
    os.close(write)
    assert b"" == done.stderr


def test_output_that_a_terminal_cannot_show_is_escaped(api, socket_path):
    """A terminal with ASCII alone gets escapes, not an error."""
    with serving(api, socket_path):
        done = subprocess.run(
            [sys.executable, "-m", "banguard.cli.client", "-s", socket_path, "echo", "é日"],
            capture_output=True,
            timeout=30,
            env={**os.environ, "PYTHONIOENCODING": "ascii"},
        )
    assert (0, b"\\xe9\\u65e5\n") == (done.returncode, done.stdout)


def test_a_plain_command_loads_little():
    """Scripts call the client again and again: neither the table of commands nor the configuration is loaded."""
    program = (
        "import sys; from banguard.cli.client import main; main(['-s', '/nonexistent', 'status']);"
        "print([name for name in ('dataclasses', 'inspect', 'logging', 'argparse', 'subprocess', 'sqlite3', 'asyncio',"
        "'banguard.control.commands', 'banguard.config.build') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30)
    assert "[]\n" == done.stdout


def test_a_self_test_without_a_jail_is_of_all(tmp_path, capsys):
    """The status is that of the worst."""
    path = tmp_path / "s"
    with serving(MemoryServer().with_jail("sshd").with_jail("web"), path):
        assert 0 == main(["-s", str(path), "self-test"])
        assert ["[sshd] passed", "[web] passed"] == [
            line for line in capsys.readouterr().out.splitlines() if line.startswith("[")
        ]
    with serving(MemoryServer().with_jail("broken").with_jail("web"), path):
        assert 1 == main(["-s", str(path), "self-test"])
        assert "FAIL line" in capsys.readouterr().out
    with serving(MemoryServer(), path):
        assert 1 == main(["-s", str(path), "self-test"])
