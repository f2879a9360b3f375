"""The prompt, in a terminal: both front ends, and what a server or a network may do to them."""

from __future__ import annotations

import itertools
import re
import socket
import sys
import threading

import pytest

from client.kit import Terminal, echo, hold, read_exactly, upper

RICH = {"TERM": "xterm-256color"}
DUMB = {"TERM": "dumb"}
# prompt_toolkit moves the cursor over blanks instead of writing them.
PROMPT = ">"
CTRL_D = b"\x04"
both = pytest.mark.parametrize("front_end", [RICH, DUMB], ids=["rich", "dumb"])

WITHOUT_EXTRA = """
import sys
sys.modules["prompt_toolkit"] = None  # an import of it fails now, as where the extra is not installed
sys.argv = ["echoclient", *sys.argv[1:]]
from echoclient.cli import main
main()
"""


@both
def test_a_conversation(serve, terminal, front_end):
    peer = serve(upper)
    screen = terminal("connect", peer.port, **front_end)
    screen.expect(f"* connected to 127.0.0.1:{peer.port}; /help lists the commands, Ctrl-D leaves\n")
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
    screen.expect("4 bytes for 4 after ")
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
    screen.expect("* 47 bytes went out, 47 came back\n")
    assert screen.wait() == 0


def test_what_comes_while_typing_goes_above_the_prompt(serve, terminal):
    typed, received = threading.Event(), []

    def news(connection):
        typed.wait()
        connection.sendall(b"news\n")
        received.append(read_exactly(connection, 11))
        echo(connection)

    screen = terminal("connect", serve(news).port)
    screen.expect(PROMPT)
    screen.type("half-a-")
    screen.expect("half-a-")
    typed.set()
    screen.expect("news\n")
    screen.expect(PROMPT)
    screen.expect("half-a-")
    screen.type("line\r")
    screen.expect(PROMPT)
    screen.type("/quit\r")
    assert screen.wait() == 0
    assert received == [b"half-a-line"]


def test_in_a_dumb_terminal_too_nothing_typed_is_lost(serve, terminal):
    typed = threading.Event()

    def news(connection):
        typed.wait()
        connection.sendall(b"news\n")
        upper(connection)

    screen = terminal("connect", serve(news).port, **DUMB)
    screen.expect(PROMPT)
    screen.type("half a ")
    screen.expect("half a ")
    typed.set()
    screen.expect("\nnews\n> ")
    screen.type("line\r")
    screen.expect("HALF A LINE\n")
    screen.type("/quit\r")
    assert screen.wait() == 0


def test_ten_thousand_lines_pour_in_while_typing(serve, terminal):
    go, received = threading.Event(), []

    def pours(connection):
        go.wait()
        for number in range(10_000):
            connection.sendall(b"line %d of the flood\n" % number)
        received.append(connection.recv(100))

    screen = terminal("connect", serve(pours).port)
    screen.expect(PROMPT)
    go.set()
    for letter in "typed-meanwhile":
        screen.expect("of the flood")
        screen.type(letter)
    screen.expect("line 9999 of the flood\n")
    screen.expect("typed-meanwhile")
    screen.type("\r")
    screen.expect("* the server closed the connection")
    # The prompt is redrawn between any two of them, by moving the cursor.
    shown = re.findall(r"line (\d+) of the flood\r\n", screen.screen)
    assert shown == [str(number) for number in range(10_000)]
    assert received == [b"typed-meanwhile\n"]
    screen.type("/quit\r")
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
    screen.expect("* the server closed the connection; 0 bytes went out, 0 came back\n")
    screen.expect(PROMPT)
    screen.type("hello\r")
    screen.expect("* the connection is closed: /reconnect makes a new one\n")
    screen.expect(PROMPT)
    screen.type("/reconnect\r")
    screen.expect(f"* connected to 127.0.0.1:{peer.port}")
    screen.expect(PROMPT)
    screen.type("hello\r")
    screen.expect("HELLO\n")
    screen.expect(PROMPT)
    peer.stop()
    screen.expect("* the server closed the connection; 6 bytes went out, 6 came back\n")
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
    screen.expect("* 7 bytes went out, 11 came back\n")
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
    screen.expect("* the server is done; 9 bytes went out, 9 came back\n")
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
    screen.expect("bytes went out, 0 came back\n")
    screen.expect(PROMPT)
    screen.type("/quit\r")
    screen.expect("* waiting up to 5s for the server to finish; Ctrl-C leaves at once\n")
    screen.interrupt(expect="* interrupted\n")
    screen.expect("bytes went out, 0 came back\n")
    assert screen.wait() == 0


