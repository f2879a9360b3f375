"""Which certificates are accepted, and what is said of the others."""

from __future__ import annotations

import socket
import ssl

import pytest

from client.kit import PATIENCE, hold, read_exactly, reset, run, started
from client.tls_kit import AUTHORITY, LONG_AGO, Service, failure, only_tls12, over_tls, refusal, server_context, trustme

VERSIONS = pytest.mark.parametrize("version", ["1.2", "1.3"])


def with_certificate(certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


def echo_line(connection):
    connection.sendall(connection.recv(65536))
    connection.unwrap()


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_a_certificate_of_a_trusted_authority_is_accepted(serve, files, host):
    peer = serve(over_tls(echo_line))
    result = run("send", "-t", f"tls://{host}:{peer.port}", "--tls-ca", files.ca, "hello")
    assert (result.returncode, result.stdout, result.stderr) == (0, b"hello\n", b"")


def test_the_system_s_authorities_are_trusted_by_default(serve, files):
    target = f"tls://localhost:{serve(over_tls(echo_line)).port}"
    # The variable by which OpenSSL is told where the system keeps them.
    assert run("send", "-t", target, "hello", SSL_CERT_FILE=files.ca).stdout == b"hello\n"
    assert run("send", "-t", target, "hello", SSL_CERT_FILE=files.stranger_ca).returncode == 1
    assert run("send", "-t", target, "--tls-ca", files.stranger_ca, "hello", SSL_CERT_FILE=files.ca).returncode == 1


def test_the_certificate_of_a_server_can_itself_be_trusted(serve, files, tmp_path):
    certificate = AUTHORITY.issue_cert("localhost")
    (tmp_path / "pinned.pem").write_bytes(certificate.cert_chain_pems[0].bytes())
    peer = serve(over_tls(echo_line, with_certificate(certificate)))
    result = run("send", "-t", f"tls://localhost:{peer.port}", "--tls-ca", tmp_path / "pinned.pem", "hello")
    assert (result.returncode, result.stdout) == (0, b"hello\n")


def test_any_certificate_is_accepted_if_asked_for(serve):
    peer = serve(over_tls(echo_line, with_certificate(trustme.CA().issue_cert("other.test"))))
    result = run("send", "-t", f"tls://localhost:{peer.port}", "--tls-insecure", "hello")
    assert (result.returncode, result.stdout) == (0, b"hello\n")


def test_the_name_to_expect_can_be_given(serve, files):
    context = with_certificate(AUTHORITY.issue_cert("other.test"))
    asked = []
    context.sni_callback = lambda _tls, name, _context: asked.append(name)
    peer = serve(over_tls(echo_line, context))
    target = ("-t", f"tls://127.0.0.1:{peer.port}", "--tls-ca", files.ca)
    assert run("send", *target, "--tls-servername", "other.test", "hello").stdout == b"hello\n"
    assert asked == ["other.test"]


@pytest.mark.parametrize("command", ["connect", "ping", "wait"])
def test_a_wrong_name_is_reported_with_the_right_ones(serve, files, command):
    peer = serve(over_tls(hold, with_certificate(AUTHORITY.issue_cert("other.test", "third.test", "192.0.2.1"))))
    line = failure(command, f"tls://localhost:{peer.port}", "--tls-ca", files.ca)
    assert line == (
        f"TLS tls://localhost:{peer.port}: the certificate is not for localhost; "
        "it is for other.test, third.test, 192.0.2.1"
    )


def test_an_unknown_authority_is_reported(serve):
    peer = serve(over_tls(hold))
    assert failure("send", "-t", f"tls://localhost:{peer.port}", "hello") == (
        f"TLS tls://localhost:{peer.port}: the certificate is signed by an unknown authority; "
        "to trust it, name its file with --tls-ca"
    )


def test_an_expired_certificate_is_reported(serve, files):
    peer = serve(over_tls(hold, with_certificate(AUTHORITY.issue_cert("localhost", not_after=LONG_AGO))))
    line = failure("send", "-t", f"tls://localhost:{peer.port}", "--tls-ca", files.ca, "hello")
    assert line == f"TLS tls://localhost:{peer.port}: the certificate has expired"


def test_a_self_signed_certificate_is_reported(serve, files, tmp_path):
    """An authority's own certificate, as a server presents it, is one that nobody else has signed."""
    authority = trustme.CA()
    (tmp_path / "own.pem").write_bytes(authority.private_key_pem.bytes() + authority.cert_pem.bytes())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "own.pem")
    peer = serve(over_tls(hold, context))
    line = failure("send", "-t", f"tls://localhost:{peer.port}", "--tls-ca", files.ca, "hello")
    assert line == (
        f"TLS tls://localhost:{peer.port}: the certificate is self-signed; to trust it, name it with --tls-ca"
    )


