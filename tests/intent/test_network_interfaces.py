# SPDX-License-Identifier: Apache-2.0
"""networkInterfaces and their addresses (MS-NCNBI section B.11)."""

from __future__ import annotations

import pytest

from isthmus.intent.fields import decode
from isthmus.intent.kinds.ip_configurations import IpConfiguration
from isthmus.intent.kinds.network_interfaces import MOST_PAIRS, NetworkInterface
from isthmus.intent.model import Json
from tests.intent.cloud import SUBNET, Cloud, Properties, child, interface, network, ref

ADDRESS = ("ipConfigurations", 0, "privateIPAddress")
AT_ADDRESS = "properties.ipConfigurations[0].properties.privateIPAddress"


def test_a_dynamic_interface_gets_a_mac_of_the_pool_and_the_fourth_address(cloud: Cloud) -> None:
    made = cloud.put("/networkInterfaces/n", interface())
    assert made["privateMacAddress"] == "001DD8000000"
    assert made["privateMacAllocationMethod"] == "Dynamic"
    assert made[ADDRESS] == "10.0.1.4"
    assert made["ipConfigurations", 0, "privateIPAllocationMethod"] == "Dynamic"


def test_what_was_given_dynamically_is_kept_through_every_put(cloud: Cloud) -> None:
    for name in "abc":
        cloud.put(f"/networkInterfaces/{name}", interface())
    cloud.delete("/networkInterfaces/a")
    again = cloud.put("/networkInterfaces/c", interface())
    assert (again["privateMacAddress"], again[ADDRESS]) == ("001DD8000002", "10.0.1.6")
    # what a client sends along with Dynamic does not move what the interface has
    again = cloud.put(
        "/networkInterfaces/c",
        {
            **interface(privateIPAllocationMethod="Dynamic", privateIPAddress="10.0.1.99"),
            "privateMacAddress": "020000000001",
            "privateMacAllocationMethod": "Dynamic",
        },
    )
    assert (again["privateMacAddress"], again[ADDRESS]) == ("001DD8000002", "10.0.1.6")
    assert cloud.put("/networkInterfaces/d", interface())[ADDRESS] == "10.0.1.4"


def recorded(cloud: Cloud, mac: str, address: str) -> Properties:
    """An interface as a dump of another day has it."""
    dynamic: Json = {
        **interface(privateIPAllocationMethod="Dynamic", privateIPAddress=address),
        "privateMacAddress": mac,
        "privateMacAllocationMethod": "Dynamic",
    }
    return cloud.put("/networkInterfaces/again", dynamic)


def test_a_recorded_interface_gets_its_dynamic_addresses_again(cloud: Cloud) -> None:
    made = recorded(cloud, "001DD8000077", "10.0.1.77")
    assert (made["privateMacAddress"], made[ADDRESS]) == ("001DD8000077", "10.0.1.77")
    assert made["privateMacAllocationMethod"] == "Dynamic"
    assert made["ipConfigurations", 0, "privateIPAllocationMethod"] == "Dynamic"
    assert cloud.delete_refused("/macPools/default").status == 409
    cloud.delete("/networkInterfaces/again")
    assert cloud.delete("/macPools/default") == 200


@pytest.mark.parametrize(
    ("mac", "address"),
    [
        ("001DD8000000", "10.0.1.4"),
        ("020000000001", "10.0.2.9"),
        ("000000000000", "10.0.1.1"),
        ("010000000001", "fd00::9"),
        ("001DD8010000", "10.0.1.255"),
    ],
)
def test_one_that_is_taken_or_in_no_pool_is_another_one(
    cloud: Cloud, mac: str, address: str
) -> None:
    cloud.put("/networkInterfaces/first", interface())
    made = recorded(cloud, mac, address)
    assert (made["privateMacAddress"], made[ADDRESS]) == ("001DD8000001", "10.0.1.5")


