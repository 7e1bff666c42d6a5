# SPDX-License-Identifier: Apache-2.0
"""securityTags, and what carries and names them (MS-NCNBI section B.20)."""

from __future__ import annotations

import pytest

from isthmus.errors import IsthmusError, PreconditionFailed
from isthmus.intent.model import Json
from isthmus.intent.planning import Delete, Put, Request, plan_batch
from isthmus.intent.versions import V4, V5, Version
from tests.intent.cloud import Answer, Cloud, child, ref

TAG = "/securityTags/t"


def properties(cloud: Cloud, path: str) -> Answer:
    found = cloud.get(path)["properties"]
    assert isinstance(found, dict)
    return found


def rule(source: str = "", destination: str = "") -> dict[str, Json]:
    """Properties of a rule from a tag, to a tag, or both."""
    ends: dict[str, Json] = {
        "sourceAddressPrefix": None if source else "*",
        "destinationAddressPrefix": None if destination else "*",
        "sourceSecurityTags": [ref(f"/securityTags/{source}")] if source else [],
        "destinationSecurityTags": [ref(f"/securityTags/{destination}")] if destination else [],
    }
    return {
        "type": "Inbound",
        "action": "Allow",
        "protocol": "All",
        "priority": "100",
        "sourcePortRange": "*",
        "destinationPortRange": "*",
        **ends,
    }


@pytest.fixture
def tagged(cloud: Cloud) -> Cloud:
    """With the tags ``t`` and ``u``."""
    for name in "tu":
        cloud.put(f"/securityTags/{name}")
    return cloud


def test_a_tag_that_nothing_uses_is_answered_exactly(cloud: Cloud) -> None:
    made = cloud.put(TAG, {"TYPE": "FriendlyName"}, tags={"owner": "x"})
    assert made["type"] == "FriendlyName"
    assert properties(cloud, "/SECURITYTAGS/T") == {
        "provisioningState": "Succeeded",
        "type": "FriendlyName",
        "networkInterfaces": [],
        "aclRulesAsSource": [],
        "aclRulesAsDestination": [],
    }
    cloud.put(TAG)
    assert "type" not in properties(cloud, TAG)
    error = cloud.refused(TAG, {"type": ["x"]})
    assert (error.code, error.target) == ("InvalidRequestFormat", "properties.type")


def test_a_tag_names_all_that_uses_it(tagged: Cloud) -> None:
    for name in "ba":
        tagged.put(f"/networkInterfaces/{name}", {"securityTags": [ref("/SECURITYTAGS/T")]})
    lists = {
        "one": [child("in", **rule("t")), child("out", **rule(destination="t"))],
        "two": [child("both", **rule("t", "t")), child("other", **rule("u"))],
    }
    for name, listed in lists.items():
        tagged.put(f"/accessControlLists/{name}", {"aclRules": listed})
    tagged.put("/accessControlLists/three", {"securityTags": [ref(TAG)]})
    assert properties(tagged, TAG) == {
        "provisioningState": "Succeeded",
        "networkInterfaces": [ref("/networkInterfaces/a"), ref("/networkInterfaces/b")],
        "accessControlList": ref("/accessControlLists/three"),
        "aclRulesAsSource": [
            ref("/accessControlLists/one/aclRules/in"),
            ref("/accessControlLists/two/aclRules/both"),
        ],
        "aclRulesAsDestination": [
            ref("/accessControlLists/one/aclRules/out"),
            ref("/accessControlLists/two/aclRules/both"),
        ],
    }
    # what a client sends back does nothing, and what it leaves out stays
    tagged.put_body(TAG, tagged.get(TAG))
    tagged.put(TAG, {"accessControlList": None, "networkInterfaces": []})
    assert properties(tagged, TAG)["accessControlList"] == ref("/accessControlLists/three")


