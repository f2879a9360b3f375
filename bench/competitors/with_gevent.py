"""One greenlet per connection: gevent's StreamServer."""

from __future__ import annotations

import socket
import sys

from gevent.server import StreamServer


def _echo(sock: socket.socket, _address: object) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    while data := sock.recv(65536):
        sock.sendall(data)


def _upper(sock: socket.socket, _address: object) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    while data := sock.recv(65536):
        sock.sendall(data.upper())


if __name__ == "__main__":
    _, port, handler = sys.argv
    StreamServer(("127.0.0.1", int(port)), _upper if handler == "upper" else _echo, backlog=1024).serve_forever()
