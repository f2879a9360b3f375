"""The pages and settings for contributors agree with the Makefile, with each other and with the tree."""

from __future__ import annotations

import configparser
import re
import tomllib

import pytest

from echoserver import __version__
from support import ROOT

MAKEFILE = (ROOT / "Makefile").read_text()
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()
PAGES = {name: (ROOT / name).read_text() for name in ("CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")}


def commands_of(target: str) -> list[str]:
    """Return what a target of the Makefile runs, with the environment's folder filled in."""
    found = re.search(rf"^{target}:.*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)
    assert found is not None
    return [line.strip().replace("$(BIN)", ".venv/bin") for line in found[1].splitlines()]


def test_the_hooks_run_what_make_check_runs():
    hooks = (ROOT / ".pre-commit-config.yaml").read_text()
    assert re.findall(r"^ +entry: (.+)$", hooks, re.MULTILINE) == commands_of("check")
    # None of them takes the changed files: each looks at the whole tree, as make does.
    assert hooks.count("- id:") == hooks.count("pass_filenames: false") == hooks.count("language: system")


def test_editors_use_the_line_length_of_ruff():
    settings = configparser.ConfigParser()
    settings.read_string("[top]\n" + (ROOT / ".editorconfig").read_text())
    ruff = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["ruff"]
    assert settings["*.py"]["max_line_length"] == str(ruff["line-length"])


@pytest.mark.parametrize("target", sorted(set(re.findall(r"(?:^|`)make ([a-z-]+)", CONTRIBUTING, re.MULTILINE))))
def test_each_make_target_exists(target):
    assert re.search(rf"^{target}:", MAKEFILE, re.MULTILINE)


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\((?!https?:)([^)#\s]+)", PAGES[page]):
        assert (ROOT / target).exists(), target


def test_the_files_it_names_exist():
    named = set(re.findall(r"`((?:echoserver|tests|docs|config)/[\w/.-]+)`", CONTRIBUTING))
    assert len(named) > 10
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


def test_the_changelog_has_the_version_of_the_package_and_nothing_newer():
    assert re.findall(r"^## (.+)$", PAGES["CHANGELOG.md"], re.MULTILINE)[:2] == ["Unreleased", __version__]
