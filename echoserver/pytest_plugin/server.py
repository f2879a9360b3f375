"""A server of a test: where it listens, what it has received, and its end."""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from time import monotonic

from echoserver.config import ServerConfig
from echoserver.observe.metrics import CloseReason, ConnectionState, Snapshot
from echoserver.pytest_plugin.certificates import TlsFiles
from echoserver.pytest_plugin.log import ServerLog
from echoserver.pytest_plugin.recording import Recorder
from echoserver.pytest_plugin.resetting import reset_now
from echoserver.server import Server
from echoserver.serving.connection import Connection

_LOOK_AGAIN = 0.005
"""How often to look at the counters, in seconds: nothing tells of a connection that has been accepted."""


@dataclass(frozen=True, slots=True)
class TcpConnection:
    """A connection as it was when it was asked for."""

    number: int
    """Counts the connections of the server from 1, in the order in which they were accepted."""
    peer: str
    """The address of the client, such as `127.0.0.1:5000`."""
    bytes_in: int
    bytes_out: int
    state: str
    """What the server is doing with it: "receiving", "handling" or "sending", or another of `ConnectionState`."""

    def __str__(self) -> str:
        return f"{self.number} from {self.peer} ({self.state}, {self.bytes_in} bytes in, {self.bytes_out} out)"


