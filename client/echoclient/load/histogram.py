"""HdrHistogram: counts of latencies with a relative error below 0.1 %, and the encoding that its other tools read.

This is the part of HdrHistogram (http://hdrhistogram.org) that a load generator needs, for one fixed configuration. The
Python package `hdrhistogram` does the same with a compiled extension, so it can't be installed everywhere; the tests
compare the two value for value.
"""

from __future__ import annotations

import base64
import binascii
import math
import struct
import zlib
from typing import TYPE_CHECKING

from echoclient.load.recorder import middle_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

NANOSECONDS = 1e9
# Values are nanoseconds, from 1 to a day, with three significant digits.
_LOWEST, _HIGHEST, _DIGITS = 1, 86_400_000_000_000, 3
# Bucket 0 counts each value below 2048 by itself. Each further bucket covers twice the range of the one before with the
# 1024 sub-buckets of its upper half, because the one before covers its lower half.
_SUB_BUCKETS = 2048
_HALF_BITS = 10
_BUCKETS = (_HIGHEST // _SUB_BUCKETS).bit_length() + 1
_MOST_COUNTS = (_BUCKETS + 1) << _HALF_BITS

# The V2 encoding (HdrHistogram's Java class AbstractHistogram, encodeIntoCompressedByteBuffer): a cookie and a length;
# then, compressed by zlib, a header and the counts.
_COMPRESSED_COOKIE, _COOKIE = 0x1C849314, 0x1C849313
_ENVELOPE = struct.Struct(">II")
# Cookie, length of the counts, normalizing index offset, significant digits, lowest and highest value, ratio of
# conversion from integers.
_HEADER = struct.Struct(">IIIIQQd")
_SETTINGS = (0, _DIGITS, _LOWEST, _HIGHEST, 1.0)
# A number takes at most nine bytes, the last of which has eight bits of it.
_LONGEST_NUMBER = 9


class Histogram:
    """A distribution of at least one latency, in seconds outside and in nanoseconds inside."""

    # Buckets and sub-buckets, as the percentile text gives them.
    shape = (_BUCKETS, _SUB_BUCKETS)

    def __init__(self, counts: Mapping[int, int]) -> None:
        """Hold ``counts`` by index; all are above 0, and there is at least one."""
        self._counts = dict(sorted(counts.items()))
        self.count = sum(self._counts.values())

    @staticmethod
    def of(buckets: Mapping[int, int]) -> Histogram:
        """Fill a histogram from a recorder's buckets, of which there is at least one."""
        counts: dict[int, int] = {}
        for bucket, count in buckets.items():
            index = _index_of(min(int(middle_of(bucket) * NANOSECONDS), _HIGHEST))
            counts[index] = counts.get(index, 0) + count
        return Histogram(counts)

    @staticmethod
    def decode(text: str) -> Histogram:
        """Read what `encode` wrote.

        Raises:
            ValueError: it is not an encoded histogram, it has other settings than ours, or it is empty.
        """
        try:
            counts = dict(_decoded(_payload(base64.b64decode(text, validate=True))))
        except (binascii.Error, zlib.error, struct.error, ValueError) as error:
            raise ValueError(f"not an encoded HdrHistogram ({error})") from None
        if not counts:
            raise ValueError("not an encoded HdrHistogram (it is empty)")
        return Histogram(counts)

    def encode(self) -> str:
        """Return the histogram in HdrHistogram's compressed encoding (V2, base64), which other tools read."""
        numbers = b"".join(_encoded(self._counts))
        payload = zlib.compress(_HEADER.pack(_COOKIE, len(numbers), *_SETTINGS) + numbers)
        return base64.b64encode(_ENVELOPE.pack(_COMPRESSED_COOKIE, len(payload)) + payload).decode()

    @property
    def least(self) -> float:
        """The smallest value, in seconds."""
        return _lowest_of(next(iter(self._counts))) / NANOSECONDS

    @property
    def most(self) -> float:
        """The largest value, in seconds."""
        return _highest_of(next(reversed(self._counts))) / NANOSECONDS

    def percentiles(self, wanted: Iterable[float]) -> dict[float, float]:
        """Return the value at each percentile from 0 to 100, in seconds, in ascending order."""
        result = {}
        cumulative = self._cumulative()
        index, total = next(cumulative)
        for percentile in sorted(set(wanted)):
            # The rank is rounded to the nearest, as HdrHistogram does.
            rank = max(int(percentile * self.count / 100 + 0.5), 1)
            while total < rank:
                index, total = next(cumulative)
            result[percentile] = (_highest_of(index) if percentile else _lowest_of(index)) / NANOSECONDS
        return result

    def curve(self, ticks: int = 5) -> list[tuple[float, float, int]]:
        """Return points ever closer together towards the maximum, as HdrHistogram's percentile text has them.

        Args:
            ticks: points for each halving of the distance to 100 %.

        Returns:
            Seconds, the share of values up to there from 0 to 1, and the number of values up to there.
        """
        points = []
        level = 0.0  # per cent
        for index, total in self._cumulative():
            seconds = _highest_of(index) / NANOSECONDS
            while 100.0 * total / self.count >= level:
                points.append((seconds, level / 100, total))
                level += 100.0 / (ticks * math.pow(2, math.log(100 / (100.0 - level)) / math.log(2) + 1))
                if total == self.count:  # what is left of the levels is one point, the maximum
                    points.append((seconds, 1.0, total))
                    return points
        raise AssertionError("unreachable: the last index has all counts up to it")

    def _cumulative(self) -> Iterator[tuple[int, int]]:
        """Yield each index, in ascending order, with the number of values up to it."""
        total = 0
        for index, count in self._counts.items():
            total += count
            yield index, total


def _index_of(value: int) -> int:
    bucket = max(value.bit_length() - _HALF_BITS - 1, 0)
    return (bucket << _HALF_BITS) + (value >> bucket)


def _lowest_of(index: int) -> int:
    """Return the smallest value that is counted at an index."""
    bucket = max((index >> _HALF_BITS) - 1, 0)
    return (index - (bucket << _HALF_BITS)) << bucket


def _highest_of(index: int) -> int:
    """Return the largest value that is counted at an index."""
    return _lowest_of(index + 1) - 1


def _encoded(counts: Mapping[int, int]) -> Iterator[bytes]:
    """Yield the counts as ZigZag LEB128 numbers, up to the last index; a run of n zeros is the number -n."""
    following = 0
    for index, count in counts.items():
        if zeros := index - following:
            yield _leb128(2 * zeros - 1)
        yield _leb128(2 * count)
        following = index + 1


def _leb128(number: int) -> bytes:
    parts = bytearray()
    while number > 0x7F and len(parts) < _LONGEST_NUMBER - 1:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    parts.append(number)
    return bytes(parts)


def _payload(data: bytes) -> bytes:
    """Return the encoded counts, without the envelope, the compression and the header.

    Raises:
        ValueError, struct.error, zlib.error: the data is something else.
    """
    cookie, length = _ENVELOPE.unpack_from(data)
    compressed = data[_ENVELOPE.size :]
    if cookie != _COMPRESSED_COOKIE or length != len(compressed):
        raise ValueError("it has another format, or was cut")
    # Bounded, because a small file can decompress to more than the memory holds.
    data = zlib.decompressobj().decompress(compressed, _HEADER.size + _MOST_COUNTS * _LONGEST_NUMBER)
    cookie, length, *settings = _HEADER.unpack_from(data)
    numbers = data[_HEADER.size :]
    if cookie != _COOKIE or length != len(numbers):
        raise ValueError("it has another format, or was cut")
    if tuple(settings) != _SETTINGS:
        raise ValueError("it has another range or precision")
    return numbers


def _decoded(numbers: bytes) -> Iterator[tuple[int, int]]:
    """Yield each index with a count above 0.

    Raises:
        ValueError: the numbers are not those of a histogram with our settings.
    """
    index = position = 0
    while position < len(numbers):
        number = shift = 0
        for step in range(_LONGEST_NUMBER):
            if position == len(numbers):
                raise ValueError("it was cut")
            byte = numbers[position]
            position += 1
            last = step == _LONGEST_NUMBER - 1 or byte < 0x80
            number |= (byte if last else byte & 0x7F) << shift
            shift += 7
            if last:
                break
        if number & 1:
            index += (number + 1) // 2
            continue
        if number:
            if index >= _MOST_COUNTS:
                raise ValueError("it has counts beyond its range")
            yield index, number // 2
        index += 1
