"""When output is coloured, and how."""

from __future__ import annotations

import re
from collections.abc import Mapping

CHOICES = ("auto", "always", "never")

_CODES: Mapping[str, str] = {
    "good": "32",
    "bad": "1;31",
    "warn": "33",
    "name": "36",
    "faint": "2",
    "strong": "1",
}


def is_wanted(choice: str, environment: Mapping[str, str], *, terminal: bool) -> bool:
    """
    Tell whether to colour: by *choice*, else by the environment, else where output goes to a *terminal*.

    Asked in this order: NO_COLOR (no-color.org), CLICOLOR_FORCE, CLICOLOR (bixense.com/clicolors), TERM=dumb.
    """
    if choice != "auto":
        return choice == "always"
    if environment.get("NO_COLOR"):
        return False
    if environment.get("CLICOLOR_FORCE", "0") not in ("", "0"):
        return True
    return terminal and environment.get("CLICOLOR") != "0" and environment.get("TERM", "dumb") != "dumb"


class Paint:
    """Colours a text, or leaves it as it is; what is given has to be free of control characters already."""

    def __init__(self, *, on: bool) -> None:
        self.on = on

    def __call__(self, style: str, text: str) -> str:
        """Return *text* in a style of the table; an empty one means none."""
        code = _CODES.get(style) if self.on else None
        return f"\x1b[{code}m{text}\x1b[0m" if code and text else text

    def status(self, text: str, *, not_enforced: frozenset[str] = frozenset()) -> str:
        """Return a tree that `status` shows with its labels and figures coloured."""
        return "\n".join(self._status_line(line, not_enforced) for line in text.split("\n")) if self.on else text

    def _status_line(self, line: str, not_enforced: frozenset[str]) -> str:
        label, tab, value = line.partition("\t")
        if not tab:
            place = 0 if line.startswith("Status") else line.find("Jail: ")
            return line if place < 0 else line[:place] + self("strong", line[place:])
        if label.endswith("Currently banned:") and value not in ("", "0"):
            value = self("warn", value)
        elif label.endswith(("Jail list:", "Banned IP list:")):
            value = re.sub(
                r"[^ ,]+", lambda found: self("bad" if found[0] in not_enforced else "name", found[0]), value
            )
        return f"{label}{tab}{value}"
