# SPDX-License-Identifier: Apache-2.0
"""virtualNetworks and their numbers (MS-NCNBI section B.17)."""

from __future__ import annotations

import pytest

from isthmus.intent.fields import decode
from isthmus.intent.kinds.virtual_networks import VirtualNetwork
from isthmus.intent.kinds.virtual_subnets import VirtualSubnet
from isthmus.intent.model import Json
from tests.intent.cloud import SUBNET, Cloud, Properties, child, interface, network, ref

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


def test_a_prefix_with_host_bits_is_taken_as_its_network(cloud: Cloud) -> None:
    """SDNExpress's load balancing sample sends 12.35.24.25/29, cmdlet documents 10.0.0.1/24."""
    cloud.put("/virtualNetworks/w", network("10.5.0.1/16", subnets={"s": "10.5.1.1/24"}))
    made = cloud.put(
        "/virtualNetworks/w/subnets/t",
        {
            "addressPrefix": "10.5.2.77/24",
            "routes": [{"destination": "172.16.0.1/12", "nextHop": "10.5.2.9"}],
        },
    )
    assert made["addressPrefix"] == "10.5.2.0/24"
    assert made["routes"] == [{"destination": "172.16.0.0/12", "nextHop": "10.5.2.9"}]
    read = Properties(cloud.get("/virtualNetworks/w"))
    assert read["addressSpace"] == {"addressPrefixes": ["10.5.0.0/16"]}
    assert read["subnets", 0, "addressPrefix"] == "10.5.1.0/24"
    error = cloud.refused("/virtualNetworks/w/subnets/u", {"addressPrefix": "10.5.2.200/25"})
    assert "10.5.2.128/25 of u overlaps 10.5.2.0/24 of t" in error.message
    # an address is no prefix, and a guest is not given a network by a slip
    pair: Json = {"allowedAddressPairs": [{"ipAddress": "10.0.1.7/24"}]}
    assert cloud.refused("/networkInterfaces/n", pair).code == "InvalidIPAddress"


def test_every_address_of_a_network_is_counted_once_among_many_subnets(cloud: Cloud) -> None:
    subnets = [child(f"s{n}", addressPrefix=f"10.{n}.0.0/16") for n in range(200)]
    cloud.put("/virtualNetworks/w", {**network("10.0.0.0/8"), "subnets": subnets})
    numbers = {vsid(cloud, f"/virtualNetworks/w/subnets/s{n}") for n in range(200)}
    assert len(numbers) == 200
