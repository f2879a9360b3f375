"""What the configuration refuses, and the one line that says so."""

from __future__ import annotations

import re
from functools import partial

import pytest

from echoserver import ServerConfig
from echoserver.config import default_of, flag_of, load_config
from echoserver.errors import ConfigError, shown
from server.config_kit import (
    OPTIONS,
    assert_one_line,
    refusal_of,
    refused_part,
    toml_allows,
    variable_of,
    write_file,
    wrong_texts,
    wrong_values,
)


@pytest.fixture
def file(tmp_path):
    """Write a configuration file: `file(content)` returns its path."""
    return partial(write_file, tmp_path)


@pytest.mark.parametrize("name", OPTIONS)
def test_a_wrong_text_is_refused_by_name(name):
    kind = OPTIONS[name].kind
    for text in wrong_texts(kind):
        for flags, environment, origin in (
            ({name: text}, {}, flag_of(name)),
            ({}, {variable_of(name): text}, variable_of(name)),
        ):
            with pytest.raises(ConfigError) as refusal:
                load_config(flags, environment)
            assert str(refusal.value) == f"{origin}: {refusal_of(kind, text)}"
            assert (refusal.value.key, refusal.value.origin) == (name, origin)


@pytest.mark.parametrize("name", [name for name in OPTIONS if name != "handler_options"])
def test_an_empty_flag_is_refused_by_name(name):
    with pytest.raises(ConfigError, match=f"^{flag_of(name)}: '' is refused: must be "):
        load_config({name: ""}, {})


@pytest.mark.parametrize("name", OPTIONS)
def test_a_wrong_value_in_a_file_is_refused_by_name(name, file):
    kind = OPTIONS[name].kind
    for value in filter(toml_allows, wrong_values(kind)):
        path = file({name: value})
        with pytest.raises(ConfigError) as refusal:
            load_config({"config": path}, {})
        assert (
            str(refusal.value)
            == f"{name} in {path}: {shown(refused_part(kind, value))} is refused: must be {kind.allowed}"
        )


@pytest.mark.parametrize("name", OPTIONS)
def test_a_wrong_value_in_python_is_refused_by_name(name):
    kind = OPTIONS[name].kind
    nothing = [] if default_of(name) is None else [None]
    for value in [*nothing, *wrong_values(kind)]:
        with pytest.raises(ConfigError) as refusal:
            ServerConfig(**{name: value})
        assert str(refusal.value) == f"{name}: {shown(refused_part(kind, value))} is refused: must be {kind.allowed}"
        assert refusal.value.key == name


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ({"prot": 1}, r"unknown key 'prot'; did you mean 'port'\?"),
        ({"colour": 1}, r"unknown key 'colour'; there are host, port, "),
        ({"x" * 9999: 1}, r"unknown key 'x{79}\.\.\.; there are "),
        ("port = ", r"not a TOML file: Invalid value \(at "),
        ("port = 1\nport = 2", r"not a TOML file: Cannot overwrite a value \(at "),
        ("handler = 'a\nb'", r"not a TOML file: "),
        (b"host = '\xff'", r"not a TOML file: byte 8 is not UTF-8"),
        ("port = " + "9" * 5000, r"not a TOML file: Exceeds the limit"),
        ("port = " + "[" * 100_000, r"not a TOML file: "),
    ],
)
def test_a_file_that_is_wrong_as_a_whole_is_refused_with_its_path(content, problem, file):
    path = file(content)
    with pytest.raises(ConfigError, match=f"^{re.escape(path)}: {problem}") as refusal:
        load_config({"config": path}, {})
    assert_one_line(refusal.value)


@pytest.mark.parametrize(
    ("flags", "environment", "origin"),
    [
        ({"config": "/nowhere/x.toml"}, {}, "--config"),
        ({}, {"ECHOSERVER_CONFIG": "/nowhere/x.toml"}, "ECHOSERVER_CONFIG"),
    ],
)
def test_a_missing_file_is_refused_with_the_origin_of_its_name(flags, environment, origin):
    with pytest.raises(ConfigError) as refusal:
        load_config(flags, environment)
    assert (
        str(refusal.value) == f"{origin}: can't read '/nowhere/x.toml': No such file or directory; must be a TOML file"
    )


def test_a_directory_is_no_file(tmp_path):
    with pytest.raises(ConfigError, match=r"^--config: can't read .*: Is a directory; "):
        load_config({"config": str(tmp_path)}, {})


@pytest.mark.parametrize(
    ("variable", "advice"),
    [("ECHOSERVER_PROT", "did you mean 'port'?"), ("ECHOSERVER_COLOUR", "there are config, host, port, ")],
)
def test_an_unknown_variable_is_refused(variable, advice):
    with pytest.raises(ConfigError) as refusal:
        load_config({}, {variable: "1"})
    assert str(refusal.value).startswith(f"{variable}: there is no such option; {advice}")


@pytest.mark.parametrize("service", ["ECHOSERVER", "ECHOSERVER_CANARY", "ECHOSERVER_IDLE_TIMEOUT"])
def test_the_service_variables_of_kubernetes_are_ignored(service):
    links = {
        "SERVICE_HOST": "10.0.0.7",
        "SERVICE_PORT": "9000",
        "SERVICE_PORT_ECHO": "9000",
        "PORT": "tcp://10.0.0.7:9000",
        "PORT_9000_TCP": "tcp://10.0.0.7:9000",
        "PORT_9000_TCP_PROTO": "tcp",
        "PORT_9000_TCP_PORT": "9000",
        "PORT_9000_TCP_ADDR": "10.0.0.7",
        "PORT_9000_UDP_PROTO": "udp",
    }
    loaded = load_config({}, {f"{service}_{name}": value for name, value in links.items()})
    assert loaded.config == ServerConfig()


def test_the_variables_of_other_programs_are_ignored():
    assert load_config({}, {"ECHOSERVERX": "1", "PORT": "1", "XECHOSERVER_PORT": "1"}).config == ServerConfig()


# -- values that conflict


@pytest.mark.parametrize(
    ("rate", "burst", "right"),
    [("100/s", "64kB", "messages, such as 100"), ("64kB/s", "100", "bytes, such as 64kB")],
)
def test_a_burst_in_another_unit_than_the_rate_is_refused(rate, burst, right):
    problem = f"'{burst}' is refused: must be {right}, since rate_limit is {rate}"
    with pytest.raises(ConfigError) as refusal:
        ServerConfig(rate_limit=rate, rate_burst=burst)
    assert str(refusal.value) == f"rate_burst: {problem}"
    with pytest.raises(ConfigError) as refusal:
        load_config({"rate_limit": rate}, {"ECHOSERVER_RATE_BURST": burst})
    assert str(refusal.value) == f"ECHOSERVER_RATE_BURST: {problem}"


@pytest.mark.parametrize("config", [{"rate_burst": "100"}, {"rate_limit": "1/s"}, {"rate_limit": "1B/s"}])
def test_a_rate_or_a_burst_alone_is_allowed(config):
    ServerConfig(**config)