def test_a_given_address_means_static(cloud: Cloud) -> None:
    made = cloud.put(
        "/networkInterfaces/n",
        {**interface(privateIPAddress="10.0.1.9"), "privateMacAddress": "02:00:00:00:00:01"},
    )
    assert made["privateMacAllocationMethod"] == "Static"
    assert made["ipConfigurations", 0, "privateIPAllocationMethod"] == "Static"
    typed = decode(cloud.row("/networkInterfaces/n"), NetworkInterface)
    assert typed.private_mac_address == "020000000001"
    config = decode(cloud.row("/networkInterfaces/n/ipConfigurations/ip"), IpConfiguration)
    assert (config.subnet, config.private_ip_address) == (SUBNET, "10.0.1.9")


def test_a_static_address_can_move(cloud: Cloud) -> None:
    cloud.put("/networkInterfaces/n", interface(privateIPAddress="10.0.1.9"))
    assert (
        cloud.put("/networkInterfaces/n", interface(privateIPAddress="10.0.1.10"))[ADDRESS]
        == "10.0.1.10"
    )
    assert (
        cloud.put("/networkInterfaces/m", interface(privateIPAddress="10.0.1.9"))[ADDRESS]
        == "10.0.1.9"
    )


def test_two_configurations_of_an_interface_can_exchange_their_addresses(cloud: Cloud) -> None:
    def both(one: str, two: str) -> Json:
        subnet = ref(SUBNET)
        return {
            "ipConfigurations": [
                child("a", subnet=subnet, privateIPAddress=one),
                child("b", subnet=subnet, privateIPAddress=two),
            ]
        }

    cloud.put("/networkInterfaces/n", both("10.0.1.8", "10.0.1.9"))
    swapped = cloud.put("/networkInterfaces/n", both("10.0.1.9", "10.0.1.8"))
    assert swapped[ADDRESS] == "10.0.1.9"
    error = cloud.refused("/networkInterfaces/n", both("10.0.1.8", "10.0.1.8"))
    assert error.code == "PrivateIPAddressInUse"
    assert error.target == "properties.ipConfigurations[1].properties.privateIPAddress"


@pytest.mark.parametrize(
    ("address", "code", "status"),
    [
        ("10.0.2.4", "PrivateIPAddressNotInSubnet", 400),
        ("fd00::4", "PrivateIPAddressNotInSubnet", 400),
        ("10.0.1.0", "PrivateIPAddressInReservedRange", 400),
        ("10.0.1.1", "PrivateIPAddressInReservedRange", 400),
        ("10.0.1.255", "PrivateIPAddressInReservedRange", 400),
        ("10.0.1.50", "PrivateIPAddressInUse", 409),
        ("10.0.1.x", "InvalidPrivateIPAddressFormat", 400),
    ],
)
def test_an_address_that_cannot_be_had_is_refused(
    cloud: Cloud, address: str, code: str, status: int
) -> None:
    cloud.put("/networkInterfaces/other", interface(privateIPAddress="10.0.1.50"))
    error = cloud.refused("/networkInterfaces/n", interface(privateIPAddress=address))
    assert (error.code, error.status, error.target) == (code, status, AT_ADDRESS)


def test_overlapping_tenants_hold_the_same_address(cloud: Cloud) -> None:
    cloud.put("/virtualNetworks/w", network("10.0.0.0/16", subnets={"s": "10.0.1.0/24"}))
    cloud.put("/networkInterfaces/n", interface(privateIPAddress="10.0.1.9"))
    cloud.put(
        "/networkInterfaces/m",
        interface("/virtualNetworks/w/subnets/s", privateIPAddress="10.0.1.9"),
    )


def test_static_without_an_address_is_refused(cloud: Cloud) -> None:
    error = cloud.refused("/networkInterfaces/n", interface(privateIPAllocationMethod="Static"))
    assert (error.code, error.target) == ("PrivateIPAddressMissing", AT_ADDRESS)
    error = cloud.refused("/networkInterfaces/n", {"privateMacAllocationMethod": "static"})
    assert (error.code, error.target) == (
        "PrivateMacAddressMissing",
        "properties.privateMacAddress",
    )


