"""TARGET: what is accepted, and how the rest is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echoclient.target import Target, parse_target
from echoclient.tls_settings import TlsSettings

HOSTS = st.from_regex(r"[a-z]([a-z0-9-]{0,20}[a-z0-9])?(\.[a-z][a-z0-9]{1,8}){0,3}", fullmatch=True)
PORTS = st.integers(1, 65535)


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("9001", "127.0.0.1", 9001),
        ("localhost", "localhost", 9000),
        ("localhost:7", "localhost", 7),
        ("192.0.2.1", "192.0.2.1", 9000),
        ("192.0.2.1:65535", "192.0.2.1", 65535),
        ("[::1]:7", "::1", 7),
        ("[::1]", "::1", 9000),
        ("::1", "::1", 9000),
        ("2001:db8::7", "2001:db8::7", 9000),
        ("fe80::1%eth0", "fe80::1%eth0", 9000),
        ("[fe80::1%eth0]:7", "fe80::1%eth0", 7),
        ("münchen.example:7", "münchen.example", 7),
    ],
)
def test_each_form_means_a_host_and_a_port(text, host, port):
    assert parse_target(text) == Target(host, port)
    default = port if port != 9000 or text.endswith("9000") else 9443
    assert parse_target(f"tls://{text}") == Target(host, default, tls=TlsSettings())


def test_a_path_is_a_unix_socket():
    assert parse_target("unix:/run/echo.sock") == Target(path="/run/echo.sock")
    assert parse_target("unix:/a b/é") == Target(path="/a b/é")
    assert parse_target("unix:9000") == Target("unix", 9000)


@given(host=HOSTS | st.ip_addresses().map(str), port=PORTS)
def test_what_is_shown_can_be_typed(host, port):
    for target in (Target(host, port), Target(host, port, tls=TlsSettings())):
        assert parse_target(str(target)) == target


@given(path=st.from_regex(r"/[a-z0-9. ]([a-z0-9./ -]){,90}", fullmatch=True))
def test_what_is_shown_of_a_path_can_be_typed(path):
    target = Target(path=path)
    assert parse_target(str(target)) == target


@given(st.text())
def test_anything_is_either_a_target_or_refused_in_one_line(text):
    refusal = ""
    try:
        target = parse_target(text)
    except ValueError as error:
        refusal = str(error)
    assert len(refusal.splitlines()) == 1 if refusal else target.host and 1 <= target.port <= 65535


@given(st.text())
def test_anything_after_a_prefix_is_either_a_target_or_refused_in_one_line(text):
    for prefix in ("tls://", "unix:"):
        refusal = "one line"
        try:
            parse_target(prefix + text)
        except ValueError as error:
            refusal = str(error)
        assert len(refusal.splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "names no host"),
        (":9000", "names no host"),
        ("0", "not a port"),
        ("65536", "not a port"),
        ("9" * 5000, "not a port"),
        ("localhost:", "not a port"),
        ("localhost:http", "not a port"),
        ("localhost:-1", "not a port"),
        ("localhost:٣", "not a port"),
        ("[::1", "in brackets"),
        ("[::1]9000", "in brackets"),
        ("[localhost]:9000", "not an IPv6 address"),
        ("1:2:3", "not an IPv6 address"),
        ("tcp://localhost:9000", "URL"),
        ("TLS://localhost:9000", "URL"),
        ("https://localhost", "URL"),
        ("tls://", "names no host"),
        ("tls://:9443", "names no host"),
        ("tls://localhost:0", "not a port"),
        ("tls://localhost/", "not allowed in a host name"),
        ("tls://[::1", r"write tls://\[::1\]:9443"),
        ("tls://unix:/run/echo.sock", "not a port"),
        ("unix:", "not a path from the root"),
        ("unix:echo.sock", "not a path from the root"),
        ("unix://run/echo.sock", "not a path from the root"),
        ("unix:/run/\x1b[2J", "not allowed in a path"),
        ("unix:/" + 107 * "x", "longer than the 107 bytes"),
        ("unix:/" + 54 * "é", "longer than the 107 bytes"),
        ("local host", "not allowed in a host name"),
        ("local\x1b[2Jhost", "not allowed in a host name"),
        ("user@host", "not allowed in a host name"),
    ],
)
def test_a_refusal_names_the_text_and_what_is_wrong(text, word):
    with pytest.raises(ValueError, match=word) as refusal:
        parse_target(text)
    assert repr(text) in str(refusal.value)
