"""Certificates are read again when their files change, and a bad file changes nothing."""

from __future__ import annotations

import datetime
import os
import signal
import socket
import ssl
from pathlib import Path
from typing import Any

import pytest

from echoserver.errors import ConfigError
from echoserver.net.certificates import Certificates
from echoserver.observe.metrics import Metrics
from echoserver.serving import renewal as renewals
from echoserver.serving.renewal import Renewal
from server.kit import PATIENCE
from server.log_lines import LogLines
from server.tls_kit import AUTHORITY, trustme
from support import Service

DAY = datetime.timedelta(days=1)


def issue(folder: Path, name: str = "localhost", *, parts: str = "both", **dates: Any) -> int:
    """Write a new certificate and its key, or one of them; return its serial number."""
    made = AUTHORITY.issue_cert(name, **dates)
    if parts in ("both", "cert"):
        (folder / "cert.pem").write_bytes(made.cert_chain_pems[0].bytes())
    if parts in ("both", "key"):
        (folder / "key.pem").write_bytes(made.private_key_pem.bytes())
    served = ssl.create_default_context()
    served.load_verify_locations(cadata=made.cert_chain_pems[0].bytes().decode())
    return int(served.get_ca_certs()[0]["serialNumber"], 16) if served.get_ca_certs() else 0


def serial(address: tuple[str, int]) -> tuple[str, socket.socket]:
    """Connect, and return the serial number of the certificate with the connection."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    AUTHORITY.configure_trust(context)
    sock = context.wrap_socket(socket.create_connection(address, PATIENCE), server_hostname="localhost")
    return sock.getpeercert()["serialNumber"], sock


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Rig:
    """A renewal, whose next looks come when the test wants."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self.folder, self.clock, self.log, self.metrics = folder, clock, LogLines(), Metrics()
        issue(folder)
        self.certificates = Certificates(str(folder / "cert.pem"), str(folder / "key.pem"), None, "1.2")
        self.renewal = Renewal(self.certificates, self.metrics, self.log.logger)

    def look(self) -> bool:
        """Look a second later; return whether there is a new context."""
        before = self.certificates.context
        self.clock.now += 1.0
        self.renewal.look()
        return self.certificates.context is not before

    @property
    def counts(self) -> tuple[int, int]:
        snapshot = self.metrics.snapshot()
        return snapshot.reloads, snapshot.failed_reloads


@pytest.fixture
def rig(tmp_path, monkeypatch) -> Rig:
    clock = Clock()
    monkeypatch.setattr(renewals, "monotonic", clock)
    return Rig(tmp_path, clock)


def test_nothing_is_read_while_nothing_changes(rig):
    assert [rig.look() for _ in range(3)] == [False] * 3
    assert rig.counts == (0, 0)


def test_files_are_looked_at_once_a_second(rig, monkeypatch):
    looks = []
    monkeypatch.setattr(rig.certificates, "changed", lambda: bool(looks.append(1)))
    for _ in range(10):
        rig.clock.now += 0.2
        rig.renewal.look()
    assert len(looks) == 2


def test_a_change_is_read_and_said_once(rig):
    issue(rig.folder)
    assert rig.look()
    rig.look()  # once more, for a second change within the same step of the file times
    assert not rig.look()
    assert rig.counts == (1, 0)
    assert len(rig.log.lines("certificates reloaded")) == 1


def test_a_second_change_that_the_file_times_hide_is_read_too(rig, monkeypatch):
    issue(rig.folder)
    assert rig.look()
    monkeypatch.setattr(rig.certificates, "changed", lambda: False)
    issue(rig.folder)
    assert rig.look()


def test_half_a_pair_changes_nothing_until_the_other_half_comes(rig):
    made = AUTHORITY.issue_cert("localhost")
    (rig.folder / "key.pem").write_bytes(made.private_key_pem.bytes())
    assert [rig.look() for _ in range(3)] == [False] * 3
    assert rig.counts == (0, 1)
    (line,) = rig.log.lines("certificates not reloaded")
    assert "does not belong to the certificate" in line["reason"]
    (rig.folder / "cert.pem").write_bytes(made.cert_chain_pems[0].bytes())
    assert rig.look()
    assert rig.counts == (1, 1)


def test_a_half_that_comes_unseen_is_found_as_well(rig, monkeypatch):
    """Each second is tried again after a failure, whatever the file times say."""
    made = AUTHORITY.issue_cert("localhost")
    (rig.folder / "key.pem").write_bytes(made.private_key_pem.bytes())
    assert not rig.look()
    monkeypatch.setattr(rig.certificates, "changed", lambda: False)
    (rig.folder / "cert.pem").write_bytes(made.cert_chain_pems[0].bytes())
    assert rig.look()
    assert rig.counts == (1, 1)


