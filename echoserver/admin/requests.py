"""A request and a reply of the admin endpoint, without any HTTP syntax."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Request:
    """What somebody asks for."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    """By lower-case name."""
    body: bytes = b""
    by: str = ""
    """Who asks, for the log, such as `pid=7,uid=0`."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What is answered."""

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


class RefusedError(Exception):
    """A request is refused.

    Parameters
    ----------
    status:
        The status of the reply.
    problem:
        One line for people.
    headers:
        Further headers of the reply.

    """

    def __init__(self, status: int, problem: str, **headers: str) -> None:
        super().__init__(problem)
        self.status = status
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


def json_reply(answer: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Reply:
    """Return an answer as JSON."""
    return Reply(status, json.dumps(answer).encode() + b"\n", headers=headers or {})


def parsed_body(request: Request, fields: Mapping[str, type | tuple[type, ...]]) -> dict[str, Any]:
    """Return the fields of a JSON object in the body; an empty body stands for none.

    Raises
    ------
    RefusedError
        It isn't JSON, or has other fields, or values of other types.

    """
    if not request.body:
        return {}
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise RefusedError(415, "the body must be JSON, with Content-Type: application/json")
    try:
        found = json.loads(request.body)
    except (ValueError, RecursionError):
        raise RefusedError(400, "the body is no JSON") from None
    if not isinstance(found, dict):
        raise RefusedError(400, "the body must be a JSON object")
    for name, value in found.items():
        if name not in fields:
            known = ", ".join(fields) or "none"
            raise RefusedError(400, f"unknown field {name!r}; there are: {known}")
        if not isinstance(value, fields[name]) or isinstance(value, bool):
            raise RefusedError(400, f"field {name!r} has the wrong type")
    return found
