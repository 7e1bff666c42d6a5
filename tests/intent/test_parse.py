# SPDX-License-Identifier: Apache-2.0
"""Reading bodies: liberal in what is accepted, exact in what is said of the rest."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.errors import Invalid, IsthmusError, NotFound
from isthmus.intent.kind import Kind
from isthmus.intent.model import Json
from isthmus.intent.parse import Parsed, bare_etag, parse
from isthmus.intent.registry import KINDS, ROOTS
from isthmus.intent.values import Many
from isthmus.intent.versions import V1, VERSIONS, Version, parse_version
from tests.intent.bodies import BODIES


def values(kind: str, **properties: Json) -> dict[str, object]:
    return parse(KINDS[kind], {"properties": properties}).values


def refusal(kind: str, **properties: Json) -> Invalid:
    with pytest.raises(Invalid) as caught:
        values(kind, **properties)
    return caught.value


@pytest.mark.parametrize("sent", ["true", "True", "TRUE", True, 1, "1"])
def test_a_boolean_is_read_in_every_form_that_clients_send(sent: Json) -> None:
    assert values("logicalNetworks", networkVirtualizationEnabled=sent) == {
        "network_virtualization_enabled": True
    }


@pytest.mark.parametrize("sent", [7, "7", 7.0, " 7 "])
def test_a_number_is_read_in_every_form_that_clients_send(sent: Json) -> None:
    assert values("logicalNetworks/subnets", vlanId=sent) == {"vlan_id": 7}


@pytest.mark.parametrize(
    "sent", ["00-1d-d8-07-00-01", "00:1D:D8:07:00:01", "001dd8070001", "001d.d807.0001"]
)
def test_a_mac_address_becomes_twelve_upper_case_digits(sent: str) -> None:
    assert values("networkInterfaces", PRIVATEMACADDRESS=sent) == {
        "private_mac_address": "001DD8070001"
    }


def test_names_and_words_are_found_in_any_letter_case() -> None:
    body: Json = {
        "RESOURCEID": "c",
        "Properties": {"TYPE": "usernamePASSWORD", "username": "u", "Value": "v"},
    }
    parsed = parse(KINDS["credentials"], body)
    assert parsed.resource_id == "c"
    assert parsed.values == {"type": "UsernamePassword", "user_name": "u", "value": "v"}


def test_nulls_unknown_names_and_read_only_fields_are_dropped() -> None:
    assert (
        values(
            "virtualNetworks/subnets",
            addressPrefix=None,
            virtualSubnetId="5000",
            provisioningState="Succeeded",
            configurationState={"status": "Success"},
            ipConfigurations=[{"resourceRef": "/x"}],
            typo=1,
        )
        == {}
    )


def test_a_reference_gets_canonical_collection_names_and_keeps_its_ids() -> None:
    for sent in (
        {"resourceRef": "/VIRTUALNETWORKS/Vn/Subnets/S1"},
        {"ResourceRef": "/virtualnetworks/Vn/subnets/S1/"},
        {"resourceRef": "/networking/v1/virtualNetworks/Vn/subnets/S1"},
        "/virtualNetworks/Vn/subnets/S1",
    ):
        read = values("networkInterfaces/ipConfigurations", subnet=sent)
        assert read == {"subnet": "/virtualNetworks/Vn/subnets/S1"}


def test_one_bare_element_is_a_list_of_one_and_empty_text_is_none() -> None:
    one = values("logicalNetworks/subnets", defaultGateways="10.0.0.1", dnsServers="")
    assert one == {"default_gateways": ("10.0.0.1",), "dns_servers": ()}


def test_addresses_and_prefixes_become_canonical() -> None:
    read = values("logicalNetworks/subnets", addressPrefix="FD00:0::/64", dnsServers=["FD00:0::1"])
    assert read == {"address_prefix": "fd00::/64", "dns_servers": ("fd00::1",)}


def test_an_instance_id_is_taken_only_if_it_is_a_guid() -> None:
    guid = "ABCDEF01-2345-6789-ABCD-EF0123456789"
    for sent, read in ((guid, guid.lower()), (f"{{{guid}}}", guid.lower()), ("nic-1", ""), (7, "")):
        assert parse(KINDS["servers"], {"instanceId": sent}).instance_id == read


@pytest.mark.parametrize("sent", ['W/"ABC"', '"abc"', "abc", 'w/"abc"', ' W/"abc" '])
def test_an_etag_is_found_in_every_dress(sent: str) -> None:
    assert bare_etag(sent) == "abc"


@pytest.mark.parametrize(
    ("kind", "properties", "code", "target"),
    [
        ("macPools", {"startMacAddress": "zz"}, "InvalidMacAddressForMacPool", "startMacAddress"),
        (
            "networkInterfaces",
            {"privateMacAddress": "1"},
            "InvalidPrivateMacAddress",
            "privateMacAddress",
        ),
        (
            "virtualNetworks/subnets",
            {"addressPrefix": "10.0.0.0"},
            "InvalidIPPrefix",
            "addressPrefix",
        ),
        (
            "logicalNetworks/subnets",
            {"dnsServers": ["1.1.1.1", "x"]},
            "InvalidIPAddress",
            "dnsServers[1]",
        ),
        (
            "logicalNetworks/subnets",
            {"dnsServers": ["fe80::1%eth0"]},
            "InvalidIPAddress",
            "dnsServers[0]",
        ),
        ("logicalNetworks/subnets", {"vlanId": 4096}, "InvalidParameterValue", "vlanID"),
        ("logicalNetworks/subnets", {"vlanId": "x"}, "InvalidRequestFormat", "vlanID"),
        (
            "logicalNetworks",
            {"networkVirtualizationEnabled": "maybe"},
            "InvalidRequestFormat",
            "networkVirtualizationEnabled",
        ),
        ("credentials", {"type": "Password"}, "InvalidParameterValue", "type"),
        (
            "virtualNetworks",
            {"addressSpace": {"ADDRESSPREFIXES": ["x/y"]}},
            "InvalidIPPrefix",
            "addressSpace.addressPrefixes[0]",
        ),
        (
            "virtualNetworks",
            {"addressSpace": {}},
            "RequiredParamMissing",
            "addressSpace.addressPrefixes",
        ),
        ("virtualNetworks", {"addressSpace": 5}, "InvalidRequestFormat", "addressSpace"),
        (
            "virtualNetworks",
            {"dhcpOptions": {"DnsServers": ["1.1.1.1"] * 10}},
            "DnsServerCountLimitReached",
            "dhcpOptions.dnsServers",
        ),
        (
            "networkInterfaces/ipConfigurations",
            {"privateIPAddress": "300.1.1.1"},
            "InvalidPrivateIPAddressFormat",
            "privateIPAddress",
        ),
        (
            "networkInterfaces/ipConfigurations",
            {"subnet": {"id": 1}},
            "InvalidRequestFormat",
            "subnet",
        ),
        (
            "networkInterfaces/ipConfigurations",
            {"subnet": {"resourceRef": "/x"}},
            "InvalidJsonReferenceFormat",
            "subnet",
        ),
        (
            "networkInterfaces/ipConfigurations",
            {"subnet": {"resourceRef": "/virtualNetworks/v"}},
            "InvalidRequestFormat",
            "subnet",
        ),
    ],
)
def test_a_wrong_value_is_refused_with_its_code_and_place(
    kind: str, properties: dict[str, Json], code: str, target: str
) -> None:
    error = refusal(kind, **properties)
    assert (error.code, error.target, error.status) == (code, f"properties.{target}", 400)
    assert error.message.endswith(".")


def test_a_reference_to_the_wrong_kind_says_so_in_the_details() -> None:
    error = refusal("networkInterfaces/ipConfigurations", subnet={"resourceRef": "/servers/s"})
    assert [detail.code for detail in error.details] == ["InvalidJsonReferenceWrongType"]


@pytest.mark.parametrize(
    ("kind", "field", "asked"),
    [
        ("virtualNetworks/subnets", "routeTable", {"resourceRef": "/routeTables/a"}),
        ("virtualNetworks/subnets", "encryptionEnabled", True),
        (
            "networkInterfaces/ipConfigurations",
            "publicIPAddress",
            {"resourceRef": "/publicIPAddresses/a"},
        ),
        (
            "networkInterfaces/ipConfigurations",
            "loadBalancerBackendAddressPools",
            [{"resourceRef": "/x"}],
        ),
    ],
)
def test_policy_that_would_not_be_enforced_is_refused_and_its_absence_taken(
    kind: str, field: str, asked: Json
) -> None:
    error = refusal(kind, **{field: asked})
    assert (error.code, error.target) == ("OperationNotSupported", f"properties.{field}")
    assert "virtualNetworkManager" in error.message
    nothing: tuple[Json, ...] = (None, [], "", {}, {"resourceRef": None})
    for empty in nothing:
        read = values(kind, **{field: empty})
        assert set(read.values()) <= {None, ()}


def test_encryption_that_is_not_wanted_is_taken() -> None:
    assert values("virtualNetworks/subnets", encryptionEnabled="false") == {
        "encryption_enabled": None
    }


def test_a_secret_is_not_repeated_by_the_error_about_it() -> None:
    error = refusal("credentials", value={"password": "hunter2"})
    assert "hunter2" not in error.message
    assert "hunter2" not in "".join(detail.message for detail in error.details)


def test_children_need_ids_of_their_own() -> None:
    error = refusal("virtualNetworks", subnets=[{"properties": {}}])
    assert (error.code, error.target) == (
        "RequiredParamMissing",
        "properties.subnets[0].resourceId",
    )
    error = refusal("virtualNetworks", subnets=[{"resourceId": "a"}, {"resourceId": "A"}])
    assert (error.code, error.target) == ("InvalidResourceName", "properties.subnets[1].resourceId")


@pytest.mark.parametrize("sent", ["a/b", "", " a", "a?b", "x" * 129, "ä", "a\n", ".."])
def test_an_id_that_could_not_stand_in_a_path_is_refused(sent: str) -> None:
    body: Json = {"properties": {"subnets": [{"resourceId": sent}]}}
    with pytest.raises(Invalid) as caught:
        parse(KINDS["virtualNetworks"], body)
    assert caught.value.target == "properties.subnets[0].resourceId"


@pytest.mark.parametrize(
    "sent",
    [
        "3d46ae72-b1d0-48fa-b4fe-ab183e737493",
        "{3d46ae72-b1d0-48fa-b4fe-ab183e737493}",
        "host1.example.com",
        "10.0.0.0_24",
        "Host_BackEnd",
        "3d46ae72-b1d0-48fa-b4fe-ab183e737493_10.1.2.3",
        "External Switch",
        "s",
    ],
)
def test_every_id_seen_on_the_wire_is_taken(sent: str) -> None:
    assert parse(KINDS["servers"], {"resourceId": sent}).resource_id == sent


def test_a_field_of_a_newer_version_is_not_seen_in_an_older_one() -> None:
    body: Json = {"properties": {"isPrimary": True}}
    assert parse(KINDS["networkInterfaces/ipConfigurations"], body, version=V1).values == {}


@pytest.mark.parametrize("sent", [{"k": "\ud800"}, "x", ["x"]])
def test_tags_that_could_not_be_stored_are_refused(sent: Json) -> None:
    for name in ("tags", "resourceMetadata"):
        with pytest.raises(Invalid) as caught:
            parse(KINDS["servers"], {name: sent})
        assert (caught.value.code, caught.value.target) == ("InvalidRequestFormat", name)


@pytest.mark.parametrize("sent", ["\ud800", True, ["x"], {}])
def test_text_is_text_that_has_a_utf_8_form(sent: Json) -> None:
    error = refusal("servers", vendor=sent)
    assert (error.code, error.target) == ("InvalidRequestFormat", "properties.vendor")


def test_a_body_is_an_object_and_so_are_its_properties_and_children() -> None:
    bodies: tuple[tuple[Json, str | None], ...] = (
        ([], None),
        ({"properties": 5}, "properties"),
        ({"properties": {"subnets": ["x"]}}, "properties.subnets[0]"),
    )
    for body, target in bodies:
        with pytest.raises(Invalid) as caught:
            parse(KINDS["virtualNetworks"], body)
        assert (caught.value.code, caught.value.target) == ("InvalidRequestFormat", target)


def test_a_number_may_be_a_name_and_empty_text_nothing() -> None:
    assert values("servers", model=7, connections="") == {"model": "7", "connections": ()}
    assert values("logicalNetworks/subnets", vlanID="", addressPrefix="") == {}


@pytest.mark.parametrize("token", ["v1", "V3.1", "v7.1", "V4"])
def test_a_version_token_is_read_in_any_letter_case(token: str) -> None:
    assert str(parse_version(token)) == token.lower()


def test_an_unknown_version_is_not_found() -> None:
    with pytest.raises(NotFound, match="v99"):
        parse_version("v99")


@given(
    kind=st.sampled_from(ROOTS),
    version=st.sampled_from(VERSIONS),
    body=BODIES,
)
def test_whatever_is_sent_is_read_or_refused_and_nothing_else(
    kind: Kind, version: Version, body: Json
) -> None:
    try:
        assert isinstance(parse(kind, body, version=version), Parsed)
    except IsthmusError as error:
        assert error.status == 400
        assert error.message


def lists() -> Iterator[tuple[Kind, str]]:
    for kind in KINDS.values():
        for spec in kind.fields:
            if spec.read and isinstance(spec.type, Many):
                yield kind, spec.wire
        for child in kind.children:
            yield kind, child.collection


@pytest.mark.parametrize(("kind", "wire"), lists())
def test_an_empty_object_or_text_is_an_empty_list(kind: Kind, wire: str) -> None:
    none = parse(kind, {"properties": {wire: []}})
    nothing: tuple[Json, ...] = ({}, "")
    for empty in nothing:
        found = parse(kind, {"properties": {wire: empty}})
        assert (found.values, found.children) == (none.values, none.children)
