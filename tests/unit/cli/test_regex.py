"""banguard-regex from its command line to its output."""

from __future__ import annotations

import gzip
import io
import json
import os
import subprocess
import sys

import pytest

from banguard.cli.regex import main

DATE = "2026-11-20T10:00:00Z"
AT = 1_795_168_800.0
LINE = f"{DATE} host prog: fail joe from 192.0.2.1"
FAILREGEX = r"fail <F-USER>\S+</F-USER> from <HOST>$"

FILTER = r"""
[INCLUDES]
before = common.conf

[DEFAULT]
_word = fail

[Definition]
failregex = ^%(_prefix)s: <word> <F-USER>\S+</F-USER> from <HOST>$
            ^%(_prefix)s: other "quoted" <HOST>$
ignoreregex = from 198\.51\.100\.
datepattern = {^LN-BEG}
word = %(_word)s
"""


@pytest.fixture
def config(tmp_path):
    """A configuration with one filter and two jails."""
    directory = tmp_path / "config"
    (directory / "filter.d").mkdir(parents=True)
    (directory / "filter.d" / "prog.conf").write_text(FILTER)
    (directory / "filter.d" / "common.conf").write_text("[DEFAULT]\n_prefix = \\s*\\S+ prog\n")
    (directory / "jail.conf").write_text(
        "[prog]\nfilter = prog[word=jailed]\n[jailed]\nfilter = prog[word=jailed]\nusedns = no\n[broken]\nfilter = nosuch\n"
    )
    return str(directory)


@pytest.fixture
def log(tmp_path):
    """A log with one line of each outcome."""
    path = tmp_path / "log"
    path.write_text(
        f"# a comment\n{LINE}\n\n{DATE} host prog: fail joe from 198.51.100.1\n{DATE} host prog: all is well\n"
        f'{DATE} host prog: other "quoted" 192.0.2.2\n'
    )
    return str(path)


@pytest.fixture
def run(capsys):
    """Run the program; return status, output and errors."""

    def run(*words: str) -> tuple[int, str, str]:
        try:
            status = main(words)
        except SystemExit as end:
            status = end.code
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


def test_text_report(run, config, log):
    """The whole report, in the layout that is known from such tools."""
    status, out, err = run("-c", config, log, "prog")
    assert (0, "") == (status, err)
    before, _, after = out.partition("[processed in ")
    assert (
        f"""
Running tests
=============

Use   failregex filter file : prog, basedir: {config}
Use      datepattern : {{^LN-BEG}} : Default Detectors
Use         log file : {log}
Use         encoding : UTF-8


Results
=======

Failregex: 2 total
|-  #) [# of hits] regular expression
|   1) [1] ^\\s*\\S+ prog: fail <F-USER>\\S+</F-USER> from <HOST>$
|   2) [1] ^\\s*\\S+ prog: other "quoted" <HOST>$
`-

Ignoreregex: 1 total
|-  #) [# of hits] regular expression
|   1) [1] from 198\\.51\\.100\\.
`-

Date template hits:
|- [# of hits] date format
|  [4] """
        in before
    )
    assert before.endswith("\n`-\n\nLines: 4 lines, 1 ignored, 2 matched, 1 missed\n")
    assert after.endswith(
        f" sec]\n\n|- Ignored line(s):\n|  {DATE} host prog: fail joe from 198.51.100.1\n`-\n"
        f"|- Missed line(s):\n|  {DATE} host prog: all is well\n`-\n"
    )


def test_jsonl(run, config, log):
    """One object for each line, numbered as in the file, then the totals."""
    status, out, _ = run("-c", config, "--jsonl", log, "prog")
    first, second, third, fourth, last = map(json.loads, out.splitlines())
    assert 0 == status
    assert [2, 4, 5, 6] == [each["line"] for each in (first, second, third, fourth)]
    assert {
        "line": 2,
        "text": LINE,
        "status": "matched",
        "id": "192.0.2.1",
        "host": "192.0.2.1",
        "time": AT,
        "user": "joe",
        "regex": 1,
        "groups": {"user": "joe", "ip4": "192.0.2.1"},
    } == first
    assert ["ignored", "missed", "matched"] == [each["status"] for each in (second, third, fourth)]
    assert fourth["user"] is None
    assert {"total": 4, "matched": 2, "ignored": 1, "missed": 1} == last["summary"]["lines"]


