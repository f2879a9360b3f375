"""The PROXY protocol: what is a header and what is refused, in whatever pieces it arrives."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from echoclient.proxy import encode_v1, encode_v2
from echoserver.net.proxy import MAX_BYTES, ProxyParser
from echoserver.net.proxy_header import ProxyError, ProxyHeader
from server.proxy_kit import IPV4, SIGNATURE, parse, refusal, tlv, v2

PORTS = st.integers(0, 65535)
V4, V6 = (st.tuples(st.ip_addresses(v=version).map(str), PORTS) for version in (4, 6))


# -- version 1


@pytest.mark.parametrize(
    ("line", "source", "destination"),
    [
        (b"TCP4 192.168.0.1 192.168.0.11 56324 443", ("192.168.0.1", 56324), ("192.168.0.11", 443)),
        (b"TCP4 255.255.255.255 255.255.255.255 65535 65535", *[("255.255.255.255", 65535)] * 2),
        (b"TCP4 0.0.0.0 0.0.0.0 0 0", *[("0.0.0.0", 0)] * 2),
        (b"TCP6 2001:DB8:0:0:0:0:0:1 ::1 1 2", ("2001:db8::1", 1), ("::1", 2)),
        (
            b"TCP6 " + b"ffff:" * 7 + b"ffff " + b"ffff:" * 7 + b"ffff 65535 65535",
            *[("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 65535)] * 2,
        ),
        (b"TCP6 ::ffff:192.0.2.1 ::1 1 2", ("::ffff:192.0.2.1", 1), ("::1", 2)),
    ],
)
def test_version_1_names_the_addresses(line, source, destination):
    assert parse(b"PROXY " + line + b"\r\n") == ProxyHeader(1, local=False, source=source, destination=destination)


@pytest.mark.parametrize(
    "rest", [b"", b" ", b" whatever \0\xff", b" " + b"ffff:" * 7 + b"ffff " + b"ffff:" * 7 + b"ffff 65535 65535"]
)
def test_unknown_in_version_1_leaves_the_real_addresses(rest):
    assert parse(b"PROXY UNKNOWN" + rest + b"\r\n") == ProxyHeader(1, local=True)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"PROXY\r\n", "expected a PROXY header"),
        (b"PROXY \r\n", "must be TCP4, TCP6 or UNKNOWN"),
        (b"PROXY UNKNOWNX\r\n", "must be TCP4, TCP6 or UNKNOWN"),
        (b"PROXY tcp4 192.0.2.1 192.0.2.2 1 2\r\n", "must be TCP4, TCP6 or UNKNOWN"),
        (b"PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n", "must be TCP4, TCP6 or UNKNOWN"),
        (b"PROXY  TCP4 192.0.2.1 192.0.2.2 1 2\r\n", "must be TCP4, TCP6 or UNKNOWN"),
        (b"PROXY TCP4 192.0.2.1  192.0.2.2 1 2\r\n", "each after one space"),
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n", "two addresses and two ports"),
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2 \r\n", "two addresses and two ports"),
        (b"PROXY TCP4 192.0.2.01 192.0.2.2 1 2\r\n", "b'192.0.2.01' is not an IPv4 address"),
        (b"PROXY TCP4 192.0.2 192.0.2.2 1 2\r\n", "b'192.0.2' is not an IPv4 address"),
        (b"PROXY TCP4 192.0.2.256 192.0.2.2 1 2\r\n", "not an IPv4 address"),
        (b"PROXY TCP4 ::1 ::1 1 2\r\n", "not an IPv4 address"),
        (b"PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n", "not an IPv6 address"),
        (b"PROXY TCP6 1::2::3 ::1 1 2\r\n", "not an IPv6 address"),
        (b"PROXY TCP6 fe80::1%lo ::1 1 2\r\n", "not an IPv6 address"),
        (b"PROXY TCP6 ::\xff ::1 1 2\r\n", "not an IPv6 address"),
        (b"PROXY TCP4 192.0.2.1\0 192.0.2.2 1 2\r\n", "not an IPv4 address"),
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n", "b'01' is not a port"),
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 65536\r\n", "b'65536' is not a port"),
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 +1 2\r\n", "b'+1' is not a port"),
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 \xb2\r\n", "not a port"),
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n", "must end with CRLF"),
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\rx", "must end with CRLF"),
        (b"PROXY UNKNOWN \n\r\n", "must end with CRLF"),
        (b"PROXY UNKNOWN" + b" " * 92 + b"x\r\n", "must end with CRLF within 107"),
        (b"PROXY UNKNOWN" + b" " * 94, "no end within 107"),
    ],
)
def test_what_is_malformed_in_version_1_is_named(line, words):
    assert words in refusal(line)


# -- pieces, and whatever else may arrive


VALID = [
    b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n",
    b"PROXY UNKNOWN\r\n",
    v2(IPV4 + tlv(2, b"example.test") + tlv(4, bytes(40))),
    v2(b"", command=0x20, family=0),
    v2(bytes(216), family=0x31),
]


@pytest.mark.parametrize("header", VALID)
@given(st.data())
def test_every_split_parses_alike_and_takes_nothing_of_the_next_layer(header, data):
    stream = header + data.draw(st.binary(max_size=200) | st.sampled_from([header, b"\x16\x03\x01", b"\r\n"]))
    whole, parser = ProxyParser(), ProxyParser()
    cuts = sorted(data.draw(st.sets(st.integers(0, len(stream)))) | {len(stream)})
    begin, result = 0, None
    while result is None:
        end = cuts.pop(0)
        result = parser.feed(stream[begin:end])
        begin = end
    assert result == whole.feed(stream)
    assert parser.rest + stream[begin:] == whole.rest == stream[len(header) :]


@pytest.mark.parametrize("header", VALID)
def test_a_header_byte_by_byte(header):
    parser = ProxyParser()
    assert parser.feed(b"") is None
    assert all(parser.feed(header[i : i + 1]) is None for i in range(len(header) - 1))
    assert parser.feed(header[-1:]) == parse(header)


ANYTHING = st.binary(max_size=200)


@given(
    st.lists(ANYTHING, min_size=1)
    | st.lists(ANYTHING, min_size=1).map(lambda rest: [SIGNATURE, b"\x21", *rest])
    | ANYTHING.map(lambda packed: [v2(packed)])
    | ANYTHING.map(lambda packed: [v2(IPV4 + packed)])
    | ANYTHING.map(lambda packed: [v2(IPV4 + tlv(0x20, packed))])
    | st.lists(ANYTHING.map(lambda text: b" " + text + b"\r\n"), min_size=1).map(lambda rest: [b"PROXY TCP6", *rest])
)
@example([b"PROXY UNKNOWN\r", b"\n"])
def test_arbitrary_bytes_raise_nothing_but_a_refusal_in_one_line(pieces):
    parser, received = ProxyParser(), b""
    for piece in pieces:
        received += piece
        refused: ProxyError | None = None
        try:
            header = parser.feed(piece)
        except ProxyError as error:
            refused = error
        if refused is not None:
            assert str(refused).isprintable()
            return
        if header is not None:
            assert received.endswith(parser.rest)
            assert header.ssl is None or header.ssl.verify >= 0
            return
        assert len(received) < MAX_BYTES


@pytest.mark.parametrize(
    "first", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\0", b"Q", b"\r\n\r\n\0\r\nquit\n", b"PRI"]
)
def test_another_protocol_is_refused_as_soon_as_it_shows(first):
    assert "expected a PROXY header, got " in refusal(first)


# -- what the client sends


@given(st.tuples(V4, V4) | st.tuples(V6, V6), st.sampled_from([encode_v1, encode_v2]))
def test_what_the_client_encodes_is_parsed(addresses, encode):
    header = parse(encode(*addresses))
    assert header.local is False
    assert (header.source, header.destination) == tuple((_canonical(host), port) for host, port in addresses)


def _canonical(host: str) -> str:
    header = parse(f"PROXY TCP{6 if ':' in host else 4} {host} {host} 1 1\r\n".encode())
    assert isinstance(header.source, tuple)
    return header.source[0]
