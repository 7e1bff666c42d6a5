# SPDX-License-Identifier: Apache-2.0
"""accessControlLists and their aclRules: who may speak (MS-NCNBI section B.1).

The text of the specification wants priorities from 101 to 65000, unique in a list; its schema,
Microsoft's own documents and every known client use 100 and repeat priorities. Both are taken: of
rules with equal priority, Deny comes first.
"""

from __future__ import annotations

import enum
from typing import Annotated

import msgspec

from isthmus.errors import Conflict, Invalid
from isthmus.intent.addressing import space
from isthmus.intent.drafts import Draft
from isthmus.intent.fields import Field, Rules, decode, encode, kept, required
from isthmus.intent.kind import BackReference, Kind
from isthmus.intent.model import Allocation
from isthmus.intent.references import Reference, key_of
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

ACL = Reference(("accessControlLists",))
MANY_TAGS = Many(Reference(("securityTags",)))

WITH_PORTS = frozenset((6, 17, 132))
"""TCP, UDP, SCTP (IANA protocol numbers)."""

ICMP_VERSION = {1: 4, 58: 6}
"""The address family of each ICMP."""


class Action(enum.StrEnum):
    """Of a rule."""

    ALLOW = "Allow"
    DENY = "Deny"


class DefaultAction(enum.StrEnum):
    """Where no rule matches."""

    PERMIT = "Permit"
    DENY = "Deny"


class Direction(enum.StrEnum):
    """As the port sees it."""

    INBOUND = "Inbound"
    OUTBOUND = "Outbound"


class Logging(enum.StrEnum):
    """Whether packets of a rule are to be logged."""

    ENABLED = "Enabled"
    DISABLED = "Disabled"


DEFAULT_ACTION = Choice(DefaultAction, aliases=(("allow", "Permit"),), code="InvalidAclRuleAction")


def applied_scope(tag_key: str) -> str:
    """Scope of the allocation of the one list that is applied to a tag; its number is 0."""
    return f"acl of {tag_key}"


class AccessControlList(Resource, frozen=True, kw_only=True):
    """Rules for all that refers to it: addresses of interfaces, virtual subnets, and interfaces by
    their security tags. Packets pass when every level allows them: the subnet's list, and what the
    interface has."""

    inbound_default_action: Annotated[
        DefaultAction, DEFAULT_ACTION, Field("For packets to a port that no rule matches.")
    ] = DefaultAction.PERMIT
    outbound_default_action: Annotated[
        DefaultAction, DEFAULT_ACTION, Field("For packets from a port that no rule matches.")
    ] = DefaultAction.PERMIT
    security_tags: Annotated[
        tuple[str, ...],
        MANY_TAGS,
        Field(
            "Every interface with one of these tags is under this list. The same is said by the"
            " tag's accessControlList.",
            Rules(since=V5),
        ),
    ] = ()

    def settled(self, draft: Draft) -> AccessControlList:
        before = draft.before(AccessControlList)
        had, has = (
            {key_of(tag) for tag in (value.security_tags if value is not None else ())}
            for value in (before, self)
        )
        for tag in sorted(had ^ has):
            # what a client has read of the tag is no longer so: its accessControlList
            row = draft.get(tag)
            if row is not None:
                draft.change(row)
        for index, tag in enumerate(self.security_tags):
            scope = applied_scope(key_of(tag))
            holder = draft.holder(scope, 0)
            if holder is not None:
                raise _applied_already(tag, holder, f"{draft.at('security_tags')}[{index}]")
            draft.allocate(scope, 0)
        return self


def apply_to_tag(draft: Draft, acl: str, target: str) -> None:
    """Put the tag that is being written under a list, which is the same as to name it in the list's
    securityTags; a list that it is under already stays. Raises Conflict."""
    key, scope = key_of(acl), applied_scope(draft.key)
    # the list is what refers to the tag, not the other way round
    draft.requires.discard(key)
    holder = draft.holder(scope, 0)
    if holder == key:
        return
    if holder is not None:
        raise _applied_already(draft.ref, holder, target)
    row = draft.read(key)
    assert row is not None, "references were resolved before"
    value = decode(row, AccessControlList)
    changed = msgspec.structs.replace(value, security_tags=(*value.security_tags, draft.ref))
    draft.change(
        msgspec.structs.replace(
            row,
            properties=encode(changed),
            requires=row.requires | {draft.key},
            allocations=row.allocations | {Allocation(scope, "0")},
        )
    )


def _applied_already(tag: str, holder: str, target: str) -> Conflict:
    return Conflict(
        f"{tag} has {holder} applied already, and a tag has one list: take it off there first, give"
        " the interfaces another tag, or add the rules there.",
        code="SecurityTagAlreadyHasAclApplied",
        target=target,
    )


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
    name="accessControlLists",
    model=AccessControlList,
    applied_by="security_tags",
    in_use_code="InUseAccessControlListCannotBeDeleted",
    has_state=True,
    back_references=(
        BackReference(
            "ipConfigurations",
            ("networkInterfaces/ipConfigurations",),
            "Addresses of interfaces that are under it.",
        ),
        BackReference(
            "subnets",
            ("virtualNetworks/subnets",),
            "Subnets that are under it.",
        ),
    ),
    children=(
        Kind(
            name="accessControlLists/aclRules",
            model=AclRule,
            in_use_code="InUseAccessControlListCannotBeDeleted",
        ),
    ),
)
