# SPDX-License-Identifier: Apache-2.0
"""aclRules (MS-NCNBI section A.8)."""

from __future__ import annotations

import pytest

from isthmus.intent.fields import decode
from isthmus.intent.kinds.acl_rules import AclRule
from isthmus.intent.model import Json
from isthmus.intent.rule_values import protocol_number
from isthmus.intent.versions import V1, V3, V4, V5, Version
from tests.intent.cloud import Cloud, child, ref
from tests.intent.lists import (
    AT_RULE,
    LIST,
    RULE,
    no_ports,
    properties,
    refused_at,
    refused_rule,
    rule,
    rules,
)

# -- rules -----------------------------------------------------------------------------------------


def test_a_rule_is_answered_exactly(cloud: Cloud) -> None:
    cloud.put(LIST, {"aclRules": [child("r", **rule(description="web"))]})
    assert properties(cloud, RULE) == {
        "provisioningState": "Succeeded",
        "type": "Inbound",
        "action": "Allow",
        "protocol": "TCP",
        "priority": "100",
        "sourceAddressPrefix": "*",
        "destinationAddressPrefix": "10.0.1.0/24",
        "sourcePortRange": "0-65535",
        "destinationPortRange": "80",
        "sourceSecurityTags": [],
        "destinationSecurityTags": [],
        "logging": "Enabled",
        "description": "web",
        "stateless": False,
    }


def test_names_and_words_of_a_rule_are_found_in_any_letter_case(cloud: Cloud) -> None:
    sent: dict[str, Json] = {
        "TYPE": "OUTBOUND",
        "Action": "deny",
        "PROTOCOL": "udp",
        "Priority": 200,
        "sourceaddressprefix": "virtualNetwork",
        "DESTINATIONADDRESSPREFIX": "internet",
        "sourcePORTrange": "*",
        "DestinationPortRange": 53,
        "LOGGING": "disabled",
    }
    cloud.put(LIST, {"ACLRULES": [{"RESOURCEID": "r", "PROPERTIES": sent}]})
    read = properties(cloud, "/ACCESSCONTROLLISTS/A/ACLrules/R")
    assert (read["type"], read["action"], read["protocol"]) == ("Outbound", "Deny", "UDP")
    assert (read["sourceAddressPrefix"], read["destinationAddressPrefix"]) == (
        "VIRTUALNETWORK",
        "INTERNET",
    )
    assert (read["priority"], read["destinationPortRange"]) == ("200", "53")
    assert read["logging"] == "Disabled"


def test_a_rule_is_read_written_and_deleted_alone(cloud: Cloud) -> None:
    cloud.put(LIST, rules(rule()))
    before = cloud.row(LIST).etag
    cloud.put(RULE, rule(priority=7))
    assert cloud.row(LIST).etag != before
    assert decode(cloud.row(RULE), AclRule).priority == 7
    assert cloud.delete(RULE) == 200
    assert [
        row.resource_id for row in cloud.store.children(LIST.lower(), "accessControlLists/aclRules")
    ] == ["r0"]
    assert cloud.refused("/accessControlLists/none/aclRules/r", rule()).status == 404


@pytest.mark.parametrize(
    ("changed", "code", "field"),
    [
        ({"type": None}, "InvalidAclRuleType", "type"),
        ({"type": ""}, "InvalidAclRuleType", "type"),
        ({"type": "Sideways"}, "InvalidAclRuleType", "type"),
        ({"type": 1}, "InvalidAclRuleType", "type"),
        ({"action": None}, "InvalidAclRuleAction", "action"),
        ({"action": "Permit"}, "InvalidAclRuleAction", "action"),
        ({"protocol": None}, "InvalidAclRuleProtocol", "protocol"),
        ({"protocol": "GRE"}, "InvalidAclRuleProtocol", "protocol"),
        ({"protocol": "256"}, "InvalidAclRuleProtocol", "protocol"),
        ({"protocol": "-1"}, "InvalidAclRuleProtocol", "protocol"),
        ({"protocol": 6.5}, "InvalidAclRuleProtocol", "protocol"),
        ({"priority": None}, "InvalidAclRulePriority", "priority"),
        ({"priority": ""}, "InvalidAclRulePriority", "priority"),
        ({"priority": "high"}, "InvalidAclRulePriority", "priority"),
        ({"priority": 0}, "InvalidAclRulePriority", "priority"),
        ({"priority": "65536"}, "InvalidAclRulePriority", "priority"),
        ({"priority": 100.5}, "InvalidAclRulePriority", "priority"),
        ({"sourcePortRange": None}, "AclRuleNullOrEmptySourcePortRange", "sourcePortRange"),
        ({"sourcePortRange": ""}, "AclRuleNullOrEmptySourcePortRange", "sourcePortRange"),
        (
            {"destinationPortRange": None},
            "AclRuleNullOrEmptyDestinationPortRange",
            "destinationPortRange",
        ),
        (
            {"destinationPortRange": ""},
            "AclRuleNullOrEmptyDestinationPortRange",
            "destinationPortRange",
        ),
        ({"logging": "perhaps"}, "InvalidParameterValue", "logging"),
    ],
)
def test_a_word_or_number_that_is_wrong_or_missing_has_its_code(
    cloud: Cloud, changed: dict[str, Json], code: str, field: str
) -> None:
    error = refused_rule(cloud, **changed)
    assert (error.code, error.status, error.target) == (code, 400, f"{AT_RULE}.{field}")


