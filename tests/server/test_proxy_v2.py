"""The PROXY protocol, version 2: addresses, vectors, the checksum, and what HAProxy sends."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echoserver.net.crc32c import crc32c
from echoserver.net.proxy import MAX_BYTES, ProxyParser
from echoserver.net.proxy_header import ProxyError, ProxyHeader
from server.proxy_kit import IPV4, IPV4_SOURCE, SIGNATURE, parse, refusal, tlv, v2


@pytest.mark.parametrize("command", [0x20, 0x21])
def test_a_header_without_addresses_leaves_the_real_ones_and_its_bytes_are_skipped(command):
    parser = ProxyParser()
    header = parser.feed(v2(b"\xff" * 300, command=command, family=0) + b"next")
    assert header == ProxyHeader(2, local=True)
    assert parser.rest == b"next"


def test_local_ignores_the_family():
    assert parse(v2(IPV4, command=0x20, family=0xFF)) == ProxyHeader(2, local=True)


@pytest.mark.parametrize("family", [0x10, 0x20, 0x30, 0x01])
def test_half_an_unspecified_family_leaves_the_real_addresses(family):
    assert parse(v2(b"", family=family)) == ProxyHeader(2, local=True)


def test_unix_addresses_are_paths():
    packed = b"/run/client.sock".ljust(108, b"\0") + b"/run/server".ljust(108, b"\0")
    header = parse(v2(packed, family=0x31))
    assert (header.source, header.destination) == ("/run/client.sock", "/run/server")


@pytest.mark.parametrize(
    ("packed", "path"),
    [
        (bytes(108), ""),
        (b"\0abstract".ljust(108, b"\0"), "@abstract"),
        (b"x" * 108, "x" * 108),
        (b"\xff".ljust(108, b"\0"), "\\xff"),
    ],
)
def test_unix_addresses_of_other_kinds(packed, path):
    assert parse(v2(packed + bytes(108), family=0x31)).source == path


@pytest.mark.parametrize(
    ("header", "words"),
    [
        (SIGNATURE + b"\x11", "the version is 1"),
        (SIGNATURE + b"\x22", "the command is 2"),
        (v2(IPV4, family=0x41), "address family 4 with protocol 1 does not exist"),
        (v2(IPV4, family=0x13), "address family 1 with protocol 3 does not exist"),
        (v2(IPV4, family=0x12), "DGRAM"),
        (v2(bytes(216), family=0x32), "DGRAM"),
        (v2(IPV4[:-1]), "its addresses end at 28"),
        (v2(bytes(35), family=0x21), "its addresses end at 52"),
        (v2(bytes(215), family=0x31), "its addresses end at 232"),
        (v2(IPV4 + b"\x04"), "ends after the header"),
        (v2(IPV4 + b"\x04\0"), "ends after the header"),
        (v2(IPV4 + tlv(4, b"12", 3)), "ends after the header"),
        (v2(IPV4 + tlv(3, b"123")), "the CRC32c has 3 bytes"),
        (v2(IPV4 + tlv(3, b"1234")), "does not match"),
        (v2(IPV4 + tlv(3, b"1234") * 2), "more than one CRC32c"),
        (v2(IPV4 + tlv(5, bytes(129))), "longer than 128"),
        (v2(IPV4 + tlv(0x20, b"\x01\0\0\0")), "too short"),
        (v2(IPV4 + tlv(0x20, b"\x01\0\0\0\0" + tlv(0x21, b"TLSv1.3", 8))), "ends after the header"),
        (v2(b"", length=MAX_BYTES - 15), "16385 bytes, more than the 16384 allowed"),
    ],
)
def test_what_is_malformed_in_version_2_is_named(header, words):
    assert words in refusal(header)


def test_a_header_as_long_as_allowed_is_parsed():
    padding = MAX_BYTES - len(v2(IPV4)) - 3
    assert parse(v2(IPV4 + tlv(4, bytes(padding)))).tlvs == ((4, bytes(padding)),)
    with pytest.raises(ProxyError, match="29 bytes, more than the 28 allowed"):
        ProxyParser(max_bytes=28).feed(v2(IPV4 + b"\0"))


def test_the_facts_are_decoded():
    ssl = b"\x07" + bytes(4) + b"".join(tlv(0x21 + i, text) for i, text in enumerate([b"v", b"\xff", b"c", b"s", b"k"]))
    vectors = tlv(4, b"padding") + tlv(1, b"h2") + tlv(2, "bücher.example".encode()) + tlv(5, b"id") + tlv(0x20, ssl)
    header = parse(v2(IPV4 + vectors + tlv(0x30, b"blue") + tlv(0xE0, b"custom")))
    assert (header.alpn, header.authority, header.unique_id, header.netns) == ("h2", "bücher.example", "id", "blue")
    assert header.tlvs[-1] == (0xE0, b"custom")
    assert header.ssl is not None
    assert (header.ssl.version, header.ssl.common_name, header.ssl.cipher) == ("v", "\\xff", "c")
    assert (header.ssl.sig_alg, header.ssl.key_alg, header.ssl.verify) == ("s", "k", 0)
    assert header.ssl.over_tls
    assert header.ssl.certificate_on_connection
    assert header.ssl.certificate_in_session
    assert header.ssl.verified


def test_what_is_not_there_is_none():
    header = parse(v2(IPV4))
    assert (header.alpn, header.authority, header.unique_id, header.netns, header.ssl) == (None,) * 5


@pytest.mark.parametrize(("client", "verify", "verified"), [(1, 0, False), (3, 0, True), (5, 0, True), (7, 18, False)])
def test_a_client_is_verified_only_if_it_has_a_certificate(client, verify, verified):
    ssl = parse(v2(IPV4 + tlv(0x20, struct.pack("!BI", client, verify)))).ssl
    assert ssl is not None
    assert (ssl.verified, ssl.verify, ssl.version) == (verified, verify, None)


def test_the_checksum_is_that_of_the_rfc():
    # RFC 3720, appendix B.4
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(bytes(range(32))) == 0x46DD794E
    assert crc32c(b"123456789") == 0xE3069283


@given(st.binary(max_size=60), st.binary(max_size=60), st.data())
def test_the_checksum_is_verified_over_the_whole_header(before, after, data):
    header = bytearray(v2(IPV4 + tlv(4, before) + tlv(3, bytes(4)) + tlv(0xE0, after)))
    offset = len(v2(IPV4)) + 3 + len(before) + 3
    header[offset : offset + 4] = crc32c(header).to_bytes(4)
    assert parse(bytes(header)).source == IPV4_SOURCE
    # The signature, the lengths and the types are left as they are: a change there is another error.
    spoiled = data.draw(st.sampled_from([*range(16, 28), *range(31, 31 + len(before)), *range(offset, offset + 4)]))
    header[spoiled] ^= 1 << data.draw(st.integers(0, 7))
    assert "does not match" in refusal(bytes(header))


# -- what HAProxy sends


LOOPBACK_4, LOOPBACK_6 = "127.0.0.1", "::1"
# Sent by HAProxy 2.6.12 with the options in the first column.
HAPROXY = [
    ("send-proxy", "50524f58592055 4e4b4e4f574e0d0a", None, {}),
    (
        "send-proxy",
        "50524f58592054435036203a3a31203a3a312033383037362035313031330d0a",
        ((LOOPBACK_6, 38076), (LOOPBACK_6, 51013)),
        {},
    ),
    ("check send-proxy-v2 crc32c", "0d0a0d0a000d0a515549540a20000007030004a9b87e8f", None, {}),
    (
        "send-proxy-v2",
        "0d0a0d0a000d0a515549540a2111000c7f0000017f000001a9bab301",
        ((LOOPBACK_4, 43450), (LOOPBACK_4, 45825)),
        {},
    ),
    (
        "crc32c,unique-id",
        "0d0a0d0a000d0a515549540a2121003800000000000000000000000000000001000000000000000000000000"
        "00000001d1f28bdd03000463d4ff7b05000a69642d302d7632637263",
        ((LOOPBACK_6, 53746), (LOOPBACK_6, 35805)),
        {"unique_id": "id-0-v2crc"},
    ),
    (
        "send-proxy-v2-ssl-cn",
        "0d0a0d0a000d0a515549540a211100327f0000017f000001d1188ce72000230700000000210007544c537631"
        "2e33220011706565722e6578616d706c652e74657374",
        ((LOOPBACK_4, 53528), (LOOPBACK_4, 36071)),
        {"ssl.version": "TLSv1.3", "ssl.common_name": "peer.example.test", "ssl.verified": True},
    ),
    (
        "ssl,cert-cn,ssl-cipher,cert-sig,cert-key,crc32c,unique-id,authority, without a client certificate",
        "0d0a0d0a000d0a515549540a211100717f0000017f0000018ec4cf71030004a6a897270200096c6f63616c68"
        "6f737405000869642d302d616c6c2000440100000000210007544c5376312e33250005454332353624001165"
        "636473612d776974682d534841323536230016544c535f4145535f3235365f47434d5f534841333834",
        ((LOOPBACK_4, 36548), (LOOPBACK_4, 53105)),
        {
            "authority": "localhost",
            "unique_id": "id-0-all",
            "ssl.cipher": "TLS_AES_256_GCM_SHA384",
            "ssl.sig_alg": "ecdsa-with-SHA256",
            "ssl.key_alg": "EC256",
            "ssl.verified": False,
        },
    ),
]


@pytest.mark.parametrize(("options", "captured", "addresses", "facts"), HAPROXY)
def test_headers_of_haproxy(options, captured, addresses, facts):
    header = parse(bytes.fromhex(captured))
    assert header.local is (addresses is None), options
    if addresses is not None:
        assert (header.source, header.destination) == addresses
    for name, value in facts.items():
        found = getattr(header.ssl, name.removeprefix("ssl.")) if name.startswith("ssl.") else getattr(header, name)
        assert found == value, name
