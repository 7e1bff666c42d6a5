# SPDX-License-Identifier: Apache-2.0
"""logicalNetworks, macPools, servers and credentials (MS-NCNBI sections B.2, B.8, B.9 and B.13)."""

from __future__ import annotations

import pytest

from isthmus.intent.fields import decode
from isthmus.intent.kinds.credentials import Credential
from isthmus.intent.model import Json
from tests.intent.cloud import Cloud, Properties, child, interface, ref

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


def test_a_mac_pool_is_a_fixed_range_of_unicast_addresses(cloud: Cloud) -> None:
    made = cloud.put(
        "/macPools/p", {"startMacAddress": "02:00:00:00:00:00", "endMacAddress": "0200.0000.00ff"}
    )
    assert made["startMacAddress"] == "02-00-00-00-00-00"
    assert made["usage"] == {"numberOfMacAddresses": 256, "numberofMacAddressesAllocated": 0}
    for first, last, code in (
        ("02-00-00-00-00-00", "02-00-00-00-01-FF", "InvalidMacAddressForMacPool"),
        ("02-00-00-00-00-10", "02-00-00-00-00-00", "InvalidMacAddressForMacPool"),
        ("01-00-00-00-00-00", "01-00-00-00-00-FF", "MacPoolContainsMulticastAddresses"),
        ("02-00-00-00-00-00", "04-00-00-00-00-00", "MacPoolContainsMulticastAddresses"),
        ("02-00-00-00-00-00", "zz", "InvalidMacAddressForMacPool"),
    ):
        body = {"startMacAddress": first, "endMacAddress": last}
        path = "/macPools/p" if last.endswith("01-FF") else "/macPools/new"
        assert cloud.refused(path, body).code == code


def test_a_used_mac_pool_cannot_go(cloud: Cloud) -> None:
    cloud.put("/networkInterfaces/n")
    cloud.put("/networkInterfaces/n")
    assert cloud.delete_refused("/macPools/default").status == 409
    cloud.delete("/networkInterfaces/n")
    assert cloud.delete("/macPools/default") == 200


def test_the_pools_are_used_one_after_the_other() -> None:
    cloud = Cloud()
    for name, last in (("a", "02-00-00-00-00-00"), ("b", "04-00-00-00-00-00")):
        cloud.put(f"/macPools/{name}", {"startMacAddress": last, "endMacAddress": last})
    given = [cloud.put(f"/networkInterfaces/{n}")["privateMacAddress"] for n in range(2)]
    assert given == ["020000000000", "040000000000"]
    assert cloud.refused("/networkInterfaces/x").code == "PrivateMacAddressMissing"
    assert cloud.row("/networkInterfaces/1").requires == {"/macpools/b"}


@pytest.mark.parametrize(
    ("kind", "value", "shown"),
    [
        ("X509Certificate", "A1B2C3", "A1B2C3"),
        ("X509CertificateSubjectName", "O=Contoso, CN=host1", "host1"),
        ("SnmpCommunityString", "public", None),
        ("UsernamePassword", "secret", None),
    ],
)
def test_of_a_certificate_the_value_is_shown_and_of_a_secret_never(
    cloud: Cloud, kind: str, value: str, shown: str | None
) -> None:
    made = cloud.put("/credentials/c", {"type": kind, "userName": "u", "value": value})
    assert made["value"] == shown
    cloud.put_body("/credentials/c", cloud.get("/credentials/c"))
    assert decode(cloud.row("/credentials/c"), Credential).value == (shown or value)
    # SdnDiagnostics rotates certificates: it reads, assigns, and puts back
    read = cloud.get("/credentials/c")
    properties = read["properties"]
    assert isinstance(properties, dict)
    cloud.put("/credentials/c", {**properties, "value": "D4E5F6"})
    assert decode(cloud.row("/credentials/c"), Credential).value == "D4E5F6"