def test_json(run, config, log):
    """The totals alone, with the regexes as the filter has them."""
    _, out, _ = run("-c", config, "--json", log, "prog")
    found = json.loads(out)
    assert {"total": 4, "matched": 2, "ignored": 1, "missed": 1} == found["lines"]
    assert ['^\\s*\\S+ prog: other "quoted" <HOST>$', 1] == list(found["failregex"][1].values())
    assert {"lines", "failregex", "ignoreregex", "dates", "seconds"} == set(found)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("prog", "fail"),
        ("prog[word=said]", "said"),
        ('prog[word="a,b"]', "a,b"),
        ("{config}/filter.d/prog.conf", "fail"),
        ("{config}/filter.d/prog.conf[word=said]", "said"),
        ("jail:prog", "jailed"),
        ("jailed", "jailed"),
        ("jail:jailed", "jailed"),
    ],
)
def test_ways_to_name_a_filter(run, config, log, name, expected):
    """A filter goes before a jail of the same name; options in brackets are put over it."""
    _, out, _ = run("-c", config, "--json", log, name.format(config=config))
    assert (
        f"^\\s*\\S+ prog: {expected} <F-USER>\\S+</F-USER> from <HOST>$" == json.loads(out)["failregex"][0]["pattern"]
    )


def test_local_file_counts_for_a_path_too(run, config, log):
    """A path into filter.d stands for the filter there, with its .local file."""
    with open(os.path.join(config, "filter.d", "prog.local"), "w", encoding="utf-8") as file:
        file.write("[Definition]\nword = local\n")
    for name in ("prog", f"{config}/filter.d/prog.conf"):
        _, out, _ = run("-c", config, "--json", log, name)
        assert "prog: local " in json.loads(out)["failregex"][0]["pattern"]


def test_filter_file_elsewhere(run, tmp_path, config, log, monkeypatch):
    """Any filter file will do, by absolute or relative path; what it includes lies beside it."""
    (tmp_path / "mine.conf").write_text("[Definition]\nfailregex = from <HOST>$\n")
    monkeypatch.chdir(tmp_path)
    for path in (str(tmp_path / "mine.conf"), "mine.conf", "./mine.conf"):
        status, out, _ = run("-c", config, log, path)
        assert (0, True) == (status, f"Use   failregex file : {path}\n" in out)
        assert "2 matched" in out


def test_regex_on_a_line(run):
    """A regex and a line as they are."""
    status, out, _ = run(LINE, FAILREGEX)
    assert 0 == status
    assert f"\nUse   failregex line : {FAILREGEX}\nUse      single line : {LINE[:48]}...\n\n\nResults\n" in out
    assert "Lines: 1 lines, 0 ignored, 1 matched, 0 missed" in out


def test_several_lines(run):
    """LOG may be several lines of text."""
    _, out, _ = run(f"{LINE}\n{LINE}", FAILREGEX)
    assert "Use      multi line : 2 line(s)\n|  1: " in out
    assert "2 matched" in out


def test_ignoreregex(run, tmp_path, config):
    """The third word is an ignoreregex, or a file that has one."""
    _, out, _ = run(LINE, FAILREGEX, r"192\.0\.2\.")
    assert "\nUse ignoreregex line : 192\\.0\\.2\\.\n" in out
    assert "1 ignored, 0 matched" in out
    (tmp_path / "ignore.conf").write_text("[Definition]\nfailregex = x <HOST>\nignoreregex = joe\n")
    _, out, _ = run("-c", config, LINE, FAILREGEX, str(tmp_path / "ignore.conf"))
    assert "1 ignored, 0 matched" in out


def test_options_anywhere(run, log, config):
    """Options may stand between and behind the words."""
    assert run("-c", config, log, "prog", "--json")[0] == run(log, "--json", "prog", "-c", config)[0] == 0


@pytest.mark.parametrize(
    ("token", "expected"),
    [
        ("id", "192.0.2.1\n"),
        ("ip", "192.0.2.1\n"),
        ("user", "joe\n"),
        ("msg", f"{LINE}\n"),
        ("<ip> <F-USER> <time>", f"192.0.2.1 joe {AT}\n"),
        ("row", f"['192.0.2.1',\t{AT},\t{{'user': 'joe', 'ip4': '192.0.2.1', 'ip6': None, 'dns': None}}],\n"),
    ],
)
def test_out(run, token, expected):
    """-o prints the matches and nothing else."""
    assert (0, expected, "") == run("-o", token, f"{LINE}\nanother", FAILREGEX)


def test_inverted(run):
    """-i prints the lines that do not match."""
    assert (0, "another\n", "") == run("-i", "-o", "msg", f"{LINE}\nanother", FAILREGEX)


def test_now_and_timezone(run):
    """--now completes dates without a year; --timezone is the zone of both."""
    words = ["--jsonl", "--timezone", "Europe/Zurich", "Aug 14 11:59:58 x 192.0.2.1", "x <HOST>"]
    times = [
        json.loads(run("--now", now, *words)[1].splitlines()[0])["time"]
        for now in ("2005-08-14T12:00:00", "1124013600")
    ]
    assert [1_124_013_598.0] * 2 == times
    words[1:3] = ["--TZ", "UTC+0200"]
    found = json.loads(run("--now", "2005-08-13T00:00:00+00:00", *words)[1].splitlines()[0])
    assert 1_092_477_598.0 == found["time"]


