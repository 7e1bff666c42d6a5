# SPDX-License-Identifier: Apache-2.0
"""What is answered, to the letter (MS-NCNBI section A.5)."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest

from isthmus.intent.model import Json, JsonObject
from isthmus.intent.registry import KINDS
from isthmus.intent.render import etag_text, render, render_collection
from isthmus.intent.versions import LATEST, V1, V2, VERSIONS
from tests.intent.cloud import Cloud, child, interface, ref

STATE: JsonObject = {"status": "Success", "lastUpdatedTime": "2026-01-01T00:00:00.0000000+00:00"}


class Seen:
    """One port ``n``, seen on the server ``h``."""

    def configuration_state(self, kind: str, instance_id: str) -> JsonObject | None:
        return {**STATE, "id": instance_id} if kind == "networkInterfaces" else None

    def located(self, kind: str, instance_id: str) -> Sequence[str]:
        return ["/servers/h"] if kind == "networkInterfaces" else ["/networkInterfaces/n"]


def test_an_interface_is_answered_exactly(cloud: Cloud) -> None:
    cloud.put("/networkInterfaces/n", interface(), tags={"provider": "x"})
    row = cloud.row("/networkInterfaces/n")
    config = cloud.row("/networkInterfaces/n/ipConfigurations/ip")
    answer = msgspec.json.encode(render(row, cloud.store, version=V1, states=Seen()))
    assert msgspec.json.decode(answer) == {
        "resourceRef": "/networkInterfaces/n",
        "resourceId": "n",
        "etag": f'W/"{row.etag}"',
        "instanceId": row.instance_id,
        "tags": {"provider": "x"},
        "properties": {
            "provisioningState": "Succeeded",
            "privateMacAddress": "001DD8000000",
            "privateMacAllocationMethod": "Dynamic",
            "isHostVirtualNetworkInterface": False,
            "isPrimary": True,
            "isMultitenantStack": False,
            # Recorded answers of a real controller always have both.
            "dnsSettings": {"dnsServers": []},
            "portSettings": {
                "macSpoofingEnabled": "Disabled",
                "arpGuardEnabled": "Disabled",
                "dhcpGuardEnabled": "Disabled",
                "routerGuardEnabled": "Enabled",
                "stormLimit": 0,
                "portFlowLimit": 0,
                "vmqWeight": 100,
                "iovWeight": 0,
                "iovInterruptModeration": "Off",
                "iovQueuePairsRequested": 0,
            },
            "allowedServers": [],
            "allowedAddressPairs": [],
            "ipConfigurations": [
                {
                    "resourceRef": "/networkInterfaces/n/ipConfigurations/ip",
                    "resourceId": "ip",
                    "etag": f'W/"{row.etag}"',
                    "instanceId": config.instance_id,
                    "properties": {
                        "provisioningState": "Succeeded",
                        "subnet": {"resourceRef": "/virtualNetworks/v/subnets/s"},
                        "privateIPAddress": "10.0.1.4",
                        "privateIPAllocationMethod": "Dynamic",
                        "loadBalancerBackendAddressPools": [],
                        "loadBalancerInboundNatRules": [],
                    },
                }
            ],
            "serviceInsertionElements": [],
            "configurationState": {**STATE, "id": row.instance_id},
            "server": {"resourceRef": "/servers/h"},
        },
    }


def test_a_logical_network_is_answered_exactly(cloud: Cloud) -> None:
    pool = child("p", startIPAddress="10.8.0.9", endIpAddress="10.8.0.9")
    subnet = child(
        "a", addressPrefix="10.8.0.0/24", vlanId=7, defaultGateways=["10.8.0.1"], ipPools=[pool]
    )
    cloud.put("/logicalNetworks/HNVPA", {"networkVirtualizationEnabled": True, "subnets": [subnet]})
    answer = cloud.get("/logicalNetworks/hnvpa", V1)
    subnets = answer["properties"]["subnets"] if isinstance(answer["properties"], dict) else None
    assert isinstance(subnets, list)
    assert isinstance(subnets[0], dict)
    listed: Json = subnets[0]["properties"]
    wanted: Json = {
        "provisioningState": "Succeeded",
        "addressPrefix": "10.8.0.0/24",
        "vlanID": "7",
        "routes": [],
        "dnsServers": [],
        "defaultGateways": ["10.8.0.1"],
        "isPublic": False,
        "ipPools": [
            {
                **_envelope(cloud, "/logicalNetworks/HNVPA/subnets/a/ipPools/p"),
                "properties": {
                    "provisioningState": "Succeeded",
                    "startIpAddress": "10.8.0.9",
                    "endIpAddress": "10.8.0.9",
                    "usage": {
                        "numberOfIPAddresses": 1,
                        "numberofIPAddressesAllocated": 0,
                        "numberOfIPAddressesInTransition": 0,
                    },
                },
            }
        ],
        "ipConfigurations": [],
        "networkInterfaces": [],
        "gatewayPools": [],
        "networkConnections": [],
    }
    assert listed == wanted
    properties = answer["properties"]
    assert isinstance(properties, dict)
    assert properties["networkVirtualizationEnabled"] == "True"
    assert properties["virtualNetworks"] == [ref("/virtualNetworks/v")]


def test_a_virtual_network_names_who_is_in_it_and_never_its_inner_numbers(cloud: Cloud) -> None:
    for name in "ba":
        cloud.put(f"/networkInterfaces/{name}", interface())
    text = msgspec.json.encode(cloud.get("/virtualNetworks/v"))
    assert b"rdid" not in text
    subnet = cloud.get("/virtualNetworks/v/subnets/s")["properties"]
    assert isinstance(subnet, dict)
    assert subnet["ipConfigurations"] == [
        ref(f"/networkInterfaces/{name}/ipConfigurations/ip") for name in "ab"
    ]
    assert subnet["virtualSubnetId"] == "4096"


@pytest.mark.parametrize(("version", "visible"), [(V1, False), (V2, True), (LATEST, True)])
def test_a_version_sees_the_fields_that_it_has(
    cloud: Cloud, version: object, visible: bool
) -> None:
    assert version in VERSIONS
    for known in VERSIONS:
        if known == version:
            subnet = cloud.get("/virtualNetworks/v/subnets/s", known)["properties"]
            assert isinstance(subnet, dict)
            assert ("virtualSubnetId" in subnet) is visible


def test_an_older_client_keeps_what_it_cannot_see(cloud: Cloud) -> None:
    cloud.put("/networkInterfaces/n", interface(isPrimary=True))
    cloud.put_body("/networkInterfaces/n", cloud.get("/networkInterfaces/n", V1), V1)
    config = cloud.get("/networkInterfaces/n/ipConfigurations/ip")["properties"]
    assert isinstance(config, dict)
    assert config["isPrimary"] is True


def test_a_server_names_the_ports_on_its_switch(cloud: Cloud) -> None:
    cloud.put("/servers/h")
    answer = render(cloud.row("/servers/h"), cloud.store, states=Seen())
    properties = answer["properties"]
    assert isinstance(properties, dict)
    assert properties["virtualNetworkInterfaces"] == [ref("/networkInterfaces/n")]
    assert "configurationState" not in properties
    # nobody asked: nothing is said, not even that there are none
    silent = render(cloud.row("/servers/h"), cloud.store)["properties"]
    assert isinstance(silent, dict)
    assert "virtualNetworkInterfaces" not in silent


def test_a_collection_is_never_paginated(cloud: Cloud) -> None:
    rows = list(cloud.store.collection("virtualNetworks"))
    answer = render_collection(rows, cloud.store)
    assert answer["nextLink"] == ""
    assert answer["value"] == [render(rows[0], cloud.store)]
    assert render_collection([], cloud.store) == {"value": [], "nextLink": ""}


def test_what_is_rendered_is_plain_json(cloud: Cloud) -> None:
    cloud.put("/networkInterfaces/n", {**interface(), "portSettings": {}})
    for row in cloud.store.rows.values():
        answer: Json = render(row, cloud.store)
        again: Json = msgspec.json.decode(msgspec.json.encode(answer))
        assert again == answer


def test_etags_are_weak_on_the_wire() -> None:
    assert etag_text("a") == 'W/"a"'


def test_every_kind_has_a_struct_that_can_be_stored_empty_or_says_what_it_needs() -> None:
    for kind in KINDS.values():
        required = [spec.attribute for spec in kind.fields if spec.rules.required]
        if not required:
            assert msgspec.json.encode(kind.model()) in (b"{}",), kind.name


def _envelope(cloud: Cloud, path: str) -> dict[str, Json]:
    return {name: value for name, value in cloud.get(path).items() if name != "properties"}
