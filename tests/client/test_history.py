"""The history file."""

from __future__ import annotations

import stat

import pytest

from echoclient.history import HistoryFile


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path / "echoclient" / "history"


def test_what_was_typed_is_there_the_next_time(file):
    history = HistoryFile()
    for line in ("one", "größe", "\udcff raw", "  spaced "):
        history.add(line)
    assert HistoryFile().entries == ["one", "größe", "\udcff raw", "  spaced "]
    assert history.trouble == ""


def test_nobody_else_can_read_it(file):
    HistoryFile().add("secret")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize("line", ["", "  ", "x" * 5000, "two\nlines", "two\u2028lines"])
def test_what_is_not_kept(file, line):
    HistoryFile().add(line)
    assert file.read_bytes() == b""


def test_a_long_history_is_shortened(file):
    HistoryFile()
    file.write_text("".join(f"{number}\n" for number in range(5000)))
    newest = [str(number) for number in range(4000, 5000)]
    assert HistoryFile().entries == newest
    assert file.read_text().splitlines() == newest
    assert list(file.parent.iterdir()) == [file]


def test_two_clients_at_once_lose_nothing(file):
    one, other = HistoryFile(), HistoryFile()
    one.add("one")
    other.add("other")
    assert HistoryFile().entries == ["one", "other"]


def test_the_state_folder_is_under_home_by_default(tmp_path, monkeypatch):
    for value in ("", "relative/is/ignored"):
        monkeypatch.setenv("XDG_STATE_HOME", value)
        monkeypatch.setenv("HOME", str(tmp_path))
        HistoryFile().add("x")
        assert (tmp_path / ".local/state/echoclient/history").read_text()


def test_without_a_place_for_it_there_is_one_line_about_it(tmp_path, monkeypatch):
    (tmp_path / "echoclient").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    history = HistoryFile()
    assert history.trouble.startswith("history is not kept: ")
    assert len(history.trouble.splitlines()) == 1
    history.add("goes nowhere")


def test_without_a_home(monkeypatch):
    def no_home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setattr("pathlib.Path.home", no_home)
    assert HistoryFile().trouble == "history is not kept: no home directory: ~"


def test_a_disk_that_fills_up_later(file):
    history = HistoryFile()
    file.unlink()
    file.mkdir()
    history.add("lost")
    assert "is a directory" in history.trouble
