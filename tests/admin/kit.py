"""A server with its admin endpoint, and a client that says exactly what the test wants it to say."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from echoserver import Server, ServerConfig
from echoserver.admin.local import Actions, LocalControl
from echoserver.admin.serving import AdminServer
from echoserver.net.endpoint import Endpoint, parse_endpoint
from server.kit import PATIENCE
from server.log_lines import LogLines

TOKEN = "0123456789abcdef-token"


class Unix(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=PATIENCE)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(PATIENCE)
        self.sock.connect(self._path)


class Administered:
    """A server, and another one that answers for it."""

    def __init__(self, config: ServerConfig, endpoint: str, token: str = "") -> None:
        self.log = LogLines()
        self.asked: list[str] = []
        self.level = "info"
        self.draining = False
        self.server = Server(config, log=self.log.logger)
        actions = Actions(
            drain=self._drain,
            is_draining=lambda: self.draining,
            reload=lambda: self.server.reload(self.server.config),
            log_level=lambda: self.level,
            set_log_level=self._set_level,
        )
        self.control = LocalControl(self.server, actions, self.log.logger)
        self._admin = AdminServer(_endpoint(endpoint), token, self.control, self.log.logger)

    def __enter__(self) -> Self:
        self.server.start()
        self._admin.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._admin.stop()
        self.server.stop(1)

    def _drain(self) -> None:
        self.draining = True
        self.asked.append("drain")

    def _set_level(self, level: str) -> None:
        self.level = level

    @property
    def inner(self) -> Server:
        return self._admin._server

    def client(self) -> http.client.HTTPConnection:
        if not self.inner.addresses:
            (endpoint,) = self.inner.endpoints
            return Unix(str(parse_endpoint(endpoint).address))
        return http.client.HTTPConnection(*self.inner.address, timeout=PATIENCE)

    def ask(
        self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, Any, Mapping[str, str]]:
        """Return the status, the parsed answer, and the headers by lower-case name."""
        client = self.client()
        sent = dict(headers or {})
        content: bytes | None = None
        if body is not None:
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            sent.setdefault("Content-Type", "application/json")
        try:
            client.request(method, path, content, sent)
            answer = client.getresponse()
            text = answer.read()
        finally:
            client.close()
        found = {name.lower(): value for name, value in answer.getheaders()}
        parsed = json.loads(text) if text and found["content-type"] == "application/json" else text
        return answer.status, parsed, found


def _endpoint(text: str) -> Endpoint:
    return parse_endpoint(text)


def unix_in(folder: Path) -> str:
    return f"unix:{folder}/admin.sock?mode=0600"