def test_a_secret_that_was_kept_is_never_shown_as_a_thumbprint(cloud: Cloud) -> None:
    cloud.put("/credentials/c", {"type": "UsernamePassword", "userName": "u", "value": "secret"})
    error = cloud.refused("/credentials/c", {"type": "X509Certificate"})
    assert (error.code, error.target) == ("RequiredParamMissing", "properties.value")
    assert "secret" not in error.message
    made = cloud.put("/credentials/c", {"type": "X509Certificate", "value": "A1"})
    assert made["value"] == "A1"


def test_a_credential_never_shows_its_password_and_keeps_it_when_put_back(cloud: Cloud) -> None:
    made = cloud.put("/credentials/c", {"type": "usernamePassword", "UserName": "u", "value": "p"})
    assert made["value"] is None
    assert made["type"] == "UsernamePassword"
    cloud.put_body("/credentials/c", cloud.get("/credentials/c"))
    assert decode(cloud.row("/credentials/c"), Credential).value == "p"


@pytest.mark.parametrize(
    ("properties", "code"),
    [
        ({"type": "GroupManagedServiceAccount", "value": "x"}, "OperationNotSupported"),
        ({"type": "UsernamePassword", "value": "x"}, "RequiredParamMissing"),
        ({"type": "X509Certificate"}, "RequiredParamMissing"),
        ({"value": "x"}, "RequiredParamMissing"),
        (
            {"type": "X509CertificateSubjectName", "value": "O=Contoso"},
            "CommonNameExtractionFailed",
        ),
    ],
)
def test_a_credential_that_breaks_a_rule_is_refused(
    cloud: Cloud, properties: Json, code: str
) -> None:
    assert cloud.refused("/credentials/c", properties).code == code


def test_of_a_subject_name_the_common_name_is_kept(cloud: Cloud) -> None:
    for value in (
        "CN=host1.example.com, O=Contoso",
        "O=Contoso,cn = host1.example.com",
        "host1.example.com",
    ):
        cloud.put("/credentials/c", {"type": "X509CertificateSubjectName", "value": value})
        assert decode(cloud.row("/credentials/c"), Credential).value == "host1.example.com"


def test_a_server_holds_its_credential_and_its_logical_subnets(cloud: Cloud) -> None:
    cloud.put("/credentials/c", {"type": "X509Certificate", "value": "AB"})
    front(cloud, subnet())
    connection: Json = {
        "managementAddresses": ["10.8.0.5"],
        "credential": ref("/Credentials/C"),
        "credentialType": "X509Certificate",
        "port": "6645",
    }
    physical = child("vswitch one", isBMC="false", logicalSubnets=[ref(SUBNET)])
    made = cloud.put("/servers/h", {"connections": connection, "networkInterfaces": [physical]})
    assert made["connections", 0, "credential"] == ref("/credentials/C")
    assert made["networkInterfaces", 0, "isBMC"] == "False"
    assert cloud.delete_refused("/credentials/c").code == "InUseCredentialCannotBeDeleted"
    assert cloud.delete_refused(SUBNET).code == "InUseSubnetCannotBeDeleted"
    back = cloud.get(SUBNET)["properties"]
    assert isinstance(back, dict)
    assert back["networkInterfaces"] == [ref("/servers/h/networkInterfaces/vswitch one")]
    error = cloud.refused(
        "/servers/h",
        {"connections": [{**dict(connection), "credential": ref("/credentials/x")}]}
        if isinstance(connection, dict)
        else None,
    )
    assert (error.code, error.target) == (
        "InvalidResourceReference",
        "properties.connections[0].credential",
    )


def test_a_server_of_ours_needs_no_connection_and_audits_nothing(cloud: Cloud) -> None:
    cloud.put("/servers/h", {"auditingEnabled": "Disabled"})
    assert (
        cloud.refused("/servers/h", {"auditingEnabled": ["Firewall"]}).code
        == "OperationNotSupported"
    )
    error = cloud.refused(
        "/servers/h",
        {
            "connections": [
                {
                    "managementAddresses": [],
                    "credential": ref("/credentials/c"),
                    "credentialType": "X509Certificate",
                }
            ]
        },
    )
    assert error.status == 400
