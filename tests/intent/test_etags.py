# SPDX-License-Identifier: Apache-2.0
"""The etag table and its propagation (MS-NCNBI section A.4)."""

from __future__ import annotations

from typing import cast

import pytest

from isthmus.errors import IsthmusError, PreconditionFailed
from isthmus.intent.model import Json
from isthmus.intent.planning import plan_put
from tests.intent.cloud import SUBNET, Answer, Cloud, Properties, Tree, child, network, ref

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


VNET = "/virtualNetworks/v"


def read(cloud: Cloud, path: str) -> Answer:
    """As python-hnvclient keeps what it has read: without the etag of the resource itself, with
    those of its children."""
    answer = cloud.get(path)
    del answer["etag"]
    return answer


def subnets(answer: Answer) -> list[Answer]:
    properties = answer["properties"]
    assert isinstance(properties, dict)
    return cast("list[Answer]", properties["subnets"])


def test_of_two_clients_that_each_add_a_child_the_second_is_told_to_read_again(
    cloud: Cloud,
) -> None:
    first, second = read(cloud, VNET), read(cloud, VNET)
    subnets(first).append(cast(Answer, child("a", addressPrefix="10.0.2.0/24")))
    subnets(second).append(cast(Answer, child("b", addressPrefix="10.0.3.0/24")))
    assert cloud.put_body(VNET, first).status == 200
    with pytest.raises(PreconditionFailed, match="would take away /virtualNetworks/v/subnets/a"):
        cloud.put_body(VNET, second)
    second = read(cloud, VNET)
    subnets(second).append(cast(Answer, child("b", addressPrefix="10.0.3.0/24")))
    cloud.put_body(VNET, second)
    assert [one["resourceId"] for one in subnets(cloud.get(VNET))] == ["s", "a", "b"]
    # who says that it may, may; and who has read may take a child away
    assert plan_put(cloud.store, cloud.ids, VNET, first, expected_etag="*").status == 200
    last = read(cloud, VNET)
    del subnets(last)[1:]
    assert cloud.put_body(VNET, last).status == 200


def test_a_child_with_an_old_etag_neither_comes_back_nor_undoes_a_change(cloud: Cloud) -> None:
    cloud.put(f"{VNET}/subnets/a", {"addressPrefix": "10.0.2.0/24"})
    old = read(cloud, VNET)
    route: Json = {"destination": "10.9.0.0/16", "nextHop": "10.0.1.9"}
    cloud.put(SUBNET, {"addressPrefix": "10.0.1.0/24", "routes": [route]})
    with pytest.raises(PreconditionFailed, match=r"would change routes of .*subnets/s"):
        cloud.put_body(VNET, old)
    old = read(cloud, VNET)
    cloud.delete(f"{VNET}/subnets/a")
    with pytest.raises(PreconditionFailed, match=r"subnets/a, which does not exist"):
        cloud.put_body(VNET, old)


def test_a_server_that_was_read_once_is_written_again_for_each_subnet(cloud: Cloud) -> None:
    """Windows Admin Center's New-LogicalSubnet, which sends the properties as they were read."""
    for name, prefix in (("a", "10.8.0.0/24"), ("b", "10.9.0.0/24"), ("c", "10.10.0.0/24")):
        cloud.put(f"/logicalNetworks/HNVPA/subnets/{name}", {"addressPrefix": prefix})
    cloud.put("/servers/h", {"networkInterfaces": [child("vswitch"), child("second")]})
    server = cloud.get("/servers/h")["properties"]
    assert isinstance(server, dict)
    physical = cast("list[Answer]", server["networkInterfaces"])[0]["properties"]
    assert isinstance(physical, dict)
    listed = cast("list[Tree]", physical["logicalSubnets"])
    for name in "abc":
        listed.append(cast(Answer, ref(f"/logicalNetworks/HNVPA/subnets/{name}")))
        cloud.put("/servers/h", server)
    made = Properties(cloud.get("/servers/h"))["networkInterfaces", 0, "logicalSubnets"]
    assert made == [ref(f"/logicalNetworks/HNVPA/subnets/{name}") for name in "abc"]
    # but what another has added in the meantime is not lost
    del listed[1:]
    with pytest.raises(PreconditionFailed, match="would change logicalSubnets of"):
        cloud.put("/servers/h", server)


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