def test_how_an_address_is_chosen_is_fixed(cloud: Cloud) -> None:
    cloud.put("/networkInterfaces/n", interface())
    # even to the very address that it has
    error = cloud.refused(
        "/networkInterfaces/n",
        interface(privateIPAllocationMethod="Static", privateIPAddress="10.0.1.4"),
    )
    assert error.code == "PrivateIpAllocationMethodCannotBeUpdated"
    error = cloud.refused(
        "/networkInterfaces/n",
        {"privateMacAllocationMethod": "Static", "privateMacAddress": "001DD8000000"},
    )
    assert error.code == "PrivateMacAllocationMethodCannotBeUpdated"


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("isPrimary", False, "PrimaryNicPropertyCannotBeUpdated"),
        ("isHostVirtualNetworkInterface", True, "IsHostVirtualNetworkInterfaceCannotBeUpdated"),
    ],
)
def test_fixed_properties_are_fixed_and_kept_when_left_out(
    cloud: Cloud, field: str, value: bool, code: str
) -> None:
    cloud.put("/networkInterfaces/n", {field: not value})
    assert cloud.refused("/networkInterfaces/n", {field: value}).code == code
    cloud.put("/networkInterfaces/m", {field: value})
    assert cloud.put("/networkInterfaces/m")[field] is value


def test_mac_addresses_are_unique_and_of_one_interface_each(cloud: Cloud) -> None:
    cloud.put("/networkInterfaces/a", {"privateMacAddress": "001DD8000000"})
    error = cloud.refused("/networkInterfaces/b", {"privateMacAddress": "00-1d-d8-00-00-00"})
    assert (error.code, error.status) == ("InvalidPrivateMacAddress", 409)
    assert "/networkinterfaces/a" in error.message
    for wrong in ("010000000000", "000000000000", "FFFFFFFFFFFF"):
        error = cloud.refused("/networkInterfaces/b", {"privateMacAddress": wrong})
        assert (error.code, error.status) == ("InvalidPrivateMacAddress", 400)
    # a dynamic one goes past what is taken
    assert cloud.put("/networkInterfaces/b")["privateMacAddress"] == "001DD8000001"


def test_a_static_mac_can_change(cloud: Cloud) -> None:
    cloud.put("/networkInterfaces/a", {"privateMacAddress": "020000000001"})
    changed = cloud.put("/networkInterfaces/a", {"privateMacAddress": "020000000002"})
    assert changed["privateMacAddress"] == "020000000002"
    cloud.put("/networkInterfaces/b", {"privateMacAddress": "020000000001"})


def test_a_subnet_gives_every_address_and_then_is_full(cloud: Cloud) -> None:
    cloud.put(
        "/virtualNetworks/w",
        network("10.0.0.0/8", subnets={"s": "10.7.7.0/29", "t": "10.7.8.0/30"}),
    )
    path = "/virtualNetworks/w/subnets/s"
    given = [cloud.put(f"/networkInterfaces/{n}", interface(path))[ADDRESS] for n in range(5)]
    # the second and third only when nothing else is left; the first is the router's
    assert given == ["10.7.7.4", "10.7.7.5", "10.7.7.6", "10.7.7.2", "10.7.7.3"]
    error = cloud.refused("/networkInterfaces/x", interface(path))
    assert (error.code, error.status, error.target) == ("SubnetIsFull", 409, AT_ADDRESS)
    smallest = "/virtualNetworks/w/subnets/t"
    assert cloud.put("/networkInterfaces/y", interface(smallest))[ADDRESS] == "10.7.8.2"
    assert cloud.refused("/networkInterfaces/z", interface(smallest)).code == "SubnetIsFull"