def test_undated_line_has_no_time(run):
    """A line whose date is not found matches, and its time is null."""
    found = json.loads(run("--jsonl", "x 192.0.2.1", "x <HOST>")[1].splitlines()[0])
    assert ("matched", None) == (found["status"], found["time"])


def test_year_of_long_ago(run):
    """The tester takes dates of any year from 1900."""
    found = json.loads(run("--jsonl", "1999-12-31T23:59:59Z x 192.0.2.1", "x <HOST>")[1].splitlines()[0])
    assert 946_684_799.0 == found["time"]


def test_datepattern_and_maxlines(run):
    """-d and -L are put over the filter."""
    _, out, _ = run("-d", "^%Y", "-L", "2", "2026 a\n2026 b 192.0.2.1", r"^ a\n b <HOST>")
    assert "Use         maxlines : 2\nUse      datepattern : ^%Y : " in out
    assert "1 matched, 1 missed" in out


@pytest.mark.parametrize(
    ("options", "expected"), [(["--usedns", "no"], "missed"), (["-r"], "matched"), (["--usedns", "raw"], "matched")]
)
def test_names(run, options, expected):
    """Without look-ups a name is nobody, or an id as it stands."""
    _, out, _ = run(*options, "--jsonl", "x mail.example.invalid", "x <DNS>$")
    assert expected == json.loads(out.splitlines()[0])["status"]


def test_name_is_looked_up(run):
    """A name that has addresses counts as these; one that has none is no match, and no hit."""
    _, out, _ = run("--jsonl", "x localhost\nx nosuch.invalid", "x <HOST>$")
    first, second, last = map(json.loads, out.splitlines())
    assert first["host"] == "localhost"
    assert first["id"] in {"127.0.0.1", "::1"}
    assert ("missed", 1) == (second["status"], last["summary"]["failregex"][0]["hits"])


@pytest.mark.parametrize(("options", "expected"), [([], [1, 1]), (["--no-check-all"], [1, 0])])
def test_check_all(run, config, options, expected):
    """All regexes are tried and counted, unless --no-check-all."""
    with open(os.path.join(config, "filter.d", "both.conf"), "w", encoding="utf-8") as file:
        file.write("[Definition]\nfailregex = x <HOST>\n  <HOST>$\n")
    _, out, _ = run("-c", config, *options, "--json", "x 192.0.2.1", "both")
    assert expected == [each["hits"] for each in json.loads(out)["failregex"]]


def test_verbose(run):
    """-v shows what each regex found."""
    _, out, _ = run("-v", LINE, FAILREGEX)
    assert "|      192.0.2.1  Fri Nov 20 " in out


@pytest.mark.parametrize(
    ("options", "shown", "hidden"),
    [
        ([], ["Missed line(s): too many to print.  Use --print-all-missed to print all 30 lines"], ["|- Matched"]),
        (["--print-no-missed"], [], ["Missed line"]),
        (["--print-all-missed"], ["|- Missed line(s):", "|  miss 29"], ["too many"]),
        (["--print-all-matched"], ["|- Matched line(s):", f"|  {LINE}"], []),
        (["--print-all-missed", "-D"], ["|  miss 29 | fail ", "https://www.debuggex.com/?re="], []),
    ],
)
def test_lists_of_lines(run, options, shown, hidden):
    """Lines are listed up to twenty, or as the options say."""
    _, out, _ = run(*options, "\n".join([LINE, *(f"miss {number}" for number in range(30))]), FAILREGEX)
    assert [] == [text for text in shown if text not in out]
    assert [] == [text for text in hidden if text in out]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ([LINE], "provide both <LOG> and <FILTER>"),
        ([LINE, "x", "y", "z"], "provide both <LOG> and <FILTER>"),
        (["--print-no-missed", "--print-all-missed", LINE, "x"], "mutually exclusive"),
        (["--json", "--jsonl", LINE, "x"], "mutually exclusive"),
        (["--invert", LINE, "x"], "--invert needs --out"),
        (["-r", "--usedns", "no", LINE, "x"], "mutually exclusive"),
        (["-L", "0", LINE, "x"], "--maxlines needs"),
        ([LINE, "nosuch"], "No failure-id group in 'nosuch' (nor is there a filter, jail or file of that name)"),
        ([LINE, "(<HOST>"], "cannot compile regex '(<HOST>': missing )"),
        ([LINE, "no id here!"], "No failure-id group in 'no id here!'"),
        ([LINE, ""], "empty regex"),
        ([LINE, "jail:broken"], "nosuch"),
        ([LINE, "jail:nosuch"], "nosuch"),
        (["-d", "%Q", LINE, "<HOST>"], "%Q"),
        (["--now", "noon", LINE, "<HOST>"], "--now 'noon'"),
        (["--timezone", "Nowhere/None", LINE, "<HOST>"], "unknown time zone 'Nowhere/None'"),
        (["/", "<HOST>"], "/ is a directory"),
        (["-e", "nosuch", "{log}", "<HOST>"], "unknown encoding: nosuch"),
    ],
)
def test_errors(run, config, log, words, reason):
    """What is wrong is said in one line, and the exit status is 255."""
    status, out, err = run("-c", config, *(word.format(log=log) if word == "{log}" else word for word in words))
    assert 255 == status
    assert reason in out + err
    assert "Traceback" not in out + err