@pytest.mark.parametrize("end", ["Source", "Destination"])
@pytest.mark.parametrize(
    "wrong", ["65536", "80-79", "http", "80,81", "-80", "80-", "8 0", "80-70000", "1-2-3", "**"]
)
def test_a_port_range_that_is_none_is_refused(cloud: Cloud, end: str, wrong: str) -> None:
    field = f"{end.lower()}PortRange"
    error = refused_rule(cloud, **{field: wrong})
    assert (error.code, error.target) == (f"AclRuleInvalid{end}PortRange", f"{AT_RULE}.{field}")


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        ("*", "*"),
        ("80", "80"),
        (80, "80"),
        ("0", "0"),
        ("80-81", "80-81"),
        (" 80 - 81 ", "80-81"),
        ("080-0081", "80-81"),
        ("0-65535", "0-65535"),
        ("1-65535", "1-65535"),
        ("80-80", "80-80"),
    ],
)
def test_a_port_range_is_read_in_every_form(cloud: Cloud, sent: Json, read: str) -> None:
    cloud.put(LIST, {"aclRules": [child("r", **rule(sourcePortRange=sent))]})
    assert properties(cloud, RULE)["sourcePortRange"] == read


@pytest.mark.parametrize("end", ["Source", "Destination"])
@pytest.mark.parametrize(
    "wrong", ["10.0.0.0/33", "300.0.0.1", "LOCAL", "fe80::1%eth0", " ", "10.0.0"]
)
def test_an_address_prefix_that_is_none_is_refused(cloud: Cloud, end: str, wrong: str) -> None:
    field = f"{end.lower()}AddressPrefix"
    error = refused_rule(cloud, **{field: wrong})
    assert (error.code, error.target) == (
        f"AclRuleInvalid{end}AddressPrefix",
        f"{AT_RULE}.{field}",
    )


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        ("*", "*"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("::/0", "::/0"),
        ("10.1.0.0/16", "10.1.0.0/16"),
        ("10.1.2.3/16", "10.1.0.0/16"),
        ("10.1.2.3", "10.1.2.3/32"),
        ("FD00:0::5", "fd00::5/128"),
        ("Internet", "INTERNET"),
        ("AzureLoadBalancer", "AZURELOADBALANCER"),
    ],
)
def test_an_address_prefix_is_read_in_every_form(cloud: Cloud, sent: str, read: str) -> None:
    written = rule(sourceAddressPrefix=sent, destinationAddressPrefix="*")
    cloud.put(LIST, {"aclRules": [child("r", **written)]})
    assert properties(cloud, RULE)["sourceAddressPrefix"] == read


@pytest.mark.parametrize(
    ("sent", "read", "number"),
    [
        ("ALL", "All", None),
        ("all", "All", None),
        ("*", "All", None),
        ("Tcp", "TCP", 6),
        ("6", "TCP", 6),
        ("Udp", "UDP", 17),
        ("http", "HTTP", 6),
        ("icmpv4", "ICMPv4", 1),
        ("ICMP", "ICMPv4", 1),
        ("ICMPV6", "ICMPv6", 58),
        (58, "ICMPv6", 58),
        ("sctp", "132", 132),
        ("47", "47", 47),
        (0, "0", 0),
        ("050", "50", 50),
    ],
)
def test_a_protocol_is_read_in_every_form(
    cloud: Cloud, sent: Json, read: str, number: int | None
) -> None:
    written = {**no_ports("All", destinationAddressPrefix="*"), "protocol": sent}
    cloud.put(LIST, {"aclRules": [child("r", **written)]})
    assert properties(cloud, RULE)["protocol"] == read
    assert protocol_number(read) == number


@pytest.mark.parametrize("version", [V1, V3, V5])
def test_icmp_is_taken_in_every_version(cloud: Cloud, version: Version) -> None:
    # It is of v3. Clients follow discovery, which says V1, and still must be able to allow a ping.
    cloud.put(RULE.rpartition("/aclRules")[0])
    cloud.put(RULE, no_ports("ICMPv4"), version=version)
    assert properties(cloud, RULE, version)["protocol"] == "ICMPv4"


