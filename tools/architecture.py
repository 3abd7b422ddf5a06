"""
Write the list of modules in docs/architecture.md from the first lines of their docstrings.

`--write` puts the list between the two marks of the page; without it, the exit status says whether it is current.
"""

from __future__ import annotations

import ast
import os
import sys

CHECKOUT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SOURCE = os.path.join(CHECKOUT, "src")
PAGE = os.path.join(CHECKOUT, "docs", "architecture.md")
BEGIN, END = "<!-- modules: begin -->\n", "<!-- modules: end -->\n"


def sentence(path: str) -> str:
    """Return the first line of the docstring of a module; empty when it has none."""
    with open(path, encoding="utf-8") as file:
        docstring = ast.get_docstring(ast.parse(file.read(), path)) or ""
    return docstring.partition("\n")[0]


def listing() -> str:
    """Return the packages and modules with their sentences, as a table per package."""
    parts = []
    for directory, folders, files in os.walk(os.path.join(SOURCE, "banguard")):
        folders[:] = sorted(folder for folder in folders if folder != "__pycache__" and not folder.startswith("_"))
        package = os.path.relpath(directory, SOURCE).replace(os.sep, "/")
        if "__init__.py" not in files:
            continue
        rows = [
            f"| `{name}` | {sentence(os.path.join(directory, name))} |"
            for name in sorted(files)
            if name.endswith(".py") and name != "__init__.py"
        ]
        head = [
            f"### `{package}/`",
            "",
            sentence(os.path.join(directory, "__init__.py")),
            "",
            "| module | |",
            "|---|---|",
        ]
        parts.append("\n".join(head + rows) if rows else "\n".join(head[:3]))
    return "\n\n".join(parts) + "\n"


def page(text: str) -> str:
    """Return the text of the page with the list of modules as it is now."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{PAGE} lacks the marks of the list of modules")
    return f"{before}{BEGIN}\n{listing()}\n{END}{after}"


def main() -> int:
    """Run the program; return its exit status."""
    with open(PAGE, encoding="utf-8") as file:
        text = file.read()
    current = page(text)
    if "--write" in sys.argv[1:]:
        with open(PAGE, "w", encoding="utf-8") as file:
            file.write(current)
        return 0
    if current != text:
        print("docs/architecture.md is not current: make docs")
    return int(current != text)


if __name__ == "__main__":
    sys.exit(main())
