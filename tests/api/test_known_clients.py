# SPDX-License-Identifier: Apache-2.0
"""The exchanges of known clients of MS-NCNBI (reference sections E1, E2, E3, E5), header by header:
names in any case, scalars as text, what was read put back, polling until it is done."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx

from tests.api.conftest import Api

SDN_EXPLORER = {"Accept": "application/json", "Content-Type": "application/json; charset=UTF-8"}


class KnownClient:
    """Sends what one of them sends."""

    def __init__(self, api: Api, base: str, headers: Mapping[str, str] = SDN_EXPLORER) -> None:
        self._api = api
        self._base = base
        self._headers = headers

    def ask(self, method: str, path: str, body: object = None) -> httpx.Response:
        return self._api.ask(method, f"{self._base}{path}", body, headers=self._headers)

    def get(self, path: str) -> Any:
        """None for 404, as their wrappers do."""
        reply = self.ask("GET", path)
        if reply.status_code == 404:
            assert reply.json()["error"]["code"] == "NotFound"
            return None
        assert reply.status_code == 200, reply.text
        return reply.json()

    def put(self, path: str, body: object) -> Any:
        """PUT, then GET until it is no longer Updating; here that is at once."""
        reply = self.ask("PUT", path, body)
        assert reply.status_code in (200, 201), reply.text
        found = self.get(path)
        assert found["properties"]["provisioningState"] == "Succeeded"
        return found

    def delete(self, path: str) -> None:
        """DELETE, then GET until it is gone; here that is at once."""
        assert self.ask("DELETE", path).status_code in (200, 202, 204)
        assert self.get(path) is None


def test_sdn_explorer_makes_lists_and_removes_a_network(api: Api) -> None:
    client = KnownClient(api, "/Networking/v1")
    assert client.get("/logicalnetworks/") == {"value": [], "nextLink": ""}
    client.put(
        "/logicalnetworks/f8f67956-3906-4303-94c5-09cf91e7e311",
        {"properties": {"networkVirtualizationEnabled": "True", "subnets": []}},
    )
    client.put(
        "/VirtualNetworks/VNet1",
        {
            "resourceId": "VNet1",
            "properties": {
                "addressSpace": {"addressPrefixes": ["192.168.0.0/16"]},
                "logicalNetwork": {
                    "resourceRef": "/logicalnetworks/f8f67956-3906-4303-94c5-09cf91e7e311"
                },
                "subnets": [
                    {
                        "resourceId": "Subnet1",
                        "properties": {"addressPrefix": "192.168.1.0/24", "ipConfigurations": []},
                    }
                ],
            },
        },
    )
    made = client.put(
        "/NetworkInterfaces/VM1_Ethernet1",
        {
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
                        },
                    }
                ],
            },
        },
    )
    config = made["properties"]["ipConfigurations"][0]["properties"]
    assert config["subnet"]["resourceRef"].lower() == "/virtualnetworks/vnet1/subnets/subnet1"
    listed = client.get("/NetworkInterfaces/")["value"]
    assert [one["resourceId"] for one in listed] == ["VM1_Ethernet1"]
    subnet = client.get("/virtualnetworks/vnet1/subnets/subnet1")["properties"]
    assert subnet["ipConfigurations"] == [
        {"resourceRef": "/networkInterfaces/VM1_Ethernet1/ipConfigurations/VM1_Ethernet1_IP1"}
    ]
    assert client.ask("DELETE", "/VirtualNetworks/VNet1").status_code == 409
    client.delete("/NetworkInterfaces/VM1_Ethernet1")
    client.delete("/VirtualNetworks/VNet1")


def test_sdn_express_asks_before_it_makes_and_uses_what_it_is_given(api: Api) -> None:
    client = KnownClient(api, "/networking/v1")
    for path, properties in (
        (
            "/macPools/DefaultMacPool",
            {"startMacAddress": "00-1D-D8-B7-1C-00", "endMacAddress": "00-1D-D8-F4-1F-FF"},
        ),
        ("/credentials/NCHostCert", {"Type": "X509Certificate", "Value": "A1B2C3"}),
        ("/logicalNetworks/HNVPA", {"networkVirtualizationEnabled": True}),
        (
            "/logicalNetworks/HNVPA/subnets/10.10.56.0_23",
            {
                "vlanId": "11",
                "addressPrefix": "10.10.56.0/23",
                "defaultGateways": ["10.10.56.1"],
            },
        ),
        (
            "/logicalNetworks/HNVPA/subnets/10.10.56.0_23/ipPools/10.10.56.0_23",
            {"startIpAddress": "10.10.56.100", "endIpAddress": "10.10.56.200"},
        ),
    ):
        assert client.get(path) is None
        client.put(path, {"properties": properties})
    subnet = "/logicalNetworks/HNVPA/subnets/10.10.56.0_23"
    switch = "6b1d0a5c-3f7e-4f4e-9b1f-6a5d3c2b1a00"
    connection = {
        "credential": {"resourceRef": "/credentials/NCHostCert"},
        "credentialType": "X509Certificate",
        "managementAddresses": ["host1.contoso.com"],
        "port": "6640",
    }
    interface = {"resourceId": "SDN Switch", "properties": {"logicalSubnets": []}}
    server = client.put(
        f"/servers/{switch}",
        {
            "resourceId": switch,
            "properties": {"connections": [connection], "networkInterfaces": [interface]},
        },
    )
    # The instanceId goes into the host's registry: it must never change.
    server["properties"]["networkInterfaces"][0]["properties"]["logicalSubnets"] = [
        {"resourceRef": subnet}
    ]
    assert client.put(f"/servers/{switch}", server)["instanceId"] == server["instanceId"]
    front = client.put(
        "/networkInterfaces/gw01.contoso.com_FrontEnd",
        {
            "properties": {
                "privateMacAllocationMethod": "Dynamic",
                "ipConfigurations": [
                    {
                        "resourceId": "FrontEnd",
                        "properties": {
                            "subnet": {"resourceRef": subnet},
                            "privateIPAllocationMethod": "Dynamic",
                        },
                    }
                ],
            }
        },
    )["properties"]
    assert front["ipConfigurations"][0]["properties"]["privateIPAddress"] == "10.10.56.100"
    assert front["privateMacAddress"] == "001DD8B71C00"


def test_sdn_diagnostics_follows_discovery_dumps_and_puts_back(furnished: Api) -> None:
    version = furnished.ask("GET", "/networking/discovery").json()["properties"][
        "currentRestVersion"
    ]
    # It casts to [int], which in PowerShell rounds "6.1".
    assert round(float(version.lstrip("Vv"))) >= 1
    client = KnownClient(furnished, f"/networking/{version}")
    # It asks for all types of resources that it knows; a clean 404 is passed over.
    dumped = {
        name: client.get(f"/{name}")
        for name in (
            *("accessControlLists", "auditingSettings/configuration", "credentials"),
            *("discovery", "gatewayPools", "gateways", "iDnsServer/configuration"),
            *("loadBalancerManager/config", "loadBalancerMuxes", "loadBalancers"),
            *("logicalNetworks", "macPools", "monitoring/networkControllerStatistics"),
            *("networkControllerBackup", "networkControllerRestore", "networkInterfaces"),
            *("publicIPAddresses", "routeTables", "securityTags", "servers"),
            *("serviceInsertions", "virtualGateways", "virtualNetworkManager/configuration"),
            *("virtualNetworks", "virtualServers", "virtualSwitchManager/configuration"),
        )
    }
    offered = {name for name, found in dumped.items() if found is not None}
    assert offered >= {"credentials", "logicalNetworks", "networkInterfaces", "virtualNetworks"}
    for name in ("logicalNetworks", "macPools", "virtualNetworks"):
        for listed in dumped[name]["value"]:
            found = client.get(listed["resourceRef"])
            assert found == listed
            by_instance = client.get(f"/internalResourceInstances/{found['instanceId']}")
            assert by_instance["properties"]["resourceReference"] == found["resourceRef"]
            found["properties"].pop("configurationState", None)
            found["properties"].pop("provisioningState")
            again = client.put(found["resourceRef"], found)
            assert again["instanceId"] == found["instanceId"]
            assert _without_etags(again)["properties"].items() >= (
                _without_etags(found)["properties"].items()
            )


def _without_etags(found: Any) -> Any:
    """Without what a write changes."""
    if isinstance(found, dict):
        return {k: _without_etags(v) for k, v in found.items() if k != "etag"}
    return [_without_etags(one) for one in found] if isinstance(found, list) else found


def test_the_openstack_driver_retries_what_another_has_changed(furnished: Api) -> None:
    client = KnownClient(furnished, "/networking/v1", {"Accept": "application/json"})
    network = "0f2c0e0c-7f3f-4f0b-8b77-1c1d4c7a2b10"
    assert client.get("/logicalNetworks/u")["properties"]["networkVirtualizationEnabled"] == "True"
    assert client.get(f"/virtualNetworks/{network}") is None
    client.put(
        f"/virtualNetworks/{network}",
        {
            "resourceId": network,
            "tags": {"provider": "OpenStack"},
            "properties": {
                "addressSpace": {"addressPrefixes": ["1.0.0.0/32"]},
                "logicalNetwork": {"resourceRef": "/logicalNetworks/u"},
                "subnets": [],
            },
        },
    )

    def add(read: Any, name: str, prefix: str) -> httpx.Response:
        read["properties"]["addressSpace"]["addressPrefixes"].append(prefix)
        read["properties"]["subnets"].append(
            {"resourceId": name, "properties": {"addressPrefix": prefix}}
        )
        return client.ask("PUT", f"/virtualNetworks/{network}", read)

    first = client.get(f"/virtualNetworks/{network}")
    second = client.get(f"/virtualNetworks/{network}")
    assert add(first, "a", "10.1.0.0/24").status_code == 200
    # It sends no If-Match: the etag in the body is what the other one has changed (section A.4).
    assert add(second, "b", "10.2.0.0/24").status_code == 412
    again = client.get(f"/virtualNetworks/{network}")
    assert add(again, "b", "10.2.0.0/24").status_code == 200
    names = [
        one["resourceId"]
        for one in client.get(f"/virtualNetworks/{network}")["properties"]["subnets"]
    ]
    assert names == ["a", "b"]
    ours = [
        one["resourceId"]
        for one in client.get("/virtualNetworks")["value"]
        if one.get("tags", {}).get("provider") == "OpenStack"
    ]
    assert ours == [network]
    client.delete(f"/virtualNetworks/{network}/subnets/a")
    client.delete(f"/virtualNetworks/{network}")


def test_python_hnvclient_is_told_that_somebody_else_has_added_a_subnet(furnished: Api) -> None:
    """It leaves the etag of what it writes out, and sends the children's as it read them."""
    client = KnownClient(furnished, "/networking/v1", headers={"Accept": "application/json"})
    path = "/virtualNetworks/v"

    def read() -> Any:
        found = client.get(path)
        del found["etag"]
        return found

    def add(found: Any, name: str, prefix: str) -> httpx.Response:
        subnet = {"resourceId": name, "properties": {"addressPrefix": prefix}}
        found["properties"]["subnets"].append(subnet)
        return client.ask("PUT", path, found)

    first, second = read(), read()
    assert add(first, "a", "10.0.1.0/24").status_code == 200
    refused = add(second, "b", "10.0.2.0/24")
    assert (refused.status_code, refused.json()["error"]["code"]) == (412, "PreconditionFailed")
    assert add(read(), "b", "10.0.2.0/24").status_code == 200
    names = [one["resourceId"] for one in client.get(path)["properties"]["subnets"]]
    assert names == ["s", "a", "b"]