@pytest.mark.parametrize(
    ("sent", "number"), [("100", 100), (100, 100), ("1", 1), (65535, 65535), (101.0, 101)]
)
def test_a_priority_is_text_or_a_number_and_answered_as_text(
    cloud: Cloud, sent: Json, number: int
) -> None:
    cloud.put(LIST, {"aclRules": [child("r", **rule(priority=sent))]})
    assert decode(cloud.row(RULE), AclRule).priority == number
    assert properties(cloud, RULE)["priority"] == str(number)


def test_rules_may_have_one_priority_and_be_alike(cloud: Cloud) -> None:
    # the OpenStack driver gives all its rules the priority 100
    made = cloud.put(LIST, rules(rule(), rule(), rule(action="Deny")))
    assert [made["aclRules", n, "priority"] for n in range(3)] == ["100"] * 3
    error = cloud.refused(LIST, {"aclRules": [child("r", **rule()), child("R", **rule())]})
    assert error.code == "InvalidResourceName"


# -- what belongs together -------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", ["ICMPv4", "47"])
@pytest.mark.parametrize("end", ["Source", "Destination"])
def test_what_has_no_ports_takes_none(cloud: Cloud, protocol: str, end: str) -> None:
    field = f"{end.lower()}PortRange"
    error = cloud.refused(LIST, rules({**no_ports(protocol), field: "80"}))
    assert (error.code, error.target) == (f"AclRuleInvalid{end}PortRange", f"{AT_RULE}.{field}")
    for every in ("*", "0-65535", "1-65535"):
        cloud.put(LIST, rules({**no_ports(protocol), field: every}))


@pytest.mark.parametrize("protocol", ["All", "TCP", "HTTP", "17", "sctp"])
def test_what_has_ports_takes_them_and_all_protocols_too(cloud: Cloud, protocol: str) -> None:
    """Of 24 lists that a real controller answered with, 21 have rules with All and ports."""
    cloud.put(LIST, rules(rule(protocol=protocol, sourcePortRange="1024-2047")))
    made = properties(cloud, f"{LIST}/aclRules/r0")
    assert (made["sourcePortRange"], made["destinationPortRange"]) == ("1024-2047", "80")


@pytest.mark.parametrize(
    ("protocol", "source", "destination", "end"),
    [
        ("TCP", "10.0.0.0/8", "fd00::/64", "Destination"),
        ("TCP", "fd00::/64", "0.0.0.0/0", "Destination"),
        ("ICMPv4", "fd00::/64", "*", "Source"),
        ("ICMPv4", "*", "fd00::1", "Destination"),
        ("ICMPv6", "VIRTUALNETWORK", "10.0.0.0/8", "Destination"),
        ("ICMPv6", "10.0.0.0/8", "10.0.0.0/8", "Source"),
    ],
)
def test_a_rule_that_mixes_families_would_match_nothing_and_is_refused(
    cloud: Cloud, protocol: str, source: str, destination: str, end: str
) -> None:
    written = no_ports(protocol, sourceAddressPrefix=source, destinationAddressPrefix=destination)
    error = cloud.refused(LIST, rules(written))
    assert (error.code, error.target) == (
        f"AclRuleInvalid{end}AddressPrefix",
        f"{AT_RULE}.{end.lower()}AddressPrefix",
    )
    assert "mixes IPv4 and IPv6" in error.message


@pytest.mark.parametrize(
    ("protocol", "source", "destination", "version"),
    [
        ("All", "*", "*", None),
        ("All", "INTERNET", "*", None),
        ("All", "10.0.0.0/8", "*", 4),
        ("All", "*", "::/0", 6),
        ("ICMPv4", "*", "*", 4),
        ("ICMPv6", "*", "fd00::/64", 6),
    ],
)
def test_a_rule_is_of_the_family_that_its_parts_say(
    cloud: Cloud, protocol: str, source: str, destination: str, version: int | None
) -> None:
    written = no_ports(protocol, sourceAddressPrefix=source, destinationAddressPrefix=destination)
    cloud.put(LIST, {"aclRules": [child("r", **written)]})
    assert decode(cloud.row(RULE), AclRule).ip_version == version


