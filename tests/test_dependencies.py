"""The dependencies are those that the code uses, each has its reason on the design page, and links lead somewhere."""

from __future__ import annotations

import re
import tomllib

import pytest

from support import ROOT
from test_structure import CLIENT, SERVER, code_in, files, table, third_party

# The names under which distributions are imported, where they differ.
MODULES = {"tomli-w": "tomli_w", "hdrhistogram": "hdrh"}


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[\[<>=~! ]", requirement)[0] for requirement in requirements} - {"echoserver"}


def modules(distributions: set[str]) -> set[str]:
    return {MODULES.get(name, name) for name in distributions}


def test_the_server_is_content_with_its_own_dependencies():
    # pytest loads the plugin for it, so it is there; what else the plugin can use, it does without.
    server = set(files(SERVER)) - set(files(SERVER / "pytest_plugin")) - set(files(SERVER / "admin"))
    used = set().union(*map(third_party, server))
    assert used == modules(names(project()["dependencies"]))


def test_the_admin_endpoint_is_content_with_its_own_dependencies():
    used = set().union(*map(third_party, files(SERVER / "admin")))
    assert used == modules(names(project()["optional-dependencies"]["admin"]))


def test_the_client_is_content_with_its_own_dependencies():
    used = set().union(*(third_party(path) for path in files(CLIENT)))
    extra = names(project()["optional-dependencies"]["client"])
    assert used <= modules(names(project()["dependencies"]) | extra)
    assert modules(extra) <= used, "the extra has what nobody uses"


def test_every_dependency_has_its_reason():
    optional = project()["optional-dependencies"]
    expected = names(project()["dependencies"]).union(*map(names, optional.values()))
    assert {code_in(row[0])[0] for row in table("Dependencies")} == expected
    assert all(len(row[-1]) > 20 for row in table("Dependencies"))


# -- pages and files


@pytest.mark.parametrize(
    "page", [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md"], ids=lambda page: page.name
)
def test_links_between_pages_lead_somewhere(page):
    for target in re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"