def test_admin_center_adds_subnets_to_a_server_that_it_read_once(furnished: Api) -> None:
    """Its New-LogicalSubnet sends the properties of the server, without the server's etag."""
    client = KnownClient(furnished, "/networking/v1")
    switch = {"resourceId": "SDN Switch", "properties": {"logicalSubnets": []}}
    client.put("/servers/h", {"properties": {"networkInterfaces": [switch]}})
    server = client.get("/servers/h")
    interface = server["properties"]["networkInterfaces"][0]["properties"]
    for number in range(3):
        path = f"/logicalNetworks/u/subnets/s{number}"
        subnet = {"properties": {"addressPrefix": f"10.127.{number}.1/24", "vlanID": number}}
        interface["logicalSubnets"].append(client.put(path, subnet))
        client.put("/servers/h", {"properties": server["properties"]})
    shown = client.get("/servers/h")["properties"]["networkInterfaces"][0]["properties"]
    assert [one["resourceRef"] for one in shown["logicalSubnets"]] == [
        f"/logicalNetworks/u/subnets/s{number}" for number in range(3)
    ]


def test_sdn_diagnostics_rotates_a_certificate(api: Api) -> None:
    """It assigns to `value`, where PowerShell throws if there is none."""
    client = KnownClient(api, "/networking/v1")
    properties = {"type": "X509Certificate", "value": "A1B2C3"}
    found = client.put("/credentials/NCHostCert", {"properties": properties})
    assert found["properties"]["value"] == "A1B2C3"
    found["properties"]["value"] = "D4E5F6"
    assert client.put("/credentials/NCHostCert", found)["properties"]["value"] == "D4E5F6"
