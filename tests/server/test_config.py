"""The configuration: four origins, one order of precedence, and a refusal by name for whatever isn't allowed.

The tests go over the options as they are declared, so that a new one is held to the same without being listed here.
"""

from __future__ import annotations

import dataclasses
import re
import tomllib

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from echoserver import ServerConfig
from echoserver.config.schema import default_of, flag_of, load_config, options
from echoserver.config.values import (
    Amount,
    Choice,
    Duration,
    HandlerName,
    Kind,
    Networks,
    Rate,
    Table,
    Text,
    Whole,
    shown,
)
from echoserver.errors import ConfigError
from support import ROOT

OPTIONS = dict(options())
EXAMPLE = ROOT / "config" / "echoserver.toml"


def variable_of(name: str) -> str:
    return "ECHOSERVER_" + name.upper()


def two_texts(kind: Kind) -> tuple[str, str]:
    """Return two texts that the kind allows, which stand for different values."""
    match kind:
        case Whole():
            return str(kind.high), str(kind.low)
        case Choice():
            return kind.words[0], kind.words[-1]
        case Duration():
            return "1234ms", "7m"
        case Table():
            return "first=1", "second=2"
        case Networks():
            return "10.0.0.0/8\n::1", "192.0.2.7"
        case Rate():  # before its base class
            return "100/s", "1MiB/s"
        case Amount():
            return "100", "64kB"
        case Text() | HandlerName():
            return "first", "second"
    raise AssertionError(f"say here what a {type(kind).__name__} allows")


def as_toml(kind: Kind, text: str) -> object:
    """Return what stands in a file for the text of a flag."""
    return kind.show(kind.parse(text))


def wrong_texts(kind: Kind) -> list[str]:
    match kind:
        case Whole():
            return [str(kind.low - 1), str(kind.high + 1), "many", "1.5", "0x10", "1e3", " 1", "-"]
        case Choice():
            return ["nonsense", kind.words[0].upper(), kind.words[0] + " "]
        case Duration():
            return ["30", "soon", "-1s", "1d", "1001h", "0.1ms", "1 s"]
        case Table():
            return ["encoding", "=utf-8"]
        case Networks():
            return ["localhost", "10.0.0.1/8", "10.0.0.0/33", "10.0.0.1 ", "10.0.0.1\n\n", "1", "::1/129"]
        case Rate():
            return ["100", "/s", "0/s", "1.5/s", "-1/s", "64kb/s", "64 kB/s", "100/m", "1001GB/s", "٣/s", "0kB"]
        case Amount():
            return ["100/s", "1.5", "-1", "64kb", "64 kB", "kB", "1001GB", "0B", "1e3"]
        case Text() | HandlerName():
            return ["two\nlines", "\x1b[2J", "\x7f"]
    raise AssertionError(f"say here what a {type(kind).__name__} refuses")


def wrong_values(kind: Kind) -> list[object]:
    """Return values that neither a file nor Python may give."""
    of_other_types = [b"", [], ["x"], {"x": {"y": 1}}, -1.5, float("nan"), float("inf")]
    match kind:
        case Whole():
            return [*of_other_types, kind.low - 1, kind.high + 1, True, "1", 1.0, 10**5000]
        case Choice():
            return [*of_other_types, "", "nonsense", 1, True]
        case Duration():
            return [*of_other_types, True, False, "", "soon", -1, 10**10]
        case Table():
            return ["x=1", 1, [], b"", {"x": {"y": 1}}, {"x": [1]}]
        case Networks():
            return ["::1", b"", ["x"], [1], [["::1"]], {"::1": 1}, 1, True, 1.5, [""]]
        case Amount():  # and with it Rate
            return [*of_other_types, "", "soon", 1, True, 10**5000, "1e3/s"]
        case Text() | HandlerName():
            return [*of_other_types, "", "two\nlines", "\x1b[2J", 1, True]
    raise AssertionError(f"say here what a {type(kind).__name__} refuses")


def toml_allows(value: object) -> bool:
    return not isinstance(value, bytes) and not (isinstance(value, int) and abs(value) > 10**4000)


def assert_one_line(error: ConfigError) -> None:
    assert str(error).isprintable()


@pytest.fixture
def file(tmp_path):
    """Write a configuration file, and return its path."""

    def write(content: dict | str | bytes) -> str:
        path = tmp_path / "echoserver.toml"
        if isinstance(content, dict):
            content = tomli_w.dumps(content)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return str(path)

    return write


# -- precedence and origins


def test_without_any_origin_all_is_default():
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


def test_an_empty_variable_is_as_good_as_none():
    environment = {"ECHOSERVER_CONFIG": "", **{variable_of(name): "" for name in OPTIONS}}
    assert load_config({}, environment).config == ServerConfig()


def test_a_table_is_given_by_several_flags():
    loaded = load_config({"handler_options": ("a=1", "b=two\nlines", "c=x=y")}, {})
    assert loaded.config.handler_options == {"a": "1", "b": "two\nlines", "c": "x=y"}


def test_a_table_is_given_by_the_lines_of_a_variable():
    loaded = load_config({}, {"ECHOSERVER_HANDLER_OPTIONS": "a=1\nb=2\n"})
    assert loaded.config.handler_options == {"a": "1", "b": "2"}


# -- refusals


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
            assert str(refusal.value) == f"{origin}: {text!r} is refused: must be {kind.allowed}"
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
        assert str(refusal.value) == f"{name} in {path}: {value!r} is refused: must be {kind.allowed}"


