"""The page in the browser: static files beside this module, which ask the API for everything that they show."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from echoserver.admin.requests import Reply

_TYPES = {"html": "text/html; charset=utf-8", "css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8"}
_NAMES = {"/": "index.html", "/page.css": "page.css", "/page.js": "page.js", "/chart.js": "chart.js"}
PATHS = tuple(_NAMES)
"""The paths that are files."""
# Nothing from elsewhere, nothing inline, and in no frame.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def file_reply(path: str) -> Reply:
    """Return the file at a path, which must be one of `PATHS`."""
    name = _NAMES[path]
    return Reply(200, _content(name), _TYPES[name.rpartition(".")[2]], {"Content-Security-Policy": _POLICY})


@cache
def _content(name: str) -> bytes:
    return (files("echoserver.admin") / "page" / name).read_bytes()
