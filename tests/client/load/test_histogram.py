"""The histogram by itself, and compared with the Python package of HdrHistogram if that is installed."""

from __future__ import annotations

import base64
import struct
import zlib
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echoclient.load.histogram import Histogram
from echoclient.load.recorder import Series, middle_of

try:
    from hdrh.histogram import HdrHistogram
except ImportError:
    HdrHistogram = None

# The library is a compiled extension. `KNOWN` holds what it encodes, for machines on which it can't be installed.
library = pytest.mark.skipif(
    HdrHistogram is None, reason="compares with the package hdrhistogram, which needs a compiler where it has no wheel"
)
DAY = 86_400_000_000_000
# From 0 to beyond the range, and every number of bits in between.
BUCKETS = st.dictionaries(
    st.floats(0, 200_000).map(lambda seconds: bucket_of(seconds)) | st.floats(0, 1e-5).map(lambda s: bucket_of(s)),
    st.integers(1, 1 << 40) | st.integers(1, 3),
    min_size=1,
    max_size=60,
)
# Seconds and counts, and what hdrhistogram 0.10.8 encodes them to.
KNOWN = {
    "one": ({0.001: 1}, "HISTFAAAACZ4nJNpmSzMwMDAwgABzFCakYHBb8pEfwYG+w8Qgf3rGJkAZqAFsA=="),
    "neighbours": ({1e-9: 3, 2e-9: 1, 4e-9: 2}, "HISTFAAAACZ4nJNpmSzMwMDAwgABzFCakYHBb8pEfwYG+w8QATYmRhYAYboETQ=="),
    "a run": (
        {0.0001 * step: 5000 // step for step in range(1, 40)},
        "HISTFAAAAK94nJNpmSzMwMDQxQABzFCakYHBb8pEfwYG+w8Qgc0VE/z+8neof+RskepkOyLcyXaB/ylzE28z8xTuZuZHnM3M1zia"
        "mV+wL2TqYT/IeIBtP2MD20HGU6z7GWexHmT8wHKQ8QzLfsZVQLoPSH9h3s94hzn+GHPsJubEBcyxE5jjG5jjPzHFP2GKv8EUe4Yp"
        "/hBT/A6m+HVM8cuY4ucwxU5hiu9jim9jim9gAgAIKTc1",
    ),
}


def bucket_of(seconds: float) -> int:
    series = Series()
    series.fresh.append(seconds)
    return series.fold()[0]


def buckets_of(times: dict[float, int]) -> Counter[int]:
    buckets: Counter[int] = Counter()
    for seconds, count in times.items():
        buckets[bucket_of(seconds)] += count
    return buckets


def encoded(*numbers: int, settings: tuple = (0, 3, 1, DAY, 1.0), cookie: int = 0x1C849313) -> str:
    """Return the text of a histogram whose counts are these bytes."""
    payload = zlib.compress(struct.pack(">IIIIQQd", cookie, len(numbers), *settings) + bytes(numbers))
    return base64.b64encode(struct.pack(">II", 0x1C849314, len(payload)) + payload).decode()


@pytest.mark.parametrize("name", KNOWN)
def test_the_encoding_is_the_one_other_tools_read(name):
    times, text = KNOWN[name]
    # The compressed bytes of zlib's implementations may differ, so their contents are compared.
    theirs, ours = (base64.b64decode(one) for one in (text, Histogram.of(buckets_of(times)).encode()))
    assert theirs[:4] == ours[:4]
    assert zlib.decompress(theirs[8:]) == zlib.decompress(ours[8:])
    assert Histogram.decode(text).curve() == Histogram.of(buckets_of(times)).curve()


@given(buckets=BUCKETS)
def test_a_histogram_survives_its_text(buckets):
    histogram = Histogram.of(buckets)
    again = Histogram.decode(histogram.encode())
    assert again.encode() == histogram.encode()
    assert again.curve() == histogram.curve()
    assert (again.count, again.least, again.most) == (histogram.count, histogram.least, histogram.most)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "HISTnonsense",
        "not Base64",
        base64.b64encode(struct.pack(">II", 0x1C849314, 0)).decode(),
        base64.b64encode(struct.pack(">II", 1, 0)).decode(),
        encoded(2)[:-8],
        encoded(2, cookie=1),
        encoded(2, settings=(0, 2, 1, DAY, 1.0)),
        encoded(2, settings=(0, 3, 1, DAY // 2, 1.0)),
        encoded(0x82),  # the text ends in the middle of a number
        encoded(0xFF, 0xFF, 0xFF, 0x7F, 2),  # a count after four million zeros
        encoded(),
        encoded(0, 0),
    ],
)
def test_a_text_that_is_not_a_histogram_is_refused_in_one_line(text):
    with pytest.raises(ValueError, match=r"^not an encoded HdrHistogram [^\n]*$"):
        Histogram.decode(text)


def test_a_text_that_decompresses_to_gigabytes_is_refused():
    bomb = zlib.compress(struct.pack(">IIIIQQd", 0x1C849313, 1 << 24, 0, 3, 1, DAY, 1.0) + bytes(1 << 24))
    with pytest.raises(ValueError, match="not an encoded HdrHistogram"):
        Histogram.decode(base64.b64encode(struct.pack(">II", 0x1C849314, len(bomb)) + bomb).decode())


def filled(buckets: dict[int, int]):
    """Fill the library's histogram as the client fills its own."""
    hdr = HdrHistogram(1, DAY, 3)
    for bucket, count in buckets.items():
        assert hdr.record_value(min(int(middle_of(bucket) * 1e9), DAY), count)
    return hdr


@library
@given(buckets=BUCKETS)
def test_the_text_is_the_library_s_byte_for_byte(buckets):
    assert Histogram.of(buckets).encode() == filled(buckets).encode().decode()


@library
@given(buckets=BUCKETS, wanted=st.lists(st.floats(0, 100) | st.sampled_from([0.0, 50.0, 99.9, 100.0]), max_size=8))
def test_the_figures_are_the_library_s(buckets, wanted):
    ours, theirs = Histogram.of(buckets), filled(buckets)
    assert ours.count == theirs.total_count
    assert ours.shape == (theirs.bucket_count, theirs.sub_bucket_count)
    assert ours.least == theirs.get_min_value() / 1e9
    assert ours.most == theirs.get_max_value() / 1e9
    expected = {at: value / 1e9 for at, value in theirs.get_percentile_to_value_dict(wanted).items()}
    assert ours.percentiles(wanted) == expected
    assert list(ours.percentiles(wanted)) == list(expected)


@library
@given(buckets=BUCKETS, ticks=st.integers(1, 20))
def test_the_curve_is_the_library_s(buckets, ticks):
    assert Histogram.of(buckets).curve(ticks) == [
        (step.value_iterated_to / 1e9, step.percentile_level_iterated_to / 100, step.total_count_to_this_value)
        for step in filled(buckets).get_percentile_iterator(ticks)
    ]


@library
@given(buckets=BUCKETS)
def test_each_reads_what_the_other_wrote(buckets):
    ours, theirs = Histogram.of(buckets), filled(buckets)
    assert Histogram.decode(theirs.encode().decode()).encode() == ours.encode()
    assert HdrHistogram.decode(ours.encode()).equals(theirs)