def test_an_interface_is_one_port_on_one_segment(cloud: Cloud) -> None:
    cloud.put("/virtualNetworks/v/subnets/t", {"addressPrefix": "10.0.2.0/24"})
    two: Json = [
        child("a", subnet=ref(SUBNET)),
        child("b", subnet=ref("/virtualNetworks/v/subnets/t")),
    ]
    error = cloud.refused("/networkInterfaces/n", {"ipConfigurations": two})
    assert error.code == "NetworkMismatch"
    assert error.target == "properties.ipConfigurations[1].properties.subnet"
    cloud.put("/networkInterfaces/n", interface())
    error = cloud.refused(
        "/networkInterfaces/n/ipConfigurations/b", {"subnet": ref("/virtualNetworks/v/subnets/t")}
    )
    assert error.code == "NetworkMismatch"


def test_a_host_interface_stays_out_of_virtual_networks(cloud: Cloud) -> None:
    error = cloud.refused(
        "/networkInterfaces/n", {**interface(), "isHostVirtualNetworkInterface": True}
    )
    assert error.code == "HostVirtualNetworkInterfaceCannotConnectToVirtualNetwork"


def test_an_unknown_subnet_is_refused_and_a_missing_one_too(cloud: Cloud) -> None:
    error = cloud.refused("/networkInterfaces/n", interface("/virtualNetworks/v/subnets/nope"))
    assert (error.code, error.status) == ("InvalidResourceReference", 400)
    assert error.target == "properties.ipConfigurations[0].properties.subnet"
    error = cloud.refused("/networkInterfaces/n", {"ipConfigurations": [child("ip")]})
    assert error.code == "SubnetIsRequired"


def test_an_address_follows_its_configuration_into_another_subnet(cloud: Cloud) -> None:
    cloud.put("/virtualNetworks/v/subnets/t", {"addressPrefix": "10.0.2.0/24"})
    cloud.put("/networkInterfaces/n", interface())
    moved = cloud.put("/networkInterfaces/n", interface("/virtualNetworks/v/subnets/t"))
    assert moved[ADDRESS] == "10.0.2.4"
    assert cloud.put("/networkInterfaces/m", interface())[ADDRESS] == "10.0.1.4"


def test_dns_servers_are_for_primary_interfaces(cloud: Cloud) -> None:
    servers: Json = {"DnsServers": ["10.0.1.53"]}
    made = cloud.put("/networkInterfaces/n", {"dnsSettings": servers})
    assert made["dnsSettings"] == {"dnsServers": ["10.0.1.53"]}
    error = cloud.refused("/networkInterfaces/m", {"dnsSettings": servers, "isPrimary": "false"})
    assert error.code == "OnlyPrimaryNetworkInterfaceCanHaveDnsSettings"


def test_only_one_address_is_primary(cloud: Cloud) -> None:
    two: Json = [child(name, subnet=ref(SUBNET), isPrimary=True) for name in "ab"]
    error = cloud.refused("/networkInterfaces/n", {"ipConfigurations": two})
    assert error.target == "properties.ipConfigurations[1].properties.isPrimary"


def test_port_settings_are_taken_where_they_ask_for_nothing(cloud: Cloud) -> None:
    defaults: Json = {
        "macSpoofingEnabled": "disabled",
        "arpGuardEnabled": "Disabled",
        "dhcpGuardEnabled": "Disabled",
        "stormLimit": "0",
        "portFlowLimit": 0,
        "iovWeight": 0,
        "iovInterruptModeration": "Off",
        "iovQueuePairsRequested": 0,
        "vmqWeight": "50",
        "qosSettings": {"outboundMaximumMbps": "0", "outboundReservedValue": 0},
    }
    made = cloud.put("/networkInterfaces/n", {"portSettings": defaults})
    assert made["portSettings", "macSpoofingEnabled"] == "Disabled"
    assert made["portSettings", "vmqWeight"] == 50


@pytest.mark.parametrize(
    ("asked", "where"),
    [
        ({"portFlowLimit": "100"}, "portFlowLimit"),
        ({"qosSettings": {"outboundReservedValue": 1}}, "qosSettings.outboundReservedValue"),
        ({"qosSettings": {"outboundMaximumMbps": "10"}}, "qosSettings.outboundMaximumMbps"),
        ({"qosSettings": {"inboundMaximumMbps": 10}}, "qosSettings.inboundMaximumMbps"),
        ({"qosSettings": {"enableHardwareLimits": "true"}}, "qosSettings.enableHardwareLimits"),
    ],
)
def test_a_limit_that_would_not_be_enforced_is_refused(
    cloud: Cloud, asked: Json, where: str
) -> None:
    error = cloud.refused("/networkInterfaces/n", {"portSettings": asked})
    assert error.code == "OperationNotSupported"
    assert error.target == f"properties.portSettings.{where}"


