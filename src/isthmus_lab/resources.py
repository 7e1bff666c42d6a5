# SPDX-License-Identifier: Apache-2.0
"""MS-NCNBI resources as a client would write them: what a lab's cloud needs, as JSON values."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Network

from isthmus_lab.northbound import Resource
from isthmus_lab.state import HostSpec

PROVIDER_NETWORK = "/logicalNetworks/underlay"
CREDENTIAL = "/credentials/lab"


def fabric(underlay: str, hosts: Sequence[HostSpec]) -> list[tuple[str, Resource]]:
    """What the operator puts once: provider network, MAC pool, credential, and each host as a
    server.
    """
    return [
        (PROVIDER_NETWORK, logical_network(underlay)),
        ("/macPools/lab", mac_pool("02-1D-D8-00-00-00", "02-1D-D8-00-FF-FF")),
        (CREDENTIAL, {"properties": {"type": "X509Certificate", "value": "lab"}}),
        ("/virtualNetworkManager/configuration", virtual_network_manager("VXLAN")),
        *((f"/servers/{host.name}", server(host.provider_address)) for host in hosts),
    ]


def logical_network(prefix: str) -> Resource:
    """An underlay whose addresses, all but the first and the last ten, are provider addresses."""
    network = IPv4Network(prefix)
    pool = {"startIpAddress": str(network[1]), "endIpAddress": str(network[-11])}
    subnet = {
        "addressPrefix": prefix,
        "vlanID": "0",
        "defaultGateways": [str(network[-2])],
        "ipPools": [{"resourceId": "addresses", "properties": pool}],
    }
    return {
        "properties": {
            "networkVirtualizationEnabled": "True",
            "subnets": [{"resourceId": prefix.replace("/", "_"), "properties": subnet}],
        }
    }


def mac_pool(start: str, end: str) -> Resource:
    return {"properties": {"startMacAddress": start, "endMacAddress": end}}


def virtual_network_manager(protocol: str) -> Resource:
    return {"properties": {"networkVirtualizationProtocol": protocol}}


def server(management_address: str) -> Resource:
    connection = {
        "managementAddresses": [management_address],
        "credential": {"resourceRef": CREDENTIAL},
        "credentialType": "X509Certificate",
    }
    return {"properties": {"connections": [connection]}}


def virtual_network(
    prefix: str, subnets: Sequence[tuple[str, str]], dns: Sequence[str] = ()
) -> Resource:
    """A virtual network of one address space; `subnets` are (resource id, prefix)."""
    return {
        "properties": {
            "addressSpace": {"addressPrefixes": [prefix]},
            "logicalNetwork": {"resourceRef": PROVIDER_NETWORK},
            "dhcpOptions": {"dnsServers": list(dns)},
            "subnets": [
                {"resourceId": name, "properties": {"addressPrefix": part}}
                for name, part in subnets
            ],
        }
    }


def network_interface(subnet: str, address: str | None = None, mac: str | None = None) -> Resource:
    """A NIC with one address in `subnet` (a reference); what is not given, the controller
    chooses.
    """
    configuration: dict[str, object] = {
        "subnet": {"resourceRef": subnet},
        "privateIPAllocationMethod": "Dynamic" if address is None else "Static",
    }
    if address is not None:
        configuration["privateIPAddress"] = address
    properties: dict[str, object] = {
        "privateMacAllocationMethod": "Dynamic" if mac is None else "Static",
        "ipConfigurations": [{"resourceId": "primary", "properties": configuration}],
    }
    if mac is not None:
        properties["privateMacAddress"] = mac
    return {"properties": properties}


def mac_of(interface: Resource) -> str:
    return str(interface["properties"]["privateMacAddress"])


def address_of(interface: Resource) -> str:
    first = interface["properties"]["ipConfigurations"][0]
    return str(first["properties"]["privateIPAddress"])


def configuration_of(interface: Resource) -> str:
    """The status that hosts report, with what they say of it: ``Success``, or why not."""
    state = interface["properties"].get("configurationState") or {}
    details = [
        f"{detail.get('code')}: {detail.get('message')}" for detail in state.get("detailedInfo", [])
    ]
    return " ".join([str(state.get("status", "not reported")), *details])
