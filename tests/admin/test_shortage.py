"""What the admin endpoint says when the process has no descriptor left for another peer."""

from __future__ import annotations

import json
import os
import resource
import socket
import sys

import pytest

from admin.kit import Unix
from server.ways import wait_for
from support import PATIENCE, Service

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs prlimit(2)")


def why(client: Unix) -> list[str]:
    """Ask over a connection that is open already, since there is no descriptor for another one."""
    client.request("GET", "/api/v1/why")
    sentences: list[str] = json.loads(client.getresponse().read())["sentences"]
    return sentences


@pytest.mark.parametrize("mode", ["threads", "workers"])
def test_why_no_peer_is_accepted(tmp_path, mode):
    path = tmp_path / "admin.sock"
    with Service("--admin", f"unix:{path}", "--mode", mode) as service:
        service.wait_for("admin listening")
        client = Unix(str(path))
        try:
            assert why(client) == ["nothing is wrong: 0 of 1,024 connections are open, and nobody waits"]
            pid = service.process.pid
            before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
            taken = {int(number) for number in os.listdir(f"/proc/{pid}/fd")}
            least_free = next(number for number in range(len(taken) + 1) if number not in taken)
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (least_free, before[1]))
            with socket.create_connection(service.address, PATIENCE) as peer:
                sentence = "no peer can be accepted for now: the system says EMFILE; ulimit -n, or fewer connections"
                wait_for(lambda: sentence in why(client), "why does not say it")
                resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
                peer.sendall(b"hello")
                assert peer.recv(5) == b"hello"
                wait_for(lambda: why(client)[0].startswith("nothing is wrong: 1 of"), "why still complains")
        finally:
            client.close()
