from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from banguard import run


def test_a_program_is_given_its_words_and_input_and_what_it_says_comes_back():
    """Words, stdin, stdout, stderr and the exit status arrive as they are."""
    result = run.run(["sh", "-c", 'cat; echo "$1" >&2; exit 3', "sh", "a b*"], stdin=b"in\n")
    assert (3, b"in\n", b"a b*\n", False) == (result.returncode, result.stdout, result.stderr, result.timed_out)
    assert not result.succeeded


def test_without_input_there_is_nothing_to_read():
    """A program that reads does not wait for a terminal."""
    assert b"" == run.run(["cat"]).stdout


def test_success():
    """Status 0 is success."""
    assert run.run(["true"]).succeeded


@pytest.mark.parametrize(
    ("argv", "returncode", "said"),
    [
        (["no-such-program-here"], 127, "no-such-program-here: not found; is it installed and in PATH?"),
        (["/etc/passwd"], 126, "/etc/passwd: cannot be executed: Permission denied"),
        (["true", "x" * 200_000], 126, "true: cannot be executed: the arguments and the environment are too long"),
    ],
)
def test_what_cannot_be_started_is_told_like_a_shell_does(argv, returncode, said):
    """Not found is 127, not executable or too long 126, each with a sentence."""
    result = run.run(argv)
    assert (returncode, said) == (result.returncode, result.stderr.decode())
    assert f"exit status {returncode}: {said}" == result.describe()


def test_much_output_does_not_stop_a_program_and_both_ends_are_kept():
    """Output is read all the time; of more than the limit the beginning and the end stay."""
    result = run.run(["sh", "-c", "echo first; yes | head -c 1000000; echo last >&2; echo last"], keep=100)
    assert result.succeeded
    assert result.stdout.startswith(b"first\ny\n")
    assert result.stdout.endswith(b"\ny\nlast\n")
    assert b"[... 999911 bytes left out ...]" in result.stdout
    assert len(result.stdout) < 200


def test_much_input_and_output_at_the_same_time():
    """A program that answers while it reads never locks up with us."""
    data = os.urandom(3_000_000)
    assert data == run.run(["cat"], stdin=data, keep=10_000_000).stdout


def test_a_program_that_does_not_read_its_input():
    """What is not read is no error."""
    assert run.run(["true"], stdin=b"x" * 1_000_000).succeeded


def test_the_deadline_ends_the_whole_group():
    """After the deadline neither the program nor its children live."""
    began = time.monotonic()
    result = run.run(["sh", "-c", "sleep 1000 & echo $!; wait"], timeout=0.2)
    assert result.timed_out
    assert not result.succeeded
    assert "timed out after 0 s" == result.describe()
    assert time.monotonic() - began < 5
    child = int(result.stdout)
    _await_death(child)


def test_a_program_that_ignores_sigterm_is_killed():
    """0.2 s after SIGTERM comes SIGKILL."""
    result = run.run(["sh", "-c", "trap '' TERM; while :; do sleep 0.01; done"], timeout=0.2)
    assert result.timed_out
    assert -signal.SIGKILL == result.returncode


def test_what_is_said_after_sigterm_is_kept():
    """A program may still say why it was slow."""
    result = run.run(["sh", "-c", "trap 'echo sorry; exit 9' TERM; while :; do sleep 0.01; done"], timeout=0.3)
    assert (9, b"sorry\n", True) == (result.returncode, result.stdout, result.timed_out)


def test_a_child_in_the_background_is_not_waited_for():
    """A program is over when it ends, though a child holds its output open."""
    began = time.monotonic()
    result = run.run(["sh", "-c", "sleep 30 & echo $!"], timeout=20)
    assert result.succeeded
    assert time.monotonic() - began < 10
    child = int(result.stdout)
    assert _is_alive(child)
    os.kill(child, signal.SIGKILL)


def test_a_signal_is_named():
    """Death by signal is a negative return code, and has a name."""
    result = run.run(["sh", "-c", "kill -USR1 $$"])
    assert -signal.SIGUSR1 == result.returncode
    assert "killed by SIGUSR1" == result.describe()
    assert "signal 99" == run.signal_name(99)