@pytest.mark.parametrize("name", OPTIONS)
def test_a_wrong_value_in_python_is_refused_by_name(name):
    kind = OPTIONS[name].kind
    for value in [None, *wrong_values(kind)]:
        with pytest.raises(ConfigError) as refusal:
            ServerConfig(**{name: value})
        assert str(refusal.value) == f"{name}: {shown(value)} is refused: must be {kind.allowed}"
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
        (b"host = '\xff'", r"not a TOML file: byte 8 is no UTF-8"),
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
def test_a_missing_file_is_refused_with_who_named_it(flags, environment, origin):
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
def test_what_kubernetes_says_of_services_is_not_for_us(service):
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


def test_other_programs_variables_are_not_for_us():
    assert load_config({}, {"ECHOSERVERX": "1", "PORT": "1", "XECHOSERVER_PORT": "1"}).config == ServerConfig()


# -- values that don't go together


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


def test_trusted_networks_are_given_by_several_flags():
    loaded = load_config({"trusted": ("10.0.0.0/8", "::1")}, {})
    assert loaded.config.trusted == ("10.0.0.0/8", "::1")


def test_trusted_networks_are_given_by_the_lines_of_a_variable():
    assert load_config({}, {"ECHOSERVER_TRUSTED": "10.0.0.0/8\n::1\n"}).config.trusted == ("10.0.0.0/8", "::1")


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


def test_a_config_is_frozen_to_the_bottom():
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
        assert text[0].isupper() or text.startswith(("`", "fifo", "::"))
        assert text.endswith(".")
    assert option.kind.allowed
    assert option.kind.metavar


# -- the example file


def comments_and_lines(text: str) -> list[tuple[str, str]]:
    """Return each line that is no comment, with the comment above it as one line of text."""
    found, comment = [], []
    for line in text.splitlines():
        if line.startswith("#"):
            comment.append(line.removeprefix("#").strip())
        else:
            if line:
                found.append((" ".join(comment), line))
            comment = []
    return found


def test_the_example_file_has_exactly_the_defaults():
    loaded = load_config({"config": str(EXAMPLE)}, {})
    assert loaded.config == ServerConfig()
    assert set(loaded.origins.values()) == {str(EXAMPLE)}, "an option is missing"


def test_the_example_file_explains_every_option_in_order():
    expected = []
    for name, option in OPTIONS.items():
        comment = f"{option.help} {option.why} Allowed: {option.kind.allowed}."
        default = option.kind.show(default_of(name))
        line = f"[{name}]" if isinstance(default, dict) else tomli_w.dumps({name: default}).strip()
        expected.append((comment, line))
    # A table has to come after the plain values.
    expected.sort(key=lambda entry: entry[1].startswith("["))
    assert comments_and_lines(EXAMPLE.read_text()) == expected


def test_the_container_file_is_allowed():
    config = load_config({"config": str(ROOT / "config" / "docker.toml")}, {}).config
    assert (config.host, config.port, config.log_format) == ("0.0.0.0", 9000, "json")
    assert 0 < config.drain_timeout < 10, "docker stop kills after ten seconds"


# -- fuzzing: whatever stands in the file, it is taken or refused, and nothing else happens


@pytest.fixture(scope="module")
def fuzz_file(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz") / "fuzz.toml"


def check_taken_or_refused(path, content: bytes) -> None:
    path.write_bytes(content)
    try:
        config = load_config({"config": str(path)}, {}).config
    except ConfigError as error:
        assert_one_line(error)
    else:
        for name, value in tomllib.loads(content.decode()).items():
            assert OPTIONS[name].kind.load(value) == getattr(config, name)


@given(content=st.binary() | st.text().map(str.encode))
def test_arbitrary_bytes_are_taken_or_refused(fuzz_file, content):
    check_taken_or_refused(fuzz_file, content)


toml_values = st.recursive(
    st.text() | st.integers() | st.floats() | st.booleans() | st.dates() | st.times() | st.datetimes(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
likely_values = st.sampled_from([text for option in OPTIONS.values() for text in two_texts(option.kind)])


@given(
    table=st.dictionaries(
        st.sampled_from(list(OPTIONS)) | st.text(),
        toml_values | likely_values | st.integers(0, 70_000),
        max_size=4,
    )
)
def test_arbitrary_tables_are_taken_or_refused(fuzz_file, table):
    check_taken_or_refused(fuzz_file, tomli_w.dumps(table).encode("utf-8", "replace"))


@given(data=st.data())
def test_the_example_with_something_changed_is_taken_or_refused(fuzz_file, data):
    example = EXAMPLE.read_bytes()
    start = data.draw(st.integers(0, len(example)))
    end = data.draw(st.integers(start, min(start + 20, len(example))))
    patch = data.draw(st.binary(max_size=5) | st.sampled_from([b"\n", b"'", b'"', b"[", b"=", b"0", b"_"]))
    check_taken_or_refused(fuzz_file, example[:start] + patch + example[end:])


@given(
    flags=st.dictionaries(st.sampled_from(list(OPTIONS)), st.text() | likely_values),
    environment=st.dictionaries(st.sampled_from(list(OPTIONS)).map(variable_of), st.text() | likely_values),
)
def test_arbitrary_texts_are_taken_or_refused(flags, environment):
    try:
        load_config(flags, environment)
    except ConfigError as error:
        assert_one_line(error)
