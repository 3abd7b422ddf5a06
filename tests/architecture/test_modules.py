"""What nobody remembers by himself: sentences, mirrored tests, layers, and what must not stand in the project."""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import shutil
import subprocess
import sys

import pytest

from support.samples import CHECKOUT

SOURCE = os.path.join(CHECKOUT, "src", "banguard")
UNIT = os.path.join(CHECKOUT, "tests", "unit")
OTHER_KINDS = ("contracts", "integration", "property")
"""Where a module may be tested instead, under the same name: suites over a family, and parts put together."""

NO_MIRROR = {"test_shipped_config.py", "test_shipped_filters.py"}
"""Unit tests of files that are no modules."""


def _files(top: str, pattern: str) -> list[str]:
    found = (
        os.path.relpath(os.path.join(directory, name), top)
        for directory, _, names in os.walk(top)
        for name in names
        if re.fullmatch(pattern, name)
    )
    return sorted(path for path in found if "__pycache__" not in path)


MODULES = _files(SOURCE, r".*\.py")


def _tree(module: str) -> ast.Module:
    with open(os.path.join(SOURCE, module), encoding="utf-8") as file:
        return ast.parse(file.read(), module)


def _does_something(tree: ast.Module) -> bool:
    """Return whether any function has a body beyond a docstring and `...`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = [
                each for each in node.body if not (isinstance(each, ast.Expr) and isinstance(each.value, ast.Constant))
            ]
            if body:
                return True
    return False


@pytest.mark.parametrize("module", MODULES)
def test_a_module_is_a_sentence(module):
    """The docstring of each module begins with one sentence that says what it is."""
    first = (ast.get_docstring(_tree(module)) or "").partition("\n")[0]
    assert re.fullmatch(r"[A-Z`a-z].*[.]", first), f"no sentence: {first!r}"
    assert len(first) <= 120
    assert len(re.findall(r"\band\b", first)) <= 2, "a module that does this and that and more is several modules"


@pytest.mark.parametrize("module", [module for module in MODULES if os.path.basename(module)[:2] != "__"])
def test_every_module_has_its_tests(module):
    """src/banguard/a/b.py is tested by tests/unit/a/test_b.py (or test_b_*.py, or a suite of that name), unless it only holds declarations."""
    if not _does_something(_tree(module)):
        return
    folder, name = os.path.split(module)
    stem = name.removesuffix(".py")
    places = [os.path.join(UNIT, folder), *(os.path.join(CHECKOUT, "tests", kind) for kind in OTHER_KINDS)]
    tests = [test for place in places if os.path.isdir(place) for test in os.listdir(place)]
    assert [test for test in tests if re.fullmatch(rf"test_{stem}(_\w+)?\.py", test)], (
        f"no tests/unit/{folder}/test_{stem}.py"
    )


@pytest.mark.parametrize("test", _files(UNIT, r"test_.*\.py"))
def test_every_unit_test_has_its_module(test):
    """A unit test lies where its module is looked for."""
    folder, name = os.path.split(test)
    if name in NO_MIRROR:
        return
    stems = [module.removesuffix(".py") for module in MODULES if os.path.dirname(module) == folder]
    names = [os.path.basename(stem) for stem in stems]
    stem = name.removeprefix("test_").removesuffix(".py")
    assert [each for each in names if stem == each or stem.startswith(f"{each}_")], f"no module for tests/unit/{test}"


def test_layers():
    """Each layer imports only layers below it, and stages do not know each other."""
    linter = os.path.join(os.path.dirname(sys.executable), "lint-imports")
    if not os.path.exists(linter):
        pytest.skip("import-linter is not installed")
    done = subprocess.run(
        [linter, "--no-cache"], cwd=CHECKOUT, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_list_of_modules_is_current():
    """docs/architecture.md lists the modules as they are; `make docs` writes it."""
    path = os.path.join(CHECKOUT, "tools", "architecture.py")
    spec = importlib.util.spec_from_file_location("architecture", path)
    architecture = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(architecture)
    with open(architecture.PAGE, encoding="utf-8") as file:
        text = file.read()
    assert architecture.page(text) == text, "make docs"


FOREIGN = (
    "/wo" + "rk/",
    "/ro" + "ot/",
    "/fa" + "rm/",
    "py" + "pi.org",
    "python" + "hosted.org",
    "npm" + "js",
    "deb." + "debian.org",
)


def test_nothing_of_this_machine_stands_in_the_project():
    """No path of the machine it was written on, and no host of a package registry."""
    if shutil.which("git") is None or not os.path.exists(os.path.join(CHECKOUT, ".git")):
        pytest.skip("not a git checkout")
    patterns = [word for foreign in FOREIGN for word in ("-e", foreign)]
    argv = ["git", "-c", f"safe.directory={CHECKOUT}", "grep", "-nIF", *patterns, "--", "."]
    found = subprocess.run(argv, cwd=CHECKOUT, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert found.stdout == "", found.stdout


@pytest.mark.parametrize("page", _files(CHECKOUT, r".*\.md"))
def test_links_lead_somewhere(page):
    """A link from one page to another file of the project finds it."""
    if page.startswith((".", "build", "dist")) or f"{os.sep}." in page:
        return
    with open(os.path.join(CHECKOUT, page), encoding="utf-8") as file:
        links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", file.read())
    broken = [
        link
        for link in links
        if "://" not in link and not os.path.exists(os.path.join(CHECKOUT, os.path.dirname(page), link))
    ]
    assert [] == broken
