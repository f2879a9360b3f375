"""HTTP/1.1 for the admin endpoint: a handler like any other, whose syntax is that of h11 (RFC 9112)."""

from __future__ import annotations

from collections.abc import Iterator
from http import HTTPStatus
from time import monotonic
from typing import ClassVar
from urllib.parse import parse_qsl, unquote, urlsplit

import h11

from echoserver.admin.requests import Reply, Request, json_reply
from echoserver.admin.routes import Api
from echoserver.handlers import Handler, Last

_MOST_BODY = 65536
_MOST_HEADERS = 16384
# A request that is not complete after this long is given up, however much of it trickles in.
_REQUEST_SECONDS = 10.0
_SECURITY = (
    ("Cache-Control", "no-store"),
    ("X-Content-Type-Options", "nosniff"),
    ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
    ("Referrer-Policy", "no-referrer"),
)


class AdminHandler(Handler):
    """One connection to the admin endpoint. `handler_for` makes the class that a server needs."""

    api: ClassVar[Api]

    def __init__(self) -> None:
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=_MOST_HEADERS)
        self._head: h11.Request | None = None
        self._body = bytearray()
        self._began = 0.0

    def feed(self, data: bytes) -> bytes:
        """Answer the requests that are complete."""
        if not self._began:
            self._began = monotonic()
        try:
            self._http.receive_data(data)
            out = b"".join(self._replies())
        except h11.RemoteProtocolError as error:
            return Last(self._refusal(error.error_status_hint, str(error)))
        if self._http.states[h11.SERVER] is not h11.IDLE and self._http.our_state in (h11.MUST_CLOSE, h11.CLOSED):
            return Last(out)
        if self._began and monotonic() - self._began > _REQUEST_SECONDS:
            return Last(out + self._refusal(408, "the request took too long"))
        return out

    def _replies(self) -> Iterator[bytes]:
        while True:
            event = self._http.next_event()
            if event is h11.NEED_DATA or event is h11.PAUSED:
                return
            if isinstance(event, h11.Request):
                self._head, self._body = event, bytearray()
                if self._http.they_are_waiting_for_100_continue:
                    yield self._http.send(h11.InformationalResponse(status_code=100, headers=[])) or b""
            elif isinstance(event, h11.Data):
                self._body += event.data
                if len(self._body) > _MOST_BODY:
                    raise h11.RemoteProtocolError("the body is too long", error_status_hint=413)
            elif isinstance(event, h11.EndOfMessage):
                assert self._head is not None, "a request has a head"
                yield self._send(self._head.method, self.api.answer(self._request(self._head)))
                if self._http.our_state is not h11.DONE:
                    return
                self._http.start_next_cycle()
                self._began = monotonic() if self._http.trailing_data[0] else 0.0
            else:  # the end
                return

    def _request(self, head: h11.Request) -> Request:
        target = urlsplit(head.target.decode("ascii", "replace"))
        return Request(
            method=head.method.decode("ascii", "replace"),
            path=unquote(target.path),
            query=dict(parse_qsl(target.query, keep_blank_values=True)),
            headers={name.decode("ascii"): value.decode("latin-1") for name, value in head.headers},
            body=bytes(self._body),
            by=f"admin {self.peer.address}",
        )

    def _send(self, method: bytes, reply: Reply) -> bytes:
        headers = [
            ("Content-Type", reply.content_type),
            ("Content-Length", str(len(reply.body))),
            *((name, value) for name, value in _SECURITY if name not in reply.headers),
            *reply.headers.items(),
        ]
        head = h11.Response(status_code=reply.status, headers=headers, reason=_reason(reply.status))
        out = self._http.send(head) or b""
        if method != b"HEAD":
            out += self._http.send(h11.Data(data=reply.body)) or b""
        return out + (self._http.send(h11.EndOfMessage()) or b"")

    def _refusal(self, status: int, problem: str) -> bytes:
        """Answer what can't be read; the connection ends after it."""
        if self._http.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return b""
        reply = json_reply({"error": problem}, status, {"Connection": "close"})
        return self._send(b"", reply)


def _reason(status: int) -> bytes:
    try:
        return HTTPStatus(status).phrase.encode()
    except ValueError:
        return b""


def handler_for(api: Api) -> type[AdminHandler]:
    """Return the class of handlers that answer from this."""
    return type("AdminHandler", (AdminHandler,), {"api": api})
