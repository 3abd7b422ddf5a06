"""Messages come in the language asked for, and every catalogue is whole."""

from __future__ import annotations

import ast
import os
import re
import string

import pytest

from banguard.cli import checking, configuration, foreign_rules, move_fail2ban, moving
from banguard.cli.language import FOLDER, LANGUAGES, choose, read_catalogue, translator
from banguard.config.options import ACTION_OPTIONS, JAIL_OPTIONS, SERVER_OPTIONS
from support.samples import CHECKOUT

SOURCE = os.path.join(CHECKOUT, "src", "banguard")
MODULES = (foreign_rules, moving, configuration, checking, move_fail2ban)
"""Modules that say texts of their own, listed in their MESSAGES."""


def marked():
    """Return template → places of every message in the source that is made by `tell` from a constant."""
    found = {}
    for folder, _, names in os.walk(SOURCE):
        for name in names:
            if not name.endswith(".py"):
                continue
            with open(os.path.join(folder, name), encoding="utf-8") as file:
                tree = ast.parse(file.read())
            for node in ast.walk(tree):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "tell":
                    first = node.args[0]
                    if isinstance(first, ast.Constant):
                        found.setdefault(first.value, []).append(f"{name}:{node.lineno}")
    return found


def has_words(text):
    """Tell whether there is anything to translate."""
    return re.search(r"[^\W\d_]", re.sub(r"\{[^}]*\}", "", text)) is not None


HELP = {option.help for table in (JAIL_OPTIONS, ACTION_OPTIONS, SERVER_OPTIONS) for option in table.values()}
MESSAGES = {
    text for text in (*marked(), *HELP, *(text for module in MODULES for text in module.MESSAGES)) if has_words(text)
}
"""Everything that has to be translated: what the source marks, what options do, what some modules say themselves."""
FOREIGN = [language for language in LANGUAGES if language != "en"]


def fields(text):
    parts = string.Formatter().parse(text)
    return sorted((name, form or "", how or "") for _, name, form, how in parts if name is not None)


def catalogue(language):
    with open(os.path.join(FOLDER, f"{language}.po"), encoding="utf-8") as file:
        return read_catalogue(file.read())


@pytest.mark.parametrize("language", FOREIGN)
def test_a_catalogue_is_whole(language):
    """Every message has a translation of its own with the same fields, and there is none that nobody says."""
    messages = catalogue(language)
    assert set(messages) == MESSAGES
    for message, translated in messages.items():
        assert translated, message
        assert translated != message
        assert fields(message) == fields(translated)
        assert len(message) - len(message.lstrip()) == len(translated) - len(translated.lstrip()), message


@pytest.mark.parametrize("language", FOREIGN)
def test_nothing_in_a_catalogue_is_unsure_or_twice(language):
    """No translation is marked as a guess, and none stands twice."""
    with open(os.path.join(FOLDER, f"{language}.po"), encoding="utf-8") as file:
        text = file.read()
    assert "fuzzy" not in text
    keys = re.findall(r'^msgid (".+")$', text, re.MULTILINE)
    assert len(keys) == len(set(keys))


PLAIN = {"Problem": 1, "Fault": 0, "error": 0, "warning": 0}
"""Calls that keep a problem, and which of their arguments is the message."""


def test_no_problem_is_told_in_plain_text():
    """What the check tells is always marked: no text is put together where it could not be found for translation."""
    assert len(marked()) > 150
    plain = []
    for folder in ("config", "daemon"):
        for name in sorted(os.listdir(os.path.join(SOURCE, folder))):
            if not name.endswith(".py"):
                continue
            with open(os.path.join(SOURCE, folder, name), encoding="utf-8") as file:
                tree = ast.parse(file.read())
            for node in ast.walk(tree):
                if not isinstance(node, ast.Call):
                    continue
                function = ast.unparse(node.func)
                called = function.rpartition(".")[2]
                if called in {"error", "warning"} and not function.endswith(("report.error", "report.warning")):
                    continue
                at = PLAIN.get(called)
                if at is not None and len(node.args) > at and isinstance(node.args[at], ast.Constant | ast.JoinedStr):
                    plain.append(f"{name}:{node.lineno}")
    assert [] == plain


@pytest.mark.parametrize("module", MODULES)
def test_every_message_is_listed(module):
    """A constant text with fields in it is a message, and MESSAGES of its module names it."""
    texts = {
        value
        for name, value in vars(module).items()
        if re.fullmatch(r"[A-Z_]+", name) and type(value) is str and re.search(r"\{\w+\}", value)
    }
    assert texts <= {message for each in MODULES for message in each.MESSAGES}


@pytest.mark.parametrize(
    ("expected", "asked", "environment"),
    [
        ("en", None, {}),
        ("ja", None, {"LANG": "ja_JP.UTF-8"}),
        ("ru", None, {"LC_MESSAGES": "ru_RU.UTF-8", "LANG": "ja_JP.UTF-8"}),
        ("en", None, {"LC_ALL": "C", "LANG": "ja_JP.UTF-8"}),
        ("en", None, {"LANG": "de_DE"}),
        ("zh", "zh-CN", {"LANG": "ja_JP.UTF-8"}),
        ("es", "ES", {}),
    ],
)
def test_the_language(expected, asked, environment):
    """The option comes first, then the environment in the order of POSIX; what there is not is English."""
    assert expected == choose(asked, environment)


def test_a_language_there_is_not():
    """Asking for one is an error that names those there are."""
    with pytest.raises(ValueError, match="ja, zh, es, ko, ar, ru"):
        choose("../xx", {})


def test_what_is_not_in_a_catalogue_stays_english():
    """No message gets lost; long texts may stand on several lines, with escapes."""
    assert translator("ja")("no such message") == "no such message"
    assert translator("en")(moving.WRITTEN) == moving.WRITTEN
    assert read_catalogue('msgid ""\nmsgstr "header"\n\nmsgid "a "\n"b"\nmsgstr ""\n"c\\n"\n') == {"a b": "c\n"}
