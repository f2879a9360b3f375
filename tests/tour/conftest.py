"""The pictures that are on the page, and those that the chapters draw here."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tour.kit import Ran, ran_well


@pytest.fixture(scope="session")
def chapter(tmp_path_factory) -> Callable[[str], Ran]:
    """Return what runs a chapter once for all tests; `picture` is what it drew."""
    folder, ran = tmp_path_factory.mktemp("tour"), {}

    def run(name: str) -> Ran:
        if name not in ran:
            file = folder / f"{name}.svg"
            ran[name] = ran_well(name, "--svg", file).with_picture(file.read_text(encoding="utf-8"))
        return ran[name]

    return run
