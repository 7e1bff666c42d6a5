# SPDX-License-Identifier: Apache-2.0
"""A body without an etag of its own, whose children's etags tell that it is an old one: it may add,
and neither takes away nor changes what is stored."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.errors import PreconditionFailed
from isthmus.intent.model import Json
from tests.intent.cloud import SUBNET, Answer, Cloud, Tree, child, founded, ref

VNET = "/virtualNetworks/v"
ACL = "/accessControlLists/l"
HNVPA = "/logicalNetworks/HNVPA"
POOL_PATH = f"{HNVPA}/subnets/a/ipPools/p"


def rule(port: str, priority: str) -> dict[str, Json]:
    return {
        "type": "Inbound",
        "action": "Allow",
        "protocol": "TCP",
        "priority": priority,
        "sourceAddressPrefix": "*",
        "destinationAddressPrefix": "*",
        "sourcePortRange": "*",
        "destinationPortRange": port,
    }


def pool(first: int) -> dict[str, Json]:
    return {"startIpAddress": f"10.8.0.{first}", "endIpAddress": f"10.8.0.{first + 4}"}


@pytest.fixture
def cloud() -> Cloud:
    return furnished()


def furnished() -> Cloud:
    cloud = founded()
    cloud.put(
        ACL, {"inboundDefaultAction": "Permit", "aclRules": [child("r", **rule("22", "200"))]}
    )
    cloud.put(f"{HNVPA}/subnets/a", {"addressPrefix": "10.8.0.0/24"})
    cloud.put("/networkInterfaces/n", {"ipConfigurations": [child("c", subnet=ref(SUBNET))]})
    cloud.put(
        "/virtualNetworks/w",
        {
            "addressSpace": {"addressPrefixes": ["10.7.0.0/16"]},
            "logicalNetwork": ref(HNVPA),
        },
    )
    return cloud


def read(cloud: Cloud, path: str) -> Answer:
    answer = cloud.get(path)
    del answer["etag"]
    return answer


def at(answer: Answer, *parts: str | int) -> Answer:
    found: Tree = answer["properties"]
    for part in parts:
        found = (
            cast("list[Tree]", found)[part] if isinstance(part, int) else cast(Answer, found)[part]
        )
    return cast(Answer, found)


def entries(answer: Answer, *parts: str | int) -> list[Tree]:
    return cast("list[Tree]", at(answer, *parts))


def deny(body: Answer) -> None:
    at(body)["inboundDefaultAction"] = "Deny"


def tagged(body: Answer) -> None:
    body["tags"] = {"owner": "A"}


def named(body: Answer) -> None:
    body["resourceMetadata"] = {"name": "A"}


def tagged_below(body: Answer) -> None:
    first = next(one for one in at(body).values() if isinstance(one, list) and one)
    cast(Answer, first[0])["tags"] = {"owner": "A"}


def spoofing(body: Answer) -> None:
    at(body, "portSettings")["macSpoofingEnabled"] = "Enabled"


def wider(body: Answer) -> None:
    entries(body, "addressSpace", "addressPrefixes").append("10.9.0.0/16")


def turned(body: Answer) -> None:
    entries(body, "addressSpace", "addressPrefixes")[:] = ["10.6.0.0/16", "10.0.0.0/16"]


def peered(body: Answer) -> None:
    at(body)["virtualNetworkPeerings"] = [
        cast(Answer, child("p", remoteVirtualNetwork=ref("/virtualNetworks/w")))
    ]


def pooled(body: Answer) -> None:
    at(body, "subnets", 0, "properties")["ipPools"] = [cast(Answer, child("p", **pool(10)))]


@pytest.mark.parametrize(
    ("path", "by_one", "kept"),
    [
        (ACL, deny, "inboundDefaultAction of /accessControlLists/l"),
        (ACL, tagged, "tags of /accessControlLists/l"),
        (ACL, named, "resourceMetadata of /accessControlLists/l"),
        (ACL, tagged_below, "tags of /accessControlLists/l/aclRules/r"),
        ("/networkInterfaces/n", spoofing, "portSettings of /networkInterfaces/n"),
        (VNET, wider, "addressSpace of /virtualNetworks/v"),
        (VNET, turned, "addressSpace of /virtualNetworks/v"),
        (VNET, peered, "/virtualNetworks/v/virtualNetworkPeerings/p"),
        (HNVPA, pooled, POOL_PATH),
    ],
)
def test_an_old_body_undoes_nothing_that_another_wrote(
    cloud: Cloud, path: str, by_one: Callable[[Answer], None], kept: str
) -> None:
    if by_one is turned:
        body = read(cloud, path)
        entries(body, "addressSpace", "addressPrefixes").append("10.6.0.0/16")
        cloud.put_body(path, body)
    first, second = read(cloud, path), read(cloud, path)
    by_one(first)
    assert cloud.put_body(path, first).status == 200
    stored = dict(cloud.store.rows)
    with pytest.raises(PreconditionFailed) as refused:
        cloud.put_body(path, second)
    assert kept in refused.value.message
    assert cloud.store.rows == stored


def test_a_pool_that_another_put_below_an_old_subnet_stays(cloud: Cloud) -> None:
    old = read(cloud, HNVPA)
    cloud.put(POOL_PATH, pool(10))
    with pytest.raises(PreconditionFailed, match=f"take away {POOL_PATH}"):
        cloud.put_body(HNVPA, old)


def test_an_old_body_that_changes_a_field_of_its_own_is_told_what_it_would_change(
    cloud: Cloud,
) -> None:
    """Nobody else has written that field: the text says so of nobody."""
    first, second = read(cloud, ACL), read(cloud, ACL)
    entries(first, "aclRules").append(cast(Answer, child("x", **rule("80", "300"))))
    cloud.put_body(ACL, first)
    deny(second)
    entries(second, "aclRules").append(cast(Answer, child("x", **rule("80", "300"))))
    with pytest.raises(PreconditionFailed) as refused:
        cloud.put_body(ACL, second)
    assert "would change inboundDefaultAction of /accessControlLists/l" in refused.value.message
    assert "since" not in refused.value.message


def test_rules_are_added_one_after_the_other_to_a_list_that_was_read_once(cloud: Cloud) -> None:
    body = read(cloud, ACL)
    deny(body)
    body["tags"] = {"owner": "B"}
    assert cloud.put_body(ACL, copy.deepcopy(body)).status == 200
    for number in range(2):
        entries(body, "aclRules").append(
            cast(Answer, child(f"x{number}", **rule("80", f"{300 + number}")))
        )
        assert cloud.put_body(ACL, copy.deepcopy(body)).status == 200
        assert cloud.put_body(ACL, copy.deepcopy(body)).status == 200
    assert len(entries(cloud.get(ACL), "aclRules")) == 3


def test_an_old_body_that_leaves_children_as_they_are_leaves_those_of_another(cloud: Cloud) -> None:
    old = read(cloud, VNET)
    first = read(cloud, VNET)
    peered(first)
    cloud.put_body(VNET, first)
    at(old)["virtualNetworkPeerings"] = None
    assert cloud.put_body(VNET, old).status == 200
    assert len(entries(cloud.get(VNET), "virtualNetworkPeerings")) == 1


def test_a_body_in_which_nothing_is_old_may_change_and_take_away(cloud: Cloud) -> None:
    body = read(cloud, HNVPA)
    pooled(body)
    cloud.put_body(HNVPA, body)
    body = read(cloud, HNVPA)
    at(body, "subnets", 0, "properties")["ipPools"] = []
    body["tags"] = {"owner": "B"}
    assert cloud.put_body(HNVPA, body).status == 200


# -- two clients, whatever they do -----------------------------------------------------------------

Change = Callable[[Answer], None]


def _add(number: int) -> Change:
    def change(body: Answer) -> None:
        entries(body, "aclRules").append(
            cast(Answer, child(f"x{number}", **rule(str(80 + number), str(300 + number))))
        )

    return change


def _drop(body: Answer) -> None:
    at(body)["aclRules"] = entries(body, "aclRules")[1:]


def _port(body: Answer) -> None:
    for one in entries(body, "aclRules")[:1]:
        cast(Answer, cast(Answer, one)["properties"])["destinationPortRange"] = "443"


def _describe(body: Answer) -> None:
    for one in entries(body, "aclRules")[-1:]:
        cast(Answer, one)["tags"] = {"note": "x"}


CHANGES: st.SearchStrategy[Change] = st.sampled_from(
    [deny, tagged, named, _drop, _port, _describe, _add(1), _add(2)]
)


SOME = st.lists(CHANGES, max_size=3, unique=True)


def flat(tree: Tree, path: str = "") -> dict[str, Tree]:
    """All scalars that are stored, by their place; entries of lists by their resourceId."""
    if isinstance(tree, dict):
        return {
            place: value
            for name, inner in tree.items()
            if name != "etag"
            for place, value in flat(inner, f"{path}.{name}").items()
        }
    if isinstance(tree, list):
        return {
            place: value
            for index, inner in enumerate(tree)
            for place, value in flat(
                inner, f"{path}[{inner['resourceId'] if isinstance(inner, dict) else index}]"
            ).items()
        }
    return {path: tree}


@settings(deadline=None, max_examples=200)
@given(SOME, SOME, st.booleans())
def test_of_two_clients_the_second_keeps_all_of_the_first_or_is_refused(
    by_one: list[Change], by_other: list[Change], below: bool
) -> None:
    cloud = furnished()
    first, second = read(cloud, ACL), read(cloud, ACL)
    for change in by_one:
        change(first)
    known = [one for one in entries(first, "aclRules") if "etag" in cast(Answer, one)]
    if below and known:
        cloud.put_body(f"{ACL}/aclRules/r", known[0])
    else:
        cloud.put_body(ACL, first)
    for change in by_other:
        change(second)
    knows = any("etag" in cast(Answer, one) for one in entries(second, "aclRules"))
    stored = flat(cloud.get(ACL))
    try:
        cloud.put_body(ACL, second)
    except PreconditionFailed:
        assert flat(cloud.get(ACL)) == stored
        return
    assert not knows or flat(cloud.get(ACL)).items() >= stored.items()
