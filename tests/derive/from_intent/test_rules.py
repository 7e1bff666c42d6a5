# SPDX-License-Identifier: Apache-2.0
"""Access control lists become rule sets."""

from __future__ import annotations

import pytest

from isthmus.derive.from_intent.rules import RuleSetFact, rule_fact, rule_set_fact
from isthmus.policy.rows import Rule, RuleSet
from tests.derive.from_intent.tenants import derived
from tests.intent.cloud import Cloud


@pytest.mark.parametrize("action", ["Allow", "Deny"])
@pytest.mark.parametrize(
    ("source", "destination", "kept"),
    [
        ("*", "*", ("", "")),
        ("0-65535", "1-65535", ("", "")),
        ("0-65535", "80", ("", "80-80")),
        ("1-65535", "80-90", ("", "80-90")),
        ("1024-65535", "*", ("1024-65535", "")),
        ("0", "*", ("0-0", "")),
    ],
)
def test_a_rule_of_all_protocols_keeps_its_ports_but_for_the_whole_range(
    action: str, source: str, destination: str, kept: tuple[str, str]
) -> None:
    cloud = Cloud()
    rule = {
        **{"type": "Inbound", "action": action, "protocol": "All", "priority": "101"},
        **{"sourceAddressPrefix": "*", "destinationAddressPrefix": "*"},
        **{"sourcePortRange": source, "destinationPortRange": destination},
    }
    cloud.put("/accessControlLists/a", {"aclRules": [{"resourceId": "r", "properties": rule}]})
    (row,) = derived(cloud).rows(Rule).values()
    assert (row.protocol, row.action) == (-1, action.lower())
    assert (row.source_ports, row.destination_ports) == kept


ALLOW_WEB = {
    **{"type": "Inbound", "action": "Allow", "protocol": "TCP", "priority": "101"},
    **{"sourceAddressPrefix": "*", "destinationAddressPrefix": "*"},
    **{"sourcePortRange": "*", "destinationPortRange": "80"},
}


def test_a_list_is_a_rule_set_with_its_defaults_and_the_tags_it_is_applied_to() -> None:
    cloud = Cloud()
    for tag in ("Web", "Db"):
        cloud.put(f"/securityTags/{tag}", {})
    tags = [{"resourceRef": f"/securityTags/{tag}"} for tag in ("Web", "Db")]
    cloud.put("/accessControlLists/A", {"inboundDefaultAction": "Deny", "securityTags": tags})
    assert rule_set_fact(cloud.row("/accessControlLists/A")) == RuleSetFact(
        ref="/accessControlLists/A",
        name="a",
        in_default="deny",
        out_default="allow",
        tags=("/securitytags/db", "/securitytags/web"),
    )
    (rule_set,) = derived(cloud).rows(RuleSet).values()
    assert (rule_set.id, rule_set.origin) == ("a", "/accessControlLists/A")


def test_a_write_that_changes_etags_only_leaves_the_facts_as_they_were() -> None:
    cloud = Cloud()
    body = {"aclRules": [{"resourceId": "r", "properties": ALLOW_WEB}]}
    cloud.put("/accessControlLists/a", body)
    rows = [cloud.row(f"/accessControlLists/a{end}") for end in ("", "/aclRules/r")]
    cloud.put("/accessControlLists/a", body)
    again = [cloud.row(f"/accessControlLists/a{end}") for end in ("", "/aclRules/r")]
    assert [row.etag for row in rows] != [row.etag for row in again]
    assert rule_set_fact(rows[0]) == rule_set_fact(again[0])
    assert rule_fact(rows[1]) == rule_fact(again[1])


def test_a_rule_belongs_to_the_rule_set_of_its_list() -> None:
    cloud = Cloud()
    cloud.put(
        "/accessControlLists/A", {"aclRules": [{"resourceId": "Web", "properties": ALLOW_WEB}]}
    )
    (rule,) = derived(cloud).rows(Rule).values()
    assert (rule.rule_set, rule.id) == ("a", "web")
    assert rule.origin == "/accessControlLists/A/aclRules/Web"
