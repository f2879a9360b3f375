"""The fixture `tcp_server`: it makes servers and ends them after the test."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any, Literal

from echoserver.config import ServerConfig
from echoserver.handlers import HandlerSpec
from echoserver.net.endpoint import TcpEndpoint
from echoserver.pytest_plugin.certificates import TlsFiles, make_certificate
from echoserver.pytest_plugin.recording import Recorder
from echoserver.pytest_plugin.server import TcpServer


class TcpServerFactory:
    """Starts servers. Call it, as often as you like; what it has started ends with the test."""

    def __init__(self) -> None:
        self._servers: list[TcpServer] = []
        self._files = ExitStack()  # the folders with certificates

    def __call__(
        self,
        handler: HandlerSpec = "echo",
        *,
        faults: Sequence[str] = (),
        fault_seed: int = 1,
        tls: bool | tuple[str | os.PathLike[str], str | os.PathLike[str]] = False,
        mode: Literal["threads", "workers"] = "threads",
        record: bool = False,
        **options: object,
    ) -> TcpServer:
        """Start a server on a free port of 127.0.0.1.

        Parameters
        ----------
        handler:
            What produces the replies: a name such as "echo" or "upper", `package.module:attribute`, a function from
            bytes to bytes, or a subclass of `echoserver.Handler`.
        faults:
            Rules such as "reset@10%", as `echoserver serve --fault` takes them.
        fault_seed:
            Seed of what the faults draw. The default makes every run of the test the same.
        tls:
            Whether to speak TLS, with a certificate for `localhost` that is made by trustme; or the paths of the PEM
            files with a certificate and its key.
        mode:
            How connections are served: each by a thread of its own, or all by a few workers.
        record:
            Whether to keep what each connection receives, for `received`.
        options:
            Any other option of `ServerConfig`, such as `host`, `max_connections` or `idle_timeout`.

        Raises
        ------
        ConfigError
            An option is refused, or there is no such handler.
        BindError
            The address cannot be listened on.
        RuntimeError
            A certificate is to be made and trustme is not installed.

        """
        recorder = None
        settings: dict[str, Any] = {"handler": handler, "mode": mode, **options}
        if record:
            recorder = Recorder(handler, settings.pop("handler_options", {}))
            settings["handler"] = recorder.handler
        if faults:
            settings |= {"fault": tuple(faults), "fault_seed": fault_seed}
        files = self._files_for(tls)
        if files is not None:
            settings |= {"tls_cert": files.cert, "tls_key": files.key}
        if "listen" not in settings:
            endpoint = TcpEndpoint(settings.pop("host", "127.0.0.1"), settings.pop("port", 0), tls=files is not None)
            settings["listen"] = (endpoint,)
        server = TcpServer(ServerConfig(**settings), files, recorder)
        self._servers.append(server)
        return server

    def _files_for(self, tls: bool | tuple[str | os.PathLike[str], str | os.PathLike[str]]) -> TlsFiles | None:
        if isinstance(tls, tuple):
            cert, key = tls
            return TlsFiles(os.fspath(cert), os.fspath(key), os.fspath(cert))
        return make_certificate(self._files) if tls else None

    def close(self) -> list[str]:
        """Stop all servers, the last one first, and return what went wrong in them."""
        with self._files:
            return [problem for server in reversed(self._servers) for problem in server.close()]
