"""The parameters of the kinds of fault."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Parameters:
    """The parameters of a rule. `str` gives their text."""