def test_without_a_pool_there_is_no_dynamic_mac(cloud: Cloud) -> None:
    cloud.delete("/macPools/default")
    error = cloud.refused("/networkInterfaces/n")
    assert (error.code, error.status) == ("PrivateMacAddressMissing", 409)


def test_a_missing_pool_does_not_hide_that_a_method_is_fixed() -> None:
    cloud = Cloud()
    cloud.put("/networkInterfaces/n", {"privateMacAddress": "020000000001"})
    error = cloud.refused("/networkInterfaces/n", {"privateMacAllocationMethod": "Dynamic"})
    assert error.code == "PrivateMacAllocationMethodCannotBeUpdated"


def test_guards_are_off_but_for_the_routers(cloud: Cloud) -> None:
    made = cloud.put("/networkInterfaces/n", {"portSettings": {}})
    assert made["portSettings"] == {
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
    }


@pytest.mark.parametrize(
    "name", ["macSpoofingEnabled", "arpGuardEnabled", "dhcpGuardEnabled", "routerGuardEnabled"]
)
def test_a_guard_is_on_or_off_in_any_letter_case(cloud: Cloud, name: str) -> None:
    for sent, read in (
        ("ENABLED", "Enabled"),
        ("eanbled", "Enabled"),  # the specification's own misspelling
        ("disabled", "Disabled"),
    ):
        made = cloud.put("/networkInterfaces/n", {"portSettings": {name.upper(): sent}})
        assert made["portSettings", name] == read
    for wrong in ("on", True, 1):
        error = cloud.refused("/networkInterfaces/n", {"portSettings": {name: wrong}})
        assert (error.code, error.target) == (
            "InvalidParameterValue",
            f"properties.portSettings.{name}",
        )


@pytest.mark.parametrize(
    ("name", "taken", "wrong"),
    [
        ("stormLimit", ("0", 500, "1000000"), (-1, 1_000_001)),
        ("vmqWeight", (0, "100"), (-1, 101)),
        ("iovWeight", (0, "100"), (-1, 101)),
        ("iovQueuePairsRequested", (0, 2**32 - 1), (-1, 2**32)),
    ],
)
def test_a_number_of_port_settings_has_its_range(
    cloud: Cloud, name: str, taken: tuple[Json, ...], wrong: tuple[Json, ...]
) -> None:
    for sent in taken:
        made = cloud.put("/networkInterfaces/n", {"portSettings": {name: sent}})
        assert made["portSettings", name] == int(str(sent))
    for sent in wrong:
        error = cloud.refused("/networkInterfaces/n", {"portSettings": {name: sent}})
        assert (error.code, error.target) == (
            "InvalidParameterValue",
            f"properties.portSettings.{name}",
        )
    error = cloud.refused("/networkInterfaces/n", {"portSettings": {name: "many"}})
    assert error.code == "InvalidRequestFormat"


def pairs(*written: Json) -> dict[str, Json]:
    return {**interface(), "allowedAddressPairs": list(written)}


def test_further_addresses_are_read_in_every_form(cloud: Cloud) -> None:
    made = cloud.put(
        "/networkInterfaces/n",
        pairs(
            {"ipAddress": "10.0.1.200"},
            {"IPADDRESS": "10.9.0.0/16", "MacAddress": "00-00-5e-00-01-0a"},
            {"ipAddress": "FD00:0::/64", "macAddress": ""},
            {"ipAddress": "10.0.1.200"},
        ),
    )
    assert made["allowedAddressPairs"] == [
        {"ipAddress": "10.0.1.200/32"},
        {"ipAddress": "10.9.0.0/16", "macAddress": "00005E00010A"},
        {"ipAddress": "fd00::/64"},
        {"ipAddress": "10.0.1.200/32"},
    ]
    # two interfaces share an address: that is what it is for
    cloud.put("/networkInterfaces/m", pairs({"ipAddress": "10.0.1.200"}))
    assert cloud.put("/networkInterfaces/n", interface())["allowedAddressPairs"] == []


