"""TLS contexts: which files are refused and in which words, when a certificate expires, and when files have changed."""

from __future__ import annotations

import datetime
import os
import socket
import ssl
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echoserver.errors import ConfigError
from echoserver.net import tls_context
from echoserver.net.tls_context import CertificateWatch, expires_at, make_context
from server.tls_kit import AUTHORITY, SERVER_CERTIFICATE, client_context, connected

CERTIFICATE = SERVER_CERTIFICATE.cert_chain_pems[0].bytes()
KEY = SERVER_CERTIFICATE.private_key_pem.bytes()
CLIENT_CERTIFICATE = AUTHORITY.issue_cert("client@example.test")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "cert.pem").write_bytes(CERTIFICATE)
    (tmp_path / "key.pem").write_bytes(KEY)
    (tmp_path / "both.pem").write_bytes(CERTIFICATE + KEY)
    (tmp_path / "ca.pem").write_bytes(AUTHORITY.cert_pem.bytes())
    return tmp_path


def refusal(cert: Path, key: Path | None = None, client_ca: Path | None = None) -> tuple[str | None, str]:
    with pytest.raises(ConfigError) as caught:
        make_context(str(cert), key and str(key), client_ca and str(client_ca))
    assert str(caught.value).isprintable()
    return caught.value.key, caught.value.problem


@pytest.mark.parametrize("one_file", [True, False])
def test_a_context_serves(folder, one_file):
    files = ("both.pem",) if one_file else ("cert.pem", "key.pem")
    context = make_context(*(str(folder / name) for name in files))
    with connected(socket.socketpair(), context) as (transport, _):
        assert transport.tls_info().version == "TLSv1.3"
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert {cipher["name"].split("-")[0] for cipher in context.get_ciphers()} <= {"ECDHE", *tls13(context)}


def tls13(context: ssl.SSLContext) -> set[str]:
    return {cipher["name"] for cipher in context.get_ciphers() if cipher["protocol"] == "TLSv1.3"}


def test_the_oldest_version_can_be_chosen(folder):
    assert make_context(str(folder / "both.pem"), min_version="1.3").minimum_version == ssl.TLSVersion.TLSv1_3


def test_with_authorities_clients_must_present_a_certificate(folder):
    context = make_context(str(folder / "both.pem"), client_ca=str(folder / "ca.pem"))
    with connected(socket.socketpair(), context, client_context(None, CLIENT_CERTIFICATE)) as (transport, _):
        assert transport.tls_info().subject


def test_a_key_that_does_not_match_is_refused(folder):
    (folder / "other.pem").write_bytes(CLIENT_CERTIFICATE.private_key_pem.bytes())
    option, problem = refusal(folder / "cert.pem", folder / "other.pem")
    assert option == "tls_key"
    assert "does not belong to the certificate in " in problem


@pytest.mark.parametrize("name", ["missing.pem", ".", "zero\0byte"])
def test_what_cannot_be_read_is_refused(folder, name):
    for option, files in (
        ("tls_cert", (folder / name,)),
        ("tls_key", (folder / "cert.pem", folder / name)),
        ("tls_client_ca", (folder / "cert.pem", folder / "key.pem", folder / name)),
    ):
        refused, problem = refusal(*files)
        assert refused == option
        assert "can't be read: " in problem


def test_what_is_not_pem_is_refused(folder):
    (folder / "cert.der").write_bytes(ssl.PEM_cert_to_DER_cert(CERTIFICATE.decode()))
    assert refusal(folder / "cert.der", folder / "key.pem")[1].endswith("holds no certificate in PEM form")
    assert refusal(folder / "key.pem", folder / "key.pem")[1].endswith("holds no certificate in PEM form")
    assert "holds no private key in PEM form: name the file" in refusal(folder / "cert.pem")[1]
    assert refusal(folder / "cert.pem", folder / "ca.pem")[1].endswith("holds no private key in PEM form")
    assert refusal(folder / "both.pem", None, folder / "key.pem")[1].endswith("holds no certificate in PEM form")


