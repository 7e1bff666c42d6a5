# SPDX-License-Identifier: Apache-2.0
"""virtualNetworks, their subnets and their numbers (MS-NCNBI sections B.17 and B.18)."""

from __future__ import annotations

import pytest

from isthmus.intent.fields import decode
from isthmus.intent.model import Json
from isthmus.intent.versions import V1
from isthmus.intent.virtual_networks import VirtualNetwork, VirtualSubnet
from tests.intent.cloud import SUBNET, Cloud, child, interface, network, ref

MANAGER = "/virtualNetworkManager/configuration"
AT_PREFIX = "properties.subnets[0].properties.addressPrefix"


def vsid(cloud: Cloud, path: str = SUBNET) -> int:
    return decode(cloud.row(path), VirtualSubnet).virtual_subnet_id


def test_subnets_and_networks_get_numbers_of_their_own_and_keep_them(cloud: Cloud) -> None:
    cloud.put(
        "/virtualNetworks/w",
        network("10.0.0.0/8", subnets={"a": "10.1.0.0/16", "b": "10.2.0.0/16"}),
    )
    assert [
        vsid(cloud),
        vsid(cloud, "/virtualNetworks/w/subnets/a"),
        vsid(cloud, "/virtualNetworks/w/subnets/b"),
    ] == [4096, 4097, 4098]
    numbers = [decode(cloud.row(f"/virtualNetworks/{name}"), VirtualNetwork).rdid for name in "vw"]
    assert numbers == [1, 2]
    cloud.put("/virtualNetworks/w", network("10.0.0.0/8", subnets={"b": "10.2.0.0/16"}))
    assert vsid(cloud, "/virtualNetworks/w/subnets/b") == 4098
    assert decode(cloud.row("/virtualNetworks/w"), VirtualNetwork).rdid == 2


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
    seen = cloud.put(MANAGER, {"networkVirtualizationProtocol": "nvgre"}, version=V1)
    assert "virtualSubnetIdRange" not in seen
    assert seen["networkVirtualizationProtocol"] == "NVGRE"
    assert cloud.get(MANAGER)["properties"] == {
        "provisioningState": "Succeeded",
        "networkVirtualizationProtocol": "NVGRE",
        "distributedRouterState": "Enabled",
        "virtualSubnetIdRange": {"startId": 5000, "endId": 6000},
        "enableMetering": False,
    }


def test_the_router_is_always_enabled(cloud: Cloud) -> None:
    cloud.put(MANAGER, {"distributedRouterState": "Enable"})
    assert cloud.refused(MANAGER, {"distributedRouterState": "Disabled"}).status == 400


@pytest.mark.parametrize(
    ("properties", "code", "target"),
    [
        ({"addressSpace": None}, "RequiredParamMissing", "addressSpace"),
        (
            {"addressSpace": {"addressPrefixes": []}},
            "RequiredParamMissing",
            "addressSpace.addressPrefixes",
        ),
        (
            {"addressSpace": {"addressPrefixes": ["10.0.0.0/8", "10.1.0.0/16"]}},
            "InvalidIPPrefix",
            "addressSpace.addressPrefixes[1]",
        ),
        ({"logicalNetwork": None}, "RequiredParamMissing", "logicalNetwork"),
        (
            {"logicalNetwork": ref("/logicalNetworks/nope")},
            "InvalidLogicalNetworkReference",
            "logicalNetwork",
        ),
        (
            {"logicalNetwork": ref("/logicalNetworks/plain")},
            "InvalidLogicalNetworkReference",
            "logicalNetwork",
        ),
        (
            {"unbilledAddressRanges": "10.0.0.0/8,x"},
            "InvalidUnbilledAddressRange",
            "unbilledAddressRanges",
        ),
    ],
)
def test_a_network_that_breaks_a_rule_is_refused(
    cloud: Cloud, properties: dict[str, Json], code: str, target: str
) -> None:
    cloud.put("/logicalNetworks/plain")
    error = cloud.refused("/virtualNetworks/w", {**network("10.0.0.0/8"), **properties})
    assert (error.code, error.target) == (code, f"properties.{target}")


@pytest.mark.parametrize(
    ("subnets", "code", "at"),
    [
        ({"a": "192.168.0.0/24"}, "InvalidIPPrefix", 0),
        ({"a": "10.0.0.0/7"}, "InvalidIPPrefix", 0),
        ({"a": "10.0.0.0/31"}, "InvalidIPPrefix", 0),
        ({"a": "fd01::/64"}, "InvalidIPPrefix", 0),
        ({"a": "fd00::/127"}, "InvalidIPPrefix", 0),
        ({"a": "fe80::/64"}, "AddressPrefixInRestrictedAddressSpace", 0),
        ({"a": "ff02::/64"}, "AddressPrefixInRestrictedAddressSpace", 0),
        ({"a": "fd00::/56", "b": "fd00::/64"}, "InvalidIPPrefix", 1),
        ({"a": "127.0.0.0/24"}, "AddressPrefixInRestrictedAddressSpace", 0),
        ({"a": "10.1.0.0/16", "b": "160.0.0.0/4"}, "AddressPrefixInRestrictedAddressSpace", 1),
        ({"a": "10.1.0.0/16", "b": "10.2.0.0/16", "c": "10.1.9.0/24"}, "InvalidIPPrefix", 2),
    ],
)
def test_a_subnet_that_breaks_a_rule_is_refused(
    cloud: Cloud, subnets: dict[str, str], code: str, at: int
) -> None:
    properties = network("10.0.0.0/8", "fd00::/48", subnets=subnets)
    error = cloud.refused("/virtualNetworks/w", properties)
    assert (error.code, error.status) == (code, 400)
    assert error.target == AT_PREFIX.replace("0", str(at))


