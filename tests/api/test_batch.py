# SPDX-License-Identifier: Apache-2.0
"""The extension ``batch``: many writes as one, all or nothing."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.api.conftest import BODY, NIC, Api
from tests.api.memory_north import SilentHosts


def _batch(api: Api, *requests: object) -> tuple[int, dict[str, object]]:
    reply = api.ask("POST", "/networking/v1/batch", {"requests": [*requests]})
    found = reply.json()
    assert isinstance(found, dict)
    return reply.status_code, found


def _put(ref: str, properties: object, **more: str) -> dict[str, object]:
    return {"method": "PUT", "resourceRef": ref, "body": {"properties": properties}, **more}


def test_a_batch_is_applied_in_order_and_earlier_writes_are_seen_by_later_ones(api: Api) -> None:
    api.furnish()
    status, found = _batch(
        api,
        _put(
            "/virtualNetworks/w",
            {
                "addressSpace": {"addressPrefixes": ["10.9.0.0/16"]},
                "logicalNetwork": {"resourceRef": "/logicalNetworks/u"},
                "subnets": [{"resourceId": "s", "properties": {"addressPrefix": "10.9.0.0/24"}}],
            },
        ),
        _put(
            "/networkInterfaces/a",
            {
                "ipConfigurations": [
                    {
                        "resourceId": "c",
                        "properties": {"subnet": {"resourceRef": "/virtualNetworks/w/subnets/s"}},
                    }
                ],
            },
        ),
        {"method": "DELETE", "resourceRef": "/networkInterfaces/none"},
    )
    assert status == 200
    answers = found["responses"]
    assert isinstance(answers, list)
    assert [answer["status"] for answer in answers] == [201, 201, 204]
    assert answers[1]["etag"] == api.get("/networkInterfaces/a")["etag"]


def test_a_batch_with_one_bad_request_changes_nothing_and_names_it(furnished: Api) -> None:
    status, found = _batch(
        furnished, _put(NIC, BODY), _put("/networkInterfaces/bad", {"isPrimary": "perhaps"})
    )
    assert status == 400
    error = found["error"]
    assert isinstance(error, dict)
    assert error["target"] == "[1].properties.isPrimary"
    assert furnished.get("/networkInterfaces")["value"] == []


@pytest.mark.parametrize(
    ("requests", "target"),
    [
        ([7], "[0].resourceRef"),
        ([{"method": "PUT"}], "[0].resourceRef"),
        ([{"resourceRef": "/servers/h", "method": "PATCH"}], "[0].method"),
        ([{"resourceRef": "/servers/h", "ifNoneMatch": "x"}], "[0].ifNoneMatch"),
        ([{"resourceRef": 7}], "[0].resourceRef"),
        ([{"resourceRef": "/servers/h"}], "[0].body"),
        ([{"resourceRef": "/servers/h", "body": {}}, {"resourceRef": "/servers"}], "[1].body"),
        ([{"resourceRef": "/servers/h"}] * 1001, "requests"),
    ],
)
def test_a_batch_that_is_none_is_refused_with_the_place(
    api: Api, requests: list[object], target: str
) -> None:
    status, found = _batch(api, *requests)
    assert status == 400
    error = found["error"]
    assert isinstance(error, dict)
    assert error["target"] == target
    assert api.ask("POST", "/networking/v1/batch", {"requests": {}}).status_code == 400
    assert api.ask("POST", "/networking/v1/batch", []).status_code == 400


def _delete(ref: str, **more: str) -> dict[str, object]:
    return {"method": "DELETE", "resourceRef": ref, **more}


def test_conditions_hold_for_each_request_of_a_batch(furnished: Api) -> None:
    assert _batch(furnished, _put(NIC, BODY, ifNoneMatch="*"))[0] == 200
    etag = furnished.get(NIC)["etag"]
    for condition in ({"ifNoneMatch": "*"}, {"ifMatch": 'W/"x"'}):
        status, found = _batch(
            furnished, _put("/networkInterfaces/m", BODY), _put(NIC, BODY, **condition)
        )
        assert status == 412
        error = found["error"]
        assert isinstance(error, dict)
        assert error["target"].startswith("[1]")
    status, _ = _batch(furnished, _delete(NIC, ifMatch='W/"x"'))
    assert status == 412
    assert furnished.get(NIC)["etag"] == etag
    status, found = _batch(furnished, _put(NIC, BODY, ifMatch=etag))
    assert status == 200
    answers = found["responses"]
    assert isinstance(answers, list)
    assert answers[0] == {
        "status": 200,
        "resourceRef": NIC,
        "instanceId": furnished.get(NIC)["instanceId"],
        "etag": furnished.get(NIC)["etag"],
    }


def test_what_uses_a_network_may_go_before_it_in_one_batch_and_not_after(furnished: Api) -> None:
    furnished.put(NIC, BODY)
    wrong = _batch(furnished, _delete("/virtualNetworks/v"), _delete(NIC))
    assert wrong[0] == 409
    error = wrong[1]["error"]
    assert isinstance(error, dict)
    assert error["target"].startswith("[0]")
    assert furnished.get(NIC)["resourceId"] == "n"
    assert _batch(furnished, _delete(NIC), _delete("/virtualNetworks/v"))[0] == 200
    for ref in (NIC, "/virtualNetworks/v"):
        assert furnished.ask("GET", f"/networking/v1{ref}").status_code == 404


class OnSwitches(SilentHosts):
    """Every server has the port of `NIC` on its switch."""

    def located(self, kind: str, instance_id: str) -> Sequence[str]:
        return [NIC] if kind == "servers" else ()


@pytest.mark.parametrize("in_batch", [False, True])
def test_a_server_is_not_deleted_while_ports_are_on_its_switch(in_batch: bool) -> None:
    api = Api(OnSwitches())
    api.furnish()
    api.put(NIC, BODY)
    api.put("/servers/h", {})
    if in_batch:
        status, body = _batch(api, _delete("/servers/h"))
    else:
        reply = api.ask("DELETE", "/networking/v1/servers/h")
        status, body = reply.status_code, reply.json()
    error = body["error"]
    assert isinstance(error, dict)
    assert (status, error["code"]) == (409, "InUseServerCannotBeDeleted")
    assert NIC in error["message"]
    assert api.get("/servers/h")["resourceId"] == "h"


def test_a_thousand_requests_are_taken_and_none_at_all(furnished: Api) -> None:
    pools = [
        _put(
            f"/macPools/p{k}",
            {
                "startMacAddress": f"06-00-00-{k >> 8:02X}-{k & 255:02X}-00",
                "endMacAddress": f"06-00-00-{k >> 8:02X}-{k & 255:02X}-FF",
            },
        )
        for k in range(1000)
    ]
    status, found = _batch(furnished, *pools)
    assert status == 200
    answers = found["responses"]
    assert isinstance(answers, list)
    assert len({answer["etag"] for answer in answers}) == 1000
    assert len(furnished.get("/macPools")["value"]) == 1001
    assert _batch(furnished) == (200, {"responses": []})


def test_who_is_strict_is_told_that_a_dynamic_address_is_another(furnished: Api) -> None:
    """A restored interface whose address is somebody else's by now."""
    strict = {"prefer": "handling=strict"}
    subnet = {"resourceRef": "/virtualNetworks/v/subnets/s"}

    def interface(address: str) -> dict[str, object]:
        dynamic = {
            "subnet": subnet,
            "privateIPAddress": address,
            "privateIPAllocationMethod": "Dynamic",
        }
        return {
            "privateMacAddress": "020000000077",
            "privateMacAllocationMethod": "Dynamic",
            "ipConfigurations": [{"resourceId": "c", "properties": dynamic}],
        }

    address = "ipConfigurations[0].properties.privateIPAddress"
    taken = {"properties": interface("10.0.0.1")}
    reply = furnished.ask("PUT", "/networking/v1/networkInterfaces/n", taken, headers=strict)
    assert reply.status_code == 400
    assert reply.json()["error"]["target"] == f"properties.{address}"
    assert "10.0.0.1, and would be 10.0.0.4" in reply.json()["error"]["message"]
    puts: list[dict[str, object]] = [
        {"resourceRef": "/networkInterfaces/a", "body": {"properties": interface("10.0.0.9")}},
        {"resourceRef": "/networkInterfaces/b", "body": {"properties": interface("10.0.0.9")}},
    ]
    reply = furnished.ask("POST", "/networking/v1/batch", {"requests": puts}, headers=strict)
    assert reply.status_code == 400
    assert reply.json()["error"]["target"] == "[1].properties.privateMacAddress"
    assert furnished.get("/networkInterfaces")["value"] == []
    one = {"requests": puts[:1]}
    assert furnished.ask("POST", "/networking/v1/batch", one, headers=strict).status_code == 200
    back = furnished.get("/networkInterfaces/a")
    reply = furnished.ask("PUT", "/networking/v1/networkInterfaces/a", back, headers=strict)
    assert reply.status_code == 200
    assert furnished.put("/networkInterfaces/b", interface("10.0.0.9")).status_code == 201
