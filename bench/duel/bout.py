"""One bout of the duel: one model does one kind of work under load."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

from bench.accounting import cpu_seconds
from bench.duel.sampling import Track, resident_bytes, watch
from echoclient.load.result import Result

_STOP_SECONDS = 10.0
_START_SECONDS = 20.0
_RETRY_SECONDS = 0.05
_INTERVALS, _INTERVAL_SECONDS = 50, 0.02
WATCHED_SECONDS = _INTERVALS * _INTERVAL_SECONDS
"""How long the threads are watched."""
# The load under which they are covers the start of the generator as well.
_LOAD_SECONDS = WATCHED_SECONDS + 1.5


class BoutFailedError(Exception):
    """A server or the generator failed; the message is one line."""


@dataclass(frozen=True)
class Bout:
    """What came of it.

    Attributes
    ----------
    work:
        A key of `WORKS`.
    model:
        A key of `MODELS`.
    rate:
        Messages answered per second.
    percentiles:
        Latency in seconds by percentile: 50, 99, 99.9.
    cpu:
        Processor time of the server for each message, in seconds.
    memory:
        What the process of the server occupied under load, in bytes.
    tracks:
        What its threads did for a second.

    """

    work: str
    model: str
    rate: float
    percentiles: dict[float, float]
    cpu: float
    memory: int
    tracks: list[Track]

    def to_json(self) -> dict[str, object]:
        """Return the figures, without the tracks."""
        values = asdict(self)
        del values["tracks"]
        return values


def hold(work: str, model: str, connections: int, seconds: float) -> Bout:
    """Have a server of this model do this work, measure it, and then watch its threads under the same load.

    Watching costs processor time, so it does not happen while the server is measured.

    Raises
    ------
    BoutFailedError
        The server or the generator failed.

    """
    with _serving(work, model) as server:
        port = int(_line(server))
        before = cpu_seconds([server.pid])
        with _load(port, connections, seconds) as generator:
            result = _result(generator)
        after = cpu_seconds([server.pid])
        with _load(port, connections, _LOAD_SECONDS) as generator:
            names = _threads(server, connections)
            tracks = watch(server.pid, names, _INTERVALS, _INTERVAL_SECONDS)
            memory = resident_bytes(server.pid)
            _result(generator)
    assert result.latency is not None, "a result without an answer has failed"
    assert before is not None, "the duel needs Linux, which counts"
    assert after is not None, "likewise"
    percentiles = {percentile: result.latency.percentiles[percentile] for percentile in (50.0, 99.0, 99.9)}
    return Bout(work, model, result.rate, percentiles, (after - before) / result.answered, memory, tracks)


@contextmanager
def _serving(work: str, model: str) -> Iterator[subprocess.Popen[str]]:
    """Start a server; it ends with the block, since its standard input does."""
    command = [sys.executable, "-m", "bench.duel.served", work, model]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # noqa: S603 - ours
    try:
        yield server
    finally:
        _end(server)


@contextmanager
def _load(port: int, connections: int, seconds: float) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "echoclient", "bench", "--json", "-", "-c", str(connections)]
    command += ["--duration", f"{round(seconds * 1000)}ms", "--timeout", "60s", f"127.0.0.1:{port}"]
    generator = subprocess.Popen(  # noqa: S603 - ours
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        yield generator
    finally:
        _end(generator)


def _result(generator: subprocess.Popen[str]) -> Result:
    """Return what the generator measured, once it has ended."""
    output, errors = generator.communicate()
    lines = errors.strip().splitlines()
    if not output.strip():
        raise BoutFailedError(f"the load generator ended with status {generator.returncode}: {lines[-1:]}")
    result = Result.from_json(output)
    if not result.ok:
        raise BoutFailedError(f"the load generator reports {lines[-1] if lines else 'a failure'}")
    return result


def _threads(server: subprocess.Popen[str], connections: int) -> dict[int, str]:
    """Return the names of the server's threads by their IDs, once it has so many connections."""
    assert server.stdin is not None
    deadline = time.monotonic() + _START_SECONDS
    while True:
        server.stdin.write("\n")
        server.stdin.flush()
        answer = json.loads(_line(server))
        if answer["active"] >= connections:
            return {int(thread): name for thread, name in answer["threads"].items()}
        if time.monotonic() > deadline:
            raise BoutFailedError(f"only {answer['active']} of {connections} connections are open")
        time.sleep(_RETRY_SECONDS)


def _line(server: subprocess.Popen[str]) -> str:
    assert server.stdout is not None
    line = server.stdout.readline()
    if not line:
        raise BoutFailedError(f"the server ended with status {server.wait()}")
    return line


def _end(process: subprocess.Popen[str]) -> None:
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            stream.close()
    try:
        process.wait(_STOP_SECONDS if process.stdin is not None else 0)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
