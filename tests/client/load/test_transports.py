"""Load over unix sockets and with PROXY headers."""

from __future__ import annotations

import json
import socket

import pytest

from echoclient.load import Plan, PlanError, run
from echoclient.load.connection import Connection
from echoclient.load.faults import kind_of
from echoclient.load.pattern import Pattern
from echoclient.load.result import Result
from echoclient.proxy import ProxySettings
from echoclient.target import Target
from echoclient.tls_settings import TlsSettings
from support import Program

WORK = pytest.mark.parametrize(
    "work", [{"connections": 4}, {"connections": 4, "rate": 500.0}, {"connections": 4, "churn": True}], ids=str
)


@WORK
def test_over_a_unix_socket(work, tmp_path):
    target = Target(path=f"{tmp_path}/echo.sock")
    with Program("serve", "--listen", str(target)) as server:
        server.wait_for("listening")
        result = run(Plan(target, messages=100, **work))
    assert result.ok, result.faults
    assert result.answered == 100
    assert result.handshake is None
    assert (result.connect is not None) == bool(work.get("churn"))


@WORK
@pytest.mark.parametrize("version", ["v1", "v2"])
def test_every_connection_begins_with_a_header(work, version):
    listen = ("--listen", "tcp://127.0.0.1:0?proxy=require", "--proxy-trusted", "127.0.0.1")
    with Program("serve", *listen, "--log-level", "debug") as server:
        target = Target(port=server.wait_for("listening")["port"], proxy=ProxySettings(version, ("192.0.2.1", 7)))
        result = run(Plan(target, messages=40, **work))
        assert result.ok, result.faults
        connections = 40 if work.get("churn") else 4
        peers = {server.wait_for("connection ended")["peer"] for _ in range(connections)}
    assert peers == {"192.0.2.1:7"}


def test_the_header_names_the_connection_s_own_address(tmp_path):
    listen = ("--listen", "tcp://127.0.0.1:0?proxy=require", "--proxy-trusted", "127.0.0.1")
    with Program("serve", *listen) as server:
        target = Target(port=server.wait_for("listening")["port"], proxy=ProxySettings("v2"))
        assert run(Plan(target, connections=2, messages=2)).ok
        for _ in range(2):
            ended = server.wait_for("connection ended", bytes_in=64)
            assert ended["peer"] == ended["proxy"]


def test_a_listener_whose_queue_is_full_is_named(tmp_path):
    path = f"{tmp_path}/full.sock"
    target = Target(path=path)
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as first:
        listener.bind(path)
        listener.listen(0)
        first.connect(path)
        connection = Connection(0, Pattern("echo", 1), target, verify=True)
        with pytest.raises(BlockingIOError) as failure:
            connection.open(socket.AF_UNIX, path, "", 0.0)
        connection.close()
    assert kind_of(failure.value) == ("OTHER", "the listener's queue is full")


def test_sources_are_not_for_unix_sockets():
    with pytest.raises(PlanError, match="a unix socket has none"):
        Plan(Target(path="/run/echo.sock"), sources=("127.0.0.1",))


@pytest.mark.parametrize(
    "target",
    [
        Target(path="/run/echo.sock"),
        Target(proxy=ProxySettings("v1")),
        Target(proxy=ProxySettings("v2", ("2001:db8::1", 7))),
        Target("localhost", 9443, tls=TlsSettings()),
        Target(
            "localhost", 9443, tls=TlsSettings("ca", "cert", "key", "name", insecure=True), proxy=ProxySettings("v2")
        ),
    ],
)
def test_what_is_spoken_is_part_of_the_plan(target):
    plan = Plan(target)
    assert Plan.from_json(json.loads(json.dumps(plan.to_json()))) == plan


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"tls_ca": "x"}, "not a target with TLS"),
        ({"proxy_header": "v3"}, "not a version"),
        ({"proxy_header": "v2", "proxy_source": "x"}, "not an address"),
    ],
)
def test_a_plan_of_another_kind_is_refused(more, says):
    with pytest.raises(PlanError, match=says):
        Plan.from_json({**Plan().to_json(), **more})


def test_a_result_of_a_version_without_tls_can_be_read():
    values = json.loads(Result(Plan(), "", {}).to_json())
    del values["handshake"]
    assert Result.from_json(json.dumps(values)).handshake is None
