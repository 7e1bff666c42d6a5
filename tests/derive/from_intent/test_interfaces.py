# SPDX-License-Identifier: Apache-2.0
"""Network interfaces become ports."""

from __future__ import annotations

from isthmus.derive.from_intent.interfaces import AddressFact, address_fact, interface_fact
from isthmus.policy.rows import Port
from tests.derive.from_intent.tenants import derived, interface
from tests.intent.cloud import Cloud


def test_an_interface_is_a_port_with_the_etag_as_its_revision(tenant: Cloud) -> None:
    tenant.put("/networkInterfaces/Web", interface("10.0.1.4"))
    row = tenant.row("/networkInterfaces/Web")
    assert list(derived(tenant).rows(Port).values()) == [
        Port(
            id="web",
            segment="shop/front",
            mac="02:00:00:00:00:01",
            addresses=("10.0.1.4",),
            dhcp_address="10.0.1.4",
            profile_id=row.instance_id,
            revision=row.etag,
            origin="/networkInterfaces/Web",
        )
    ]


def test_dhcp_gives_the_primary_address_of_several(tenant: Cloud) -> None:
    body = interface("10.0.1.9")
    second = interface("10.0.1.4")["ipConfigurations"]
    assert isinstance(second, list)
    second[0]["resourceId"] = "d"
    second[0]["properties"]["isPrimary"] = True
    configs = body["ipConfigurations"]
    assert isinstance(configs, list)
    tenant.put("/networkInterfaces/Web", {**body, "ipConfigurations": configs + second})
    (port,) = derived(tenant).rows(Port).values()
    assert port.addresses == ("10.0.1.4", "10.0.1.9")
    assert port.dhcp_address == "10.0.1.4"


def test_an_interface_without_an_address_in_a_virtual_subnet_is_no_port(tenant: Cloud) -> None:
    tenant.put("/networkInterfaces/Loose", {"privateMacAddress": "020000000009"})
    assert dict(derived(tenant).rows(Port)) == {}


def test_what_a_tenant_says_of_a_port_is_in_the_fact_of_its_interface(tenant: Cloud) -> None:
    for ref in ("/servers/H2", "/servers/H1", "/securityTags/Web", "/securityTags/Db"):
        tenant.put(ref, {})
    tenant.put(
        "/networkInterfaces/Web",
        interface(
            "10.0.1.4",
            securityTags=[{"resourceRef": f"/securityTags/{tag}"} for tag in ("Web", "Db")],
            allowedServers=[{"resourceRef": f"/servers/{server}"} for server in ("H2", "H1")],
            portSettings={"stormLimit": 100},
        ),
    )
    fact = interface_fact(tenant.row("/networkInterfaces/Web"))
    assert (fact.key, fact.ref, fact.name) == (
        "/networkinterfaces/web",
        "/networkInterfaces/Web",
        "web",
    )
    assert fact.tags == ("/securitytags/db", "/securitytags/web")
    assert fact.hosts == ("h1", "h2")
    assert (fact.mac, fact.storm_pps) == ("02:00:00:00:00:01", 100)


def test_the_address_of_an_interface_is_found_with_its_subnet_and_list(tenant: Cloud) -> None:
    tenant.put("/accessControlLists/Strict", {})
    body = interface("10.0.1.4")
    configs = body["ipConfigurations"]
    assert isinstance(configs, list)
    configs[0]["properties"]["accessControlList"] = {"resourceRef": "/accessControlLists/Strict"}
    tenant.put("/networkInterfaces/Web", body)
    assert address_fact(tenant.row("/networkInterfaces/Web/ipConfigurations/c")) == AddressFact(
        interface="/networkinterfaces/web",
        rank=(True, 0),
        subnet="/virtualnetworks/shop/subnets/front",
        segment="shop/front",
        address="10.0.1.4",
        rules="strict",
    )


def test_an_address_in_a_logical_network_has_no_place_in_policy(tenant: Cloud) -> None:
    subnet = {"resourceId": "s", "properties": {"addressPrefix": "192.0.2.0/24"}}
    tenant.put("/logicalNetworks/Office", {"subnets": [subnet]})
    body = interface("192.0.2.9")
    configs = body["ipConfigurations"]
    assert isinstance(configs, list)
    configs[0]["properties"]["subnet"] = {"resourceRef": "/logicalNetworks/Office/subnets/s"}
    tenant.put("/networkInterfaces/Web", body)
    assert address_fact(tenant.row("/networkInterfaces/Web/ipConfigurations/c")) is None
    assert dict(derived(tenant).rows(Port)) == {}
