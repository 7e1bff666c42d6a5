# SPDX-License-Identifier: Apache-2.0
"""securityTags, and what carries and names them (MS-NCNBI section B.20)."""

from __future__ import annotations

import pytest

from isthmus.errors import IsthmusError
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
    # read-only: what a client sends back does nothing
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
    going: list[Request] = [Delete(path=TAG), Delete(path=user)]
    with pytest.raises(IsthmusError) as caught:
        plan_batch(tagged.store, tagged.ids, going)
    assert (caught.value.code, caught.value.target) == (
        "InUseSecurityTagCannotBeDeleted",
        "[0]./securityTags/t",
    )
    tagged.store.apply(plan_batch(tagged.store, tagged.ids, going[::-1]))
    assert tagged.delete(TAG) == 204


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
