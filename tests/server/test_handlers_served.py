"""The built-in handlers in every way of serving, over every transport."""

from __future__ import annotations

import json
import re
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from select import select
from typing import Any

import pytest

from echoserver import Handler, Server
from echoserver.handlers import find_handler
from echoserver.version import __version__
from server.handler_kit import PEER, pattern
from server.kit import PATIENCE, Peer, where
from server.proxy_kit import IPV4, tlv, v2
from server.ways import every_way

NAMES = ["chargen", "daytime", "discard", "frames", "info", "lines"]
CLIENT = "192.0.2.1:56324"
HEADER = v2(IPV4 + tlv(0x02, b"echo.example") + tlv(0xE0, b"\xff"))


class Over:
    """One transport: starts a server on it, and connects to it."""

    def __init__(self, name: str, serve: Callable[..., Server], folder: Path, sockets: ExitStack) -> None:
        self.name = name
        self._serve, self._folder, self._sockets = serve, folder, sockets
        if name == "tls":  # the others are tested where trustme is not installed, too
            from server import tls_kit

            self._tls_kit: Any = tls_kit
        self.last_port = 0
        """The port of the peer that has connected last."""

    def serve(self, handler: Any, **options: Any) -> Server:
        if self.name == "unix":
            options["listen"] = [f"unix:{self._folder}/served.sock"]
        elif self.name == "proxy":
            options |= {"listen": ["tcp://127.0.0.1:0?proxy=require"], "proxy_trusted": ["127.0.0.0/8"]}
        elif self.name == "tls":
            files = {name: self._folder / f"{name}.pem" for name in ("tls_cert", "tls_key", "tls_client_ca")}
            certificate, authority = self._tls_kit.SERVER_CERTIFICATE, self._tls_kit.AUTHORITY
            files["tls_cert"].write_bytes(certificate.cert_chain_pems[0].bytes())
            files["tls_key"].write_bytes(certificate.private_key_pem.bytes())
            files["tls_client_ca"].write_bytes(authority.cert_pem.bytes())
            options |= {"listen": ["tls://127.0.0.1:0"], **{name: str(path) for name, path in files.items()}}
        return self._serve(handler, **options)

    def connect(self, server: Server) -> Any:
        peer = self._sockets.enter_context(Peer(where(server)))
        if self.name != "unix":
            self.last_port = peer.sock.getsockname()[1]
        if self.name == "proxy":
            peer.send(HEADER)
        if self.name != "tls":
            return peer
        certificate = self._tls_kit.AUTHORITY.issue_cert("client@example.com", common_name="client")
        shaken = self._tls_kit.TlsPeer(peer.sock, self._tls_kit.client_context(certificate=certificate))
        while not shaken.step():
            assert select([peer.sock], [], [], PATIENCE)[0], "the server does not go on with the handshake"
        return shaken


def rest(peer: Any) -> bytes:
    """Return everything up to the end of the stream."""
    if isinstance(peer, Peer):
        return peer.read_to_end()
    got = bytearray()
    while piece := peer.read_some():
        got += piece
    return bytes(got)


@pytest.fixture(params=["tcp", "unix", "tls", "proxy"])
def over(request: pytest.FixtureRequest, serve: Callable[..., Server], tmp_path: Path) -> Iterator[Over]:
    with ExitStack() as sockets:
        yield Over(request.param, serve, tmp_path, sockets)


def frame(data: bytes) -> bytes:
    return struct.pack("!I", len(data)) + data


@pytest.mark.parametrize("name", NAMES)
def test_none_of_them_blocks(name):
    assert not find_handler(name, {}).blocking
    assert find_handler(name, {}).make(PEER).peer is PEER


@every_way
def test_discard_takes_everything_and_says_nothing(over, log, dispatch):
    peer = over.connect(over.serve("discard", dispatch=dispatch))
    for _ in range(10):
        peer.send(b"x" * 50_000)
    peer.finish()
    assert rest(peer) == b""
    (line,) = log.wait_for("connection ended")
    assert (line["bytes_in"], line["bytes_out"], line["replies"], line["reason"]) == (500_000, 0, 0, "eof")


@every_way
def test_chargen_ends_after_its_lines(over, log, dispatch):
    peer = over.connect(over.serve("chargen", handler_options={"lines": 2000}, dispatch=dispatch))
    assert rest(peer) == pattern(2000)
    assert log.wait_for("connection ended")[0]["reason"] == "finished"


@every_way
def test_chargen_goes_on_when_its_input_has_ended(over, dispatch):
    """The peer sends no more and reads all the same."""
    peer = over.connect(over.serve("chargen", dispatch=dispatch, drain_timeout=0.05))
    start = peer.read(1000)
    peer.sock.shutdown(socket.SHUT_WR)
    assert start + peer.read(299_000) == pattern(5000)[:300_000]


