"""The admin endpoint over HTTP: what it answers, whom it refuses, and what it survives."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from admin.kit import TOKEN
from echoserver.admin.openapi import document
from echoserver.admin.routes import ROUTES
from echoserver.version import __version__
from server.ways import wait_for

TCP = "tcp://127.0.0.1:0"


# -- what is open to all


def test_probes_and_the_version(administer):
    admin = administer()
    assert admin.ask("GET", "/livez")[:2] == (200, {"live": True})
    assert admin.ask("GET", "/readyz")[:2] == (200, {"ready": True})
    assert admin.ask("GET", "/version")[:2] == (200, {"version": __version__})
    admin.draining = True
    assert admin.ask("GET", "/readyz")[:2] == (503, {"ready": False})
    assert admin.ask("GET", "/livez")[0] == 200


def test_a_reply_to_head_has_no_body(administer):
    admin = administer()
    status, body, headers = admin.ask("HEAD", "/livez")
    assert (status, body) == (200, b"")
    assert int(headers["content-length"]) > 0
    assert admin.ask("HEAD", "/api/v1/snapshot")[:2] == (200, b"")


def test_every_reply_has_the_headers_that_keep_browsers_out(administer):
    admin = administer()
    for method, path in (("GET", "/livez"), ("GET", "/nope"), ("POST", "/api/v1/snapshot")):
        _, _, headers = admin.ask(method, path)
        assert headers["cache-control"] == "no-store"
        assert headers["x-content-type-options"] == "nosniff"
        assert "frame-ancestors 'none'" in headers["content-security-policy"]


# -- the interface


def test_the_snapshot_and_the_connections(administer, connect):
    admin = administer(max_connections=7)
    peer = connect(admin)
    assert peer.exchange(b"hello") == b"hello"
    _, snapshot, _ = admin.ask("GET", "/api/v1/snapshot")
    counters = snapshot["counters"]
    assert counters["accepted"] == counters["active"] + sum(counters["closed"].values()) == 1
    assert snapshot["limits"]["max_connections"] == 7
    assert snapshot["processes"][0]["pid"] == os.getpid()
    _, listed, _ = admin.ask("GET", "/api/v1/connections")
    (row,) = listed["connections"]
    assert (listed["total"], listed["matched"]) == (1, 1)
    assert (row["id"], row["bytes_in"], row["bytes_out"], row["replies"]) == ("1", 5, 5, 1)
    assert row["peer"] == "{}:{}".format(*peer.sock.getsockname())
    _, one, _ = admin.ask("GET", "/api/v1/connections/1")
    assert one["connection"]["id"] == "1"
    assert one["kernel"]["state"] == "established"
    assert one["limits"][0]["name"] == "idle_timeout"


def test_connections_are_filtered_sorted_and_limited(administer, connect):
    admin = administer()
    peers = [connect(admin) for _ in range(5)]
    for number, peer in enumerate(peers):
        assert peer.exchange(b"x" * (number + 1))
    _, found, _ = admin.ask("GET", "/api/v1/connections?sort=-bytes_in&limit=2")
    assert [row["bytes_in"] for row in found["connections"]] == [5, 4]
    assert (found["total"], found["matched"]) == (5, 5)
    port = peers[2].sock.getsockname()[1]
    _, found, _ = admin.ask("GET", f"/api/v1/connections?peer=:{port}&state=receiving")
    assert [row["bytes_in"] for row in found["connections"]] == [3]
    assert admin.ask("GET", "/api/v1/connections?state=sending")[1]["matched"] == 0
    _, found, _ = admin.ask("GET", "/api/v1/connections?sort=id")
    assert [row["id"] for row in found["connections"]] == ["1", "2", "3", "4", "5"]


def test_a_connection_is_killed_and_the_log_says_by_whom(administer, connect):
    admin = administer()
    peer = connect(admin)
    assert peer.exchange(b"hello") == b"hello"
    assert admin.ask("DELETE", "/api/v1/connections/1")[:2] == (200, {"killed": "1"})
    assert peer.read_to_break() == b""
    (line,) = admin.log.lines("connection killed")
    assert line["by"] == f"admin pid={os.getpid()},uid={os.getuid()}"
    assert admin.log.wait_for("connection ended", reason="killed")[0]["id"] == 1
    wait_for(lambda: not admin.server.connections(), "it has not ended")
    assert admin.ask("DELETE", "/api/v1/connections/1")[0] == 404


def test_faults_are_set_and_cleared(administer, connect):
    admin = administer()
    status, faults, _ = admin.ask("POST", "/api/v1/faults", {"rules": ["close@msg 1"], "seed": 7})
    assert (status, faults["rules"], faults["seed"]) == (200, ["close@msg 1"], 7)
    faulty = connect(admin)
    faulty.send(b"hello")
    faulty.read_to_break()
    assert admin.ask("GET", "/api/v1/faults")[1]["counts"] == {"close": 1}
    assert admin.ask("DELETE", "/api/v1/faults")[1]["rules"] == []
    assert connect(admin).exchange(b"hello") == b"hello"
    status, answer, _ = admin.ask("POST", "/api/v1/faults", {"rules": ["nonsense"]})
    assert status == 400
    assert "nonsense" in answer["error"]


def test_the_log_level(administer):
    admin = administer()
    assert admin.ask("GET", "/api/v1/log-level")[1] == {"level": "info"}
    assert admin.ask("POST", "/api/v1/log-level", {"level": "debug"})[1] == {"level": "debug"}
    assert admin.level == "debug"
    assert admin.ask("POST", "/api/v1/log-level", {"level": "loud"})[0] == 400


def test_a_drain_and_a_reload_are_asked_for(administer):
    admin = administer()
    assert admin.ask("POST", "/api/v1/reload")[:2] == (200, {"changed": []})
    assert admin.ask("POST", "/api/v1/drain", {})[:2] == (200, {"draining": 0})
    assert admin.asked == ["drain"]
    for path in ("drain", "reload"):
        assert admin.ask("POST", f"/api/v1/{path}")[0] == 409
    assert admin.ask("POST", "/api/v1/faults", {"rules": []})[0] == 409


def test_the_threads(administer, connect):
    admin = administer()
    assert connect(admin).exchange(b"hello") == b"hello"
    _, found, _ = admin.ask("GET", "/api/v1/threads")
    names = [thread["name"] for thread in found["threads"]]
    assert "MainThread" in names
    assert "janitor" in names
    assert names == sorted(names)


# -- refusals


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/nope", None, 404),
        ("GET", "/api/v1/connections/99", None, 404),
        ("GET", "/api/v1/connections/x%0a", None, 404),
        ("GET", "/api/v1/connections/" + "9" * 5000, None, 404),
        ("GET", "/api/v1/connections?limit=0", None, 400),
        ("GET", "/api/v1/connections?limit=x", None, 400),
        ("GET", "/api/v1/connections?sort=secret", None, 400),
        ("GET", "/api/v1/connections?colour=red", None, 400),
        ("GET", "/api/v1/snapshot?x", None, 400),
        ("GET", "/api/v1/snapshot", b"{}", 400),
        ("POST", "/api/v1/snapshot", None, 405),
        ("GET", "/api/v1/drain", None, 405),
        ("PUT", "/livez", None, 405),
        ("GET", "/livez", b"x", 400),
        ("POST", "/api/v1/log-level", {"level": 1}, 400),
        ("POST", "/api/v1/log-level", {"levle": "info"}, 400),
        ("POST", "/api/v1/log-level", b"{", 400),
        ("POST", "/api/v1/log-level", b"[1]", 400),
        ("POST", "/api/v1/log-level", b"[" * 60_000, 400),
        ("POST", "/api/v1/faults", {"rules": [1]}, 400),
        ("POST", "/api/v1/faults", {"seed": True}, 400),
        ("POST", "/api/v1/faults", b"x" * 70_000, 413),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(administer, method, path, body, status):
    admin = administer()
    found, answer, headers = admin.ask(method, path, body)
    assert (found, set(answer)) == (status, {"error"})
    assert "\n" not in answer["error"]
    if status == 405:
        assert headers["allow"]
    assert admin.ask("GET", "/livez")[0] == 200


def test_a_body_that_is_no_json_by_its_type_is_refused(administer):
    admin = administer()
    assert admin.ask("POST", "/api/v1/drain", b"{}", {"Content-Type": "text/plain"})[0] == 415
    assert admin.asked == []


# -- who may


def test_the_unix_socket_is_for_its_owner(administer, tmp_path):
    administer()
    assert stat.S_IMODE(os.stat(tmp_path / "admin.sock").st_mode) == 0o600


def test_with_a_token_requests_over_tcp_must_have_it(administer):
    admin = administer(endpoint=TCP, token=TOKEN)
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {TOKEN}"}):
        status, answer, found = admin.ask("GET", "/api/v1/snapshot", headers=headers)
        assert (status, found["www-authenticate"]) == (401, 'Bearer realm="echoserver"')
        assert TOKEN not in answer["error"]
        assert admin.ask("POST", "/api/v1/drain", headers=headers)[0] == 401
    assert admin.asked == []
    good = {"Authorization": f"Bearer {TOKEN}", "Host": "echo.example:9001"}
    assert admin.ask("GET", "/api/v1/snapshot", headers=good)[0] == 200
    assert admin.ask("GET", "/readyz", headers={"Host": "10.0.0.7:9001"})[0] == 200, "probes need no token"


def test_a_page_of_another_name_is_refused_on_loopback(administer):
    """A name of somebody else that resolves to 127.0.0.1 is DNS rebinding."""
    admin = administer(endpoint=TCP)
    for host, status in (
        ("evil.example", 403),
        ("evil.example:80", 403),
        ("127.0.0.1.evil.example", 403),
        ("localhost@evil.example", 403),
        ("localhost:9001", 200),
        ("127.0.0.1", 200),
        ("[::1]:9001", 200),
    ):
        assert admin.ask("GET", "/api/v1/snapshot", headers={"Host": host})[0] == status, host


def test_what_changes_something_is_refused_to_pages_of_other_sites(administer):
    admin = administer(endpoint=TCP)
    host = f"localhost:{admin.inner.address[1]}"
    for headers, status in (
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": f"http://{host}"}, 200),
        ({}, 200),
    ):
        found = admin.ask("POST", "/api/v1/reload", headers={"Host": host, **headers})
        assert found[0] == status, headers
    assert admin.ask("GET", "/api/v1/snapshot", headers={"Host": host, "Sec-Fetch-Site": "cross-site"})[0] == 200


# -- the description


def matches(value: object, schema: dict, schemas: dict) -> bool:
    if "$ref" in schema:
        return matches(value, schemas[schema["$ref"].rpartition("/")[2]], schemas)
    if "anyOf" in schema:
        return any(matches(value, one, schemas) for one in schema["anyOf"])
    kinds = {"string": str, "integer": int, "number": (int, float), "boolean": bool, "null": type(None)}
    match schema.get("type"):
        case None:
            return True
        case "array":
            return isinstance(value, list) and all(matches(one, schema["items"], schemas) for one in value)
        case "object":
            if not isinstance(value, dict) or not set(schema.get("required", ())) <= set(value):
                return False
            properties, others = schema.get("properties", {}), schema.get("additionalProperties", True)
            return all(
                matches(one, properties[name], schemas)
                if name in properties
                else others is not False and (others is True or matches(one, others, schemas))
                for name, one in value.items()
            )
        case kind:
            return isinstance(value, kinds[kind]) and (kind == "boolean" or not isinstance(value, bool))


def test_every_answer_is_as_its_description_says(administer, connect):
    admin = administer()
    assert connect(admin).exchange(b"hello") == b"hello"
    status, described, _ = admin.ask("GET", "/openapi.json")
    assert (status, described) == (200, document(ROUTES))
    schemas = described["components"]["schemas"]
    bodies = {"/api/v1/log-level": {"level": "debug"}, "/api/v1/faults": {"rules": ["delay=1ms"]}}
    order = sorted(ROUTES, key=lambda route: (route.path.endswith(("drain",)), route.method == "DELETE"))
    for route in order:
        body = bodies.get(route.path) if route.method == "POST" else None
        status, answer, _ = admin.ask(route.method, route.path.replace("{id}", "1"), body)
        assert status == 200, (route.method, route.path, answer)
        schema = described["paths"][route.path][route.method.lower()]["responses"]["200"]["content"]["application/json"]
        assert matches(answer, schema["schema"], schemas), (route.path, answer)


def test_the_page_names_every_route():
    page = (Path(__file__).parents[2] / "docs" / "admin.md").read_text()
    for route in ROUTES:
        assert f"`{route.method} {route.path}`" in page