def test_missing_directory(run):
    """A configuration directory that is not there is an error, not an empty one."""
    status, out, _ = run("-c", "/nosuch", LINE, FAILREGEX)
    assert (255, True) == (status, "ERROR: there is no configuration directory /nosuch\n" in out)


def test_error_as_json(run):
    """With --json an error is an object as well; with -o it does not mix with the data."""
    assert (255, '{"error": "No failure-id group in \'a b\'"}\n', "") == run("--json", LINE, "a b")
    assert (255, "", "ERROR: No failure-id group in 'a b'\n") == run("-o", "id", LINE, "a b")


def test_unknown_option(run):
    """An unknown option ends with usage and status 2."""
    status, out, err = run("--nosuch")
    assert (2, "") == (status, out)
    assert "usage: banguard-regex [OPTIONS] LOG FILTER|REGEX [IGNOREREGEX]" in err


@pytest.mark.parametrize("option", ["-h", "--help", "-V", "--version"])
def test_help_and_version(run, option):
    """Help and version are printed, and that is all."""
    status, out, err = run(option)
    assert (0, "") == (status, err)
    assert out


def test_packed_log(run, tmp_path):
    """A packed log is read as well."""
    path = tmp_path / "log.gz"
    path.write_bytes(gzip.compress(f"{LINE}\n".encode()))
    assert "1 matched" in run(str(path), FAILREGEX)[1]


def test_raw_bytes_in_a_log(run, tmp_path):
    """Bytes that are no text reach the output as replacement characters."""
    path = tmp_path / "log"
    path.write_bytes(f"{DATE} ".encode() + b"\xff\xfe\x00 192.0.2.1\n")
    found = json.loads(run("--jsonl", str(path), "<HOST>$")[1].splitlines()[0])
    assert ("matched", f"{DATE} \ufffd\ufffd\x00 192.0.2.1") == (found["status"], found["text"])


def test_terminal_gets_no_escapes(monkeypatch):
    """On a terminal control characters of a log are shown as escapes; in a pipe they stay."""

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    outputs = []
    for stream in (Terminal(), io.StringIO()):
        monkeypatch.setattr(sys, "stdout", stream)
        assert 0 == main(["-o", "msg", "x \x1b[2J 192.0.2.1", "x .* <HOST>"])
        outputs.append(stream.getvalue())
    assert ["x \\x1b[2J 192.0.2.1\n", "x \x1b[2J 192.0.2.1\n"] == outputs


def test_reader_that_goes_away(tmp_path):
    """When nobody reads any more the program ends quietly."""
    path = tmp_path / "log"
    path.write_text(f"{LINE}\n" * 50_000)
    command = [sys.executable, "-m", "banguard.cli.regex", "-o", "msg", str(path), FAILREGEX]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.readline()
        process.stdout.close()
        assert b"" == process.stderr.read()
    assert 141 == process.returncode


def test_conditions_on_fields(tmp_path, capsys):
    """A filter for JSON is tried as any other: hits per rule in the report, groups with --jsonl."""
    path = tmp_path / "j.conf"
    path.write_text("[Definition]\nlogformat = json\nfield.ip = <HOST>\nfield.user = <F-USER>.*</F-USER>\n")
    log = tmp_path / "log"
    log.write_text('{"time":"2026-11-20T10:00:00Z","ip":"192.0.2.1","user":"a\\u001b[31m"}\n{"ip":"192.0.2.1"}\n' * 40)
    assert 0 == main([str(log), str(path)])
    shown = capsys.readouterr().out
    assert "1) [40] field.ip = <HOST>; field.user = <F-USER>.*</F-USER>" in shown
    assert "Lines: 80 lines, 0 ignored, 40 matched, 40 missed" in shown
    assert 0 == main(["--jsonl", log.read_text().split("\n")[0], str(path)])
    line = json.loads(capsys.readouterr().out.split("\n")[0])
    assert ("192.0.2.1", "a\ufffd[31m", AT) == (line["id"], line["user"], line["time"])
