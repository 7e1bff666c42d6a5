# SPDX-License-Identifier: Apache-2.0
"""An IPv4 and an IPv6 subnet of one network on one interface, which clients of v1 do not pair in
any other way (the OpenStack driver of Microsoft's controller)."""

from __future__ import annotations

from itertools import permutations

import pytest

from isthmus.derive.from_intent.program import new_engine, put
from isthmus.derive.from_intent.underlay import Underlay
from isthmus.errors import PreconditionFailed, Unavailable
from isthmus.intent.fields import decode
from isthmus.intent.kinds.ip_configurations import IpConfiguration
from isthmus.intent.kinds.virtual_subnets import VirtualSubnet
from isthmus.intent.model import Json
from isthmus.intent.versions import LATEST, V1
from isthmus.policy.rows import Port, RouterPort, Segment, Subnet
from tests.intent.cloud import Cloud, Properties, child, interface, network, ref

FOUR, SIX = "/virtualNetworks/d/subnets/four", "/virtualNetworks/d/subnets/six"
NIC = "/networkInterfaces/n"


@pytest.fixture
def dual(cloud: Cloud) -> Cloud:
    """A network with a subnet of each family, which do not name each other."""
    subnets = [
        child("four", addressPrefix="10.0.1.0/24"),
        child("six", addressPrefix="fd00:0:0:1::/64"),
        child("other", addressPrefix="10.0.2.0/24"),
        child("other6", addressPrefix="fd00:0:0:2::/64"),
    ]
    written = {**network("10.0.0.0/16", "fd00::/48"), "subnets": subnets}
    cloud.put("/virtualNetworks/d", written, version=V1)
    return cloud


def on(*subnets: str) -> dict[str, Json]:
    configs = [child(f"c{number}", subnet=ref(subnet)) for number, subnet in enumerate(subnets)]
    return {"ipConfigurations": [*configs]}


def segments(cloud: Cloud, path: str = NIC) -> set[str]:
    rows = cloud.store.children(path.lower(), "networkInterfaces/ipConfigurations")
    return {decode(row, IpConfiguration).segment for row in rows}


def segment_of(cloud: Cloud, subnet: str) -> str:
    row = cloud.row(subnet)
    return decode(row, VirtualSubnet).segment_key(row.key)


@pytest.mark.parametrize("order", permutations((FOUR, SIX)))
def test_an_interface_in_a_subnet_of_each_family_makes_them_one_segment(
    dual: Cloud, order: tuple[str, str]
) -> None:
    before = dual.row("/virtualNetworks/d")
    dual.put(NIC, on(*order), version=V1)
    assert segments(dual) == {FOUR.lower()}
    assert segment_of(dual, SIX) == FOUR.lower()
    # what a client sees of the network is what it wrote
    assert dual.row("/virtualNetworks/d") == before
    assert "dualStackSubnet" not in Properties(dual.get(SIX))
    engine = new_engine(Underlay())
    for row in dual.store.rows.values():
        put(engine, None, row)
    engine.settle()
    (port,) = engine.rows(Port).values()
    assert isinstance(port, Port)
    assert (port.segment, port.addresses) == ("d/four", ("10.0.1.4", "fd00:0:0:1::4"))
    legs = {row.segment: row.addresses for row in engine.rows(RouterPort).values()}
    assert legs["d/four"] == ("10.0.1.1/24", "fd00:0:0:1::1/64")
    assert "d/six" not in legs
    assert "d/six" not in engine.rows(Segment)
    assert {row.prefix for row in engine.rows(Subnet).values() if row.segment == "d/four"} == {
        *("10.0.1.0/24", "fd00:0:0:1::/64"),
    }


@pytest.mark.parametrize(("first", "second"), [(FOUR, SIX), (SIX, FOUR)])
def test_an_address_of_the_other_family_may_come_later(
    dual: Cloud, first: str, second: str
) -> None:
    dual.put(NIC, on(first))
    dual.put(f"{NIC}/ipConfigurations/later", {"subnet": ref(second)})
    assert segments(dual) == {FOUR.lower()}
    dual.put("/networkInterfaces/m", on(first, second))
    dual.put_body(NIC, dual.get(NIC))
    assert segments(dual) == segments(dual, "/networkInterfaces/m") == {FOUR.lower()}


