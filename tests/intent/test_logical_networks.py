# SPDX-License-Identifier: Apache-2.0
"""logicalNetworks, their subnets, ipPools and routes (MS-NCNBI section B.8)."""

from __future__ import annotations

import pytest

from isthmus.intent.model import Json
from tests.intent.cloud import Cloud, Properties, child, interface

NETWORK = "/logicalNetworks/front"
SUBNET = f"{NETWORK}/subnets/a"
ADDRESS = ("ipConfigurations", 0, "privateIPAddress")


def subnet(name: str = "a", prefix: str = "10.8.0.0/24", **properties: Json) -> Json:
    return child(name, addressPrefix=prefix, **properties)


def pool(name: str, first: str, last: str) -> Json:
    return child(name, startIpAddress=first, endIpAddress=last)


def front(cloud: Cloud, *subnets: Json, **properties: Json) -> None:
    cloud.put(NETWORK, {"subnets": list(subnets), **properties})


def test_a_dynamic_address_comes_from_the_pools_but_never_a_gateway(cloud: Cloud) -> None:
    front(
        cloud,
        subnet(
            defaultGateways=["10.8.0.2"],
            ipPools=[pool("p", "10.8.0.0", "10.8.0.3"), pool("q", "10.8.0.9", "10.8.0.9")],
        ),
    )
    given = [cloud.put(f"/networkInterfaces/{n}", interface(SUBNET))[ADDRESS] for n in range(3)]
    assert given == ["10.8.0.1", "10.8.0.3", "10.8.0.9"]
    error = cloud.refused("/networkInterfaces/x", interface(SUBNET))
    assert error.code == "SubnetIsFull"
    for reserved in ("10.8.0.0", "10.8.0.2", "10.8.0.255"):
        error = cloud.refused("/networkInterfaces/x", interface(SUBNET, privateIPAddress=reserved))
        assert error.code == "PrivateIPAddressInReservedRange"
    usage = cloud.get(SUBNET)["properties"]
    assert isinstance(usage, dict)
    pools = usage["ipPools"]
    assert isinstance(pools, list)
    assert isinstance(pools[0], dict)
    assert isinstance(pools[0]["properties"], dict)
    assert pools[0]["properties"]["usage"] == {
        "numberOfIPAddresses": 4,
        "numberofIPAddressesAllocated": 2,
        "numberOfIPAddressesInTransition": 0,
    }


def test_a_used_pool_cannot_go_nor_lose_a_used_address(cloud: Cloud) -> None:
    front(cloud, subnet(ipPools=[pool("p", "10.8.0.10", "10.8.0.19")]))
    cloud.put("/networkInterfaces/n", interface(SUBNET, privateIPAddress="10.8.0.15"))
    path = f"{SUBNET}/ipPools/p"
    assert cloud.delete_refused(path).code == "InUseIpPoolCannotBeDeleted"
    for first, last in (("10.8.0.16", "10.8.0.19"), ("10.8.0.10", "10.8.0.14")):
        error = cloud.refused(path, {"startIpAddress": first, "endIpAddress": last})
        assert error.code == "InUseIpPoolCannotBeDeleted"
    cloud.put(path, {"startIpAddress": "10.8.0.15", "endIpAddress": "10.8.0.40"})
    assert cloud.delete_refused(SUBNET).code == "InUseSubnetCannotBeDeleted"
    assert cloud.delete_refused(NETWORK).code == "ResourceInUse"
    cloud.delete("/networkInterfaces/n")
    assert cloud.delete(path) == 200


@pytest.mark.parametrize(
    ("pools", "code"),
    [
        ([pool("p", "10.8.0.20", "10.8.0.10")], "InvalidParameterValue"),
        ([pool("p", "10.8.0.20", "10.8.1.10")], "InvalidIPAddress"),
        ([pool("p", "fd00::1", "fd00::2")], "InvalidIPAddress"),
        (
            [pool("p", "10.8.0.1", "10.8.0.9"), pool("q", "10.8.0.9", "10.8.0.10")],
            "InvalidParameterValue",
        ),
        ([child("p", startIpAddress="10.8.0.1")], "RequiredParamMissing"),
    ],
)
def test_a_pool_that_is_no_range_of_the_subnet_is_refused(
    cloud: Cloud, pools: list[Json], code: str
) -> None:
    error = cloud.refused(NETWORK, {"subnets": [subnet(ipPools=pools)]})
    assert (error.code, error.status) == (code, 400)
    assert error.target is not None
    assert error.target.startswith("properties.subnets[0].properties.ipPools[")


def test_a_pool_written_alone_obeys_the_same_rules(cloud: Cloud) -> None:
    front(cloud, subnet(ipPools=[pool("p", "10.8.0.10", "10.8.0.19")]), child("bare"))
    properties = {"startIpAddress": "10.8.0.19", "endIpAddress": "10.8.0.25"}
    assert cloud.refused(f"{SUBNET}/ipPools/q", properties).code == "InvalidParameterValue"
    assert cloud.refused(f"{NETWORK}/subnets/bare/ipPools/q", properties).status == 400