@both
def test_what_is_typed_while_a_command_runs_waits_its_turn(serve, terminal, front_end):
    asked, answer = threading.Event(), threading.Event()

    def slow(connection):
        data = read_exactly(connection, 5)
        asked.set()
        answer.wait()
        connection.sendall(data.upper())
        upper(connection)

    screen = terminal("connect", serve(slow).port, **front_end)
    screen.expect(PROMPT)
    screen.type("/time slow\r")
    asked.wait()
    screen.type(b"next\r" + CTRL_D)
    answer.set()
    screen.expect("SLOW\n* first byte after ")
    screen.expect("NEXT\n")
    screen.expect("* 10 bytes went out, 10 came back\n")
    assert screen.wait() == 0
    assert "next" not in screen.screen.partition("SLOW")[0]


@both
def test_a_server_cannot_touch_the_terminal(serve, terminal, front_end):
    hostile = b"\x1b]0;owned\x07\x1b[2J\x9b2J\xc2\x9b2J\x08\r\x00\xff\n"
    screen = terminal(
        "connect", serve(lambda connection: connection.sendall(hostile) or echo(connection)).port, **front_end
    )
    screen.expect("\\x1b]0;owned\\x07\\x1b[2J\\x9b2J\\x9b2J\\x08\\r\\x00\\xff\n")
    screen.type(CTRL_D)
    assert screen.wait() == 0
    assert b"\x1b]0;owned" not in screen.raw
    assert b"\x1b[2J\\" not in screen.raw


@pytest.mark.parametrize(
    ("front_end", "typed", "shown"),
    [
        (RICH, "größe ☃", "größe ☃\n"),
        (DUMB, "größe ☃", "größe ☃\n"),
        (RICH, b"caf\xe9", "caf\\xe9\n"),  # readline(3) does not let it through
    ],
)
def test_bytes_go_out_as_they_are_typed(serve, terminal, front_end, typed, shown):
    screen = terminal("connect", serve().port, **front_end)
    screen.expect(PROMPT)
    screen.type(typed)
    screen.type("\r")
    screen.expect(f"\n{shown}")
    screen.type(CTRL_D)
    assert screen.wait() == 0


def test_pasted_lines_are_taken_one_by_one(serve, terminal):
    screen = terminal("connect", serve(upper).port)
    screen.expect(PROMPT)
    screen.type(b"\x1b[200~one\n/hlep\ntwo\x1b[201~\r")
    screen.expect("ONE\n")
    screen.expect("* no command /hlep")
    screen.expect("TWO\n")
    screen.type("/quit\r")
    assert screen.wait() == 0


@both
def test_the_history_outlives_the_program(serve, terminal, front_end):
    peer = serve(upper)
    for keys in ("a line to remember\r", "\x1b[A\r"):
        screen = terminal("connect", peer.port, **front_end)
        screen.expect(PROMPT)
        screen.type(keys)
        screen.expect("A LINE TO REMEMBER\n")
        screen.type(CTRL_D)
        assert screen.wait() == 0