@pytest.mark.parametrize("option", ["tls_cert", "tls_key", "tls_client_ca"])
def test_damaged_pem_is_refused(folder, option):
    path = folder / {"tls_cert": "cert.pem", "tls_key": "key.pem", "tls_client_ca": "ca.pem"}[option]
    lines = path.read_bytes().splitlines()
    path.write_bytes(b"\n".join([lines[0], b"AAAA", *lines[3:]]))
    refused, problem = refusal(folder / "cert.pem", folder / "key.pem", folder / "ca.pem")
    assert refused == ("tls_client_ca" if option == "tls_client_ca" else "tls_key")
    assert "can't be used: " in problem


def test_a_protected_key_is_refused_without_asking_for_the_password(folder):
    from cryptography.hazmat.primitives import serialization as form

    key = form.load_pem_private_key(KEY, None)
    for kind in (form.PrivateFormat.PKCS8, form.PrivateFormat.TraditionalOpenSSL):
        protected = key.private_bytes(form.Encoding.PEM, kind, form.BestAvailableEncryption(b"secret"))
        (folder / "protected.pem").write_bytes(protected)
        option, problem = refusal(folder / "cert.pem", folder / "protected.pem")
        assert option == "tls_key"
        assert "is protected by a password" in problem


# -- when it expires


@pytest.mark.parametrize("year", [1995, 2024, 2049, 2050, 9999])
def test_the_end_of_a_certificate_is_found(folder, year):
    end = datetime.datetime(year, 2, 3, 4, 5, 6, tzinfo=datetime.UTC)
    begin = end - datetime.timedelta(days=1)
    issued = AUTHORITY.issue_cert("localhost", not_before=begin, not_after=end)
    (folder / "cert.pem").write_bytes(b"a comment\n" + issued.cert_chain_pems[0].bytes() + CERTIFICATE)
    assert expires_at(str(folder / "cert.pem")) == end.timestamp()


def test_a_certificate_without_an_end_is_refused(folder):
    for text in (
        b"",
        b"-----BEGIN CERTIFICATE-----",
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    ):
        (folder / "cert.pem").write_bytes(text)
        with pytest.raises(ConfigError, match="in PEM form"):
            expires_at(str(folder / "cert.pem"))
    with pytest.raises(ConfigError, match="can't be read"):
        expires_at(str(folder / "missing.pem"))


@given(st.data())
def test_damaged_der_raises_nothing_unexpected(data):
    der = bytearray(ssl.PEM_cert_to_DER_cert(CERTIFICATE.decode()))
    del der[data.draw(st.integers(1, len(der))) :]
    der[data.draw(st.integers(0, len(der) - 1))] = data.draw(st.integers(0, 255))
    try:
        tls_context._not_after(bytes(der))
    except (ValueError, IndexError, KeyError):
        pass


# -- when files change


def test_files_that_stay_have_not_changed(folder):
    watch = CertificateWatch([str(folder / "cert.pem"), str(folder / "key.pem")])
    assert [watch.changed() for _ in range(3)] == [False] * 3


def test_a_file_that_is_written_again_has_changed_once(folder):
    path = folder / "cert.pem"
    watch = CertificateWatch([str(path)])
    path.write_bytes(CERTIFICATE + b"\n")
    assert [watch.changed() for _ in range(2)] == [True, False]
    os.utime(path, ns=(1, 1))
    assert [watch.changed() for _ in range(2)] == [True, False]


def test_a_file_that_goes_and_comes_has_changed_twice(folder):
    path = folder / "cert.pem"
    watch = CertificateWatch([str(path), "zero\0byte"])
    path.rename(folder / "away.pem")
    assert [watch.changed() for _ in range(2)] == [True, False]
    (folder / "away.pem").rename(path)
    assert [watch.changed() for _ in range(2)] == [True, False]


def test_a_link_on_the_way_is_followed(folder):
    # As Kubernetes does it: tls.crt -> ..data/tls.crt, ..data -> a folder of its own for each version.
    for version in ("v1", "v2"):
        (folder / version).mkdir()
        (folder / version / "tls.crt").write_bytes(CERTIFICATE)
        os.utime(folder / version / "tls.crt", ns=(1, 1))
    (folder / "..data").symlink_to("v1")
    (folder / "tls.crt").symlink_to("..data/tls.crt")
    watch = CertificateWatch([str(folder / "tls.crt")])
    (folder / "..new").symlink_to("v2")
    (folder / "..new").rename(folder / "..data")
    assert [watch.changed() for _ in range(2)] == [True, False]
