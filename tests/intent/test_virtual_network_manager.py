# SPDX-License-Identifier: Apache-2.0
"""virtualNetworkManager: what holds for all virtual networks (MS-NCNBI section B.18)."""

from __future__ import annotations

import pytest

from isthmus.intent.fields import decode
from isthmus.intent.kinds.virtual_subnets import VirtualSubnet
from isthmus.intent.model import Json
from isthmus.intent.versions import V1
from tests.intent.cloud import SUBNET, Cloud, network

MANAGER = "/virtualNetworkManager/configuration"


def vsid(cloud: Cloud, path: str = SUBNET) -> int:
    return decode(cloud.row(path), VirtualSubnet).virtual_subnet_id


def test_new_subnets_get_numbers_of_the_configured_range(cloud: Cloud) -> None:
    cloud.put(MANAGER, {"virtualSubnetIdRange": {"startId": "5000", "ENDID": 5001}})
    cloud.put(
        "/virtualNetworks/w",
        network("10.0.0.0/8", subnets={"a": "10.1.0.0/16", "b": "10.2.0.0/16"}),
    )
    assert vsid(cloud, "/virtualNetworks/w/subnets/b") == 5001
    error = cloud.refused("/virtualNetworks/w/subnets/c", {"addressPrefix": "10.3.0.0/16"})
    assert (error.code, error.status) == ("InvalidVsidRangeValues", 409)
    assert vsid(cloud) == 4096


@pytest.mark.parametrize(
    ("range_", "code"),
    [
        ({"startId": 4095, "endId": 5000}, "InvalidVsidRangeValues"),
        ({"startId": 4096, "endId": 16777216}, "InvalidVsidRangeValues"),
        ({"startId": 6000, "endId": 5000}, "InvalidVsidRangeValues"),
        ({"startId": 5000, "endId": 5000}, "InvalidVsidRangeValues"),
        ({"startId": 5000}, "InvalidVsidRangeFormat"),
        ({"startId": "a", "endId": "b"}, "InvalidVsidRangeFormat"),
        ("4096-5000", "InvalidVsidRangeFormat"),
    ],
)
def test_a_range_that_is_none_is_refused(cloud: Cloud, range_: Json, code: str) -> None:
    assert cloud.refused(MANAGER, {"virtualSubnetIdRange": range_}).code == code


def test_the_range_needs_version_two(cloud: Cloud) -> None:
    cloud.put(MANAGER, {"virtualSubnetIdRange": {"startId": 5000, "endId": 6000}})
    body: Json = {"properties": {"virtualSubnetIdRange": {"startId": 4096, "endId": 6000}}}
    with pytest.raises(Exception, match="v2") as caught:
        cloud.put_body(MANAGER, body, V1)
    assert getattr(caught.value, "code", "") == "MinimumApiVersionNotSpecifiedForVsidRange"
    # and a client that does not know it does not reset it
    seen = cloud.put(MANAGER, {"networkVirtualizationProtocol": "vxlan"}, version=V1)
    assert "virtualSubnetIdRange" not in seen
    assert seen["networkVirtualizationProtocol"] == "VXLAN"
    assert cloud.get(MANAGER)["properties"] == {
        "provisioningState": "Succeeded",
        "networkVirtualizationProtocol": "VXLAN",
        "distributedRouterState": "Enabled",
        "virtualSubnetIdRange": {"startId": 5000, "endId": 6000},
        "enableMetering": False,
    }


def test_the_router_is_always_enabled(cloud: Cloud) -> None:
    cloud.put(MANAGER, {"distributedRouterState": "Enable"})
    assert cloud.refused(MANAGER, {"distributedRouterState": "Disabled"}).status == 400
