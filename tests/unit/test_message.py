"""A message is plain text that can be said again in another language."""

from __future__ import annotations

from banguard.message import Message, code_of, in_words, tell, why

HINT = tell("; did you mean {name!r}?", name="port")
MESSAGE = tell("{option!r} is no option{hint}", code="option-unknown", option="prot", hint=HINT)


def test_a_message_is_its_english_text():
    """It compares, joins and formats as the text does."""
    assert MESSAGE == "'prot' is no option; did you mean 'port'?"
    assert f"<{MESSAGE}>" == "<'prot' is no option; did you mean 'port'?>"


def test_parts_are_translated_too():
    """The template of the whole and those of its parts are looked up, the other values stay."""
    german = {"{option!r} is no option{hint}": "{option!r} gibt es nicht{hint}", HINT.template: "; {name!r}?"}
    assert in_words(MESSAGE, lambda text: german.get(text, text)) == "'prot' gibt es nicht; 'port'?"
    assert in_words("plain {text}", str) == "plain {text}"


def test_an_error_gives_its_message_back():
    """What was raised with a message has it; any other error is its text."""
    assert isinstance(why(ValueError(MESSAGE)), Message)
    assert why(ValueError("x", 1)) == "('x', 1)"
    assert why(ValueError()) == ""


def test_a_code_may_come_from_a_part():
    """The code of the whole counts, else that of the first part that has one; text has none."""
    assert code_of(MESSAGE) == "option-unknown"
    assert code_of(tell("{reason}: {text}", text="x", reason=MESSAGE)) == "option-unknown"
    assert code_of("text") == ""