def test_who_comes_to_the_ipv6_subnet_alone_is_on_the_same_segment(dual: Cloud) -> None:
    dual.put(NIC, on(FOUR, SIX))
    dual.put("/networkInterfaces/m", on(SIX))
    assert segments(dual, "/networkInterfaces/m") == {FOUR.lower()}
    dual.delete(NIC)
    # it holds the subnet that its segment is called after, and is not said to be in it
    assert dual.delete_refused(FOUR).code == "InUseSubnetCannotBeDeleted"
    assert Properties(dual.get(FOUR))["ipConfigurations"] == []
    assert Properties(dual.get(SIX))["ipConfigurations"] == [
        ref("/networkInterfaces/m/ipConfigurations/c0")
    ]
    dual.delete("/networkInterfaces/m")
    assert dual.delete(FOUR) == 200
    # and then the IPv6 subnet is one of its own again
    dual.put("/networkInterfaces/m", on(SIX))
    assert segments(dual, "/networkInterfaces/m") == {SIX.lower()}


def test_the_network_may_be_put_back_and_a_newer_client_may_say_it(dual: Cloud) -> None:
    dual.put(NIC, on(FOUR, SIX), version=V1)
    for version in (V1, LATEST):
        dual.put_body("/virtualNetworks/d", dual.get("/virtualNetworks/d", version), version)
        assert segment_of(dual, SIX) == FOUR.lower()
    dual.put(SIX, {"addressPrefix": "fd00:0:0:1::/64", "dualStackSubnet": ref(FOUR)})
    assert segment_of(dual, SIX) == FOUR.lower()
    error = dual.refused(SIX, {"addressPrefix": "fd00:0:0:1::/64"})
    assert error.code == "InUseSubnetCannotBeUpdated"
    other = "/virtualNetworks/d/subnets/other"
    error = dual.refused(SIX, {"addressPrefix": "fd00:0:0:1::/64", "dualStackSubnet": ref(other)})
    assert error.code == "InUseSubnetCannotBeUpdated"


@pytest.mark.parametrize(
    ("subnets", "around"),
    [
        ((FOUR, SIX), {"/networkInterfaces/alone": interface(SIX)}),
        (
            (FOUR, "/virtualNetworks/d/subnets/other6"),
            {"/networkInterfaces/pair": on(FOUR, SIX)},
        ),
        (
            ("/virtualNetworks/d/subnets/other", SIX),
            {"/networkInterfaces/pair": on(FOUR, SIX)},
        ),
        ((FOUR, "/virtualNetworks/d/subnets/other"), {}),
        ((SIX, "/virtualNetworks/d/subnets/other6"), {}),
        ((SIX, "/virtualNetworks/v/subnets/s"), {}),
        ((FOUR, SIX, "/virtualNetworks/d/subnets/other6"), {}),
    ],
)
def test_what_cannot_be_one_segment_is_refused(
    dual: Cloud, subnets: tuple[str, ...], around: dict[str, dict[str, Json]]
) -> None:
    for path, written in around.items():
        dual.put(path, written)
    for order in permutations(subnets):
        error = dual.refused(NIC, on(*order))
        assert (error.code, error.status) == ("NetworkMismatch", 400)


def test_of_two_at_once_that_use_the_ipv6_subnet_otherwise_one_is_told_to_plan_again(
    dual: Cloud,
) -> None:
    both, alone = dual.plan(NIC, on(FOUR, SIX)), dual.plan("/networkInterfaces/m", on(SIX))
    dual.store.apply(both)
    with pytest.raises(Unavailable):
        dual.store.apply(alone)
    dual.delete(NIC)
    dual.put("/virtualNetworks/d/subnets/other6", {"addressPrefix": "fd00:0:0:2::/64"})
    pair = on("/virtualNetworks/d/subnets/other", "/virtualNetworks/d/subnets/other6")
    both = dual.plan(NIC, pair)
    dual.put("/networkInterfaces/m", on("/virtualNetworks/d/subnets/other6"))
    with pytest.raises(Exception, match="required by /networkinterfaces/m"):
        dual.store.apply(both)


def test_a_stale_network_is_still_told_from_a_current_one(dual: Cloud) -> None:
    read = dual.get("/virtualNetworks/d", V1)
    dual.put(NIC, on(FOUR, SIX), version=V1)
    dual.put_body("/virtualNetworks/d", read, V1)
    with pytest.raises(PreconditionFailed):
        dual.put_body("/virtualNetworks/d", read, V1)
