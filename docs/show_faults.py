"""Shows what the peer of a server sees of each kind of fault, on loopback. With --write, it does so in faults.md.

Each kind meets a server of its own. The peer is a plain socket, and a line says what one call on it showed: the
milliseconds since the connection was made, the direction (`>` is from the peer), and the bytes or the end of a side.
"""

from __future__ import annotations

import argparse
import re
import select
import socket
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from echoserver import Server, ServerConfig

PAGE = Path(__file__).with_name("faults.md")
SECTION = re.compile(r"(?<=<!-- python docs/show_faults.py --write -->\n).*?(?=<!-- end -->)", re.DOTALL)
# Seconds: how long the peer waits for what comes at once, and what is a defect.
_QUIET, _PATIENCE = 0.1, 10.0
_SEVERAL = bytes(4000)
_STILL_THERE = ((_SEVERAL, 4000), (b"", 0), (b"still there?", 0))


@dataclass(frozen=True)
class Exchange:
    """A rule, and what the peer does to show it."""

    rule: str
    steps: tuple[tuple[bytes, int], ...]
    """What it sends, each with how many bytes it waits for then; 0 stands for whatever comes in a moment."""
    shown: bool = False
    """Whether the transcript has the bytes themselves."""


EXCHANGES = (
    Exchange("delay=50ms", ((b"hello", 5),)),
    Exchange("throttle=20kB/s", ((_SEVERAL[:2000], 2000),)),
    Exchange("slice=1000..1500,20ms", ((_SEVERAL, 4000),)),
    Exchange("stall=300ms@byte 1000", ((_SEVERAL, 4000),)),
    Exchange("reset@byte 1000", ((_SEVERAL, 4000),)),
    Exchange("close@byte 1000", _STILL_THERE),
    Exchange("halfclose@byte 1000", _STILL_THERE),
    Exchange("corrupt@byte 2", ((b"hello", 5),), shown=True),
    Exchange("drop@msg 1", ((b"one", 0), (b"three", 5)), shown=True),
    Exchange("duplicate@msg 1", ((b"hello", 10),), shown=True),
    Exchange("refuse", ((b"", 1),)),
)


class Peer:
    """A client that writes down what it sees."""

    def __init__(self, address: tuple[str, int], *, shown: bool) -> None:
        self.lines: list[str] = []
        self._shown = shown
        self._open = True  # the server has not ended its side
        self._usable = True  # no RST has been seen
        self._began = time.monotonic()
        self._socket = socket.create_connection(address, timeout=_PATIENCE)

    def play(self, steps: tuple[tuple[bytes, int], ...]) -> None:
        """Take the steps, end the peer's side if the connection stands, and wait for the end of the server's."""
        with self._socket:
            for data, awaited in steps:
                if data and self._usable:
                    self._socket.sendall(data)
                    self._note(">", self._bytes(data))
                if self._open:
                    self._receive(awaited)
                elif self._usable:
                    self._watch()
            if self._usable:
                self._socket.shutdown(socket.SHUT_WR)
                self._note(">", "FIN")
                self._receive(sys.maxsize)

    def _watch(self) -> None:
        """Wait for a moment whether an RST follows the end of the server's side, which a receive would not show."""
        poll = select.poll()
        poll.register(self._socket, 0)
        if poll.poll(1000 * _QUIET):
            self._usable = False
            self._note("<", "RST")

    def _receive(self, awaited: int) -> None:
        """Receive until ``awaited`` bytes have come or the server has ended its side; if 0 are, for a moment."""
        got, until = 0, time.monotonic() + (_PATIENCE if awaited else _QUIET)
        while self._open and (not awaited or got < awaited):
            left = until - time.monotonic()
            if left <= 0:
                return
            self._socket.settimeout(left)
            try:
                data = self._socket.recv(1 << 16)
            except TimeoutError:
                return
            except ConnectionResetError:
                self._usable = self._open = False
                self._note("<", "RST")
                return
            if not data:
                self._open = False
                self._note("<", "FIN")
                return
            got += len(data)
            self._note("<", self._bytes(data))

    def _bytes(self, data: bytes) -> str:
        count = f"{len(data)} bytes"
        return f"{count}  {ascii(data)[1:]}" if self._shown else count

    def _note(self, direction: str, what: str) -> None:
        self.lines.append(f"{1000 * (time.monotonic() - self._began):7.1f} ms  {direction} {what}")


def transcript(exchange: Exchange) -> str:
    """Return what the peer of a server with the exchange's rule sees, a line for each call."""
    with Server(ServerConfig(port=0, fault=[exchange.rule], fault_seed=1)) as server:
        host, port = server.address
        peer = Peer((host, port), shown=exchange.shown)
        peer.play(exchange.steps)
    return "\n".join(peer.lines)


def section() -> str:
    """Return what the page has: the rules, each with the transcript."""
    return "".join(f"\n`{exchange.rule}`\n\n```text\n{transcript(exchange)}\n```\n" for exchange in EXCHANGES) + "\n"


def main() -> None:
    """Print the section, or write it into the page."""
    parser = argparse.ArgumentParser(description="Show what the peer sees of each kind of fault.")
    parser.add_argument("--write", action="store_true", help=f"put it into {PAGE.name}")
    if not parser.parse_args().write:
        print(section().strip())
        return
    text, done = SECTION.subn(lambda _: section(), PAGE.read_text())
    if not done:
        raise SystemExit(f"{PAGE} has no place for it: the line <!-- python docs/show_faults.py --write -->")
    PAGE.write_text(text)


if __name__ == "__main__":
    main()
