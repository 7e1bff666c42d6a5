# SPDX-License-Identifier: Apache-2.0
"""The aclRules of accessControlLists: which packets pass (MS-NCNBI section B.1).

The text of the specification wants priorities from 101 to 65000, unique in a list; its schema,
Microsoft's own documents and every known client use 100 and repeat priorities. Both are taken: of
rules with equal priority, Deny comes first.
"""

from __future__ import annotations

import enum
from typing import Annotated

from isthmus.errors import Invalid
from isthmus.intent.addressing import space
from isthmus.intent.drafts import Draft
from isthmus.intent.fields import Field, Rules, kept, required
from isthmus.intent.kind import Kind
from isthmus.intent.references import Reference
from isthmus.intent.resource import Resource
from isthmus.intent.rule_values import (
    ANY,
    DEFAULT_TAGS,
    PortRange,
    Priority,
    Protocol,
    RulePrefix,
    protocol_number,
)
from isthmus.intent.values import Choice, Integer, Many
from isthmus.intent.versions import V5

MANY_TAGS = Many(Reference(("securityTags",)))

WITH_PORTS = frozenset((6, 17, 132))
"""TCP, UDP, SCTP (IANA protocol numbers)."""

ICMP_VERSION = {1: 4, 58: 6}
"""The address family of each ICMP."""


class Action(enum.StrEnum):
    """What a rule does with a packet that it matches."""

    ALLOW = "Allow"
    DENY = "Deny"


class Direction(enum.StrEnum):
    """Which way a packet goes, as the port sees it."""

    INBOUND = "Inbound"
    OUTBOUND = "Outbound"


class Logging(enum.StrEnum):
    """Whether packets of a rule are to be logged."""

    ENABLED = "Enabled"
    DISABLED = "Disabled"


_SOURCE = RulePrefix("AclRuleInvalidSourceAddressPrefix")
_DESTINATION = RulePrefix("AclRuleInvalidDestinationAddressPrefix")
_SOURCE_PORTS = PortRange("AclRuleInvalidSourcePortRange")
_DESTINATION_PORTS = PortRange("AclRuleInvalidDestinationPortRange")
_OF_PORTS = (
    "Of TCP, UDP and SCTP. With protocol All, a range that is not the whole makes the rule one of"
    " TCP and UDP and of nothing else."
)


