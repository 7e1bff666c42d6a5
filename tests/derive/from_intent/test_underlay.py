# SPDX-License-Identifier: Apache-2.0
"""Logical networks that carry virtual ones become physical networks."""

from __future__ import annotations

from isthmus.derive.from_intent.program import new_engine, put
from isthmus.derive.from_intent.underlay import UNDERLAY, CarrierFact, Underlay, carrier_fact
from isthmus.policy.rows import PhysicalNetwork
from tests.intent.cloud import Cloud


def test_a_logical_network_that_carries_none_has_no_place_in_policy() -> None:
    cloud = Cloud()
    cloud.put("/logicalNetworks/Office", {})
    assert carrier_fact(cloud.row("/logicalNetworks/Office")) is None
    cloud.put("/logicalNetworks/Office", {"networkVirtualizationEnabled": True})
    assert carrier_fact(cloud.row("/logicalNetworks/Office")) == CarrierFact(
        ref="/logicalNetworks/Office", name="office"
    )


def test_a_physical_network_has_what_the_operator_says_of_the_underlay() -> None:
    cloud = Cloud()
    cloud.put("/logicalNetworks/Underlay", {"networkVirtualizationEnabled": True})
    engine = new_engine(Underlay(9000))
    put(engine, None, cloud.row("/logicalNetworks/Underlay"))
    engine.settle()
    (physical,) = engine.rows(PhysicalNetwork).values()
    assert (physical.name, physical.mtu_bytes) == ("underlay", 9000)
    assert len(physical.transports) == 2
    engine.put(Underlay, UNDERLAY, Underlay(1500, Underlay().transports[:1]))
    engine.settle()
    (physical,) = engine.rows(PhysicalNetwork).values()
    assert (len(physical.transports), physical.mtu_bytes) == (1, 1500)