@pytest.mark.parametrize(
    ("subnets", "code", "target"),
    [
        (
            [subnet("a"), subnet("b", "10.8.0.128/25")],
            "InvalidIPPrefix",
            "subnets[1].properties.addressPrefix",
        ),
        (
            [subnet(defaultGateways=["10.9.0.1"])],
            "InvalidIPAddress",
            "subnets[0].properties.defaultGateways[0]",
        ),
        (
            [subnet(routes=[child("r", destination="10.0.0.0/8", nextHop="10.9.0.1")])],
            "InvalidNextHopIpAddress",
            "subnets[0].properties.routes[0].properties.nextHop",
        ),
        (
            [
                subnet("a", isPublic="true", vlanID="7"),
                subnet("b", "10.9.0.0/24", isPublic=True, vlanID=7),
            ],
            "DuplicateNonZeroVIPSubnetVLanID",
            "subnets[1].properties.vlanID",
        ),
    ],
)
def test_a_subnet_that_breaks_a_rule_is_refused(
    cloud: Cloud, subnets: list[Json], code: str, target: str
) -> None:
    error = cloud.refused(NETWORK, {"subnets": subnets})
    assert (error.code, error.target) == (code, f"properties.{target}")


def test_routes_of_a_logical_subnet_are_resources_of_their_own(cloud: Cloud) -> None:
    """MS-NCNBI 3.1.5.8.2.3, whose example embeds them as children are."""
    route = child("r", destination="10.0.0.0/8", nextHop="10.8.0.9")
    front(cloud, subnet(routes=[route]))
    cloud.put(f"{SUBNET}/routes/second", {"destination": "10.20.0.1/16", "nextHop": "10.8.0.9"})
    read = Properties(cloud.get(SUBNET))
    assert [read["routes", n, "resourceId"] for n in range(2)] == ["r", "second"]
    assert [read["routes", n, "destination"] for n in range(2)] == ["10.0.0.0/8", "10.20.0.0/16"]
    made = cloud.get(f"{SUBNET}/routes/r")
    assert made["properties"] == {
        "provisioningState": "Succeeded",
        "destination": "10.0.0.0/8",
        "nextHop": "10.8.0.9",
    }
    for wrong, code in (
        ({"destination": "10.0.0.0/8", "nextHop": "10.8.0.9"}, "RouteConflict"),
        ({"destination": "fd00::/64", "nextHop": "10.8.0.9"}, "InvalidRouteAddressPrefix"),
        ({"destination": "10.30.0.0/16", "nextHop": "10.9.0.9"}, "InvalidNextHopIpAddress"),
        ({"destination": "10.30.0.0/16"}, "MissingNextHopIpAddress"),
        ({"nextHop": "10.8.0.9"}, "RequiredParamMissing"),
    ):
        assert cloud.refused(f"{SUBNET}/routes/third", wrong).code == code
    cloud.put_body(SUBNET, cloud.get(SUBNET))
    assert cloud.delete(f"{SUBNET}/routes/r") == 200
    front(cloud, subnet())
    assert cloud.store.get(f"{SUBNET}/routes/second".lower()) is None


def test_a_used_subnet_keeps_its_prefix_and_its_vlan(cloud: Cloud) -> None:
    front(cloud, subnet(vlanID=7, ipPools=[pool("p", "10.8.0.10", "10.8.0.19")]))
    cloud.put(SUBNET, {"addressPrefix": "10.8.0.0/23", "vlanID": 8})
    cloud.put("/networkInterfaces/n", interface(SUBNET, privateIPAddress="10.8.0.15"))
    error = cloud.refused(SUBNET, {"addressPrefix": "10.8.0.0/24", "vlanID": 8})
    assert error.code == "InUseSubnetCannotBeUpdated"
    error = cloud.refused(SUBNET, {"addressPrefix": "10.8.0.0/23", "vlanID": 9})
    assert error.code == "CannotUpdateVLanId"


def test_replacing_an_unused_subnet_replaces_what_is_below_it(cloud: Cloud) -> None:
    front(cloud, subnet(ipPools=[pool("p", "10.8.0.10", "10.8.0.19")]))
    wider = {"addressPrefix": "10.8.0.0/23", "ipPools": [pool("p", "10.8.0.10", "10.8.1.19")]}
    plan = cloud.plan(SUBNET, wider)
    assert [row.resource_id for row in plan.replaces] == ["a", "p"]
    assert [row.resource_id for row in plan.updates] == ["front"]
    cloud.store.apply(plan)


def test_virtualization_stays_enabled_under_virtual_networks(cloud: Cloud) -> None:
    error = cloud.refused("/logicalNetworks/HNVPA", {"networkVirtualizationEnabled": "False"})
    assert (error.status, error.target) == (409, "properties.networkVirtualizationEnabled")
    assert cloud.delete_refused("/logicalNetworks/HNVPA").status == 409
    cloud.delete("/virtualNetworks/v")
    plan = cloud.plan("/logicalNetworks/HNVPA", {"networkVirtualizationEnabled": "False"})
    # so that a virtual network that is being made on it meanwhile is not lost
    assert [row.resource_id for row in plan.replaces] == ["HNVPA"]


def test_unmanaged_addresses_are_for_networks_without_virtualization(cloud: Cloud) -> None:
    front(cloud, child("bare"), subnet())
    bare = f"{NETWORK}/subnets/bare"
    made = cloud.put("/networkInterfaces/n", interface(bare, privateIPAllocationMethod="Unmanaged"))
    assert made["ipConfigurations", 0, "privateIPAllocationMethod"] == "Unmanaged"
    error = cloud.refused("/networkInterfaces/m", interface(bare))
    assert error.code == "PrivateIpAllocationMethodMustBeUnmanaged"
    cloud.put("/logicalNetworks/HNVPA/subnets/a", {"addressPrefix": "10.9.0.0/24"})
    for managed in ("/virtualNetworks/v/subnets/s", "/logicalNetworks/HNVPA/subnets/a"):
        config = interface(managed, privateIPAllocationMethod="Unmanaged")
        error = cloud.refused("/networkInterfaces/m", config)
        assert error.code == "UnmanagedAllocationMethodNotSupported"
