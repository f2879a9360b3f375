"""Rates and amounts: the texts that stand for them, the values, and the texts that they become again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echoserver.config import Amount, Rate


@pytest.mark.parametrize(
    ("text", "count", "of_bytes"),
    [
        ("100/s", 100, False),
        ("1000000000000/s", 10**12, False),
        ("1B/s", 1, True),
        ("64kB/s", 64_000, True),
        ("64KiB/s", 65_536, True),
        ("1MB/s", 1_000_000, True),
        ("1MiB/s", 1_048_576, True),
        ("1GiB/s", 1_073_741_824, True),
        ("1000GB/s", 10**12, True),
    ],
)
def test_a_rate_and_an_amount_are_read_and_shown(text, count, of_bytes):
    assert Rate.parse(text) == Rate(count, of_bytes)
    assert str(Rate(count, of_bytes)) == text
    amount = text.removesuffix("/s")
    assert Amount.parse(amount) == Amount(count, of_bytes)
    assert str(Amount(count, of_bytes)) == amount


@pytest.mark.parametrize("kind", [Rate, Amount])
def test_off_has_no_unit(kind):
    assert kind.parse("0") == kind(0, of_bytes=False)
    assert str(kind(0, of_bytes=False)) == "0"
    with pytest.raises(ValueError, match="of_bytes = True: must be a bool, and False if the count is 0"):
        kind(0, of_bytes=True)


def test_a_rate_is_not_an_amount():
    assert Rate(1, of_bytes=True) != Amount(1, of_bytes=True)


@pytest.mark.parametrize(
    "text", ["", "/s", "100", "0/s", "0B/s", "1.5/s", "-1/s", "1 /s", "64kb/s", "1001GB/s", "1/h", "1000000000001/s"]
)
def test_another_text_is_not_a_rate(text):
    with pytest.raises(ValueError):  # noqa: PT011 - the kind of value says what is allowed
        Rate.parse(text)


@pytest.mark.parametrize("text", ["", "100/s", "0B", "1.5", "-1", "64kb", "1001GB", "1e3", "٣"])
def test_another_text_is_not_an_amount(text):
    with pytest.raises(ValueError):  # noqa: PT011 - as above
        Amount.parse(text)


@pytest.mark.parametrize("kind", [Rate, Amount])
@pytest.mark.parametrize("count", [-1, 10**12 + 1, 1.0, True, None])
def test_a_count_outside_of_what_is_allowed_is_refused(kind, count):
    with pytest.raises(ValueError, match=r"^count = .*: must be an integer from 0 to 1000000000000$"):
        kind(count, of_bytes=False)


@given(kind=st.sampled_from([Rate, Amount]), count=st.integers(1, 10**12), of_bytes=st.booleans())
def test_what_is_shown_reads_back_as_the_same(kind, count, of_bytes):
    value = kind(count, of_bytes)
    assert kind.parse(str(value)) == value