@pytest.mark.parametrize(
    ("pair", "code", "at"),
    [
        ({}, "RequiredParamMissing", ".ipAddress"),
        ({"macAddress": "020000000001"}, "RequiredParamMissing", ".ipAddress"),
        ({"ipAddress": ""}, "RequiredParamMissing", ".ipAddress"),
        ({"ipAddress": "10.0.1"}, "InvalidIPAddress", ".ipAddress"),
        ({"ipAddress": "10.0.1.5/24"}, "InvalidIPAddress", ".ipAddress"),
        ({"ipAddress": "fe80::1%eth0"}, "InvalidIPAddress", ".ipAddress"),
        ({"ipAddress": "*"}, "InvalidIPAddress", ".ipAddress"),
        ({"ipAddress": "10.0.1.5", "macAddress": "x"}, "InvalidPrivateMacAddress", ".macAddress"),
        (
            {"ipAddress": "10.0.1.5", "macAddress": "01005E000001"},
            "InvalidPrivateMacAddress",
            ".macAddress",
        ),
        (
            {"ipAddress": "10.0.1.5", "macAddress": "000000000000"},
            "InvalidPrivateMacAddress",
            ".macAddress",
        ),
        ("10.0.1.5", "InvalidRequestFormat", ""),
    ],
)
def test_what_is_no_address_pair_is_refused(cloud: Cloud, pair: Json, code: str, at: str) -> None:
    error = cloud.refused("/networkInterfaces/n", pairs({"ipAddress": "10.0.1.9"}, pair))
    assert (error.code, error.status) == (code, 400)
    assert error.target == f"properties.allowedAddressPairs[1]{at}"


def test_address_pairs_are_limited(cloud: Cloud) -> None:
    most: list[Json] = [{"ipAddress": f"10.0.3.{n}"} for n in range(MOST_PAIRS)]
    cloud.put("/networkInterfaces/n", pairs(*most))
    error = cloud.refused("/networkInterfaces/n", pairs(*most, {"ipAddress": "10.0.4.1"}))
    assert (error.code, error.target) == (
        "InvalidParameterValue",
        "properties.allowedAddressPairs",
    )


def test_one_list_is_on_one_address_and_another_on_the_next(cloud: Cloud) -> None:
    for name in "ab":
        cloud.put(f"/accessControlLists/{name}")
    configs: Json = [
        child(name, subnet=ref(SUBNET), accessControlList=ref(f"/accessControlLists/{name}"))
        for name in "ab"
    ]
    made = cloud.put("/networkInterfaces/n", {"ipConfigurations": configs})
    assert made["ipConfigurations", 1, "accessControlList"] == ref("/accessControlLists/b")
    cloud.put("/networkInterfaces/n/ipConfigurations/a", {"subnet": ref(SUBNET)})
    assert cloud.delete("/accessControlLists/a") == 200
    error = cloud.delete_refused("/accessControlLists/b")
    assert error.code == "InUseAccessControlListCannotBeDeleted"
    assert "/networkInterfaces/n/ipConfigurations/b" in error.message
    # one, not a list of them
    several: Json = [ref("/accessControlLists/b")]
    error = cloud.refused("/networkInterfaces/n", interface(accessControlList=several))
    assert error.code == "InvalidRequestFormat"


def test_an_address_may_be_under_no_list_in_every_way_of_saying_so(cloud: Cloud) -> None:
    for nothing in (None, "", {}, {"resourceRef": ""}, {"resourceRef": None}):
        made = cloud.put("/networkInterfaces/n", interface(accessControlList=nothing))
        assert "accessControlList" not in made.answer
