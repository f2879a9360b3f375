"""The prompt in a terminal: conversations, and how they end, with both front ends."""

from __future__ import annotations

import itertools
import socket
import threading

from client.kit import CTRL_D, PROMPT, both, hold, upper


@both
def test_a_conversation(serve, terminal, front_end):
    peer = serve(upper)
    screen = terminal("connect", peer.port, **front_end)
    screen.expect(f"* connected to 127.0.0.1:{peer.port}; /help lists the commands, Ctrl-D quits\n")
    screen.expect(PROMPT)
    screen.type("hello\r")
    screen.expect("HELLO\n")
    screen.expect(PROMPT)
    screen.type("//quit\r")
    screen.expect("/QUIT\n")
    screen.expect(PROMPT)
    screen.type("/hex 1b5b324a 00 ff 0a\r")
    screen.expect("\\x1b[2J\\x00\\xff\n")
    screen.expect(PROMPT)
    screen.type("/repeat 3 again\r")
    screen.expect("AGAIN\nAGAIN\nAGAIN\n")
    screen.expect(PROMPT)
    screen.type("/time now\r")
    screen.expect("NOW\n")
    screen.expect("* first byte after ")
    screen.expect("4 of 4 bytes after ")
    screen.expect(PROMPT)
    screen.type("/newline off\r")
    screen.expect(PROMPT)
    screen.type("bare\r")
    screen.expect("BARE [no newline]\n")
    screen.expect(PROMPT)
    screen.type("/view hex\r")
    screen.expect(PROMPT)
    screen.type("az\r")
    screen.expect("0000002d  41 5a ")
    screen.expect(PROMPT)
    screen.type("/stats\r")
    screen.expect(f"* open, 127.0.0.1:{peer.port}, rtt ")
    screen.expect("out 47 B, in 47 B\n")
    screen.expect(PROMPT)
    screen.type("/help\r")
    screen.expect("/halfclose       end the sending side")
    screen.expect(PROMPT)
    screen.type("/hlep\r")
    screen.expect("* no command /hlep: did you mean /help?")
    screen.expect(PROMPT)
    screen.type("/quit\r")
    screen.expect("* 47 bytes sent, 47 received\n")
    assert screen.wait() == 0


@both
def test_the_server_goes_away_and_comes_back(serve, terminal, front_end):
    leave, visits = threading.Event(), itertools.count()

    def leaves_once(connection):
        if next(visits):
            upper(connection)
        else:
            leave.wait()

    peer = serve(leaves_once)
    screen = terminal("connect", peer.port, **front_end)
    screen.expect(PROMPT)
    leave.set()
    screen.expect("* the server closed the connection; 0 bytes sent, 0 received\n")
    screen.expect(PROMPT)
    screen.type("hello\r")
    screen.expect("* the connection is closed: /reconnect opens a new one\n")
    screen.expect(PROMPT)
    screen.type("/reconnect\r")
    screen.expect(f"* connected to 127.0.0.1:{peer.port}")
    screen.expect(PROMPT)
    screen.type("hello\r")
    screen.expect("HELLO\n")
    screen.expect(PROMPT)
    peer.stop()
    screen.expect("* the server closed the connection; 6 bytes sent, 6 received\n")
    screen.type("/reconnect\r")
    screen.expect(f"* REFUSED 127.0.0.1:{peer.port}: connection refused\n")
    screen.type("/quit\r")
    assert screen.wait() == 0


@both
def test_ctrl_c_clears_the_line_and_ctrl_d_ends_politely(serve, terminal, front_end):
    def last_words(connection):
        while data := connection.recv(65536):
            received.append(data)
        connection.sendall(b"last words\n")

    received = []
    screen = terminal("connect", serve(last_words).port, **front_end)
    screen.expect(PROMPT)
    screen.type("unwanted")
    screen.expect("unwanted")
    screen.interrupt(expect=PROMPT)
    screen.type("wanted\r")
    screen.expect(PROMPT)
    screen.type(CTRL_D)
    screen.expect("last words\n")
    screen.expect("* 7 bytes sent, 11 received\n")
    assert screen.wait() == 0
    assert received == [b"wanted\n"]


@both
def test_half_close_and_the_rest_of_the_reply(serve, terminal, front_end):
    def backwards(connection):
        said = b"".join(iter(lambda: connection.recv(65536), b""))
        connection.sendall(said.strip()[::-1] + b"\n")

    screen = terminal("connect", serve(backwards).port, **front_end)
    screen.expect(PROMPT)
    screen.type("stressed\r")
    screen.expect(PROMPT)
    screen.type("/halfclose\r")
    screen.expect("desserts\n")
    screen.expect("* the server has finished; 9 bytes sent, 9 received\n")
    screen.type(CTRL_D)
    assert screen.wait() == 0


@both
def test_ctrl_c_ends_a_send_that_is_stuck_and_then_the_farewell(serve, terminal, tmp_path, front_end):
    sending = threading.Event()

    def nearly_deaf(connection):
        connection.recv(1)
        sending.set()
        hold(connection)

    (tmp_path / "large").write_bytes(bytes(50_000_000))
    screen = terminal("connect", serve(nearly_deaf).port, **front_end)
    screen.expect(PROMPT)
    screen.type(f"/send {tmp_path}/large\r")
    sending.wait()
    screen.interrupt(expect="* interrupted; ")
    screen.expect("bytes sent, 0 received\n")
    screen.expect(PROMPT)
    screen.type("/quit\r")
    screen.expect("* waiting up to 5s for the server to finish; Ctrl-C quits at once\n")
    screen.interrupt(expect="* interrupted\n")
    screen.expect("bytes sent, 0 received\n")
    assert screen.wait() == 0


def test_a_file_that_cannot_be_sent_is_named(serve, terminal, tmp_path):
    screen = terminal("connect", serve().port)
    screen.expect(PROMPT)
    screen.type(f"/send {tmp_path}\r")
    screen.expect(f"* {tmp_path}: is a directory\n")
    screen.type(f"/send {tmp_path}/nothing\r")
    screen.expect(f"* {tmp_path}/nothing: no such file or directory\n")
    screen.type("/quit\r")
    assert screen.wait() == 0


def test_ctrl_c_ends_the_wait_for_a_server_at_once(terminal):
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        screen = terminal("connect", sock.getsockname()[1], "--wait", "1h")
        screen.expect("waiting up to 1h for 127.0.0.1:")
        screen.type(b"\x03")
        assert screen.wait() == 130
    assert "Traceback" not in screen.screen
