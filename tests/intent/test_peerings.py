# SPDX-License-Identifier: Apache-2.0
"""virtualNetworkPeerings (MS-NCNBI section B.17): who may be peered, and what becomes of it."""

from __future__ import annotations

import pytest

from isthmus.intent.model import Json
from isthmus.intent.planning import Delete, Put, Request, plan_batch
from tests.intent.cloud import Answer, Cloud, child, network, ref

OURS = "/virtualNetworks/v/virtualNetworkPeerings/to-w"
THEIRS = "/virtualNetworks/w/virtualNetworkPeerings/to-v"
AT_REMOTE = "properties.remoteVirtualNetwork"


def to(name: str, **more: Json) -> dict[str, Json]:
    """Properties of a peering."""
    return {"remoteVirtualNetwork": ref(f"/virtualNetworks/{name}"), **more}


def shown(cloud: Cloud, path: str = OURS) -> Answer:
    found = cloud.get(path)["properties"]
    assert isinstance(found, dict)
    return found


@pytest.fixture
def two(cloud: Cloud) -> Cloud:
    """The networks ``v`` (10.0.0.0/16), ``w`` (10.1.0.0/16 and IPv6) and ``x`` (10.2.0.0/16)."""
    cloud.put("/virtualNetworks/w", network("10.1.0.0/16", "fd00::/48", subnets={}))
    cloud.put("/virtualNetworks/x", network("10.2.0.0/16"))
    return cloud


def test_a_peering_is_answered_exactly(two: Cloud) -> None:
    two.put(OURS, to("w"))
    assert shown(two) == {
        "provisioningState": "Succeeded",
        "remoteVirtualNetwork": ref("/virtualNetworks/w"),
        "allowVirtualNetworkAccess": True,
        "allowForwardedTraffic": False,
        "allowGatewayTransit": False,
        "useRemoteGateways": False,
        "peeringState": "Initiated",
        "remoteAddressSpace": {"addressPrefixes": ["10.1.0.0/16", "fd00::/48"]},
    }
    # what a client sends back does nothing
    two.put_body(OURS, two.get(OURS))
    assert shown(two)["peeringState"] == "Initiated"


def test_a_network_shows_its_peerings_and_is_written_with_them(two: Cloud) -> None:
    body = network("10.0.0.0/16", subnets={"s": "10.0.1.0/24"})
    peerings: Json = [child("to-w", **to("w")), child("to-x", **to("x"))]
    found = two.put("/virtualNetworks/v", {**body, "virtualNetworkPeerings": peerings})
    assert found["virtualNetworkPeerings", 0, "peeringState"] == "Initiated"
    assert found["virtualNetworkPeerings", 1, "resourceRef"] == (
        "/virtualNetworks/v/virtualNetworkPeerings/to-x"
    )
    two.put("/virtualNetworks/v", {**body, "virtualNetworkPeerings": [child("to-w", **to("w"))]})
    assert [row.ref for row in two.store.children("/virtualnetworks/v", _KIND)] == [OURS]


_KIND = "virtualNetworks/virtualNetworkPeerings"


def test_both_sides_are_connected_from_when_both_are_there(two: Cloud) -> None:
    two.put(OURS, to("w"))
    two.put(THEIRS, to("v"))
    assert [shown(two, path)["peeringState"] for path in (OURS, THEIRS)] == ["Connected"] * 2
    assert shown(two, THEIRS)["remoteAddressSpace"] == {"addressPrefixes": ["10.0.0.0/16"]}
    two.delete(OURS)
    assert shown(two, THEIRS)["peeringState"] == "Disconnected"
    # another network's peering is none of theirs
    two.put("/virtualNetworks/x/virtualNetworkPeerings/to-w", to("w"))
    assert shown(two, THEIRS)["peeringState"] == "Disconnected"


def test_a_side_whose_network_is_gone_is_disconnected_and_stays_so(two: Cloud) -> None:
    two.put(OURS, to("w"))
    two.put(THEIRS, to("v"))
    two.delete("/virtualNetworks/w")
    gone: Json = {"addressPrefixes": []}
    assert (shown(two)["peeringState"], shown(two)["remoteAddressSpace"]) == ("Disconnected", gone)
    # made anew, it is another network of the same name
    two.put("/virtualNetworks/w", network("10.9.0.0/16"))
    two.put(THEIRS, to("v"))
    assert (shown(two)["peeringState"], shown(two)["remoteAddressSpace"]) == ("Disconnected", gone)
    assert shown(two, THEIRS)["peeringState"] == "Initiated"
    error = two.refused(OURS, to("w"))
    assert (error.code, error.status, error.target) == (
        *("RemotePeeringIsStaleBecauseVnetWasRecreated", 409),
        AT_REMOTE,
    )
    two.delete(OURS)
    two.put(OURS, to("w"))
    assert [shown(two, path)["peeringState"] for path in (OURS, THEIRS)] == ["Connected"] * 2


