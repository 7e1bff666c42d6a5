# SPDX-License-Identifier: Apache-2.0
"""Requests as known clients send them: SDNExplorer's wrapper (E1), SDNExpress (E2) and the
OpenStack driver (E5) of MS-NCNBI reference section E. Names in mixed case, scalars as text, nulls,
whatever they read put back."""

from __future__ import annotations

from typing import cast

import pytest

from isthmus.intent.model import Json
from isthmus.intent.versions import V1, VERSIONS, Version
from tests.intent.cloud import Answer, Cloud, Properties, Tree

HNVPA = "/logicalnetworks/HNVPA"
PREFIX_ID = "10.127.130.128_25"


def at(cloud: Cloud, path: str, *parts: str | int) -> Tree:
    return Properties(cloud.get(path, V1))[parts]


def put(cloud: Cloud, path: str, body: Json) -> int:
    return cloud.put_body(path, body, V1).status


def test_sdn_express_deploys_the_fabric() -> None:
    cloud = Cloud()
    pool: Json = {"startMacAddress": "00-1D-D8-B7-1C-00", "endMacAddress": "00-1D-D8-F4-1F-FF"}
    assert (
        put(cloud, "/macPools/DefaultMacPool", {"resourceId": "DefaultMacPool", "properties": pool})
        == 201
    )
    certificate: Json = {"Type": "X509Certificate", "Value": "A1B2C3"}
    user: Json = {"Type": "UsernamePassword", "UserName": "contoso\\nc", "Value": "secret"}
    assert put(cloud, "/Credentials/NCHostCert", {"properties": certificate}) == 201
    assert put(cloud, "/Credentials/NCHostUser", {"properties": user}) == 201
    assert put(cloud, HNVPA, {"properties": {"networkVirtualizationEnabled": True}}) == 201
    subnet: Json = {
        "VlanID": "11",
        "AddressPrefix": "10.127.130.128/25",
        "DefaultGateways": ["10.127.130.129"],
        "DnsServers": None,
    }
    path = f"{HNVPA}/subnets/{PREFIX_ID}"
    assert put(cloud, path, {"resourceId": PREFIX_ID, "properties": subnet}) == 201
    pool = {"StartIpAddress": "10.127.130.150", "EndIpAddress": "10.127.130.200"}
    assert put(cloud, f"{path}/ipPools/{PREFIX_ID}", {"properties": pool}) == 201
    assert at(cloud, HNVPA, "subnets", 0, "vlanID") == "11"
    assert at(cloud, HNVPA, "subnets", 0, "ipPools", 0, "endIpAddress") == "10.127.130.200"
    _express_server(cloud, path)
    _express_gateway(cloud, path)


@pytest.mark.parametrize("version", VERSIONS, ids=str)
def test_sdn_express_names_the_hosts_certificate_by_its_subject(version: Version) -> None:
    """UseCertBySubject: the type is of v6.1, and its cmdlets ask with what discovery names."""
    cloud = Cloud()
    subject: Json = {"Type": "X509CertificateSubjectName", "Value": "CN=nc.contoso.com, O=Contoso"}
    body: Json = {"resourceId": "NCHostCert", "properties": subject}
    assert cloud.put_body("/Credentials/NCHostCert", body, version).status == 201
    made = Properties(cloud.get("/Credentials/NCHostCert", version))
    assert (made["type"], made["value"]) == ("X509CertificateSubjectName", "nc.contoso.com")
    connection: Json = {
        "ManagementAddresses": ["host1.contoso.com"],
        "Credential": cloud.get("/Credentials/NCHostCert", version),
        "CredentialType": made["type"],
    }
    server: Json = {"properties": {"Connections": [connection], "Certificate": "MIIB"}}
    assert cloud.put_body("/Servers/host1", server, version).status == 201
    found = Properties(cloud.get("/servers/host1", version))
    assert found["connections", 0, "credentialType"] == "X509CertificateSubjectName"
    assert found["connections", 0, "credential"] == {"resourceRef": "/credentials/NCHostCert"}


def test_the_driver_s_client_and_admin_center_send_what_failed_before() -> None:
    """Windows Admin Center's New-SecurityTag and Update-LogicalNetwork, with cmdlets' nulls and
    zeros."""
    cloud = Cloud()
    none = "00000000-0000-0000-0000-000000000000"
    rules: Json = {"properties": {"inboundDefaultAction": "Deny", "aclRules": None}}
    assert cloud.put_body("/accessControlLists/web", rules).status == 201
    tag: Json = {
        "resourceId": "web",
        "instanceId": none,
        "resourceMetadata": None,
        "properties": {
            "type": "FriendlyName",
            "accessControlList": cloud.get("/accessControlLists/web"),
        },
    }
    assert cloud.put_body("/securityTags/web", tag).status == 201
    shown = Properties(cloud.get("/accessControlLists/web"))
    assert shown["securityTags"] == [{"resourceRef": "/securityTags/web"}]
    assert cloud.row("/securityTags/web").instance_id != none
    subnet: Json = {"properties": {"addressPrefix": "10.127.0.1/24", "vlanID": "11"}}
    assert put(cloud, HNVPA, {"properties": {"networkVirtualizationEnabled": "True"}}) == 201
    assert put(cloud, f"{HNVPA}/subnets/a", subnet) == 201
    update: Json = {
        "resourceId": "HNVPA",
        "instanceId": none,
        "properties": {
            "networkVirtualizationEnabled": "True",
            "subnets": None,
            "virtualNetworks": None,
        },
    }
    assert put(cloud, HNVPA, update) == 200
    assert at(cloud, HNVPA, "subnets", 0, "addressPrefix") == "10.127.0.0/24"


