# SPDX-License-Identifier: Apache-2.0
"""What is beside resources: what is found by our identifiers, documents, metrics, logs, limits."""

from __future__ import annotations

import asyncio
import logging
import re
from typing import Any

import httpx
import pytest
from starlette.types import Message

from isthmus.api.http.bodies import MOST_VALUES
from isthmus.api.http.request import LARGE_BYTES, MOST_BYTES, MOST_LARGE, HttpRequest
from isthmus.api.turns import AT_ONCE
from isthmus.errors import IsthmusError, Unavailable
from isthmus.intent.model import Plan
from tests.api.conftest import BODY, NIC, Api

PATH = f"/networking/v1{NIC}"
PLACES = (
    *("status", "explain/ports/ID", "plan", "trace", "doctor", "bundle"),
    *("probes", "events", "drops", "flows", "counters", "hosts/ID"),
)


def test_a_kind_is_found_from_the_version_on_that_it_came_with(api: Api) -> None:
    made = api.ask("PUT", "/networking/v5/securityTags/t", {"properties": {}})
    assert made.status_code == 201
    mapping = f"internalResourceInstances/{made.json()['instanceId']}"
    for version, status in (("v4.2", 404), ("v5", 200), ("V7.1", 200)):
        for path in ("securityTags", "securityTags/t", mapping):
            reply = api.ask("GET", f"/networking/{version}/{path}")
            assert reply.status_code == status, (version, path)
        listed = api.ask("GET", f"/networking/{version}/internalResourceInstances").json()["value"]
        refs = [one["properties"]["resourceReference"] for one in listed]
        assert ("/securityTags/t" in refs) == (status == 200)
    assert api.ask("PUT", "/networking/v1/securityTags/t", {"properties": {}}).status_code == 404
    assert api.ask("DELETE", "/networking/v1/securityTags/t").status_code == 404
    assert api.ask("DELETE", "/networking/v5/securityTags/t").status_code == 200


def test_a_resource_is_found_by_its_instance_id_in_any_letter_case(furnished: Api) -> None:
    guid = furnished.put(NIC, BODY).json()["instanceId"]
    for name in (guid, guid.upper()):
        found = furnished.get(f"/InternalResourceInstances/{name}")
        assert found["properties"]["resourceReference"] == NIC
        assert found["resourceId"] == guid
    child = furnished.get(f"{NIC}/ipConfigurations/c")["instanceId"]
    found = furnished.get(f"/internalResourceInstances/{child}")
    assert found["properties"]["resourceReference"] == f"{NIC}/ipConfigurations/c"
    for unknown in ("x", "00000000-0000-0000-0000-000000000000"):
        reply = furnished.ask("GET", f"/networking/v1/internalResourceInstances/{unknown}")
        assert reply.status_code == 404


def test_a_collection_longer_than_one_turn_is_whole_and_each_is_as_it_is_alone(
    furnished: Api,
) -> None:
    number = AT_ONCE + 3
    for k in range(number):
        ref = f"/logicalNetworks/l{k:03d}"
        assert furnished.put(ref, {"networkVirtualizationEnabled": "False"}).status_code == 201
    listed = furnished.get("/logicalNetworks")
    assert listed["nextLink"] == ""
    names = [one["resourceId"] for one in listed["value"]]
    assert names == [*(f"l{k:03d}" for k in range(number)), "u"]
    assert listed["value"][0] == furnished.get("/logicalNetworks/l000")
    assert listed["value"][-1] == furnished.get("/logicalNetworks/u")


def test_what_is_deleted_while_a_collection_is_rendered_is_shown_whole_or_not(
    furnished: Api,
) -> None:
    subnets = [{"resourceId": "s", "properties": {"addressPrefix": "192.0.2.0/24"}}]
    entries: list[dict[str, Any]] = [
        {
            "resourceRef": f"/logicalNetworks/l{k:04d}",
            "body": {"properties": {"networkVirtualizationEnabled": "False", "subnets": subnets}},
        }
        for k in range(5 * AT_ONCE)
    ]
    reply = furnished.ask("POST", "/networking/v1/batch", {"requests": entries})
    assert reply.status_code == 200

    async def go() -> tuple[httpx.Response, httpx.Response]:
        transport = httpx.ASGITransport(app=furnished.app)
        async with httpx.AsyncClient(
            transport=transport, base_url="http://test/networking/v1"
        ) as client:
            return await asyncio.gather(
                client.get("/logicalNetworks"), client.delete(entries[-1]["resourceRef"])
            )

    listed, deleted = asyncio.run(go())
    assert deleted.status_code == 200
    found = [one for one in listed.json()["value"] if one["resourceId"] != "u"]
    assert len(found) == 5 * AT_ONCE - 1
    assert all(one["properties"]["subnets"] for one in found)


