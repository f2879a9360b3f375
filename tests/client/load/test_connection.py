"""Connecting, retrying, and counting faults."""

from __future__ import annotations

import errno

import pytest

from echoclient.load import connection as connection_module
from echoclient.load.connection import FIRST_PAUSE, LONGEST_PAUSE, Connection
from echoclient.load.faults import EXAMPLES, Fault, FaultLog, kind_of
from echoclient.load.pattern import Pattern
from echoclient.target import Target

PATTERN = Pattern("echo", 1)


class FakeSocket:
    """A socket whose connect returns the given codes, and that may be connected to itself."""

    def __init__(self, codes: list[int], local: int) -> None:
        self.codes, self.local = codes, local

    def __call__(self, *_: object) -> FakeSocket:
        return self

    def fileno(self) -> int:
        return 999

    def connect_ex(self, _: object) -> int:
        return self.codes.pop(0)

    def getsockname(self) -> tuple[str, int]:
        return "127.0.0.1", self.local

    def getpeername(self) -> tuple[str, int]:
        return "127.0.0.1", 9000

    def getsockopt(self, *_: object) -> int:
        return 0

    def setblocking(self, _: bool) -> None: ...
    def setsockopt(self, *_: object) -> None: ...
    def close(self) -> None: ...


def connecting(monkeypatch: pytest.MonkeyPatch, codes: list[int], local: int = 5) -> Connection:
    monkeypatch.setattr(connection_module.socket, "socket", FakeSocket(codes, local))
    return Connection(0, PATTERN, Target(), verify=True)


@pytest.mark.parametrize("codes", [[0], [errno.EINPROGRESS, 0], [errno.EINPROGRESS, errno.EISCONN]])
def test_a_connect_that_is_over_at_once(monkeypatch, codes):
    connection = connecting(monkeypatch, codes)
    assert connection.open(2, ("127.0.0.1", 9000), "", 0.0)
    assert connection.connected


def test_a_connect_that_takes_its_time(monkeypatch):
    connection = connecting(monkeypatch, [errno.EINPROGRESS, errno.EALREADY, errno.EALREADY, 0])
    address = ("127.0.0.1", 9000)
    assert not connection.open(2, address, "", 0.0)
    assert not connection.advance(address)
    assert connection.advance(address)


def test_a_socket_that_is_connected_to_itself_is_a_refusal(monkeypatch):
    connection = connecting(monkeypatch, [0], local=9000)
    with pytest.raises(OSError) as refused:  # noqa: PT011 - the number is looked at
        connection.open(2, ("127.0.0.1", 9000), "", 0.0)
    assert refused.value.errno == errno.ECONNREFUSED
    assert not connection.connected


def test_a_connection_that_never_answered_is_retried_later_and_later():
    connection = Connection(0, PATTERN, Target(), verify=True)
    pauses = []
    for _ in range(7):
        connection.plan_retry(100.0)
        pauses.append(connection.retry_at - 100.0)
    assert pauses == pytest.approx([FIRST_PAUSE * 2**power for power in range(5)] + [LONGEST_PAUSE] * 2)
    connection.arrived += 1
    connection.plan_retry(100.0)
    assert connection.retry_at == 100.0


def fault(kind: str, at: float | None, offset: int = 0) -> Fault:
    return Fault(kind, 0, offset, at, "")


def test_faults_are_all_counted_and_the_first_are_kept():
    log = FaultLog()
    for offset in range(10):
        log.add(fault("RESET", float(offset), offset))
    log.add(fault("CORRUPT", 20.0))
    assert log.counts == {"RESET": 10, "CORRUPT": 1}
    assert log.total == 11
    assert [(kept.kind, kept.offset) for kept in log.examples] == [
        *(("RESET", offset) for offset in range(EXAMPLES)),
        ("CORRUPT", 0),
    ]


def test_the_first_faults_of_two_processes_are_the_earliest_of_both():
    log, other = FaultLog(), FaultLog()
    for at in range(1, 6):
        log.add(fault("RESET", float(at)))
        other.add(fault("RESET", at - 0.5))
    other.add(fault("CLOSED", None))
    log.merge(other)
    assert log.counts == {"RESET": 10, "CLOSED": 1}
    assert [(kept.kind, kept.at) for kept in log.examples] == [
        ("CLOSED", None),
        ("RESET", 0.5),
        ("RESET", 1.0),
        ("RESET", 1.5),
    ]
    assert FaultLog.from_json(log.to_json()).to_json() == log.to_json()


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (errno.ECONNREFUSED, "REFUSED"),
        (errno.ECONNRESET, "RESET"),
        (errno.EPIPE, "CLOSED"),
        (errno.ETIMEDOUT, "TIMEOUT"),
        (errno.EMFILE, "OTHER"),
        (errno.EADDRNOTAVAIL, "OTHER"),
    ],
)
def test_what_a_socket_call_meets_has_a_kind_and_a_text(code, kind):
    found, text = kind_of(OSError(code, "as the system calls it"))
    assert found == kind
    assert text
    assert not text.startswith(":")
