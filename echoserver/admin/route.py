"""One entry of the table of what the admin endpoint answers."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from echoserver.admin.control import Control
from echoserver.admin.requests import Request

Fields = Mapping[str, type | tuple[type, ...]]


@dataclass(frozen=True, slots=True)
class Route:
    """One entry."""

    method: str
    path: str
    """With `{id}` where the name of a connection stands."""
    summary: str
    answer: type
    """The type of a good answer."""
    call: Callable[[Control, Request, str, dict[str, object]], object]
    """Given the control, the request, the name of the connection, and the fields of the body."""
    query: Fields = field(default_factory=dict)
    body: Fields | None = None
    """The fields of the body; `None` where there must be none."""

    @property
    def pattern(self) -> re.Pattern[str]:
        """What the path must match."""
        return re.compile(re.escape(self.path).replace(r"\{id\}", "([^/]+)"))