def _express_server(cloud: Cloud, subnet: str) -> None:
    switch = "6b1d0a5c-3f7e-4f4e-9b1f-6a5d3c2b1a00"
    connections: Json = [
        {
            "Credential": {"ResourceRef": "/credentials/NCHostCert"},
            "CredentialType": "X509Certificate",
            "ManagementAddresses": ["host1.contoso.com"],
            "Port": "",
        },
        {
            "Credential": {"ResourceRef": "/credentials/NCHostUser"},
            "CredentialType": "UsernamePassword",
            "ManagementAddresses": ["host1.contoso.com"],
        },
    ]
    interface: Json = {
        "ResourceId": "SDN Switch",
        "Properties": {"LogicalSubnets": [{"resourceRef": subnet}], "isBMC": "false"},
    }
    body: Json = {
        "resourceId": switch,
        "properties": {
            "Connections": connections,
            "Certificate": "MIIB",
            "networkInterfaces": [interface],
        },
    }
    assert put(cloud, f"/servers/{switch}", body) == 201
    # SDNExpress writes the instanceId into the host's registry, and puts the server back later
    before = cloud.get(f"/servers/{switch}", V1)
    assert put(cloud, f"/servers/{switch}", before) == 200
    after = cloud.get(f"/servers/{switch}", V1)
    assert after["instanceId"] == before["instanceId"]
    assert at(cloud, f"/servers/{switch}", "connections", 1, "credentialType") == "UsernamePassword"


def _express_gateway(cloud: Cloud, subnet: str) -> None:
    back: Json = {"properties": {"privateMacAllocationMethod": "Dynamic"}}
    assert put(cloud, "/networkInterfaces/gw01.contoso.com_BackEnd", back) == 201
    config: Json = {
        "resourceId": "FrontEnd",
        "properties": {
            "subnet": {"resourceRef": subnet},
            "privateIPAllocationMethod": "Dynamic",
        },
    }
    front: Json = {
        "properties": {"privateMacAllocationMethod": "Dynamic", "ipConfigurations": [config]}
    }
    path = "/networkInterfaces/gw01.contoso.com_FrontEnd"
    assert put(cloud, path, front) == 201
    assert at(cloud, path, "provisioningState") == "Succeeded"
    assert at(cloud, path, "ipConfigurations", 0, "privateIPAddress") == "10.127.130.150"
    assert at(cloud, path, "privateMacAddress") == "001DD8B71C01"


def test_sdn_explorer_makes_a_network_by_plain_rest() -> None:
    cloud = Cloud()
    put(
        cloud, "/logicalnetworks/f8f67956", {"properties": {"networkVirtualizationEnabled": "True"}}
    )
    body: Json = {
        "resourceId": "VNet1",
        "properties": {
            "addressSpace": {"addressPrefixes": ["192.168.0.0/16"]},
            "logicalNetwork": {"resourceRef": "/logicalnetworks/f8f67956"},
            "dhcpOptions": {"DnsServers": ["192.168.0.53"]},
            "subnets": [
                {
                    "resourceId": "Subnet1",
                    "properties": {"addressPrefix": "192.168.1.0/24", "ipConfigurations": []},
                }
            ],
            "unbilledAddressRanges": "",
        },
    }
    assert put(cloud, "/VirtualNetworks/VNet1", body) == 201
    assert at(cloud, "/virtualnetworks/vnet1", "dhcpOptions", "dnsServers") == ["192.168.0.53"]
    interface: Json = {
        "resourceId": "VM1_Ethernet1",
        "properties": {
            "isPrimary": "true",
            "privateMacAddress": "001DD8220000",
            "privateMacAllocationMethod": "static",
            "ipConfigurations": [
                {
                    "resourceId": "VM1_Ethernet1_IP1",
                    "properties": {
                        "privateIPAddress": "192.168.1.10",
                        "privateIPAllocationMethod": "static",
                        "subnet": {"resourceRef": "/virtualnetworks/vnet1/subnets/subnet1"},
                        "accessControlList": None,
                        "loadBalancerBackendAddressPools": [],
                    },
                }
            ],
            "DnsSettings": {"DnsServers": []},
        },
    }
    assert put(cloud, "/NetworkInterfaces/VM1_Ethernet1", interface) == 201
    assert at(cloud, "/networkInterfaces/vm1_ethernet1", "ipConfigurations", 0, "subnet") == {
        "resourceRef": "/virtualNetworks/vnet1/subnets/subnet1"
    }


