"""The health check of servers that speak TLS."""

from __future__ import annotations

import pytest

from echoserver import Server, ServerConfig
from echoserver.clock import Deadline
from echoserver.net.endpoint import TcpEndpoint
from echoserver.process.healthcheck import exchange
from server.kit import PATIENCE
from server.tls_kit import AUTHORITY, SERVER_CERTIFICATE


@pytest.fixture
def files(tmp_path) -> dict[str, str]:
    (tmp_path / "both.pem").write_bytes(SERVER_CERTIFICATE.private_key_and_cert_chain_pem.bytes())
    (tmp_path / "ca.pem").write_bytes(AUTHORITY.cert_pem.bytes())
    return {"tls_cert": str(tmp_path / "both.pem"), "tls_client_ca": str(tmp_path / "ca.pem")}


def ask(server: Server, handler: str, *, client_ca: bool, proxy: bool = False) -> str | None:
    endpoint = TcpEndpoint(*server.address, tls=True, proxy=proxy)
    return exchange(endpoint, handler, Deadline(PATIENCE), client_ca=client_ca)


@pytest.mark.parametrize("mode", ["threads", "workers"])
@pytest.mark.parametrize("handler", ["echo", "discard", "daytime", "frames"])
@pytest.mark.parametrize("proxy", [False, True])
def test_it_is_asked_over_tls(files, mode, handler, proxy):
    listen = "tls://127.0.0.1:0" + ("?proxy=require" if proxy else "")
    config = ServerConfig(
        listen=[listen], tls_cert=files["tls_cert"], mode=mode, handler=handler, proxy_trusted=["127.0.0.1"]
    )
    with Server(config) as server:
        assert ask(server, handler, client_ca=False, proxy=proxy) is None


@pytest.mark.parametrize("mode", ["threads", "workers"])
@pytest.mark.parametrize("handler", ["echo", "discard", "info"])
def test_a_server_that_asks_for_a_certificate_is_healthy_if_it_is_to_ask(files, mode, handler):
    with Server(ServerConfig(listen=["tls://127.0.0.1:0"], mode=mode, handler=handler, **files)) as server:
        assert ask(server, handler, client_ca=True) is None
        problem = ask(server, handler, client_ca=False)
        assert problem is not None
        assert "no exchange with 127.0.0.1 port" in problem


def test_a_server_that_speaks_no_tls_is_not_healthy():
    with Server(ServerConfig(port=0)) as server:
        problem = ask(server, "echo", client_ca=True)
        assert problem is not None
        assert problem.startswith("no exchange with 127.0.0.1 port")
