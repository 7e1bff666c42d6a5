# SPDX-License-Identifier: Apache-2.0
"""Who is who: ids, child sets, order, singletons (MS-NCNBI sections A.1, A.2 and A.5)."""

from __future__ import annotations

import pytest

from isthmus.errors import Invalid, NotFound
from isthmus.intent.model import Json
from isthmus.intent.paths import listed, resolve
from isthmus.intent.planning import plan_put
from tests.intent.cloud import SUBNET, Cloud, child, interface, network, ref

GUID = "abcdef01-2345-6789-abcd-ef0123456789"


def test_paths_are_found_in_any_letter_case_and_keep_the_first_spelling(cloud: Cloud) -> None:
    assert (
        cloud.put_body("/VirtualNetworks/Blue/", {"properties": network("10.0.0.0/8")}).status
        == 201
    )
    assert (
        cloud.put_body("/virtualnetworks/BLUE", {"properties": network("10.0.0.0/8")}).status == 200
    )
    cloud.put("/VIRTUALNETWORKS/bLUE/SUBNETS/Web", {"addressPrefix": "10.1.0.0/16"})
    answer = cloud.get("/virtualNetworks/blue/subnets/web")
    assert answer["resourceRef"] == "/virtualNetworks/Blue/subnets/Web"
    assert answer["resourceId"] == "Web"


@pytest.mark.parametrize("path", ["/", "/loadBalancers/a", "/virtualNetworks/v/peerings/p", "/x"])
def test_a_collection_that_is_not_here_is_not_found(cloud: Cloud, path: str) -> None:
    with pytest.raises(NotFound):
        resolve(path)


def test_a_path_says_what_it_names() -> None:
    target = resolve("/networkinterfaces/N/IPconfigurations/")
    assert target.is_collection
    assert target.ref == "/networkInterfaces/N/ipConfigurations"
    assert target.parent == "/networkinterfaces/n"
    assert resolve("/servers").parent is None
    assert resolve("/servers/a").parent is None
    assert resolve("/virtualNetworkManager").resource_id == "configuration"


def test_a_collection_lists_its_members(cloud: Cloud) -> None:
    cloud.put("/servers/b")
    cloud.put("/servers/a")
    assert [row.ref for row in listed(cloud.store, resolve("/servers/"))] == [
        "/servers/a",
        "/servers/b",
    ]
    subnets = listed(cloud.store, resolve("/virtualNetworks/v/subnets"))
    assert [row.resource_id for row in subnets] == ["s"]
    with pytest.raises(NotFound):
        listed(cloud.store, resolve("/virtualNetworks/w/subnets"))


def test_the_ids_of_path_and_body_must_be_equal(cloud: Cloud) -> None:
    assert cloud.refused("/servers/a", resourceId="b").code == "InvalidResourceName"
    cloud.put("/servers/a", resourceId="A")
    assert cloud.row("/servers/a").ref == "/servers/A"


def test_an_id_that_could_not_stand_in_a_path_is_refused_in_the_path(cloud: Cloud) -> None:
    assert cloud.refused("/servers/a?b").code == "InvalidResourceName"


def test_a_collection_cannot_be_put(cloud: Cloud) -> None:
    assert cloud.refused("/servers").code == "OperationNotSupported"


def test_a_child_needs_its_parent(cloud: Cloud) -> None:
    error = cloud.refused("/virtualNetworks/w/subnets/s", {"addressPrefix": "10.0.0.0/24"})
    assert (error.status, error.target) == (404, "/virtualnetworks/w")
    assert cloud.delete("/virtualNetworks/w/subnets/s") == 204


def test_an_instance_id_never_changes_not_even_a_childs(cloud: Cloud) -> None:
    before = {key: row.instance_id for key, row in cloud.store.rows.items()}
    cloud.put(
        "/virtualNetworks/v",
        network("10.0.0.0/16", subnets={"S": "10.0.1.0/24", "t": "10.0.2.0/24"}),
    )
    cloud.put("/virtualNetworks/v/subnets/s", {"addressPrefix": "10.0.1.0/24"}, instanceId=GUID)
    assert {key: cloud.row(key).instance_id for key in before} == before


def test_a_guid_that_the_client_chose_is_honoured_when_it_is_unused(cloud: Cloud) -> None:
    cloud.put("/servers/a", instanceId=GUID.upper())
    assert cloud.row("/servers/a").instance_id == GUID
    cloud.put("/servers/b", instanceId=GUID)
    assert cloud.row("/servers/b").instance_id != GUID
    cloud.delete("/servers/a")
    cloud.put("/servers/c", instanceId=GUID)
    assert cloud.row("/servers/c").instance_id == GUID


def test_two_resources_of_one_request_cannot_choose_one_guid(cloud: Cloud) -> None:
    twice: Json = [
        {**child("a", addressPrefix="10.1.0.0/16"), "instanceId": GUID},
        {**child("b", addressPrefix="10.2.0.0/16"), "instanceId": GUID},
    ]
    cloud.put("/virtualNetworks/w", {**network("10.0.0.0/8"), "subnets": twice})
    subnets = [cloud.row(f"/virtualNetworks/w/subnets/{name}").instance_id for name in "ab"]
    assert subnets[0] == GUID
    assert subnets[1] != GUID


def test_a_put_replaces_the_set_of_children_in_its_order(cloud: Cloud) -> None:
    cloud.put(
        "/virtualNetworks/v",
        network("10.0.0.0/16", subnets={"x": "10.0.3.0/24", "a": "10.0.4.0/24"}),
    )
    cloud.put("/virtualNetworks/v/subnets/m", {"addressPrefix": "10.0.5.0/24"})
    names = [row.resource_id for row in listed(cloud.store, resolve("/virtualNetworks/v/subnets"))]
    assert names == ["x", "a", "m"]
    cloud.put("/virtualNetworks/v", network("10.0.0.0/16"))
    assert listed(cloud.store, resolve("/virtualNetworks/v/subnets")) == []


