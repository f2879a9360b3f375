"""The metrics: well-formed in both formats, and right at every scrape."""

from __future__ import annotations

import shutil
import subprocess
import threading

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from server.kit import PATIENCE, Peer
from server.ways import wait_for

OPENMETRICS = {"Accept": "application/openmetrics-text; version=1.0.0"}


def scrape(admin, headers=None) -> tuple[dict[tuple[str, tuple[tuple[str, str], ...]], float], str]:
    status, body, found = admin.ask("GET", "/metrics", headers=headers)
    assert status == 200
    parse = parse_openmetrics if headers else parse_text
    samples = {}
    for family in parse(body.decode()):
        for sample in family.samples:
            key = sample.name, tuple(sorted(sample.labels.items()))
            assert key not in samples
            samples[key] = sample.value
    return samples, found["content-type"]


def balance(samples) -> tuple[float, float]:
    closed = sum(value for (name, _), value in samples.items() if name == "echoserver_connections_closed_total")
    accepted = samples["echoserver_connections_accepted_total", ()]
    return accepted, samples["echoserver_connections_active", ()] + closed


def test_how_long_connections_were_open(administer, connect):
    admin = administer()
    peers = [connect(admin) for _ in range(3)]
    for peer in peers:
        assert peer.exchange(b"hello") == b"hello"
    bucket = "echoserver_connection_duration_seconds_bucket"
    assert scrape(admin)[0][bucket, (("le", "+Inf"),)] == 0
    for peer in peers:
        peer.close()
    wait_for(lambda: scrape(admin)[0][bucket, (("le", "+Inf"),)] == 3, "not all have been counted")
    samples, _ = scrape(admin)
    counts = [value for (name, _), value in samples.items() if name == bucket]
    assert counts == sorted(counts)
    assert samples["echoserver_connection_duration_seconds_count", ()] == 3
    assert 0 < samples["echoserver_connection_duration_seconds_sum", ()] < 60


@pytest.mark.parametrize(("headers", "kind"), [(None, "text/plain"), (OPENMETRICS, "application/openmetrics-text")])
def test_both_formats_can_be_parsed(administer, connect, headers, kind):
    admin = administer(fault=["delay=1ms"], handler="upper")
    assert connect(admin).exchange(b"hello") == b"HELLO"
    samples, content_type = scrape(admin, headers)
    assert content_type.startswith(kind)
    assert samples["echoserver_received_bytes_total", ()] == 5
    assert samples["echoserver_replies_total", ()] == 1
    assert samples["echoserver_faults_total", (("fault", "delay"),)] == 1
    assert samples["echoserver_ready", ()] == 1
    (labels,) = [dict(labels) for name, labels in samples if name == "echoserver_build_info"]
    assert (labels["handler"], labels["mode"]) == ("upper", admin.server.config.mode)
    assert ("echoserver_workers_busy", ()) in samples or admin.server.config.mode == "threads"
    assert not any("127.0.0.1:" in value for _, labels in samples for name, value in labels if name != "endpoint")


@pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool: apt-get install prometheus")
def test_promtool_finds_nothing_to_complain_of(administer):
    admin = administer(fault=["delay=1ms"])
    _, body, _ = admin.ask("GET", "/metrics")
    done = subprocess.run(["promtool", "check", "metrics"], input=body, capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_every_scrape_adds_up_under_load(administer):
    admin = administer()
    ending = threading.Event()

    def come_and_go() -> None:
        while not ending.is_set():
            with Peer(admin.server.address) as peer:
                assert peer.swap(b"hello") == b"hello"

    threads = [threading.Thread(target=come_and_go) for _ in range(3)]
    for thread in threads:
        thread.start()
    before = 0.0
    for _ in range(30):
        accepted, sum_of_all = balance(scrape(admin)[0])
        assert accepted == sum_of_all
        assert accepted >= before
        before = accepted
    ending.set()
    for thread in threads:
        thread.join(PATIENCE)
    assert before > 0