@pytest.mark.parametrize(
    ("user", "written"),
    [
        ("/networkInterfaces/n", {"securityTags": [ref(TAG)]}),
        ("/accessControlLists/a", {"securityTags": [ref(TAG)]}),
        ("/accessControlLists/a", {"aclRules": [child("r", **rule("t"))]}),
        ("/accessControlLists/a", {"aclRules": [child("r", **rule(destination="t"))]}),
    ],
)
def test_a_tag_in_use_cannot_be_deleted(tagged: Cloud, user: str, written: Json) -> None:
    tagged.put(user, written)
    error = tagged.delete_refused(TAG)
    assert (error.code, error.status) == ("InUseSecurityTagCannotBeDeleted", 409)
    assert user in error.message
    # nor within one batch, unless its user goes first
    gone = Put(path=user, body={"properties": {"aclRules": []}})
    going: list[Request] = [Delete(path=TAG), gone, Delete(path=user)]
    with pytest.raises(IsthmusError) as caught:
        plan_batch(tagged.store, tagged.ids, going)
    assert (caught.value.code, caught.value.target) == (
        "InUseSecurityTagCannotBeDeleted",
        "[0]./securityTags/t",
    )
    tagged.store.apply(plan_batch(tagged.store, tagged.ids, [*going[1:], going[0]]))
    assert tagged.delete(TAG) == 204


def test_a_list_is_applied_by_the_tag_as_by_the_list(cloud: Cloud) -> None:
    # MS-NCNBI 3.1.5.31's own body, and what Windows Admin Center sends
    cloud.put("/accessControlLists/a", {"inboundDefaultAction": "Deny"})
    before = cloud.row("/accessControlLists/a")
    body: dict[str, Json] = {
        "type": "FriendlyName",
        "accessControlList": ref("/AccessControlLists/A"),
    }
    made = cloud.put(TAG, body)
    assert made["accessControlList"] == ref("/accessControlLists/a")
    after = cloud.row("/accessControlLists/a")
    assert properties(cloud, "/accessControlLists/a")["securityTags"] == [ref(TAG)]
    assert after.etag == cloud.row(TAG).etag != before.etag
    # the same as if the list had said it
    tags, by_list = cloud.row(TAG), Cloud()
    by_list.put(TAG, {"type": "FriendlyName"})
    by_list.put(
        "/accessControlLists/a", {"inboundDefaultAction": "Deny", "securityTags": [ref(TAG)]}
    )
    other = by_list.row("/accessControlLists/a")
    assert (after.properties, after.requires) == (other.properties, other.requires)
    assert {one for one in after.allocations if one.scope != "instance"} == {
        one for one in other.allocations if one.scope != "instance"
    }
    assert (tags.properties, tags.requires) == (by_list.row(TAG).properties, frozenset())


def test_a_list_that_a_tag_has_stays_until_the_list_lets_it_go(tagged: Cloud) -> None:
    tagged.put("/accessControlLists/a")
    tagged.put("/accessControlLists/b")
    tagged.put(TAG, {"accessControlList": ref("/accessControlLists/a")})
    listed = tagged.row("/accessControlLists/a")
    for nothing in ({}, {"accessControlList": None}, {"accessControlList": {"resourceRef": ""}}):
        tagged.put(TAG, {**nothing, "type": "x"})
        assert properties(tagged, TAG)["accessControlList"] == ref("/accessControlLists/a")
    tagged.put(TAG, {"accessControlList": ref("/accessControlLists/a")})
    assert tagged.row("/accessControlLists/a") == listed
    error = tagged.refused(TAG, {"accessControlList": ref("/accessControlLists/b")})
    assert (error.code, error.status, error.target) == (
        "SecurityTagAlreadyHasAclApplied",
        409,
        "properties.accessControlList",
    )
    error = tagged.refused(TAG, {"accessControlList": ref("/accessControlLists/nope")})
    assert error.code == "InvalidResourceReference"
    tagged.put("/accessControlLists/a")
    tagged.put(TAG, {"accessControlList": ref("/accessControlLists/b")})
    assert properties(tagged, TAG)["accessControlList"] == ref("/accessControlLists/b")


def test_what_was_read_of_a_tag_is_stale_once_its_list_has_let_it_go(tagged: Cloud) -> None:
    """Else a client that puts back what it read would apply the list anew."""
    tagged.put(TAG, {"accessControlList": ref(tagged_list(tagged))})
    read, other = tagged.get(TAG), tagged.row("/securityTags/u")
    tagged.put("/accessControlLists/a", {"securityTags": []})
    with pytest.raises(PreconditionFailed):
        tagged.put_body(TAG, read)
    assert tagged.row("/securityTags/u") == other


def tagged_list(cloud: Cloud) -> str:
    cloud.put("/accessControlLists/a")
    return "/accessControlLists/a"


