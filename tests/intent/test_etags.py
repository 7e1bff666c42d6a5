# SPDX-License-Identifier: Apache-2.0
"""The etag table and its propagation (MS-NCNBI section A.4)."""

from __future__ import annotations

import pytest

from isthmus.errors import IsthmusError, PreconditionFailed
from isthmus.intent.model import Json
from isthmus.intent.planning import plan_put
from tests.intent.cloud import Cloud, child, network, ref

POOL = "/logicalNetworks/HNVPA/subnets/a/ipPools/p"


def status(cloud: Cloud, path: str, create_only: bool, expected: str | None) -> int:
    try:
        return cloud.plan(path, create_only=create_only, expected_etag=expected).status
    except IsthmusError as error:
        return error.status


@pytest.mark.parametrize(
    ("create_only", "expected", "absent", "existing"),
    [
        (False, None, 201, 200),
        (False, "", 201, 200),
        (False, "*", 412, 200),
        (False, "current", 412, 200),
        (False, "other", 412, 412),
        (True, None, 201, 412),
    ],
)
def test_a_put_follows_the_table(
    cloud: Cloud, create_only: bool, expected: str | None, absent: int, existing: int
) -> None:
    cloud.put("/servers/here")
    if expected == "current":
        expected = f'W/"{cloud.row("/servers/here").etag.upper()}"'
    assert status(cloud, "/servers/gone", create_only, expected) == absent
    assert status(cloud, "/servers/here", create_only, expected) == existing


@pytest.mark.parametrize(
    ("expected", "existing"), [(None, 200), ("*", 200), ("current", 200), ("other", 412)]
)
def test_a_delete_follows_the_table(cloud: Cloud, expected: str | None, existing: int) -> None:
    assert cloud.delete("/servers/gone", expected) == 204
    cloud.put("/servers/here")
    if expected == "current":
        expected = cloud.row("/servers/here").etag
    try:
        assert cloud.delete("/servers/here", expected) == existing
    except PreconditionFailed as error:
        assert error.status == existing
        assert cloud.delete("/servers/here") == 200


def test_a_stale_etag_in_the_body_is_refused_unless_if_match_says_otherwise(cloud: Cloud) -> None:
    cloud.put("/servers/here")
    stale = cloud.get("/servers/here")
    assert cloud.put_body("/servers/here", stale).status == 200
    with pytest.raises(PreconditionFailed):
        cloud.put_body("/servers/here", stale)
    plan = plan_put(cloud.store, cloud.ids, "/servers/here", stale, expected_etag="*")
    assert plan.status == 200
    plan = plan_put(cloud.store, cloud.ids, "/servers/here", stale, body_etag_is_precondition=False)
    assert plan.status == 200


def test_an_etag_in_the_body_of_a_new_resource_means_nothing(cloud: Cloud) -> None:
    assert cloud.put_body("/servers/new", {"etag": 'W/"x"'}).status == 201


def etags(cloud: Cloud) -> dict[str, str]:
    return {key: row.etag for key, row in cloud.store.rows.items()}


def changed(cloud: Cloud, path: str, properties: Json | None) -> set[str]:
    """Which stored resources get another etag by a PUT, or a DELETE if there are no properties."""
    before = etags(cloud)
    if properties is None:
        cloud.delete(path)
    else:
        cloud.put(path, properties)
    after = etags(cloud)
    fresh = {etag for key, etag in after.items() if before.get(key) != etag}
    assert len(fresh) <= 1, "one write, one etag"
    return {key for key in before if key in after and before[key] != after[key]}


def underlay(cloud: Cloud) -> None:
    subnets: Json = [
        child("a", addressPrefix="10.8.0.0/24", ipPools=[_pool("p"), _pool("q", 20)]),
        child("b", addressPrefix="10.9.0.0/24"),
    ]
    cloud.put("/logicalNetworks/HNVPA", {"networkVirtualizationEnabled": True, "subnets": subnets})


def _pool(name: str, first: int = 10) -> Json:
    start, end = f"10.8.0.{first}", f"10.8.0.{first + 5}"
    return child(name, startIpAddress=start, endIpAddress=end)


def test_a_write_changes_itself_all_below_and_all_above_but_no_sibling(cloud: Cloud) -> None:
    underlay(cloud)
    above, here = "/logicalnetworks/hnvpa", "/logicalnetworks/hnvpa/subnets/a"
    pools = {f"{here}/ippools/p", f"{here}/ippools/q"}
    one = {"startIpAddress": "10.8.0.10", "endIpAddress": "10.8.0.16"}
    assert changed(cloud, POOL, one) == {above, here, f"{here}/ippools/p"}
    subnet = cloud.get("/logicalNetworks/HNVPA/subnets/a")["properties"]
    assert changed(cloud, "/logicalNetworks/HNVPA/subnets/a", subnet) == {above, here, *pools}
    whole = cloud.get("/logicalNetworks/HNVPA")["properties"]
    everything = {above, here, "/logicalnetworks/hnvpa/subnets/b", *pools}
    assert changed(cloud, "/logicalNetworks/HNVPA", whole) == everything
    assert changed(cloud, POOL, None) == {above, here}
    assert changed(cloud, "/logicalNetworks/HNVPA/subnets/b", None) == {above}


def test_a_write_does_not_touch_what_refers_to_it_nor_what_it_refers_to(cloud: Cloud) -> None:
    whole = cloud.get("/logicalNetworks/HNVPA")["properties"]
    assert changed(cloud, "/logicalNetworks/HNVPA", whole) == {"/logicalnetworks/hnvpa"}
    written = {"/virtualnetworks/v", "/virtualnetworks/v/subnets/s"}
    again = network("10.0.0.0/16", subnets={"s": "10.0.1.0/24"})
    assert changed(cloud, "/virtualNetworks/v", again) == written


def test_a_plan_relies_on_what_it_changes_and_on_the_definitions_it_used(cloud: Cloud) -> None:
    config = child("ip", subnet=ref("/virtualNetworks/v/subnets/s"))
    plan = cloud.plan("/networkInterfaces/n", {"ipConfigurations": [config]})
    # neither the network around the subnet nor any other interface: their writers must not collide
    assert set(plan.reads) == {"/virtualnetworks/v/subnets/s"}
    cloud.store.apply(plan)
    plan = cloud.plan("/networkInterfaces/n", {"ipConfigurations": [config]})
    assert set(plan.reads) == {
        "/networkinterfaces/n",
        "/networkinterfaces/n/ipconfigurations/ip",
        "/virtualnetworks/v/subnets/s",
    }
    plan = cloud.plan("/virtualNetworks/v/subnets/t", {"addressPrefix": "10.0.2.0/24"})
    assert set(plan.reads) == {"/virtualnetworks/v"}
