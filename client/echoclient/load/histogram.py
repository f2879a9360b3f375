"""The HdrHistogram library behind a typed door, loaded only when there is something to put into it."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Protocol, cast

from echoclient.load.recorder import middle_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# Values are nanoseconds, up to a day, to three significant digits.
_LOWEST, _HIGHEST, _DIGITS = 1, 86_400_000_000_000, 3
NANOSECONDS = 1e9


class MissingLibraryError(Exception):
    """The `hdrhistogram` package is not installed; the text is one line that says how to get it."""


class _Step(Protocol):
    """What the library's percentile iterator yields."""

    value_iterated_to: int
    percentile_level_iterated_to: float
    total_count_to_this_value: int


class _Hdr(Protocol):
    """The part of `hdrh.histogram.HdrHistogram` that is used."""

    total_count: int
    bucket_count: int
    sub_bucket_count: int

    def record_value(self, value: int, count: int) -> bool: ...
    def get_percentile_to_value_dict(self, percentile_list: list[float]) -> dict[float, int]: ...
    def get_min_value(self) -> int: ...
    def get_max_value(self) -> int: ...
    def get_percentile_iterator(self, ticks_per_half_distance: int) -> Iterable[_Step]: ...
    def encode(self) -> bytes: ...


class _Library(Protocol):
    def __call__(self, lowest: int, highest: int, significant_figures: int) -> _Hdr: ...
    def decode(self, encoded_histogram: bytes) -> _Hdr: ...


def library() -> _Library:
    """Return the library's class.

    Raises:
        MissingLibraryError: it is not installed.
    """
    try:
        return cast("_Library", import_module("hdrh.histogram").HdrHistogram)
    except ImportError as error:
        raise MissingLibraryError(
            f"bench and report need the package {error.name or 'hdrhistogram'}: pip install 'echoserver[client]'"
        ) from None


class Histogram:
    """A distribution of latencies, in seconds outside and in nanoseconds inside."""

    def __init__(self, hdr: _Hdr) -> None:
        self._hdr = hdr

    @staticmethod
    def of(buckets: Mapping[int, int]) -> Histogram:
        """Fill a histogram from a recorder's buckets.

        Raises:
            MissingLibraryError: the library is not installed.
        """
        hdr = library()(_LOWEST, _HIGHEST, _DIGITS)
        for bucket, count in buckets.items():
            hdr.record_value(min(int(middle_of(bucket) * NANOSECONDS), _HIGHEST), count)
        return Histogram(hdr)

    @staticmethod
    def decode(text: str) -> Histogram:
        """Read what `encode` wrote.

        Raises:
            ValueError: it is not an encoded histogram.
            MissingLibraryError: the library is not installed.
        """
        decode = library().decode
        try:
            return Histogram(decode(text.encode()))
        except Exception as error:  # noqa: BLE001 - the library raises its own, zlib's, ctypes' and others
            raise ValueError(f"not an encoded HdrHistogram ({type(error).__name__})") from None

    def encode(self) -> str:
        """Return the histogram in HdrHistogram's own compressed form (V2, base64), which other tools read."""
        return self._hdr.encode().decode()

    @property
    def count(self) -> int:
        """How many values it holds."""
        return self._hdr.total_count

    @property
    def shape(self) -> tuple[int, int]:
        """Buckets and sub-buckets, as the percentile text states them."""
        return self._hdr.bucket_count, self._hdr.sub_bucket_count

    @property
    def least(self) -> float:
        """The smallest value, in seconds."""
        return self._hdr.get_min_value() / NANOSECONDS

    @property
    def most(self) -> float:
        """The largest value, in seconds."""
        return self._hdr.get_max_value() / NANOSECONDS

    def percentiles(self, wanted: Iterable[float]) -> dict[float, float]:
        """Return the value at each percentile from 0 to 100, in seconds."""
        values = self._hdr.get_percentile_to_value_dict(list(wanted))
        return {percentile: value / NANOSECONDS for percentile, value in values.items()}

    def curve(self, ticks: int = 5) -> list[tuple[float, float, int]]:
        """Return points ever closer together towards the maximum, as HdrHistogram's percentile text has them.

        Args:
            ticks: points for each halving of the distance to 100 %.

        Returns:
            Seconds, the share of values up to there from 0 to 1, and the number of values up to there.
        """
        return [
            (
                step.value_iterated_to / NANOSECONDS,
                step.percentile_level_iterated_to / 100,
                step.total_count_to_this_value,
            )
            for step in self._hdr.get_percentile_iterator(ticks)
        ]