def test_a_list_is_applied_by_its_tags_in_one_batch(cloud: Cloud) -> None:
    by_tag: Json = {"properties": {"accessControlList": ref("/accessControlLists/a")}}
    group: list[Request] = [
        Put(path="/accessControlLists/a", body={"properties": {}}),
        Put(path=TAG, body=by_tag),
        Put(path="/securityTags/u", body=by_tag),
    ]
    cloud.store.apply(plan_batch(cloud.store, cloud.ids, group))
    assert properties(cloud, "/accessControlLists/a")["securityTags"] == [
        ref(TAG),
        ref("/securityTags/u"),
    ]


def test_a_tag_is_let_go_by_a_put_without_it(tagged: Cloud) -> None:
    tagged.put("/networkInterfaces/n", {"securityTags": [ref(TAG), ref("/securityTags/u")]})
    tagged.put("/networkInterfaces/n", {"securityTags": [ref("/securityTags/u")]})
    tagged.put("/accessControlLists/a", {"aclRules": [child("r", **rule("t"))]})
    tagged.put("/accessControlLists/a/aclRules/r", rule("u"))
    assert tagged.delete(TAG) == 200


def test_members_come_and_go_without_a_change_of_the_tag(tagged: Cloud) -> None:
    before = tagged.row(TAG)
    tagged.put("/networkInterfaces/n", {"securityTags": [ref(TAG)]})
    tagged.delete("/networkInterfaces/n")
    assert tagged.row(TAG) == before


def test_tags_of_an_interface_are_found_in_any_form(tagged: Cloud) -> None:
    for sent in ([ref(TAG), ref(TAG)], ref("/SecurityTags/T/"), "/networking/v5/securitytags/t"):
        made = tagged.put("/networkInterfaces/n", {"SECURITYTAGS": sent})
        listed = made["securityTags"]
        assert isinstance(listed, list)
        assert {str(one).lower() for one in listed} == {str(ref(TAG)).lower()}
        assert tagged.row("/networkInterfaces/n").requires >= {TAG.lower()}
    assert tagged.put("/networkInterfaces/n")["securityTags"] == []


def test_a_tag_of_an_interface_must_exist_and_be_one(tagged: Cloud) -> None:
    for sent, code in (
        ("/securityTags/nope", "InvalidResourceReference"),
        ("/accessControlLists/a", "InvalidRequestFormat"),
        ("/securityTags", "InvalidJsonReferenceFormat"),
        ("", "InvalidJsonReferenceFormat"),
    ):
        error = tagged.refused("/networkInterfaces/n", {"securityTags": [ref(TAG), ref(sent)]})
        assert (error.code, error.target) == (code, "properties.securityTags[1]")
    error = tagged.refused("/networkInterfaces/n", {"securityTags": [7]})
    assert error.code == "InvalidRequestFormat"
    assert [detail.code for detail in error.details] == ["InvalidJsonReferenceFormat"]


@pytest.mark.parametrize(("version", "kept"), [(V4, True), (V5, False)])
def test_an_older_client_keeps_the_tags_that_it_cannot_see(
    tagged: Cloud, version: Version, kept: bool
) -> None:
    tagged.put("/networkInterfaces/n", {"securityTags": [ref(TAG)]})
    seen = tagged.get("/networkInterfaces/n", version)
    assert isinstance(seen["properties"], dict)
    assert ("securityTags" in seen["properties"]) is not kept
    tagged.put("/networkInterfaces/n", {}, version=version)
    assert properties(tagged, "/networkInterfaces/n")["securityTags"] == (
        [ref(TAG)] if kept else []
    )


def test_a_group_comes_to_be_in_one_batch(cloud: Cloud) -> None:
    def put(path: str, written: Json = None) -> Put:
        return Put(path=path, body={"properties": written})

    group: list[Request] = [
        put(TAG),
        put(
            "/accessControlLists/a",
            {"securityTags": [ref(TAG)], "aclRules": [child("r", **rule("t"))]},
        ),
        put("/networkInterfaces/n", {"securityTags": [ref(TAG)]}),
    ]
    cloud.store.apply(plan_batch(cloud.store, cloud.ids, group))
    assert properties(cloud, TAG)["aclRulesAsSource"] == [ref("/accessControlLists/a/aclRules/r")]
    with pytest.raises(IsthmusError) as caught:
        plan_batch(cloud.store, cloud.ids, [*group, Delete(path=TAG)])
    assert caught.value.code == "InUseSecurityTagCannotBeDeleted"
