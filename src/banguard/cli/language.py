"""Messages in the language of the operator, from gettext catalogues (`locale/*.po`); English costs nothing."""

from __future__ import annotations

import ast
import os
from collections.abc import Callable, Mapping

LANGUAGES = ("en", "ja", "zh", "es", "ko", "ar", "ru")
"""The languages there are; a message that a catalogue does not hold stays English."""

FOLDER = os.path.join(os.path.dirname(os.path.dirname(__file__)), "locale")

Translate = Callable[[str], str]


def choose(asked: str | None, environment: Mapping[str, str]) -> str:
    """
    Return the language *asked* for, else that of LC_ALL, LC_MESSAGES or LANG (POSIX), else `en`.

    Raise ValueError when the one asked for is none of `LANGUAGES`.
    """
    if asked is not None:
        if _code(asked) not in LANGUAGES:
            raise ValueError(f"there is no language {asked!r}; there are {', '.join(LANGUAGES)}")
        return _code(asked)
    text = next((value for name in ("LC_ALL", "LC_MESSAGES", "LANG") if (value := environment.get(name))), "")
    return _code(text) if _code(text) in LANGUAGES else "en"


def translator(language: str) -> Translate:
    """Return what gives a message of ours in *language*."""
    if language == "en":
        return str
    with open(os.path.join(FOLDER, f"{language}.po"), encoding="utf-8") as file:
        messages = read_catalogue(file.read())
    return lambda message: messages.get(message) or message


def read_catalogue(text: str) -> dict[str, str]:
    """Return message → translation of a catalogue (gettext manual, "The Format of PO Files"), its header left out."""
    messages: dict[str, str] = {}
    key = value = ""
    inside = ""
    for line in [*text.splitlines(), 'msgid ""']:
        word, _, rest = line.strip().partition(" ")
        if word == "msgid":
            if key:
                messages[key] = value
            key, value, inside = _unquote(rest), "", word
        elif word == "msgstr":
            value, inside = _unquote(rest), word
        elif line.startswith('"') and inside == "msgid":
            key += _unquote(line)
        elif line.startswith('"'):
            value += _unquote(line)
    return messages


def _code(text: str) -> str:
    return text.partition(".")[0].partition("_")[0].partition("-")[0].lower()


def _unquote(text: str) -> str:
    return str(ast.literal_eval(text.strip()))
