"""README is correct: its programs run, and its commands exist."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from echoserver import Server, ServerConfig
from echoserver.handlers import Peer, find_handler

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
PROGRAMS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_the_handler_does_what_its_docstring_says():
    (source,) = [program for program in PROGRAMS if "class Shout" in program]
    names: dict[str, object] = {}
    exec(compile(source, "shout.py", "exec"), names)
    shout = find_handler(names["Shout"], {"mark": "!!"}).make(Peer("::1", 5000))
    assert shout.feed(b"one\ntw") + shout.feed(b"o\n") == b"ONE!!\nTWO!!\n"


def test_the_embedding_program_prints_what_its_comment_says():
    (source,) = [program for program in PROGRAMS if "import socket" in program]
    ran = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, timeout=30, check=True)
    assert ran.stdout.strip() == "b'HELLO'"


@pytest.mark.parametrize("target", sorted(set(re.findall(r"^    make ([a-z-]+)", README, re.MULTILINE))))
def test_each_make_target_exists(target):
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)#:]+)\)", README))))
def test_each_link_has_a_target(link):
    assert (ROOT / link).exists()


def test_each_long_flag_of_serve_exists():
    from echoserver.config import flag_of, options

    known = {flag_of(name) for name, _ in options()} | {"--config", "--help"}
    shown = {
        flag for line in README.splitlines() if "echoserver serve" in line for flag in re.findall(r"--[a-z-]+", line)
    }
    assert shown <= known
    assert shown  # the pattern still matches something


def test_the_defaults_are_those_that_are_shown():
    config = ServerConfig()
    assert (config.host, config.port) == ("127.0.0.1", 9000)
    assert Server(config).config is config
