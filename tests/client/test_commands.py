"""The commands of the prompt: what a line means."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echoclient.commands import (
    COMMANDS,
    Complaint,
    Send,
    SendFile,
    SetNewline,
    SetView,
    Simple,
    Time,
    complete,
    help_text,
    parse,
)
from echoclient.repl import in_chunks


@pytest.mark.parametrize(
    ("line", "action"),
    [
        ("hello", Send(b"hello\n")),
        ("", Send(b"\n")),
        (" /help", Send(b" /help\n")),
        ("//help", Send(b"/help\n")),
        ("//", Send(b"/\n")),
        ("größe", Send("größe\n".encode())),
        ("\udcff", Send(b"\xff\n")),
        ("/help", Simple("help")),
        ("/help ", Simple("help")),
        ("/stats", Simple("stats")),
        ("/halfclose", Simple("halfclose")),
        ("/reconnect", Simple("reconnect")),
        ("/quit", Simple("quit")),
        ("/hex 00ff", Send(b"\x00\xff")),
        ("/hex  00 FF 0a ", Send(b"\x00\xff\n")),
        ("/view hex", SetView(as_hex=True)),
        ("/view text", SetView(as_hex=False)),
        ("/newline on", SetNewline(on=True)),
        ("/newline off", SetNewline(on=False)),
        ("/repeat 3 a b ", Send(b"a b \n", 3)),
        ("/repeat 2", Send(b"\n", 2)),
        ("/time  two", Time(b" two\n")),
        ("/send /tmp/a b", SendFile("/tmp/a b")),
    ],
)
def test_a_line_means(line, action):
    assert parse(line) == action


def test_without_newline_text_is_sent_bare():
    assert parse("hello", b"") == Send(b"hello")
    assert parse("/repeat 2 a", b"") == Send(b"a", 2)
    assert parse("/time a", b"") == Time(b"a")


def test_a_file_in_the_home_folder(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert parse("/send ~/x") == SendFile("/home/me/x")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("/hlep", "did you mean /help?"),
        ("/", "/help lists the commands"),
        ("/usr/bin", "type // instead"),
        ("/quit now", "takes no argument"),
        ("/hex 0", "not hexadecimal"),
        ("/hex zz", "not hexadecimal"),
        ("/hex", "no bytes"),
        ("/view", "write hex or text"),
        ("/view x", "Usage: /view text|hex"),
        ("/newline yes", "write on or off"),
        ("/repeat", "not a number"),
        ("/repeat 0 a", "not a number"),
        ("/repeat -1 a", "not a number"),
        ("/repeat " + "9" * 5000, "not a number"),
        ("/send", "no file"),
    ],
)
def test_a_wrong_command_explains_itself(line, says):
    action = parse(line)
    assert isinstance(action, Complaint)
    assert says in action.text


@given(st.text() | st.text().map(lambda text: f"/{text}"))
def test_any_line_means_something(line):
    parse(line)


@given(st.text())
def test_any_text_can_be_sent(text):
    assert parse(f"/{text}" if text.startswith("/") else text) == Send(text.encode() + b"\n")


def test_completion_of_commands_and_their_choices():
    assert list(complete("/re")) == ["/repeat ", "/reconnect"]
    assert list(complete("/view ")) == ["/view text", "/view hex"]
    assert list(complete("/view h")) == ["/view hex"]
    assert list(complete("/nonsense x")) == []
    assert list(complete("//re")) == []
    assert list(complete("re")) == []


def test_completion_of_files(tmp_path):
    (tmp_path / "a[b].bin").touch()
    (tmp_path / "a[b]").mkdir()
    assert list(complete(f"/send {tmp_path}/a[")) == [f"/send {tmp_path}/a[b]/", f"/send {tmp_path}/a[b].bin"]


def test_the_help_names_every_command():
    assert all(f"/{command.usage} " in help_text() for command in COMMANDS.values())


@given(st.binary(max_size=300_000), st.integers(0, 50))
def test_repetition_in_pieces_is_repetition(data, times):
    assert b"".join(in_chunks(data, times)) == data * times


def test_a_million_short_lines_are_few_pieces():
    pieces = [len(piece) for piece in in_chunks(b"ab\n", 1_000_000)]
    assert sum(pieces) == 3_000_000
    assert len(pieces) < 20
