"""One reply and what becomes of it: which bytes are sent, in which pieces, and when. No I/O, and no clock."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from echoserver.faults.effects import (
    Corrupt,
    CorruptShare,
    Cut,
    Delay,
    Drop,
    Duplicate,
    Effect,
    Slice,
    Throttle,
)

# A throttled reply is sent in what its rate allows in this time: small enough to look steady.
_THROTTLED_SECONDS = 0.02


class FaultyReply:
    """A reply with its effects.

    Ask `effects_here`, then wait until `not_before`, then send what `piece` returns and say how much that was (`sent`),
    until it is `done`.

    Parameters
    ----------
    data:
        The reply as the handler has made it.
    offset:
        How many bytes the connection has sent before it.
    effects:
        What happens to it, in the order of places.
    not_before:
        When its first byte may be sent at the earliest, because of the rate of the one before it.

    """

    __slots__ = (
        *("_data", "_gap", "_not_before", "_offset", "_piece", "_position", "_rate", "_rate_sent", "_rate_since"),
        *("_slice_left", "_sizes", "_steps"),
    )

    def __init__(self, data: bytes | memoryview, offset: int, effects: Sequence[Effect], not_before: float) -> None:
        self._offset = offset
        self._position = 0
        # What changes the bytes is of the whole reply, and so comes first; the rest comes at its place.
        changes: list[tuple[int, Effect]] = []
        steps: list[tuple[int, Effect]] = []
        copies = 1
        for effect in effects:
            match effect:
                case Drop():
                    copies = 0
                    changes.append((0, effect))
                case Duplicate():
                    copies += 1
                    changes.append((0, effect))
                case Corrupt() | CorruptShare():
                    changes.append((0, effect))
                case _:
                    steps.append((max(0, _place(effect, offset) - offset), effect))
        out = bytes(data) * copies
        changes = [change for change in changes if _changes(change[1], offset, len(out))]
        self._data = memoryview(_corrupted(out, offset, [effect for _, effect in changes]))
        self._steps = [*changes, *steps]
        self._steps.reverse()  # the next one is the last
        self._not_before = not_before
        self._rate = 0
        self._rate_since, self._rate_sent = 0.0, 0
        self._gap = 0.0
        self._sizes: Iterator[int] | None = None
        self._slice_left = 0
        self._piece: memoryview | None = None  # what has been asked for and not sent yet

    @property
    def done(self) -> bool:
        """Whether nothing is left of it."""
        return self._position == len(self._data) and not self._steps

    def next_effect(self, now: float) -> Effect | None:
        """Return the next effect at the place that has been reached; `None` if there is none, or no more of them.

        Parameters
        ----------
        now:
            The time in seconds on the monotonic clock, here and elsewhere.

        """
        if not self._steps or self._steps[-1][0] > self._position or self._piece is not None:
            return None
        _, effect = self._steps.pop()
        match effect:
            case Delay():
                self._not_before = max(self._not_before, now) + effect.seconds
            case Throttle():
                self._rate, self._rate_since, self._rate_sent = effect.rate, max(now, self._not_before), 0
            case Slice():
                self._gap, self._sizes = effect.gap, effect.sizes()
                self._slice_left = next(self._sizes)
        return effect

    def not_before(self) -> float:
        """Return when the next piece may be sent, at the earliest."""
        return self._not_before

    def piece(self, *, hurried: bool) -> memoryview:
        """Return what is to be sent next, the same until `sent` is called; nothing if an effect comes first.

        Parameters
        ----------
        hurried:
            Whether the rate no longer counts.

        """
        if self._piece is None:
            end = len(self._data)
            if self._steps:
                end = min(end, self._steps[-1][0])
            if self._sizes is not None:
                end = min(end, self._position + self._slice_left)
            if self._rate and not hurried:
                end = min(end, self._position + max(1, int(self._rate * _THROTTLED_SECONDS)))
            self._piece = self._data[self._position : end]
        piece = self._piece
        if not piece:
            self._piece = None
        return piece

    def sent(self, count: int, now: float) -> None:
        """Take note that so many bytes of the piece were sent."""
        assert self._piece is not None, "only what `piece` has returned is sent"
        self._position += count
        self._piece = self._piece[count:] or None
        if self._rate:
            self._rate_sent += count
            self._not_before = max(self._not_before, self._rate_since + self._rate_sent / self._rate)
        if self._sizes is not None:
            self._slice_left -= count
            if self._slice_left == 0:
                self._slice_left = next(self._sizes)
                if self._position < len(self._data):
                    self._not_before = max(self._not_before, now + self._gap)


def _place(effect: Effect, offset: int) -> int:
    at = effect.at if isinstance(effect, Cut | Delay | Throttle | Slice) else None
    return offset if at is None else at


def _changes(effect: Effect, offset: int, length: int) -> bool:
    """Return whether an effect changes anything of so many bytes; a share of them may be none."""
    if isinstance(effect, CorruptShare):
        return next(effect.within(offset, offset + length), None) is not None
    return not isinstance(effect, Corrupt) or offset <= effect.at < offset + length


def _corrupted(data: bytes, offset: int, effects: Sequence[Effect]) -> bytes | bytearray:
    changed: bytearray | None = None
    for effect in effects:
        match effect:
            case Corrupt():
                places: Iterator[Corrupt] = iter((effect,))
            case CorruptShare():
                places = effect.within(offset, offset + len(data))
            case _:
                continue
        changed = bytearray(data) if changed is None else changed
        for place in places:
            changed[place.at - offset] ^= place.mask
    return data if changed is None else changed