def test_a_subnet_written_alone_obeys_the_same_rules(cloud: Cloud) -> None:
    for wrong in ("10.0.1.128/25", "10.1.0.0/24"):
        error = cloud.refused("/virtualNetworks/v/subnets/t", {"addressPrefix": wrong})
        assert (error.code, error.target) == ("InvalidIPPrefix", "properties.addressPrefix")
    assert cloud.refused("/virtualNetworks/v/subnets/t").code == "RequiredParamMissing"


def test_an_address_space_of_one_address_is_accepted_and_replaced(cloud: Cloud) -> None:
    # what the OpenStack driver does around a network's first and last subnet
    cloud.put("/virtualNetworks/w", network("1.0.0.0/32"))
    cloud.put("/virtualNetworks/w", network("10.5.0.0/24", subnets={"a": "10.5.0.0/24"}))
    cloud.delete("/virtualNetworks/w/subnets/a")
    cloud.put("/virtualNetworks/w", network("1.0.0.0/32"))


def test_a_prefix_with_subnets_cannot_be_dropped(cloud: Cloud) -> None:
    error = cloud.refused(
        "/virtualNetworks/v", network("10.9.0.0/16", subnets={"s": "10.0.1.0/24"})
    )
    assert (error.code, error.target) == ("InvalidIPPrefix", AT_PREFIX)


def test_a_used_subnet_keeps_its_prefix_and_an_unused_one_is_replaced(cloud: Cloud) -> None:
    before = cloud.row(SUBNET)
    plan = cloud.plan(SUBNET, {"addressPrefix": "10.0.7.0/24"})
    assert [row.key for row in plan.replaces] == [before.key]
    cloud.store.apply(plan)
    assert cloud.row(SUBNET).instance_id == before.instance_id
    assert vsid(cloud) == 4096
    cloud.put("/networkInterfaces/n", interface())
    error = cloud.refused(SUBNET, {"addressPrefix": "10.0.1.0/24"})
    assert (error.code, error.status, error.target) == (
        "InUseSubnetCannotBeUpdated",
        409,
        "properties.addressPrefix",
    )
    assert "/networkInterfaces/n/ipConfigurations/ip" in error.message


def test_a_used_subnet_or_network_cannot_go(cloud: Cloud) -> None:
    for name in range(7):
        cloud.put(f"/networkInterfaces/n{name}", interface())
    error = cloud.delete_refused(SUBNET)
    assert (error.code, error.status) == ("InUseSubnetCannotBeDeleted", 409)
    assert error.message.count("/ipConfigurations/") == 5
    assert "and 2 more" in error.message
    assert cloud.delete_refused("/virtualNetworks/v").code == "VnetInUse"
    error = cloud.refused("/virtualNetworks/v", network("10.0.0.0/16"))
    assert error.code == "InUseSubnetCannotBeDeleted"
    for name in range(7):
        cloud.delete(f"/networkInterfaces/n{name}")
    assert cloud.delete("/virtualNetworks/v") == 200
    assert not [key for key in cloud.store.rows if key.startswith("/virtualnetworks")]


def test_the_logical_network_is_fixed_in_any_spelling(cloud: Cloud) -> None:
    cloud.put("/logicalNetworks/other", {"networkVirtualizationEnabled": "true"})
    moved = {**network("10.0.0.0/16"), "logicalNetwork": ref("/logicalNetworks/other")}
    assert cloud.refused("/virtualNetworks/v", moved).code == "InvalidLogicalNetworkReference"
    same = {**network("10.0.0.0/16"), "logicalNetwork": ref("/LOGICALNETWORKS/hnvpa")}
    cloud.put("/virtualNetworks/v", same)


def test_guests_can_be_given_routes(cloud: Cloud) -> None:
    route: Json = {"destination": "172.16.0.0/12", "nextHop": "10.0.1.9"}
    made = cloud.put(SUBNET, {"addressPrefix": "10.0.1.0/24", "routes": [route]})
    assert made["routes"] == [route]
    for wrong, code in (
        ({"destination": "172.16.0.0/12", "nextHop": "10.0.2.9"}, "InvalidNextHopIpAddress"),
        ({"destination": "172.16.0.0/12"}, "MissingNextHopIpAddress"),
        ({"destination": "172.16.0.1/12", "nextHop": "10.0.1.9"}, "InvalidRouteAddressPrefix"),
        ({"destination": "fd00::/64", "nextHop": "10.0.1.9"}, "InvalidRouteAddressPrefix"),
        ([route, route], "RouteConflict"),
        ([route] * 26, "RouteCountLimitReached"),
    ):
        properties: Json = {"addressPrefix": "10.0.1.0/24", "routes": wrong}
        assert cloud.refused(SUBNET, properties).code == code


def test_every_address_of_a_network_is_counted_once_among_many_subnets(cloud: Cloud) -> None:
    subnets = [child(f"s{n}", addressPrefix=f"10.{n}.0.0/16") for n in range(200)]
    cloud.put("/virtualNetworks/w", {**network("10.0.0.0/8"), "subnets": subnets})
    numbers = {vsid(cloud, f"/virtualNetworks/w/subnets/s{n}") for n in range(200)}
    assert len(numbers) == 200
