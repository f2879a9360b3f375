"""The kinds of value: what each accepts from a flag, a file and Python, and how it shows the value again."""

from __future__ import annotations

import math
import tomllib
from ipaddress import ip_network

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from echoserver import Handler
from echoserver.config.addresses import Networks
from echoserver.config.values import (
    AmountKind,
    Choice,
    Duration,
    HandlerName,
    RateKind,
    Table,
    Text,
    Whole,
)
from echoserver.errors import shown
from echoserver.rates import Amount, Rate
from server.config_kit import refused_part


class Anything(Handler):
    pass


def function(data: bytes) -> bytes:
    return data


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (Text("HOST"), "::1", "::1"),
        (Text("HOST"), "bücher.example", "bücher.example"),
        (Choice("wait", "reject"), "reject", "reject"),
        (Whole(0, 65535), "0", 0),
        (Whole(0, 65535), "65535", 65535),
        (Whole(-5, 5), "-5", -5),
        (Duration(), "500ms", 0.5),
        (Duration(), "0", 0.0),
        (Duration(), "1000h", 3_600_000.0),
        (HandlerName(), "package.module:name", "package.module:name"),
        (RateKind(), "0", Rate(0, of_bytes=False)),
        (RateKind(), "1/s", Rate(1, of_bytes=False)),
        (RateKind(), "64KiB/s", Rate(65_536, of_bytes=True)),
        (AmountKind(), "0", Amount(0, of_bytes=False)),
        (AmountKind(), "12", Amount(12, of_bytes=False)),
        (AmountKind(), "1MB", Amount(1_000_000, of_bytes=True)),
        (Networks(), "::1", (ip_network("::1"),)),
        (Networks(), "10.0.0.0/8\n192.0.2.7", (ip_network("10.0.0.0/8"), ip_network("192.0.2.7"))),
        (Table(), "a=1", {"a": "1"}),
        (Table(), "a=1=2\nb=", {"a": "1=2", "b": ""}),
        (Table(), "a=1\n\nb=2\n", {"a": "1", "b": "2"}),
    ],
)
def test_a_text_becomes_a_value(kind, text, value):
    assert kind.parse(text) == value


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (Text("HOST"), ""),
        (Text("HOST"), "a\nb"),
        (Text("HOST"), "a\x1b[31m"),
        (Text("HOST"), "a\0"),
        (Choice("wait", "reject"), ""),
        (Choice("wait", "reject"), "Wait"),
        (Whole(0, 65535), ""),
        (Whole(0, 65535), "-1"),
        (Whole(0, 65535), "65536"),
        (Whole(0, 65535), "9 "),
        (Whole(0, 65535), "1_0"),
        (Whole(0, 65535), "٣"),
        (Whole(0, 65535), "²"),
        (Whole(0, 65535), "1.0"),
        (Whole(0, 65535), "--1"),
        (Whole(0, 65535), "9" * 5000),
        (Duration(), ""),
        (Duration(), "30"),
        (Duration(), "0.5ms"),
        (Duration(), "1001h"),
        (Duration(), "-1s"),
        (HandlerName(), ""),
        (HandlerName(), "a\nb"),
        (Table(), "a"),
        (Table(), "=1"),
    ],
)
def test_another_text_is_refused_with_what_is_allowed(kind, text):
    with pytest.raises(ValueError) as refusal:  # noqa: PT011 - the text is compared whole
        kind.parse(text)
    assert str(refusal.value) == kind.allowed