def test_the_openstack_driver_makes_networks_subnets_and_ports() -> None:
    cloud = Cloud()
    put(cloud, "/logicalNetworks/ln", {"properties": {"networkVirtualizationEnabled": "True"}})
    # it compares with this very text
    assert at(cloud, "/logicalNetworks/ln", "networkVirtualizationEnabled") == "True"
    network = "0f2c0e0c-7f3f-4f0b-8b77-1c1d4c7a2b10"
    body: Json = {
        "resourceId": network,
        "tags": {"provider": "OpenStack"},
        "operation-id": None,
        "parentResourceID": None,
        "properties": {
            "addressSpace": {"addressPrefixes": ["1.0.0.0/32"]},
            "dhcpOptions": None,
            "logicalNetwork": {"resourceRef": "/logicalNetworks/ln"},
            "subnets": [],
        },
    }
    assert put(cloud, f"/virtualNetworks/{network}", body) == 201
    # a subnet: read, change the prefixes, put back with the etag that was read
    read = cloud.get(f"/virtualNetworks/{network}", V1)
    properties = cast(Answer, read["properties"])
    properties["addressSpace"] = {"addressPrefixes": ["10.0.0.0/24"]}
    properties["subnets"] = [
        {
            "resourceId": "sub",
            "properties": {
                "addressPrefix": "10.0.0.0/24",
                "accessControlList": None,
                "routeTable": None,
                "serviceInsertion": None,
            },
        }
    ]
    assert put(cloud, f"/virtualNetworks/{network}", read) == 200
    assert cloud.get(f"/virtualNetworks/{network}", V1)["tags"] == {"provider": "OpenStack"}
    port = "7d4b5a3e-0000-4000-8000-aaaaaaaaaaaa"
    interface: dict[str, Json] = {
        "resourceId": port,
        "tags": {"provider": "OpenStack"},
        "properties": {
            "privateMacAddress": "FA163E112233",
            "privateMacAllocationMethod": "Static",
            "server": None,
            "portSettings": {
                "qosSettings": {"outboundReservedValue": None, "outboundMaximumMbps": "0"}
            },
            "ipConfigurations": [
                {
                    "resourceId": f"{port}_10.0.0.7",
                    "properties": {
                        "privateIPAddress": "10.0.0.7",
                        "privateIPAllocationMethod": "Static",
                        "subnet": {"resourceRef": f"/virtualNetworks/{network}/subnets/sub"},
                        "publicIPAddress": None,
                    },
                }
            ],
            "dnsSettings": {"dnsServers": ["8.8.8.8"]},
        },
    }
    assert put(cloud, f"/networkInterfaces/{port}", interface) == 201
    profile = cloud.get(f"/networkInterfaces/{port}", V1)["instanceId"]
    # the driver clears the etag to force a write, and the port must keep its profile
    assert put(cloud, f"/networkInterfaces/{port}", {**interface, "etag": None}) == 200
    assert cloud.get(f"/networkInterfaces/{port}", V1)["instanceId"] == profile
    assert cloud.delete(f"/networkInterfaces/{port}") == 200
    assert cloud.delete(f"/virtualNetworks/{network}/subnets/sub") == 200
    assert put(cloud, f"/virtualNetworks/{network}", body) == 200
    assert cloud.delete(f"/virtualNetworks/{network}") == 200


def test_the_example_of_the_specification_has_ports_of_all_protocols() -> None:
    """MS-NCNBI's own accessControlLists example; most recorded lists of real controllers too."""
    cloud = Cloud()
    rules: list[Json] = [
        {
            "resourceId": name,
            "properties": {
                "protocol": "All",
                "sourcePortRange": "0-65535",
                "destinationPortRange": ports,
                "action": action,
                "sourceAddressPrefix": "*",
                "destinationAddressPrefix": "*",
                "priority": "101",
                "description": "",
                "type": "Inbound",
                "logging": "Enabled",
            },
        }
        for name, ports, action in (
            ("web", "80", "Allow"),
            ("range", "1000-2000", "Deny"),
            ("every", "0-65535", "Deny"),
        )
    ]
    body: Json = {"properties": {"aclRules": rules, "ipConfigurations": [], "subnets": []}}
    assert put(cloud, "/accessControlLists/example", body) == 201
    found = "/accessControlLists/example"
    assert [at(cloud, found, "aclRules", n, "destinationPortRange") for n in range(3)] == [
        *("80", "1000-2000", "0-65535"),
    ]
    assert put(cloud, found, cloud.get(found, V1)) == 200


def test_sdn_diagnostics_puts_back_what_it_read_less_two_fields(cloud: Cloud) -> None:
    for path in ("/virtualNetworks/v", "/logicalNetworks/HNVPA", "/macPools/default"):
        read = cloud.get(path)
        properties = cast(Answer, read["properties"])
        properties.pop("provisioningState")
        assert cloud.put_body(path, read).status == 200
