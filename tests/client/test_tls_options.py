"""The options for TLS: which files and combinations are refused, and in which words."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from client.tls_kit import STRANGER, refusal
from echoclient.cli import COMMANDS

TLS = "tls://localhost:9443"


@pytest.mark.parametrize("command", ["connect", "ping", "wait"])
@pytest.mark.parametrize(
    "option",
    [("--tls-ca", "x"), ("--tls-cert", "x"), ("--tls-key", "x"), ("--tls-servername", "x"), ("--tls-insecure",)],
)
@pytest.mark.parametrize("target", ["localhost:9000", "unix:/run/echo.sock"])
def test_options_for_tls_need_a_target_with_tls(command, option, target):
    line = refusal(command, target, *option)
    assert line == f"{option[0]} is for TLS, and {target} is not: write the target as tls://host:port"


@pytest.mark.parametrize("option", ["--tls-ca", "--tls-cert"])
def test_files_that_can_t_be_read(files, tmp_path, option):
    nowhere, empty = tmp_path / "nowhere", tmp_path / "empty"
    empty.touch()
    assert refusal("ping", TLS, option, nowhere) == f"{option}: {str(nowhere)!r}: no such file"
    assert refusal("ping", TLS, option, tmp_path) == f"{option}: {str(tmp_path)!r} is a directory: name a file"
    assert refusal("ping", TLS, option, empty) == f"{option}: {str(empty)!r} has no certificate in PEM form"
    assert refusal("ping", TLS, option, files.key) == f"{option}: {files.key!r} has no certificate in PEM form"
    if os.geteuid():
        empty.chmod(0)
        assert refusal("ping", TLS, option, empty) == f"{option}: {str(empty)!r} can't be read: permission denied"


def test_keys_that_can_t_be_used(files, tmp_path):
    nowhere = tmp_path / "nowhere"
    certificate = ("--tls-cert", files.cert)
    assert refusal("ping", TLS, *certificate, "--tls-key", nowhere) == f"--tls-key: {str(nowhere)!r}: no such file"
    assert (
        refusal("ping", TLS, *certificate)
        == f"--tls-cert: {files.cert!r} has no private key in PEM form that can be read"
    )
    other = tmp_path / "other.pem"
    other.write_bytes(STRANGER.issue_cert("x@y").private_key_pem.bytes())
    line = refusal("ping", TLS, *certificate, "--tls-key", other)
    assert line == f"--tls-key: the key in {str(other)!r} does not belong to {files.cert!r}"
    line = refusal("ping", TLS, "--tls-key", files.key)
    assert line == "--tls-key: is the key of a certificate: name the certificate with --tls-cert"


def test_a_key_with_a_password(files, tmp_path):
    from cryptography.hazmat.primitives import serialization

    key = serialization.load_pem_private_key(Path(files.key).read_bytes(), None)
    locked = tmp_path / "locked.pem"
    locked.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    line = refusal("ping", TLS, "--tls-cert", files.cert, "--tls-key", locked)
    assert line == f"--tls-key: the key in {str(locked)!r} is protected by a password: give one without"


def test_options_that_contradict_each_other(files):
    line = refusal("ping", TLS, "--tls-insecure", "--tls-ca", files.ca)
    assert line == "--tls-insecure: accepts any certificate, --tls-ca checks it: leave out one"


@pytest.mark.parametrize("name", [".localhost", "a\x1b[2J", "é" * 70])
def test_names_that_are_none(name):
    assert refusal("ping", TLS, "--tls-servername", name) == f"--tls-servername: {name!r} is not a host name"


@pytest.mark.parametrize("command", [name for name in COMMANDS if name not in ("report", "bench")])
def test_the_help_of_each_command_has_the_options(command):
    from client.kit import run

    text = run(command, "--help").stdout.decode()
    for option in ("--tls-ca FILE", "--tls-cert FILE", "--tls-key FILE", "--tls-servername NAME", "--tls-insecure"):
        assert option in text
    assert "--proxy-header [v1|v2]" in text
    assert "--proxy-source IP:PORT" in text
