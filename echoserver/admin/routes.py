"""What the admin endpoint answers: one table, from which requests are routed and the OpenAPI document is made."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from echoserver.admin import answers
from echoserver.admin.control import SORTABLE, ConflictError, Control, ControlError, Query, UnknownError
from echoserver.admin.files import PATHS, file_reply
from echoserver.admin.guard import SAFE_METHODS, Guard
from echoserver.admin.openapi import document
from echoserver.admin.requests import RefusedError, Reply, Request, json_reply, parsed_body
from echoserver.admin.route import Fields, Route
from echoserver.version import __version__


def _connections(control: Control, request: Request, _name: str, _body: object) -> object:
    values: dict[str, object] = dict(request.query)
    if "limit" in values:
        limit = str(values["limit"])
        values["limit"] = int(limit) if limit.isascii() and limit.isdecimal() and len(limit) < 9 else 0
    return control.connections(Query(**values))  # type: ignore[arg-type]


def _set_faults(control: Control, request: Request, _name: str, body: dict[str, object]) -> object:
    rules, seed = body.get("rules", []), body.get("seed", 0)
    if not isinstance(rules, list) or not all(isinstance(rule, str) for rule in rules) or not isinstance(seed, int):
        raise RefusedError(400, "rules must be a list of texts, and seed a whole number")
    return control.set_faults(rules, seed, request.by)


def _set_level(control: Control, request: Request, _name: str, body: dict[str, object]) -> object:
    return control.set_log_level(str(body.get("level", "")), request.by)


_FILTERS: Fields = {"peer": str, "endpoint": str, "process": str, "state": str, "sort": str, "limit": int}
ROUTES = (
    Route("GET", "/api/v1/snapshot", "The whole server at one moment.", answers.Snapshot, lambda c, *_: c.snapshot()),
    Route(
        "GET",
        "/api/v1/connections",
        f"Open connections. sort is one of {', '.join(SORTABLE)}, with - in front for the highest first.",
        answers.Connections,
        _connections,
        _FILTERS,
    ),
    Route(
        "GET",
        "/api/v1/connections/{id}",
        "Everything about one connection.",
        answers.ConnectionDetails,
        lambda c, _r, name, _b: c.connection(name),
    ),
    Route(
        "DELETE",
        "/api/v1/connections/{id}",
        "End a connection at once.",
        answers.Killed,
        lambda c, r, name, _b: c.kill(name, r.by),
    ),
    Route(
        "GET",
        "/api/v1/connections/{id}/why",
        "Why a connection is as it is, in sentences.",
        answers.Why,
        lambda c, _r, name, _b: c.why(name),
    ),
    Route("GET", "/api/v1/why", "What is wrong, in sentences.", answers.Why, lambda c, *_: c.why(None)),
    Route("GET", "/api/v1/threads", "The threads, and what each does.", answers.Threads, lambda c, *_: c.threads()),
    Route("GET", "/api/v1/faults", "The faults of new connections.", answers.Faults, lambda c, *_: c.faults()),
    Route(
        "POST",
        "/api/v1/faults",
        "Have new connections meet other faults.",
        answers.Faults,
        _set_faults,
        body={"rules": list, "seed": int},
    ),
    Route(
        "DELETE",
        "/api/v1/faults",
        "Have new connections meet no faults.",
        answers.Faults,
        lambda c, r, *_: c.set_faults([], 0, r.by),
    ),
    Route("GET", "/api/v1/log-level", "What is logged.", answers.LogLevel, lambda c, *_: c.log_level()),
    Route(
        "POST",
        "/api/v1/log-level",
        "Log from another level upwards.",
        answers.LogLevel,
        _set_level,
        body={"level": str},
    ),
    Route(
        "POST",
        "/api/v1/drain",
        "Stop the server: what had arrived is answered.",
        answers.Draining,
        lambda c, r, *_: c.drain(r.by),
        body={},
    ),
    Route(
        "POST",
        "/api/v1/reload",
        "Read the configuration again.",
        answers.Reloaded,
        lambda c, r, *_: c.reload(r.by),
        body={},
    ),
)


class Api:
    """Answers requests. It belongs to no thread: each method may be called from several at once.

    Parameters
    ----------
    control:
        What is asked.
    guard:
        Refuses requests.
    metrics:
        Returns the metrics, given the Accept header: a body and its content type.

    """

    def __init__(self, control: Control, guard: Guard, metrics: Callable[[str], tuple[bytes, str]]) -> None:
        self._control = control
        self._guard = guard
        self._metrics = metrics

    def answer(self, request: Request) -> Reply:
        """Return the reply to a request; raises nothing that a request can cause."""
        try:
            return self._answer(request)
        except RefusedError as error:
            return json_reply({"error": str(error)}, error.status, error.headers)
        except UnknownError as error:
            return json_reply({"error": str(error)}, 404)
        except ConflictError as error:
            return json_reply({"error": str(error)}, 409)
        except ControlError as error:
            return json_reply({"error": str(error)}, 400)

    def _answer(self, request: Request) -> Reply:
        if request.path in self._open or request.path in PATHS:
            if request.method not in SAFE_METHODS:
                raise RefusedError(405, f"{request.path} takes GET", Allow="GET, HEAD")
            if request.body:
                raise RefusedError(400, "a body is not wanted here")
            return file_reply(request.path) if request.path in PATHS else self._open[request.path](self, request)
        matching = [(route, match) for route in ROUTES if (match := route.pattern.fullmatch(request.path))]
        if not matching:
            raise RefusedError(404, "there is no such page; /openapi.json lists them")
        self._guard.check(request)
        method = "GET" if request.method == "HEAD" else request.method
        for route, match in matching:
            if route.method == method:
                return json_reply(self._call(route, request, *match.groups()))
        allowed = [route.method for route, _ in matching]
        allow = ", ".join([*allowed, *(["HEAD"] if "GET" in allowed else [])])
        raise RefusedError(405, f"{request.path} takes {' or '.join(allowed)}", Allow=allow)

    def _call(self, route: Route, request: Request, name: str = "") -> object:
        for key in request.query:
            if key not in route.query:
                raise RefusedError(400, f"unknown parameter {key!r}; there are: {', '.join(route.query) or 'none'}")
        if request.body and route.body is None:
            raise RefusedError(400, "a body is not wanted here")
        return route.call(self._control, request, name, parsed_body(request, route.body or {}))

    def _livez(self, _request: Request) -> Reply:
        return json_reply({"live": True})

    def _readyz(self, _request: Request) -> Reply:
        ready = self._control.snapshot()["state"] == "serving"
        return json_reply({"ready": ready}, 200 if ready else 503)

    def _version(self, _request: Request) -> Reply:
        return json_reply({"version": __version__})

    def _metrics_page(self, request: Request) -> Reply:
        body, content_type = self._metrics(request.headers.get("accept", ""))
        return Reply(200, body, content_type)

    def _openapi(self, _request: Request) -> Reply:
        return json_reply(document(ROUTES))

    _open: Mapping[str, Callable[[Api, Request], Reply]] = {
        "/livez": _livez,
        "/readyz": _readyz,
        "/version": _version,
        "/metrics": _metrics_page,
        "/openapi.json": _openapi,
    }
