"""A stream over TLS: both directions at once, its end, and what is left of it when it is cut."""

from __future__ import annotations

import hashlib
import random
import signal
import ssl
import threading

import pytest

from client.kit import PATIENCE, hold, run, started
from client.tls_kit import AUTHORITY, Service, only_tls12, over_tls
from echoclient.durations import Deadline
from echoclient.errors import TlsError
from echoclient.send import exchange
from echoclient.session import connect, open_session
from echoclient.target import Target
from echoclient.tls_settings import TlsSettings
from echoclient.wait import probe

VERSIONS = pytest.mark.parametrize("version", ["1.2", "1.3"])
CHANNELS = pytest.mark.parametrize("channel", ["tls 1.2", "tls 1.3", "unix"])


def to(peer, files):
    return Target("localhost", peer.port, tls=TlsSettings(ca=files.ca))


def arguments(files, channel, tmp_path):
    """Return the endpoint, the environment and, for a port, the arguments of the client."""
    if channel == "unix":
        path = f"unix:{tmp_path}/echo.sock"
        return path, {}, lambda _port: (path,)
    changes = only_tls12(files) if channel.endswith("1.2") else {}
    return "tls://127.0.0.1:0", changes, lambda port: (f"tls://localhost:{port}", "--tls-ca", files.ca)


def transfer(files, channel, tmp_path, size):
    """Send random bytes through `echoclient connect`, and return the digests of both directions and the log line."""
    data = random.Random(7).randbytes(size)
    endpoint, changes, to_port = arguments(files, channel, tmp_path)
    with Service(files, endpoint, **changes) as service:
        result = run("connect", *to_port(service.ports[0]), stdin=data)
        assert (result.returncode, result.stderr) == (0, b"")
        ended = service.wait_for("connection ended")
    return hashlib.sha256(data).digest(), hashlib.sha256(result.stdout).digest(), ended


@CHANNELS
def test_the_end_of_input_half_closes_and_all_comes_back(files, channel, tmp_path):
    sent, received, ended = transfer(files, channel, tmp_path, 3_000_001)
    assert sent == received
    assert ended["reason"] == "eof"
    assert ended.get("tls", "") == channel.replace("tls ", "TLSv").replace("unix", "")


@pytest.mark.stress
@CHANNELS
def test_a_hundred_megabytes_come_back(files, channel, tmp_path):
    sent, received, ended = transfer(files, channel, tmp_path, 100_000_000)
    assert sent == received
    assert (ended["reason"], ended["bytes_in"]) == ("eof", 100_000_000)


@VERSIONS
def test_a_large_exchange_with_a_server_that_reads_only_what_it_could_send(files, version):
    """Both directions fill up, and the one thread of `send` keeps both of them going."""
    changes = only_tls12(files) if version == "1.2" else {}
    data = random.Random(8).randbytes(5_000_000)
    with Service(files, "tls://127.0.0.1:0", **changes) as service:
        target = ("-t", f"tls://localhost:{service.ports[0]}", "--tls-ca", files.ca)
        result = run("send", *target, "--expect", "echo", stdin=data)
    assert (result.returncode, result.stderr) == (0, b"")
    assert result.stdout == data


@VERSIONS
@pytest.mark.parametrize("handler", ["daytime", "info"])
def test_a_server_that_speaks_first_is_heard(files, version, handler):
    """What it says may arrive together with the end of its handshake."""
    changes = only_tls12(files) if version == "1.2" else {}
    with Service(files, "tls://127.0.0.1:0", more=("--handler", handler), **changes) as service:
        session = open_session(to_port(service, files), Deadline(PATIENCE))
        reply = bytearray()
        with session:
            exchange(session, b"", reply, PATIENCE)
    assert reply.endswith(b"\n")


def to_port(service, files):
    return Target("localhost", service.ports[0], tls=TlsSettings(ca=files.ca))