def test_a_side_whose_network_is_gone_can_be_put_back_as_it_is_and_not_changed(two: Cloud) -> None:
    two.put(OURS, to("w"))
    two.delete("/virtualNetworks/w")
    two.put_body(OURS, two.get(OURS))
    two.put_body("/virtualNetworks/v", two.get("/virtualNetworks/v"))
    assert shown(two)["peeringState"] == "Disconnected"
    for changed in (to("w", allowVirtualNetworkAccess=False), {"allowForwardedTraffic": True}):
        error = two.refused(OURS, changed)
        assert (error.code, error.status, error.target) == (
            *("CannotUpdateDisconnectedPeeringWithNullRemoteVnet", 409),
            AT_REMOTE,
        )
    error = two.refused("/virtualNetworks/v/virtualNetworkPeerings/new", to("w"))
    assert error.code == "InvalidResourceReference"
    assert two.delete(OURS) == 200


def test_a_side_is_deleted_with_its_network(two: Cloud) -> None:
    two.put(OURS, to("w"))
    two.delete("/virtualNetworks/v")
    assert two.store.get(OURS.lower()) is None


@pytest.mark.parametrize(
    ("properties", "code", "target", "status"),
    [
        ({}, "RemoteVirtualNetworkNotSpecified", "remoteVirtualNetwork", 400),
        (
            {"remoteVirtualNetwork": None},
            *("RemoteVirtualNetworkNotSpecified", "remoteVirtualNetwork", 400),
        ),
        (
            {"remoteVirtualNetwork": ref("/servers/s")},
            *("InvalidJsonReferenceWrongType", "remoteVirtualNetwork", 400),
        ),
        (to("v"), "PeeringRemoteVnetIsSameAsParentVnet", "remoteVirtualNetwork", 400),
        (to("V"), "PeeringRemoteVnetIsSameAsParentVnet", "remoteVirtualNetwork", 400),
        (to("overlapping"), "VnetAddressSpacesOverlap", "remoteVirtualNetwork", 409),
        (to("w", useRemoteGateways=True), "RemoteVnetHasNoGateways", "useRemoteGateways", 400),
        (
            to("w", useRemoteGateways=True, allowGatewayTransit=True),
            *("UseRemoteAndAllowTransitCannotBeTrue", "useRemoteGateways", 400),
        ),
        (
            to("w", allowVirtualNetworkAccess="perhaps"),
            *("InvalidRequestFormat", "allowVirtualNetworkAccess", 400),
        ),
    ],
)
def test_a_wrong_peering_is_refused_with_its_code_and_place(
    two: Cloud, properties: dict[str, Json], code: str, target: str, status: int
) -> None:
    two.put("/virtualNetworks/overlapping", network("192.168.0.0/16", "10.0.128.0/17"))
    error = two.refused(OURS, properties)
    codes = {error.code, *(detail.code for detail in error.details)}
    assert code in codes
    assert (error.target, error.status) == (f"properties.{target}", status)


def test_a_network_that_does_not_exist_cannot_be_peered_with(two: Cloud) -> None:
    error = two.refused(OURS, to("none"))
    assert error.target == AT_REMOTE
    assert "/virtualNetworks/none" in error.message


def test_one_network_has_one_peering_with_another(two: Cloud) -> None:
    two.put(OURS, to("w"))
    error = two.refused(f"{OURS}-again", to("w"))
    assert (error.code, error.status) == ("AnotherPeeringAlreadyReferencesRemoteVnet", 409)
    assert OURS in error.message


def test_networks_that_one_is_peered_with_do_not_overlap(two: Cloud) -> None:
    two.put("/virtualNetworks/y", network("10.1.128.0/20"))
    two.put(OURS, to("w"))
    error = two.refused("/virtualNetworks/v/virtualNetworkPeerings/to-y", to("y"))
    assert (error.code, error.status) == ("VnetAddressSpaceOverlapsWithAlreadyPeeredVnet", 409)
    two.put("/virtualNetworks/x/virtualNetworkPeerings/to-y", to("y"))


def test_the_remote_network_of_a_peering_stays_what_it_was(two: Cloud) -> None:
    two.put(OURS, to("w"))
    error = two.refused(OURS, to("x"))
    assert error.code == "ChangingRemoteVirtualNetworkNotAllowed"
    two.put(OURS, to("w", allowVirtualNetworkAccess=False, allowForwardedTraffic="True"))
    assert shown(two)["allowVirtualNetworkAccess"] is False
    assert shown(two)["allowForwardedTraffic"] is True


def test_the_address_space_of_a_peered_network_stays_what_it_was(two: Cloud) -> None:
    two.put(OURS, to("w"))
    kept: Json = [child("to-w", **to("w"))]
    body = network("10.0.0.0/8", subnets={"s": "10.0.1.0/24"})
    error = two.refused("/virtualNetworks/v", {**body, "virtualNetworkPeerings": kept})
    assert (error.code, error.status) == ("VnetAddressSpaceCannotChangeDueToPeerings", 409)
    two.delete(OURS)
    two.put("/virtualNetworks/v", body)


def test_both_sides_can_be_made_in_one_batch_and_unmade(two: Cloud) -> None:
    def apply(*requests: Request) -> None:
        two.store.apply(plan_batch(two.store, two.ids, requests))

    apply(
        Put(path=OURS, body={"properties": to("w")}),
        Put(path=THEIRS, body={"properties": to("v")}),
    )
    assert shown(two)["peeringState"] == "Connected"
    apply(Delete(path=OURS), Delete(path=THEIRS))
    assert two.store.get(THEIRS.lower()) is None
