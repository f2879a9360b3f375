"""The connection behind the prompt."""

from __future__ import annotations

import queue
import threading

import pytest

from client.kit import PATIENCE, echo, hold, read_exactly, reset
from echoclient.conversation import Conversation
from echoclient.errors import ClientError
from echoclient.session import connect
from echoclient.target import Target


@pytest.fixture
def converse(serve):
    """Start a conversation: `converse(manners)`; what it shows and reports is in `shown` and `notices`."""
    started = []

    def start(manners=echo, **options):
        shown, notices = queue.Queue(), queue.Queue()
        conversation = Conversation(connect(Target(port=serve(manners).port)), shown.put, notices.put, **options)
        conversation.shown, conversation.notices = shown, notices
        started.append(conversation)
        return conversation

    yield start
    for conversation in started:
        conversation.close()


def test_replies_are_shown_as_they_come(converse):
    conversation = converse()
    conversation.send([b"hello\n"])
    conversation.settle(PATIENCE)
    assert conversation.shown.get_nowait() == "hello\n"
    assert conversation.status()[0] == "open"
    assert conversation.status()[2].endswith(" ms")
    assert conversation.status()[3:] == ["out 6 B", "in 6 B"]


def test_a_line_cut_by_the_network_is_shown_whole(converse, monkeypatch):
    monkeypatch.setattr("echoclient.conversation._HOLD_BACK", PATIENCE)  # however late the rest arrives

    def cuts(connection):
        read_exactly(connection, 1)
        connection.sendall(b"one li")
        connection.sendall(b"ne\n")
        connection.recv(1)

    conversation = converse(cuts)
    conversation.send([b"x"])
    assert conversation.shown.get(timeout=PATIENCE) == "one line\n"


def test_a_line_without_an_end_is_shown_nevertheless(converse):
    conversation = converse()
    conversation.send([b"no end"])
    assert conversation.shown.get(timeout=PATIENCE) == "no end [no newline]\n"
    conversation.settle(PATIENCE)


def test_the_view_can_change_in_the_middle(converse):
    conversation = converse(as_hex=True)
    conversation.send([b"ab"])
    assert conversation.shown.get(timeout=PATIENCE).startswith("00000000  61 62")
    conversation.set_view(as_hex=False)
    conversation.send([b"c\n"])
    assert conversation.shown.get(timeout=PATIENCE) == "c\n"
    conversation.set_view(as_hex=True)
    conversation.send([b"d"])
    assert conversation.shown.get(timeout=PATIENCE).startswith("00000004  64")


@pytest.mark.parametrize(
    ("manners", "says"),
    [
        (
            lambda connection: read_exactly(connection, 1),
            "the server closed the connection; 1 bytes sent, 0 received",
        ),
        (lambda connection: read_exactly(connection, 1) and reset(connection), "RESET"),
    ],
)
def test_the_end_is_announced_once(converse, manners, says):
    conversation = converse(manners)
    conversation.send([b"x"])
    assert says in conversation.notices.get(timeout=PATIENCE)
    conversation.settle(PATIENCE)
    assert conversation.state == "closed"
    with pytest.raises(ClientError):
        conversation.send([b"x" * 10_000_000])
    assert conversation.notices.empty()


def test_our_own_half_close_is_not_blamed_on_the_server(converse):
    conversation = converse()
    conversation.half_close()
    assert conversation.notices.get(timeout=PATIENCE).startswith("the server has finished; ")


def test_leaving_reads_the_rest_and_announces_nothing(converse):
    def last_words(connection):
        while connection.recv(65536):
            pass
        connection.sendall(b"last words\n")

    conversation = converse(last_words)
    assert conversation.finish(PATIENCE)
    assert conversation.shown.get_nowait() == "last words\n"
    assert conversation.notices.empty()


def test_leaving_does_not_wait_for_ever(converse):
    conversation = converse(hold)
    assert not conversation.finish(0.05)
    conversation.close()
    assert conversation.notices.empty()


def test_time_tells_the_first_byte_from_the_last(converse):
    go_on = threading.Event()

    def in_two_parts(connection):
        data = read_exactly(connection, 6)
        connection.sendall(data[:2])
        go_on.wait()
        connection.sendall(data[2:])
        connection.recv(1)

    conversation = converse(in_two_parts)
    conversation._show = lambda _: go_on.set()  # the first part is shown
    report = conversation.time(b"hello\n", PATIENCE)
    first, last = (float(part.split(" after ")[1].split()[0]) for part in report.split(", "))
    assert "6 of 6 bytes after" in report
    # Between the two, the first part is held back until the end of its line.
    assert last - first > 40


def test_time_without_a_reply(converse):
    assert (
        converse(lambda connection: connection.recv(65536) and connection.recv(1)).time(b"x\n", 0.05)
        == "no reply within 50ms"
    )
    assert converse(lambda connection: connection.recv(1)).time(b"x", PATIENCE) == "no reply"


def test_a_screen_that_is_full_stops_the_server(serve):
    """What is not shown yet is limited by the kernel's buffers: TCP slows down a fast server."""
    release, sent = threading.Event(), []

    def pours(connection):
        connection.settimeout(0.2)
        try:
            while True:
                sent.append(connection.send(b"x" * 65535 + b"\n"))
        except TimeoutError:
            stuck.set()
        hold(connection)

    stuck = threading.Event()
    conversation = Conversation(connect(Target(port=serve(pours).port)), lambda _: release.wait(), lambda _: None)
    assert stuck.wait(PATIENCE)
    assert conversation.session.bytes_in < 1_000_000
    release.set()
    conversation.close()
