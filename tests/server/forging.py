"""TLS records that no TLS library would send, on connections whose keys the test knows.

A record is forged with the client's keys: for TLS 1.3 after RFC 8446, sections 5.2, 7.2 and 7.3, for TLS 1.2 after RFC
5246, section 6.3, and RFC 5288, section 3. From the first of them on the peer must send nothing of its own.
"""

from __future__ import annotations

import hashlib
import hmac
import ssl
from pathlib import Path

import pytest

from server.tls_kit import TlsPeer, client_context

aead = pytest.importorskip(
    "cryptography.hazmat.primitives.ciphers.aead", reason="needs cryptography, which trustme brings"
)

CHANGE_CIPHER, ALERT, HANDSHAKE, DATA = 20, 21, 22, 23
MOST_PLAINTEXT = 16_384
CLOSE_NOTIFY, USER_CANCELED = b"\x01\x00", b"\x01\x5a"
KEY_UPDATE, KEY_UPDATE_BOTH = b"\x18\x00\x00\x01\x00", b"\x18\x00\x00\x01\x01"
"""The peer's own keys change, and it asks the server to change its keys as well."""


def forging_context(version: ssl.TLSVersion, secrets: Path) -> ssl.SSLContext:
    """Return a client's context that writes its secrets to a file, with one cipher suite."""
    context: ssl.SSLContext = client_context.__wrapped__(version)
    context.set_ciphers("ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384")
    context.keylog_filename = str(secrets)
    return context


def raw(kind: int, body: bytes, length: int | None = None) -> bytes:
    """Return a record as it goes over the wire."""
    return bytes([kind, 3, 3]) + (len(body) if length is None else length).to_bytes(2) + body


class Forger:
    """Makes records for an open connection.

    Parameters
    ----------
    peer:
        Its client, which has completed the handshake and sent nothing since.
    secrets:
        The file with the secrets of this connection, the last in it.
    flight:
        What the server sent first.

    """

    def __init__(self, peer: TlsPeer, secrets: Path, flight: bytes) -> None:
        lines = dict(line.split(" ", 1) for line in secrets.read_text().splitlines() if not line.startswith("#"))
        self._is_new = peer.tls.version() == "TLSv1.3"
        self._sequence = 0
        if self._is_new:
            self._secret = bytes.fromhex(lines["CLIENT_TRAFFIC_SECRET_0"].split()[1])
            self._use_secret()
        else:
            client, master = map(bytes.fromhex, lines["CLIENT_RANDOM"].split())
            server = flight[11:43]  # after the headers of the record and of the message, and the version
            block = _prf(master, b"key expansion" + server + client, 72)
            self._key, self._iv = aead.AESGCM(block[:32]), block[64:68]
            self._sequence = 1  # its Finished was the first

    def record(self, kind: int, content: bytes) -> bytes:
        """Return a record of this kind, encrypted; a key update takes effect after it."""
        number = self._sequence.to_bytes(8)
        self._sequence += 1
        if not self._is_new:
            header = number + bytes([kind, 3, 3]) + len(content).to_bytes(2)
            return raw(kind, number + self._key.encrypt(self._iv + number, content, header))
        header = raw(DATA, b"", len(content) + 17)
        nonce = bytes(a ^ b for a, b in zip(self._iv, bytes(4) + number, strict=True))
        made: bytes = header + self._key.encrypt(nonce, content + bytes([kind]), header)
        if kind == HANDSHAKE and content in (KEY_UPDATE, KEY_UPDATE_BOTH):
            self._secret, self._sequence = _expand(self._secret, b"traffic upd", 48), 0
            self._use_secret()
        return made

    def _use_secret(self) -> None:
        self._key, self._iv = aead.AESGCM(_expand(self._secret, b"key", 32)), _expand(self._secret, b"iv", 12)


def _expand(secret: bytes, label: bytes, length: int) -> bytes:
    name = b"tls13 " + label
    info = length.to_bytes(2) + bytes([len(name)]) + name + b"\0"
    return hmac.digest(secret, info + b"\1", hashlib.sha384)[:length]


def _prf(secret: bytes, seed: bytes, length: int) -> bytes:
    made, block = b"", seed
    while len(made) < length:
        block = hmac.digest(secret, block, hashlib.sha384)
        made += hmac.digest(secret, block + seed, hashlib.sha384)
    return made[:length]