def test_a_put_replaces_every_field(cloud: Cloud) -> None:
    cloud.put(
        "/servers/a", {"model": "m", "vendor": "v"}, tags={"k": 1}, resourceMetadata={"client": "c"}
    )
    assert cloud.get("/servers/a")["tags"] == {"k": 1}
    assert cloud.get("/servers/a")["resourceMetadata"] == {"client": "c"}
    changed = cloud.put("/servers/a", {"model": "n"})
    assert changed["model"] == "n"
    assert "vendor" not in changed
    assert "tags" not in cloud.get("/servers/a")


def test_a_singleton_is_there_before_it_is_written_and_cannot_go(cloud: Cloud) -> None:
    path = "/virtualNetworkManager/configuration"
    before = cloud.get(path)
    assert cloud.put_body(path, before).status == 200
    assert cloud.get(path)["instanceId"] == before["instanceId"]
    assert cloud.delete_refused(path).code == "OperationNotSupported"
    assert cloud.refused("/virtualNetworkManager/other").status == 404
    with pytest.raises(Invalid):
        plan_put(cloud.store, cloud.ids, path, {"properties": {"enableMetering": True}})


def test_what_a_request_was_called_is_kept_with_what_it_wrote(cloud: Cloud) -> None:
    body: Json = {"properties": interface()}
    plan = plan_put(
        cloud.store, cloud.ids, "/networkInterfaces/n", body, request_id="r", operation_id="o"
    )
    cloud.store.apply(plan)
    row = cloud.row("/networkInterfaces/n")
    assert (row.request_id, row.operation_id, row.status) == ("r", "o", 201)
    assert (plan.ref, plan.status, plan.outcomes[0].ref) == (row.key, 201, row.key)


def test_children_of_an_interface_can_be_written_alone(cloud: Cloud) -> None:
    cloud.put("/networkInterfaces/n", interface())
    before = cloud.row("/networkInterfaces/n")
    config = {"subnet": ref(SUBNET), "privateIPAddress": "10.0.1.77"}
    cloud.put("/networkInterfaces/n/ipConfigurations/second", config)
    assert [
        row.resource_id
        for row in listed(cloud.store, resolve("/networkInterfaces/n/ipConfigurations"))
    ] == ["ip", "second"]
    assert cloud.row("/networkInterfaces/n").etag != before.etag
    assert cloud.row("/networkInterfaces/n").instance_id == before.instance_id
    assert cloud.delete("/networkInterfaces/n/ipConfigurations/ip") == 200


@pytest.mark.parametrize("dress", ["{}", "{{{}}}"])
def test_an_instance_id_of_zeros_is_none_at_all(cloud: Cloud, dress: str) -> None:
    # what serialisers of .NET clients send for none
    zeros = dress.format("00000000-0000-0000-0000-000000000000")
    for name in ("a", "b"):
        cloud.put(f"/servers/{name}", instanceId=zeros)
        assert cloud.row(f"/servers/{name}").instance_id.strip("0-") != ""
    before = cloud.row("/servers/a").instance_id
    cloud.put("/servers/a", instanceId=zeros)
    assert cloud.row("/servers/a").instance_id == before


def test_null_leaves_children_as_they_are_and_an_empty_list_does_not(cloud: Cloud) -> None:
    """Windows Admin Center's Update-LogicalNetwork sends ``subnets: null``."""
    pool = child("p", startIpAddress="10.8.0.10", endIpAddress="10.8.0.19")
    subnet = {**child("a", addressPrefix="10.8.0.0/24", vlanID=7, ipPools=[pool]), "tags": {"x": 1}}
    path = "/logicalNetworks/front"
    cloud.put(path, {"subnets": [subnet, child("b", addressPrefix="10.9.0.0/24")]})
    address = {"privateIPAddress": "10.8.0.15"}
    cloud.put("/networkInterfaces/n", interface(f"{path}/subnets/a", **address))
    before = dict(cloud.store.rows)
    cloud.put(path, {"networkVirtualizationEnabled": "False", "subnets": None})
    assert cloud.store.rows.keys() == before.keys()
    for key, row in cloud.store.rows.items():
        if key.startswith(path.lower() + "/"):
            was = before[key]
            assert (row.instance_id, row.properties, row.tags, row.position, row.allocations) == (
                *(was.instance_id, was.properties, was.tags, was.position, was.allocations),
            )
            assert row.etag == cloud.row(path).etag != was.etag
    # of one child of several, what is below it
    listed: Json = [child("a", addressPrefix="10.8.0.0/24", vlanID=7, ipPools=None)]
    cloud.put(path, {"subnets": listed})
    assert cloud.store.get(f"{path}/subnets/a/ipPools/p".lower()) is not None
    assert cloud.store.get(f"{path}/subnets/b".lower()) is None
    cloud.delete("/networkInterfaces/n")
    cloud.put(path, {"subnets": []})
    assert not [key for key in cloud.store.rows if key.startswith(path.lower() + "/")]


def test_null_children_still_obey_the_rules_of_their_parent(cloud: Cloud) -> None:
    changed: Json = {**network("10.1.0.0/16"), "subnets": None}
    error = cloud.refused("/virtualNetworks/v", changed)
    assert (error.code, error.target) == (
        "InvalidIPPrefix",
        "properties.subnets[0].properties.addressPrefix",
    )
    made = cloud.put("/virtualNetworks/w", {**network("10.1.0.0/16"), "subnets": None})
    assert made["subnets"] == []