def test_cancel_ends_a_program_from_another_thread():
    """What is cancelled ends at once, and nothing starts with it any more."""
    cancel = run.Cancel()
    results = []
    thread = threading.Thread(target=lambda: results.append(run.run(["sleep", "1000"], timeout=None, cancel=cancel)))
    thread.start()
    cancel.set()
    thread.join(10)
    assert [True] == [result.cancelled for result in results]
    assert not results[0].timed_out
    assert run.run(["true"], cancel=cancel).cancelled
    cancel.close()
    cancel.close()
    cancel.set()


def test_the_environment_is_ours_plus_the_additions_without_what_is_for_us_alone(monkeypatch):
    """Additions arrive even when they hold any byte but NUL; systemd's own variables do not."""
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/notify")
    monkeypatch.setenv("KEPT", "yes")
    value = "a\n'; \udcff\0é"
    result = run.run(["sh", "-c", 'printf "%s|%s|%s" "$KEPT" "$NOTIFY_SOCKET" "$VALUE"'], environment={"VALUE": value})
    assert b"yes||a\n'; \xff\xc3\xa9" == result.stdout


def test_a_lone_surrogate_is_replaced():
    """Text that no encoding can express still reaches a program."""
    assert b"?" == run.run(["printf", "%s", "\ud800"]).stdout


def test_no_open_file_is_inherited():
    """A program has stdin, stdout and stderr, and no other file of ours."""
    read, write = os.pipe()
    os.set_inheritable(read, True)
    try:
        assert {b"0", b"1", b"2"} >= set(run.run(["ls", "/proc/self/fd"]).stdout.split()) - {b"3"}
        assert b"" == run.run(["sh", "-c", f"ls -l /proc/self/fd/{read} 2>/dev/null"]).stdout
    finally:
        os.close(read)
        os.close(write)


def test_it_runs_in_a_session_of_its_own():
    """A signal to our group does not reach it."""
    sid = run.run(["sh", "-c", "ps -o sid= -p $$"]).stdout
    assert int(sid) != os.getsid(0)


def test_shell_gives_arguments_as_values():
    """$0, $1, … are values, whatever they hold."""
    assert b"a b|$(id)" == run.shell('printf "%s|%s" "$0" "$1"', ["a b", "$(id)"]).stdout


def test_many_threads_at_once():
    """Runs do not disturb each other."""
    found = {}

    def one(number):
        found[number] = run.run(["sh", "-c", f"echo {number}; exit {number}"])

    threads = [threading.Thread(target=one, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = {number: (number, f"{number}\n".encode()) for number in range(20)}
    assert expected == {number: (result.returncode, result.stdout) for number, result in found.items()}


def test_without_pidfd_a_thread_waits(monkeypatch):
    """Systems without pidfd_open work as well."""
    monkeypatch.delattr(os, "pidfd_open", raising=False)
    assert (0, b"x\n") == (lambda result: (result.returncode, result.stdout))(run.run(["echo", "x"]))
    assert run.run(["sleep", "1000"], timeout=0.1).timed_out


def test_no_descriptor_is_leaked():
    """After any kind of end as many files are open as before."""
    before = os.listdir("/proc/self/fd")
    run.run(["true"])
    run.run(["no-such-program-here"])
    run.run(["sleep", "1000"], timeout=0.05)
    run.run(["cat"], stdin=b"x")
    assert len(before) == len(os.listdir("/proc/self/fd"))


def _await_death(pid: int) -> None:
    """The kernel delivers a signal when it likes: give it a moment."""
    pause = threading.Event()
    for _ in range(500):
        if not _is_alive(pid):
            return
        pause.wait(0.01)
    pytest.fail(f"process {pid} is still there")


def _is_alive(pid: int) -> bool:
    """Return whether *pid* lives; one that is dead and not reaped does not."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_program_can_work_with_our_terminal(tmp_path, capfd):
    """It writes where we write, reads what it is given, and Ctrl-C is its own affair: ours is as before."""
    before = signal.getsignal(signal.SIGINT)
    assert run.attended(["sh", "-c", 'kill -INT $PPID; echo "$X: $(cat)"'], b"text", {"X": "x"})
    assert "x: text\n" == capfd.readouterr().out
    assert before == signal.getsignal(signal.SIGINT)
    assert not run.attended([str(tmp_path / "absent")], b"")
    assert not run.attended(["sh", "-c", "exit 127"], b"")
