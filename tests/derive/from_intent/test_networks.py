# SPDX-License-Identifier: Apache-2.0
"""Virtual networks become routers, and peerings join them."""

from __future__ import annotations

from isthmus.derive.from_intent.networks import PeeringFact, network_fact, peering_fact
from isthmus.policy.rows import Router, RouterPort
from tests.derive.from_intent.tenants import derived
from tests.intent.cloud import Cloud


def test_networks_that_are_peered_have_legs_in_each_other_s_routers(tenant: Cloud) -> None:
    def legs() -> set[tuple[str, str, str]]:
        found = derived(tenant).rows(RouterPort).values()
        return {(leg.router, leg.segment, leg.kind) for leg in found if leg.kind == "peer"}

    def prefixes() -> list[tuple[str, ...]]:
        return [router.prefixes for router in derived(tenant).rows(Router).values()]

    store = {
        "addressSpace": {"addressPrefixes": ["10.1.0.0/16"]},
        "logicalNetwork": {"resourceRef": "/logicalNetworks/Underlay"},
        "subnets": [{"resourceId": "s", "properties": {"addressPrefix": "10.1.0.0/24"}}],
    }
    ours = "/virtualNetworks/Shop/virtualNetworkPeerings/p"
    theirs = "/virtualNetworks/Store/virtualNetworkPeerings/p"
    tenant.put("/virtualNetworks/Store", store)
    tenant.put(ours, {"remoteVirtualNetwork": {"resourceRef": "/VirtualNetworks/STORE"}})
    assert legs() == set()
    tenant.put(theirs, {"remoteVirtualNetwork": {"resourceRef": "/virtualNetworks/Shop"}})
    both = {("store", "shop/front", "peer"), ("shop", "store/s", "peer")}
    assert legs() == both
    assert prefixes() == [("10.0.0.0/16", "10.1.0.0/16")] * 2
    # Another network of the same name is not the one that Shop's owner has trusted.
    tenant.delete("/virtualNetworks/Store")
    tenant.put("/virtualNetworks/Store", store)
    tenant.put(theirs, {"remoteVirtualNetwork": {"resourceRef": "/virtualNetworks/Shop"}})
    assert legs() == set()
    assert sorted(prefixes()) == [("10.0.0.0/16",), ("10.1.0.0/16",)]
    tenant.delete(ours)
    tenant.put(ours, {"remoteVirtualNetwork": {"resourceRef": "/virtualNetworks/Store"}})
    assert legs() == both


def test_a_virtual_network_is_known_by_its_carrier_and_its_prefixes(tenant: Cloud) -> None:
    fact = network_fact(tenant.row("/virtualNetworks/Shop"))
    assert (fact.name, fact.carrier, fact.dns) == (
        "shop",
        "/logicalnetworks/underlay",
        ("10.0.0.53",),
    )
    assert fact.prefixes == ("10.0.0.0/16",)


def test_a_peering_without_access_joins_nothing(tenant: Cloud) -> None:
    tenant.put(
        "/virtualNetworks/Store",
        {
            "addressSpace": {"addressPrefixes": ["10.1.0.0/16"]},
            "logicalNetwork": {"resourceRef": "/logicalNetworks/Underlay"},
        },
    )
    for one, other, allowed in (("Shop", "Store", True), ("Store", "Shop", False)):
        tenant.put(
            f"/virtualNetworks/{one}/virtualNetworkPeerings/p",
            {
                "remoteVirtualNetwork": {"resourceRef": f"/virtualNetworks/{other}"},
                "allowVirtualNetworkAccess": allowed,
            },
        )
    assert peering_fact(
        tenant.row("/virtualNetworks/Store/virtualNetworkPeerings/p")
    ) == PeeringFact(
        network="/virtualnetworks/store",
        remote="/virtualnetworks/shop",
        remote_instance=tenant.row("/virtualNetworks/Shop").instance_id,
        allows=False,
    )
    legs = derived(tenant).rows(RouterPort).values()
    assert [leg.router for leg in legs] == ["shop"]
