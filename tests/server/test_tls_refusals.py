"""What the command refuses of endpoints, TLS and PROXY: exit 2, one line, and nothing bound."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from server.command_kit import error_of
from server.tls_kit import AUTHORITY, SERVER_CERTIFICATE
from support import activated, run

PASSWORD = "correct horse"
FREE = "tcp://127.0.0.1:0"
TLS = ("--listen", "tls://127.0.0.1:0")
PROXY = ("--listen", "tcp://127.0.0.1:0?proxy=require")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    made = tmp_path_factory.mktemp("refusals")
    (made / "cert.pem").write_bytes(SERVER_CERTIFICATE.cert_chain_pems[0].bytes())
    (made / "key.pem").write_bytes(SERVER_CERTIFICATE.private_key_pem.bytes())
    (made / "other.pem").write_bytes(AUTHORITY.issue_cert("other").private_key_pem.bytes())
    (made / "text.pem").write_text("hello\n")
    (made / "torn.pem").write_bytes((made / "cert.pem").read_bytes()[:200])
    (made / "here").mkdir()
    arguments = ["openssl", "pkey", "-in", "key.pem", "-aes256", "-passout", f"pass:{PASSWORD}", "-out", "locked.pem"]
    subprocess.run(arguments, cwd=made, check=True, capture_output=True)
    return made


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        # certificates
        (TLS, "tls_cert: is missing: name the file with the certificate for tls://127.0.0.1:0"),
        ((*TLS, "--tls-cert", "none.pem"), "--tls-cert: 'none.pem' can't be read: No such file or directory"),
        ((*TLS, "--tls-cert", "here"), "--tls-cert: 'here' can't be read: Is a directory"),
        ((*TLS, "--tls-cert", "text.pem"), "--tls-cert: 'text.pem' holds no certificate in PEM form"),
        ((*TLS, "--tls-cert", "key.pem"), "--tls-cert: 'key.pem' holds no certificate in PEM form"),
        (
            (*TLS, "--tls-cert", "cert.pem"),
            "--tls-cert: 'cert.pem' holds no private key in PEM form: name the file that does with --tls-key",
        ),
        (
            (*TLS, "--tls-cert", "cert.pem", "--tls-key", "none.pem"),
            "--tls-key: 'none.pem' can't be read: No such file or directory",
        ),
        (
            (*TLS, "--tls-cert", "cert.pem", "--tls-key", "cert.pem"),
            "--tls-key: 'cert.pem' holds no private key in PEM form",
        ),
        (
            (*TLS, "--tls-cert", "cert.pem", "--tls-key", "other.pem"),
            "--tls-key: the key in 'other.pem' does not belong to the certificate in 'cert.pem'",
        ),
        (
            (*TLS, "--tls-cert", "cert.pem", "--tls-key", "locked.pem"),
            "--tls-key: the key in 'locked.pem' is protected by a password: store it without one (openssl pkey)",
        ),
        (
            (*TLS, "--tls-cert", "cert.pem", "--tls-key", "key.pem", "--tls-client-ca", "text.pem"),
            "--tls-client-ca: 'text.pem' holds no certificate in PEM form",
        ),
        (
            (*TLS, "--tls-cert", "cert.pem", "--tls-key", "key.pem", "--tls-min-version", "1.1"),
            "--tls-min-version: '1.1' is refused: must be one of 1.2, 1.3",
        ),
        (
            (*TLS, "--tls-cert", "cert.pem", "--tls-key", "key.pem", "--handshake-timeout", "10"),
            "--handshake-timeout: '10' is refused: must be a duration such as 500ms, 30s, 5m or 1h, ",
        ),
        # flags that would do nothing
        (
            ("--tls-cert", "cert.pem"),
            "--tls-cert: has no effect without an endpoint such as --listen tls://HOST:PORT",
        ),
        (
            ("--handshake-timeout", "5s"),
            "--handshake-timeout: has no effect without an endpoint such as --listen tls://HOST:PORT",
        ),
        (
            ("--proxy-trusted", "10.0.0.0/8"),
            "--proxy-trusted: has no effect without ?proxy=require at the end of a --listen",
        ),
        (
            ("--proxy-timeout", "5s"),
            "--proxy-timeout: has no effect without ?proxy=require at the end of a --listen",
        ),
        (("--fault-seed", "7"), "--fault-seed: has no effect without a rule such as --fault reset@1%"),
        # PROXY
        (
            PROXY,
            "proxy_trusted: is missing: name the proxies that may connect to tcp://127.0.0.1:0?proxy=require, such as "
            "192.0.2.7 or 10.0.0.0/8",
        ),
        (
            (*PROXY, "--proxy-trusted", "10.0.0.1/8"),
            "--proxy-trusted: '10.0.0.1/8' is refused: must be ",
        ),
        (("--listen", f"{FREE}?proxies=require"), f"--listen: '{FREE}?proxies=require' is refused: must be "),
        (("--listen", f"{FREE}?proxy=maybe"), f"--listen: '{FREE}?proxy=maybe' is refused: must be "),
        # endpoints
        (("--listen", f"{FREE}?mode=0600"), f"--listen: '{FREE}?mode=0600' is refused: must be "),
        (("--listen", "unix:/tmp/x?mode=9999"), "--listen: 'unix:/tmp/x?mode=9999' is refused: must be "),
        (("--listen", "unix:/" + "x" * 107), f"--listen: 'unix:/{'x' * 70}"),
        (("--listen", "unix:relative"), "--listen: 'unix:relative' is refused: must be "),
        (("--listen", "udp://127.0.0.1:9000"), "--listen: 'udp://127.0.0.1:9000' is refused: must be "),
        (("--listen", "tcp://127.0.0.1"), "--listen: 'tcp://127.0.0.1' is refused: must be "),
        (("--listen", FREE, "--listen", FREE), "--listen: "),
        (("--listen", FREE, "--port", "9000"), "--listen: can't be combined with --port; "),
        (("--listen", "fd:99"), "--listen: "),
        (("--listen", "fd:0"), "--listen: "),
        (("--listen", "systemd:echo"), "--listen: "),
    ],
    ids=lambda value: " ".join(value)[-60:] if isinstance(value, tuple) else "",
)
def test_it_is_refused_before_anything_is_bound(folder, tmp_path, arguments, line):
    # The socket comes first: if anything were bound before the refusal, it would be this file.
    path = tmp_path / "first.sock"
    first = ("--listen", f"unix:{path}") if "--listen" in arguments else ()
    finished = run("serve", *first, *arguments, cwd=folder)
    assert finished.returncode == 2
    assert error_of(finished).removeprefix("echoserver: ").startswith(line)
    assert not path.exists()


@pytest.mark.parametrize(
    ("kind", "problem"),
    [
        (socket.SOCK_DGRAM, "is not a listening socket"),
        (socket.SOCK_STREAM, "is not a listening socket"),
    ],
)
def test_a_descriptor_that_does_not_listen_is_refused(kind: Any, problem: str):
    with socket.socket(socket.AF_INET, kind) as sock:
        sock.bind(("127.0.0.1", 0))
        with activated([sock], "", "serve", "--listen", "fd:3") as program:
            assert program.finish() == 2
            (line,) = program.lines
            assert line.startswith("echoserver: --listen: ")
            assert "fd:3" in line


def test_in_the_environment_options_without_effect_are_allowed():
    """Several servers may share it."""
    finished = run("config", ECHOSERVER_TLS_CERT="/etc/cert.pem", ECHOSERVER_PROXY_TRUSTED="10.0.0.0/8")
    assert finished.returncode == 0
