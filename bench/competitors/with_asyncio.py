"""An asyncio protocol, on asyncio's own event loop or on uvloop's. Both set TCP_NODELAY themselves."""

from __future__ import annotations

import asyncio
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


async def _serve(port: int, protocol: type[_Echo]) -> None:
    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    _, port, handler, loop = sys.argv
    serve = _serve(int(port), _Upper if handler == "upper" else _Echo)
    if loop == "uvloop":
        import uvloop

        uvloop.run(serve)
    else:
        asyncio.run(serve)
