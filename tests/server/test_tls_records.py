"""Records that no TLS library sends, in an open connection: they end that connection, by name, and no other."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from echoserver import Server
from server.forging import (
    ALERT,
    CHANGE_CIPHER,
    CLOSE_NOTIFY,
    DATA,
    HANDSHAKE,
    KEY_UPDATE,
    KEY_UPDATE_BOTH,
    MOST_PLAINTEXT,
    USER_CANCELED,
    Forger,
    forging_context,
    raw,
)
from server.kit import PATIENCE, scripted
from server.over_kit import TRANSPORTS, closed_as, join, read_to_end, shake
from server.tls_kit import VERSIONS, TlsPeer
from server.ways import every_way, wait_for

(OVER,) = [over for over in TRANSPORTS if over.name == "tls1.3"]
HELLO = b"\x01\x00\x00\x26\x03\x03" + bytes(36)  # a ClientHello, cut short
OLD, NEW = VERSIONS
UNANSWERED = "the peer does not take the answers to its key updates or renegotiations"


@pytest.fixture
def forge(serve, tmp_path, dispatch) -> Iterator[Callable[..., tuple[Server, TlsPeer, Forger]]]:
    """Connect a forger to a server: `forge(version, option=value, ...)`. Whatever it does, another peer is served."""
    servers: list[Server] = []
    with ExitStack() as stack:

        def connect(version: ssl.TLSVersion, **options: object) -> tuple[Server, TlsPeer, Forger]:
            if not servers:
                ours = OVER.options(tmp_path)
                servers.append(serve(scripted(blocking=False), dispatch=dispatch, **ours, **options))
            secrets = tmp_path / "secrets"
            secrets.unlink(missing_ok=True)
            sock = stack.enter_context(socket.create_connection(servers[0].address, PATIENCE))
            peer = TlsPeer(sock, forging_context(version, secrets))
            return servers[0], peer, Forger(peer, secrets, shake(peer))

        yield connect
        bystander = join(servers[0], OVER)
        stack.enter_context(bystander.sock)
        bystander.send(b"still here")
        bystander.finish()
        assert read_to_end(bystander) == b"still here"


def alert_of(peer: TlsPeer) -> str:
    """Return the alert that the server ends the connection with."""
    with pytest.raises(ssl.SSLError) as caught:
        read_to_end(peer)
    return str(caught.value.reason)


@every_way
@pytest.mark.parametrize("version", VERSIONS)
def test_a_forger_is_believed(forge, log, version):
    """Otherwise the other tests would show nothing."""
    _, peer, forger = forge(version)
    peer.sock.sendall(forger.record(DATA, b"hello") + forger.record(DATA, b"") + forger.record(DATA, b" there"))
    assert peer.read(11) == b"hello there"
    peer.sock.sendall(forger.record(ALERT, CLOSE_NOTIFY))
    assert read_to_end(peer) == b""
    assert closed_as(log, "eof")["bytes_in"] == 11


@every_way
@pytest.mark.parametrize("version", VERSIONS)
def test_a_record_that_does_not_authenticate(forge, log, version):
    _, peer, forger = forge(version)
    good, bad = forger.record(DATA, b"hello"), forger.record(DATA, b"bad")
    peer.sock.sendall(good)
    assert peer.read(5) == b"hello"
    peer.sock.sendall(bad[:-1] + bytes([bad[-1] ^ 1]))
    assert alert_of(peer) == "SSLV3_ALERT_BAD_RECORD_MAC"
    line = closed_as(log, "reset")
    assert (line["error"], line["bytes_in"]) == ("DECRYPTION_FAILED_OR_BAD_RECORD_MAC", 5)


@every_way
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kind", ["header", "content"])
def test_a_record_that_is_too_long(forge, log, version, kind):
    _, peer, forger = forge(version)
    peer.sock.sendall(raw(DATA, b"", 0x4900) if kind == "header" else forger.record(DATA, bytes(MOST_PLAINTEXT + 1)))
    assert alert_of(peer) == "TLSV1_ALERT_RECORD_OVERFLOW"
    assert closed_as(log, "reset")["error"].endswith("LENGTH_TOO_LONG")


@every_way
@pytest.mark.parametrize("version", VERSIONS)
def test_records_without_data(forge, log, version):
    """Some are in order, and no end of them is not."""
    _, peer, forger = forge(version)
    peer.sock.sendall(b"".join(forger.record(DATA, b"") for _ in range(30)) + forger.record(DATA, b"hello"))
    assert peer.read(5) == b"hello"
    flood = b"".join(forger.record(DATA, b"") for _ in range(2_000))
    try:
        peer.sock.sendall(flood)
    except ConnectionError:
        pass
    assert closed_as(log, "reset")["error"] == "RECORD_TOO_SMALL"


@every_way
@pytest.mark.parametrize("version", VERSIONS)
def test_data_after_close_notify_is_not_served(forge, log, version):
    _, peer, forger = forge(version)
    ends = forger.record(DATA, b"hello") + forger.record(ALERT, CLOSE_NOTIFY)
    peer.sock.sendall(ends + forger.record(DATA, b"no more"))
    assert read_to_end(peer) == b"hello"
    assert closed_as(log, "eof")["bytes_in"] == 5


def flood(server: Server, peer: TlsPeer, make: Callable[[], bytes]) -> None:
    """Send records, and read none of the answers, until the server ends the connection."""
    for connection in server.connections():  # its buffer is soon full
        connection.transport.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    with pytest.raises(ConnectionError):  # noqa: PT012 - at whichever time
        while True:
            peer.sock.sendall(b"".join(make() for _ in range(200)))


@every_way
def test_key_updates_without_end(forge, log):
    """The server holds no more of its answers than a bound allows, and no thread waits for the peer to read them."""
    server, peer, forger = forge(NEW)
    peer.sock.sendall(forger.record(HANDSHAKE, KEY_UPDATE_BOTH) + forger.record(DATA, b"hello"))
    assert peer.read(5) == b"hello"
    flood(server, peer, lambda: forger.record(HANDSHAKE, KEY_UPDATE_BOTH))
    assert closed_as(log, "reset")["error"] == UNANSWERED


@every_way
def test_renegotiations_without_end(forge, log):
    """The same for the answers that refuse them."""
    server, peer, forger = forge(OLD)
    flood(server, peer, lambda: forger.record(HANDSHAKE, HELLO))
    assert closed_as(log, "reset")["error"] == UNANSWERED


@every_way
@pytest.mark.parametrize("version", VERSIONS)
def test_a_key_update_does_not_keep_a_silent_peer(forge, log, version):
    """It is complete, though it carries no data."""
    _, peer, forger = forge(version, idle_timeout=0.4)
    hello = forger.record(DATA, b"hello")
    peer.sock.sendall(hello + (forger.record(DATA, b"") if version is OLD else forger.record(HANDSHAKE, KEY_UPDATE)))
    assert peer.read(5) == b"hello"
    assert read_to_end(peer) == b""
    closed_as(log, "idle")


CONTENTS = st.one_of(
    st.tuples(st.just(DATA), st.binary(max_size=100)),
    st.tuples(st.sampled_from([HANDSHAKE, ALERT, CHANGE_CIPHER, 24, 0]), st.binary(max_size=40)),
    st.tuples(st.just(HANDSHAKE), st.sampled_from([KEY_UPDATE, KEY_UPDATE_BOTH, HELLO, HELLO[:5]])),
    st.tuples(st.just(ALERT), st.sampled_from([CLOSE_NOTIFY, USER_CANCELED, b"\2\x28", b"\1"])),
)
"""What is encrypted as it should be, whatever it is then."""
GARBAGE = st.one_of(
    st.binary(min_size=1, max_size=100),
    st.builds(raw, st.integers(0, 255), st.binary(max_size=100)),
    st.builds(raw, st.just(DATA), st.binary(max_size=100), st.integers(0, 0xFFFF)),
)
"""What is not."""


@every_way
@pytest.mark.parametrize("version", VERSIONS)
def test_whatever_comes_ends_one_connection_by_name(forge, log, version):
    @settings(max_examples=25)
    @given(st.lists(CONTENTS, max_size=6), st.booleans(), GARBAGE)
    def check(contents: list[tuple[int, bytes]], is_forged: bool, garbage: bytes) -> None:
        server, peer, forger = forge(version)
        before = server.stats().closed
        with peer.sock:
            peer.sock.sendall(b"".join(forger.record(*content) for content in contents) + garbage * (not is_forged))
            try:
                peer.break_off()
                while peer.sock.recv(65_536):
                    pass
            except OSError:  # the server has ended it first
                pass
        wait_for(lambda: sum(server.stats().closed.values()) > sum(before.values()), "the connection does not end")
        line = log.lines("connection ended")[-1]
        assert line["reason"] in ("reset", "truncated", "eof")
        assert (line["reason"] == "reset") == ("error" in line)
        assert str(line.get("error", "?")).isprintable()

    check()