class TcpServer:
    """A running server. All methods may be called from any thread but those of the server, such as from a handler.

    Parameters
    ----------
    config:
        How it behaves.
    tls:
        The certificate that it presents.
    recorder:
        Keeps what connections receive.

    Raises
    ------
    ConfigError
        There is no such handler.
    BindError
        The address cannot be listened on.

    """

    def __init__(self, config: ServerConfig, tls: TlsFiles | None, recorder: Recorder | None) -> None:
        self._tls, self._recorder = tls, recorder
        self._log = ServerLog()
        self._server = Server(config, log=self._log)
        if recorder is not None:
            recorder.watch(self._server.connections)
        self._refused: list[socket.socket] = []
        self._cut: list[str] = []
        self._stopped = Event()
        self._server.start()
        self._endpoint = self._server.endpoints[0]
        self._addresses = self._server.addresses

    # -- where it is

    @property
    def address(self) -> tuple[str, int]:
        """The host and the port, as `socket.create_connection` takes them."""
        if not self._addresses:
            raise RuntimeError(f"the server has no TCP address: it listens on {self._endpoint}")
        return self._addresses[0]

    @property
    def host(self) -> str:
        """The address of the host, such as `127.0.0.1`."""
        return self.address[0]

    @property
    def port(self) -> int:
        """The port."""
        return self.address[1]

    @property
    def url(self) -> str:
        """The endpoint as text, such as `tcp://127.0.0.1:5000` or `tls://127.0.0.1:5000`."""
        return self._endpoint

    def refused_address(self) -> tuple[str, int]:
        """Return an address at which connections are refused until the test has ended; a new one at each call.

        A socket keeps the port and does not listen, so no other program can get it.
        """
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM)
        self._refused.append(sock)
        sock.bind((self.host, 0))
        host, port, *_ = sock.getsockname()
        return host, port

    # -- TLS

    @property
    def ca(self) -> Path:
        """The PEM file that clients have to trust."""
        return Path(self._tls_files().ca)

    def client_context(self) -> ssl.SSLContext:
        """Return a new context for clients that trust this server and no other."""
        return self._tls_files().client_context()

    def _tls_files(self) -> TlsFiles:
        if self._tls is None:
            raise RuntimeError(f"{self.url} does not speak TLS: make the server with tls=True, or tls=(cert, key)")
        return self._tls

    # -- what has happened

    @property
    def connections(self) -> list[TcpConnection]:
        """The open connections, oldest first."""
        return [_described(connection) for connection in self._server.connections()]

    @property
    def received(self) -> dict[int, bytes]:
        """What each connection has received, by its number; that of connections that have ended included."""
        if self._recorder is None:
            raise RuntimeError("what is received is not kept: make the server with record=True")
        return self._recorder.received()

    @property
    def stats(self) -> Snapshot:
        """All counters of the server."""
        return self._server.stats()

    def take_errors(self) -> list[BaseException]:
        """Return the exceptions that the handler has raised since the last call, in order.

        The test is taken to expect these. Others are reported as a `TcpServerWarning` when it has ended.
        """
        return [failure.error for failure in self._log.take_failures()]

    def wait_for_connections(self, count: int, timeout: float = 5.0) -> list[TcpConnection]:
        """Wait until the server has accepted this many connections since it started.

        Parameters
        ----------
        count:
            How many, those that have ended by now included.
        timeout:
            How long to wait, in seconds.

        Returns
        -------
        list of TcpConnection
            Those that are open.

        Raises
        ------
        TimeoutError
            There were fewer. The message lists those that are open.

        """
        __tracebackhide__ = True
        deadline = monotonic() + timeout
        while (accepted := self.stats.accepted) < count:
            if monotonic() >= deadline or self._stopped.wait(_LOOK_AGAIN):
                ended = {reason: number for reason, number in self.stats.closed.items() if number}
                raise TimeoutError(
                    f"waited for {count} connections to {self.url} for {timeout:g} s, and it accepted {accepted}. "
                    f"Open: {', '.join(map(str, self.connections)) or 'none'}. Ended, by reason: {ended or 'none'}"
                )
        return self.connections

    # -- the end

    def kill(self, connection: TcpConnection | int, *, reset: bool = True) -> bool:
        """End a connection from the server's side.

        Parameters
        ----------
        connection:
            The connection, or its number.
        reset:
            Whether to reset it at once, even while its handler is running: the client gets a `ConnectionResetError`.
            Otherwise what has arrived is answered, and the client sees the end of the stream.

        Returns
        -------
        bool
            Whether it was still open.

        Raises
        ------
        ValueError
            There has never been a connection with this number.

        """
        number = connection if isinstance(connection, int) else connection.number
        accepted = self.stats.accepted
        if not 1 <= number <= accepted:
            raise ValueError(f"there is no connection {number!r}: {self.url} has accepted {accepted}")
        found = next((live for live in self._server.connections() if live.number == number), None)
        if found is None:
            return False
        return reset_now(found) if reset else found.end(CloseReason.DRAINED)

    def stop(self, timeout: float = 2.0) -> None:
        """Stop the server, after answering what has arrived. The end of the test does the same.

        From then on its address refuses connections, as long as no other program listens on it.

        Parameters
        ----------
        timeout:
            How long the answers may take, in seconds; connections that take longer are cut, and reported as a
            `TcpServerWarning`. 0 sets no limit.

        """
        stats = {f"{live.number} {live.peer}": live.stats for live in self._server.connections()}
        for name in self._server.stop(timeout):
            # A connection is kept by its handler, or by a peer that does not take its reply.
            in_handler = name in stats and stats[name].state == ConnectionState.HANDLING
            why = "its handler had not returned" if in_handler else "its peer did not read its reply"
            self._cut.append(f"connection {name.replace(' ', ' from ')} had to be cut after {timeout:g} s: {why}")
        self._stopped.set()

    def close(self) -> list[str]:
        """Stop the server, give back the ports of `refused_address`, and return what went wrong."""
        try:
            self.stop()
        finally:
            for sock in self._refused:
                sock.close()
        failures = [failure.text for failure in self._log.take_failures()]
        return [f"{self.url}: {text}" for text in [*self._cut, *self._log.take_others(), *failures]]


def _described(connection: Connection) -> TcpConnection:
    stats = connection.stats
    state = ConnectionState(stats.state).name.lower()
    return TcpConnection(connection.number, connection.peer, stats.bytes_in, stats.bytes_out, state)
