"""Send text back in upper case."""

from __future__ import annotations

import codecs
from typing import Annotated, ClassVar

from echoserver.handlers.base import Handler


class Upper(Handler):
    """Send text back in upper case."""

    blocking: ClassVar[bool] = False

    def __init__(
        self,
        *,
        encoding: Annotated[str, "ascii: only a-z change, all other bytes pass; utf-8: every letter does"] = "ascii",
    ) -> None:
        self._decoder: codecs.IncrementalDecoder | None = None
        if encoding == "utf-8":
            # surrogateescape carries bytes that are no UTF-8 through unchanged: a peer gets back what it sent.
            self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        elif encoding == "ascii":
            # An attribute of the instance, so that a call goes straight to the C function.
            self.feed = bytes.upper  # type: ignore[assignment,method-assign]
        else:
            raise ValueError(f"encoding = {encoding!r}: must be ascii or utf-8")

    def feed(self, data: bytes) -> bytes:
        """Return the text so far; the first bytes of a character cut in two wait for the rest."""
        assert self._decoder is not None, "ASCII replaces this method in __init__"
        return self._decoder.decode(data).upper().encode("utf-8", "surrogateescape")

    def finish(self) -> bytes:
        """Return the bytes of a character whose rest never came, as they are."""
        if self._decoder is None:
            return b""
        return self._decoder.decode(b"", final=True).encode("utf-8", "surrogateescape")