def test_a_collection_under_what_does_not_exist_is_not_found(furnished: Api) -> None:
    assert furnished.get("/networkInterfaces") == {"value": [], "nextLink": ""}
    for path in ("/virtualNetworks/none/subnets", "/virtualNetworks/none/subnets/s"):
        reply = furnished.ask("GET", f"/networking/v1{path}")
        assert reply.status_code == 404
        assert reply.json()["error"]["code"] == "NotFound"


def test_the_openapi_document_has_every_path_that_is_served(furnished: Api) -> None:
    found = furnished.ask("GET", "/networking/openapi.json").json()
    assert found["info"]["version"] == "1.2.3"
    for path in (
        "/networking/discovery",
        "/healthz",
        "/metrics",
        "/networking/{version}/networkInterfaces/{networkInterfaceId}",
        "/networking/{version}/batch",
        "/networking/{version}/operations/{id}",
        "/networking/{version}/operationResults/{id}",
        "/networking/{version}/internalResourceInstances",
        "/networking/{version}/internalResourceInstances/{id}",
        "/networking/{version}/monitoring/networkControllerStatistics",
        *(f"/networking/{{version}}/isthmus/{place.replace('ID', '{id}')}" for place in PLACES),
        "/networking/{version}/isthmus/probes/{number}",
        "/networking/{version}/diagnostics/ConnectivityCheck",
        "/networking/{version}/diagnostics/ConnectivityCheckResults",
        "/networking/{version}/diagnostics/ConnectivityCheckResults/{id}",
    ):
        assert path in found["paths"], path
    for path, item in found["paths"].items():
        named = {one["name"] for one in item.get("parameters", ())}
        for method in set(item) & {"get", "put", "post", "delete"}:
            own = {one["name"] for one in item[method].get("parameters", ())}
            assert set(re.findall(r"{(\w+)}", path)) <= named | own, path
            assert item[method]["responses"], path


def test_what_extensions_discovery_lists_are_served(furnished: Api) -> None:
    listed = set(furnished.get("/discovery")["properties"]["extensions"])
    assert listed >= {"batch", "explain", "probes", "status"}
    assert furnished.ask("POST", "/networking/v1/batch", {"requests": []}).status_code == 200
    for ref in ("/isthmus/explain/ports/p", "/isthmus/probes/1", "/Isthmus/Status/"):
        furnished.get(ref)


@pytest.mark.parametrize("number", ["x", "-1", "1.5", "٣", "9" * 19, "9" * 5000])
def test_what_is_no_number_of_a_probe_is_refused(furnished: Api, number: str) -> None:
    reply = furnished.ask("GET", f"/networking/v1/isthmus/probes/{number}")
    assert reply.status_code == 400


def test_a_body_that_is_too_long_is_refused_with_413(furnished: Api) -> None:
    reply = furnished.ask("PUT", PATH, content=b" " * (MOST_BYTES + 1))
    assert reply.status_code == 413
    assert reply.json()["error"]["code"] == "RequestTooLarge"


@pytest.mark.parametrize("value", ["[]", "{}", '{"a":0}', '{"a":{}}', "[[[]]]", "0"])
def test_json_of_too_many_values_is_refused_before_it_is_read(furnished: Api, value: str) -> None:
    content = f"[{','.join([value] * MOST_VALUES)},0]".encode()
    assert len(content) < MOST_BYTES
    reply = furnished.ask("PUT", PATH, content=content)
    assert reply.status_code == 413
    assert "send it in parts" in reply.json()["error"]["message"]
    few = furnished.ask("PUT", PATH, content=f"[{','.join([value] * 1000)}]".encode())
    assert few.status_code == 400


