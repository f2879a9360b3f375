"""Standard input to the server, the server to standard output: byte-exact, both directions at once."""

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

# How long to wait for the sending thread once it was told to stop. It can only be late if another process shares our
# standard input and snatched the bytes between our select(2) and our read(2); then it is left behind, a daemon.
_LAST_WAIT = 1.0


def run_pipe(session: Session, source: int, sink: int, signalled: int | None = None) -> None:
    """Send what ``source`` holds and write what comes back to ``sink``, until the server ends the conversation.

    The end of ``source`` half-closes the connection. A reader of ``sink`` that goes away (``| head``) ends it too.

    Args:
        session: a connection; it is shut down, but not closed, on return.
        source: the descriptor to read, blocking or not.
        sink: the descriptor to write, blocking or not.
        signalled: a descriptor that a signal makes readable, so that its handler can run and raise.

    Raises:
        ClientError: the connection broke, or the server ended it before the end of ``source``, or one of the
            descriptors failed; the line says how many bytes went out and came back.
    """
    sender = _Sender(session, source)
    events = [session.socket.fileno()] + ([] if signalled is None else [signalled])
    failure = None
    try:
        # The receiver is the interpreter's main thread, the one in which Ctrl-C is raised.
        while True:
            readable, _, _ = select.select(events, [], [])
            if events[0] in readable:
                data = session.receive()
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
    if failure is not None:  # only now, with both sides at rest, are the counts final
        raise failure.adding(session.traffic())


class _Sender:
    """A thread that reads the source and sends it.

    Attributes:
        finished: the source was sent to its end.
        error: why it was not, if it is known.
    Both are written by the thread, and read after `stop` has joined it.
    """

    def __init__(self, session: Session, source: int) -> None:
        self._session = session
        self._source = source
        # Closing the one end makes the other readable, which wakes the thread where it waits for input.
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
                if error.word == ClientError.word:  # the fault is on this side: let the receiver know
                    self._session.shutdown()

    def _read(self) -> bytes | None:
        """Wait for input and return it; ``b""`` is its end, ``None`` means to stop."""
        while True:
            readable, _, _ = select.select([self._source, self._stopped.fileno()], [], [])
            stopping = self._stopped.fileno() in readable
            if stopping and self._source not in readable:
                return None
            try:
                data = os.read(self._source, CHUNK)
            except BlockingIOError:  # a non-blocking source that another process has just emptied
                continue
            except OSError as error:
                raise _descriptor_error("standard input", error) from error
            # The server may end its side just as the input ends, and that is no failure; more input would be.
            return None if stopping and data else data

    def stop(self) -> None:
        """End the thread, whether it waits for input or for the peer to take some."""
        self._stopper.close()
        self._session.shutdown()
        self._thread.join(_LAST_WAIT)


def _write_all(sink: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        try:
            left = left[os.write(sink, left) :]
        except BlockingIOError:  # a terminal or pipe that another process has set to non-blocking
            select.select([], [sink], [])
        except BrokenPipeError:
            raise
        except OSError as error:
            raise _descriptor_error("standard output", error) from error


def _descriptor_error(name: str, error: OSError) -> ClientError:
    return ClientError(f"{name}: {(error.strerror or str(error)).lower()}")
