"""Text for an operator that can be said in another language: a template, and the values in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType


class Message(str):
    """
    An English text that still knows its *template* (as for `str.format`) and the *values* put into it.

    *code* is a name for the kind of message that stays the same when its words change; empty for a part of another
    message. Wherever plain text will do, this is plain text.
    """

    __slots__ = ("code", "template", "values")

    code: str
    template: str
    values: Mapping[str, object]


def tell(template: str, /, *, code: str = "", **values: object) -> Message:
    """Return the message that *template* with *values* is; a value may be a message itself."""
    message = Message(template.format(**values))
    message.code = code
    message.template = template
    message.values = MappingProxyType(values)
    return message


def why(error: Exception) -> str:
    """Return what *error* was raised with, as a `Message` when it is one."""
    first = error.args[0] if error.args else ""
    return first if isinstance(first, Message) else str(error)


def code_of(text: str) -> str:
    """Return the code of *text*, or of the first part of it that has one; empty for plain text."""
    if not isinstance(text, Message):
        return ""
    parts = (code_of(each) for each in text.values.values() if isinstance(each, str))
    return text.code or next(filter(None, parts), "")


def in_words(text: str, translate: Callable[[str], str]) -> str:
    """Return *text* with its template, and those of its parts, as *translate* gives them."""
    if not isinstance(text, Message):
        return text
    parts = {name: in_words(each, translate) if isinstance(each, str) else each for name, each in text.values.items()}
    return translate(text.template).format(**parts)
