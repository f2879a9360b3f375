"""What the tests of the command share."""

from __future__ import annotations

import signal
import socket
import subprocess
from contextlib import contextmanager

from support import PATIENCE, Program

HANDLERS = """
import threading
from echoserver import Handler

class Slow(Handler):
    '''Answer when the peer has half-closed.'''
    def feed(self, data: bytes) -> bytes:
        self.heard = data
        return b""
    def finish(self) -> bytes:
        return self.heard

def stuck(data: bytes) -> bytes:
    threading.Event().wait()

def broken(data: bytes) -> bytes:
    raise SystemExit(data.decode())
"""


@contextmanager
def connected(service: Program):
    with socket.create_connection(service.address, PATIENCE) as peer:
        yield peer


def exchange(peer: socket.socket, data: bytes) -> bytes:
    peer.sendall(data)
    return peer.recv(65536)


def wait_for_connection(service: Program, **facts: object) -> dict:
    """Ask for the list of connections until one is as wanted, and return it."""
    while True:
        seen = len(service.events)
        service.send_signal(signal.SIGUSR1)
        service.wait_for("threads")  # the last line of the answer
        for event in service.events[seen:]:
            if {"event": "connection", **facts}.items() <= event.items():
                return event


def error_of(finished: subprocess.CompletedProcess[str]) -> str:
    """Return the one line that a command which failed prints, without its newline."""
    assert finished.stdout == ""
    assert finished.stderr.count("\n") == 1
    assert finished.stderr.endswith("\n")
    return finished.stderr.removesuffix("\n")