@every_way
def test_chargen_ends_when_its_peer_has_gone(over, log, dispatch):
    peer = over.connect(over.serve("chargen", dispatch=dispatch))
    peer.read(1000)
    peer.sock.close()
    assert log.wait_for("connection ended")[0]["reason"] == "reset"


@every_way
def test_daytime_says_the_time_and_ends(over, log, dispatch):
    peer = over.connect(over.serve("daytime", dispatch=dispatch))
    assert re.fullmatch(rb"[A-Z][a-z]+day, [A-Z][a-z]+ \d\d?, \d{4} \d\d:\d\d:\d\d-UTC\r\n", rest(peer))
    (line,) = log.wait_for("connection ended")
    assert (line["reason"], line["bytes_in"], line["level"]) == ("finished", 0, "info")


@every_way
def test_frames_come_back_whole(over, dispatch):
    peer = over.connect(over.serve("frames", dispatch=dispatch))
    long = frame(b"f" * 200_000)
    peer.send(frame(b"one") + frame(b"") + long[:100])
    assert peer.read(11) == frame(b"one") + frame(b"")
    peer.send(long[100:] + b"\0\0\0\5part")
    peer.finish()
    assert rest(peer) == long


@every_way
@pytest.mark.parametrize(
    ("name", "options", "good", "bad", "problem"),
    [
        ("frames", {"max_frame": "1kB"}, frame(b"good"), b"GET / HTTP/1.1", "a frame of 1195725856 bytes is longer"),
        ("lines", {"max_line": "10B"}, b"good\n", b"0123456789abc\n", "a line is longer than max_line = 10 bytes"),
    ],
)
def test_what_is_too_long_ends_the_connection_with_a_line(over, log, dispatch, name, options, good, bad, problem):
    peer = over.connect(over.serve(name, handler_options=options, dispatch=dispatch))
    peer.send(good + bad)
    assert rest(peer) == good
    (line,) = log.wait_for("connection ended")
    assert (line["reason"], line["level"]) == ("handler", "info")
    assert line["error"].startswith(problem)
    assert "exc_info" not in line


@every_way
def test_lines_come_back_when_they_are_complete(over, dispatch):
    peer = over.connect(over.serve("lines", dispatch=dispatch))
    peer.send(b"one\ntwo\r\nthr")
    assert peer.read(9) == b"one\ntwo\r\n"
    peer.send(b"ee\n\nrest")
    peer.finish()
    assert rest(peer) == b"three\n\n"


@every_way
def test_info_says_what_the_server_sees(over, log, mode, dispatch):
    server = over.serve("info", dispatch=dispatch)
    said = json.loads(rest(over.connect(server)))
    line = log.wait_for("connection ended")[0]
    assert (line["reason"], line["bytes_out"]) == ("finished", len(json.dumps(said)) + 1)
    assert (said["id"], said["peer"], said["mode"], said["version"]) == (1, line["peer"], mode, __version__)
    assert said["endpoint"] == line["endpoint"] == server.endpoints[0]
    if over.name == "unix":
        assert said["local"] == where(server)
    else:
        assert said["local"] == "127.0.0.1:{1}".format(*server.address)
    if over.name == "proxy":
        assert (said["peer"], said["proxied_by"]) == (CLIENT, f"127.0.0.1:{over.last_port}")
        assert said["proxy"]["source"] == CLIENT
        shown = [(vector["type"], vector["name"], vector["hex"]) for vector in said["proxy"]["tlvs"]]
        assert shown == [("0x02", "authority", b"echo.example".hex()), ("0xe0", None, "ff")]
    else:
        assert (said["proxied_by"], said["proxy"]) == (None, None)
    if over.name == "tls":
        tls = said["tls"]
        assert (line["tls"], line["cipher"], line["sni"]) == (tls["version"], tls["cipher"], tls["server_name"])
        assert (tls["version"], tls["server_name"], tls["alpn"]) == ("TLSv1.3", "localhost", None)
        assert tls["subject"].endswith("commonName=client")
        assert int(tls["serial"], 16) > 0
    else:
        assert said["tls"] is None
        assert not {"tls", "cipher", "sni"} & set(line)


@every_way
def test_a_peer_that_is_kept_still_has_its_facts(over, log, dispatch):
    kept = []

    class Keeping(Handler):
        blocking = False

        def feed(self, data: bytes) -> bytes:
            kept.append((self.peer, self.peer.local))
            return data

    server = over.serve(Keeping, dispatch=dispatch)
    peer = over.connect(server)
    peer.send(b"hello")
    assert peer.read(5) == b"hello"
    peer.sock.shutdown(socket.SHUT_WR)
    log.wait_for("connection ended")
    ((who, local),) = kept
    assert (who.connection, who.endpoint, who.tls is None) == (1, server.endpoints[0], over.name != "tls")
    assert local == (where(server) if over.name == "unix" else "127.0.0.1:{1}".format(*server.address))
    assert who.local == (local if over.name == "unix" else "")
