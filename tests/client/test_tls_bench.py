"""Load over TLS: the handshake is measured apart, and what goes wrong is named."""

from __future__ import annotations

import json
import re
import ssl
from contextlib import suppress

import pytest

from client.kit import run as command
from client.tls_kit import Service, failure, only_tls12, over_tls
from echoclient.load import Plan, run
from echoclient.load.html_page import html_page
from echoclient.load.table import summary
from echoclient.proxy import ProxySettings
from echoclient.target import Target
from echoclient.tls_settings import TlsSettings

WORKS = {
    "closed": {"connections": 4},
    "pipelined": {"connections": 4, "pipeline": 5, "smallest": 1, "largest": 100_000},
    "open": {"connections": 4, "rate": 500.0},
    "churn": {"connections": 4, "churn": True},
}
WORK = pytest.mark.parametrize("work", WORKS)
VERSIONS = pytest.mark.parametrize("version", ["1.2", "1.3"])


def secured(files, port, **more):
    return Target("localhost", port, tls=TlsSettings(ca=files.ca), **more)


@WORK
@VERSIONS
def test_every_byte_comes_back_and_handshakes_are_counted_apart(files, work, version):
    changes = only_tls12(files) if version == "1.2" else {}
    with Service(files, "tls://127.0.0.1:0", more=("--log-level", "debug"), **changes) as service:
        result = run(Plan(secured(files, service.ports[0]), messages=100, **WORKS[work]))
        connections = 100 if work == "churn" else 4
        reasons = {service.wait_for("connection ended", tls=f"TLSv{version}")["reason"] for _ in range(connections)}
    assert result.ok, (result.faults, result.failures)
    assert result.answered == result.latency.count == 100
    assert result.handshake.count == connections
    assert (result.connect.count if result.connect else 0) == (100 if work == "churn" else 0)
    assert reasons == {"eof"}


def test_the_handshake_is_no_part_of_the_connect(files):
    """On one processor or many, a handshake takes longer than a connect over loopback."""
    with Service(files, "tls://127.0.0.1:0") as service:
        result = run(Plan(secured(files, service.ports[0]), connections=1, messages=50, churn=True))
    assert result.connect.percentiles[50.0] < result.handshake.percentiles[50.0]


def test_the_text_the_json_and_the_page_have_the_handshake(files, tmp_path):
    page, figures = tmp_path / "page.html", tmp_path / "figures.json"
    with Service(files, "tls://127.0.0.1:0") as service:
        target = f"tls://localhost:{service.ports[0]}"
        outputs = ("--json", figures, "--html", page)
        result = command("bench", target, "--tls-ca", files.ca, "-c", "2", "-n", "20", *outputs)
    assert result.returncode == 0
    assert re.search(r"^handshake +\d", result.stdout.decode(), re.MULTILINE)
    values = json.loads(figures.read_text())
    assert values["handshake"]["count"] == 2
    assert (values["plan"]["target"], values["plan"]["tls_ca"]) == (target, files.ca)
    assert "<th>handshake</th>" in page.read_text()
    assert "dotted lines are the handshake" in page.read_text()
    compared = command("report", figures, figures, "--html", tmp_path / "report.html")
    assert compared.returncode == 0


def test_a_header_comes_before_the_handshake(files):
    trusted = ("--proxy-trusted", "127.0.0.1")
    with Service(files, "tls://127.0.0.1:0?proxy=require", more=trusted) as service:
        target = secured(files, service.ports[0], proxy=ProxySettings("v2", ("192.0.2.1", 7)))
        result = run(Plan(target, connections=2, messages=10))
        assert result.ok, result.faults
        # The first connection is that with which a run looks for the server.
        assert [service.wait_for("connection ended")["peer"] for _ in range(2)] == 2 * ["192.0.2.1:7"]


def test_a_refused_certificate_ends_the_run_before_it_begins(files):
    with Service(files, "tls://127.0.0.1:0", more=("--tls-client-ca", files.ca)) as service:
        target = f"tls://localhost:{service.ports[0]}"
        options = ("-n", "20", "--json", "-", "--tls-ca", files.ca)
        assert "refused the client's certificate" in failure("bench", target, *options, "--tls-cert", files.stranger)
        assert "requires a client's certificate" in failure("bench", target, *options)
        assert command("bench", target, *options, "--tls-cert", files.client).returncode == 0


@pytest.mark.parametrize(
    ("ending", "kind", "says"),
    [("in order", "CLOSED", "closed with 1 replies due"), ("cut", "TLS", "the stream ended without close_notify")],
)
def test_an_early_end_is_an_error_of_its_kind(serve, files, ending, kind, says):
    def ends(connection):
        if connection.recv(65536) and ending == "in order":
            connection.setblocking(False)
            with suppress(ssl.SSLError):  # the client has not ended its side
                connection.unwrap()

    result = run(Plan(secured(files, serve(over_tls(ends)).port), connections=1, messages=1, timeout=1.0))
    assert not result.ok
    assert list(result.faults.counts) == [kind]
    assert says in result.faults.examples[0].detail
    assert says in summary(result)


def test_one_wrong_byte_is_found(serve, files):
    def corrupts(connection):
        while data := connection.recv(65536):
            connection.sendall(bytes([data[0] ^ 1]) + data[1:])

    result = run(Plan(secured(files, serve(over_tls(corrupts)).port), connections=1, messages=1, timeout=1.0))
    assert list(result.faults.counts) == ["CORRUPT"]


def test_a_server_that_stops_speaking_tls(serve, files):
    """The connection before the run gets a handshake; those of the load do not."""
    served = []

    def once(connection):
        served.append(connection)
        if len(served) == 1:
            over_tls(lambda tls: tls.recv(65536))(connection)
        else:
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    result = run(Plan(secured(files, serve(once).port), connections=2, messages=2, timeout=1.0))
    assert not result.ok
    assert result.faults.counts["TLS"] >= 2
    assert result.faults.examples[0].detail == "the server does not speak TLS at this port"
    assert "TLS on connection" in html_page([("x", result)])
