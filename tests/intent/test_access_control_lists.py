# SPDX-License-Identifier: Apache-2.0
"""accessControlLists, and who is under them (MS-NCNBI section B.1)."""

from __future__ import annotations

import pytest

from isthmus.errors import IsthmusError
from isthmus.intent.model import Json
from isthmus.intent.planning import Delete, Put, Request, plan_batch
from tests.intent.cloud import SUBNET, Cloud, child, interface, ref
from tests.intent.lists import LIST, RULE, properties, rule, rules

LOGICAL_SUBNET = "/logicalNetworks/L/subnets/s"


# -- lists -----------------------------------------------------------------------------------------


def test_an_empty_list_permits(cloud: Cloud) -> None:
    cloud.put(LIST)
    assert properties(cloud, LIST) == {
        "provisioningState": "Succeeded",
        "inboundDefaultAction": "Permit",
        "outboundDefaultAction": "Permit",
        "securityTags": [],
        "aclRules": [],
        "ipConfigurations": [],
        "subnets": [],
    }


@pytest.mark.parametrize("word", ["deny", "Deny", "DENY"])
def test_a_default_action_is_read_in_any_letter_case(cloud: Cloud, word: str) -> None:
    made = cloud.put(LIST, {"INBOUNDdefaultaction": word, "outboundDefaultAction": "permit"})
    assert made["inboundDefaultAction"] == "Deny"
    assert made["outboundDefaultAction"] == "Permit"
    # rules say Allow, and clients copy it
    assert cloud.put(LIST, {"inboundDefaultAction": "Allow"})["inboundDefaultAction"] == "Permit"


@pytest.mark.parametrize("name", ["inboundDefaultAction", "outboundDefaultAction"])
def test_a_default_action_that_is_none_is_refused(cloud: Cloud, name: str) -> None:
    error = cloud.refused(LIST, {name: "Drop"})
    assert (error.code, error.target) == ("InvalidAclRuleAction", f"properties.{name}")


# -- who is under a list ---------------------------------------------------------------------------


def under(cloud: Cloud) -> None:
    """`LIST` on two addresses and a subnet."""
    cloud.put(LIST, rules(rule()))
    cloud.put(SUBNET, {"addressPrefix": "10.0.1.0/24", "accessControlList": ref(LIST)})
    for name in "ba":
        cloud.put(f"/networkInterfaces/{name}", interface(accessControlList=ref(LIST)))


def test_a_list_names_all_that_is_under_it(cloud: Cloud) -> None:
    under(cloud)
    read = properties(cloud, LIST)
    assert read["ipConfigurations"] == [
        ref(f"/networkInterfaces/{name}/ipConfigurations/ip") for name in "ab"
    ]
    assert read["subnets"] == [ref(SUBNET)]
    assert properties(cloud, SUBNET)["accessControlList"] == ref(LIST)
    # what a client writes there is dropped
    cloud.put(LIST, {"ipConfigurations": [], "subnets": [ref("/nowhere")]})
    assert properties(cloud, LIST)["subnets"] == [ref(SUBNET)]


def test_a_list_in_use_is_not_deleted_but_changed(cloud: Cloud) -> None:
    under(cloud)
    users = (
        *(f"/networkInterfaces/{name}" for name in "ab"),
        SUBNET,
    )
    for user in users:
        error = cloud.delete_refused(LIST)
        assert (error.code, error.status) == ("InUseAccessControlListCannotBeDeleted", 409)
        cloud.delete(user)
    cloud.put(LIST, rules(rule(priority=1), rule(priority=2)))
    assert cloud.delete(LIST) == 200
    assert not [key for key in cloud.store.rows if key.startswith("/accesscontrollists")]


def test_a_list_is_let_go_by_a_put_without_it(cloud: Cloud) -> None:
    under(cloud)
    cloud.put(SUBNET, {"addressPrefix": "10.0.1.0/24"})
    for name in "ab":
        cloud.put(f"/networkInterfaces/{name}", interface())
    assert cloud.delete(LIST) == 200


@pytest.mark.parametrize(
    ("path", "at"),
    [
        ("/networkInterfaces/n", "properties.ipConfigurations[0].properties.accessControlList"),
        (SUBNET, "properties.accessControlList"),
    ],
)
def test_a_reference_to_a_list_that_is_not_there_is_refused(
    cloud: Cloud, path: str, at: str
) -> None:
    for sent, code in (
        ("/accessControlLists/nope", "InvalidResourceReference"),
        ("/securityTags/t", "InvalidRequestFormat"),
        (RULE, "InvalidRequestFormat"),
    ):
        written: dict[str, Json] = {"addressPrefix": "10.0.1.0/24", "accessControlList": ref(sent)}
        if path.startswith("/networkInterfaces"):
            written = interface(accessControlList=ref(sent))
        error = cloud.refused(path, written)
        assert (error.code, error.target) == (code, at)


def test_references_are_found_in_any_letter_case(cloud: Cloud) -> None:
    cloud.put("/accessControlLists/Web")
    sent = ref("/networking/v1/ACCESSCONTROLLISTS/web/")
    made = cloud.put("/networkInterfaces/n", interface(accessControlList=sent))
    assert made["ipConfigurations", 0, "accessControlList"] == ref("/accessControlLists/web")
    assert cloud.delete_refused("/accesscontrollists/WEB").status == 409


