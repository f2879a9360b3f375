"""The handler `info` and the facts of `self.peer`, without a server."""

from __future__ import annotations

import json
import struct

import pytest

from echoserver import Handler
from echoserver.handlers import ConnectionFacts, Last, Peer, Proxied, find_handler
from echoserver.net.proxy_header import ProxyHeader
from echoserver.net.tls_facts import TlsInfo
from echoserver.version import __version__
from server.proxy_kit import tlv

TLS = TlsInfo("TLSv1.3", "TLS_AES_256_GCM_SHA384", "h2", "echo.example", "commonName=client", "0A")


def info(peer: Peer) -> tuple[dict, bytes]:
    handler: Handler = find_handler("info", {}).make(peer)
    said = handler.greet()
    assert type(said) is Last
    assert said.endswith(b"\n")
    assert said.isascii()
    assert said[:-1].decode().isprintable()
    assert handler.feed(b"ignored") == b""
    return json.loads(said), bytes(said)


def test_a_plain_connection():
    said, _ = info(Peer("::1", 5000, ConnectionFacts(7, "tcp://[::]:9000", "workers", "[::1]:9000")))
    assert said == {
        "id": 7,
        "peer": "[::1]:5000",
        "local": "[::1]:9000",
        "endpoint": "tcp://[::]:9000",
        "proxied_by": None,
        "proxy": None,
        "tls": None,
        "mode": "workers",
        "version": __version__,
    }


def test_what_was_negotiated():
    said, _ = info(Peer("::1", 5000, ConnectionFacts(tls=TLS)))
    assert said["tls"] == {
        "version": "TLSv1.3",
        "cipher": "TLS_AES_256_GCM_SHA384",
        "alpn": "h2",
        "server_name": "echo.example",
        "subject": "commonName=client",
        "serial": "0A",
    }


def test_every_vector_of_a_header_is_shown():
    ssl = struct.pack("!BI", 7, 0) + tlv(0x21, b"TLSv1.3") + tlv(0x22, b"client")
    tlvs = ((0x02, b"a.example"), (0x01, b"h2"), (0xE0, b"\0\xff"), (0x20, ssl), (0x04, b""), (0xE0, b""))
    header = ProxyHeader(2, local=False, source=("2001:db8::1", 5000), destination=("192.0.2.1", 443), tlvs=tlvs)
    said, _ = info(Peer("2001:db8::1", 5000, ConnectionFacts(proxied=Proxied("10.0.0.1:4000", header))))
    assert said["proxied_by"] == "10.0.0.1:4000"
    proxy = said["proxy"]
    vectors = proxy.pop("tlvs")
    shown = {"version": 2, "local": False, "source": "[2001:db8::1]:5000", "destination": "192.0.2.1:443"}
    assert proxy == shown
    assert [(vector["type"], vector["name"], vector["hex"]) for vector in vectors] == [
        ("0x02", "authority", b"a.example".hex()),
        ("0x01", "alpn", "6832"),
        ("0xe0", None, "00ff"),
        ("0x20", "ssl", ssl.hex()),
        ("0x04", "noop", ""),
        ("0xe0", None, ""),
    ]
    assert [vector.get("text") for vector in vectors] == ["a.example", "h2", None, None, None, None]
    assert (vectors[3]["ssl"]["version"], vectors[3]["ssl"]["common_name"]) == ("TLSv1.3", "client")
    assert vectors[3]["ssl"]["verified"] is True


def test_a_header_without_addresses():
    header = ProxyHeader(1, local=True)
    said, _ = info(Peer("10.0.0.1", 4000, ConnectionFacts(proxied=Proxied("10.0.0.1:4000", header))))
    assert said["proxy"] == {"version": 1, "local": True, "source": None, "destination": None, "tlvs": []}


@pytest.mark.parametrize(
    ("path", "shown"), [("/run/\udcff.sock", "/run/\\udcff.sock"), ("@abstract\n\x7f\x80\u2028", None), ("", "")]
)
def test_what_could_break_the_line_is_escaped(path, shown):
    authority = (0x02, b'\xff\0"\n\x1b[31m\x7f')
    header = ProxyHeader(2, local=False, source=path, destination="", tlvs=(authority,))
    said, line = info(Peer(path, None, ConnectionFacts(proxied=Proxied("pid=1,uid=0", header))))
    assert said["peer"] == said["proxy"]["source"] == (path if shown is None else shown)
    assert said["proxy"]["tlvs"][0]["text"] == '\\xff\0"\n\x1b[31m\x7f'
    assert line.count(b"\n") == 1


# -- the facts themselves


def test_a_peer_without_a_server_has_only_its_address():
    peer = Peer("127.0.0.1", 5000)
    assert (peer.connection, peer.endpoint, peer.mode, peer.local) == (0, "", "", "")
    assert (peer.tls, peer.proxy, peer.proxied_by) == (None, None, None)


def test_peers_with_the_same_address_are_equal():
    assert Peer("::1", 7) == Peer("::1", 7, ConnectionFacts(3, "tcp://[::]:9000"))
    assert repr(Peer("::1", 7, ConnectionFacts(3))) == "Peer(host='::1', port=7)"
