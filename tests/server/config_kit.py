"""What the tests of the configuration share: for each kind of value, examples of what it allows and what it refuses."""

from __future__ import annotations

from pathlib import Path

import tomli_w

from echoserver.config import options
from echoserver.config.addresses import AdminEndpoint, Endpoints, Networks, Several
from echoserver.config.faults import FaultRules, FaultTicket
from echoserver.config.values import (
    AmountKind,
    Choice,
    Duration,
    FileName,
    HandlerName,
    Kind,
    RateKind,
    Table,
    Text,
    Whole,
)
from echoserver.errors import ConfigError
from echoserver.faults.rules import parse_rule
from echoserver.faults.tickets import Ticket, read_ticket
from support import ROOT

TICKETS = (str(Ticket(7, 1, (parse_rule("reset"),))), str(Ticket(8, 2, (parse_rule("drop@msg 5"),))))
OPTIONS = dict(options())
EXAMPLE = ROOT / "config" / "echoserver.toml"


def variable_of(name: str) -> str:
    return "ECHOSERVER_" + name.upper()


def two_texts(kind: Kind) -> tuple[str, str]:
    """Return two texts that the kind allows, which stand for different values."""
    match kind:
        case Whole():
            return str(kind.high), str(kind.low)
        case Choice():
            return kind.words[0], kind.words[-1]
        case Duration():
            return "1234ms", "7m"
        case Table():
            return "first=1", "second=2"
        case Networks():
            return "10.0.0.0/8\n::1", "192.0.2.7"
        case Endpoints():
            return "tcp://[::]:9000\nunix:/run/echo.sock?mode=0600", "systemd:echo"
        case AdminEndpoint():
            return "unix:/run/admin.sock", "tcp://127.0.0.1:9001"
        case FaultRules():
            return "delay=50ms:10,200ms:2@10%\nreset@byte 1000", "drop@msg 5"
        case FaultTicket():
            return TICKETS
        case RateKind():
            return "100/s", "1MiB/s"
        case AmountKind():
            return "100", "64kB"
        case Text() | HandlerName() | FileName():
            return "first", "second"
    raise AssertionError(f"add what a {type(kind).__name__} allows")


def as_toml(kind: Kind, text: str) -> object:
    """Return what stands in a file for the text of a flag."""
    return kind.show(kind.parse(text))


def wrong_texts(kind: Kind) -> list[str]:
    match kind:
        case Whole():
            return [str(kind.low - 1), str(kind.high + 1), "many", "1.5", "0x10", "1e3", " 1", "-"]
        case Choice():
            return ["nonsense", f"{kind.words[0]}x".upper(), kind.words[0] + " "]
        case Duration():
            return ["30", "soon", "-1s", "1d", "1001h", "0.1ms", "1 s"]
        case Table():
            return ["encoding", "=utf-8"]
        case Networks():
            return ["localhost", "10.0.0.1/8", "10.0.0.0/33", "10.0.0.1 ", "10.0.0.1\n\n", "1", "::1/129"]
        case Endpoints():
            return ["localhost:9000", "udp://127.0.0.1:9000", "fd:", "fd:-1", "fd:x", "systemd:", "UNIX:/x", "/run/x"]
        case AdminEndpoint():
            return [
                "localhost:9001",
                "fd:3",
                "systemd:admin",
                "tls://127.0.0.1:1",
                "unix:x",
                "tcp://[::1]:1?proxy=require",
            ]
        case FaultRules():
            return ["reset@", "dealy=1s", "drop\nrefuse@byte 5", "delay=50ms@200%", " ", "reset=\x1b[2J"]
        case FaultTicket():
            return ["drop", TICKETS[0][:-1], TICKETS[0] + "2", TICKETS[0].lower(), TICKETS[0] + "\n"]
        case RateKind():
            return ["100", "/s", "0/s", "1.5/s", "-1/s", "64kb/s", "64 kB/s", "100/m", "1001GB/s", "٣/s", "0kB"]
        case AmountKind():
            return ["100/s", "1.5", "-1", "64kb", "64 kB", "kB", "1001GB", "0B", "1e3"]
        case Text() | HandlerName() | FileName():
            return ["two\nlines", "\x1b[2J", "\x7f"]
    raise AssertionError(f"add what a {type(kind).__name__} refuses")


def refusal_of(kind: Kind, text: str) -> str:
    """Return what the refusal of a wrong text says after its origin."""
    read = {FaultRules: parse_rule, FaultTicket: read_ticket}.get(type(kind))
    if read is not None:
        # These say themselves what is wrong; their own tests show that.
        for line in text.split("\n") if kind.many else [text]:
            try:
                read(line)
            except ValueError as error:
                return str(error)
    return f"{refused_part(kind, text)!r} is refused: must be {kind.allowed}"


def refused_part(kind: Kind, value: object) -> object:
    """Return what of a wrong value is refused: of several, the first one that is wrong."""
    if not isinstance(kind, Several) or not isinstance(value, str | list):
        return value
    for entry in value.removesuffix("\n").split("\n") if isinstance(value, str) else value:
        try:
            kind.check_one(entry)
        except ValueError:
            return entry
    return value


def wrong_values(kind: Kind) -> list[object]:
    """Return values that neither a file nor Python may give."""
    of_other_types = [b"", [], ["x"], {"x": {"y": 1}}, -1.5, float("nan"), float("inf")]
    match kind:
        case Whole():
            return [*of_other_types, kind.low - 1, kind.high + 1, True, "1", 1.0, 10**5000]
        case Choice():
            return [*of_other_types, "", "nonsense", 1, True]
        case Duration():
            return [*of_other_types, True, False, "", "soon", -1, 10**10]
        case Table():
            return ["x=1", 1, [], b"", {"x": {"y": 1}}, {"x": [1]}]
        case Networks():
            return ["::1", b"", ["x"], [1], [["::1"]], {"::1": 1}, 1, True, 1.5, [""]]
        case Endpoints():
            return ["unix:/x", b"", ["x"], [1], [["unix:/x"]], {"unix:/x": 1}, 1, True, 1.5, [""]]
        case AdminEndpoint():
            return [*of_other_types, "fd:3", 1, True]
        case FaultRules():
            return ["reset", b"", [1], [["reset"]], {"reset": 1}, 1, True, 1.5, [""]]
        case FaultTicket():
            return [*of_other_types, 1, True]
        case AmountKind() | RateKind():
            return [*of_other_types, "", "soon", 1, True, 10**5000, "1e3/s"]
        case FileName():
            return [*of_other_types, "two\nlines", "\x1b[2J", 1, True]
        case Text() | HandlerName():
            return [*of_other_types, "", "two\nlines", "\x1b[2J", 1, True]
    raise AssertionError(f"add what a {type(kind).__name__} refuses")


def toml_allows(value: object) -> bool:
    return not isinstance(value, bytes) and not (isinstance(value, int) and abs(value) > 10**4000)


def assert_one_line(error: ConfigError) -> None:
    assert str(error).isprintable()


def write_file(folder: Path, content: dict | str | bytes) -> str:
    """Write a configuration file and return its path."""
    path = folder / "echoserver.toml"
    if isinstance(content, dict):
        content = tomli_w.dumps(content)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)
