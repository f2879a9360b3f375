"""The pipe is byte-exact, and ends whatever the server, the input and the output do."""

from __future__ import annotations

import hashlib
import os
import random
import select
import signal
import socket
import subprocess
import threading
from contextlib import contextmanager, suppress

import pytest

from client.kit import PATIENCE, command, environment, hold, read_exactly, reset, started
from echoclient.errors import ClientError, ClosedError, ResetError
from echoclient.interrupt import SignalWakeUp
from echoclient.pipe import run_pipe
from echoclient.session import Session, connect
from echoclient.target import Target


class Pipes:
    """The outer ends of a pipe: what it reads from the test, and what it writes to it."""

    def __init__(self):
        self.source, self.input = os.pipe()
        self.output, self.sink = os.pipe()

    def close(self, *names):
        for name in names or ("source", "input", "output", "sink"):
            descriptor = self.__dict__.pop(name, None)
            if descriptor is not None:
                os.close(descriptor)

    def read_all(self):
        self.close("sink")
        with open(self.output, "rb", closefd=False) as file:
            return file.read()


@pytest.fixture
def pipes():
    made = Pipes()
    yield made
    made.close()


@contextmanager
def background(function, *arguments):
    thread = threading.Thread(target=function, args=arguments)
    thread.start()
    yield
    thread.join(PATIENCE)
    assert not thread.is_alive()


@contextmanager
def collecting(pipes):
    """Read what the pipe writes; it is complete at the end of the block."""
    received = bytearray()

    def read():
        while more := os.read(pipes.output, 65536):
            received.extend(more)

    with background(read):
        yield received
        pipes.close("sink")


def talk(peer, pipes):
    with connect(Target(port=peer.port)) as session:
        run_pipe(session, pipes.source, pipes.sink)


def write_and_close(pipes, data):
    with open(pipes.input, "wb", closefd=False) as file:
        file.write(data)
    pipes.close("input")


@pytest.mark.parametrize("data", [b"", b"x", b"\r\n\x00\xff\x04\x1a", bytes(range(256)) * 100], ids=len)
def test_bytes_come_back_as_they_are(serve, pipes, data):
    write_and_close(pipes, data)
    talk(serve(), pipes)
    assert pipes.read_all() == data


def test_a_hundred_megabytes_through_the_command_line(serve, tmp_path):
    (tmp_path / "in").write_bytes(random.Random(7).randbytes(1_000_000) * 100)
    with open(tmp_path / "in", "rb") as source, open(tmp_path / "out", "wb") as sink:
        status = subprocess.run(
            command("connect", serve().port),
            stdin=source,
            stdout=sink,
            env=environment(),
            timeout=PATIENCE,
            check=False,
        )
    assert status.returncode == 0
    with open(tmp_path / "in", "rb") as sent, open(tmp_path / "out", "rb") as received:
        assert hashlib.file_digest(sent, "sha256").digest() == hashlib.file_digest(received, "sha256").digest()


def test_more_than_all_buffers_hold_does_not_deadlock(serve, pipes):
    """A server that reads only after its reply was taken blocks a client that sends everything before it receives."""
    data = os.urandom(30_000_000)
    with collecting(pipes) as received, background(write_and_close, pipes, data):
        talk(serve(), pipes)
    assert received == data


def test_replies_come_before_the_input_ends(serve, pipes):
    with background(talk, serve(), pipes):
        os.write(pipes.input, b"hello")
        assert os.read(pipes.output, 100) == b"hello"
        pipes.close("input")


def test_what_the_server_says_after_the_end_of_input_is_read_to_its_end(serve, pipes):
    def backwards(connection):
        said = b"".join(iter(lambda: connection.recv(65536), b""))
        connection.sendall(said[::-1] * 100_000)

    write_and_close(pipes, b"abc")
    with collecting(pipes) as received:
        talk(serve(backwards), pipes)
    assert received == b"cba" * 100_000


def test_the_server_goes_away_while_the_input_is_idle(serve, pipes):
    os.write(pipes.input, b"hello")
    with pytest.raises(ClosedError) as failure:
        talk(serve(lambda connection: connection.sendall(read_exactly(connection, 5))), pipes)
    assert str(failure.value).endswith("before the end of input; 5 bytes sent, 5 received")
    assert pipes.read_all() == b"hello"


def test_the_server_ends_its_side_while_the_sender_is_blocked(serve, pipes, monkeypatch):
    blocked = threading.Event()

    def ends_its_side_and_never_reads(connection):
        blocked.wait()
        connection.shutdown(socket.SHUT_WR)
        hold(connection)

    send_some = Session.send_some

    def say_when_it_blocks(session, data):
        if not select.select([], [session.socket], [], 0)[1]:
            blocked.set()
        return send_some(session, data)

    def fill():
        with suppress(BrokenPipeError):
            while True:
                os.write(pipes.input, b"x" * 65536)

    monkeypatch.setattr(Session, "send_some", say_when_it_blocks)
    with background(fill):
        with pytest.raises(ClosedError, match=r"before the end of input|has closed the connection"):
            talk(serve(ends_its_side_and_never_reads), pipes)
        pipes.close("source")