@pytest.mark.parametrize("problem", ["gone", "empty", "not a certificate", "a directory"])
def test_a_bad_file_changes_nothing(rig, problem):
    file = rig.folder / "cert.pem"
    file.unlink()
    if problem == "a directory":
        file.mkdir()
    elif problem != "gone":
        file.write_text("" if problem == "empty" else "hello")
    assert not rig.look()
    assert rig.counts == (0, 1)
    assert str(file) in rig.log.lines("certificates not reloaded")[0]["reason"]


def test_a_swapped_link_is_followed_as_kubernetes_swaps_it(tmp_path, monkeypatch):
    monkeypatch.setattr(renewals, "monotonic", clock := Clock())
    for version in ("1", "2"):
        (tmp_path / version).mkdir()
        issue(tmp_path / version)
    (tmp_path / "..data").symlink_to("1")
    for name in ("cert.pem", "key.pem"):
        (tmp_path / name).symlink_to(f"..data/{name}")
    certificates = Certificates(str(tmp_path / "cert.pem"), str(tmp_path / "key.pem"), None, "1.2")
    watched = Renewal(certificates, Metrics(), LogLines().logger)
    before = certificates.context
    (tmp_path / "..new").symlink_to("2")
    os.rename(tmp_path / "..new", tmp_path / "..data")
    clock.now += 1
    watched.look()
    assert certificates.context is not before


def test_a_reload_that_is_asked_for_reads_without_a_change_and_raises(rig):
    before = rig.certificates.context
    rig.renewal.reload()
    assert rig.certificates.context is not before
    (rig.folder / "key.pem").unlink()
    with pytest.raises(ConfigError, match=r"^tls_key: '.*key\.pem' can't be read: No such file or directory$"):
        rig.renewal.reload()
    assert rig.counts == (1, 1)


@pytest.mark.parametrize(
    ("days", "event"), [(-1, "certificate has expired"), (3, "certificate expires soon"), (30, None)]
)
def test_a_certificate_that_expires_is_warned_of_once_a_day(rig, days, event):
    end = datetime.datetime.now(datetime.UTC).replace(microsecond=0) + days * DAY
    issue(rig.folder, not_before=end - 60 * DAY, not_after=end)
    rig.renewal = Renewal(rig.certificates, rig.metrics, rig.log.logger)
    rig.look()
    rig.look()
    warnings = [*rig.log.lines("certificate has expired"), *rig.log.lines("certificate expires soon")]
    assert {(line["event"], line["expires"]) for line in warnings} == ({(event, end.isoformat())} if event else set())
    said = len(warnings)
    rig.clock.now += 86_400
    rig.look()
    assert len(rig.log.lines(event)) == said + 1 if event else not warnings


# -- the command


@pytest.fixture
def service(tmp_path):
    issue(tmp_path)
    with Service(
        *("--listen", "tls://127.0.0.1:0", "--tls-cert", "cert.pem", "--tls-key", "key.pem"), cwd=tmp_path
    ) as started:
        yield started


def test_new_connections_get_the_new_certificate_and_open_ones_go_on(service, tmp_path):
    first, old = serial(service.address)
    with old:
        issue(tmp_path)
        service.wait_for("certificates reloaded")
        second, new = serial(service.address)
        with new:
            assert first != second
            for sock in (old, new):
                sock.sendall(b"hello")
                assert sock.recv(100) == b"hello"


def test_sighup_reads_them_again_and_drains_nothing(service, tmp_path):
    service.send_signal(signal.SIGHUP)
    service.wait_for("reloaded")
    (tmp_path / "key.pem").write_text("nothing")
    service.send_signal(signal.SIGHUP)
    line = service.wait_for("not reloaded")
    assert line["reason"].startswith("tls_key: 'key.pem' holds no private key in PEM form")
    _, sock = serial(service.address)
    sock.close()
    service.send_signal(signal.SIGTERM)
    assert service.finish() == 0
    last = service.events[-1]
    assert (last["reloads"], last["failed_reloads"] >= 1) == (1, True)


def test_a_server_starts_with_an_expired_certificate_and_says_so(tmp_path):
    end = datetime.datetime(2024, 2, 29, 12, tzinfo=datetime.UTC)
    issue(tmp_path, not_before=end - 60 * DAY, not_after=end)
    arguments = ("--listen", "tls://127.0.0.1:0", "--tls-cert", "cert.pem", "--tls-key", "key.pem")
    with Service(*arguments, cwd=tmp_path) as started:
        said = [line for line in started.events if line["event"] == "certificate has expired"]
        line = said[0] if said else started.wait_for("certificate has expired")
        assert (line["file"], line["expires"], line["level"]) == ("cert.pem", "2024-02-29T12:00:00+00:00", "warning")


assert trustme  # the tests of this file are skipped without it
