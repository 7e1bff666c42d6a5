# SPDX-License-Identifier: Apache-2.0
"""accessControlLists and aclRules (MS-NCNBI sections B.1 and A.8)."""

from __future__ import annotations

import pytest

from isthmus.errors import IsthmusError
from isthmus.intent.fields import decode
from isthmus.intent.kinds.acl_rules import AclRule
from isthmus.intent.model import Json
from isthmus.intent.planning import Delete, Put, Request, plan_batch
from isthmus.intent.rule_values import protocol_number
from isthmus.intent.versions import V1, V3, V4, V5, VERSIONS, Version
from tests.intent.cloud import SUBNET, Answer, Cloud, child, interface, ref

LIST = "/accessControlLists/a"
RULE = f"{LIST}/aclRules/r"
AT_RULE = "properties.aclRules[0].properties"
LOGICAL_SUBNET = "/logicalNetworks/L/subnets/s"

WRITTEN: dict[str, Json] = {
    "type": "Inbound",
    "action": "Allow",
    "protocol": "TCP",
    "priority": "100",
    "sourceAddressPrefix": "*",
    "destinationAddressPrefix": "10.0.1.0/24",
    "sourcePortRange": "0-65535",
    "destinationPortRange": "80",
}


def rule(**changed: Json) -> dict[str, Json]:
    """Properties of a rule; None takes one away."""
    return {name: v for name, v in {**WRITTEN, **changed}.items() if v is not None}


def rules(*properties: dict[str, Json]) -> dict[str, Json]:
    """Properties of a list with rules."""
    return {"aclRules": [child(f"r{n}", **each) for n, each in enumerate(properties)]}


def no_ports(protocol: str, **changed: Json) -> dict[str, Json]:
    return rule(protocol=protocol, sourcePortRange="*", destinationPortRange="*", **changed)


def properties(cloud: Cloud, path: str, version: Version = VERSIONS[-1]) -> Answer:
    found = cloud.get(path, version)["properties"]
    assert isinstance(found, dict)
    return found


def refused_rule(cloud: Cloud, **changed: Json) -> IsthmusError:
    return cloud.refused(LIST, rules(rule(**changed)))


def refused_at(cloud: Cloud, version: Version, path: str, written: Json) -> IsthmusError:
    """The error of a PUT by a client of an older version."""
    with pytest.raises(IsthmusError) as caught:
        cloud.put(path, written, version=version)
    return caught.value


@pytest.fixture
def tagged(cloud: Cloud) -> Cloud:
    """With the tags ``t`` and ``u``."""
    for name in "tu":
        cloud.put(f"/securityTags/{name}")
    return cloud


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
