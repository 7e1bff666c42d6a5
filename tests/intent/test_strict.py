# SPDX-License-Identifier: Apache-2.0
"""A field that nobody would read is refused for those who ask, with what was meant; what was read
can always be written back."""

from __future__ import annotations

import pytest

from isthmus.errors import Invalid
from isthmus.intent.fields import Access
from isthmus.intent.model import Json
from isthmus.intent.planning import Delete, Put, Request
from isthmus.intent.registry import KINDS
from isthmus.intent.strict import UNKNOWN, check_strict, refuse_unknown, unknown_fields
from isthmus.intent.versions import LATEST, VERSIONS, Version
from tests.intent.cloud import Cloud, child, interface

ACL = KINDS["accessControlLists"]


def refused(path: str, body: Json, version: Version = LATEST) -> Invalid:
    with pytest.raises(Invalid) as caught:
        check_strict([Put(path=path, body=body)], version)
    return caught.value


def test_a_typing_error_that_would_open_a_list_is_refused_with_what_was_meant() -> None:
    error = refused("/accessControlLists/web", {"properties": {"inboundDefaultActions": "Deny"}})
    assert error.code == UNKNOWN
    assert error.target == "[0].properties.inboundDefaultActions"
    assert error.message.endswith("did you mean inboundDefaultAction?")


@pytest.mark.parametrize(
    ("path", "body", "places"),
    [
        ("/servers/h", {"propertys": {}}, ["[0].propertys"]),
        (
            "/accessControlLists/a",
            {"properties": {"aclRules": [child("r", protocoll="TCP"), child("s", action="x")]}},
            # The second is known, and what it holds is not.
            ["[0].properties.aclRules[0].properties.protocoll", "[0].properties.aclRules[1]"],
        ),
        (
            "/virtualNetworks/v",
            {"properties": {"addressSpace": {"addressPrefix": ["10.0.0.0/8"]}}},
            ["[0].properties.addressSpace.addressPrefix"],
        ),
        (
            "/virtualNetworks/v",
            {"properties": {"subnets": [child("s", addressPrefixx="10.0.0.0/24")]}},
            ["[0].properties.subnets[0].properties.addressPrefixx"],
        ),
    ],
)
def test_every_place_is_named_however_deep(path: str, body: Json, places: list[str]) -> None:
    error = refused(path, body)
    found = [one.target or "" for one in error.details] or [error.target or ""]
    for place in places:
        assert any(one.startswith(place) for one in found), found


def test_all_mistakes_of_all_requests_are_told_at_once() -> None:
    requests: list[Request] = [
        Put(path="/servers/a", body={"properties": {"colour": "red"}}),
        Delete(path="/servers/b"),
        Put(path="/nothing/c", body={}),
        Put(path="/macPools/d", body={"properties": {"startMacAddress": "zz"}}),
    ]
    with pytest.raises(Invalid, match="3 things are wrong") as caught:
        check_strict(requests, LATEST)
    assert [(one.target or "")[:3] for one in caught.value.details] == ["[0]", "[2]", "[3]"]


def test_letter_case_does_not_make_a_field_unknown() -> None:
    refuse_unknown(ACL, {"PROPERTIES": {"INBOUNDDEFAULTACTION": "Deny", "AclRules": []}}, LATEST)


def test_a_field_of_a_newer_version_is_refused_where_it_would_be_ignored() -> None:
    kind = KINDS["networkInterfaces"]
    newer = [
        spec.wire
        for spec in kind.fields
        if spec.rules.since > VERSIONS[0]
        and not spec.rules.too_early
        and spec.rules.access is Access.WRITABLE
    ]
    assert newer, "an example has to be found anew"
    for name in newer:
        body: Json = {"properties": {name: None}}
        assert [one.name for one in unknown_fields(kind, body, VERSIONS[0])] == [name]
        assert list(unknown_fields(kind, body)) == []


@pytest.mark.parametrize("version", VERSIONS, ids=str)
def test_what_was_read_is_strictly_right(cloud: Cloud, version: Version) -> None:
    cloud.put("/networkInterfaces/n", interface())
    cloud.put("/accessControlLists/a", {"aclRules": []})
    cloud.put("/servers/h", {})
    for row in list(cloud.store.rows.values()):
        kind = KINDS[row.kind]
        if row.parent is None and kind.since <= version:
            found = cloud.get(row.ref, version)
            assert list(unknown_fields(kind, dict(found), version)) == [], row.ref