def test_long_bodies_wait_for_room(furnished: Api) -> None:
    """What nobody reads stays with its sender: the third is not taken in while two are held."""
    taken = [0] * 3

    async def one(number: int, room: asyncio.Semaphore, go_on: asyncio.Event) -> None:
        request = HttpRequest("PUT", PATH, "", {}, "")

        async def receive() -> Message:
            taken[number] += 1
            if taken[number] == 5:
                await go_on.wait()
            more = taken[number] < 5
            return {"type": "http.request", "body": b" " * (LARGE_BYTES // 2), "more_body": more}

        await request.read(receive, room)
        assert len(request.body) == 5 * (LARGE_BYTES // 2)
        request.done()

    async def work() -> None:
        room, go_on = asyncio.Semaphore(MOST_LARGE), asyncio.Event()
        tasks = [asyncio.create_task(one(n, room, go_on)) for n in range(3)]
        for _ in range(50):
            await asyncio.sleep(0)
        assert taken == [5, 5, 3]
        go_on.set()
        await asyncio.gather(*tasks)
        assert not room.locked()

    asyncio.run(work())


def test_json_is_taken_by_any_of_its_names(furnished: Api) -> None:
    for name in ("application/json", "Application/JSON; charset=UTF-8", "text/json"):
        reply = furnished.ask(
            "PUT", "/networking/v1/macPools/m", _POOL, headers={"content-type": name}
        )
        assert reply.status_code == 200, name
    # What has no type may be a web page's, which may send it to any address unasked.
    for name in ("text/plain", "application/x-www-form-urlencoded", "application/jsonp", ""):
        reply = furnished.ask(
            "PUT", "/networking/v1/macPools/m", _POOL, headers={"content-type": name}
        )
        assert reply.status_code == 415, name
        assert "application/json" in reply.json()["error"]["message"]


_POOL = {
    "properties": {"startMacAddress": "02-00-00-00-00-00", "endMacAddress": "02-00-00-00-FF-FF"}
}


def test_metrics_count_requests_by_method_and_status(furnished: Api) -> None:
    furnished.put(NIC, BODY)
    furnished.get(NIC)
    furnished.ask("GET", "/networking/v1/nothings")
    furnished.ask("BREW", PATH)
    text = furnished.ask("GET", "/metrics").text
    for method, status, count in (
        ("PUT", 201, 4),
        ("GET", 200, 1),
        ("GET", 404, 1),
        ("other", 405, 1),
    ):
        line = f'isthmus_request_seconds_count{{method="{method}",status="{status}"}} {count}.0'
        assert line in text


def test_each_write_is_one_line_in_the_log_and_no_more_whatever_its_path(
    furnished: Api, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="isthmus.api"):
        secret = {"properties": {"type": "usernamePassword", "userName": "u", "value": "hunter2"}}
        reply = furnished.ask("PUT", "/networking/v1/credentials/c", secret)
        assert reply.status_code == 201
        furnished.get("/credentials/c")
        furnished.ask("DELETE", "/networking/v1/credentials/x%0aapi=write%20forged")
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 2
    assert re.fullmatch(
        r"api=write method=PUT path=/networking/v1/credentials/c status=201 ms=[\d.]+"
        rf" operation={reply.headers['x-ms-request-id']}",
        lines[0],
    )
    assert "path=/networking/v1/credentials/x%0Aapi%3Dwrite%20forged status=204" in lines[1]
    assert "hunter2" not in caplog.text
    assert "hunter2" not in furnished.ask("GET", "/networking/v1/credentials/c").text


def test_what_cannot_be_served_is_logged_with_its_reason(
    furnished: Api, caplog: pytest.LogCaptureFixture
) -> None:
    furnished.north.connected = False
    with caplog.at_level(logging.WARNING, logger="isthmus.api"):
        furnished.put(NIC, BODY)
    (record,) = caplog.records
    assert "status=503 code=ServiceUnavailable reason=" in record.getMessage()


def test_waiting_that_helps_is_told(furnished: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    async def contended(*_: object, **__: object) -> Plan:
        raise Unavailable("contended", retry_after_s=1)

    monkeypatch.setattr(furnished.north, "write", contended)
    reply = furnished.put(NIC, BODY)
    assert (reply.status_code, reply.headers["retry-after"]) == (503, "1")


def test_every_error_has_its_code_and_its_target(
    furnished: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(error: IsthmusError) -> None:
        async def write(plan_for: object, **_: object) -> Plan:
            raise error

        monkeypatch.setattr(furnished.north, "write", write)

    for kind in IsthmusError.__subclasses__():
        if kind.__init__ is not IsthmusError.__init__:
            continue  # made by the application itself
        refuse(kind("why", code="Code", target="properties.x"))
        reply = furnished.put(NIC, BODY)
        assert reply.status_code == kind.status
        assert reply.json() == {
            "error": {"code": "Code", "message": "why", "target": "properties.x"}
        }


def test_a_head_is_that_of_the_get(furnished: Api) -> None:
    furnished.put(NIC, BODY)
    got = furnished.ask("GET", PATH)
    head = furnished.ask("HEAD", PATH)
    assert head.status_code == 200
    for name in ("etag", "content-type", "content-length"):
        assert head.headers[name] == got.headers[name]
    assert furnished.ask("HEAD", "/networking/v1/networkInterfaces/none").status_code == 404


def test_a_deletion_has_no_body(furnished: Api) -> None:
    furnished.put(NIC, BODY)
    for status in (200, 204):
        reply = furnished.ask("DELETE", PATH)
        assert (reply.status_code, reply.content) == (status, b"")
    assert "content-length" not in reply.headers


def test_a_resource_is_taken_and_shown_as_the_version_in_the_path_knows_it(api: Api) -> None:
    # virtualSubnetIdRange exists since v2 (section A.1).
    ref = "/virtualNetworkManager/configuration"
    body = {"properties": {"virtualSubnetIdRange": {"startId": 5000, "endId": 6000}}}
    refused = api.ask("PUT", f"/networking/v1{ref}", body)
    assert refused.status_code == 400
    assert refused.json()["error"]["code"] == "MinimumApiVersionNotSpecifiedForVsidRange"
    assert api.ask("PUT", f"/networking/v2{ref}", body).status_code in (200, 201)
    assert "virtualSubnetIdRange" not in api.get(ref, "v1")["properties"]
    assert api.get(ref, "V6.1")["properties"]["virtualSubnetIdRange"] == {
        "startId": 5000,
        "endId": 6000,
    }
