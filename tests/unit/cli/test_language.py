"""Messages come in the language asked for, and every catalogue is whole."""

from __future__ import annotations

import os
import re
import string

import pytest

from banguard.cli import foreign_rules, moving
from banguard.cli.language import FOLDER, LANGUAGES, choose, read_catalogue, translator

MESSAGES = {*foreign_rules.MESSAGES, *moving.MESSAGES}
FOREIGN = [language for language in LANGUAGES if language != "en"]


def fields(text):
    return sorted(name for _, name, _, _ in string.Formatter().parse(text) if name is not None)


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


@pytest.mark.parametrize("module", [foreign_rules, moving])
def test_every_message_is_listed(module):
    """A constant text with fields in it is a message, and MESSAGES of its module names it."""
    texts = {
        value
        for name, value in vars(module).items()
        if re.fullmatch(r"[A-Z_]+", name) and isinstance(value, str) and re.search(r"\{\w+\}", value)
    }
    assert texts == set(module.MESSAGES)


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
