"""A byte-exact pipe: standard input to the server and the server to standard output, both at once."""

from __future__ import annotations

import os
import select
import socket
import threading
from typing import TYPE_CHECKING

from echoclient.errors import ClientError, ClosedError
from echoclient.session import CHUNK

if TYPE_CHECKING:
    from echoclient.session import Session

# Seconds to wait for the sending thread after it was told to stop. It is late only if another process shares our
# standard input and took the bytes between our select(2) and our read(2); then it is abandoned, as a daemon thread.
_LAST_WAIT = 1.0


def run_pipe(session: Session, source: int, sink: int, signalled: int | None = None) -> None:
    """Send what ``source`` holds and write what is received to ``sink``, until the server ends the connection.

    The end of ``source`` half-closes the connection. The connection also ends if the reader of ``sink`` exits, as in
    ``| head``.

    Args:
        session: a connection; it is shut down, but not closed, on return.
        source: the descriptor to read, blocking or not.
        sink: the descriptor to write, blocking or not.
        signalled: a descriptor that a signal makes readable, so that the signal's handler can run and raise.

    Raises:
        ClientError: the connection failed, the server ended it before the end of ``source``, or one of the descriptors
            failed; the message has the number of bytes sent and received.
    """
    sender = _Sender(session, source)
    events = [session.socket.fileno()] + ([] if signalled is None else [signalled])
    failure = None
    try:
        # Receiving happens in the main thread, in which Ctrl-C is raised.
        while True:
            pending = session.pending
            readable, _, _ = select.select(events, [], [], 0 if pending else None)
            if pending or events[0] in readable:
                try:
                    data = session.receive()
                except BlockingIOError:  # only a part of a TLS record
                    continue
                if not data:
                    break
                _write_all(sink, data)
    except BrokenPipeError:
        return
    except ClientError as error:
        failure = error
    finally:
        sender.stop()
    if failure is None and not sender.finished:
        early = ClosedError(f"{session.target}: the server ended the connection before the end of input")
        failure = sender.error or early
    if failure is not None:  # the counts are final only now, when both directions have stopped
        raise failure.adding(session.traffic())


class _Sender:
    """A thread that reads the source and sends it.

    Attributes:
        finished: the source was sent to its end.
        error: why it was not, if that is known.
    Both are written by the thread, and read after `stop` has joined it.
    """

    def __init__(self, session: Session, source: int) -> None:
        self._session = session
        self._source = source
        # Closing one end makes the other readable, which wakes the thread while it waits for input.
        self._stopper, self._stopped = socket.socketpair()
        self.finished = False
        self.error: ClientError | None = None
        self._thread = threading.Thread(target=self._run, name="pipe-sender", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with self._stopped:
            try:
                while (data := self._read()) is not None:
                    if not data:
                        self.finished = True
                        self._session.half_close()
                        return
                    self._session.send(data)
            except ClientError as error:
                self.error = error
                if error.word == ClientError.word:  # the failure is local, so the receiver has to be woken
                    self._session.shutdown()

    def _read(self) -> bytes | None:
        """Wait for input and return it; ``b""`` is its end, and ``None`` means stop."""
        while True:
            readable, _, _ = select.select([self._source, self._stopped.fileno()], [], [])
            stopping = self._stopped.fileno() in readable
            if stopping and self._source not in readable:
                return None
            try:
                data = os.read(self._source, CHUNK)
            except BlockingIOError:  # the source is non-blocking, and another process has just emptied it
                continue
            except OSError as error:
                raise _descriptor_error("standard input", error) from error
            # The server may end its side just as the input ends, which is not a failure; unsent input is one.
            return None if stopping and data else data

    def stop(self) -> None:
        """End the thread, whether it waits for input or for the peer."""
        self._stopper.close()
        self._session.shutdown()
        self._thread.join(_LAST_WAIT)


def _write_all(sink: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        try:
            left = left[os.write(sink, left) :]
        except BlockingIOError:  # another process made the terminal or pipe non-blocking
            select.select([], [sink], [])
        except BrokenPipeError:
            raise
        except OSError as error:
            raise _descriptor_error("standard output", error) from error


def _descriptor_error(name: str, error: OSError) -> ClientError:
    return ClientError(f"{name}: {(error.strerror or str(error)).lower()}")
