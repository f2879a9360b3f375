"""What is typed at the prompt: while text arrives, while a command runs, from the history, completed."""

from __future__ import annotations

import re
import threading

import pytest

from client.kit import CTRL_D, DUMB, FULL, PROMPT, both, echo, read_exactly, upper


def test_text_that_arrives_while_typing_is_shown_above_the_prompt(serve, terminal):
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
    # The prompt is redrawn between two lines, by moving the cursor.
    shown = re.findall(r"line (\d+) of the flood\r\n", screen.screen)
    assert shown == [str(number) for number in range(10_000)]
    assert received == [b"typed-meanwhile\n"]
    screen.type("/quit\r")
    assert screen.wait() == 0


@both
def test_what_is_typed_while_a_command_runs_waits_for_the_next_prompt(serve, terminal, front_end):
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
    screen.expect("* 10 bytes sent, 10 received\n")
    assert screen.wait() == 0
    assert "next" not in screen.screen.partition("SLOW")[0]


@pytest.mark.parametrize(
    ("front_end", "typed", "shown"),
    [
        (FULL, "größe ☃", "größe ☃\n"),
        (DUMB, "größe ☃", "größe ☃\n"),
        (FULL, b"caf\xe9", "caf\\xe9\n"),  # readline(3) drops it
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


def test_a_history_that_cannot_be_kept_is_reported_once(serve, terminal, tmp_path):
    (tmp_path / "file").touch()
    screen = terminal("connect", serve().port, XDG_STATE_HOME=str(tmp_path / "file"))
    screen.expect("* history is not kept: not a directory: ")
    screen.expect(PROMPT)
    screen.type("/quit\r")
    assert screen.wait() == 0


def test_completion_with_the_menu(serve, terminal):
    screen = terminal("connect", serve().port)
    screen.expect(PROMPT)
    screen.type("/vi")
    screen.expect("show what arrives as text or in hexadecimal")
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