@pytest.mark.parametrize(
    ("kind", "value", "checked"),
    [
        (Duration(), 30, 30.0),
        (Duration(), 0, 0.0),
        (Duration(), 0.001, 0.001),
        (HandlerName(), Anything, Anything),
        (HandlerName(), function, function),
        (Table(), {"text": "a\nb", "number": 1.5, "flag": True}, {"text": "a\nb", "number": 1.5, "flag": True}),
    ],
)
def test_python_gives_values_as_they_are(kind, value, checked):
    assert kind.check(value) == checked


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Text("HOST"), b"127.0.0.1"),
        (Text("HOST"), None),
        (Choice("wait"), 1),
        (Whole(0, 1), True),
        (Whole(0, 1), 1.0),
        (Whole(0, 1), "1"),
        (Duration(), "30s"),
        (Duration(), True),
        (Duration(), -1),
        (Duration(), 0.0009),
        (Duration(), math.inf),
        (Duration(), math.nan),
        (Duration(), 3_600_001),
        (HandlerName(), None),
        (HandlerName(), 5),
        (Networks(), "::1"),
        (Networks(), [b"\0\0\0\0"]),
        (Networks(), {"::1"}),
        (RateKind(), 100),
        (RateKind(), None),
        (RateKind(), Amount(1, of_bytes=False)),
        (AmountKind(), Rate(1, of_bytes=False)),
        (AmountKind(), 1.0),
        (Networks(), [1]),
        (Table(), None),
        (Table(), [("a", "b")]),
        (Table(), {1: "b"}),
        (Table(), {"a": None}),
        (Table(), {"a": {"b": "c"}}),
    ],
)
def test_python_values_of_another_kind_are_refused(kind, value):
    with pytest.raises(ValueError) as refusal:  # noqa: PT011 - the text is compared whole
        kind.check(value)
    # Of several values, the one that is wrong is named.
    refused = "" if refused_part(kind, value) is value else f"{shown(refused_part(kind, value))} is refused: must be "
    assert str(refusal.value) == f"{refused}{kind.allowed}"


@pytest.mark.parametrize("value", [30, 0.0, 1.5, False, "", "soon", [], {}])
def test_a_duration_in_a_file_has_a_unit(value):
    with pytest.raises(ValueError) as refusal:  # noqa: PT011 - the text is compared whole
        Duration().load(value)
    assert str(refusal.value) == Duration.allowed


@pytest.mark.parametrize("kind", [RateKind(), AmountKind()])
def test_an_amount_of_zero_in_a_file_may_be_a_number(kind):
    assert kind.load(0) == kind.load("0") == kind.check("0")
    assert kind.load(0).count == kind.show(kind.load(0)) == 0


def test_a_duration_of_zero_in_a_file_needs_no_unit():
    assert Duration().load(0) == Duration().load("0") == 0.0


@pytest.mark.parametrize("value", [Anything, function, 1, ""])
def test_a_handler_in_a_file_is_a_name(value):
    with pytest.raises(ValueError) as refusal:  # noqa: PT011 - the text is compared whole
        HandlerName().load(value)
    assert str(refusal.value) == HandlerName.allowed


printable = st.text(st.characters(categories=("L", "N", "P", "S")), min_size=1)


@given(
    st.one_of(
        st.tuples(st.just(Text("HOST")), printable),
        st.tuples(st.just(Choice("wait", "reject")), st.sampled_from(["wait", "reject"])),
        st.tuples(st.just(Whole(-10, 10**6)), st.integers(-10, 10**6)),
        st.tuples(st.just(Duration()), st.just(0.0) | st.integers(1, 3_600_000_000).map(lambda n: n / 1000)),
        st.tuples(
            st.just(RateKind()),
            st.just(Rate(0, of_bytes=False)) | st.builds(Rate, st.integers(1, 10**12), st.booleans()),
        ),
        st.tuples(st.just(Networks()), st.lists(st.ip_addresses().map(ip_network)).map(tuple)),
        st.tuples(
            st.just(Table()),
            st.dictionaries(st.text(), st.text() | st.booleans() | st.integers(-(2**63), 2**63 - 1)),
        ),
    )
)
def test_what_is_shown_reads_back_as_the_same(kind_and_value):
    kind, value = kind_and_value
    line = tomli_w.dumps({"option": kind.show(value)})
    assert kind.load(tomllib.loads(line)["option"]) == value


@pytest.mark.parametrize(
    ("text", "shown_as"),
    [("192.0.2.7", "192.0.2.7"), ("::1", "::1"), ("10.0.0.0/8", "10.0.0.0/8"), ("2001:db8::/32", "2001:db8::/32")],
)
def test_an_address_is_shown_as_an_address(text, shown_as):
    assert Networks().show(Networks().parse(text)) == [shown_as]


def test_a_handler_given_in_python_is_shown_by_its_name():
    assert HandlerName().show(Anything) == "Anything"
    assert HandlerName().show(function) == "function"
    assert HandlerName().show("upper") == "upper"


@pytest.mark.parametrize(
    ("value", "text"),
    [("a\nb", r"'a\nb'"), (1, "1"), ("a" * 1000, "'" + "a" * 79 + "...")],
)
def test_a_refused_value_is_shown_on_one_short_line(value, text):
    assert shown(value) == text


def test_a_number_that_python_does_not_write_out_is_shown_too():
    assert shown(16**5000) == "this huge number"
