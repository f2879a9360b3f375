"""A server meets the client with each kind of fault: the exit status and the line that names it, and no hang."""

from __future__ import annotations

import json
import re
from contextlib import ExitStack

import pytest

from client.kit import run
from echoserver import Server, ServerConfig
from echoserver.faults.kinds import KINDS

SIZE = 4096
REQUEST = b"abcdefgh" * (SIZE // 8)
LIMIT = ("--timeout", "1s")

RESET = "RESET {}: connection reset by the server after 1000 of 4096 bytes"
CLOSED = "CLOSED {}: the server ended the connection after 1000 of 4096 bytes"
CORRUPT = "CORRUPT {}: at 1003"
UNANSWERED = "TIMEOUT {}: 1 of 1 replies did not come; received %d of 4096 bytes"
# Closing meets the bytes of the client either before or after it has sent them.
REFUSED = r"(CLOSED|RESET) {}: .*; 0 bytes sent, 0 received|(CLOSED|RESET) {}: .* after 0 of 4096 bytes"

# For each rule what `send` and `ping` say, and the kinds, the place and the text of what `bench` counts.
CASES = {
    "delay=50ms": (None, None, None),
    "throttle=64kB/s": (None, None, None),
    "slice=1000..1500,5ms": (None, None, None),
    "stall@byte 1000": (
        "TIMEOUT {}: the server did not end the exchange within 1s; received 1000 of 4096 bytes",
        UNANSWERED % 1000,
        ("SHORT", 1000, "1000 of 4096 bytes of a reply came within 1 s"),
    ),
    "reset@byte 1000": (
        RESET,
        RESET,
        ("RESET", 1000, "connection reset by the server after 1000 of 4096 bytes of a reply"),
    ),
    "close@byte 1000": (CLOSED, CLOSED, ("SHORT", 1000, "closed after 1000 of 4096 bytes of a reply")),
    "halfclose@byte 1000": (CLOSED, CLOSED, ("SHORT", 1000, "closed after 1000 of 4096 bytes of a reply")),
    "corrupt@byte 1003": (CORRUPT, CORRUPT, ("CORRUPT", 1003, "expected byte 0x.., got 0x..")),
    "drop": (
        "CLOSED {}: the server ended the connection after 0 of 4096 bytes",
        UNANSWERED % 0,
        ("TIMEOUT", 0, "no reply within 1 s"),
    ),
    "duplicate@msg 1": (
        "DIFFERS {}: the reply has 4096 bytes too many, from offset 4096",
        "DIFFERS {}: received 4096 bytes too many",
        # The second copy comes before or after the next message is sent, whose reply it then is taken for.
        ("EXTRA|CORRUPT", 4096, "more bytes were received than sent|expected byte 0x.., got 0x.."),
    ),
    "refuse": (REFUSED, REFUSED, ("CLOSED|RESET", 0, "closed .*|connection reset by the server|.*has closed.*")),
}


@pytest.fixture(params=CASES)
def rule(request):
    return request.param


@pytest.fixture
def address(rule):
    with ExitStack() as stack:
        server = stack.enter_context(Server(ServerConfig(port=0, fault=[rule], fault_seed=1)))
        host, port = server.address
        yield f"{host}:{port}"


def check(result, said, address):
    """Check the exit status and the last line on standard error."""
    lines = result.stderr.decode().splitlines()
    assert "Traceback" not in result.stderr.decode()
    if said is None:
        assert (result.returncode, lines) == (0, [])
        return
    assert result.returncode == 1
    pattern = said if said == REFUSED else re.escape(said).replace(r"\{\}", "{}")
    assert re.fullmatch("echoclient: (" + pattern.replace("{}", re.escape(address)) + ")", lines[-1]), lines
    assert all(line.startswith(("  expected", "  received")) for line in lines[:-1])


def test_every_kind_is_here():
    assert [re.match("[a-z]+", rule)[0] for rule in CASES] == list(KINDS)


def test_send_names_it(rule, address):
    result = run("send", "-t", address, "--expect", "echo", *LIMIT, stdin=REQUEST)
    check(result, CASES[rule][0], address)
    if CASES[rule][0] is None:
        assert result.stdout == REQUEST


def test_ping_names_it(rule, address):
    # The second of two messages shows that the copy of the first reply came when none was due.
    count = ("-c", "2", "-i", "300ms") if rule.startswith("duplicate") else ("-c", "1")
    result = run("ping", address, *count, "-s", SIZE, *LIMIT)
    check(result, CASES[rule][1], address)


def test_ping_has_the_word_in_its_json(rule, address):
    count = ("-c", "2", "-i", "300ms") if rule.startswith("duplicate") else ("-c", "1")
    result = run("ping", address, *count, "-s", SIZE, *LIMIT, "--json")
    said = result.stderr.decode().removeprefix("echoclient: ").split(" ")[0]
    assert json.loads(result.stdout)["error"] == (said or None)
    assert bool(said) == (CASES[rule][1] is not None)


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("drop@msg 1", "TIMEOUT {}: 1 of 3 replies did not come; received 8192 of 12288 bytes"),
        ("duplicate@msg 1", "DIFFERS {}: received 4096 bytes too many"),
        ("corrupt@byte 5000", "CORRUPT {}: at 5000"),
    ],
    indirect=["rule"],
)
def test_replies_out_of_step_are_not_called_corrupt(rule, said, address):
    check(run("ping", address, "-c", "3", "-i", "300ms", "-s", SIZE, *LIMIT), said, address)


def test_bench_counts_it(rule, address, tmp_path):
    result = run("bench", address, "-n", 2, "-c", 1, "-s", SIZE, *LIMIT, "--json", tmp_path / "result.json")
    assert result.stderr == b""
    text, figures = result.stdout.decode(), json.loads((tmp_path / "result.json").read_text())
    counts, examples = figures["errors"]["counts"], figures["errors"]["examples"]
    if CASES[rule][2] is None:
        assert (result.returncode, counts, figures["ok"]) == (0, {}, True)
        assert re.search("^errors +none$", text, re.MULTILINE)
        return
    kinds, offset, detail = CASES[rule][2]
    assert (result.returncode, figures["ok"]) == (1, False)
    assert counts
    assert counts.keys() <= set(kinds.split("|"))
    assert {example["offset"] for example in examples} == {offset}
    for example in examples:
        assert re.fullmatch(detail, example["detail"])
        assert f"{example['kind']} on connection 0, reply byte {offset:,}" in text
        assert example["detail"] in text
