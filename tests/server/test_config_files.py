"""The configuration files of the project, and arbitrary ones: each is accepted or refused, and nothing else happens."""

from __future__ import annotations

import tomllib

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from echoserver import ServerConfig
from echoserver.config import default_of, load_config
from echoserver.errors import ConfigError
from server.config_kit import EXAMPLE, OPTIONS, assert_one_line, two_texts, variable_of
from support import ROOT

# -- the example file


def comments_and_lines(text: str) -> list[tuple[str, str]]:
    """Return each line that is not a comment, with the comment above it as one line of text."""
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


# -- arbitrary content


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