@VERSIONS
def test_a_client_s_certificate_is_presented(files, version):
    changes = only_tls12(files) if version == "1.2" else {}
    with Service(files, "tls://127.0.0.1:0", more=("--tls-client-ca", files.ca), **changes) as service:
        target = ("-t", f"tls://localhost:{service.ports[0]}", "--tls-ca", files.ca)
        result = run("send", *target, "--tls-cert", files.client, "hello")
        assert (result.returncode, result.stdout, result.stderr) == (0, b"hello\n", b"")
        assert service.wait_for("connection ended")["tls"] == f"TLSv{version}"


@VERSIONS
@pytest.mark.parametrize("command", ["connect", "send", "ping", "wait"])
def test_a_client_s_certificate_that_the_server_refuses(files, version, command):
    """With TLS 1.3 the handshake is complete for the client before the server has seen the certificate."""
    changes = only_tls12(files) if version == "1.2" else {}
    with Service(files, "tls://127.0.0.1:0", more=("--tls-client-ca", files.ca), **changes) as service:
        target = f"tls://localhost:{service.ports[0]}"
        arguments = ["-t", target, "hello"] if command == "send" else [target]
        result = run(command, *arguments, "--tls-ca", files.ca, "--tls-cert", files.stranger, stdin=b"hello")
        assert result.returncode == 1
        line = result.stderr.decode().splitlines()[-1]
        refused = "the server refused the client's certificate: it does not know the authority"
        assert line.startswith(f"echoclient: TLS {target}: {refused}")
        missing = run(command, *arguments, "--tls-ca", files.ca, stdin=b"hello").stderr.decode().splitlines()[-1]
        assert missing.startswith(f"echoclient: TLS {target}: ")
        assert "requires a client's certificate" in missing
        assert "--tls-cert" in missing


ALERT_40, ALERT_70 = bytes.fromhex("15030300020228"), bytes.fromhex("15030300020246")
# A ServerHello of TLS 1.1.
OLD_HELLO = bytes.fromhex("160302002a 02000026 0302" + 32 * "41" + "00 c013 00")
NO_TLS = "the server does not speak TLS at this port"


@pytest.mark.parametrize(
    ("answer", "word", "says"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n", "TLS", NO_TLS),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "TLS", NO_TLS),
        (b"220 mail.example ESMTP\r\n", "TLS", NO_TLS),
        (OLD_HELLO, "TLS", "the server offers no version of TLS that this client speaks (1.2 and 1.3)"),
        (ALERT_70, "TLS", "the server refused the versions of TLS that this client speaks (1.2 and 1.3)"),
        (
            ALERT_40,
            "TLS",
            "the server ended TLS with the alert 'handshake failure'; if it requires a client's certificate, give one "
            "with --tls-cert",
        ),
        (b"", "CLOSED", "the server closed the connection during the TLS handshake"),
    ],
)
def test_a_server_that_answers_something_else(serve, answer, word, says):
    def answers(connection):
        connection.recv(65536)
        connection.sendall(answer)
        connection.shutdown(socket.SHUT_WR)
        hold(connection)

    peer = serve(answers)
    assert (
        failure("wait", f"tls://localhost:{peer.port}", "--wait", "0") == f"{word} tls://localhost:{peer.port}: {says}"
    )


def test_a_server_that_sends_the_handshake_back(serve):
    peer = serve()
    line = failure("send", "-t", f"tls://localhost:{peer.port}", "hello")
    assert line == f"TLS tls://localhost:{peer.port}: {NO_TLS}"


def test_a_server_that_resets_in_the_handshake(serve):
    peer = serve(lambda connection: read_exactly(connection, 1) and reset(connection))
    line = failure("send", "-t", f"tls://localhost:{peer.port}", "hello")
    assert line == f"RESET tls://localhost:{peer.port}: connection reset by the server; during the TLS handshake"


@pytest.mark.parametrize("command", ["connect", "ping"])
def test_the_time_limit_covers_the_handshake(serve, command):
    peer = serve(hold)
    line = failure(command, f"tls://localhost:{peer.port}", "--timeout", "100ms")
    assert line == f"TIMEOUT tls://localhost:{peer.port}: connected, but the TLS handshake did not end in time"


def test_waiting_lasts_until_the_handshake_succeeds(files):
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        port = place.getsockname()[1]
    with started("wait", f"tls://localhost:{port}", "--tls-ca", files.ca) as process:
        line = process.stderr.readline().decode()
        assert line == f"echoclient: waiting up to 30s for tls://localhost:{port} (REFUSED)\n"
        with Service(files, f"tls://127.0.0.1:{port}"):
            assert process.wait(PATIENCE) == 0
            assert process.stderr.read() == b""


def test_waiting_ends_at_once_if_the_certificate_is_refused(serve):
    peer = serve(over_tls(hold, server_context()))
    line = failure("wait", f"tls://localhost:{peer.port}", "--wait", "20m")
    assert "unknown authority" in line


def test_bad_usage_of_a_certificate_is_refused_by_name(files):
    line = refusal("ping", "tls://localhost:1", "--tls-cert", files.cert, "--tls-key", files.ca)
    assert line == f"--tls-key: {files.ca!r} has no private key in PEM form that can be read"
