"""The OpenAPI description of the admin endpoint, made from its routes and the types of its answers."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterable
from typing import Any, get_args, get_origin, get_type_hints, is_typeddict

from echoserver.admin.route import Route
from echoserver.version import __version__

Schema = dict[str, Any]
_PLAIN: dict[object, Schema] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    list: {"type": "array", "items": {"type": "string"}},
    Any: {},
    type(None): {"type": "null"},
}
_ERROR: Schema = {"type": "object", "properties": {"error": {"type": "string"}}, "required": ["error"]}


def document(routes: Iterable[Route]) -> Schema:
    """Return the description of these routes (OpenAPI 3.1)."""
    schemas: dict[str, Schema] = {"Error": _ERROR}
    paths: dict[str, Schema] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": "echoserver", "version": __version__},
        "paths": paths,
        "components": {"schemas": schemas},
    }


def _operation(route: Route, schemas: dict[str, Schema]) -> Schema:
    parameters: list[Schema] = [
        {"name": name, "in": "query", "schema": _PLAIN[kind]} for name, kind in route.query.items()
    ]
    if "{id}" in route.path:
        parameters.append({"name": "id", "in": "path", "required": True, "schema": {"type": "string"}})
    operation: Schema = {
        "summary": route.summary,
        "parameters": parameters,
        "responses": {
            "200": {"description": "The answer.", "content": _json(_schema(route.answer, schemas))},
            "default": {"description": "Why not, in one line.", "content": _json(_reference("Error"))},
        },
    }
    if route.body:
        properties = {name: _PLAIN[kind] for name, kind in route.body.items()}
        body = {"type": "object", "properties": properties, "additionalProperties": False}
        operation["requestBody"] = {"required": False, "content": _json(body)}
    return operation


def _json(schema: Schema) -> Schema:
    return {"application/json": {"schema": schema}}


def _reference(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _schema(kind: Any, schemas: dict[str, Schema]) -> Schema:  # noqa: ANN401 - any type that an answer may have
    if is_typeddict(kind):
        if kind.__name__ not in schemas:
            schemas[kind.__name__] = {}  # its own parts may refer to it
            properties = {name: _schema(part, schemas) for name, part in get_type_hints(kind).items()}
            schemas[kind.__name__] = {
                "type": "object",
                "description": (kind.__doc__ or "").strip(),
                "properties": properties,
                "required": sorted(properties),
                "additionalProperties": False,
            }
        return _reference(kind.__name__)
    origin, parts = get_origin(kind), get_args(kind)
    if origin is list:
        return {"type": "array", "items": _schema(parts[0], schemas)}
    if origin is dict:
        return {"type": "object", "additionalProperties": _schema(parts[1], schemas)}
    if origin in (typing.Union, types.UnionType):
        return {"anyOf": [_schema(part, schemas) for part in parts]}
    return _PLAIN[kind]
