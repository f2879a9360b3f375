"""An asyncio protocol, on asyncio's own event loop or on uvloop's. Both set TCP_NODELAY themselves.

With a certificate and its key as further arguments it serves TLS.
"""

from __future__ import annotations

import asyncio
import ssl
import sys
from typing import cast


class _Echo(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._transport.write(data)


class _Upper(_Echo):
    def data_received(self, data: bytes) -> None:
        self._transport.write(data.upper())


async def _serve(port: int, protocol: type[_Echo], context: ssl.SSLContext | None) -> None:
    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", port, backlog=1024, ssl=context)
    await server.serve_forever()


if __name__ == "__main__":
    _, port, handler, loop, *certificate = sys.argv
    context = None
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
    serve = _serve(int(port), _Upper if handler == "upper" else _Echo, context)
    if loop == "uvloop":
        import uvloop

        uvloop.run(serve)
    else:
        asyncio.run(serve)