def test_icmp_types_belong_to_icmp(cloud: Cloud) -> None:
    echo = no_ports("ICMPv4", icmpType=8, icmpCode="0")
    cloud.put(LIST, {"aclRules": [child("r", **echo)]})
    read = properties(cloud, RULE)
    assert (read["icmpType"], read["icmpCode"]) == (8, 0)
    error = refused_rule(cloud, icmpType=8)
    assert (error.code, error.target) == ("InvalidAclRuleProtocol", f"{AT_RULE}.icmpType")
    error = cloud.refused(LIST, rules(no_ports("ICMPv6", destinationAddressPrefix="*", icmpCode=0)))
    assert (error.code, error.target) == ("InvalidParameterValue", f"{AT_RULE}.icmpCode")
    for wrong in (-1, 256):
        error = cloud.refused(LIST, rules(no_ports("ICMPv4", icmpType=wrong)))
        assert (error.code, error.target) == ("InvalidParameterValue", f"{AT_RULE}.icmpType")


# -- ends: a prefix or tags ------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["Source", "Destination"])
def test_an_end_is_a_prefix_or_tags_and_not_both(tagged: Cloud, end: str) -> None:
    prefix, tags = f"{end.lower()}AddressPrefix", f"{end.lower()}SecurityTags"
    with_tags = rule(**{prefix: None, tags: [ref("/SECURITYTAGS/T"), ref("/securityTags/u")]})
    tagged.put(LIST, {"aclRules": [child("r", **with_tags)]})
    read = properties(tagged, RULE)
    assert prefix not in read
    assert read[tags] == [ref("/securityTags/T"), ref("/securityTags/u")]
    # what is not filled in is not there
    tagged.put(LIST, {"aclRules": [child("r", **{**with_tags, prefix: ""})]})
    error = tagged.refused(LIST, rules({**with_tags, prefix: "*"}))
    assert (error.code, error.target) == (
        f"AclRuleBoth{end}AddressPrefixAndSecurityTagsPresent",
        f"{AT_RULE}.{prefix}",
    )
    for nothing in (None, ""):
        error = tagged.refused(LIST, rules({**rule(), prefix: nothing, tags: []}))
        assert (error.code, error.target) == (
            f"AclRule{end}NeitherAddressPrefixNorSecurityTagsPresent",
            f"{AT_RULE}.{prefix}",
        )


@pytest.mark.parametrize("end", ["Source", "Destination"])
@pytest.mark.parametrize("nothing", [None, ""])
def test_before_tags_a_missing_prefix_is_null_or_empty(
    cloud: Cloud, end: str, nothing: Json
) -> None:
    prefix = f"{end.lower()}AddressPrefix"
    error = refused_at(cloud, V4, LIST, rules({**rule(), prefix: nothing}))
    assert (error.code, error.target) == (
        f"AclRuleNullOrEmpty{end}AddressPrefix",
        f"{AT_RULE}.{prefix}",
    )


def test_both_ends_may_be_tags(tagged: Cloud) -> None:
    ends = {
        "sourceAddressPrefix": None,
        "destinationAddressPrefix": None,
        "sourceSecurityTags": [ref("/securityTags/t")],
        # PowerShell unrolls a list of one
        "destinationSecurityTags": ref("/securityTags/u"),
    }
    made = tagged.put(LIST, rules(rule(**ends)))
    assert made["aclRules", 0, "destinationSecurityTags"] == [ref("/securityTags/u")]


def test_a_tag_of_a_rule_must_exist_and_be_one(tagged: Cloud) -> None:
    for sent, code, at in (
        (ref("/securityTags/nope"), "InvalidResourceReference", "[1]"),
        (ref("/networkInterfaces/n"), "InvalidRequestFormat", "[1]"),
        ({"resourceRef": "/securityTags"}, "InvalidJsonReferenceFormat", "[1]"),
    ):
        tags: Json = [ref("/securityTags/t"), sent]
        error = refused_rule(tagged, sourceAddressPrefix=None, sourceSecurityTags=tags)
        assert (error.code, error.target) == (code, f"{AT_RULE}.sourceSecurityTags{at}")


def test_an_older_client_keeps_the_tags_that_it_cannot_see(tagged: Cloud) -> None:
    with_tags = rule(sourceAddressPrefix=None, sourceSecurityTags=[ref("/securityTags/t")])
    tagged.put(
        LIST, {"aclRules": [child("r", **with_tags)], "securityTags": [ref("/securityTags/u")]}
    )
    seen = tagged.get(LIST, V1)
    assert "ecurityTags" not in str(seen)
    tagged.put_body(LIST, seen, V1)
    assert properties(tagged, RULE)["sourceSecurityTags"] == [ref("/securityTags/t")]
    assert properties(tagged, LIST)["securityTags"] == [ref("/securityTags/u")]
    # and is told why it cannot give the end a prefix
    error = refused_at(tagged, V1, RULE, rule())
    assert error.code == "AclRuleBothSourceAddressPrefixAndSecurityTagsPresent"
    assert "v5" in error.message