# -- logical networks, which nobody filters --------------------------------------------------------


def test_a_list_is_not_taken_where_it_would_not_be_enforced(cloud: Cloud) -> None:
    cloud.put(LIST, rules(rule()))
    cloud.put("/logicalNetworks/L", {"subnets": [child("s", addressPrefix="10.9.0.0/24")]})
    subnet = {"addressPrefix": "10.9.0.0/24", "accessControlList": ref(LIST)}
    error = cloud.refused(LOGICAL_SUBNET, subnet)
    assert (error.code, error.target) == ("OperationNotSupported", "properties.accessControlList")
    address: dict[str, Json] = {"privateIPAddress": "10.9.0.9", "accessControlList": ref(LIST)}
    for of_virtual in (False, True):
        if of_virtual:  # and of an address that moves there
            fixed = interface(privateIPAddress="10.0.1.9", accessControlList=ref(LIST))
            cloud.put("/networkInterfaces/n", fixed)
        error = cloud.refused("/networkInterfaces/n", interface(LOGICAL_SUBNET, **address))
        assert (error.code, error.status) == ("OperationNotSupported", 400)
        assert error.target == "properties.ipConfigurations[0].properties.accessControlList"
    # a client that fills in forms says that it wants none
    cloud.put(LOGICAL_SUBNET, {**subnet, "accessControlList": {"resourceRef": ""}})


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        ({"securityTags": [ref("/securityTags/t")]}, "securityTags"),
        ({"allowedServers": [ref("/servers/h")]}, "allowedServers"),
        ({"allowedAddressPairs": [{"ipAddress": "10.9.0.8"}]}, "allowedAddressPairs"),
        ({"portSettings": {"stormLimit": 7}}, "portSettings.stormLimit"),
        ({"portSettings": {"dhcpGuardEnabled": "Enabled"}}, "portSettings.dhcpGuardEnabled"),
    ],
)
def test_nor_is_anything_else_that_an_interface_asks_for_there(
    tagged: Cloud, asked: dict[str, Json], name: str
) -> None:
    tagged.put("/servers/h")
    tagged.put("/logicalNetworks/L", {"subnets": [child("s", addressPrefix="10.9.0.0/24")]})
    there = interface(LOGICAL_SUBNET, privateIPAddress="10.9.0.9")
    error = tagged.refused("/networkInterfaces/n", {**there, **asked})
    assert (error.code, error.status) == ("OperationNotSupported", 400)
    assert name in error.message
    tagged.put("/networkInterfaces/n", there)
    tagged.put("/networkInterfaces/m", {**interface(), **asked})


# -- lists of tags ---------------------------------------------------------------------------------


def applied(*tags: str) -> Json:
    return {"securityTags": [ref(f"/securityTags/{tag}") for tag in tags]}


def test_a_tag_has_one_list(tagged: Cloud) -> None:
    tagged.put("/accessControlLists/a", applied("t", "T", "u"))
    error = tagged.refused("/accessControlLists/b", applied("x", "t"))
    assert error.code == "InvalidResourceReference"
    tagged.put("/securityTags/x")
    error = tagged.refused("/accessControlLists/b", applied("x", "T"))
    assert (error.code, error.status, error.target) == (
        "SecurityTagAlreadyHasAclApplied",
        409,
        "properties.securityTags[1]",
    )
    # what it has it keeps, and what it gives up another may have
    tagged.put("/accessControlLists/a", applied("u", "t"))
    tagged.put("/accessControlLists/a", applied("u"))
    tagged.put("/accessControlLists/b", applied("x", "t"))
    tagged.put("/accessControlLists/a")
    tagged.put("/accessControlLists/c", applied("u"))


def test_a_tag_has_one_list_in_one_batch_too(tagged: Cloud) -> None:
    def put(name: str, *tags: str) -> Put:
        return Put(path=f"/accessControlLists/{name}", body={"properties": applied(*tags)})

    with pytest.raises(IsthmusError) as caught:
        plan_batch(tagged.store, tagged.ids, [put("a", "t"), put("b", "u", "t")])
    assert caught.value.code == "SecurityTagAlreadyHasAclApplied"
    assert caught.value.target == "[1].properties.securityTags[1]"
    handed_on: list[Request] = [put("a", "t"), put("a", "u"), put("b", "t")]
    tagged.store.apply(plan_batch(tagged.store, tagged.ids, handed_on))
    given_up: list[Request] = [put("a"), Delete(path="/accessControlLists/a"), put("c", "u")]
    tagged.store.apply(plan_batch(tagged.store, tagged.ids, given_up))
    assert properties(tagged, "/securityTags/u")["accessControlList"] == ref(
        "/accessControlLists/c"
    )


def test_of_two_lists_planned_for_a_tag_at_once_one_is_refused(tagged: Cloud) -> None:
    plans = [tagged.plan(f"/accessControlLists/{name}", applied("t")) for name in "ab"]
    tagged.store.apply(plans[0])
    with pytest.raises(IsthmusError) as caught:
        tagged.store.apply(plans[1])
    assert caught.value.status == 503  # plan again: then it is the 409
    assert tagged.refused("/accessControlLists/b", applied("t")).status == 409