def test_the_server_s_data_in_one_segment_with_its_handshake_is_not_missed(serve, files):
    def one_segment(connection):
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        AUTHORITY.issue_cert("localhost").configure_cert(context)
        context.maximum_version = ssl.TLSVersion.TLSv1_2  # there, the server has the last word of the handshake
        tls = context.wrap_bio(incoming, outgoing, server_side=True)
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                connection.sendall(outgoing.read())
                incoming.write(connection.recv(65536))
        tls.write(b"welcome")
        with pytest.raises(ssl.SSLWantReadError):
            tls.unwrap()
        connection.sendall(outgoing.read())
        hold(connection)

    reply = bytearray()
    with connect(to(serve(one_segment), files), timeout=PATIENCE) as session:
        assert session.pending
        exchange(session, b"", reply, PATIENCE)
    assert reply == b"welcome"


@pytest.mark.parametrize("command", ["send", "connect"])
def test_an_end_without_close_notify_is_no_end(serve, files, command):
    def cut(connection):
        connection.sendall(connection.recv(65536))
        assert not connection.recv(65536)  # then TCP ends in order, and TLS does not

    peer = serve(over_tls(cut))
    target = f"tls://localhost:{peer.port}"
    arguments = ("-t", target) if command == "send" else (target,)
    result = run(command, *arguments, "--tls-ca", files.ca, stdin=b"hello")
    assert (result.returncode, result.stdout) == (1, b"hello")
    assert result.stderr.decode() == (
        f"echoclient: TLS {target}: the stream ended without close_notify, so it may be incomplete; "
        "5 bytes sent, 5 received\n"
    )


def test_waiting_without_an_answer(serve, files):
    def hears(connection):
        assert connection.recv(65536)

    with pytest.raises(TlsError, match="without close_notify"):
        probe(to(serve(over_tls(hears)), files), Deadline(PATIENCE))


def test_a_ping_counts_the_exchange_and_shows_the_handshake_once(files):
    with Service(files, "tls://127.0.0.1:0") as service:
        target = f"tls://localhost:{service.ports[0]}"
        result = run("ping", "-c", "3", "-i", "0", target, "--tls-ca", files.ca)
        lines = result.stdout.decode().splitlines()
        assert lines[0] == f"PING {target}: 64 bytes"
        assert lines[1].startswith("TLS handshake: time=")
        assert ", TLSv1.3, TLS_" in lines[1]
        assert sum("handshake" in line for line in lines) == 1
        assert "3 sent, 3 received, 0 lost (0 %)" in lines
        assert service.wait_for("connection ended")["reason"] == "eof"


def test_ctrl_c_ends_a_pipe(serve, files):
    def echoes(connection):
        while data := connection.recv(65536):
            connection.sendall(data)

    peer = serve(over_tls(echoes))
    with started("connect", f"tls://localhost:{peer.port}", "--tls-ca", files.ca) as process:
        process.stdin.write(b"x")
        process.stdin.flush()
        assert process.stdout.read(1) == b"x"
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 130


def test_ctrl_c_ends_a_handshake(serve):
    begun = threading.Event()

    def holds(connection):
        connection.recv(1)
        begun.set()
        hold(connection)

    peer = serve(holds)
    with started("connect", f"tls://localhost:{peer.port}", "--timeout", "0") as process:
        assert begun.wait(PATIENCE)
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 130


def test_the_prompt_works_over_tls(files, terminal):
    with Service(files, "tls://127.0.0.1:0") as service:
        screen = terminal("connect", f"tls://localhost:{service.ports[0]}", "--tls-ca", files.ca, TERM="dumb")
        screen.expect(f"connected to 127.0.0.1:{service.ports[0]} (TLSv1.3, TLS_")
        screen.type("hello\r")
        screen.expect("hello\nhello\n")
        screen.type("/reconnect\r")
        screen.expect("connected to 127.0.0.1")
        screen.type("again\r")
        screen.expect("again\nagain\n")
        screen.type("/quit\r")
        assert screen.wait() == 0
        assert [service.wait_for("connection ended")["reason"] for _ in range(2)] == ["eof", "eof"]
