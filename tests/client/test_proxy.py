"""Headers of the PROXY protocol, byte by byte as the specification has them."""

from __future__ import annotations

import pytest

from echoclient.proxy import encode_v1, encode_v2

V4, OTHER_V4 = ("192.168.0.1", 56324), ("192.168.0.11", 443)
V6 = ("2001:db8::1", 1)


def test_version_1_is_a_line():
    assert encode_v1(V4, OTHER_V4) == b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n"
    assert encode_v1(V6, ("::1", 65535)) == b"PROXY TCP6 2001:db8::1 ::1 1 65535\r\n"


def test_version_2_is_packed():
    signature = bytes.fromhex("0d0a0d0a000d0a515549540a")
    assert encode_v2(V4, OTHER_V4) == signature + bytes.fromhex("2111000c c0a80001 c0a8000b dc04 01bb")
    packed = encode_v2(V6, ("::1", 2))
    assert packed == signature + bytes.fromhex(
        "21210024 20010db8000000000000000000000001 00000000000000000000000000000001 0001 0002"
    )


@pytest.mark.parametrize("encode", [encode_v1, encode_v2])
def test_an_ipv4_address_beside_an_ipv6_one_is_mapped(encode):
    assert encode(V4, V6) == encode(("::ffff:192.168.0.1", 56324), V6)
    assert encode(V6, V4) == encode(V6, ("::ffff:192.168.0.1", 56324))


@pytest.mark.parametrize("encode", [encode_v1, encode_v2])
def test_the_scope_of_an_address_is_left_out(encode):
    assert encode(("fe80::1%lo", 1), V6) == encode(("fe80::1", 1), V6)


@pytest.mark.parametrize("encode", [encode_v1, encode_v2])
@pytest.mark.parametrize(
    ("address", "words"),
    [
        (("localhost", 1), "'localhost' is not an IP address"),
        (("", 1), "'' is not an IP address"),
        (("192.0.2.1", 65536), "65536 is not a port"),
        (("192.0.2.1", -1), "-1 is not a port"),
    ],
)
def test_what_is_no_address_is_named(encode, address, words):
    with pytest.raises(ValueError, match=words):
        encode(address, V4)
    with pytest.raises(ValueError, match=words):
        encode(V4, address)
