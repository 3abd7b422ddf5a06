"""What docs/ shows can be used as it stands: configuration loads without a complaint, links lead somewhere."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil

import pytest

from banguard.config import load
from support.samples import CHECKOUT, CONFIG

DOCS = os.path.join(CHECKOUT, "docs")
PAGES = sorted(name for name in os.listdir(DOCS) if name.endswith(".md"))


def read(page):
    with open(os.path.join(DOCS, page), encoding="utf-8") as file:
        return file.read()


CONFIGURATIONS = [
    pytest.param(path, body, id=f"{page}:{number}")
    for page in PAGES
    for number, (path, body) in enumerate(
        re.findall(r"^```ini\n# /etc/banguard/(\S+)\n(.*?)^```$", read(page), re.MULTILINE | re.DOTALL), 1
    )
]
"""Each piece of configuration that says in its first line which file it belongs into."""


@pytest.mark.parametrize(("path", "body"), CONFIGURATIONS)
def test_configuration_is_right(path, body, tmp_path):
    """A shown piece of configuration, put where it says, has neither errors nor warnings but for logs not there."""
    directory = tmp_path / "banguard"
    shutil.copytree(CONFIG, directory)
    target = directory / path
    target.parent.mkdir(exist_ok=True)
    target.write_text(body)
    config = load(str(directory))
    complaints = [
        str(problem) for problem in config.problems if not re.search(r"no (?:such )?(?:log|file)", str(problem), re.I)
    ]
    assert [] == complaints
    shown = set(re.findall(r"^\[(\w[\w-]*)\]$", body, re.MULTILINE)) - {"DEFAULT", "Definition", "Init"}
    assert shown <= set(config.jails)


def test_there_are_some():
    """The pages do show configuration."""
    assert len(CONFIGURATIONS) >= 8


@pytest.mark.parametrize("page", [*PAGES, "../README.md"])
def test_links_lead_somewhere(page):
    """Every link to another page leads to one."""
    base = os.path.dirname(os.path.join(DOCS, page))
    for target in re.findall(r"\]\(((?!https?:)[^)#]+)[^)]*\)", read(page)):
        assert os.path.exists(os.path.join(base, target)), target


def test_the_page_of_services_is_current():
    """docs/filters.md says of each jail what its files say; `make docs` writes it. A jail just added may be missing."""
    spec = importlib.util.spec_from_file_location("filters", os.path.join(CHECKOUT, "tools", "filters.py"))
    filters = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(filters)
    current = filters.page().splitlines()
    written = read("filters.md").splitlines()
    assert [] == [line for line in written if line not in current], "make docs"
