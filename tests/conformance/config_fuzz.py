"""
Random configurations that refer to one another in every way the dialect knows.

Names refer only to names that come later in NAMES, so that most of what is generated is valid; the rest is for the
error paths.
"""

from __future__ import annotations

import random

NAMES = ["a", "b", "c", "mode", "x1", "xone", "chain", "maxretry"]
_FILTER = [*NAMES, "failregex", "prefregex", "ignoreregex", "datepattern", "usedns", "journalmatch"]
_ACTION = [*NAMES, "actionban", "actionstart", "actionunban", "norestored", "actionstart_on_demand", "matches"]
_PLAIN = [
    "w", "W:", "=v", "a;b", "[z]", "100%%", "#h", "<HOST>", "<ip>", "<F-USER>x</F-USER>", "<<", r"\d+", "'q'", '"d"',
    "%%%%", "<Foo>", "<none/x>",
]  # fmt: skip
_OVERLAY = 0.3
"""How often a file that is laid over another one, or included, says something about an option."""


class Generator:
    """One random configuration per seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def _maybe(self, chance: float) -> bool:
        return self._random.random() < chance

    def _piece(self, level: int, *, known: bool) -> str:
        names = NAMES[level:]
        kind = self._random.random() if names else 0.0
        if kind < 0.35:
            return self._random.choice(_PLAIN)
        name = self._random.choice(names)
        if kind < 0.5:
            return f"%({name})s"
        if kind < 0.6:
            return f"%({self._random.choice(['default', 's1', 's2', *(['known'] * 3 if known else [])])}/{name})s"
        if kind < 0.8:
            return f"<{name}>"
        if kind < 0.9:
            return f"<{self._random.choice(['default', 's1', 's2', 'lt_<b>'])}/{name}>"
        return "<x<one>>" if kind < 0.93 and level < 2 else self._random.choice(["1", "file", " "])

    def _value(self, level: int, *, known: bool) -> str:
        lines = []
        for _ in range(self._random.choice([1, 1, 1, 2, 3])):
            pieces = [self._piece(level, known=known) for _ in range(self._random.choice([1, 1, 2, 3]))]
            lines.append(self._random.choice(["", "", " "]).join(pieces))
        return "\n    ".join(lines) + self._random.choice(["", " ; comment", "\n# comment", "\n\n"])

    def _section(self, name: str, keys: list[str], chance: float, *, overlay: bool) -> str:
        lines = [f"[{name}]"]
        for key in keys:
            if name == "DEFAULT" and not overlay and key in NAMES:
                lines.append(f"{key} = {self._random.choice(['1', '2', 'file', 'v'])}")
            elif self._maybe(chance):
                level = NAMES.index(key) + 1 if key in NAMES else 0
                shown = key if self._maybe(0.9) else key.upper()
                sign = self._random.choice(["=", "= ", ":", " :"])
                lines.append(f"{shown} {sign} {self._value(level, known=overlay)}")
        return "\n".join(lines) + "\n"

    def _file(self, definition: list[str], others: list[str], chance: float, *, overlay: bool = False) -> str:
        text = ""
        for name in ["DEFAULT", "Definition", "Init", "s1", "s2", *others]:
            if self._maybe(0.7) or not overlay:
                share = chance if name == "Definition" else chance * (0.2 if "?" in name else 0.6)
                text += self._section(name, definition if name == "Definition" else NAMES, share, overlay=overlay)
        return text

    def _brackets(self) -> str:
        if self._maybe(0.3):
            return ""
        options = []
        for name in self._random.sample(NAMES[:-2], self._random.choice([1, 1, 2, 3])):
            later = NAMES[NAMES.index(name) + 1 :]
            values = [f'"<{self._random.choice(later)}>"', "1", "", "'q,]'", '"a b"', f"<known/{name}>"]
            options.append(f"{name}={self._random.choice(values)}")
        return "[" + self._random.choice([", ", ",", "]["]).join(options) + "]"

    def files(self) -> dict[str, str]:
        """Return the texts of a configuration directory by file name."""
        files = {"fail2ban.conf": "[Definition]\ndbmaxmatches = 10\n"}
        includes = "[INCLUDES]\nbefore = i.conf\nafter = j.conf\n" if self._maybe(0.5) else ""
        files["filter.d/f.conf"] = includes + self._file(_FILTER, ["lt_file"], 0.5)
        for name, chance in (("f.local", 0.4), ("i.conf", 0.4), ("i.local", 0.2), ("j.conf", 0.3)):
            if self._maybe(chance):
                files[f"filter.d/{name}"] = self._file(_FILTER, ["lt_file"], _OVERLAY, overlay=True)
        files["action.d/act.conf"] = self._file(_ACTION, ["Init?family=inet6"], 0.5)
        if self._maybe(0.3):
            files["action.d/act.local"] = self._file(_ACTION, ["Init?family=inet6"], _OVERLAY, overlay=True)
        variables = "".join(f"{name} = {self._random.choice(['1', 'v', '', 'x y'])}\n" for name in NAMES[:5])
        jail = (
            f"[DEFAULT]\n{variables}chain = <known/chain>\nlogpath = /dev/null\nenabled = true\nbackend = auto\n"
            f"[j]\nfilter = f{self._brackets()}\n"
            f"action = act{self._brackets()}\n   act[name=q]{self._brackets()}\n"
        )
        if self._maybe(0.3):
            jail += f"failregex = %(known/failregex)s\n  J{self._random.choice(['<a>', '%(a)s', '%(known/a)s'])}\n"
        if self._maybe(0.3):
            jail += f"datepattern = J{self._random.choice(['', '%%Y', '%(mode)s'])}\n"
        if self._maybe(0.2):
            jail += f"maxretry = {self._random.randint(1, 9)}\n"
        files["jail.conf"] = jail
        if self._maybe(0.2):
            local = ["mode=local\n", "a=%(known/a)s%(b)s\n", "action=%(known/action)s\n  act[name=loc]\n"]
            files["jail.local"] = f"[j]\n{self._random.choice(local)}"
        return files
