"""The configuration: four origins with one order of precedence, and a config that can't change.

The tests go over the options as they are declared, so a new option is tested without being listed here.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from ipaddress import ip_network

import pytest

from echoserver import ServerConfig
from echoserver.config import Amount, Rate, default_of, flag_of, load_config
from echoserver.errors import ConfigError
from server.config_kit import OPTIONS, as_toml, two_texts, variable_of, write_file


@pytest.fixture
def file(tmp_path):
    """Write a configuration file: `file(content)` returns its path."""
    return partial(write_file, tmp_path)


# -- precedence and origins


def test_without_any_origin_every_option_has_its_default():
    loaded = load_config({}, {})
    assert loaded.config == ServerConfig()
    assert loaded.origins == dict.fromkeys(OPTIONS, "default")


@pytest.mark.parametrize("name", OPTIONS)
def test_the_file_beats_the_default(name, file):
    kind = OPTIONS[name].kind
    text = next(text for text in two_texts(kind) if kind.parse(text) != default_of(name))
    path = file({name: as_toml(kind, text)})
    loaded = load_config({"config": path}, {})
    assert getattr(loaded.config, name) == kind.parse(text)
    assert loaded.origins == {**dict.fromkeys(OPTIONS, "default"), name: path}


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("order", [1, -1])
def test_the_environment_beats_the_file(name, order, file):
    kind = OPTIONS[name].kind
    lower, higher = two_texts(kind)[::order]
    path = file({name: as_toml(kind, lower)})
    loaded = load_config({"config": path}, {variable_of(name): higher})
    assert getattr(loaded.config, name) == kind.parse(higher)
    assert loaded.origins[name] == variable_of(name)


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("order", [1, -1])
def test_a_flag_beats_the_environment(name, order):
    kind = OPTIONS[name].kind
    lower, higher = two_texts(kind)[::order]
    loaded = load_config({name: higher}, {variable_of(name): lower})
    assert getattr(loaded.config, name) == kind.parse(higher)
    assert loaded.origins[name] == flag_of(name)


def test_all_origins_together(file):
    path = file({"port": 1, "backlog": 1, "host": "from.file"})
    loaded = load_config({"config": path, "port": "3"}, {"ECHOSERVER_PORT": "2", "ECHOSERVER_BACKLOG": "2"})
    config = loaded.config
    assert (config.port, config.backlog, config.host, config.handler) == (3, 2, "from.file", "echo")
    assert {name: loaded.origins[name] for name in ("port", "backlog", "host", "handler")} == {
        "port": "--port",
        "backlog": "ECHOSERVER_BACKLOG",
        "host": path,
        "handler": "default",
    }


def test_the_environment_can_name_the_file(file):
    assert load_config({}, {"ECHOSERVER_CONFIG": file({"port": 1})}).config.port == 1


def test_the_file_of_the_flag_beats_that_of_the_environment(file):
    assert load_config({"config": file({"port": 1})}, {"ECHOSERVER_CONFIG": "/nowhere"}).config.port == 1


def test_an_empty_variable_counts_as_not_set():
    environment = {"ECHOSERVER_CONFIG": "", **{variable_of(name): "" for name in OPTIONS}}
    assert load_config({}, environment).config == ServerConfig()


def test_a_table_is_given_by_several_flags():
    loaded = load_config({"handler_options": ("a=1", "b=two\nlines", "c=x=y")}, {})
    assert loaded.config.handler_options == {"a": "1", "b": "two\nlines", "c": "x=y"}


def test_a_table_is_given_by_the_lines_of_a_variable():
    loaded = load_config({}, {"ECHOSERVER_HANDLER_OPTIONS": "a=1\nb=2\n"})
    assert loaded.config.handler_options == {"a": "1", "b": "2"}


def test_trusted_networks_are_given_by_several_flags():
    loaded = load_config({"trusted": ("10.0.0.0/8", "::1")}, {})
    assert loaded.config.trusted == (ip_network("10.0.0.0/8"), ip_network("::1"))


def test_trusted_networks_are_given_by_the_lines_of_a_variable():
    config = load_config({}, {"ECHOSERVER_TRUSTED": "10.0.0.0/8\n::1\n"}).config
    assert config.trusted == (ip_network("10.0.0.0/8"), ip_network("::1"))


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("rate_limit", "64kB/s", Rate(64_000, of_bytes=True)),
        ("rate_burst", "100", Amount(100, of_bytes=False)),
        ("trusted", ["10.0.0.0/8"], (ip_network("10.0.0.0/8"),)),
    ],
)
def test_python_may_give_the_text_or_the_value(name, text, value):
    for given in (text, value):
        assert getattr(ServerConfig(**{name: given}), name) == value


# -- where an error found later came from


@pytest.mark.parametrize(
    ("flags", "environment", "where"),
    [
        ({"port": "1"}, {}, "--port"),
        ({}, {"ECHOSERVER_PORT": "1"}, "ECHOSERVER_PORT"),
        ({}, {}, "port"),
    ],
)
def test_an_error_found_later_is_given_its_origin(flags, environment, where):
    located = load_config(flags, environment).locate(ConfigError("too low", key="port"))
    assert str(located) == f"{where}: too low"


def test_an_error_found_later_is_given_its_file(file):
    path = file({"port": 1})
    located = load_config({"config": path}, {}).locate(ConfigError("too low", key="port"))
    assert str(located) == f"port ({path}): too low"


@pytest.mark.parametrize("error", [ConfigError("no"), ConfigError("no", key="port", origin="--x")])
def test_an_error_that_knows_its_origin_or_has_none_stays(error):
    assert load_config({"port": "1"}, {}).locate(error) is error


# -- the config itself


def test_a_config_never_changes():
    given_options = {"encoding": "ascii"}
    config = ServerConfig(handler="upper", handler_options=given_options)
    given_options["encoding"] = "changed"
    assert config.handler_options == {"encoding": "ascii"}
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.port = 1


def test_configs_take_no_positional_arguments():
    with pytest.raises(TypeError):
        ServerConfig("127.0.0.1")


@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_is_explained(name):
    option = OPTIONS[name]
    for text in (option.help, option.why):
        assert text[0].isupper() or text.startswith(("`", "fifo", "debug"))
        assert text.endswith(".")
    assert option.kind.allowed
    assert option.kind.metavar