def test_the_server_resets_with_replies_missing(serve, pipes):
    def rude(connection):
        connection.sendall(read_exactly(connection, 10)[:4])
        read_exactly(connection, 1)  # the client writes again after it has seen the four
        reset(connection)

    os.write(pipes.input, b"0123456789")
    one_more = background(lambda: os.read(pipes.output, 4) and os.write(pipes.input, b"x"))
    with one_more, pytest.raises(ResetError) as failure:
        talk(serve(rude), pipes)
    assert str(failure.value).endswith("connection reset by the server; 11 bytes sent, 4 received")


def test_the_end_of_input_and_of_the_server_at_once_is_no_failure(serve, pipes):
    """The server closes first; the input ends before the sender looks, so everything was sent."""
    receive = Session.receive

    def end_the_input_first(session):
        data = receive(session)
        if not data:
            pipes.close("input")
        return data

    os.write(pipes.input, b"hello")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Session, "receive", end_the_input_first)
        talk(serve(lambda connection: read_exactly(connection, 5)), pipes)


def test_a_reader_that_goes_away_ends_it(serve, pipes):
    pipes.close("output")
    os.write(pipes.input, b"hello")
    talk(serve(), pipes)  # the input has not ended


def test_a_full_disk_is_named(serve, pipes):
    os.write(pipes.input, b"hello")
    pipes.close("sink")
    pipes.sink = os.open("/dev/full", os.O_WRONLY)
    with pytest.raises(ClientError, match=r"^OTHER standard output: no space left on device; 5 bytes"):
        talk(serve(), pipes)


def test_an_input_that_cannot_be_read_is_named(serve, pipes, tmp_path):
    pipes.close("source")
    pipes.source = os.open(tmp_path, os.O_RDONLY)
    with pytest.raises(ClientError, match=r"^OTHER standard input: is a directory; 0 bytes"):
        talk(serve(), pipes)


def test_non_blocking_descriptors(serve, pipes):
    """Another process that shares the terminal or pipe may have made it non-blocking."""
    data = os.urandom(3_000_000)
    os.set_blocking(pipes.source, False)
    os.set_blocking(pipes.sink, False)
    with collecting(pipes) as received, background(write_and_close, pipes, data):
        talk(serve(), pipes)
    assert received == data


def test_the_command_says_why_it_failed_and_exits_1(serve):
    peer = serve(lambda connection: read_exactly(connection, 5) and reset(connection))
    with started("connect", peer.port) as process:
        process.stdin.write(b"hello")
        process.stdin.flush()
        said = process.stderr.read()
        assert process.wait(PATIENCE) == 1
    assert said.decode() == (
        f"echoclient: RESET 127.0.0.1:{peer.port}: connection reset by the server; 5 bytes sent, 0 received\n"
    )


@pytest.mark.parametrize(
    "stdin", [subprocess.PIPE, subprocess.DEVNULL], ids=["while it waits for both", "for the server"]
)
def test_ctrl_c_exits_130_without_a_traceback(serve, stdin):
    def never_answers(connection):
        connection.sendall(b"ready")
        hold(connection)

    with started("connect", serve(never_answers).port, stdin=stdin) as process:
        assert os.read(process.stdout.fileno(), 5) == b"ready"
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 130
        assert process.stderr.read().strip() == b""


def test_a_signal_that_comes_just_before_the_wait_is_not_missed(serve, pipes, monkeypatch):
    """Only the readable descriptor shows the signal: the wait has to end so that the handler can run."""

    def run_handlers_after(readers, *rest):
        readable = look(readers, *rest)[0]
        if signalled.fileno() in readable:
            raise KeyboardInterrupt
        return readable, [], []

    look, previous = select.select, signal.signal(signal.SIGUSR1, lambda *_: None)
    monkeypatch.setattr("echoclient.pipe.select.select", run_handlers_after)
    with connect(Target(port=serve(hold).port)) as session, SignalWakeUp() as signalled:
        signal.raise_signal(signal.SIGUSR1)
        with pytest.raises(KeyboardInterrupt):
            run_pipe(session, pipes.source, pipes.sink, signalled.fileno())
    signal.signal(signal.SIGUSR1, previous)


def test_closed_standard_descriptors_never_become_the_socket(serve):
    """With 1 closed, the socket would get number 1, and what the server sends would go back to it for ever."""
    peer = serve()
    for redirection in ("<&-", ">&-", "<&- >&- 2>&-"):
        status = subprocess.run(
            ["/bin/sh", "-c", f'printf hi | "$@" {redirection}', "sh", *command("connect", peer.port)],
            capture_output=True,
            timeout=PATIENCE,
            env=environment(),
            check=False,
        )
        assert (status.returncode, status.stderr) == (0, b"")
