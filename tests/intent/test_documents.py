# SPDX-License-Identifier: Apache-2.0
"""OpenAPI and the reference follow from the declarations."""

from __future__ import annotations

from isthmus.intent.docs import markdown
from isthmus.intent.fields import Access
from isthmus.intent.openapi import resource_schema
from isthmus.intent.registry import CAPABILITIES, KINDS, REGISTRY
from tests.intent.cloud import Cloud, interface


def test_these_kinds_are_offered_and_no_other() -> None:
    assert REGISTRY.offered == (
        "accessControlLists",
        "credentials",
        "logicalNetworks",
        "macPools",
        "networkInterfaces",
        "securityTags",
        "servers",
        "virtualNetworkManager",
        "virtualNetworks",
    )
    assert CAPABILITIES == (
        "aclRuleAnyProtocol",
        "aclRuleIcmp",
        "aclRuleStateless",
        "allowedAddressPairs",
        "portLocation",
        "routerGuard",
        "subnetHostRoutes",
    )


def test_schemas_say_what_is_read_only_secret_needed_and_new() -> None:
    secret = resource_schema(KINDS["credentials"])["properties"]
    assert isinstance(secret, dict)
    value = secret["properties"]["properties"]["value"]
    assert (value["format"], value["type"]) == ("password", ["string", "null"])
    # a PUT may leave out what is stored, and an answer what is a secret
    assert secret["properties"]["required"] == ["type"]
    subnet = resource_schema(KINDS["virtualNetworks/subnets"])["properties"]
    assert isinstance(subnet, dict)
    fields = subnet["properties"]["properties"]
    assert fields["virtualSubnetId"]["readOnly"] is True
    assert fields["virtualSubnetId"]["x-isthmus-since"] == "v2"
    assert fields["routes"]["x-isthmus-extension"] == "subnetHostRoutes"
    assert "rdid" not in str(resource_schema(KINDS["virtualNetworks"]))


def test_every_property_of_an_answer_is_in_its_schema(cloud: Cloud) -> None:
    cloud.put("/networkInterfaces/n", {**interface(), "portSettings": {}})
    cloud.put("/servers/h", {"networkInterfaces": [{"resourceId": "p"}]})
    for row in cloud.store.rows.values():
        schema = resource_schema(KINDS[row.kind])["properties"]
        assert isinstance(schema, dict)
        answer = cloud.get(row.ref)
        assert answer.keys() <= schema.keys()
        assert isinstance(answer["properties"], dict)
        assert answer["properties"].keys() <= schema["properties"]["properties"].keys()


def test_the_reference_has_a_table_for_every_kind_and_a_row_for_every_field() -> None:
    text = markdown()
    for kind in KINDS.values():
        section = text.partition(f"\n## {kind.name}\n")[2].partition("\n## ")[0]
        for spec in kind.fields:
            assert (f"\n| {spec.wire} |" in section) is (
                spec.rules.access is not Access.INTERNAL
            ), spec
    assert (
        "| addressSpace.addressPrefixes | list: prefix | required (`RequiredParamMissing`) |"
        in text
    )
    assert "| routes[].nextHop | IP address | required (`MissingNextHopIpAddress`) |" in text
