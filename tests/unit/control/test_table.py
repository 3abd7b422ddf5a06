import pytest

from banguard.control import commands  # noqa: F401  fills the table
from banguard.control.protocol import Reply
from banguard.control.table import GROUPS, TABLE, Command, Context, execute, help_text
from banguard.errors import ControlError
from support.memory_server import MemoryServer


def row(arguments):
    return Command("x", arguments, "help", GROUPS[0], lambda *_: Reply(None))


@pytest.mark.parametrize(
    ("arguments", "good", "bad"),
    [
        ("", [0], [1]),
        ("<a>", [1], [0, 2]),
        ("<a> <b>", [2], [0, 1, 3]),
        ("<a> [<b>]", [1, 2], [0, 3]),
        ("<a> [<b> <c>]", [1, 2, 3], [0, 4]),
        ("<a>...", [1, 2, 50], [0]),
        ("[<a>...]", [0, 1, 50], []),
        ("on|off", [1], [0, 2]),
    ],
)
def test_the_number_of_arguments_follows_from_the_help(arguments, good, bad):
    """What help shows as needed, optional or repeated is what is accepted."""
    assert [] == [count for count in good if not row(arguments).takes(count)]
    assert [] == [count for count in bad if row(arguments).takes(count)]


@pytest.mark.parametrize(
    ("expected", "words"),
    [
        ("Invalid command", []),
        ("Invalid command", ["foo"]),
        ("Invalid command", ["SET", "loglevel", "INFO"]),
        ("Sorry but the command is invalid", ["set"]),
        ("Sorry but the command is invalid", ["get"]),
        ("Sorry but the command is invalid", ["get", "sshd"]),
        ("Sorry but the command is invalid", ["set", "loglevel"]),
        ("Sorry but the command is invalid", ["set", "sshd", "maxretry"]),
        ("Sorry but the command is invalid", ["set", "sshd", "maxretry", "1", "2"]),
        ("Sorry but the command is invalid", ["unban"]),
        ("Invalid command 'foo' (no set action or not yet implemented)", ["set", "sshd", "foo", "bar"]),
        ("Invalid command (no get action or not yet implemented)", ["get", "sshd", "foo"]),
        ("Invalid command (no get action or not yet implemented)", ["get", "nope", "foo"]),
        ("Invalid command (no get action or not yet implemented)", ["get", "sshd", "idle"]),
    ],
)
def test_what_is_no_command_is_a_usage_error(expected, words):
    """Unknown words and wrong numbers of arguments are refused with the texts that tools know, status 2."""
    with pytest.raises(ControlError) as raised:
        execute(Context(MemoryServer().with_jail(), lambda _: None), words)
    assert (expected, 2) == (str(raised.value), raised.value.status)


def test_a_jail_called_as_an_option_of_the_server_hides_nothing():
    """`get loglevel` stays the server's level even when a jail has that name."""
    api = MemoryServer().with_jail("loglevel").with_jail("sshd")
    assert "INFO" == execute(Context(api, lambda _: None), ["get", "loglevel"]).value
    assert 3 == execute(Context(api, lambda _: None), ["get", "sshd", "maxretry"]).value


@pytest.mark.parametrize("command", list(TABLE.values()), ids=lambda command: command.phrase)
def test_every_command_has_its_group_and_a_description(command):
    """A command belongs to a section of the help text and says in its docstring what it does, or in its help."""
    assert command.group in GROUPS
    assert command.help or command.function.__doc__


@pytest.mark.parametrize("width", [80, 100, 120])
def test_help_shows_every_command_once_within_the_width(width):
    """Help lists each command with its arguments, and only long usages exceed the terminal."""
    lines = help_text(width).splitlines()
    shown = [command for command in TABLE.values() if command.help]
    for command in shown:
        usage = f"    {command.phrase} {command.arguments}".rstrip()
        assert 1 == sum(
            line == usage or line.startswith(usage + " ") or line[:45].rstrip() == usage for line in lines
        ), usage
    assert [] == [line for line in lines if line.startswith(" " * 45) and len(line) > width]
