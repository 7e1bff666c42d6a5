# SPDX-License-Identifier: Apache-2.0
"""What the application relies upon in a north store (`isthmus.api.interfaces.North`), to be run on
every one: in memory, and on a real server."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from ipaddress import ip_address

import pytest

from isthmus.api.interfaces import North
from isthmus.errors import Conflict, Invalid, IsthmusError
from isthmus.intent.model import Ids, Json, Plan, View
from isthmus.intent.planning import Put, plan_batch, plan_delete, plan_put

SUBNET = "/virtualNetworks/v/subnets/s"
NIC = "/networkInterfaces/n"
NIC_KEY = NIC.lower()

Rule = Callable[[North], Awaitable[None]]


def interface(address: str = "") -> Json:
    """The body of a networkInterface in `SUBNET`; without an address it is given one."""
    config: dict[str, Json] = {"subnet": {"resourceRef": SUBNET}}
    if address:
        config |= {"privateIPAddress": address, "privateIPAllocationMethod": "Static"}
    return {"properties": {"ipConfigurations": [{"resourceId": "c", "properties": config}]}}


async def put(
    north: North,
    path: str,
    body: Json,
    *,
    request_id: str = "",
    operation_id: str = "",
    author: str = "",
) -> Plan:
    return await north.write(
        lambda view, ids: plan_put(
            view, ids, path, body, request_id=request_id, operation_id=operation_id, author=author
        ),
        request_id=request_id,
        operation_id=operation_id,
    )


async def remove(north: North, path: str, *, request_id: str = "", operation_id: str = "") -> Plan:
    return await north.write(
        lambda view, ids: plan_delete(view, ids, path),
        request_id=request_id,
        operation_id=operation_id,
    )


async def furnish(north: North) -> None:
    """An underlay, a MAC pool, and `SUBNET`."""
    for path, properties in (
        ("/logicalNetworks/u", {"networkVirtualizationEnabled": "True"}),
        (
            "/macPools/m",
            {"startMacAddress": "02-00-00-00-00-00", "endMacAddress": "02-00-00-00-FF-FF"},
        ),
        (
            "/virtualNetworks/v",
            {
                "addressSpace": {"addressPrefixes": ["10.0.0.0/16"]},
                "logicalNetwork": {"resourceRef": "/logicalNetworks/u"},
                "subnets": [{"resourceId": "s", "properties": {"addressPrefix": "10.0.0.0/24"}}],
            },
        ),
    ):
        await put(north, path, {"properties": properties})


async def whoever_creates_a_resource_owns_it_whoever_writes_it_later(north: North) -> None:
    def owners() -> list[str]:
        found = (north.view.get(key) for key in (NIC_KEY, f"{NIC_KEY}/ipconfigurations/c"))
        return [row.owner for row in found if row is not None]

    for author in ("ann", "bob", ""):
        await put(north, NIC, interface("10.0.0.9"), author=author)
        assert owners() == ["ann", "ann"]
    await remove(north, NIC)
    await put(north, NIC, interface("10.0.0.9"), author="bob")
    assert owners() == ["bob", "bob"]
    subnet = north.view.get(SUBNET.lower())
    assert subnet is not None
    assert subnet.owner == ""  # nobody was known who made it


async def an_acknowledged_write_is_in_the_view(north: North) -> None:
    plan = await put(north, NIC, interface("10.0.0.9"), request_id="r", operation_id="o")
    assert (plan.status, plan.ref) == (201, NIC_KEY)
    row = north.view.get(NIC_KEY)
    assert row is not None
    assert (row.request_id, row.operation_id, row.status) == ("r", "o", 201)
    assert row in plan.inserts
    assert f"{NIC_KEY}/ipconfigurations/c" in north.view.referrers(SUBNET.lower())


async def a_refused_write_leaves_nothing(north: North) -> None:
    await put(north, NIC, interface("10.0.0.9"))
    for path, body, kind in (
        ("/networkInterfaces/m", interface("10.0.0.9"), Conflict),
        ("/networkInterfaces/m", {"properties": {"isPrimary": "perhaps"}}, Invalid),
    ):
        with pytest.raises(kind):
            await put(north, path, body)
    with pytest.raises(Conflict):
        await remove(north, SUBNET)
    assert north.view.get("/networkinterfaces/m") is None
    assert north.view.get(SUBNET.lower()) is not None


async def a_batch_is_all_or_nothing(north: North) -> None:
    bad = Put(path="/networkInterfaces/b", body={"properties": {"isPrimary": "perhaps"}})
    good = [Put(path=f"/networkInterfaces/a{k}", body=interface()) for k in range(3)]
    with pytest.raises(Invalid):
        await north.write(lambda view, ids: plan_batch(view, ids, [*good, bad]))
    assert list(north.view.collection("networkInterfaces")) == []
    await north.write(lambda view, ids: plan_batch(view, ids, good))
    found = [row.resource_id for row in north.view.collection("networkInterfaces")]
    assert found == ["a0", "a1", "a2"]


async def whatever_a_planner_raises_is_raised(north: North) -> None:
    def broken(view: View, ids: Ids) -> Plan:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await north.write(broken)
    await put(north, NIC, interface())


async def a_plan_that_changes_nothing_is_done(north: North) -> None:
    await put(north, NIC, interface())
    before = north.view.get(NIC_KEY)
    plan = Plan(status=201, ref=NIC_KEY)
    assert await north.write(lambda view, ids: plan, request_id="r", operation_id="o") == plan
    assert north.view.get(NIC_KEY) == before
    assert north.deletion("r") is None
    assert north.operation("o") is None


async def writes_that_come_together_share_no_address(north: North) -> None:
    answers = await asyncio.gather(
        *(put(north, f"/networkInterfaces/n{k}", interface()) for k in range(20)),
        *(put(north, f"/networkInterfaces/m{k}", interface("10.0.0.200")) for k in range(5)),
        return_exceptions=True,
    )
    refused = [one for one in answers if isinstance(one, BaseException)]
    assert [type(one) for one in refused] == [Conflict] * 4
    configs = [
        config
        for row in north.view.collection("networkInterfaces")
        for config in north.view.children(row.key, "networkInterfaces/ipConfigurations")
    ]
    held = Counter(one for config in configs for one in config.allocations)
    assert len(configs) == 21
    assert max(held.values()) == 1


async def writes_and_deletions_are_found_by_what_they_were_called(north: North) -> None:
    await put(north, NIC, interface(), request_id="r1", operation_id="o1")
    found = north.operation("o1")
    assert isinstance(found, list)
    assert [row.key for row in found] == [NIC_KEY]
    await put(north, NIC, interface(), request_id="r2", operation_id="o2")
    assert north.operation("o1") is None
    await remove(north, NIC, request_id="r3", operation_id="o3")
    deletion = north.deletion("r3")
    assert deletion is not None
    assert (deletion.key, deletion.status, deletion.operation_id) == (NIC_KEY, 200, "o3")
    assert north.operation("o3") == deletion
    assert north.operation("o2") is None
    for unknown in ("", "r1", "r2", "r4"):
        assert north.deletion(unknown) is None


async def deleting_what_is_absent_changes_nothing(north: North) -> None:
    plan = await remove(north, NIC, request_id="r", operation_id="o")
    assert plan.status == 204
    assert north.deletion("r") is None


async def of_two_that_stand_against_each_other_one_holds(north: North) -> None:
    for number in range(10):
        name = f"/networkInterfaces/n{number}"
        made, gone = await asyncio.gather(
            put(north, name, interface()), remove(north, SUBNET), return_exceptions=True
        )
        subnet = north.view.get(SUBNET.lower())
        assert (subnet is None) == (not isinstance(gone, IsthmusError))
        assert (north.view.get(name.lower()) is None) == isinstance(made, IsthmusError)
        assert isinstance(made, IsthmusError) or isinstance(gone, IsthmusError)
        if subnet is not None:
            await remove(north, name)
        await furnish(north)


async def of_two_lists_for_one_tag_at_once_one_is_refused(north: North) -> None:
    await put(north, "/securityTags/t", {"properties": {}})
    body: Json = {"properties": {"securityTags": [{"resourceRef": "/securityTags/t"}]}}
    answers = await asyncio.gather(
        *(put(north, f"/accessControlLists/a{k}", body) for k in range(5)), return_exceptions=True
    )
    refused = [one for one in answers if isinstance(one, IsthmusError)]
    assert [one.code for one in refused] == ["SecurityTagAlreadyHasAclApplied"] * 4
    assert len(list(north.view.collection("accessControlLists"))) == 1


async def a_list_is_applied_by_a_tag_that_comes_with_it(north: North) -> None:
    """The tag is new, and what refers to it is another resource that the same write changes."""
    await put(north, "/accessControlLists/a", {"properties": {"inboundDefaultAction": "Deny"}})
    applied: Json = {"accessControlList": {"resourceRef": "/accessControlLists/a"}}
    for tag in ("/securityTags/t", "/securityTags/u"):
        await put(north, tag, {"properties": applied})
    found = north.view.get("/accesscontrollists/a")
    assert found is not None
    assert found.requires == {"/securitytags/t", "/securitytags/u"}
    assert b"inboundDefaultAction" in found.properties
    for refused in ("/securityTags/t", "/accessControlLists/a"):
        with pytest.raises(Conflict):
            await remove(north, refused)
    await put(north, "/accessControlLists/a", {"properties": {}})
    for gone in ("/securityTags/t", "/accessControlLists/a"):
        await remove(north, gone)


async def a_pair_that_names_each_other_is_changed_and_goes_as_one(north: North) -> None:
    def pair(four: str, six: str) -> Json:
        return {
            "properties": {
                "addressSpace": {"addressPrefixes": ["10.0.0.0/8", "fd00::/48"]},
                "logicalNetwork": {"resourceRef": "/logicalNetworks/u"},
                "subnets": [
                    {
                        "resourceId": name,
                        "properties": {
                            "addressPrefix": prefix,
                            "dualStackSubnet": {
                                "resourceRef": f"/virtualNetworks/d/subnets/{other}"
                            },
                        },
                    }
                    for name, prefix, other in (("four", four, "six"), ("six", six, "four"))
                ],
            }
        }

    configs: Json = [
        {
            "resourceId": name,
            "properties": {"subnet": {"resourceRef": f"/virtualNetworks/d/subnets/{name}"}},
        }
        for name in ("six", "four")
    ]
    await put(north, "/virtualNetworks/d", pair("10.1.0.0/24", "fd00:0:0:1::/64"))
    await put(north, "/virtualNetworks/d", pair("10.2.0.0/24", "fd00:0:0:2::/64"))
    await put(north, NIC, {"properties": {"ipConfigurations": configs}})
    held = {
        allocation.value
        for row in north.view.children(NIC_KEY, "networkInterfaces/ipConfigurations")
        for allocation in row.allocations
        if allocation.scope.startswith("ip ")
    }
    assert held == {str(int(ip_address(text))) for text in ("10.2.0.4", "fd00:0:0:2::4")}
    for refused in ("/virtualNetworks/d", "/virtualNetworks/d/subnets/six"):
        with pytest.raises(Conflict):
            await remove(north, refused)
    await remove(north, NIC)
    await remove(north, "/virtualNetworks/d")
    assert north.view.get("/virtualnetworks/d/subnets/four") is None


async def subnets_that_an_interface_joins_are_one_segment(north: North) -> None:
    subnets: Json = [
        {"resourceId": name, "properties": {"addressPrefix": prefix}}
        for name, prefix in (("four", "10.1.0.0/24"), ("six", "fd00:0:0:1::/64"))
    ]
    network: Json = {
        "properties": {
            "addressSpace": {"addressPrefixes": ["10.0.0.0/8", "fd00::/48"]},
            "logicalNetwork": {"resourceRef": "/logicalNetworks/u"},
            "subnets": subnets,
        }
    }
    six, four = ({"resourceRef": f"/virtualNetworks/d/subnets/{name}"} for name in ("six", "four"))
    await put(north, "/virtualNetworks/d", network)
    await put(
        north,
        NIC,
        {"properties": {"ipConfigurations": [{"resourceId": "a", "properties": {"subnet": six}}]}},
    )
    # The subnet of the stored address is replaced, and the address refers to the new one.
    await put(north, f"{NIC}/ipConfigurations/b", {"properties": {"subnet": four}})
    rows = north.view.children(NIC_KEY, "networkInterfaces/ipConfigurations")
    assert {key for row in rows for key in row.requires} == {
        *("/virtualnetworks/d/subnets/six", "/virtualnetworks/d/subnets/four"),
    }
    assert all(b'"segment":"/virtualnetworks/d/subnets/four"' in row.properties for row in rows)
    for refused in ("/virtualNetworks/d/subnets/four", "/virtualNetworks/d/subnets/six"):
        with pytest.raises(Conflict):
            await remove(north, refused)
    await remove(north, NIC)
    await remove(north, "/virtualNetworks/d/subnets/four")
    await remove(north, "/virtualNetworks/d")


CONTRACT: tuple[Rule, ...] = (
    whoever_creates_a_resource_owns_it_whoever_writes_it_later,
    an_acknowledged_write_is_in_the_view,
    a_refused_write_leaves_nothing,
    a_batch_is_all_or_nothing,
    whatever_a_planner_raises_is_raised,
    a_plan_that_changes_nothing_is_done,
    writes_that_come_together_share_no_address,
    writes_and_deletions_are_found_by_what_they_were_called,
    deleting_what_is_absent_changes_nothing,
    of_two_that_stand_against_each_other_one_holds,
    of_two_lists_for_one_tag_at_once_one_is_refused,
    a_list_is_applied_by_a_tag_that_comes_with_it,
    a_pair_that_names_each_other_is_changed_and_goes_as_one,
    subnets_that_an_interface_joins_are_one_segment,
)
"""Each is given a furnished store of its own."""
