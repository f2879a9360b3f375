"""A serving thread that is just starting is not taken for one that died."""

from __future__ import annotations

import pytest

import echoserver.serving.threads
from echoserver.clock import Deadline
from server.kit import PATIENCE
from server.log_lines import LogLines
from server.ways import wait_until_settled


@pytest.fixture
def mode():
    return "threads"


def test_the_janitor_looks_while_a_thread_starts(serve, connect, log: LogLines, monkeypatch):
    """A starting thread has its identity before it counts as alive.

    The janitor would end its connection, and the thread would wait for another one for ever.
    """
    server = serve()
    looked = []

    class Starting(echoserver.serving.threads._ServingThread):
        @property
        def ident(self) -> int | None:
            return 1  # as `is_alive` sees it: the new thread has set the one, but not yet the other

        def start(self) -> None:
            server._mode.maintain()
            looked.append(self)
            super().start()

    monkeypatch.setattr(echoserver.serving.threads, "_ServingThread", Starting)
    peer = connect(server)
    assert peer.swap(b"hello") == b"hello"
    assert log.ended(peer)["reason"] == "eof"
    wait_until_settled(server)
    assert server.stop() == []
    (thread,) = looked
    thread.join(PATIENCE)
    assert not thread.is_alive()
    assert server._mode.stop(Deadline(PATIENCE)) == []
