# SPDX-License-Identifier: Apache-2.0
"""Virtual subnets become segments, subnets and legs of routers."""

from __future__ import annotations

from isthmus.derive.from_intent.networks import ROUTER_MAC
from isthmus.derive.from_intent.underlay import Underlay
from isthmus.policy.rows import PhysicalNetwork, Router, RouterPort, Segment, Subnet
from tests.derive.from_intent.tenants import derived
from tests.intent.cloud import Cloud


def test_a_virtual_subnet_is_a_segment_a_subnet_and_a_leg_of_the_network_s_router(
    tenant: Cloud,
) -> None:
    engine = derived(tenant)
    vsid = next(iter(engine.rows(Segment).values())).vsid
    ref = "/virtualNetworks/Shop/subnets/Front"
    assert list(engine.rows(Segment).values()) == [
        Segment(id="shop/front", physical_network="underlay", vsid=vsid, mtu_bytes=1450, origin=ref)
    ]
    assert vsid >= 4096
    assert list(engine.rows(Subnet).values()) == [
        Subnet(
            segment="shop/front",
            prefix="10.0.1.0/24",
            gateway="10.0.1.1",
            dns=("10.0.0.53",),
            host_routes=("198.51.100.0/24 10.0.1.9",),
            origin=ref,
        )
    ]
    assert list(engine.rows(RouterPort).values()) == [
        RouterPort(router="shop", segment="shop/front", addresses=("10.0.1.1/24",), origin=ref)
    ]
    (router,) = engine.rows(Router).values()
    assert (router.id, router.mac, router.origin) == (
        "shop",
        ROUTER_MAC,
        "/virtualNetworks/Shop",
    )
    assert router.rdid >= 1
    (physical,) = engine.rows(PhysicalNetwork).values()
    assert physical.mtu_bytes == 1500


def test_the_mtu_leaves_room_for_the_largest_encapsulation_in_use(tenant: Cloud) -> None:
    for transports, mtu in ((("nvgre",), 8958), (("vxlan", "nvgre"), 8950)):
        (segment,) = derived(tenant, Underlay(9000, transports)).rows(Segment).values()
        assert segment.mtu_bytes == mtu
