"""The programs in C: they compile without a warning, and the load generator finds what a server does wrong."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from itertools import pairwise

import pytest

from bench import accounting, cores, generator, native
from bench.measure import measure
from bench.sample import PERCENTILES
from bench.servers import SERVERS
from bench.workloads import WORKLOADS
from support import PATIENCE, environment

pytestmark = [
    pytest.mark.skipif(native.compiler() is None, reason="there is no C compiler"),
    pytest.mark.skipif(sys.platform != "linux", reason="the programs in C use epoll"),
]
REPORT = {"messages": 1000, "elapsed": 0.5, "cpu": 0.1, "server_cpu": 0.004, "latency": [1e-5, 2e-5, 3e-5]}


@pytest.mark.parametrize("name", native.SOURCES)
def test_the_sources_compile_without_a_warning(tmp_path, name):
    source, libraries = native.SOURCES[name]
    # Without TLS, the load generator needs no library.
    flags = () if name == "loadgen" else libraries
    assert native.build(source, tmp_path / name, ("-Werror", *flags)) == ""
    if name == "loadgen" and native.has_tls():
        assert native.build(source, tmp_path / name, ("-Werror", "-DWITH_TLS", *libraries)) == ""


@pytest.mark.parametrize("name", ["64x64", "64x64x16", "4x64kx4", "upper", "churn", "tls-64x64", "tls-4x64k"])
@pytest.mark.parametrize("server", ["workers", "c-epoll", "c-threads"])
def test_a_load_in_miniature(name, server):
    workload = WORKLOADS[name]
    if not SERVERS[server].serves(workload):
        pytest.skip("it has no TLS")
    if workload.traffic.tls and not native.has_tls():
        pytest.skip("OpenSSL's headers are not here")
    # Long enough for an answer although other tests keep the cores busy.
    sample = measure(workload, SERVERS[server], 0.4)
    assert sample.problem == ""
    assert sample.value > 0
    assert sample.cpu is not None
    assert sample.cpu > 0
    assert list(sample.latency) == list(PERCENTILES)
    assert 0 < sample.latency[50.0] <= sample.latency[99.0] <= sample.latency[99.9]


def load_on(reply) -> subprocess.CompletedProcess[str]:
    """Run the load generator on a server that answers each receive with `reply(data)`; nothing ends the connection."""

    def serve() -> None:
        with listener, listener.accept()[0] as peer:
            while data := peer.recv(65536):
                answer = reply(data)
                if not answer:
                    return
                peer.sendall(answer)

    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    server = threading.Thread(target=serve)
    server.start()
    path = native.program("loadgen")
    assert path is not None
    finished = subprocess.run(
        [path, "-p", str(port), "-t", "0.05"], input="\n", capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    server.join()
    return finished


@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        (lambda data: bytes([data[0] ^ 1]) + data[1:], "what came back differs from what was sent"),
        (lambda data: data[:-1] + bytes([data[-1] ^ 1]), "what came back differs from what was sent"),
        (lambda data: data[::-1], "what came back differs from what was sent"),
        (lambda data: data * 2, "more came back than was sent"),
        (lambda data: b"", "the server closed a connection"),
    ],
    ids=["first", "last", "reversed", "twice", "closed"],
)
def test_a_wrong_reply_ends_the_load_with_one_line(reply, problem):
    finished = load_on(reply)
    assert (finished.returncode, finished.stdout, finished.stderr) == (1, "ready\n", f"{problem}\n")


def test_a_message_is_never_repeated_so_that_an_old_reply_is_noticed():
    messages = []
    assert load_on(lambda data: messages.append(data) or data).returncode == 0
    assert len(messages) > 10
    assert all(one != other for one, other in pairwise(messages))


@pytest.mark.parametrize(
    ("generator_cpu", "server_cpu", "bound"), [(0.49, 0.3, True), (0.49, 0.45, False), (0.3, 0.1, False)]
)
def test_the_generator_was_the_limit_if_it_was_busy_and_the_server_was_not(generator_cpu, server_cpu, bound):
    report = json.dumps({**REPORT, "cpu": generator_cpu, "server_cpu": server_cpu})
    assert generator.sample_of(report, 1).generator_bound is bound


def test_a_report_becomes_a_sample():
    sample = generator.sample_of(json.dumps(REPORT), 1)
    assert sample.value == 2000
    assert sample.cpu == pytest.approx(4.0)
    assert sample.latency == {50.0: 1e-5, 99.0: 2e-5, 99.9: 3e-5}


def test_without_a_compiler_the_generator_in_python_applies_the_load_and_the_rest_is_skipped():
    command = [sys.executable, "-m", "bench", "--workloads", "1x64,tls-64x64", "--rounds", "1", "--seconds", "0.4"]
    finished = subprocess.run(
        [*command, "--json", "-"],
        capture_output=True,
        text=True,
        timeout=PATIENCE * 3,
        env=environment(CC="no-such-compiler"),
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    report = json.loads(finished.stdout)
    assert "in Python" in report["machine"]["load generator"]
    load, tls = report["workloads"]
    assert "c-epoll" not in load["servers"]
    assert load["servers"]["threads"]["cpu_us"]["median"] > 0
    assert "only with a C compiler" in tls["skipped"]
    assert "c-epoll is skipped: c-epoll could not be built" in finished.stderr


def test_the_clock_of_a_process_counts_threads_that_have_ended():
    before = accounting.cpu_seconds([os.getpid()])
    spinning = threading.Thread(target=lambda: sum(range(300_000)))
    spinning.start()
    spinning.join()
    assert accounting.cpu_seconds([os.getpid()]) > before


def test_a_tree_of_processes_includes_grandchildren():
    script = "import subprocess, sys; p = subprocess.Popen(['cat'], stdin=0); print(p.pid, flush=True); p.wait()"
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        grandchild = int(child.stdout.readline())
        assert accounting.tree_of(child.pid) == [child.pid, grandchild]
        assert accounting.tree_of(os.getpid())[0] == os.getpid()
        assert {child.pid, grandchild} <= set(accounting.tree_of(os.getpid()))


def test_the_server_and_the_generator_share_no_core_where_there_are_two(monkeypatch):
    monkeypatch.setattr(cores.os, "sched_getaffinity", lambda _: {0, 1, 5})
    assert cores.share() == cores.Cores(frozenset({0, 1}), frozenset({5}))
    assert cores.share().about == "2 cores for the server, another one for the load generator"
    monkeypatch.setattr(cores.os, "sched_getaffinity", lambda _: {3})
    assert cores.share().server == cores.share().generator == {3}
