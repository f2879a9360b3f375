"""The option `listen`: its forms, and what it can't be combined with."""

from __future__ import annotations

import pytest

from echoserver import ServerConfig
from echoserver.config import load_config
from echoserver.errors import ConfigError
from echoserver.net.endpoint import TcpEndpoint, UnixEndpoint
from server.config_kit import write_file

TWO = (TcpEndpoint("::", 9000), UnixEndpoint("/run/echo.sock", 0o600))
TEXTS = ["tcp://[::]:9000", "unix:/run/echo.sock?mode=0600"]


def test_several_endpoints_are_given_in_each_way(tmp_path):
    path = write_file(tmp_path, {"listen": TEXTS})
    assert load_config({"listen": TEXTS}, {}).config.endpoints == TWO
    assert load_config({}, {"ECHOSERVER_LISTEN": "\n".join(TEXTS)}).config.endpoints == TWO
    assert load_config({"config": path}, {}).config.endpoints == TWO
    assert ServerConfig(listen=TWO).endpoints == ServerConfig(listen=TEXTS).endpoints == TWO


def test_one_endpoint_in_the_environment_is_no_service_link_of_kubernetes():
    assert load_config({}, {"ECHOSERVER_LISTEN": "tcp://0.0.0.0:9000"}).config.listen == (TcpEndpoint("0.0.0.0", 9000),)
    links = {"ECHOSERVER_PORT": "tcp://10.0.0.7:9000", "ECHOSERVER_LISTEN_PORT": "tcp://10.0.0.8:9000"}
    assert load_config({}, links).config == ServerConfig()


def test_without_it_the_host_and_the_port_are_listened_on():
    assert ServerConfig(host="::1", port=7).endpoints == (TcpEndpoint("::1", 7),)
    assert ServerConfig(listen=[], port=7).endpoints == (TcpEndpoint("127.0.0.1", 7),)


@pytest.mark.parametrize(("name", "value"), [("host", "127.0.0.1"), ("host", "::"), ("port", "9000"), ("port", "1")])
@pytest.mark.parametrize("listen", ["flag", "variable", "file"])
@pytest.mark.parametrize("other", ["flag", "variable", "file"])
def test_a_host_or_a_port_cannot_be_combined_with_it(tmp_path, name, value, listen, other):
    """Also where the value is the default."""
    flags, variables, table = {}, {}, {}
    path = str(tmp_path / "echoserver.toml")
    places = {
        "flag": (flags, "--{}", lambda text: text),
        "variable": (variables, "ECHOSERVER_{}", lambda text: text),
        "file": (table, f"{{}} ({path})", lambda text: int(text) if text.isdigit() else text),
    }

    def put(where: str, key: str, text: str) -> str:
        target, shown, read = places[where]
        made = [text] if key == "listen" and where == "file" else read(text)
        target[f"ECHOSERVER_{key.upper()}" if where == "variable" else key] = made
        return shown.format(key.upper() if where == "variable" else key)

    origin, origin_of_other = put(listen, "listen", "unix:/run/echo.sock"), put(other, name, value)
    if table:
        flags["config"] = write_file(tmp_path, table)
    with pytest.raises(ConfigError) as refused:
        load_config(flags, variables)
    assert str(refused.value) == f"{origin}: can't be combined with {origin_of_other}; write that as tcp://HOST:PORT"


@pytest.mark.parametrize(("name", "value"), [("host", "::"), ("port", 1)])
def test_nor_in_python(name, value):
    with pytest.raises(ConfigError) as refused:
        ServerConfig(listen=["unix:/run/echo.sock"], **{name: value})
    assert str(refused.value) == f"listen: can't be combined with {name}; write that as tcp://HOST:PORT"


@pytest.mark.parametrize(
    "same",
    [
        ["fd:3", "fd:03"],
        ["unix:/run/a", "unix:/run/a?mode=0600"],
        ["tcp://localhost:1", "tcp://LOCALHOST:1"],
        ["systemd:a", "systemd:b", "systemd:a"],
    ],
)
def test_an_endpoint_is_named_once(same):
    with pytest.raises(ConfigError) as refused:
        load_config({"listen": same}, {})
    assert str(refused.value).endswith(" is refused: must be endpoints that differ from one another")


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("unix:/" + "x" * 107, "unix:/PATH with a path of at most 107 bytes"),
        ("unix:@echo", "unix:/PATH; an abstract name has no permissions, so any local user could connect"),
        ("unix:/a?mode=rw", "unix:/PATH?mode=0660, with the permissions in octal"),
        ("tcp://::1:9000", "tcp://HOST:PORT with a port from 0 to 65535, and an IPv6 address in brackets"),
    ],
)
def test_a_form_that_is_almost_right_is_refused_with_the_right_one(text, right):
    with pytest.raises(ConfigError) as refused:
        load_config({"listen": [text]}, {})
    assert str(refused.value).startswith("--listen: ")
    assert str(refused.value).endswith(f" is refused: must be {right} (in a file, a list)")
