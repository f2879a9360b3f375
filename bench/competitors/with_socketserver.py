"""One thread per connection from the standard library: socketserver.ThreadingTCPServer."""

from __future__ import annotations

import socket
import socketserver
import sys


class _Handler(socketserver.BaseRequestHandler):
    upper = False

    def handle(self) -> None:
        sock: socket.socket = self.request
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while data := sock.recv(65536):
            sock.sendall(data.upper() if self.upper else data)


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 1024

    def handle_error(self, request: object, client_address: object) -> None:
        """Print no traceback for a connection that its peer has reset, as the other servers don't."""


if __name__ == "__main__":
    _, port, handler = sys.argv
    _Handler.upper = handler == "upper"
    with _Server(("127.0.0.1", int(port)), _Handler) as server:
        server.serve_forever()