def test_completion_with_the_menu(serve, terminal):
    screen = terminal("connect", serve().port)
    screen.expect(PROMPT)
    screen.type("/vi")
    screen.expect("how to show what comes")
    screen.type("\thex\r")
    screen.expect(PROMPT)
    screen.type("az\r")
    screen.expect("00000000  61 7a 0a")
    screen.type("/quit\r")
    assert screen.wait() == 0


def test_completion_with_readline(serve, terminal, tmp_path):
    (tmp_path / "a file with a long name").write_bytes(b"its contents\n")
    screen = terminal("connect", serve(upper).port, **DUMB)
    screen.expect(PROMPT)
    screen.type(f"/sen\t{tmp_path}/a f\t\r")
    screen.expect("ITS CONTENTS\n")
    screen.type("/quit\r")
    assert screen.wait() == 0


def test_the_bottom_line_says_where_things_stand_and_fits(serve, terminal):
    peer = serve()
    screen = terminal("connect", peer.port, columns=60)
    screen.expect(f" open  127.0.0.1:{peer.port}  rtt -  out 0 B  in 0 B")
    screen.type("/quit\r")
    assert screen.wait() == 0
    narrow = terminal("connect", peer.port, columns=30)
    narrow.expect(f" open  127.0.0.1:{peer.port}")
    narrow.type("/quit\r")
    assert narrow.wait() == 0
    assert "out 0 B" not in narrow.screen


def test_no_colour_where_none_is_wanted(serve, terminal):
    peer = serve()
    for no_color, coloured in ((None, True), ("1", False)):
        screen = terminal("connect", peer.port, NO_COLOR=no_color)
        screen.expect(PROMPT)
        screen.expect("open")
        screen.type("/quit\r")
        assert screen.wait() == 0
        assert (b"\x1b[33m* connected" in screen.raw) is coloured
        assert (b"\x1b[32m" in screen.raw or b";32" in screen.raw) is coloured


def test_a_dumb_terminal_gets_no_escape_sequence(serve, terminal):
    screen = terminal("connect", serve().port, **DUMB)
    screen.expect(PROMPT)
    screen.type("hello\r")
    screen.expect("hello\n")
    screen.type("/quit\r")
    assert screen.wait() == 0
    assert b"\x1b" not in screen.raw


def test_without_the_extra_there_is_a_prompt_all_the_same(serve, tmp_path):
    screen = Terminal(
        [sys.executable, "-c", WITHOUT_EXTRA, "connect", str(serve(upper).port)], XDG_STATE_HOME=str(tmp_path)
    )
    try:
        screen.expect(PROMPT)
        screen.type("hello\r")
        screen.expect("HELLO\n")
        screen.type(CTRL_D)
        assert screen.wait() == 0
    finally:
        screen.close()


def test_a_history_that_cannot_be_kept_is_said_once(serve, terminal, tmp_path):
    (tmp_path / "file").touch()
    screen = terminal("connect", serve().port, XDG_STATE_HOME=str(tmp_path / "file"))
    screen.expect("* history is not kept: not a directory: ")
    screen.expect(PROMPT)
    screen.type("/quit\r")
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


def test_with_output_redirected_there_is_no_prompt(serve, terminal, tmp_path):
    """What comes must be in the file as it came; the terminal's own line editing serves."""
    peer = serve(upper)
    screen = Terminal(
        ["/bin/sh", "-c", f'{sys.executable} -m echoclient connect {peer.port} > "{tmp_path}/out"'],
    )
    try:
        screen.type("hello\n")
        screen.expect("hello\n")
        screen.type(CTRL_D)
        assert screen.wait() == 0
    finally:
        screen.close()
    assert (tmp_path / "out").read_bytes() == b"HELLO\n"


def test_ctrl_c_ends_the_wait_for_a_server_at_once(terminal):
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        screen = terminal("connect", sock.getsockname()[1], "--wait", "1h")
        screen.expect("waiting up to 1h for 127.0.0.1:")
        screen.type(b"\x03")
        assert screen.wait() == 130
    assert "Traceback" not in screen.screen