class AclRule(Resource, frozen=True, kw_only=True):
    """One rule. It speaks of connections: a reply to what was allowed is allowed."""

    type: Annotated[
        Direction,
        Choice(Direction, code="InvalidAclRuleType"),
        required("Inbound or Outbound, as the port sees it.", "InvalidAclRuleType"),
    ]
    action: Annotated[
        Action,
        Choice(Action, code="InvalidAclRuleAction"),
        required("Allow or Deny.", "InvalidAclRuleAction"),
    ]
    protocol: Annotated[
        str,
        Protocol(),
        required(
            "All, TCP, UDP, HTTP (which is TCP), ICMPv4, ICMPv6; or, by the extension"
            " `aclRuleAnyProtocol`, an IP protocol number.",
            "InvalidAclRuleProtocol",
        ),
    ]
    priority: Annotated[
        int,
        Priority(1, 65535, as_text=True, code="InvalidAclRulePriority"),
        required(
            "Lower numbers are looked at first; of equal ones, Deny.", "InvalidAclRulePriority"
        ),
    ]
    source_address_prefix: Annotated[
        str | None, _SOURCE, Field("Where packets come from; or sourceSecurityTags.")
    ] = None
    destination_address_prefix: Annotated[
        str | None, _DESTINATION, Field("Where packets go to; or destinationSecurityTags.")
    ] = None
    source_port_range: Annotated[
        str,
        _SOURCE_PORTS,
        required(_OF_PORTS, "AclRuleNullOrEmptySourcePortRange"),
    ]
    destination_port_range: Annotated[
        str,
        _DESTINATION_PORTS,
        required(_OF_PORTS, "AclRuleNullOrEmptyDestinationPortRange"),
    ]
    source_security_tags: Annotated[
        tuple[str, ...],
        MANY_TAGS,
        Field("From any address of an interface with one of these tags.", Rules(since=V5)),
    ] = ()
    destination_security_tags: Annotated[
        tuple[str, ...],
        MANY_TAGS,
        Field("To any address of an interface with one of these tags.", Rules(since=V5)),
    ] = ()
    logging: Annotated[
        Logging, kept("Whatever it says, what is dropped is counted and can be watched.")
    ] = Logging.ENABLED
    description: Annotated[str | None, kept("For people.")] = None
    icmp_type: Annotated[
        int | None,
        Integer(0, 255),
        Field("Of ICMPv4 or ICMPv6; all if left out.", Rules(extension="aclRuleIcmp")),
    ] = None
    icmp_code: Annotated[
        int | None,
        Integer(0, 255),
        Field("With icmpType; all if left out.", Rules(extension="aclRuleIcmp")),
    ] = None
    stateless: Annotated[
        bool,
        Field(
            "Whether it speaks of single packets: replies need a rule of their own, and no state is"
            " kept.",
            Rules(extension="aclRuleStateless"),
        ),
    ] = False

    @property
    def ip_version(self) -> int | None:
        """4 or 6 where the rule is for one family only."""
        number = protocol_number(self.protocol)
        if number in ICMP_VERSION:
            return ICMP_VERSION[number]
        for text in (self.source_address_prefix, self.destination_address_prefix):
            if text is not None and text != ANY and text not in DEFAULT_TAGS:
                return space(text).family
        return None

    def settled(self, draft: Draft) -> AclRule:
        self._check_ends(draft)
        self._check_families(draft)
        self._check_icmp(draft)
        self._check_ports(draft)
        return self

    def _check_ends(self, draft: Draft) -> None:
        for end, prefix, tags in (
            ("Source", self.source_address_prefix, self.source_security_tags),
            ("Destination", self.destination_address_prefix, self.destination_security_tags),
        ):
            target = draft.at(f"{end.lower()}_address_prefix")
            if prefix is None and not tags and draft.version < V5:
                raise Invalid(
                    f"{end.lower()}AddressPrefix is missing: write * for any.",
                    code=f"AclRuleNullOrEmpty{end}AddressPrefix",
                    target=target,
                )
            if prefix is not None and tags:
                raise Invalid(
                    f"{end.lower()}AddressPrefix and {end.lower()}SecurityTags (which API versions"
                    f" before {V5} do not show) exclude each other: give one.",
                    code=f"AclRuleBoth{end}AddressPrefixAndSecurityTagsPresent",
                    target=target,
                )
            if prefix is None and not tags:
                raise Invalid(
                    f"{end.lower()}AddressPrefix is missing: write * for any, or give"
                    f" {end.lower()}SecurityTags.",
                    code=f"AclRule{end}NeitherAddressPrefixNorSecurityTagsPresent",
                    target=target,
                )

    def _check_families(self, draft: Draft) -> None:
        wanted = ICMP_VERSION.get(protocol_number(self.protocol) or 0)
        for end, text in (
            ("Source", self.source_address_prefix),
            ("Destination", self.destination_address_prefix),
        ):
            if text is None or text == ANY or text in DEFAULT_TAGS:
                continue
            family = space(text).family
            if wanted not in (None, family):
                raise Invalid(
                    f"{self.protocol} from {self.source_address_prefix} to"
                    f" {self.destination_address_prefix} mixes IPv4 and IPv6: it would match"
                    " nothing.",
                    code=f"AclRuleInvalid{end}AddressPrefix",
                    target=draft.at(f"{end.lower()}_address_prefix"),
                )
            wanted = family

    def _check_icmp(self, draft: Draft) -> None:
        if self.icmp_type is not None and protocol_number(self.protocol) not in ICMP_VERSION:
            raise Invalid(
                f"icmpType belongs to ICMPv4 and ICMPv6, not to {self.protocol}.",
                code="InvalidAclRuleProtocol",
                target=draft.at("icmp_type"),
            )
        if self.icmp_code is not None and self.icmp_type is None:
            raise Invalid(
                "icmpCode means nothing without icmpType: give both.",
                target=draft.at("icmp_code"),
            )

    def _check_ports(self, draft: Draft) -> None:
        number = protocol_number(self.protocol)
        if number is None or number in WITH_PORTS:
            return
        for attribute, text, end in (
            ("source_port_range", self.source_port_range, "Source"),
            ("destination_port_range", self.destination_port_range, "Destination"),
        ):
            # 1-65535 is what the text of the specification calls all ports.
            if text not in (ANY, "0-65535", "1-65535"):
                raise Invalid(
                    f"{self.protocol} has no ports: write {ANY}.",
                    code=f"AclRuleInvalid{end}PortRange",
                    target=draft.at(attribute),
                )


KIND = Kind(
    name="accessControlLists/aclRules",
    model=AclRule,
    in_use_code="InUseAccessControlListCannotBeDeleted",
)
