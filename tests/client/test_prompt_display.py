"""What the prompt shows: colours, the bottom line, and nothing that a server could do to the terminal."""

from __future__ import annotations

import sys

from client.kit import CTRL_D, DUMB, PROMPT, Terminal, both, echo, upper

WITHOUT_EXTRA = """
import sys
sys.modules["prompt_toolkit"] = None  # importing it fails now, as it does without the extra
sys.argv = ["echoclient", *sys.argv[1:]]
from echoclient.cli import main
main()
"""


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


def test_the_bottom_line_shows_the_state_and_fits(serve, terminal):
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


def test_no_color_turns_colours_off(serve, terminal):
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


def test_with_output_redirected_there_is_no_prompt(serve, terminal, tmp_path):
    """What arrives is written to the file unchanged; the terminal's own line editing is used."""
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
