# SPDX-License-Identifier: Apache-2.0
"""accessControlLists and their aclRules: who may speak (MS-NCNBI section B.1).

The text of the specification wants priorities from 101 to 65000, unique in a list; its schema,
Microsoft's own documents and every known client use 100 and repeat priorities. Both are taken: of
rules with equal priority, Deny comes first.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Annotated

from isthmus.errors import Conflict, Invalid
from isthmus.intent.addressing import space
from isthmus.intent.fields import Field, Resource, Rules, decode, required
from isthmus.intent.kinds import BackReference, Kind
from isthmus.intent.references import Reference, key_of
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

if TYPE_CHECKING:
    from isthmus.intent.drafts import Draft
    from isthmus.intent.model import Stored

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
        Field("Every interface with one of these tags is under this list.", Rules(since=V5)),
    ] = ()

    def settled(self, draft: Draft) -> AccessControlList:
        for index, tag in enumerate(self.security_tags):
            scope = applied_scope(key_of(tag))
            holder = draft.holder(scope, 0)
            if holder is not None:
                raise Conflict(
                    f"{tag} has {holder} applied already, and a tag has one list: give the"
                    " interfaces another tag, or add the rules there.",
                    code="SecurityTagAlreadyHasAclApplied",
                    target=f"{draft.at('security_tags')}[{index}]",
                )
            draft.allocate(scope, 0)
        return self


_SOURCE = RulePrefix("AclRuleInvalidSourceAddressPrefix")
_DESTINATION = RulePrefix("AclRuleInvalidDestinationAddressPrefix")
_SOURCE_PORTS = PortRange("AclRuleInvalidSourcePortRange")
_DESTINATION_PORTS = PortRange("AclRuleInvalidDestinationPortRange")


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
        required("Of TCP, UDP and SCTP.", "AclRuleNullOrEmptySourcePortRange"),
    ]
    destination_port_range: Annotated[
        str,
        _DESTINATION_PORTS,
        required("Of TCP, UDP and SCTP.", "AclRuleNullOrEmptyDestinationPortRange"),
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
        Logging, Field("Kept as given; what is dropped is always counted and can be watched.")
    ] = Logging.ENABLED
    description: Annotated[str | None, Field("For people.")] = None
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

    @property
    def names_default_tags(self) -> bool:
        return not {self.source_address_prefix, self.destination_address_prefix}.isdisjoint(
            DEFAULT_TAGS
        )

    def settled(self, draft: Draft) -> AclRule:
        self._check_ends(draft)
        self._check_families(draft)
        self._check_icmp(draft)
        self._check_ports(draft)
        self._check_users(draft)
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
        if protocol_number(self.protocol) in WITH_PORTS:
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

    def _check_users(self, draft: Draft) -> None:
        """The other half of `check_logical_use`. Neither half fences on what the other writes, a
        list having any number of users: of two requests at one moment each may miss the other, and
        then the rule matches nothing there."""
        before = draft.before(AclRule)
        if not self.names_default_tags or (before is not None and before.names_default_tags):
            return
        end = "source" if self.source_address_prefix in DEFAULT_TAGS else "destination"
        for key in sorted(draft.referrers(draft.parent or "")):
            row = draft.get(key)
            if row is not None and _is_logical(row):
                raise _not_on_logical(row.ref, draft.at(f"{end}_address_prefix"))


def _is_logical(user: Stored) -> bool:
    """Whether it is a logical subnet, or an ipConfiguration in one."""
    return any(key.startswith("/logicalnetworks/") for key in (user.key, *user.requires))


def check_logical_use(draft: Draft, acl: str, target: str) -> None:
    """That a list on something in a logical network has no rule with a default tag. Raises
    Invalid."""
    draft.read(key_of(acl))
    for row in draft.children(key_of(acl), "accessControlLists/aclRules"):
        if decode(row, AclRule).names_default_tags:
            raise _not_on_logical(row.ref, target)


def _not_on_logical(ref: str, target: str) -> Invalid:
    return Invalid(
        f"{', '.join(DEFAULT_TAGS)} speak of virtual networks, and {ref} brings them to a logical"
        " one: write prefixes.",
        code="AclRuleTagsNotSupportedOnLogicalNetwork",
        target=target,
    )


KIND = Kind(
    name="accessControlLists",
    model=AccessControlList,
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
            ("virtualNetworks/subnets", "logicalNetworks/subnets"),
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
