# SPDX-License-Identifier: Apache-2.0
"""What clients of an older API version neither see nor undo."""

from __future__ import annotations

import pytest

from isthmus.errors import IsthmusError, NotFound
from isthmus.intent.model import Json
from isthmus.intent.paths import resolve
from isthmus.intent.planning import Delete, Put, plan_batch, plan_delete
from isthmus.intent.registry import KINDS
from isthmus.intent.versions import V1, V2, V3, V4, V5, VERSIONS, Version
from tests.intent.cloud import Cloud, child, network, ref

PEERING = "/virtualNetworks/v/virtualNetworkPeerings/to-w"
BODY = network("10.0.0.0/16", subnets={"s": "10.0.1.0/24"})


@pytest.fixture
def peered(cloud: Cloud) -> Cloud:
    """The network ``v`` has a peering with ``w``."""
    cloud.put("/virtualNetworks/w", network("10.1.0.0/16"))
    cloud.put(PEERING, {"remoteVirtualNetwork": ref("/virtualNetworks/w")})
    return cloud


@pytest.mark.parametrize(("version", "stays"), [(V1, True), (V2, True), (V3, False)])
@pytest.mark.parametrize("given", [{}, {"virtualNetworkPeerings": []}])
def test_a_network_that_is_put_by_an_older_client_keeps_its_peerings(
    peered: Cloud, version: Version, stays: bool, given: dict[str, Json]
) -> None:
    before = peered.row(PEERING)
    found = peered.put("/virtualNetworks/v", {**BODY, **given}, version=version)
    assert ("virtualNetworkPeerings" in found) is not stays
    row = peered.store.get(PEERING.lower())
    assert (row is not None) is stays
    if row is not None:
        # Section A.4: a PUT on a parent changes the etag of all that is below.
        assert row.etag == peered.row("/virtualNetworks/v").etag != before.etag
        assert (row.instance_id, row.properties) == (before.instance_id, before.properties)
        assert peered.get(PEERING)["properties"] == {
            **peered.get(PEERING, version)["properties"],  # type: ignore[dict-item]  # it is an object
        }


def test_what_an_older_client_cannot_see_still_counts(peered: Cloud) -> None:
    with pytest.raises(IsthmusError) as caught:
        peered.put("/virtualNetworks/v", network("10.0.0.0/8", subnets={}), version=V1)
    assert caught.value.code == "VnetAddressSpaceCannotChangeDueToPeerings"


def test_an_older_client_ignores_what_it_does_not_know_and_makes_none(cloud: Cloud) -> None:
    cloud.put("/virtualNetworks/w", network("10.1.0.0/16"))
    peerings: Json = [child("to-w", remoteVirtualNetwork=ref("/virtualNetworks/w"))]
    body = {**BODY, "virtualNetworkPeerings": peerings}
    cloud.put("/virtualNetworks/v", body, version=V2)
    assert cloud.store.get(PEERING.lower()) is None
    cloud.put("/virtualNetworks/v", {**BODY, "virtualNetworkPeerings": 7}, version=V2)
    cloud.put("/virtualNetworks/v", body, version=V3)
    assert cloud.store.get(PEERING.lower()) is not None


def test_a_network_that_an_older_client_deletes_takes_its_peerings_along(peered: Cloud) -> None:
    plan = plan_delete(peered.store, peered.ids, "/virtualNetworks/v", version=V1)
    peered.store.apply(plan)
    assert peered.store.get(PEERING.lower()) is None


@pytest.mark.parametrize(
    ("path", "since"),
    [
        ("/securityTags", V5),
        ("/SecurityTags/t", V5),
        ("/virtualNetworks/v/virtualNetworkPeerings", V3),
        (PEERING, V3),
    ],
)
def test_a_newer_kind_is_not_found_under_an_older_version(path: str, since: Version) -> None:
    for version in VERSIONS:
        if version >= since:
            assert resolve(path, version).kind.since == since
            continue
        with pytest.raises(NotFound, match=f"came with API version {since}, .* says {version}"):
            resolve(path, version)


def test_it_is_neither_written_nor_deleted_under_one(peered: Cloud) -> None:
    body: Json = {"properties": {}}
    for request in (Put(path="/securityTags/t", body=body), Delete(path="/securityTags/t")):
        with pytest.raises(NotFound, match="securityTags came with API version v5"):
            plan_batch(peered.store, peered.ids, [request], version=V4)
    with pytest.raises(NotFound, match="virtualNetworkPeerings came with"):
        plan_delete(peered.store, peered.ids, PEERING, version=V2)


def test_no_kind_is_older_than_the_one_it_stands_under() -> None:
    for kind in KINDS.values():
        assert all(below.since >= kind.since for below in kind.children)
