"""Send text back in upper case."""

from __future__ import annotations

import codecs
from typing import Annotated, ClassVar

from echoserver.handlers.handler import Handler


class Upper(Handler):
    """Send text back in upper case."""

    blocking: ClassVar[bool] = False

    def __init__(
        self,
        *,
        encoding: Annotated[str, "ascii changes only a-z; utf-8 changes every letter"] = "ascii",
    ) -> None:
        self._decoder: codecs.IncrementalDecoder | None = None
        if encoding == "utf-8":
            # surrogateescape passes bytes that are not UTF-8 through unchanged.
            self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        elif encoding == "ascii":
            # An instance attribute, so that a call goes straight to the C function.
            self.feed = bytes.upper  # type: ignore[assignment,method-assign]
        else:
            raise ValueError(f"encoding = {encoding!r}: must be ascii or utf-8")

    def feed(self, data: bytes) -> bytes:
        """Return the text in upper case, without an unfinished character at its end, which waits for the rest."""
        assert self._decoder is not None, "ASCII replaces this method in __init__"
        return self._decoder.decode(data).upper().encode("utf-8", "surrogateescape")

    def finish(self) -> bytes:
        """Return the bytes of an unfinished character as they are."""
        if self._decoder is None:
            return b""
        return self._decoder.decode(b"", final=True).encode("utf-8", "surrogateescape")
